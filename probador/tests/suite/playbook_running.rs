//! Playbooks as a user runs them: exit codes, what is said of a failure, and that every key can fail.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{Desk, engine, probador};

#[test]
fn a_failure_says_command_ending_output_and_how_to_run_it_again() {
    let desk = Desk::new();
    let steps = "steps:\n  - {name: Greet, action: run, command: sh -c 'echo data; echo talk >&2; exit 3', stdin: it's, expect_exit: 0}\n";
    let ended = desk.fails(steps, "step \"Greet\": exits with 3, expected 0");
    let file = desk.path().join("playbook.yaml").display().to_string();
    for expected in [
        r"command: printf %s 'it'\''s' | sh -c 'echo data; echo talk >&2; exit 3'",
        "ended: exit 3 after",
        "output: data",
        "stderr: talk",
        &format!("again: cargo probador run {file} --model tiny"),
        "FAIL: 0 passed, 1 failed, 0 undecided",
    ] {
        assert!(ended.stdout.contains(expected), "{expected:?} is not in {}", ended.stdout);
    }
    let noisy = desk.fails(
        "steps:\n  - {action: run, command: sh -c 'seq 100000; false', expect_exit: 0}\n",
        "characters left out",
    );
    assert!(noisy.stdout.len() < 4000, "{} bytes", noisy.stdout.len());
}

#[test]
fn every_expectation_of_output_holds_or_fails() {
    let desk = Desk::new();
    let run = |keys: &str| {
        format!("steps:\n  - {{action: run, command: sh -c 'echo four; echo loud >&2', {keys}}}\n")
    };
    let assert = |keys: &str| format!("{}  - {{action: assert, {keys}}}\n", run("expect_exit: 0"));
    for (good, bad, words) in [
        ("expect_output: four", "expect_output: five", "standard output does not contain \"five\""),
        ("output_contains: [fo, ur]", "output_contains: [fo, urn]", "does not contain \"urn\""),
        ("output_matches: '4|four'", "output_matches: '4|five'", "does not match `4|five`"),
        ("output_lacks: five", "output_lacks: four", "standard output contains \"four\""),
        ("expect_stderr: loud", "expect_stderr: four", "standard error does not contain \"four\""),
        ("stderr_lacks: four", "stderr_lacks: loud", "standard error contains \"loud\""),
        ("expect_exit: 0", "expect_exit: 1", "exits with 0, expected 1"),
    ] {
        desk.passes(&run(good));
        desk.fails(&run(bad), words);
        desk.passes(&assert(good));
        desk.fails(&assert(bad), words);
    }
    desk.fails(
        "steps:\n  - {action: run, command: echo, output_not_empty: true}\n",
        "standard output is empty",
    );
    desk.fails(
        "steps:\n  - {action: run, command: sh -c 'kill -9 $$', expect_exit: 137}\n",
        "was killed by a signal",
    );
    desk.fails("steps:\n  - {action: run, command: no-such-program, expect_exit: 1}\n", "failed to start");
}

#[test]
fn json_is_judged_by_place() {
    let desk = Desk::new();
    let step = |expected: &str| {
        format!(
            "steps:\n  - {{action: run, command: 'echo ''{{\"a\": [1, 2.5], \"s\": \"word\", \"e\": []}}''', expect_json: [{expected}]}}\n"
        )
    };
    for good in [
        "{at: /a/0, equals: 1}",
        "{at: /a, length: 2}",
        "{at: /a/1, at_least: 2, at_most: 3}",
        "{at: /s, matches: ^w}",
        "{at: /t, absent: true}",
        "{at: '', not_empty: true}",
    ] {
        desk.passes(&step(good));
    }
    for (bad, words) in [
        ("{at: /a/0, equals: '1'}", "/a/0 is 1, expected \"1\""),
        ("{at: /a, length: 3}", "/a has 2 elements, expected 3"),
        ("{at: /a/1, at_most: 2}", "/a/1 is 2.5, at most 2"),
        ("{at: /s, at_least: 1}", "/s is \"word\", at least 1"),
        ("{at: /s, matches: x}", "does not match `x`"),
        ("{at: /s, absent: true}", "/s is there"),
        ("{at: /e, not_empty: true}", "/e is empty"),
        ("{at: /t, equals: 1}", "/t is not there"),
    ] {
        desk.fails(&step(bad), words);
    }
    desk.fails(
        "steps:\n  - {action: run, command: echo no, expect_json: [{at: '', not_empty: true}]}\n",
        "standard output is not JSON",
    );
}

