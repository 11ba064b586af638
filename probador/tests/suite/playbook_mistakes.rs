//! Mistakes that types do not catch: each is the one problem that is found, in these words, in this line.

use probador::checklist::SourceText;
use probador::playbook::read;

const STEP: &str = "steps:\n  - {action: run, command: echo hi, expect_exit: 0}\n";

/// Reads `text` and expects these problems, all in one line.
#[track_caller]
fn check(text: &str, line: u64, expected: &[&str]) {
    let source = SourceText { file: "p.yaml".to_owned(), text: text.to_owned() };
    let found = read(&source).err().unwrap_or_default();
    let found: Vec<(u64, &str)> =
        found.iter().map(|problem| (problem.at.line, problem.what.as_str())).collect();
    let expected: Vec<(u64, &str)> = expected.iter().map(|&what| (line, what)).collect();
    assert_eq!(found, expected, "{text}");
}

/// A playbook of one step with these keys, which stand in line 3.
fn step(keys: &str) -> String {
    format!("name: x\nsteps:\n  - {{{keys}}}\n")
}

/// A step that runs something and expects an exit code, with these keys besides.
fn run(keys: &str) -> String {
    step(&format!("action: run, command: echo, expect_exit: 0, {keys}"))
}

#[test]
fn names_and_commands_say_something() {
    check(&run("name: ' '"), 3, &["the name is empty"]);
    check(&format!("name: ''\n{STEP}"), 1, &["the name is empty"]);
    check(&format!("name: x\nindifferent: ' '\n{STEP}"), 2, &["`indifferent` says why a fake may pass"]);
    check(&step("action: run, shell: true, command: ' ', expect_exit: 0"), 3, &["the command is empty"]);
    check(
        &format!("name: x\ntags: [good, Not-One]\n{STEP}"),
        2,
        &["`Not-One` is no tag: lower-case words joined by `-`"],
    );
}

#[test]
fn what_is_captured_has_a_name_of_its_own() {
    for name in ["Loud", "two words", "model"] {
        let what =
            format!("`{name}` cannot be captured: lower-case letters, digits and `_`, and no other meaning");
        check(&run(&format!("capture: {{{name}: b}}")), 3, &[&what]);
    }
    check(
        &step("action: run, command: 'echo {a}', matrix: {a: [x]}, capture: {a: b}, expect_exit: 0"),
        3,
        &["`a` has a meaning already"],
    );
    check(&run("capture: {two_2: b}"), 3, &[]);
}

#[test]
fn keys_that_contradict_what_the_step_does_are_refused() {
    check(
        &format!("name: x\n{STEP}  - {{action: assert, expect_files: [{{path: f, unchanged: true}}]}}\n"),
        4,
        &["`unchanged` compares with the time before a step that does something"],
    );
    let http =
        |keys: &str| step(&format!("action: http, url: 'http://localhost', expect_status: 200, {keys}"));
    for method in ["GET", "DELETE"] {
        check(&http(&format!("method: {method}, body: x")), 3, &["a body is sent with POST or PUT"]);
    }
    for keys in ["body: x", "method: PUT, body: x", "method: POST, body: x", "method: HEAD"] {
        check(&http(keys), 3, &[]);
    }
    check(
        &format!("{}  - {{action: assert, expect_exit: 0}}\n", http("method: GET")),
        4,
        &["`expect_exit` says nothing of the step before it"],
    );
    check(
        &step(
            "action: run, command: apr chat --inspect, latency: {samples: 5, max: 1s}, first_token: {samples: 6, max: 1s}",
        ),
        3,
        &["`latency` and `first_token` are of the same runs: give them the same `samples`"],
    );
}

#[test]
fn a_scenario_has_an_end() {
    let steps = |n: usize| {
        format!("name: x\nsteps:\n{}", "  - {action: run, command: echo, expect_exit: 0}\n".repeat(n))
    };
    check(&steps(100), 3, &[]);
    check(&steps(101), 3, &["101 steps, a scenario has at most 100"]);
}

#[test]
fn values_of_a_matrix_have_a_name_and_are_asked_for() {
    check(
        &run("matrix: {A: [x]}"),
        3,
        &["`A` is no name: lower-case letters, digits and `_`", "`{A}` is used nowhere in the step"],
    );
    check(&run("matrix: {}"), 3, &["`matrix` is empty; leave it out"]);
    // A pattern asks for a value as well as any other text.
    check(
        "name: x\nmatrix: {word: [a]}\nsteps:\n  - {action: run, command: echo a, output_matches: '{word}'}\n",
        2,
        &[],
    );
    check(&run("repeats: 3, min_pass: 0"), 3, &["`min_pass` is between 1 and the 3 repeats"]);
    check(&run("repeats: 3, min_pass: 1"), 3, &[]);
}

