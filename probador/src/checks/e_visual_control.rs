//! Section E: what inspection shows is what the model computed and what the operating system counts.

use apr_generation::{LogitRows, Recorder, Site, TensorKey, top_candidates};
use apr_tokenizer::{Message, TokenId};

use super::chat::{Inspected, further_session};
use super::subject::require_model;
use super::{CheckError, CheckFn, Context};
use crate::case::Judgement;
use crate::checklist::Claim;

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("E1", candidates_are_the_models),
    ("E2", the_heatmap_is_of_this_prompt),
    ("E3", the_rate_is_measured),
    ("E4", memory_is_what_the_system_counts),
];

/// The sequence a session evaluated: its prompt and the reply.
fn sequence(inspected: &Inspected) -> Vec<TokenId> {
    inspected
        .prompt_ids
        .iter()
        .copied()
        .chain(inspected.steps.iter().map(|step| step.id))
        .map(TokenId)
        .collect()
}

/// E1: each step's candidates and probabilities against the model's own on the same ids.
fn candidates_are_the_models(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let n_shown = claim.limit("candidates")? as usize;
    let atol = claim.limit("probability_atol")?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (mut n_steps, mut least, mut worst) = (0, usize::MAX, 0.0_f64);
    for inspected in context.chat_sessions()? {
        let message = Message { role: "user".to_owned(), content: inspected.prompt.clone() };
        let expected_ids = context.chat_ids(&[message])?;
        let prompt_ids: Vec<TokenId> = inspected.prompt_ids.iter().copied().map(TokenId).collect();
        judgement.require(prompt_ids == expected_ids, || {
            format!("the ids shown for {:?} are not those of the prompt: {prompt_ids:?}", inspected.prompt)
        });
        judgement.require(!inspected.steps.is_empty(), || "no step is shown, so no candidates are");
        if prompt_ids.is_empty() {
            continue;
        }
        let mut model = context.fork()?;
        let logits = model.prefill(&sequence(inspected), LogitRows::All, None)?;
        for (index, step) in inspected.steps.iter().enumerate() {
            let row = logits.row(prompt_ids.len() - 1 + index);
            let expected = top_candidates(row, n_shown);
            n_steps += 1;
            least = least.min(step.candidates.len());
            judgement.require(step.candidates.len() >= n_shown, || {
                format!("step {} shows {} candidates, not {n_shown}", index + 1, step.candidates.len())
            });
            for (&(id, probability), expected) in step.candidates.iter().zip(&expected) {
                let own = apr_generation::log_probability(row, TokenId(id)).exp();
                // Another order among equals is no fault, a lower probability at the same rank is.
                let off = (probability - own).abs().max((probability - expected.probability).abs());
                worst = worst.max(off);
                judgement.require(off <= atol, || {
                    format!(
                        "step {}: token {id} is shown with probability {probability}, the model gives it {own:.4} and \
                         this rank {:.4}",
                        index + 1,
                        expected.probability
                    )
                });
            }
        }
    }
    judgement.at_least("fewest candidates shown for a step", least as f64, n_shown as f64, "", n_steps);
    judgement.at_most("largest error of a probability shown", worst, atol, "", n_steps);
    Ok(judgement)
}