#[test]
fn files_are_judged_after_the_step() {
    let desk = Desk::new();
    let step = |script: &str, expected: &str| {
        format!(
            "steps:\n  - {{action: run, shell: true, command: 'echo one > kept; cp kept twin', expect_exit: 0}}\n  - {{action: run, shell: true, command: '{script}', expect_files: [{expected}]}}\n"
        )
    };
    desk.passes(&step("true", "{path: kept, unchanged: true, contains: one, lacks: two, same_as: twin, not_empty: true}, {path: ., only: [kept, twin]}, {path: gone, exists: false}"));
    desk.fails(&step("echo one > kept; echo >> kept", "{path: kept, unchanged: true}"), "`kept` has changed");
    desk.fails(&step("rm kept", "{path: kept}"), "`kept` does not exist");
    desk.fails(&step("touch new", "{path: new, not_empty: true}"), "`new` is empty");
    desk.fails(&step("touch new", "{path: new, exists: false}"), "`new` exists");
    desk.fails(&step("touch new", "{path: ., only: [kept, twin]}"), "holds [\"kept\", \"new\", \"twin\"]");
    desk.fails(&step("true", "{path: kept, contains: two}"), "`kept` does not contain \"two\"");
    desk.fails(&step("echo two > twin", "{path: kept, same_as: twin}"), "does not hold the same bytes");
}

#[test]
fn outputs_are_compared_and_captured() {
    let desk = Desk::new();
    let steps = |second: &str, key: &str| {
        format!(
            "steps:\n  - {{name: first, action: run, command: echo id=42, capture: {{id: 'id=(\\d+)'}}, expect_exit: 0}}\n  - {{action: run, command: '{second}', {key}: first}}\n"
        )
    };
    desk.passes(&steps("echo id={id}", "same_as"));
    desk.fails(&steps("echo id={id}", "differs_from"), "is the same as in step \"first\"");
    desk.passes(&steps("echo other", "differs_from"));
    desk.fails(&steps("echo other", "same_as"), "is another than in step \"first\"");
    desk.fails(
        "steps:\n  - {action: run, command: echo, capture: {id: id=}, expect_exit: 0}\n",
        "has nothing to capture for `id`",
    );
}

#[test]
fn commands_get_a_clean_environment_a_folder_of_their_own_and_nothing_to_read() {
    let desk = Desk::new();
    desk.passes("env: {OURS: 'a b'}\nsteps:\n  - {action: run, command: env, output_contains: [LC_ALL=C, OURS=a b], output_lacks: CARGO_}\n");
    desk.passes("steps:\n  - {action: run, command: cat, output_matches: '^x', stdin: x}\n  - {action: run, command: 'ls -A', same_as: none}\n".replace("same_as: none", "output_lacks: playbook").as_str());
    desk.passes("steps:\n  - {name: nothing, action: run, command: sh -c 'cat; echo end', output_matches: '^end\\n$'}\n");
    desk.passes("steps:\n  - {action: run, shell: true, command: 'test \"$PWD\" = {tmp} && test -z \"$(ls -A)\" && apr=$(command -v apr) && echo ${apr##*/}', output_matches: '^apr\\n$'}\n");
}

#[test]
fn time_outs_and_what_is_left_behind_fail_the_step_and_are_killed() {
    let desk = Desk::new();
    let mark = desk.path().join("mark");
    let later = format!("(sleep 2; touch {}) >/dev/null 2>&1 &", mark.display());
    let started = Instant::now();
    desk.fails(&format!("steps:\n  - {{action: run, shell: true, command: '{later} sleep 30', timeout: 300ms, expect_exit: 0}}\n"), "did not end in 0.3 s");
    desk.fails(
        &format!("steps:\n  - {{action: run, shell: true, command: '{later} true', expect_exit: 0}}\n"),
        "left 2 running: ",
    );
    desk.fails("timeout: 500ms\nsteps:\n  - {action: run, command: sleep 0.3, expect_exit: 0}\n  - {action: run, command: sleep 30, expect_exit: 0}\n", "did not end in 0.");
    assert!(started.elapsed() < Duration::from_secs(15));
    std::thread::sleep(Duration::from_millis(2200));
    assert!(!mark.exists(), "what was left behind lived on");
}

#[test]
fn memory_is_limited_for_all_that_a_step_starts() {
    let desk = Desk::new();
    let step = |limit: &str| {
        format!(
            "steps:\n  - {{action: run, shell: true, command: 'head -c 200000000 /dev/zero | tail | wc -c', memory_limit: {limit}}}\n"
        )
    };
    desk.passes(&step("1GB"));
    let ended = desk.fails(&step("50MB"), "at most 50.0 MB");
    assert!(ended.stdout.contains("killed: out of memory"), "{}", ended.stdout);
}

