//! The stand-in for `apr`, `misbehave`, in front of a program that tells what it was given: each way to misbehave as whoever
//! starts it sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// Prints its arguments, what it read and where its figures would be, says something on standard error, and exits with 9.
const APR: &str = "#!/bin/sh\nprintf '<%s>' \"$@\"\necho\ncat\necho talk >&2\nexit 9\n";

/// A folder to work in, with the program in it.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for inside in ["memory", "work"] {
            fs::create_dir(folder.path().join(inside)).unwrap();
        }
        let apr = folder.path().join("apr");
        fs::write(&apr, APR).unwrap();
        fs::set_permissions(&apr, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    /// Starts `apr`, or what is said to be it, behind `fault` with `arguments`, which may read `input`.
    fn start(&self, fault: &str, apr: &Path, arguments: &[&str], input: &str) -> assert_cmd::assert::Assert {
        let mut command = Command::cargo_bin("cargo-probador").unwrap();
        command.current_dir(self.path("work")).arg("misbehave").arg(fault).arg(self.path("memory"));
        command.arg(apr).args(arguments).write_stdin(input).assert()
    }

    /// Exit code, standard output and standard error behind `fault`.
    fn behind(&self, fault: &str, arguments: &[&str], input: &str) -> (i32, String, String) {
        let assert = self.start(fault, &self.path("apr"), arguments, input);
        let output = assert.get_output();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

#[track_caller]
fn check(fault: &str, arguments: &[&str], input: &str, expected: (i32, &str, &str)) {
    let (code, stdout, stderr) = Stage::new().behind(fault, arguments, input);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), expected, "{fault}");
}

#[test]
fn nothing_is_altered_where_nothing_is_wrong() {
    check(
        "nothing",
        &["chat", "m.apr", "--seed", "1"],
        "Hi\n",
        (9, "<chat><m.apr><--seed><1>\nHi\n", "talk\n"),
    );
}

#[test]
fn arguments_are_left_out_or_altered() {
    let call = ["chat", "mod\u{e8}le", "--max-tokens", "4", "--json"];
    check("apr-ignores-max-tokens", &call, "", (9, "<chat><mod\u{e8}le><--json>\n", "talk\n"));
    check("apr-ignores-json", &call, "", (9, "<chat><mod\u{e8}le><--max-tokens><4>\n", "talk\n"));
    let ascii = "<chat><modle><--max-tokens><4><--json>\n";
    check("apr-reads-ascii-arguments", &call, "", (9, ascii, "talk\n"));
    let stage = Stage::new();
    let seeds = [0, 1].map(|_| stage.behind("apr-ignores-seed", &["chat", "--seed", "5"], "").1);
    assert_eq!(seeds, ["<chat><--seed><1000003>\n", "<chat><--seed><2000006>\n"]);
}

#[test]
fn what_is_read_is_altered() {
    check("apr-ignores-stdin", &["a"], "Tell me\n", (9, "<a>\nHello\n", "talk\n"));
    check("apr-reads-ascii-only", &["a"], "na\u{ef}ve\n", (9, "<a>\nnave\n", "talk\n"));
    let beginning = format!("<a>\n{}", "x".repeat(200));
    check("apr-reads-beginning-only", &["a"], &"x".repeat(300), (9, &beginning, "talk\n"));
}

#[test]
fn endings_and_streams_are_altered() {
    check("apr-exits-zero", &["a"], "", (0, "<a>\n", "talk\n"));
    check("apr-exits-one", &["a"], "", (1, "<a>\n", "talk\n"));
    let panicked = "thread 'main' panicked at src/main.rs:1:1:\nindex out of bounds\n";
    check("apr-panics", &["a"], "", (101, "", panicked));
    check("apr-errors-swallowed", &["a"], "", (9, "<a>\n", ""));
    check("apr-errors-vague", &["a"], "", (9, "<a>\n", "error: something went wrong\n"));
    check("apr-errors-on-stdout", &["a"], "", (9, "<a>\ntalk\n", ""));
    check("apr-banner", &["a"], "", (9, "apr, the model runner\n<a>\n", "talk\n"));
}

#[test]
fn replies_are_altered() {
    check("apr-reply-empty", &["a"], "", (9, "", "talk\n"));
    check("apr-reply-canned", &["a"], "", (9, "The answer is 4.\n", "talk\n"));
    check("apr-reply-repeated", &["a"], "", (9, "<a>\n<a>\n<a>\n", "talk\n"));
    check("apr-reply-cut", &["a"], "", (9, "<a", "talk\n"));
    check("apr-reply-not-utf8", &["a"], "", (9, "\u{fffd}\u{fffd}<a>\n", "talk\n"));
    check(
        "apr-first-token-late",
        &["first token after 0.010 s;"],
        "",
        (9, "<first token after 9.500 s;>\n", "talk\n"),
    );
    check("apr-rate-fallen", &["[Stats: 31 tok/s]"], "", (9, "<[Stats: 0.4 tok/s]>\n", "talk\n"));
    let stage = Stage::new();
    let replies = ["one", "two"].map(|word| stage.behind("apr-reply-replayed", &["chat", word], "").1);
    assert_eq!(replies, ["<chat><one>\n", "<chat><one>\n"]);
    let other = stage.behind("apr-reply-replayed", &["a/b"], "").1;
    assert_eq!(other, "<a/b>\n", "each verb has a first start of its own");
    let marked = ["one", "one"].map(|word| stage.behind("apr-reply-never-the-same", &[word], "").1);
    assert_eq!(marked, ["<one>\n(0)\n", "<one>\n(1)\n"]);
}

#[test]
fn files_are_left_overwritten_removed_and_damaged() {
    let stage = Stage::new();
    let read = |name: &str| fs::read_to_string(stage.path("work").join(name)).unwrap();
    stage.behind("apr-leaves-file", &["a"], "");
    assert_eq!(read("apr-left-this.tmp"), "left\n");
    fs::write(stage.path("work/m.apr"), "model").unwrap();
    fs::write(stage.path("elsewhere.apr"), "model").unwrap();
    let elsewhere = stage.path("elsewhere.apr").display().to_string();
    stage.behind("apr-damages-model", &["inspect", "m.apr", &elsewhere], "");
    assert_eq!(read("m.apr"), "model\n");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "model", "it lies outside the working folder");
    stage.behind("apr-overwrites", &["import", "-o", "m.apr"], "");
    assert_eq!(read("m.apr"), "overwritten\n");
    stage.behind("apr-removes-output", &["import", "--output=m.apr"], "");
    assert!(!stage.path("work/m.apr").exists());
}

#[test]
fn a_real_program_that_cannot_be_run_is_named_whoever_stands_in_for_it() {
    for fault in
        ["nothing", "apr-reads-ascii-arguments", "apr-ignores-json", "apr-exits-one", "apr-ignores-stdin"]
    {
        let assert = Stage::new().start(fault, Path::new("/nowhere/apr"), &["chat"], "").code(3);
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(stderr.contains("failed to run `/nowhere/apr`"), "{fault}: {stderr}");
    }
}

#[test]
fn a_way_to_misbehave_that_nobody_knows_is_refused() {
    let (code, stdout, stderr) = Stage::new().behind("apr-unheard-of", &["chat"], "");
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("there is no way to misbehave called `apr-unheard-of`"), "{stderr}");
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    let assert = command.args(["misbehave", "apr-slow"]).assert().code(3);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("a stand-in is told its fault, a folder and the real program"), "{stderr}");
}
