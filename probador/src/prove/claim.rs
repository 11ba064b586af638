//! One claim tried under everything it names.

use serde::Serialize;

use super::trial::{Doubt, Trials, obstacle};
use crate::checklist::{Claim, ClaimId, Fault};

/// What trying a claim came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimTrial {
    /// The claim.
    pub claim: ClaimId,
    /// Its title.
    pub title: String,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// The faults it was tried under, each with why it is not caught, if it is not.
    pub faults: Vec<FaultTrial>,
}

/// A claim under one of its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultTrial {
    /// The fault.
    pub fault: String,
    /// Why the claim is not shown to catch it; `None` when it is.
    pub doubt: Option<Doubt>,
}

/// Whether a claim is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// Green clean, green under nothing, red under each fault.
    Proven,
    /// Proven before, and nothing it depends on has changed.
    Known,
    /// At least one fault is not caught.
    Survived,
    /// It could not be tried as it must be.
    Doubtful {
        /// Why.
        why: String,
    },
    /// This model or machine cannot decide it.
    Waiting {
        /// For what.
        why: String,
    },
}

/// Tries `claim` clean, under nothing, and under each of `faults`.
pub fn prove(trials: &Trials, claim: &Claim, faults: &[&Fault]) -> ClaimTrial {
    let ended =
        |standing, faults| ClaimTrial { claim: claim.id, title: claim.title.clone(), standing, faults };
    if let Some(undecided) = obstacle(trials.engine(), claim) {
        return ended(Standing::Waiting { why: undecided.to_string() }, Vec::new());
    }
    if let Err(doubt) = trials.clean(claim).and_then(|()| trials.calm(claim)) {
        return ended(Standing::Doubtful { why: doubt.to_string() }, Vec::new());
    }
    let tried: Vec<FaultTrial> = faults
        .iter()
        .map(|fault| FaultTrial { fault: fault.name.clone(), doubt: trials.catches(claim, fault).err() })
        .collect();
    let is_proven = !tried.is_empty() && tried.iter().all(|fault| fault.doubt.is_none());
    ended(if is_proven { Standing::Proven } else { Standing::Survived }, tried)
}
