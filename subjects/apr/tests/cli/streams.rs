//! Standard streams: data and talk apart, closed pipes, full disks, JSON, colour.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Place, apr};

#[test]
fn reader_that_had_enough_ends_the_command_quietly() {
    let place = Place::new();
    let commands: [&[&str]; 5] = [
        &["tensors", "model.apr"],
        &["inspect", "model.apr", "--json"],
        &["validate", "model.apr"],
        &["completions", "zsh"],
        &["--help"],
    ];
    for args in commands {
        // A pipe whose reading end is closed before anything is written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command().args(args).stdout(writer).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{args:?}: {stderr}");
    }
}

#[test]
fn head_of_a_long_list_ends_the_command_quietly() {
    let place = Place::new();
    let mut child = place
        .command()
        .args(["chat", "model.apr", "--max-tokens", "400", "--inspect"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"Hello").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("[DEBUG] Tokenized: ["), "{line}");
    // The reader is gone by now.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn full_disk_behind_stdout_is_an_error() {
    let place = Place::new();
    for args in [["tensors", "model.apr"], ["inspect", "model.apr"], ["completions", "bash"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command().args(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("error: failed to write to standard output"), "{args:?}: {stderr}");
    }
}

#[test]
fn closed_streams_do_not_lose_the_work() {
    let place = Place::new();
    let script = "exec \"$0\" sign model.apr --key key -o signed.apr >&- 2>&- <&-";
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    let status =
        Command::new("sh").args(["-c", script]).arg(apr()).current_dir(place.path(".")).status().unwrap();
    assert_eq!(status.code(), Some(0));
    place.apr().args(["validate", "signed.apr", "--public-key", "key.pub"]).assert().success();
}

#[test]
fn every_json_output_parses_and_nothing_stands_beside_it() {
    let place = Place::new();
    crate::support::checkpoint(&place.path("checkpoint"), 1);
    let commands: [&[&str]; 9] = [
        &["import", "checkpoint", "-o", "new.apr", "--json"],
        &["inspect", "model.apr", "--json"],
        &["validate", "model.apr", "--json"],
        &["validate", "model.apr", "--json", "--quality"],
        &["tensors", "model.apr", "--json", "--stats"],
        &["tokenize", "model.apr", "--text", "Hi", "--json"],
        &["trace", "model.apr", "--prompt", "Hi", "--export", "out", "--json"],
        &["keygen", "-o", "key", "--json"],
        &["sign", "model.apr", "--key", "key", "-o", "signed.apr", "--json"],
    ];
    for args in commands {
        let text = place.stdout(args);
        let value: Result<Value, _> = serde_json::from_str(&text);
        assert!(value.is_ok(), "{args:?}: {text}");
        for word in ["inf", "NaN"] {
            assert!(!text.contains(&format!(": {word}")), "{args:?}: {text}");
        }
    }
    // The outcome is data also when it is bad news.
    let output =
        place.apr().args(["validate", "model.apr", "--json", "--require-signature"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["valid"], false);
}

#[test]
fn json_spells_statistics_of_broken_tensors() {
    let place = Place::new();
    let mut bytes = std::fs::read(place.path("model.apr")).unwrap();
    // The last tensor's last value becomes NaN; the file no longer matches its hashes, which `tensors` does not read.
    let end = bytes.len();
    let last = (0..end).rev().find(|&i| bytes[i - 1..=i] == [0x00, 0x3c]).unwrap();
    bytes[last] = 0x7e;
    std::fs::write(place.path("broken.apr"), bytes).unwrap();
    let value = place.json(["tensors", "broken.apr", "--json", "--stats"]);
    let n_nan: u64 =
        value.as_array().unwrap().iter().map(|row| row["stats"]["n_nan"].as_u64().unwrap()).sum();
    assert_eq!(n_nan, 1);
}

#[test]
fn color_follows_the_flag_and_the_environment() {
    let place = Place::new();
    let escape = |args: &[&str], no_color: bool| {
        let mut command = place.apr();
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let output = command.args(args).output().unwrap();
        (output.stdout.contains(&0x1b), output.stderr.contains(&0x1b))
    };
    assert_eq!(escape(&["inspect", "model.apr"], false), (false, false));
    assert_eq!(escape(&["--color", "always", "inspect", "model.apr"], false), (true, false));
    assert_eq!(escape(&["--color", "always", "inspect", "model.apr"], true), (true, false));
    assert_eq!(escape(&["--color", "always", "inspect", "gone.apr"], false), (false, true));
    assert_eq!(escape(&["--color", "always", "inspect", "--bad"], false), (false, true));
    assert_eq!(escape(&["--color", "always", "--help"], false), (true, false));
    assert_eq!(escape(&["--color", "never", "--help"], false), (false, false));
}

#[test]
fn talk_goes_to_stderr() {
    let place = Place::new();
    crate::support::checkpoint(&place.path("checkpoint"), 1);
    let output = place.apr().args(["import", "checkpoint", "-o", "new.apr", "--json"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("importing"), "{stderr}");
}
