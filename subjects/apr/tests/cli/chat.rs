//! A conversation through pipes: a prompt on standard input, a reply on standard output.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{CONTEXT, Place, checkpoint, n_threads_called, shown};

/// The reply to `prompt` with these flags.
#[track_caller]
fn reply(place: &Place, prompt: &str, flags: &[&str]) -> String {
    let output = place.apr().args(["chat", "model.apr"]).args(flags).write_stdin(prompt).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn reply_is_the_only_thing_on_stdout_and_repeats_itself_when_greedy() {
    let place = Place::new();
    let flags = ["--temperature", "0", "--max-tokens", "20"];
    let first = reply(&place, "What is 2+2?", &flags);
    assert!(first.ends_with('\n') && !first.contains("Assistant") && !first.contains("==="), "{first}");
    assert_eq!(reply(&place, "What is 2+2?", &flags), first);
    // A canned reply would be the same for another prompt and another model.
    assert_ne!(reply(&place, "What is 3+3?", &flags), first);
    checkpoint(&place.path("checkpoint"), 2);
    place.apr().args(["import", "checkpoint", "-o", "model.apr", "--force"]).assert().success();
    assert_ne!(reply(&place, "What is 2+2?", &flags), first);
}

#[test]
fn line_end_of_echo_is_not_part_of_the_prompt() {
    let place = Place::new();
    let flags = ["--temperature", "0", "--max-tokens", "8"];
    assert_eq!(reply(&place, "Hello\n", &flags), reply(&place, "Hello", &flags));
    assert_ne!(reply(&place, "Hello\n\n", &flags), reply(&place, "Hello", &flags));
}

#[test]
fn commands_in_a_piped_prompt_are_text() {
    let place = Place::new();
    reply(&place, "/save stolen.json", &["--max-tokens", "4"]);
    assert_eq!(place.names(), ["model.apr"]);
}

#[test]
fn seed_decides_the_reply() {
    let place = Place::new();
    let with_seed =
        |seed: &str| reply(&place, "Hello", &["--temperature", "1", "--max-tokens", "30", "--seed", seed]);
    assert_eq!(with_seed("1"), with_seed("1"));
    assert_ne!(with_seed("1"), with_seed("2"));
    let unseeded = || reply(&place, "Hello", &["--temperature", "1", "--max-tokens", "30"]);
    assert_ne!(unseeded(), unseeded());
}

#[test]
fn unicode_prompt_has_a_reply() {
    let place = Place::new();
    assert!(
        !reply(&place, "日本語で返答してください 🇯🇵", &["--max-tokens", "20", "--temperature", "0"])
            .trim()
            .is_empty()
    );
}

#[test]
fn empty_prompt_and_undecodable_prompt_are_refused() {
    let place = Place::new();
    for (prompt, expected) in [
        (&b""[..], "the prompt is empty"),
        (b" \n", "the prompt is empty"),
        (b"a\xff", "is not UTF-8: byte 1"),
    ] {
        let output = place.apr().args(["chat", "model.apr"]).write_stdin(prompt).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty() && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn reply_beyond_the_context_is_refused_and_names_the_memory() {
    let place = Place::new();
    let run = |flags: &[&str], prompt: &str| {
        shown(&place.apr().args(["chat", "model.apr"]).args(flags).write_stdin(prompt).output().unwrap())
    };
    insta::assert_snapshot!(run(&["--max-tokens", "100000"], "Generate a very long response"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: --max-tokens 100000 and a prompt do not fit the context of 512 tokens; a context that long would take 51.2 MB of memory
    hint: ask for at most 511 tokens
    ");
    // It fits the context alone, and not with the prompt.
    insta::assert_snapshot!(run(&["--max-tokens", "500"], "Generate a very long response"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: failed to generate a reply: the sequence needs 548 tokens, the context holds 512 (a cache that long would take 280576 bytes of memory)
    hint: --max-tokens asks for less, --context makes room for more (if the model was made for it), /reset forgets the conversation
    ");
    insta::assert_snapshot!(run(&["--context", "100000"], "Hi"), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the model was made for a context of at most 512 tokens; one of 100000 would take 51.2 MB of memory and give no sensible replies
    hint: ask for a smaller --context
    ");
    insta::assert_snapshot!(run(&[], &"x".repeat(CONTEXT)), @r"
    exit: 1
    --- stdout
    --- stderr
    error: failed to generate a reply: the sequence needs 532 tokens, the context holds 512 (a cache that long would take 272384 bytes of memory)
    hint: --max-tokens asks for less, --context makes room for more (if the model was made for it), /reset forgets the conversation
    ");
}

#[test]
fn longest_reply_that_fits_is_generated() {
    let place = Place::new();
    let reply = reply(&place, "Hi", &["--max-tokens", "400", "--temperature", "1", "--seed", "1"]);
    assert!(reply.len() > 50, "{reply}");
}

#[test]
fn inspection_shows_what_the_model_saw() {
    let place = Place::new();
    let flags =
        ["--inspect", "--temperature", "0", "--max-tokens", "3", "--top", "4", "--layer", "1", "--head", "2"];
    let text = reply(&place, "Hi", &flags);
    // The ids are those that `trace` has for the same prompt.
    let traced = place.json(["trace", "model.apr", "--prompt", "Hi", "--chat", "--export", "out", "--json"]);
    let ids: Vec<String> = traced["ids"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let expected = format!("[DEBUG] Tokenized: [{}] ({} tokens)\n\nAssistant: ", ids.join(", "), ids.len());
    assert!(text.starts_with(&expected), "{text}");
    // So are the candidates of the first step.
    let (_, candidates) = text.split_once("[DEBUG] Top-4 Candidates:\nstep 1: ").unwrap();
    for (rank, (line, next)) in
        candidates.lines().skip(1).take(4).zip(traced["next"].as_array().unwrap()).enumerate()
    {
        let token = next["token"].to_string();
        let expected = format!(
            "  {}. {token} ({:.4}) [{}]",
            rank + 1,
            next["probability"].as_f64().unwrap(),
            next["id"]
        );
        assert_eq!(line, expected);
    }
    assert_eq!(text.matches("\nstep ").count(), 3);
    assert!(text.contains("[DEBUG] Attention: layer 1, head 2; a row for each chosen token"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 3, "{text}");
    assert!(text.contains("\nshare of attention, at least:  . 1%"), "{text}");
    let last = text.lines().last().unwrap();
    let figures: Vec<&str> =
        last.strip_prefix("[Stats: ").unwrap().strip_suffix("MB]").unwrap().split(" | ").collect();
    let figure = |text: &str| text.parse::<f64>().unwrap();
    assert!(figure(figures[0].strip_suffix(" tok/s").unwrap()) > 0.0);
    assert!(figure(figures[1].strip_prefix("PPL: ").unwrap()) >= 1.0);
    assert!(figure(figures[2].strip_prefix("Mem: ").unwrap()) > 1.0);
}

#[test]
fn heatmap_shows_the_attention_that_was_traced() {
    let place = Place::new();
    let flags = ["--inspect", "--temperature", "0", "--max-tokens", "1", "--layer", "0", "--head", "3"];
    let text = reply(&place, "Hi", &flags);
    place
        .apr()
        .args(["trace", "model.apr", "--prompt", "Hi", "--chat", "--export", "out"])
        .assert()
        .success();
    let scores: ndarray::Array2<f32> =
        ndarray_npy::read_npy(place.path("out/model.layers.0.self_attn.scores.npy")).unwrap();
    let n_keys = (((8 * scores.ncols() + 1) as f64).sqrt() as usize - 1) / 2;
    let last: Vec<f32> = scores.row(3).iter().copied().skip(scores.ncols() - n_keys).collect();
    let sum: f32 = last.iter().map(|score| score.exp()).sum();
    let row = text.lines().find_map(|line| line.strip_prefix('|')).unwrap();
    let legend = text.lines().find_map(|line| line.strip_prefix("share of attention, at least:  ")).unwrap();
    let steps: Vec<(char, f32)> = legend
        .split("  ")
        .map(|step| {
            let (shade, percent) = step.split_once(' ').unwrap();
            (
                shade.chars().next().unwrap(),
                percent.strip_suffix('%').unwrap().parse::<f32>().unwrap() / 100.0,
            )
        })
        .collect();
    for (key, (shade, score)) in row.chars().zip(&last).enumerate() {
        let share = score.exp() / sum;
        let expected = steps.iter().rev().find(|(_, step)| share >= *step).map_or(' ', |(shade, _)| *shade);
        // A share within rounding of a bound may land on either side.
        let is_close = steps.iter().any(|(_, step)| (share - step).abs() < 1e-4);
        assert!(shade == expected || is_close, "key {key}: `{shade}` for a share of {share}");
    }
}

#[test]
fn layer_or_head_that_is_not_there_is_refused() {
    let place = Place::new();
    let run = |flags: &[&str]| {
        shown(
            &place
                .apr()
                .args(["chat", "model.apr", "--inspect"])
                .args(flags)
                .write_stdin("Hi")
                .output()
                .unwrap(),
        )
    };
    insta::assert_snapshot!(run(&["--layer", "2"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: there is no layer 2
    hint: the model has layers 0 to 1
    ");
    insta::assert_snapshot!(run(&["--head", "4"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: there is no head 4
    hint: the model has heads 0 to 3
    ");
}

#[test]
fn reply_streams_unless_told_not_to() {
    let place = Place::endless();
    let first_read = |flags: &[&str]| {
        let flags =
            [&["chat", "model.apr", "--temperature", "1", "--seed", "5", "--max-tokens", "2000"], flags]
                .concat();
        let mut child =
            place.command().args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Hello").unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 1 << 16];
        let n_first = stdout.read(&mut buffer).unwrap();
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        assert!(child.wait().unwrap().success());
        (n_first, n_first + rest.len())
    };
    let (n_first, n_all) = first_read(&[]);
    assert!(n_first < n_all / 2, "{n_first} of {n_all} bytes came first");
    let (n_first, n_all) = first_read(&["--no-stream"]);
    // All but the line end, which may come by itself.
    assert!(n_all - n_first <= 1, "{n_first} of {n_all} bytes came first");
}

#[test]
fn threads_are_as_many_as_asked_for_and_change_nothing() {
    let place = Place::new();
    let run = |n_threads: usize| {
        let n = n_threads.to_string();
        let args = ["chat", "model.apr", "--temperature", "0", "--max-tokens", "16", "--threads", n.as_str()];
        let mut child =
            place.command().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Workers of the compute team, beside the main thread. The model is loaded before the prompt is read.
        let n_workers = || n_threads_called(child.id(), "team-");
        let deadline = Instant::now() + Duration::from_secs(30);
        while n_workers() < n_threads - 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Too many would come now.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(n_workers(), n_threads - 1);
        child.stdin.take().unwrap().write_all(b"Hello").unwrap();
        child.wait_with_output().unwrap().stdout
    };
    let reply = run(2);
    assert_eq!(run(4), reply);
    assert_eq!(run(5), reply);
}

#[test]
fn scoring_and_quantizing_run_on_as_many_threads_as_asked_for() {
    let place = Place::new();
    for n_threads in [1, 3] {
        let n = n_threads.to_string();
        let eval = ["eval", "model.apr", "--dataset", "-", "--threads", n.as_str()];
        let convert = [
            "convert",
            "model.apr",
            "--quantize",
            "int8",
            "--method",
            "gptq",
            "--calibration",
            "-",
            "-o",
            "out",
            "--threads",
            n.as_str(),
        ];
        for args in [&eval[..], &convert[..]] {
            let mut child =
                place.command().args(args).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            // Both wait for their text.
            let n_in_pool = || n_threads_called(child.id(), "pool-");
            let deadline = Instant::now() + Duration::from_secs(30);
            while n_in_pool() < n_threads && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Too many would come now.
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(n_in_pool(), n_threads, "{args:?}");
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}

#[test]
fn weights_are_locked_in_memory_where_that_is_asked_for() {
    let place = Place::new();
    let size = place.path("model.apr").metadata().unwrap().len() / 1024;
    for (flags, is_locked) in
        [(&["--mlock"][..], true), (&["--mlock", "--load", "memory"], true), (&[], false)]
    {
        let args = ["chat", "model.apr", "--max-tokens", "1"].iter().chain(flags);
        let mut child =
            place.command().args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let locked = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().to_owned();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        // The model is loaded before the prompt is read.
        let deadline = Instant::now() + Duration::from_secs(if is_locked { 30 } else { 1 });
        while locked() < size && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(locked() >= size, is_locked, "{flags:?}: {} kB", locked());
        child.stdin.take().unwrap().write_all(b"Hello").unwrap();
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn weights_lie_where_they_are_asked_to_and_the_reply_is_the_same() {
    let place = Place::new();
    let run = |load: &str| {
        let args = ["chat", "model.apr", "--temperature", "0", "--max-tokens", "16", "--load", load];
        let mut child =
            place.command().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // The first output follows the loading.
        child.stdin.take().unwrap().write_all(b"Hello").unwrap();
        let mut reply = vec![0];
        child.stdout.as_mut().unwrap().read_exact(&mut reply).unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap_or_default();
        reply.extend(child.wait_with_output().unwrap().stdout);
        (maps, reply)
    };
    let mut seen = [false; 2];
    // A short reply may be over before its process is looked at.
    for _ in 0..50 {
        let (maps, mapped) = run("mapped");
        seen[0] |= maps.contains("model.apr");
        let (maps, copied) = run("memory");
        assert_eq!(mapped, copied);
        seen[1] |= maps.contains("[heap]") && !maps.contains("model.apr");
        if seen == [true; 2] {
            return;
        }
    }
    panic!("mapped seen: {}, in memory seen: {}", seen[0], seen[1]);
}
