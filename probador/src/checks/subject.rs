//! Whether what runs is the model in the file at all. A claim about behaviour that a fake could pass proves nothing, so
//! every check whose verdict rests on the model's own output asks this first.

use apr_generation::{LogitRows, log_probability};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::c_forward_pass::{largest_difference, plain};
use super::samples::{self, PASSAGE};
use super::{CheckError, Context};
use crate::case::Judgement;

/// Logits further than this from the reference's are another model's: single precision stays below 1e-4, and a fault
/// of arithmetic is for claim C1 to find.
const LARGEST_DIFFERENCE: f64 = 0.5;
/// A model is trained when it needs fewer guesses on plain English than this share of its vocabulary. Untrained ones
/// need more than all of it.
const LARGEST_SHARE: f64 = 0.1;

/// Notes what makes the model under test a fake.
pub(super) fn require_model(context: &Context, judgement: &mut Judgement) -> Result<(), CheckError> {
    for doubt in context.doubts()? {
        judgement.fail(doubt.clone());
    }
    Ok(())
}

/// What makes the model under test a fake: on an unseen prompt it is far from the engine's own reading of the file, or
/// it predicts English no better than chance.
pub(super) fn doubts(context: &Context) -> anyhow::Result<Vec<String>> {
    let mut doubts = Vec::new();
    // Drawn anew: a prompt that is the same in every run is one that a fake can know.
    let seed = context.seed_override().unwrap_or_else(rand::random);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut model, tokenizer) = (context.fork()?, context.tokenizer()?);
    let text = samples::prompt(&mut rng);
    let ids = tokenizer.encode(&text);
    let logits = model.prefill(&ids, LogitRows::Last, None)?;
    let expected = context.reference()?.logits_of(&plain(&ids), crate::reference::Rows::Last(1))?;
    let difference = largest_difference(&expected.values, logits.last());
    if difference.is_nan() || difference > LARGEST_DIFFERENCE {
        doubts.push(format!(
            "this is not the model in the file: after the unseen prompt {text:?} (--seed {seed}) a logit is \
             {difference:.2} from what the file's weights give"
        ));
    }
    let ids = tokenizer.encode(PASSAGE);
    model.reset();
    let logits = model.prefill(&ids, LogitRows::All, None)?;
    let surprise: f64 =
        (1..ids.len()).map(|position| -log_probability(logits.row(position - 1), ids[position])).sum();
    let perplexity = (surprise / (ids.len() - 1).max(1) as f64).exp();
    let limit = LARGEST_SHARE * model.vocab_size() as f64;
    if perplexity.is_nan() || perplexity > limit {
        doubts.push(format!(
            "this model is not trained: its perplexity on plain English is {perplexity:.0}, a trained one stays below \
             {limit:.0}"
        ));
    }
    Ok(doubts)
}
