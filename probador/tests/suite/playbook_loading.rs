//! Playbooks are read strictly: whatever is hostile, unknown, contradictory or vacuous is refused with its place.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use probador::checklist::SourceText;
use probador::playbook::{Category, PlaybookId, read, schema, template};
use probador::workspace::Workspace;

const STEP: &str = "steps:\n  - {action: run, command: echo hi, expect_exit: 0}\n";

fn problems(file: &str, text: &str) -> Vec<String> {
    let source = SourceText { file: file.to_owned(), text: text.to_owned() };
    read(&source).err().into_iter().flatten().map(|problem| problem.to_string()).collect()
}

/// Reads `text` and expects a problem with these words, at this line.
#[track_caller]
fn check(text: &str, line: u64, expected: &str) {
    let found = problems("p.yaml", text);
    let problem = found.iter().find(|problem| problem.contains(expected));
    let problem = problem.unwrap_or_else(|| panic!("expected {expected:?} among {found:#?}"));
    assert!(problem.starts_with(&format!("p.yaml:{line}:")), "{problem}");
}

/// A playbook of one step with these keys.
fn step(keys: &str) -> String {
    format!("name: x\nsteps:\n  - {{{keys}}}\n")
}

#[test]
fn every_kind_of_key_is_read() {
    let text = "\
name: Everything
description: All at once
timeout: 90s
runner: cli
tags: [all]
needs: [apr]
group: file
env: {A: '{model}'}
matrix: {word: [a, b]}
repeats: 2
min_pass: 1
faults: [{name: f, says: words}]
services:
  - {name: server, command: 'serve {port}', ready: {tcp: true}, env: {B: '{port}'}, timeout: 3s}
steps:
  - {name: first, action: run, command: 'echo {word}', shell: true, stdin: hi, env: {C: d}, timeout: 5s, memory_limit: 1GiB,
     capture: {it: '(h.)'}, expect_exit: 0, expect_output: h, expect_stderr: [], output_matches: h+, output_contains: [h, i],
     output_lacks: x, stderr_lacks: y, output_not_empty: true, expect_json: [{at: /a, equals: 1}],
     expect_files: [{path: '{tmp}/f', not_empty: true}]}
  - {action: assert, output_contains: '{it}'}
  - {name: timed, action: run, command: apr chat --inspect, latency: {samples: 5, p50: 1s, max: 2s}, first_token: {samples: 5, p50: 1s}}
  - {action: run, command: 'echo {x}', matrix: {x: ['1']}, repeats: 3, min_pass: 2, differs_from: first, same_as: [timed]}
  - {action: http, url: '{server.url}/v1', method: POST, headers: {a: b}, body: '{}', expect_status: 201, expect_headers: {c: d},
     expect_events: {at_least: 1, last: '[DONE]', each: [{at: /x, not_empty: true}], text_at: /x}}
";
    // The empty list of texts is the one mistake in it.
    let found = problems("p.yaml", text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("p.yaml:17:") && found[0].contains("an empty list expects nothing"),
        "{found:?}"
    );
    assert_eq!(problems("p.yaml", &text.replace("expect_stderr: [], ", "")), Vec::<String>::new());
}

#[test]
fn hostile_yaml_is_refused_with_its_place_and_without_a_panic() {
    let mut bomb = String::from("name: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "k{level}: &a{level} [{items}]").unwrap();
    }
    let deep = format!("name: {}", "[".repeat(100_000));
    let deep_step = format!("name: x\nsteps: {}", "{a: ".repeat(50_000));
    let long = format!("name: x\n# {}\n{STEP}", "x".repeat(300 << 10));
    let texts = [
        "",
        "{",
        "- - -",
        "42",
        "~",
        "? [a]\n: b",
        "name: x\n\tsteps: y",
        "\0",
        "&a [*a]",
        "name: *nowhere",
        "!!binary x",
        "<<: {a: b}",
    ];
    for text in texts.into_iter().chain([bomb.as_str(), &deep, &deep_step, &long]) {
        refused_with_a_place(&text[..text.len().min(40)], text);
    }
}

