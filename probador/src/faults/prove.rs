//! Whether a fault is caught: the claim green without it, red with it, in the words the fault asks for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::case::{Judgement, Undecided, Verdict};
use crate::checklist::{Claim, ClaimId, Fault};
use crate::checks::{CheckError, Context};
use crate::engine::{Engine, judge_claim};

/// Judges claims clean, once each.
#[derive(Default)]
pub struct Clean(Mutex<BTreeMap<ClaimId, Result<Verdict, String>>>);

/// Every claim with each of its faults, for claims whose check is there.
pub fn pairs(engine: &Engine) -> Vec<(&Claim, &Fault)> {
    let checklist = engine.checklist();
    let checked = checklist.claims().iter().filter(|claim| claim.has_check());
    let named = checked.flat_map(|claim| claim.faults.iter().map(move |name| (claim, name)));
    named.filter_map(|(claim, name)| Some((claim, checklist.faults().get(name)?))).collect()
}

/// Why a claim cannot be judged here at all; that a small model stands in for the released one is no obstacle.
pub fn obstacle(engine: &Engine, claim: &Claim) -> Option<Undecided> {
    let context = engine.context();
    let needs = claim.needs.iter().filter(|&&need| need != crate::checklist::Need::ReleaseModel);
    needs
        .copied()
        .find_map(|need| crate::availability::available(need, context.workspace(), context.model()).err())
}

/// Plants `fault` and judges `claim`; an error says what was not as it must be.
pub fn prove(engine: &Engine, clean: &Clean, claim: &Claim, fault: &Fault) -> Result<(), String> {
    let claim = &adapted(claim, engine.context()).map_err(|error| format!("{error:#}"))?;
    let _turn = engine.turn(claim.group);
    let without = {
        let mut known = clean.0.lock().unwrap_or_else(PoisonError::into_inner);
        let judge = || judged(judge_claim(claim, engine.context())).map(|judgement| judgement.verdict());
        known.entry(claim.id).or_insert_with(judge).clone()
    };
    match without {
        Ok(Verdict::Pass) => {}
        Ok(other) => return Err(format!("{} is {} without any fault: {other:?}", claim.id, other.word())),
        Err(error) => return Err(format!("{} cannot be judged without any fault: {error}", claim.id)),
    }
    let context = engine.context();
    let subject = super::plant(&fault.name, &context.model().path)
        .map_err(|error| format!("`{}` cannot be planted: {error:#}", fault.name))?
        .ok_or_else(|| format!("nothing plants `{}`", fault.name))?;
    let model = crate::models::ModelChoice { path: subject.model, ..context.model().clone() };
    let faulty =
        Context::with_fault(context.workspace().clone(), model, context.seed_override(), subject.planted);
    let judgement = judged(judge_claim(claim, &faulty))
        .map_err(|error| format!("`{}` was not caught, it broke the check: {error}", fault.name))?;
    if judgement.failures.is_empty() {
        return Err(format!("{} does not catch `{}`: {:?}", claim.id, fault.name, judgement.verdict()));
    }
    let said = judgement.failures.join("\n");
    let words = fault.diagnostic(claim.id).unwrap_or_default();
    if words.is_empty() || !said.contains(words) {
        return Err(format!("{} is red under `{}` without saying {words:?}:\n{said}", claim.id, fault.name));
    }
    Ok(())
}

fn judged(result: Result<Judgement, CheckError>) -> Result<Judgement, String> {
    result.map_err(|error| match error {
        CheckError::Undecided(undecided) => undecided.to_string(),
        CheckError::Broken(error) => format!("{error:#}"),
    })
}

/// The claim with the figures of the model at hand where it names those of the released one.
fn adapted(claim: &Claim, context: &Context) -> anyhow::Result<Claim> {
    let mut claim = claim.clone();
    if !context.model().known.as_ref().is_some_and(|known| known.stand_in) {
        return Ok(claim);
    }
    if let Some(limit) = claim.limits.get_mut("vocab_size") {
        *limit = context.file()?.metadata().config.vocab_size as f64;
    }
    if let Some(limit) = claim.limits.get_mut("im_start") {
        let id = context.tokenizer()?.token_to_id("<|im_start|>");
        *limit = id.map_or(f64::NAN, |id| f64::from(id.0));
    }
    Ok(claim)
}
