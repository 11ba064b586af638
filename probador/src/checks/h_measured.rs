//! Section H: what `apr` says it measured, held against the engine's own measurement.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::perplexity::{Perplexity, require_text};
use super::speed::{Round, median};
use super::subject::require_model;
use super::{CheckError, CheckFn, Context};
use crate::case::Judgement;
use crate::checklist::Claim;
use crate::process::{Ended, Finished};

/// The checks of this file.
pub(super) const CHECKS: &[(&str, CheckFn)] =
    &[("H12", bench_measures), ("H13", eval_measures), ("H14", canary_finds_changes)];

/// Tokens of the prompt, and tokens decoded after it.
const BENCH: (usize, usize) = (64, 32);
/// How many times the engine's own figure a rate may be, and how many times less: two processes on a busy machine.
const LARGEST_DISAGREEMENT: f64 = 3.0;

/// The JSON that `apr` printed; says what is wrong when there is none.
fn report(finished: &Finished, judgement: &mut Judgement) -> Option<Value> {
    if !judgement.require(finished.succeeded(), || finished.describe()) {
        return None;
    }
    let report = serde_json::from_slice(&finished.stdout).ok();
    judgement.require(report.is_some(), || format!("`{}` prints no JSON", finished.command));
    report
}

/// H12: the rate, and that it is one.
fn bench_measures(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (n_prompt, n_decode) = BENCH;
    let path = &context.model().path;
    let finished = context.apr(|apr| {
        let apr = apr.arg("bench").arg(path).args(["--json", "--repeats", "3"]);
        apr.args(["--prompt", &n_prompt.to_string(), "--decode", &n_decode.to_string()])
    })?;
    let Some(report) = report(&finished, &mut judgement) else { return Ok(judgement) };
    let point = &report["points"][0];
    let rate = |name: &str| point[name]["median"].as_f64().unwrap_or(f64::NAN);
    let (prefill, decode) = (rate("prefill_tokens_per_second"), rate("decode_tokens_per_second"));
    judgement.at_least(
        "tokens decoded a second",
        decode,
        claim.limit("tokens_per_second")?,
        "tok/s",
        3 * n_decode,
    );
    let own = own_rates(context, n_prompt, n_decode)?;
    for (what, said, own) in [("prefill", prefill, own.0), ("decode", decode, own.1)] {
        let off = (said / own).max(own / said);
        judgement.require(off <= LARGEST_DISAGREEMENT, || {
            format!("`apr bench` says {said:.1} tok/s for {what}, the engine measures {own:.1}")
        });
    }
    let share = rate("bandwidth_share");
    judgement.note(format!("decode takes {:.0} % of the bandwidth measured", 100.0 * share));
    Ok(judgement)
}

/// Tokens a second that the model does here, in prefill and in decode: the median of three.
fn own_rates(context: &Context, n_prompt: usize, n_decode: usize) -> anyhow::Result<(f64, f64)> {
    let mut model = context.fork()?;
    let n_vocab = model.vocab_size();
    let ids: Vec<_> = (0..n_prompt).map(|i| apr_tokenizer::TokenId((i * 31 % n_vocab) as u32)).collect();
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let round = Round::of(model.as_mut(), &ids, n_decode)?;
        prefills.push(round.prefill);
        decodes.push(round.decode);
    }
    Ok((median(&mut prefills), median(&mut decodes)))
}

/// H13: the perplexity, on the windows that it was asked for; and that it is low on the whole text, as the engine counts.
fn eval_measures(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, _) = context.sampling(claim)?;
    let text = require_text(context)?;
    let facts = &context.known()?.perplexity;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    judgement.input("evaluation text", &text.hash);
    require_model(context, &mut judgement)?;
    let n = n.min(text.n_windows());
    let path = &context.model().path;
    let finished = context.apr(|apr| {
        let apr = apr.arg("eval").arg(path).arg("--dataset").arg(&text.path).arg("--json");
        apr.args(["--window", &text.window().to_string(), "--windows", &n.to_string()])
    })?;
    let Some(report) = report(&finished, &mut judgement) else { return Ok(judgement) };
    let said = report["perplexity"]["value"].as_f64().unwrap_or(f64::NAN);
    judgement.require(report["n_windows"] == n, || {
        format!("{n} windows were asked for, `apr eval` says {}", report["n_windows"])
    });
    let surprises = context.surprises(&text)?;
    let whole = Perplexity::of(surprises, text.n_scored());
    judgement.at_most("perplexity of the whole text", whole.value, facts.ceiling, "", whole.n_scored);
    let own = if text.scores_second_halves() {
        Perplexity::of(&surprises[..n], text.n_scored())
    } else {
        let text = text.second_halves();
        Perplexity::of(&text.surprises(context.fork()?.as_mut(), n)?, text.n_scored())
    };
    let off = (said / own.value - 1.0).abs();
    let limit = claim.limit("relative_difference")?;
    let what = "relative difference of what `apr eval` says from the engine's own";
    judgement.at_most(what, off, limit, "", own.n_scored);
    judgement.note(format!("`apr eval` says {said:.2} for {n} windows"));
    Ok(judgement)
}