/// E2: a row for each chosen token, a column for each position, shares that the model's attention has.
fn the_heatmap_is_of_this_prompt(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    /// Shares are shown in whole percent.
    const PERCENT: f64 = 1.0;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let sessions = context.chat_sessions()?;
    let (mut n_rows, mut worst) = (0, 0.0_f64);
    for inspected in sessions {
        let Some(heatmap) = inspected.heatmap.as_ref().filter(|heatmap| !heatmap.rows.is_empty()) else {
            judgement.fail(format!("no attention heatmap is shown for {:?}", inspected.prompt));
            continue;
        };
        let rows = heatmap.rows.len();
        judgement.require(rows == inspected.steps.len().min(24), || {
            format!("the heatmap has {rows} rows for {} chosen tokens", inspected.steps.len())
        });
        let ids = sequence(inspected);
        let n_keys = ids.len() - 1;
        let width = n_keys.div_ceil(heatmap.per_column);
        for row in &heatmap.rows {
            let found = row.chars().count();
            judgement.require(found == width, || {
                format!(
                    "a row of the heatmap has {found} cells for {n_keys} positions, {} each",
                    heatmap.per_column
                )
            });
        }
        let attention = mean_attention(context, &ids[..n_keys], heatmap.layer)?;
        let first = n_keys - rows;
        for (index, shown) in heatmap.largest.iter().enumerate() {
            let largest = attention[first + index].iter().copied().fold(0.0, f64::max) * 100.0;
            let off = shown.map_or(f64::INFINITY, |shown| (shown - largest).abs());
            worst = worst.max(off);
            n_rows += 1;
            judgement.require(off <= PERCENT, || {
                format!("row {} of the heatmap names {shown:?} % as its largest share, the model gives {largest:.1} %", index + 1)
            });
        }
    }
    if let [first, second] = sessions {
        judgement.require(
            first.heatmap.as_ref().map(|map| &map.rows) != second.heatmap.as_ref().map(|map| &map.rows),
            || "two prompts show the same heatmap",
        );
    }
    judgement.at_most("largest error of a share of attention shown", worst, PERCENT, "%", n_rows);
    Ok(judgement)
}

