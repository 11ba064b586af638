//! Faults of the file system, killed processes and rivals: the old file or the new one, never part of one.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Checkpoint, Place, apr, checkpoint, names, shown};

/// `apr` with files limited to `n_blocks` of 512 bytes, which is how a full disk looks to a writer.
fn limited(place: &Place, n_blocks: u64, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -f {n_blocks}; exec \"$0\" \"$@\"")]).arg(apr()).args(args);
    command.current_dir(place.path(".")).env("HOME", place.path(".")).stdin(Stdio::null()).output().unwrap()
}

/// Every command that writes, its output, and the largest file it writes there.
fn writers(place: &Place) -> Vec<(Vec<&'static str>, &'static str, u64)> {
    checkpoint(&place.path("checkpoint"), 1);
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    let size = place.path("model.apr").metadata().unwrap().len();
    vec![
        (vec!["import", "checkpoint", "-o", "out"], "out", size),
        (vec!["sign", "model.apr", "--key", "key", "-o", "out"], "out", size),
        (vec!["keygen", "-o", "out"], "out", 93),
        (
            vec!["trace", "model.apr", "--prompt", "Hello, world", "--export", "out"],
            "out",
            128 + 12 * 264 * 4,
        ),
    ]
}

#[test]
fn full_disk_at_any_point_leaves_nothing_behind() {
    let place = Place::new();
    for (args, _, size) in writers(&place) {
        let before = place.names();
        let n_blocks = size.div_ceil(512);
        for limit in (0..n_blocks).step_by((n_blocks as usize / 25).max(1)) {
            let output = limited(&place, limit, &args);
            assert_eq!(output.status.code(), Some(1), "{args:?} with {limit} blocks: {}", shown(&output));
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(stderr.contains("error: ") && stderr.contains("out"), "{args:?}: {stderr}");
            assert_eq!(place.names(), before, "{args:?} with {limit} blocks");
        }
        // The limit was what stood in the way.
        let output = limited(&place, n_blocks + 1, &args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", shown(&output));
        let _ = fs::remove_file(place.path("out")).or_else(|_| fs::remove_dir_all(place.path("out")));
        let _ = fs::remove_file(place.path("out.pub"));
    }
}

#[test]
fn full_disk_keeps_what_was_to_be_replaced() {
    let place = Place::new();
    for (args, out, _) in writers(&place).into_iter().filter(|(args, ..)| args[0] != "keygen") {
        let out = place.path(out);
        place.apr().args(&args).assert().success();
        let read = || if out.is_dir() { fs::read(out.join("logits.npy")) } else { fs::read(&out) };
        let (before, all) = (read().unwrap(), place.names());
        let output = limited(&place, 2, &[&args[..], &["--force"]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!((read().unwrap(), place.names()), (before, all), "{args:?}");
        let _ = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
    }
}

#[test]
fn folder_that_takes_no_files_is_an_error() {
    let place = Place::new();
    for (args, ..) in writers(&place) {
        for folder in ["/proc/self", "gone", "model.apr"] {
            let out = format!("{folder}/out");
            let args: Vec<&str> =
                args.iter().map(|&arg| if arg == "out" { out.as_str() } else { arg }).collect();
            let output = place.apr().args(&args).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
            assert!(stderr.contains("error: ") && stderr.contains(folder), "{args:?}: {stderr}");
        }
    }
}

#[test]
fn temporary_directory_on_another_device_does_not_matter() {
    let place = Place::new();
    let elsewhere = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
    for (args, out, _) in writers(&place) {
        let out = place.path(out);
        place.apr().env("TMPDIR", elsewhere.path()).args(&args).assert().success();
        let _ = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
        let _ = fs::remove_file(place.path("out.pub"));
    }
    place.apr().env("TMPDIR", "/nonexistent").args(["import", "checkpoint", "-o", "out"]).assert().success();
    assert!(names(elsewhere.path()).is_empty());
}

#[test]
fn one_of_several_writers_wins_and_the_others_say_so() {
    let place = Place::new();
    for (args, ..) in writers(&place) {
        let start =
            || place.command().args(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let rivals: Vec<Child> = (0..6).map(|_| start()).collect();
        let outputs: Vec<Output> =
            rivals.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let n_winners = outputs.iter().filter(|output| output.status.code() == Some(0)).count();
        assert_eq!(n_winners, 1, "{args:?}");
        for output in outputs.iter().filter(|output| output.status.code() != Some(0)) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
            assert!(stderr.contains("exists") || stderr.contains("appeared"), "{args:?}: {stderr}");
        }
        match args[0] {
            "import" | "sign" => drop(place.apr().args(["validate", "out"]).assert().success()),
            "keygen" => {
                // The pair belongs together.
                place.apr().args(["sign", "model.apr", "--key", "out", "-o", "signed"]).assert().success();
                place.apr().args(["validate", "signed", "--public-key", "out.pub"]).assert().success();
                fs::remove_file(place.path("signed")).unwrap();
                fs::remove_file(place.path("out.pub")).unwrap();
            }
            _ => assert_eq!(fs::read_dir(place.path("out")).unwrap().count(), 26),
        }
        let _ = fs::remove_file(place.path("out")).or_else(|_| fs::remove_dir_all(place.path("out")));
        assert_eq!(place.names(), ["checkpoint", "key", "key.pub", "model.apr"], "{args:?}");
    }
}

/// A source that takes a while: 64 MB.
fn large_checkpoint(place: &Place) {
    Checkpoint { vocab_size: 500_000, ..Checkpoint::default() }.write(&place.path("large"));
}

fn send(signal: &str, child: &Child) {
    // It may have ended by itself.
    let _ =
        Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
}

#[test]
fn killed_import_leaves_the_old_file_or_the_new_one() {
    let place = Place::new();
    large_checkpoint(&place);
    let old = fs::read(place.path("model.apr")).unwrap();
    let mut n_killed = 0;
    for round in 0..24_u64 {
        fs::write(place.path("out.apr"), &old).unwrap();
        let mut command = place.command();
        command
            .args(["import", "large", "-o", "out.apr", "--force"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * round));
        send("-KILL", &child);
        let status = child.wait().unwrap();
        n_killed += u32::from(status.code().is_none());
        let now = fs::read(place.path("out.apr")).unwrap();
        if now != old {
            place.apr().args(["validate", "out.apr"]).assert().success();
        }
        // The kernel forgets the unfinished file with the process.
        assert_eq!(place.names(), ["large", "model.apr", "out.apr"], "round {round}");
    }
    assert!(n_killed > 3, "only {n_killed} imports were killed");
}

#[test]
fn killed_trace_leaves_no_folder_or_a_whole_one() {
    let place = Place::new();
    fs::write(place.path("prompt"), "x".repeat(500)).unwrap();
    let mut n_killed = 0;
    for round in 0..20_u64 {
        let mut command = place.command();
        command.args(["trace", "model.apr", "--prompt-file", "prompt", "--export", "out"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 4));
        send("-KILL", &child);
        n_killed += u32::from(child.wait().unwrap().code().is_none());
        if place.path("out").exists() {
            assert_eq!(fs::read_dir(place.path("out")).unwrap().count(), 26);
            fs::remove_dir_all(place.path("out")).unwrap();
        }
    }
    assert!(n_killed > 3, "only {n_killed} traces were killed");
}

#[test]
fn interrupted_import_exits_with_130_and_leaves_nothing() {
    let place = Place::new();
    large_checkpoint(&place);
    let mut n_interrupted = 0;
    // On a busy machine some signals come before the program listens for them, or after it is done.
    for (round, signal) in ["-INT", "-TERM", "-HUP"].into_iter().cycle().take(60).enumerate() {
        if n_interrupted == 6 {
            break;
        }
        let mut command = place.command();
        command.args(["import", "large", "-o", "out.apr"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 + 7 * (round as u64 % 20)));
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(130) => {
                n_interrupted += 1;
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(stderr.contains("error: interrupted; nothing was written"), "{stderr}");
                assert_eq!(place.names(), ["large", "model.apr"]);
            }
            // It was done before the signal came, or had not begun to listen.
            Some(0) => fs::remove_file(place.path("out.apr")).unwrap(),
            None => assert_eq!(place.names(), ["large", "model.apr"]),
            code => panic!("{code:?}: {}", shown(&output)),
        }
    }
    assert!(n_interrupted >= 3, "only {n_interrupted} imports were interrupted");
}

#[test]
fn interrupted_reply_exits_with_130() {
    let place = Place::endless();
    let mut command = place.command();
    command.args(["chat", "model.apr", "--max-tokens", "15000"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"Hello").unwrap();
    let mut first = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    send("-INT", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.ends_with(b"\n"));
}