/// Expects problems with `text`, called so in messages, each with its file, line and column.
fn refused_with_a_place(name: &str, text: &str) {
    let found = problems("p.yaml", text);
    assert!(!found.is_empty(), "{name:?} was accepted");
    for problem in &found {
        let mut parts = problem.split(':');
        assert_eq!(parts.next(), Some("p.yaml"), "{problem}");
        let places: Vec<u64> = parts.take(2).map(|part| part.parse().unwrap()).collect();
        assert!(places.len() == 2 && places.iter().all(|&place| place > 0), "{name:?}: {problem}");
    }
}

/// The corpus that `scripts/hostile_corpus.py` writes.
#[test]
fn the_corpus_of_hostile_yaml_is_refused_with_a_place() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut n_files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        refused_with_a_place(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap());
        n_files += 1;
    }
    assert!(n_files > 12, "{n_files} files");
}

#[test]
fn words_that_yaml_is_known_to_mistake_are_not_taken_for_something_else() {
    check(&step("action: run, command: echo, expect_exit: 0755"), 3, "expected a whole number, found text");
    check(
        &step("action: run, command: echo, output_not_empty: no"),
        3,
        "expected `true` or `false`, found text",
    );
    check(&step("action: run, command: echo, output_not_empty: false"), 3, "asks for nothing; leave it out");
    check(&step("action: run, command: echo, expect_exit: 256"), 3, "256 is no exit code");
    check(&step("action: run, command: echo, expect_exit: -1"), 3, "-1 is negative");
    check(
        &step("action: run, command: echo, expect_json: [{at: /a, at_most: .nan}]"),
        3,
        "a threshold of NaN",
    );
    check(
        &step("action: run, command: echo, expect_json: [{at: /a, at_least: .inf}]"),
        3,
        "a threshold of inf",
    );
    check(&step("action: run, command: 5, expect_exit: 0"), 3, "expected text");
    check(&step("action: run, command: echo, timeout: 5"), 3, "expected text");
    check(&step("action: run, command: echo, timeout: 5 minutes"), 3, "is not a time such as");
    check(&step("action: run, command: echo, memory_limit: lots"), 3, "is not an amount such as");
}

#[test]
fn unknown_and_repeated_keys_and_words_are_refused() {
    check(&format!("name: x\nstep: y\n{STEP}"), 2, "did you mean `steps`?");
    check(&format!("name: x\nname: y\n{STEP}"), 2, "`name` is said twice, first in line 1");
    check(&step("action: run, command: echo, expect_exti: 0"), 3, "did you mean `expect_exit`?");
    check(&step("action: click, command: echo"), 3, "unknown action `click`; one of: run, assert, http");
    check(&format!("name: x\nrunner: docker\n{STEP}"), 2, "unknown runner `docker`; one of: cli, wasm");
    check(&format!("name: x\ngroup: modle\n{STEP}"), 2, "unknown group `modle`");
    check(&format!("name: x\ngroup: model\n{STEP}"), 2, "one of: file, process, perf");
    check(&format!("name: x\nneeds: [moon]\n{STEP}"), 2, "unknown need `moon`");
    check(
        &step("action: http, url: 'http://localhost', method: BREW, expect_status: 200"),
        3,
        "unknown method `BREW`",
    );
    check(STEP, 1, "a playbook lacks `name`");
    check("name: x\n", 1, "a playbook of `runner: cli` lacks `steps`");
    check("name: x\nsteps: []\n", 1, "lacks `steps`");
}