/// For each position the mean over heads of the softmax of its scores.
fn mean_attention(context: &Context, ids: &[TokenId], layer: usize) -> anyhow::Result<Vec<Vec<f64>>> {
    let key = TensorKey::Layer(layer, Site::Scores);
    let mut recorder = Recorder::new(|wanted| wanted == key);
    context.fork()?.prefill(ids, LogitRows::Last, Some(&mut recorder))?;
    let tensors = recorder.into_tensors();
    let scores = tensors.get(&key).ok_or_else(|| anyhow::anyhow!("the model showed no `{key}`"))?;
    let (n_heads, n_pairs) = (scores.shape[0], scores.shape[1]);
    let expected = ids.len() * (ids.len() + 1) / 2;
    anyhow::ensure!(n_pairs == expected, "`{key}` has {n_pairs} pairs for {} ids, not {expected}", ids.len());
    let rows = (0..ids.len()).map(|position| {
        let mut row = vec![0.0; position + 1];
        for head in 0..n_heads {
            let start = head * n_pairs + position * (position + 1) / 2;
            let scores = &scores.values[start..=start + position];
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = scores.iter().map(|&score| f64::from(score - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            row.iter_mut().zip(weights).for_each(|(mean, weight)| *mean += weight / sum / n_heads as f64);
        }
        row
    });
    Ok(rows.collect())
}

/// Lengths of the replies that are asked for while all rates shown are equal. A rate shows one decimal, so two that were
/// measured are equal by chance now and then; five are not.
const FURTHER_LENGTHS: [usize; 3] = [12, 16, 32];

/// E3: a rate is shown, differs between replies, and the time it implies fits into the time that passed.
fn the_rate_is_measured(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let slack = claim.limit("relative_difference")?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    let mut sessions = context.chat_sessions()?.to_vec();
    ask_while_rates_are_equal(&mut sessions, |max_tokens| further_session(context, max_tokens))?;
    judge_rates(&sessions, slack, &mut judgement);
    Ok(judgement)
}

/// The rate that every session shows, if it is one.
fn only_rate(sessions: &[Inspected]) -> Option<f64> {
    let first = sessions.first()?.rate?;
    let is_same = |inspected: &Inspected| inspected.rate.is_some_and(|rate| rate.total_cmp(&first).is_eq());
    sessions.iter().all(is_same).then_some(first)
}

/// Adds sessions until two rates differ, as long as there are lengths to ask for.
fn ask_while_rates_are_equal(
    sessions: &mut Vec<Inspected>,
    mut ask: impl FnMut(usize) -> anyhow::Result<Inspected>,
) -> anyhow::Result<()> {
    for max_tokens in FURTHER_LENGTHS {
        if only_rate(sessions).is_none() {
            break;
        }
        sessions.push(ask(max_tokens)?);
    }
    Ok(())
}

fn judge_rates(sessions: &[Inspected], slack: f64, judgement: &mut Judgement) {
    let mut worst = 0.0_f64;
    for inspected in sessions {
        let Some(rate) = inspected.rate.filter(|rate| *rate > 0.0) else {
            judgement.fail(format!("no tok/s figure is shown for {:?}", inspected.prompt));
            continue;
        };
        let implied = inspected.steps.len().saturating_sub(1) as f64 / rate;
        let share = implied / inspected.seconds;
        worst = worst.max(share);
        judgement.require(share <= 1.0 + slack, || {
            format!(
                "{rate} tok/s over {} tokens is {implied:.2} s, the whole reply took {:.2} s",
                inspected.steps.len(),
                inspected.seconds
            )
        });
    }
    if let Some(rate) = only_rate(sessions) {
        let n = sessions.len();
        judgement.fail(format!("all {n} replies show {rate} tok/s, though they differ in length"));
    }
    judgement.at_most(
        "time that the rate implies over the time that passed",
        worst,
        1.0 + slack,
        "",
        sessions.len(),
    );
}

/// E4: the memory shown against VmRSS.
fn memory_is_what_the_system_counts(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("relative_difference")?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    let sessions = context.chat_sessions()?;
    let mut worst = 0.0_f64;
    for inspected in sessions {
        let counted =
            inspected.resident_bytes.ok_or_else(|| anyhow::anyhow!("the system counts no memory"))?;
        let Some(shown) = inspected.megabytes else {
            judgement.fail("no memory figure is shown");
            continue;
        };
        let off = (shown * 1e6 - counted as f64).abs() / counted as f64;
        worst = worst.max(off);
        judgement.require(off <= limit, || {
            format!("the memory shown is {shown} MB, the system counts {:.1} MB", counted as f64 / 1e6)
        });
    }
    judgement.at_most("largest relative error of the memory shown", worst, limit, "", sessions.len());
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::chat::{Heatmap, StepShown};
    use crate::checks::made_up::{claim, context, failures};

    /// A reply of `n_steps` tokens that took a second and shows `rate`.
    fn reply(n_steps: usize, rate: Option<f64>) -> Inspected {
        Inspected {
            prompt: format!("prompt {n_steps}"),
            steps: vec![StepShown::default(); n_steps],
            rate,
            seconds: 1.0,
            ..Inspected::default()
        }
    }

    /// What is found of two replies with `rates`, where further ones show `further` in turn, and how many were asked for.
    fn judged(rates: [Option<f64>; 2], further: &[f64]) -> (Vec<String>, usize) {
        let mut sessions = vec![reply(6, rates[0]), reply(24, rates[1])];
        let mut further = further.iter();
        ask_while_rates_are_equal(&mut sessions, |max_tokens| {
            Ok(reply(max_tokens, Some(*further.next().expect("one reply too many was asked for"))))
        })
        .unwrap();
        let mut judgement = Judgement::new();
        judge_rates(&sessions, 0.5, &mut judgement);
        (judgement.failures, sessions.len() - 2)
    }

    #[test]
    fn rates_that_are_equal_by_chance_are_told_from_one_that_is_frozen() {
        assert_eq!(judged([Some(49.5), Some(49.4)], &[]), (vec![], 0));
        assert_eq!(judged([Some(49.5), Some(49.5)], &[49.6]), (vec![], 1));
        assert_eq!(judged([Some(49.5), Some(49.5)], &[49.5, 49.5, 49.1]), (vec![], 3));
        let frozen = "all 5 replies show 49.5 tok/s, though they differ in length".to_owned();
        assert_eq!(judged([Some(49.5), Some(49.5)], &[49.5; 3]), (vec![frozen], 3));
    }

    #[test]
    fn a_rate_that_is_absent_or_nothing_is_no_figure_and_no_further_reply_is_asked_for() {
        let none = "no tok/s figure is shown for \"prompt 6\"".to_owned();
        assert_eq!(judged([None, Some(40.0)], &[]), (vec![none.clone()], 0));
        assert_eq!(judged([Some(0.0), Some(40.0)], &[]), (vec![none], 0));
    }

    #[test]
    fn a_rate_that_implies_more_time_than_passed_is_made_up() {
        let (failures, _) = judged([Some(2.0), Some(40.0)], &[]);
        assert_eq!(
            failures,
            [
                "2 tok/s over 6 tokens is 2.50 s, the whole reply took 1.00 s",
                "time that the rate implies over the time that passed 2.5, at most 1.5",
            ]
        );
    }

    /// A reply of two tokens to `Hello`, with this heatmap.
    fn shown(heatmap: Option<Heatmap>) -> Inspected {
        let steps = [5, 6].map(|id| StepShown { id, candidates: vec![] });
        Inspected {
            prompt: "Hello".to_owned(),
            prompt_ids: vec![1, 2, 3],
            steps: steps.to_vec(),
            heatmap,
            ..Inspected::default()
        }
    }

    fn found(id: &str, sessions: Vec<Inspected>) -> Vec<String> {
        failures(&context().undoubted().with_chat(sessions), &claim(id))
    }

    #[test]
    fn a_session_that_shows_neither_ids_nor_steps_is_found() {
        let silent = Inspected { prompt: "Hello".to_owned(), ..Inspected::default() };
        assert_eq!(
            found("E1", vec![silent]),
            [
                "the ids shown for \"Hello\" are not those of the prompt: []",
                "no step is shown, so no candidates are",
            ]
        );
    }

    #[test]
    fn candidates_of_another_sequence_have_other_probabilities() {
        let mut session = shown(None);
        session.steps.truncate(1);
        session.steps[0].candidates = vec![(5, 0.999)];
        let found = found("E1", vec![session]);
        assert!(found[0].starts_with("the ids shown for \"Hello\" are not those"), "{found:#?}");
        assert_eq!(found[1], "step 1 shows 1 candidates, not 5");
        assert!(
            found[2].starts_with("step 1: token 5 is shown with probability 0.999, the model gives it "),
            "{found:#?}"
        );
    }

    #[test]
    fn a_heatmap_of_other_rows_columns_and_shares_is_found() {
        let heatmap = Heatmap { layer: 5, per_column: 1, rows: vec!["@.".to_owned()], largest: vec![None] };
        let found = found("E2", vec![shown(Some(heatmap))]);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[0], "the heatmap has 1 rows for 2 chosen tokens");
        assert_eq!(found[1], "a row of the heatmap has 2 cells for 4 positions, 1 each");
        assert!(
            found[2].starts_with("row 1 of the heatmap names None % as its largest share, the model gives ")
        );
        assert_eq!(found[3], "largest error of a share of attention shown inf, at most 1 %");
    }

    #[test]
    fn a_heatmap_that_is_absent_or_the_same_for_two_prompts_is_found() {
        let none = "no attention heatmap is shown for \"Hello\"";
        assert_eq!(found("E2", vec![shown(None)]), [none]);
        let both = found("E2", vec![shown(None), shown(None)]);
        assert_eq!(both, [none, none, "two prompts show the same heatmap"]);
    }

    #[test]
    fn memory_that_is_not_shown_is_found_and_memory_that_is_not_counted_breaks_the_check() {
        let with =
            |megabytes, resident_bytes| Inspected { megabytes, resident_bytes, ..Inspected::default() };
        let sessions = vec![with(None, Some(100_000_000)), with(Some(150.0), Some(100_000_000))];
        assert_eq!(
            found("E4", sessions),
            [
                "no memory figure is shown",
                "the memory shown is 150 MB, the system counts 100.0 MB",
                "largest relative error of the memory shown 0.5, at most 0.1",
            ]
        );
        let context = context().with_chat(vec![with(Some(1.0), None)]);
        let judged = memory_is_what_the_system_counts(&context, &claim("E4"));
        let Err(CheckError::Broken(error)) = judged else { panic!("{judged:?}") };
        assert_eq!(error.to_string(), "the system counts no memory");
    }
}