/// H14: a canary made here passes here, and on no other model.
fn canary_finds_changes(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    let folder = tempfile::tempdir()?;
    let canary = folder.path().join("canary.json");
    let path = &context.model().path;
    let finished = context.apr(|apr| apr.args(["canary", "create"]).arg(path).arg("-o").arg(&canary))?;
    if !judgement.require(finished.succeeded(), || format!("no canary is made: {}", finished.describe())) {
        return Ok(judgement);
    }
    let check = |model: &Path| -> anyhow::Result<(Ended, Value)> {
        // Another process may take the machine meanwhile; H12 is about speed.
        let finished = context.apr(|apr| {
            apr.args(["canary", "check"]).arg(model).arg(&canary).args(["--slower", "0", "--json"])
        })?;
        Ok((finished.ended, serde_json::from_slice(&finished.stdout).unwrap_or_default()))
    };
    let (ended, same) = check(path)?;
    judgement.require(ended == Ended::Exited(0) && same["passed"] == true, || {
        format!("the canary fails on the model that it was made with: {ended:?}, {same}")
    });
    let compared = same["n_compared"].as_u64().unwrap_or_default() as usize;
    judgement.at_least("tokens that a canary compares", compared as f64, 32.0, "", compared);
    let others = [("layers-swapped", "model", "tokenizer"), ("merges-reordered", "tokenizer", "model")];
    for (fault, changed, kept) in others {
        let other = crate::faults::plant(fault, path)?.context("no such fault")?;
        let (ended, report) = check(&other.model)?;
        let says = |aspect: &str| report[format!("{aspect}_changed")].as_bool();
        judgement.require(ended == Ended::Exited(1) && says(changed) == Some(true), || {
            format!("the canary passes on a model with the fault {fault}: {ended:?}, {report}")
        });
        judgement.require(says(kept) == Some(false), || {
            format!("the fault {fault} is said to change the {kept}, which it does not")
        });
    }
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use crate::checks::made_up::{claim, claim_of, context_with_apr, failures};

    #[test]
    fn a_measurement_that_fails_or_is_no_json_is_shown() {
        for id in ["H12", "H13"] {
            let found = failures(&context_with_apr("echo broken >&2; exit 1"), &claim(id));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].contains("exits with 1") && found[0].contains("broken"), "{found:?}");
            let found = failures(&context_with_apr("echo fast"), &claim(id));
            assert!(found.len() == 1 && found[0].ends_with(" prints no JSON"), "{found:?}");
            let found = failures(&context_with_apr("echo {}"), &claim(id));
            assert!(found.iter().any(|what| what.contains("NaN")), "{found:#?}");
        }
    }

    #[test]
    fn a_perplexity_of_other_windows_is_not_the_one_asked_for() {
        let said = "echo '{\"perplexity\": {\"value\": 15.0}, \"n_windows\": 3}'";
        let found = failures(&context_with_apr(said), &claim_of("H13", 1));
        assert!(found.contains(&"1 windows were asked for, `apr eval` says 3".to_owned()), "{found:#?}");
        assert!(
            found
                .iter()
                .any(|what| what
                    .starts_with("relative difference of what `apr eval` says from the engine's own")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_canary_that_is_not_made_or_finds_nothing_or_everything_is_found() {
        let found = failures(&context_with_apr("exit 1"), &claim("H14"));
        assert!(found.len() == 1 && found[0].starts_with("no canary is made: "), "{found:?}");
        let finds_nothing = "echo '{\"passed\": true, \"n_compared\": 160, \"model_changed\": false, \"tokenizer_changed\": false}'";
        let found = failures(&context_with_apr(finds_nothing), &claim("H14"));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found[0].starts_with("the canary passes on a model with the fault layers-swapped: "),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("the canary passes on a model with the fault merges-reordered: "),
            "{found:?}"
        );
        let finds_all = "test \"$2\" = create && exit 0; echo '{\"model_changed\": true, \"tokenizer_changed\": true}'; exit 1";
        let found = failures(&context_with_apr(finds_all), &claim("H14"));
        assert!(found[0].starts_with("the canary fails on the model that it was made with: "), "{found:?}");
        assert!(found.contains(
            &"the fault layers-swapped is said to change the tokenizer, which it does not".to_owned()
        ));
        assert!(found.contains(
            &"the fault merges-reordered is said to change the model, which it does not".to_owned()
        ));
    }
}
