//! Section C, first half: what the logits depend on, and that they depend on nothing else.

use apr_generation::LogitRows;
use apr_tokenizer::TokenId;
use rand::Rng;

use super::subject::require_model;
use super::{CheckError, CheckFn, Context, c_inside, golden, samples};
use crate::case::Judgement;
use crate::checklist::Claim;

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("C1", logits_are_pytorchs),
    ("C2", the_whole_context_counts),
    ("C3", the_same_input_gives_the_same_bits),
    ("C4", nothing_sees_the_future),
    ("C5", the_cache_changes_nothing),
    ("C6", c_inside::positions_are_relative),
    ("C7", c_inside::norms_are_root_mean_square),
    ("C8", c_inside::the_gate_is_silu),
];

/// C1: recorded prompts against PyTorch, unseen ones against the engine's own reference.
fn logits_are_pytorchs(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("logits_atol")?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    golden::judge_logits(context, limit, &mut judgement)?;

    let (n, mut rng) = context.sampling(claim)?;
    let (mut model, tokenizer, reference) = (context.fork()?, context.tokenizer()?, context.reference()?);
    let (mut worst, mut n_logits) = (0.0_f64, 0);
    for _ in 0..n {
        let text = samples::prompt(&mut rng);
        let ids = tokenizer.encode(&text);
        model.reset();
        let logits = model.prefill(&ids, LogitRows::All, None)?;
        let expected = reference.logits(&plain(&ids))?;
        let difference = largest_difference(&expected.values, logits.values());
        n_logits += logits.values().len();
        if difference > worst || difference.is_nan() {
            worst = difference;
        }
        judgement.require(difference <= limit, || {
            format!("a logit of the unseen prompt {text:?} is {difference:.2e} from the double-precision reference")
        });
    }
    let what = format!("largest logit difference on {n} unseen prompts");
    judgement.at_most(&what, worst, limit, "", n_logits);
    Ok(judgement)
}

/// C2: the last logits follow the token before the last, and the first.
fn the_whole_context_counts(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("smallest_change")?;
    let (n, mut rng) = context.sampling(claim)?;
    let mut model = context.fork()?;
    let vocab_size = context.tokenizer()?.vocab_size().min(model.vocab_size());
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let mut least = f64::INFINITY;
    for sample in 0..n {
        let length = rng.random_range(3..24);
        let ids = samples::ids(&mut rng, length, vocab_size);
        let changed_at = if sample % 2 == 0 { length - 2 } else { 0 };
        let mut changed = ids.clone();
        changed[changed_at] = samples::other_id(&mut rng, ids[changed_at], vocab_size);
        model.reset();
        let before = model.prefill(&ids, LogitRows::Last, None)?;
        model.reset();
        let after = model.prefill(&changed, LogitRows::Last, None)?;
        let difference = largest_difference(before.last(), after.last());
        least = least.min(difference);
        judgement.require(difference >= limit, || {
            format!(
                "changing token {changed_at} of {length} did not change the last logits ({difference:.1e})"
            )
        });
    }
    judgement.at_least("smallest change of the last logits", least, limit, "", n);
    Ok(judgement)
}

/// C3: bits of logits over runs and cuts, tokens over generations with one seed.
fn the_same_input_gives_the_same_bits(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let (mut model, tokenizer) = (context.fork()?, context.tokenizer()?);
    let vocab_size = tokenizer.vocab_size().min(model.vocab_size());
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (mut n_differing, mut n_compared) = (0, 0);
    for _ in 0..n {
        let length = rng.random_range(4..40);
        let ids = samples::ids(&mut rng, length, vocab_size);
        model.reset();
        let first = model.prefill(&ids, LogitRows::All, None)?;
        let mut other = context.fork()?;
        let again = other.prefill(&ids, LogitRows::All, None)?;
        // The same sequence, cut somewhere.
        let cut = rng.random_range(1..length);
        model.reset();
        let mut pieces = model.prefill(&ids[..cut], LogitRows::All, None)?.values().to_vec();
        pieces.extend_from_slice(model.prefill(&ids[cut..], LogitRows::All, None)?.values());
        for (what, found) in [("another run", again.values()), ("another cut", pieces.as_slice())] {
            let differing = n_differing_bits(first.values(), found);
            n_differing += differing;
            n_compared += found.len();
            judgement.require(differing == 0, || {
                format!("{what} of the same {length} ids differs in the bits of {differing} logits")
            });
        }
    }
    judgement.exactly("logits that differ in any bit", n_differing, 0, "", n_compared);

    let mut n_differing = 0;
    for _ in 0..n {
        let prompt = tokenizer.encode(&samples::prompt(&mut rng));
        let seed = rng.random();
        let mut reply =
            || super::d_generation::sampled_reply(model.as_mut(), tokenizer, &prompt, seed, 1.0, 16);
        let (first, second) = (reply()?, reply()?);
        if first.ids != second.ids {
            n_differing += 1;
            judgement.fail(format!("the same seed gives {:?} and then {:?}", first.text, second.text));
        }
    }
    judgement.exactly("replies that the same seed does not repeat", n_differing, 0, "", n);
    Ok(judgement)
}

