//! Playbooks and what runs beside them: servers, services that end badly, Ctrl-C, a stand-in without its program.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::desk::{Desk, engine, probador};

/// Answers every request with `answer`, and hands over what was asked. Returns the port.
fn server(answer: &'static str) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            sender.send(request(&stream)).unwrap();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
    });
    (port, asked)
}

/// A request with its body, names of headers in lower case.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some((name, value)) = line.split_once(": ") {
            line = format!("{}: {value}", name.to_ascii_lowercase());
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        text += &line;
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

#[test]
fn headers_are_sent_as_they_are_and_a_body_is_json_unless_they_say_otherwise() {
    let desk = Desk::new();
    let (port, asked) = server("fine");
    let ask = |keys: &str| {
        let url = format!("url: 'http://127.0.0.1:{port}/x', expect_output: fine");
        desk.passes(&format!("steps:\n  - {{action: http, {url}, {keys}}}\n"));
        asked.try_recv().unwrap()
    };
    let request = ask("headers: {x-kind: '{model}'}");
    assert!(request.starts_with("GET /x HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("/golden/tiny/tiny.apr\r\n") && !request.contains("content-type"), "{request}");
    let request = ask("method: PUT, body: '{}'");
    assert!(request.starts_with("PUT /x "), "{request}");
    assert!(request.contains("content-type: application/json\r\n") && request.ends_with("{}"), "{request}");
    let request = ask("headers: {Content-Type: text/plain}, body: words");
    assert!(request.starts_with("POST /x "), "{request}");
    assert!(
        request.contains("content-type: text/plain\r\n") && !request.contains("application/json"),
        "{request}"
    );
}

#[test]
fn a_request_that_fails_is_shown_as_it_can_be_typed() {
    let desk = Desk::new();
    let (port, _asked) = server("data: {\"t\": \"a\"}\n\n");
    let ask = |keys: &str, words: &str| {
        let url = format!("url: 'http://127.0.0.1:{port}/'");
        desk.fails(&format!("steps:\n  - {{name: ask, action: http, {url}, {keys}}}\n"), words).stdout
    };
    let said = ask("headers: {x-kind: it's}, expect_status: 404", "answers with status 200, expected 404");
    let typed = format!(r"command: curl -i -X GET -H 'x-kind: it'\''s' http://127.0.0.1:{port}/");
    assert!(said.contains(&typed), "{typed} is not in {said}");
    assert!(said.contains("ended: status 200 after"), "{said}");
    let said = ask("body: '{}', expect_headers: {x-kind: a}", "the answer has no header `x-kind`");
    let typed = "command: curl -i -X POST -H 'content-type: application/json' -d '{}' http://127.0.0.1:";
    assert!(said.contains(typed), "{typed} is not in {said}");
    // Without a place for the text, the events themselves are what is judged.
    ask(
        "expect_events: {at_least: 1, last: '[DONE]'}",
        r#"the last event is "{\"t\": \"a\"}", expected "[DONE]""#,
    );
    ask("expect_events: {at_least: 1}, output_lacks: 'data:'", "the body contains \"data:\"");

    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let said = desk.fails(
        &format!("steps:\n  - {{action: http, url: 'http://127.0.0.1:{free}/', expect_status: 200}}\n"),
        &format!("no answer from http://127.0.0.1:{free}/"),
    );
    assert!(said.stdout.contains("ended: no answer after"), "{}", said.stdout);
}

const SERVICE: &str = "services:\n  - {name: s, ready: {output: ready}, command: ";
const STEP: &str = "}\nsteps:\n  - {action: run, command: 'true', expect_exit: 0}\n";

#[test]
fn a_service_is_given_the_model_and_its_variables() {
    let desk = Desk::new();
    let script = r#"case "$0 $WHO" in *"/golden/tiny/tiny.apr me:"[0-9]*) echo ready;; esac; exec sleep 30"#;
    let command = format!("|-\n      sh -c '{script}' model.apr");
    let text = format!(
        "services:\n  - name: s\n    ready: {{output: ready}}\n    env: {{WHO: 'me:{{port}}'}}\n    command: {command}\n{}",
        &STEP[2..]
    );
    desk.passes(&text);
}

#[test]
fn a_service_that_ends_badly_fails_the_playbook() {
    let desk = Desk::new();
    let service = |script: &str| format!("{SERVICE}\"sh -c '{script}'\"{STEP}");
    let killed = "service \"s\": `sh -c 'kill -9 $$'` ended before it was ready (killed by a signal):";
    desk.fails(&service("kill -9 $$"), killed);
    let left = "service \"s\": left 1 running: sleep 31";
    // What is started while a signal is ignored goes on ignoring it.
    let script = r#"trap \"\" TERM; sleep 31 >/dev/null 2>&1 & trap - TERM; echo ready; wait"#;
    desk.fails(&service(script), left);
    desk.fails(&format!("{SERVICE}no-such-program{STEP}"), "failed to start `no-such-program`");
}

#[test]
fn repeats_of_a_whole_playbook_are_counted() {
    let desk = Desk::new();
    let playbook = |keys: &str| {
        format!(
            "repeats: 3\n{keys}steps:\n  - {{name: never, action: run, command: 'false', expect_exit: 0}}\n"
        )
    };
    let said = desk.fails(&playbook("min_pass: 1\n"), "0 of 3 repeats pass, at least 1 must");
    assert_eq!(said.stdout.matches("step \"never\": exits with 1, expected 0").count(), 3, "{}", said.stdout);
    desk.fails(&playbook(""), "0 of 3 repeats pass, at least 3 must");
}

#[test]
fn what_a_command_reads_is_shown_unless_it_is_long() {
    let desk = Desk::new();
    let step =
        |input: &str| format!("steps:\n  - {{action: run, command: cat, stdin: {input}, output_lacks: x}}\n");
    let typed = |input: &str| desk.fails(&step(input), "standard output contains \"x\"").stdout;
    let short = "x".repeat(500);
    assert!(typed(&short).contains(&format!("command: printf %s {short} | cat\n")));
    assert!(typed(&"x".repeat(501)).contains("command: (with 501 bytes to read) cat\n"));
}

#[test]
fn json_that_is_nothing_or_a_fraction_is_compared_as_such() {
    let desk = Desk::new();
    let step = |expected: &str| {
        format!(
            "steps:\n  - {{action: run, command: 'echo ''{{\"n\": null, \"f\": 2.5}}''', expect_json: [{expected}]}}\n"
        )
    };
    for good in ["{at: /n, equals: ~}", "{at: /f, equals: 2.5}"] {
        desk.passes(&step(good));
    }
    desk.fails(&step("{at: /f, equals: ~}"), "/f is 2.5, expected null");
    desk.fails(&step("{at: /n, equals: 2.5}"), "/n is null, expected 2.5");
    desk.fails(&step("{at: /f, length: 1}"), "/f has no elements, expected 1");
}

#[test]
fn ctrl_c_while_nothing_that_was_started_runs_ends_at_once() {
    let desk = Desk::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let steps =
        format!("steps:\n  - {{action: http, url: 'http://127.0.0.1:{port}/', expect_status: 200}}\n");
    let file = desk.write("asks.yaml", &format!("name: x\nneeds: []\n{steps}"));
    let mut child = engine()
        .args(["run", "--no-build", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has asked, and is never answered.
    let (stream, _) = listener.accept().unwrap();
    assert!(request(&stream).starts_with("GET / "));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_stand_in_names_the_program_that_it_cannot_become_or_run() {
    let desk = Desk::new();
    for fault in ["nothing", "apr-ignores-seed", "apr-ignores-json", "apr-reply-cut"] {
        let memory = desk.path().to_str().unwrap();
        let ended = probador(&["misbehave", fault, memory, "/no/such/apr", "chat"]);
        let said = "error: failed to run `/no/such/apr`: No such file or directory";
        assert!(ended.stderr.starts_with(said), "{fault}: {}", ended.stderr);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{fault}");
    }
}
