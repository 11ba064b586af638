//! No flag is parsed and ignored: each one changes what a command does, or is refused.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Place, checkpoint, untied_checkpoint};

/// How a flag shows that it does something.
enum Effect {
    /// Exit code, standard output or files differ from those of the command line without it.
    Differs { without: &'static str, with: &'static str },
    /// Without it, the command line is refused.
    Required { without: &'static str },
    /// A test of its own, by name.
    Tested(&'static str),
}

use Effect::{Differs, Required, Tested};

/// Every flag of every command. Command lines are split at white space; `_` stands for a space.
const FLAGS: &[(&str, &str, Effect)] = &[
    ("import", "--output", Required { without: "import checkpoint" }),
    (
        "import",
        "--tie-embeddings",
        Differs { without: "import untied -o out", with: "import untied -o out --tie-embeddings" },
    ),
    (
        "import",
        "--dtype",
        Differs { without: "import checkpoint -o out", with: "import checkpoint -o out --dtype bf16" },
    ),
    (
        "import",
        "--arch",
        Differs { without: "import checkpoint -o out", with: "import checkpoint -o out --arch llama" },
    ),
    (
        "import",
        "--force",
        Differs { without: "import checkpoint -o old", with: "import checkpoint -o old --force" },
    ),
    (
        "import",
        "--json",
        Differs { without: "import checkpoint -o out", with: "import checkpoint -o out --json" },
    ),
    ("inspect", "--json", Differs { without: "inspect model.apr", with: "inspect model.apr --json" }),
    (
        "validate",
        "--quality",
        Differs { without: "validate model.apr", with: "validate model.apr --quality" },
    ),
    (
        "validate",
        "--public-key",
        Differs { without: "validate model.apr", with: "validate model.apr --public-key key.pub" },
    ),
    (
        "validate",
        "--require-signature",
        Differs { without: "validate model.apr", with: "validate model.apr --require-signature" },
    ),
    ("validate", "--json", Differs { without: "validate model.apr", with: "validate model.apr --json" }),
    ("tensors", "--stats", Differs { without: "tensors model.apr", with: "tensors model.apr --stats" }),
    (
        "tensors",
        "--filter",
        Differs { without: "tensors model.apr", with: "tensors model.apr --filter norm" },
    ),
    ("tensors", "--json", Differs { without: "tensors model.apr", with: "tensors model.apr --json" }),
    ("tokenize", "--text", Required { without: "tokenize model.apr" }),
    ("tokenize", "--file", Required { without: "tokenize model.apr" }),
    ("tokenize", "--jsonl", Required { without: "tokenize model.apr" }),
    (
        "tokenize",
        "--decode",
        Differs { without: "tokenize model.apr --text 72", with: "tokenize model.apr --text 72 --decode" },
    ),
    (
        "tokenize",
        "--parse-special",
        Differs {
            without: "tokenize model.apr --text <|im_end|>",
            with: "tokenize model.apr --text <|im_end|> --parse-special",
        },
    ),
    (
        "tokenize",
        "--json",
        Differs { without: "tokenize model.apr --text a", with: "tokenize model.apr --text a --json" },
    ),
    (
        "chat",
        "--max-tokens",
        Differs { without: GREEDY, with: "chat model.apr --temperature 0 --max-tokens 3" },
    ),
    (
        "chat",
        "--temperature",
        Differs { without: SAMPLED, with: "chat model.apr --seed 1 --max-tokens 20 --temperature 0" },
    ),
    (
        "chat",
        "--top-p",
        Differs {
            without: SAMPLED,
            with: "chat model.apr --seed 1 --max-tokens 20 --temperature 1 --top-p 0.1",
        },
    ),
    (
        "chat",
        "--top-k",
        Differs {
            without: SAMPLED,
            with: "chat model.apr --seed 1 --max-tokens 20 --temperature 1 --top-k 1",
        },
    ),
    (
        "chat",
        "--min-p",
        Differs {
            without: SAMPLED,
            with: "chat model.apr --seed 1 --max-tokens 20 --temperature 1 --min-p 1",
        },
    ),
    (
        "chat",
        "--repetition-penalty",
        Differs {
            without: GREEDY,
            with: "chat model.apr --temperature 0 --max-tokens 20 --repetition-penalty 9",
        },
    ),
    ("chat", "--seed", Tested("seed_decides_the_reply")),
    (
        "chat",
        "--system",
        Differs { without: GREEDY, with: "chat model.apr --temperature 0 --max-tokens 20 --system Be_brief" },
    ),
    ("chat", "--no-stream", Tested("reply_streams_unless_told_not_to")),
    (
        "chat",
        "--context",
        Differs { without: GREEDY, with: "chat model.apr --temperature 0 --max-tokens 20 --context 30" },
    ),
    ("chat", "--threads", Tested("threads_are_as_many_as_asked_for_and_change_nothing")),
    ("chat", "--load", Tested("weights_lie_where_they_are_asked_to_and_the_reply_is_the_same")),
    ("chat", "--mlock", Tested("weights_are_locked_in_memory_where_that_is_asked_for")),
    ("chat", "--inspect", Differs { without: GREEDY, with: INSPECTED }),
    (
        "chat",
        "--layer",
        Differs {
            without: INSPECTED,
            with: "chat model.apr --temperature 0 --max-tokens 20 --inspect --layer 0",
        },
    ),
    (
        "chat",
        "--head",
        Differs {
            without: INSPECTED,
            with: "chat model.apr --temperature 0 --max-tokens 20 --inspect --head 0",
        },
    ),
    (
        "chat",
        "--top",
        Differs {
            without: INSPECTED,
            with: "chat model.apr --temperature 0 --max-tokens 20 --inspect --top 2",
        },
    ),
    ("trace", "--prompt", Required { without: "trace model.apr --export out" }),
    ("trace", "--prompt-file", Required { without: "trace model.apr --export out" }),
    ("trace", "--ids", Required { without: "trace model.apr --export out" }),
    (
        "trace",
        "--chat",
        Differs {
            without: "trace model.apr --prompt a --export out",
            with: "trace model.apr --prompt a --export out --chat",
        },
    ),
    ("trace", "--export", Required { without: "trace model.apr --prompt a" }),
    (
        "trace",
        "--logits",
        Differs {
            without: "trace model.apr --prompt ab --export out",
            with: "trace model.apr --prompt ab --export out --logits last",
        },
    ),
    (
        "trace",
        "--keys",
        Differs {
            without: "trace model.apr --prompt a --export out",
            with: "trace model.apr --prompt a --export out --keys norm",
        },
    ),
    ("trace", "--force", Tested("folder_is_replaced_only_when_asked_and_only_when_it_is_an_export")),
    (
        "trace",
        "--json",
        Differs {
            without: "trace model.apr --prompt a --export out",
            with: "trace model.apr --prompt a --export out --json",
        },
    ),
    ("sign", "--key", Required { without: "sign model.apr -o out" }),
    ("sign", "--output", Required { without: "sign model.apr --key key" }),
    (
        "sign",
        "--force",
        Differs {
            without: "sign model.apr --key key -o old",
            with: "sign model.apr --key key -o old --force",
        },
    ),
    (
        "sign",
        "--json",
        Differs {
            without: "sign model.apr --key key -o out",
            with: "sign model.apr --key key -o out --json",
        },
    ),
    ("convert", "--quantize", Required { without: "convert tiny.apr -o out --no-eval" }),
    ("convert", "--output", Required { without: "convert tiny.apr --quantize int8 --no-eval" }),
    ("convert", "--method", Differs { without: CALIBRATED_INT8, with: GPTQ_INT8 }),
    (
        "convert",
        "--calibration",
        Differs {
            without: "convert tiny.apr --quantize int4 -o out --no-eval --sequences 1",
            with: "convert tiny.apr --quantize int4 -o out --no-eval --sequences 1 --calibration text",
        },
    ),
    (
        "convert",
        "--sequences",
        Differs {
            without: "convert tiny.apr --quantize int4 -o out --no-eval --calibration text",
            with: "convert tiny.apr --quantize int4 -o out --no-eval --calibration text --sequences 2",
        },
    ),
    (
        "convert",
        "--head",
        Differs { without: ROUNDED, with: "convert tiny.apr --quantize int8 -o out --no-eval --head int4" },
    ),
    (
        "convert",
        "--eval",
        Differs {
            without: "convert tiny.apr --quantize int8 -o out",
            with: "convert tiny.apr --quantize int8 -o out --eval text",
        },
    ),
    (
        "convert",
        "--data-dir",
        Differs {
            without: "convert tiny.apr --quantize int8 -o out --eval wikitext-2",
            with: "convert tiny.apr --quantize int8 -o out --eval wikitext-2 --data-dir data",
        },
    ),
    ("convert", "--no-eval", Differs { without: "convert tiny.apr --quantize int8 -o out", with: ROUNDED }),
    (
        "convert",
        "--threads",
        Differs {
            without: "convert tiny.apr --quantize int8 -o out --no-eval --json",
            with: "convert tiny.apr --quantize int8 -o out --no-eval --json --threads 7",
        },
    ),
    (
        "convert",
        "--force",
        Differs {
            without: "convert tiny.apr --quantize int8 -o old --no-eval",
            with: "convert tiny.apr --quantize int8 -o old --no-eval --force",
        },
    ),
    (
        "convert",
        "--json",
        Differs { without: ROUNDED, with: "convert tiny.apr --quantize int8 -o out --no-eval --json" },
    ),
    ("eval", "--dataset", Required { without: "eval model.apr" }),
    (
        "eval",
        "--data-dir",
        Differs {
            without: "eval model.apr --dataset wikitext-2",
            with: "eval model.apr --dataset wikitext-2 --data-dir data",
        },
    ),
    (
        "eval",
        "--count",
        Differs {
            without: EVALUATED,
            with: "eval model.apr --dataset text --window 64 --windows 3 --count hugging-face",
        },
    ),
    (
        "eval",
        "--window",
        Differs { without: EVALUATED, with: "eval model.apr --dataset text --window 65 --windows 3" },
    ),
    (
        "eval",
        "--stride",
        Differs {
            without: "eval model.apr --dataset text --window 64 --count hugging-face",
            with: "eval model.apr --dataset text --window 64 --count hugging-face --stride 50",
        },
    ),
    (
        "eval",
        "--windows",
        Differs { without: EVALUATED, with: "eval model.apr --dataset text --window 64 --windows 4" },
    ),
    (
        "eval",
        "--against",
        Differs {
            without: EVALUATED,
            with: "eval model.apr --dataset text --window 64 --windows 3 --against model.apr",
        },
    ),
    (
        "eval",
        "--threads",
        Differs {
            without: "eval model.apr --dataset text --window 64 --windows 3 --json",
            with: "eval model.apr --dataset text --window 64 --windows 3 --json --threads 7",
        },
    ),
    (
        "eval",
        "--json",
        Differs { without: EVALUATED, with: "eval model.apr --dataset text --window 64 --windows 3 --json" },
    ),
    ("bench", "--prompt", Tested("bench_measures_every_length_and_its_figures_hang_together")),
    ("bench", "--decode", Tested("bench_does_what_its_flags_say")),
    ("bench", "--repeats", Tested("bench_does_what_its_flags_say")),
    ("bench", "--load", Tested("bench_reads_weights_where_it_is_told_to")),
    ("bench", "--threads", Tested("bench_does_what_its_flags_say")),
    ("bench", "--json", Tested("bench_does_what_its_flags_say")),
    ("canary create", "--prompts", Tested("canary_takes_prompts_tokens_tolerance_and_threads")),
    ("canary create", "--tokens", Tested("canary_takes_prompts_tokens_tolerance_and_threads")),
    ("canary create", "--tolerance", Tested("canary_takes_prompts_tokens_tolerance_and_threads")),
    ("canary create", "--output", Required { without: "canary create model.apr" }),
    ("canary create", "--threads", Tested("canary_takes_prompts_tokens_tolerance_and_threads")),
    ("canary create", "--force", Tested("canary_replaces_nothing_unasked_and_says_so_at_once")),
    ("canary create", "--json", Tested("canary_replaces_nothing_unasked_and_says_so_at_once")),
    ("canary check", "--slower", Tested("canary_finds_a_slower_machine_by_itself")),
    ("canary check", "--threads", Tested("canary_checks_on_as_many_threads_as_asked_for")),
    ("canary check", "--json", Tested("canary_finds_another_model")),
    ("keygen", "--output", Required { without: "keygen" }),
    ("keygen", "--json", Differs { without: "keygen -o out", with: "keygen -o out --json" }),
    ("diff", "--tolerance", Tested("engine_beside_gets_the_arguments_and_gives_the_exit_code")),
    ("diff", "--json", Tested("engine_beside_gets_the_arguments_and_gives_the_exit_code")),
    ("test-model", "--json", Tested("engine_beside_gets_the_arguments_and_gives_the_exit_code")),
    ("test-model", "--golden-trace", Required { without: "test-model model.apr" }),
];

const ROUNDED: &str = "convert tiny.apr --quantize int8 -o out --no-eval";
const CALIBRATED_INT8: &str =
    "convert tiny.apr --quantize int8 -o out --no-eval --calibration text --sequences 1";
const GPTQ_INT8: &str =
    "convert tiny.apr --quantize int8 -o out --no-eval --calibration text --sequences 1 --method gptq";
const EVALUATED: &str = "eval model.apr --dataset text --window 64 --windows 3";
const GREEDY: &str = "chat model.apr --temperature 0 --max-tokens 20";
const SAMPLED: &str = "chat model.apr --seed 1 --max-tokens 20 --temperature 1";
const INSPECTED: &str = "chat model.apr --temperature 0 --max-tokens 20 --inspect";

fn place() -> Place {
    let place = Place::new();
    checkpoint(&place.path("checkpoint"), 1);
    untied_checkpoint(&place.path("untied"), 1);
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    fs::write(place.path("old"), "old").unwrap();
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/tiny/tiny.apr");
    fs::copy(tiny, place.path("tiny.apr")).unwrap();
    let prose = include_str!("../../../../golden/tiny/held-out.txt");
    let text = &prose[..prose.floor_char_boundary(9000)];
    fs::write(place.path("text"), text).unwrap();
    fs::create_dir(place.path("data")).unwrap();
    fs::write(place.path("data/wikitext-2-raw.test.txt"), text).unwrap();
    place
}

/// Exit code, standard output and the sizes of the files that are there afterwards; times and rates left out.
fn outcome(line: &str) -> (Option<i32>, String, Vec<(String, u64)>) {
    let place = place();
    let args: Vec<String> = line.split_whitespace().map(|word| word.replace('_', " ")).collect();
    // Control tokens have underscores of their own.
    let args = args.into_iter().map(|arg| arg.replace("<|im end|>", "<|im_end|>"));
    let output = place.apr().args(args).write_stdin("Hello").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let varies = ["[Stats: ", "[DEBUG] Prompt: ", "Time: ", "  \"seconds\": ", "Public key: ", "Key: "];
    let stdout: Vec<&str> =
        stdout.lines().filter(|line| !varies.iter().any(|prefix| line.starts_with(prefix))).collect();
    let mut sizes = Vec::new();
    for entry in walk(&place.path(".")) {
        let name = entry.strip_prefix(place.path(".")).unwrap().display().to_string();
        if !name.starts_with(".cache") {
            sizes.push((name, entry.metadata().unwrap().len()));
        }
    }
    sizes.sort();
    (output.status.code(), stdout.join("\n"), sizes)
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn every_flag_has_its_effect() {
    for (command, flag, effect) in FLAGS {
        match effect {
            Differs { without, with } => {
                let (plain, flagged) = (outcome(without), outcome(with));
                // What differs must be the flag's doing: without it, the outcome repeats.
                assert_eq!(plain, outcome(without), "`{without}` is not repeatable");
                assert_ne!(flagged.0, Some(2), "`{with}` is refused");
                assert_ne!(plain, flagged, "{command} {flag}: `{with}` does what `{without}` does");
            }
            Required { without } => assert_eq!(outcome(without).0, Some(2), "{command} {flag}"),
            Tested(name) => {
                let sources = [
                    include_str!("bench.rs"),
                    include_str!("canary.rs"),
                    include_str!("chat.rs"),
                    include_str!("trace.rs"),
                    include_str!("verification.rs"),
                ];
                let test = format!("#[test]\nfn {name}()");
                assert!(sources.iter().any(|source| source.contains(&test)), "there is no test {name}");
            }
        }
    }
}

#[test]
fn every_flag_in_the_help_is_in_the_table() {
    let place = Place::new();
    let mut in_help = BTreeSet::new();
    for command in crate::help::commands(&place) {
        let help = place.stdout(command.split(' ').chain(["--help"]));
        let (_, options) = help.split_once("\nOptions:\n").unwrap();
        for line in options.lines().take_while(|line| !line.starts_with("Examples:")) {
            let is_definition = line.starts_with("      --") || line.starts_with("  -");
            let flag = line.split_whitespace().find(|word| word.starts_with("--")).filter(|_| is_definition);
            in_help.extend(flag.map(|flag| (command.clone(), flag.to_owned())));
        }
    }
    // Every command has these two; `help.rs` and `streams.rs` test them.
    in_help.retain(|(_, flag)| flag != "--help" && flag != "--color");
    let in_table: BTreeSet<_> =
        FLAGS.iter().map(|(command, flag, _)| ((*command).to_owned(), (*flag).to_owned())).collect();
    assert_eq!(in_help, in_table);
    assert_eq!(in_table.len(), FLAGS.len(), "a flag is in the table twice");
}