#[test]
fn a_step_that_would_write_over_the_model_under_test_is_refused() {
    for output in ["-o model.apr", "--output model.apr", "--output=model.apr", "-o {model}"] {
        let command = format!("action: run, command: 'apr import a.gguf {output}', expect_exit: 0");
        check(&step(&command), 3, "this would write over the model under test");
    }
    let harmless = "action: run, command: 'apr inspect model.apr -o other.apr', expect_exit: 0";
    assert_eq!(problems("p.yaml", &step(harmless)), [""; 0]);
}

#[test]
fn what_expects_nothing_is_refused() {
    check(&step("action: run, command: echo"), 3, "a step that expects nothing shows nothing");
    check(
        &step("action: run, command: echo, timeout: 5s, capture: {a: b}"),
        3,
        "a step that expects nothing",
    );
    check(&step("action: run, command: echo, expect_output: ''"), 3, "the empty text is in everything");
    check(&step("action: run, command: echo, output_matches: '.*'"), 3, "matches even nothing");
    check(&step("action: run, command: echo, output_matches: '('"), 3, "is no regular expression");
    check(&step("action: run, command: echo, expect_json: [{at: /a}]"), 3, "say what stands there");
    check(&step("action: run, command: echo, expect_json: [{at: a, equals: 1}]"), 3, "is no JSON pointer");
    check(
        &step("action: run, command: echo, expect_json: [{at: /a, at_least: 2, at_most: 1}]"),
        3,
        "nothing is at least 2",
    );
    check(&step("action: run, command: echo, expect_files: []"), 3, "`expect_files` is empty");
    check(
        &step("action: run, command: echo, expect_files: [{path: f, exists: false, not_empty: true}]"),
        3,
        "must not exist holds nothing",
    );
    check(
        &step("action: http, url: 'http://localhost', expect_events: {last: x}"),
        3,
        "a stream of none satisfies the rest",
    );
    check(&format!("name: x\nfaults: [{{name: f, says: ''}}]\n{STEP}"), 2, "any failure would do");
    check(&format!("name: x\nfaults: []\n{STEP}"), 2, "`faults` is empty");
}

#[test]
fn keys_belong_to_their_action_and_runner() {
    check(
        &step("action: run, command: echo, url: x, expect_exit: 0"),
        3,
        "`url` does not belong to `action: run`",
    );
    check(
        &step("action: run, command: echo, expect_status: 200"),
        3,
        "`expect_status` does not belong to `action: run`",
    );
    check(
        &step("action: http, url: 'http://localhost', stdin: x, expect_status: 200"),
        3,
        "`stdin` does not belong to `action: http`",
    );
    check(
        &format!("name: x\n{STEP}  - {{action: assert, timeout: 3s, output_contains: x}}\n"),
        4,
        "`timeout` does not belong to `action: assert`",
    );
    check(
        &format!("name: x\n{STEP}  - {{action: assert, expect_status: 200}}\n"),
        4,
        "`expect_status` says nothing of the step before it",
    );
    check(&step("action: assert, output_contains: x"), 3, "there is no step before it");
    check(&step("action: http, expect_status: 200"), 3, "an http step lacks `url`");
    check(&step("action: run, expect_exit: 0"), 3, "a run step lacks `command`");
    check(&format!("name: x\ncomponent: y\n{STEP}"), 2, "`component` does not belong to `runner: cli`");
    check("name: x\nrunner: wasm\nsteps: []\n", 3, "`steps` does not belong to `runner: wasm`");
}

#[test]
fn commands_are_split_without_a_shell_unless_one_is_asked_for() {
    check(&step("action: run, command: 'echo a | cat', expect_exit: 0"), 3, "ask for one with `shell: true`");
    assert_eq!(
        problems("p.yaml", &step("action: run, shell: true, command: 'echo a | cat', expect_exit: 0")),
        Vec::<String>::new()
    );
    check(&step("action: run, command: 'echo \"a', expect_exit: 0"), 3, "is not closed");
    check(&step("action: run, command: '', expect_exit: 0"), 3, "the command is empty");
}

