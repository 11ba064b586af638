//! What `apr chat --inspect` shows on a terminal, read as a person would read it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Context, samples};
use crate::faults::Reply;
use crate::process::{Program, Terminal, resident_memory};

/// How long a whole session may take.
const SESSION_TIME: Duration = Duration::from_mins(2);

/// Flags that make the reply the model's own likeliest continuation.
pub(super) const GREEDY: [&str; 12] = [
    "--temperature",
    "0",
    "--top-p",
    "1",
    "--top-k",
    "0",
    "--min-p",
    "0",
    "--repetition-penalty",
    "1",
    "--seed",
    "1",
];

/// One reply in an inspected session.
#[derive(Clone, Debug, Default)]
pub(super) struct Inspected {
    /// What was typed.
    pub(super) prompt: String,
    /// Ids of the whole prompt, as shown.
    pub(super) prompt_ids: Vec<u32>,
    /// A step for each generated token.
    pub(super) steps: Vec<StepShown>,
    /// The heatmap's header and rows.
    pub(super) heatmap: Option<Heatmap>,
    /// Tokens a second, as shown; the text when it is no number.
    pub(super) rate: Option<f64>,
    /// Megabytes, as shown.
    pub(super) megabytes: Option<f64>,
    /// Bytes the operating system counted when the figures appeared.
    pub(super) resident_bytes: Option<u64>,
    /// Seconds from the line typed to the figures shown.
    pub(super) seconds: f64,
}

/// The candidates of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StepShown {
    /// The token chosen.
    pub(super) id: u32,
    /// Candidates with their probabilities, in the order shown.
    pub(super) candidates: Vec<(u32, f64)>,
}

/// The attention picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heatmap {
    /// The layer it is of.
    pub(super) layer: usize,
    /// Tokens a column stands for.
    pub(super) per_column: usize,
    /// The rows between the bars.
    pub(super) rows: Vec<String>,
    /// The largest share each row names, in percent.
    pub(super) largest: Vec<Option<f64>>,
}

/// The seed of the prompts, unless `--seed` gives another.
const SEED: u64 = 61;

/// Two sessions with replies of different length to prompts that nobody recorded; run once for all checks that read
/// them.
pub(super) fn sessions(context: &Context) -> anyhow::Result<Vec<Inspected>> {
    let mut rng = ChaCha8Rng::seed_from_u64(context.seed_override().unwrap_or(SEED));
    [6, 24].into_iter().map(|max_tokens| session(context, &samples::prompt(&mut rng), max_tokens)).collect()
}

/// One session more, to another prompt, with a reply of at most `max_tokens`.
pub(super) fn further_session(context: &Context, max_tokens: usize) -> anyhow::Result<Inspected> {
    let seed = context.seed_override().unwrap_or(SEED).wrapping_add(max_tokens as u64);
    session(context, &samples::prompt(&mut ChaCha8Rng::seed_from_u64(seed)), max_tokens)
}

/// Starts `apr chat --inspect`, types `prompt`, and reads what is shown.
fn session(context: &Context, prompt: &str, max_tokens: usize) -> anyhow::Result<Inspected> {
    let apr = context.apr_path()?;
    let program = Program::new(apr)
        .arg("chat")
        .arg(&context.model().path)
        .args(["--inspect", "--color", "never", "--max-tokens"])
        .arg(max_tokens.to_string())
        .args(GREEDY);
    let mut terminal = Terminal::start(&program, SESSION_TIME)?;
    let before = terminal.wait_for(0, |shown| shown.contains("You: "))?.len();
    let started = Instant::now();
    terminal.send(&format!("{prompt}\r"))?;
    terminal.wait_for(before, |shown| {
        shown.contains("[Stats: ") && shown.ends_with(']') || shown.contains("B]")
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let resident_bytes = resident_memory(terminal.id());
    let shown = terminal
        .wait_for(before, |shown| shown.find("[Stats: ").is_some_and(|at| shown[at..].contains("You: ")))?;
    terminal.send("/quit\r")?;
    let text = shown[before..].to_owned();
    let reply = context.planted().show(Reply { command: "chat --inspect".to_owned(), text, code: 0 });
    let mut inspected = parse(&reply.text)?;
    prompt.clone_into(&mut inspected.prompt);
    inspected.seconds = seconds;
    inspected.resident_bytes = resident_bytes;
    Ok(inspected)
}

/// Reads what was shown.
fn parse(shown: &str) -> anyhow::Result<Inspected> {
    let mut inspected = Inspected::default();
    for line in shown.lines() {
        if let Some(ids) = after(line, "Tokenized: [").and_then(|rest| rest.split(']').next()) {
            let ids = ids.split(", ").map(|id| id.trim().parse::<u32>());
            inspected.prompt_ids =
                ids.collect::<Result<_, _>>().map_err(|_| anyhow!("unreadable ids: {line}"))?;
        } else if line.starts_with("step ") {
            let id = last_bracket(line).with_context(|| format!("a step without its token: {line}"))?;
            inspected.steps.push(StepShown { id, candidates: Vec::new() });
        } else if let Some((id, probability)) = candidate(line) {
            if let Some(step) = inspected.steps.last_mut() {
                step.candidates.push((id, probability));
            }
        } else if let Some(rest) = after(line, "Attention: layer ") {
            let layer = rest.split(',').next().and_then(|layer| layer.parse().ok());
            let per_column =
                after(rest, "a column for each ").and_then(|rest| rest.split(' ').next()?.parse().ok());
            inspected.heatmap = Some(Heatmap {
                layer: layer.with_context(|| format!("an unreadable heatmap: {line}"))?,
                per_column: per_column.unwrap_or(1),
                ..Heatmap::default()
            });
        } else if let (Some(heatmap), Some((row, rest))) =
            (&mut inspected.heatmap, line.strip_prefix('|').and_then(|rest| rest.split_once('|')))
        {
            heatmap.rows.push(row.to_owned());
            let largest = after(rest, "<- ").and_then(|rest| rest.split_once('%'));
            heatmap.largest.push(largest.and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok()));
        } else if let Some(figures) = after(line, "[Stats: ") {
            inspected.rate = figures.split(" tok/s").next().and_then(|rate| rate.parse().ok());
            let memory =
                after(figures, "Mem: ").and_then(|memory| memory.split("MB").next()?.trim().parse().ok());
            inspected.megabytes = memory;
        }
    }
    Ok(inspected)
}

fn after<'l>(line: &'l str, mark: &str) -> Option<&'l str> {
    line.find(mark).map(|at| &line[at + mark.len()..])
}