#[test]
fn repeats_matrices_and_percentiles_count() {
    let desk = Desk::new();
    // Fails every second time.
    let flaky = "sh -c 'test -e flag && rm flag || { touch flag; false; }'";
    desk.passes(&format!(
        "steps:\n  - {{action: run, command: \"{flaky}\", expect_exit: 0, repeats: 4, min_pass: 2}}\n"
    ));
    desk.fails(
        &format!(
            "steps:\n  - {{action: run, command: \"{flaky}\", expect_exit: 0, repeats: 4, min_pass: 3}}\n"
        ),
        "in 2 of 4 runs, at least 3 must pass: exits with 1",
    );
    desk.passes(
        "matrix: {a: [x, y]}\nsteps:\n  - {action: run, command: 'echo {a}', output_matches: '[xy]'}\n",
    );
    desk.fails(
        "matrix: {a: [x, y]}\nsteps:\n  - {action: run, command: 'echo {a}', output_contains: x}\n",
        "with a \"y\": standard output does not contain \"x\"",
    );
    desk.fails(
        "steps:\n  - {action: run, command: 'echo {a}', matrix: {a: [x, y]}, output_contains: x}\n",
        "a \"y\": standard output does not contain \"x\"",
    );
    let mark = desk.path().join("count").display().to_string();
    desk.passes(&format!("repeats: 3\nmin_pass: 1\nsteps:\n  - {{action: run, shell: true, command: 'echo x >> {mark}; test $(wc -l < {mark}) = 2', expect_exit: 0}}\n"));
    desk.passes("steps:\n  - {action: run, command: 'true', latency: {samples: 5, p50: 5s, max: 10s}}\n");
    // Three of five that are slow are too many, whatever the others take.
    let slow = desk.path().join("slow");
    desk.fails(
        &format!(
            "steps:\n  - {{action: run, shell: true, command: 'echo x >> {}; sleep 0.05', latency: {{samples: 5, p50: 20ms}}}}\n",
            slow.display()
        ),
        "time, p50 0.0",
    );
    assert_eq!(fs::read_to_string(&slow).unwrap().lines().count(), 3);
    let inspected = |seconds: &str| {
        format!(
            "steps:\n  - {{action: run, command: 'echo --inspect first token after {seconds} s', first_token: {{samples: 5, p50: 1s}}}}\n"
        )
    };
    desk.passes(&inspected("0.5"));
    desk.fails(&inspected("1.5"), "time to the first token, p50 1.5, at most 1 s");
    desk.fails(
        "steps:\n  - {action: run, command: echo --inspect, first_token: {samples: 5, p50: 1s}}\n",
        "does not say when the first token came",
    );
}

const SERVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_GET(self):
        code = 200 if self.path == "/health" else 404
        self.send_response(code); self.send_header("X-Kind", "test"); self.end_headers()
        self.wfile.write(b'{"path": "%s"}' % self.path.encode())
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.send_header("content-type", "text/event-stream"); self.end_headers()
        for word in ["one ", "two"]: self.wfile.write(b'data: {"t": "%s"}\n\n' % word.encode())
        self.wfile.write(b"data: [DONE]\n\n")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

#[test]
fn services_are_started_asked_and_stopped() {
    let desk = Desk::new();
    let script = desk.write("server.py", SERVER).display().to_string();
    let playbook = |ready: &str, steps: &str| {
        format!(
            "services:\n  - {{name: web, command: 'python3 {script} {{port}}', ready: {ready}}}\nsteps:\n{steps}"
        )
    };
    let get = "  - {action: http, url: '{web.url}/health', expect_headers: {x-kind: test}, expect_json: [{at: /path, equals: /health}], output_contains: health}\n";
    let post = "  - {action: http, url: '{web.url}/v1', body: '{\"n\": 1}', expect_events: {at_least: 3, at_most: 3, last: '[DONE]', each: [{at: /t, not_empty: true}], text_at: /t}, output_matches: ^one two$}\n";
    for ready in ["{tcp: true}", "{http: /health}"] {
        desk.passes(&playbook(ready, &format!("{get}{post}")));
    }
    desk.fails(
        &playbook("{tcp: true}", "  - {action: http, url: '{web.url}/lost', expect_status: 200}\n"),
        "answers with status 404, expected 200",
    );
    desk.fails(
        &playbook("{tcp: true}", &post.replace("at_least: 3", "at_least: 4").replace("at_most: 3, ", "")),
        "3 events, at least 4",
    );
    desk.fails(
        &playbook("{tcp: true}", &get.replace("x-kind: test", "x-kind: none")),
        "the header `x-kind` is \"test\"",
    );
    desk.fails(
        &playbook("{tcp: true}", "  - {action: http, url: 'http://192.0.2.1/', expect_status: 200}\n"),
        "is not on this machine",
    );
    desk.fails("services:\n  - {name: s, command: \"sh -c 'echo broken; exit 3' {port}\", ready: {tcp: true}}\nsteps:\n  - {action: run, command: 'true', expect_exit: 0}\n", "ended before it was ready (exit 3): broken");
    desk.fails("services:\n  - {name: s, command: sh -c 'echo ready; sleep 0.3', ready: {output: ready}}\nsteps:\n  - {action: run, command: sleep 1, expect_exit: 0}\n", "ended before it was stopped (exit 0)");
    desk.fails("services:\n  - {name: s, command: sleep 30, ready: {output: ready}, timeout: 200ms}\nsteps:\n  - {action: run, command: 'true', expect_exit: 0}\n", "is not ready after 0.2 s");
}