#[test]
fn placeholders_are_filled_by_something_and_values_are_used() {
    check(&step("action: run, command: 'echo {nobody}', expect_exit: 0"), 3, "nothing fills `{nobody}`");
    check(
        &step("action: run, command: 'echo {word}', matrix: {word: [a], other: [b]}, expect_exit: 0"),
        3,
        "`{other}` is used nowhere",
    );
    check(&format!("name: x\nmatrix: {{word: [a]}}\n{STEP}"), 2, "`{word}` is used nowhere");
    check(&format!("name: x\nmatrix: {{model: [a]}}\n{STEP}"), 2, "`model` has a meaning already");
    check(&step("action: run, command: 'echo {a}', matrix: {a: []}, expect_exit: 0"), 3, "has no values");
    let many = (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join("','");
    check(
        &step(&format!("action: run, command: 'echo {{a}}', matrix: {{a: ['{many}']}}, expect_exit: 0")),
        3,
        "65 combinations, at most 64",
    );
    assert_eq!(
        problems("p.yaml", &step("action: run, command: 'echo {{plain}} {\"json\": 1}', expect_exit: 0")),
        Vec::<String>::new()
    );
}

#[test]
fn steps_refer_to_steps_before_them() {
    let text = "name: x\nsteps:\n  - {name: a, action: run, command: echo, same_as: b}\n  - {name: b, action: run, command: echo, differs_from: a}\n";
    check(text, 3, "no step before it that runs something is named `b`");
    check(
        "name: x\nsteps:\n  - {name: a, action: run, command: echo, expect_exit: 0}\n  - {name: a, action: run, command: echo, expect_exit: 0}\n",
        3,
        "two of the steps are named `a`",
    );
}

#[test]
fn repeats_percentiles_and_time_outs_make_sense() {
    check(&step("action: run, command: echo, expect_exit: 0, min_pass: 1"), 3, "`min_pass` is of `repeats`");
    check(
        &step("action: run, command: echo, expect_exit: 0, repeats: 3, min_pass: 4"),
        3,
        "between 1 and the 3 repeats",
    );
    check(
        &step("action: run, command: echo, expect_exit: 0, repeats: 100000"),
        3,
        "`repeats` is between 2 and 200",
    );
    check(
        &step("action: run, command: echo, latency: {samples: 19, p95: 1s}"),
        3,
        "p95 needs at least 20 samples",
    );
    check(
        &step("action: run, command: echo, latency: {samples: 1, p50: 1s}"),
        3,
        "p50 needs at least 5 samples",
    );
    check(&step("action: run, command: echo, latency: {samples: 5}"), 3, "names a percentile or `max`");
    check(
        &step("action: run, command: echo, latency: {samples: 5, p50: 2s, max: 1s}"),
        3,
        "p50 cannot be above max",
    );
    check(
        &step("action: run, command: echo, latency: {samples: 5, max: 1s}, repeats: 5"),
        3,
        "leave `repeats` out",
    );
    check(
        &step("action: run, command: apr chat, first_token: {samples: 5, max: 1s}"),
        3,
        "printed with `--inspect` only",
    );
    check(
        &format!(
            "name: x\ntimeout: 5s\n{}",
            step("action: run, command: echo, timeout: 6s, expect_exit: 0").replace("name: x\n", "")
        ),
        4,
        "the playbook ends after 5 s",
    );
}

#[test]
fn no_performance_playbook_accepts_a_late_first_token() {
    let text = step("action: run, command: apr chat --inspect, first_token: {samples: 5, p50: 1s, max: 3s}");
    let found = problems("playbooks/performance/slow.yaml", &text);
    assert!(found.iter().any(|problem| problem.contains("more than the 2 s")), "{found:?}");
    assert_eq!(problems("playbooks/happy-path/slow.yaml", &text), Vec::<String>::new());
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = "name: x\ntimeout: never\nsteps:\n  - {action: run, command: 'a | b', expect_exit: 0}\n  - {action: run, command: b}\n  - {action: dance}\n";
    let found = problems("p.yaml", text);
    for expected in [
        "p.yaml:2:10: `never` is not a time",
        "p.yaml:4:28: the command cannot be split",
        "p.yaml:5:5: a step that expects nothing",
        "unknown action `dance`",
    ] {
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{expected:?} is not among {found:#?}"
        );
    }
}

#[test]
fn the_specifications_playbook_for_wasm_is_read_and_its_keys_are_strict() {
    let text = r#"
name: "Qwen WASM Component Verification"
runner: wasm
component: qwen.wasm
setup:
  - action: load
    path: "model.apr"
    dir_mount: "."
cases:
  - name: "Basic arithmetic"
    input: "What is 2+2?"
    expect_contains: "4"
    max_latency_ms: 5000
  - name: "Greeting response"
    input: "Hello!"
    expect_not_empty: true
  - name: "Golden trace match"
    input: "Explain quantum computing"
    golden: "golden/quantum-computing.txt"
    tolerance: 0.01
assertions:
  - all_cases_pass: true
  - avg_latency_ms: "<3000"
  - memory_mb: "<512"
"#;
    assert_eq!(problems("p.yaml", text), Vec::<String>::new());
    let spoiled = |before: &str, after: &str| problems("p.yaml", &text.replacen(before, after, 1)).join("\n");
    assert!(spoiled("expect_not_empty: true", "max_tokens: 5").contains("unknown key `max_tokens`"));
    assert!(spoiled("    expect_not_empty: true\n", "").contains("a case that expects nothing"));
    assert!(spoiled("\"<512\"", "\"small\"").contains("is no limit such as"));
    assert!(spoiled("0.01", ".nan").contains("a threshold of NaN"));
    assert!(spoiled("all_cases_pass: true", "all_cases_pass: false").contains("no assertion"));
    assert!(spoiled("action: load", "action: store").contains("unknown action of a set-up `store`"));
}

#[test]
fn every_committed_playbook_names_a_fault_and_is_reached() {
    let workspace = Workspace::find(None).unwrap();
    let playbooks =
        workspace.playbooks(&workspace.checklist().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let reached: BTreeSet<&PlaybookId> = playbooks.iter().map(|playbook| &playbook.id).collect();
    assert_eq!(reached.len(), workspace.playbook_sources().unwrap().len());
    for playbook in &playbooks {
        assert!(!playbook.faults.is_empty(), "{} names no fault that must turn it red", playbook.id);
        assert!(playbook.category().is_some(), "{}", playbook.file);
    }
}

#[test]
fn the_checked_in_schema_is_current_and_knows_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../playbooks/schema.json");
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == schema(), "playbooks/schema.json is stale\nhint: run `cargo probador schema`");
    let document: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let properties = |of: &serde_json::Value| {
        of["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
    };
    // The reader lists the keys it asks for when it finds one it does not know.
    let asked = |text: &str, kind: &str| {
        let found = problems("p.yaml", text);
        let mark = format!("; {kind} has: ");
        let keys = found
            .iter()
            .find_map(|problem| problem.split_once(&mark))
            .unwrap_or_else(|| panic!("{found:?}"))
            .1;
        keys.split(", ").map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(asked(&format!("name: x\nzzzzzzzz: 1\n{STEP}"), "a playbook"), properties(&document));
    assert_eq!(
        asked(&step("action: run, command: echo, zzzzzzzz: 1"), "a step"),
        properties(&document["definitions"]["Step"])
    );
}

#[test]
fn the_template_is_valid_wherever_it_is_written() {
    for category in Category::ALL {
        let file = format!("playbooks/{category}/my-own-one.yaml");
        assert_eq!(problems(&file, &template(category, "my-own-one")), Vec::<String>::new());
    }
    let found = problems("playbooks/edge-cases/My Own.yaml", &template(Category::EdgeCases, "x"));
    assert!(found[0].contains("cannot be the name of a playbook"), "{found:?}");
}