/// The number in the brackets that end a line.
fn last_bracket(line: &str) -> Option<u32> {
    line.trim_end().strip_suffix(']')?.rsplit_once('[')?.1.parse().ok()
}

/// `  1. "text" (0.9800) [123]`.
fn candidate(line: &str) -> Option<(u32, f64)> {
    let (rank, _) = line.strip_prefix("  ")?.split_once(". ")?;
    rank.parse::<usize>().ok()?;
    let id = last_bracket(line)?;
    let probability = line.rsplit_once(") [")?.0.rsplit_once('(')?.1.parse().ok()?;
    Some((id, probability))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up;

    const SHOWN: &str = "What is 2+2?\n[DEBUG] Tokenized: [1, 22, 333] (3 tokens)\n\nAssistant: 4\n\n\
        [DEBUG] Top-5 Candidates:\nstep 1: \" 4 (2) [x]\" [19]\n  1. \" 4 (2) [x]\" (0.9800) [19]\n  2. \"\\n\" (4.9e-5) [7]\n\n\
        [DEBUG] Attention: layer 5, mean of all heads; a row for each chosen token, a column for each token before it\n\
        |@ .| \" 4\" <- \"<|im_start|>\" 93%, \" a\" 4%\nshare of attention, at least:  . 1%\n\n\
        [DEBUG] Prompt: 3 tokens, first token after 0.010 s; reply: 1 tokens in 0.010 s\n\
        [Stats: 24.1 tok/s | PPL: 1.20 | Mem: 340MB]\n";

    #[test]
    fn every_part_of_the_screen_is_read() {
        let inspected = parse(SHOWN).unwrap();
        assert_eq!(inspected.prompt_ids, [1, 22, 333]);
        assert_eq!(inspected.steps, [StepShown { id: 19, candidates: vec![(19, 0.98), (7, 4.9e-5)] }]);
        let heatmap = inspected.heatmap.unwrap();
        assert_eq!((heatmap.layer, heatmap.per_column), (5, 1));
        assert_eq!((heatmap.rows, heatmap.largest), (vec!["@ .".to_owned()], vec![Some(93.0)]));
        assert_eq!((inspected.rate, inspected.megabytes), (Some(24.1), Some(340.0)));
    }

    #[test]
    fn a_figure_that_was_not_measured_is_absent() {
        let inspected = parse("[Stats: - tok/s | PPL: - | Mem: -]").unwrap();
        assert_eq!((inspected.rate, inspected.megabytes), (None, None));
    }

    #[test]
    fn a_candidate_before_any_step_is_of_no_step() {
        let inspected = parse("  1. \" 4\" (0.9800) [19]\nstep 1: \"x\" [7]\n").unwrap();
        assert_eq!(inspected.steps, [StepShown { id: 7, candidates: vec![] }]);
    }

    #[test]
    fn what_cannot_be_read_is_quoted() {
        for (shown, expected) in [
            ("Tokenized: [1, x] (2 tokens)", "unreadable ids: Tokenized: [1, x] (2 tokens)"),
            ("step 1: \"x\"", "a step without its token: step 1: \"x\""),
            ("Attention: layer last, mean", "an unreadable heatmap: Attention: layer last, mean"),
        ] {
            assert_eq!(parse(shown).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_session_ends_with_its_figures_even_where_the_memory_is_not_known() {
        let script = "printf 'You: '; read -r typed; printf '[Stats: 3.5 tok/s | Mem: -]'; sleep 0.3; \
                      printf '\\nYou: '; read -r typed";
        let inspected = further_session(&made_up::context_with_apr(script), 12).unwrap();
        assert_eq!((inspected.rate, inspected.megabytes), (Some(3.5), None));
        assert!(!inspected.prompt.is_empty() && inspected.steps.is_empty());
        assert!(inspected.resident_bytes.is_some_and(|bytes| bytes > 0) && inspected.seconds > 0.0);
    }
}