#[test]
fn variables_are_what_a_process_can_be_given() {
    for (env, name) in
        [("{'': x}", ""), ("{'A=B': x}", "A=B"), ("{A: \"b\\0c\"}", "A"), ("{\"A\\0\": b}", "A\0")]
    {
        let what = format!("`{name}` cannot be a variable of a process");
        check(&run(&format!("env: {env}")), 3, &[&what]);
        check(&format!("name: x\nenv: {env}\n{STEP}"), 2, &[&what]);
    }
}

#[test]
fn expectations_can_be_met_and_missed() {
    let json = |expected: &str| run(&format!("expect_json: [{{at: /a, {expected}}}]"));
    check(&json("equals: [1]"), 3, &["expected a plain value, found a list"]);
    check(&json("equals: {b: 1}"), 3, &["expected a plain value, found a mapping"]);
    for plain in ["~", "true", "1", "1.5", "text"] {
        check(&json(&format!("equals: {plain}")), 3, &[]);
    }
    let file = |expected: &str| run(&format!("expect_files: [{{path: d, {expected}}}]"));
    for about_files in ["not_empty: true", "unchanged: true", "same_as: e", "contains: x", "lacks: x"] {
        check(
            &file(&format!("only: [a], {about_files}")),
            3,
            &["`only` is about a folder, the other keys are about a file"],
        );
    }
    check(&file("exists: false, only: [a]"), 3, &["a file that must not exist holds nothing"]);
    check(&file("exists: false"), 3, &[]);
    check(
        &step("action: http, url: 'http://localhost', expect_events: {at_least: 1, text_at: t}"),
        3,
        &["`text_at` is a JSON pointer: it starts with `/`"],
    );
    let latency =
        |samples: u32| step(&format!("action: run, command: echo, latency: {{samples: {samples}, max: 1s}}"));
    check(&latency(201), 3, &["`samples` is between 1 and 200"]);
    check(
        &latency(0),
        3,
        &["`samples` is between 1 and 200", "max needs at least 1 samples, 0 are asked for"],
    );
    check(&latency(200), 3, &[]);
}

#[test]
fn a_service_is_named_told_its_port_and_ready_by_one_sign() {
    let service = |keys: &str| format!("name: x\nservices: [{{{keys}}}]\n{STEP}");
    let ready = |ready: &str| service(&format!("name: s, command: 'serve {{port}}', ready: {ready}"));
    for signs in ["{}", "{tcp: true, output: up}", "{http: /, output: up}"] {
        check(&ready(signs), 2, &["a service is ready by one sign: http, tcp or output"]);
    }
    check(&ready("{http: health}"), 2, &["`http` is a path on the service: it starts with `/`"]);
    check(&ready("{output: ''}"), 2, &["the empty text is in everything, so it is no sign"]);
    for name in ["Web", "2nd", "the-web"] {
        check(
            &service(&format!("name: {name}, command: serve, ready: {{output: up}}")),
            2,
            &[&format!("`{name}` is no name: lower-case letters, digits and `_`")],
        );
    }
    check(
        &service("name: s, command: serve | cat, ready: {output: up}"),
        2,
        &[
            "the command cannot be split: `|` means something to a shell only: quote it, or ask for one with `shell: true`",
        ],
    );
    for asked in ["{tcp: true}", "{http: /}"] {
        check(
            &service(&format!("name: s, command: serve, ready: {asked}")),
            2,
            &["the service is not told its port: put `{port}` into its command"],
        );
        check(
            &service(&format!("name: web_2, command: serve, env: {{PORT: '{{port}}'}}, ready: {asked}")),
            2,
            &[],
        );
    }
}

#[test]
fn cases_and_assertions_for_wasm_ask_for_something() {
    let with = |keys: &str, more: &str| {
        format!("name: x\nrunner: wasm\ncomponent: a\ncases: [{{name: a, input: b, {keys}}}]\n{more}")
    };
    check(&with("max_latency_ms: 5", ""), 4, &[]);
    check(&with("golden: g, tolerance: 0.0", ""), 4, &[]);
    check(
        &with("expect_not_empty: true, tolerance: 0.1", ""),
        4,
        &["`tolerance` is about a `golden`, and there is none"],
    );
    check(&with("golden: g, tolerance: -0.1", ""), 4, &["nothing is within a tolerance below zero"]);
    let assertion = |item: &str| with("golden: g", &format!("assertions: [{item}]\n"));
    for item in ["{}", "{all_cases_pass: true, memory_mb: '<5'}"] {
        check(
            &assertion(item),
            5,
            &["an assertion has one key: all_cases_pass, avg_latency_ms or memory_mb"],
        );
    }
    for limit in ["<0", "<-1", "<inf", "<NaN", "5", "<five"] {
        let what = format!("`{limit}` is no limit such as `<3000`");
        check(&assertion(&format!("{{memory_mb: '{limit}'}}")), 5, &[&what]);
    }
    check(&assertion("{avg_latency_ms: '< 5.5'}"), 5, &[]);
}