#[test]
fn broken_playbooks_exit_with_2_and_name_their_place() {
    let desk = Desk::new();
    let file = desk.write("broken.yaml", "name: x\nstep: []\nsteps:\n  - {action: run, command: 'a | b'}\n");
    for verb in [&["run", "--no-build"][..], &["playbook", "validate"]] {
        let ended = probador(&[verb, &[file.to_str().unwrap()]].concat());
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for place in [
            ":2:1: unknown key `step`",
            ":4:28: the command cannot be split",
            ":4:5: a step that expects nothing",
        ] {
            assert!(
                ended.stderr.contains(&format!("{}{place}", file.display())),
                "{place}: {}",
                ended.stderr
            );
        }
    }
    fs::write(&file, b"name: \xff\n").unwrap();
    let ended = probador(&["playbook", "validate", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains(":1:1: this line is not text in UTF-8"), "{}", ended.stderr);
}

#[test]
fn other_formats_and_other_endings() {
    let desk = Desk::new();
    let good =
        "name: x\nneeds: []\ntags: [quick]\nsteps:\n  - {action: run, command: 'true', expect_exit: 0}\n";
    let ended = desk.run(good, &["--format", "json", "--repeat", "3"]);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["playbooks"].as_array().unwrap().len(), 3);
    assert_eq!((&document["playbooks"][0]["verdict"], &document["model"]), (&"pass".into(), &"tiny".into()));
    assert_eq!(desk.run(good, &["--format", "terse"]).stdout, "pass playbook\n");
    assert_eq!(desk.run(good, &["--tag", "slow"]).code, Some(4));
    assert_eq!(desk.run(good, &["--tag", "quick"]).code, Some(0));
    let gate = desk.run(good, &["--gate"]);
    assert_eq!(gate.code, Some(5));
    assert!(gate.stderr.contains("1 of 50 playbooks are there"), "{}", gate.stderr);
    let wasm = desk.run("name: x\nrunner: wasm\nneeds: []\ncomponent: a\ncases: [{name: a, input: b, expect_not_empty: true}]\n", &[]);
    assert_eq!(wasm.code, Some(4));
    assert!(wasm.stderr.contains("waits for `subjects/wasm`"), "{}", wasm.stderr);
    let missing = probador(&["run", "--no-build", "no-such-playbook"]);
    assert_eq!(missing.code, Some(3));
    assert!(missing.stderr.contains("`no-such-playbook` names no playbook"), "{}", missing.stderr);
}

#[test]
fn a_new_playbook_is_valid_red_and_never_written_over_another() {
    let desk = Desk::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for shared in ["checklist", "golden", "subjects"] {
        std::os::unix::fs::symlink(root.join(shared), desk.path().join(shared)).unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-probador"));
        let output = command
            .arg("--root")
            .arg(desk.path())
            .args(arguments)
            .env("NO_COLOR", "1")
            .env_remove("PROBADOR_MODEL")
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = run(&["playbook", "create", "edge-cases/right-to-left"]);
    assert_eq!(code, Some(0), "{said}");
    let file = desk.path().join("playbooks/edge-cases/right-to-left.yaml");
    let (code, said) = run(&["playbook", "validate", "edge-cases/right-to-left"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["run", "--no-build", "right-to-left"]);
    assert!(matches!(code, Some(100)) && said.contains("TODO"), "{said}");
    fs::write(&file, "mine\n").unwrap();
    let (code, said) = run(&["playbook", "create", "edge-cases/right-to-left"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("is left as it is") && fs::read_to_string(&file).unwrap() == "mine\n", "{said}");
    assert_eq!(run(&["playbook", "create", "nowhere/x"]).0, Some(1));
}

#[test]
fn ctrl_c_ends_what_was_started_and_says_so() {
    let desk = Desk::new();
    let (started, mark) = (desk.path().join("started"), desk.path().join("mark"));
    let script = format!("touch {}; sleep 2; touch {}", started.display(), mark.display());
    let file = desk.write("long.yaml", &format!("name: x\nneeds: []\nsteps:\n  - {{action: run, shell: true, command: '{script}', expect_exit: 0}}\n"));
    let mut child = engine()
        .args(["run", "--no-build", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !started.exists() {
        assert!(Instant::now() < deadline, "it never started");
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    std::thread::sleep(Duration::from_millis(2200));
    assert!(!mark.exists(), "what was started lived on");
}