/// C4: changing what comes after T changes no logit at T or before.
fn nothing_sees_the_future(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let mut model = context.fork()?;
    let vocab_size = context.tokenizer()?.vocab_size().min(model.vocab_size());
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let mut n_changed = 0;
    for _ in 0..n {
        let length = rng.random_range(4..40);
        let ids = samples::ids(&mut rng, length, vocab_size);
        let position = rng.random_range(0..length - 1);
        let mut changed = ids.clone();
        for id in &mut changed[position + 1..] {
            *id = samples::other_id(&mut rng, *id, vocab_size);
        }
        model.reset();
        let before = model.prefill(&ids, LogitRows::All, None)?;
        model.reset();
        let after = model.prefill(&changed, LogitRows::All, None)?;
        let first_leak = (0..=position).find(|&row| n_differing_bits(before.row(row), after.row(row)) > 0);
        if let Some(row) = first_leak {
            n_changed += 1;
            judgement.fail(format!(
                "position {row} of {length} changed with the tokens after position {position}"
            ));
        }
    }
    judgement.exactly("sequences whose past changed with their future", n_changed, 0, "", n);
    Ok(judgement)
}

/// C5: decoding with the cache against evaluating anew, and against the reference, which has no cache.
fn the_cache_changes_nothing(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    const N_DECODED: usize = 6;
    let limit = claim.limit("logits_atol")?;
    let (n, mut rng) = context.sampling(claim)?;
    let (mut model, tokenizer) = (context.fork()?, context.tokenizer()?);
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (mut n_differing, mut n_compared, mut worst) = (0, 0, 0.0_f64);
    for sample in 0..n {
        let ids = tokenizer.encode(&samples::prompt(&mut rng));
        let tail = tokenizer.encode(&samples::prompt(&mut rng));
        let tail = &tail[..tail.len().min(N_DECODED)];
        model.reset();
        model.prefill(&ids, LogitRows::Last, None)?;
        let mut sequence = ids.clone();
        for &id in tail {
            let cached = model.decode(id)?;
            sequence.push(id);
            let mut fresh = context.fork()?;
            let anew = fresh.prefill(&sequence, LogitRows::Last, None)?;
            let differing = n_differing_bits(anew.last(), cached.last());
            n_differing += differing;
            n_compared += anew.last().len();
            judgement.require(differing == 0, || {
                format!(
                    "with the cache, {differing} logits after token {} of {} differ from the sequence evaluated anew",
                    sequence.len(),
                    ids.len() + tail.len()
                )
            });
            let is_last = sequence.len() == ids.len() + tail.len();
            if is_last && sample < 2 {
                let expected =
                    context.reference()?.logits_of(&plain(&sequence), crate::reference::Rows::Last(1))?;
                worst = worst.max(largest_difference(&expected.values, cached.last()));
            }
        }
        // A reset forgets all: the same prompt gives the same bits as in a model that has seen nothing.
        model.reset();
        let after_reset = model.prefill(&ids, LogitRows::Last, None)?;
        let unused = context.fork()?.prefill(&ids, LogitRows::Last, None)?;
        let differing = n_differing_bits(unused.last(), after_reset.last());
        n_differing += differing;
        judgement.require(differing == 0 && model.position() == ids.len(), || {
            format!("after a reset {differing} logits differ from those of a model that has seen nothing")
        });
    }
    judgement.exactly("logits that differ in any bit", n_differing, 0, "", n_compared);
    judgement.at_most("largest difference from the cache-free reference", worst, limit, "", n.min(2));
    Ok(judgement)
}

/// Ids as the reference takes them.
pub(super) fn plain(ids: &[TokenId]) -> Vec<u32> {
    ids.iter().map(|id| id.0).collect()
}

/// The largest absolute difference; not a number when any is, or when the lengths differ.
pub(super) fn largest_difference<E: Copy + Into<f64>, A: Copy + Into<f64>>(
    expected: &[E],
    actual: &[A],
) -> f64 {
    if expected.len() != actual.len() {
        return f64::NAN;
    }
    let differences = expected.iter().zip(actual).map(|(&e, &a)| (e.into() - a.into()).abs());
    differences.fold(
        0.0,
        |worst, difference| if difference.is_nan() || difference > worst { difference } else { worst },
    )
}

/// How many values differ in any bit; all of them when the lengths differ.
fn n_differing_bits(expected: &[f32], actual: &[f32]) -> usize {
    if expected.len() != actual.len() {
        return expected.len().max(actual.len());
    }
    expected.iter().zip(actual).filter(|(e, a)| e.to_bits() != a.to_bits()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_not_a_number_is_never_lost() {
        assert!(largest_difference(&[0.0_f64, f64::NAN, 1.0], &[0.0_f32, 0.0, 1.0]).is_nan());
        assert!(largest_difference(&[0.0_f64], &[0.0_f32, 0.0]).is_nan());
        assert!((largest_difference(&[1.0_f64, -2.0], &[1.5_f32, -2.0]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn signed_zeros_differ_in_a_bit() {
        assert_eq!(n_differing_bits(&[0.0, 1.0], &[-0.0, 1.0]), 1);
        assert_eq!(n_differing_bits(&[0.0], &[]), 1);
    }
}
