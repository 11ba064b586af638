//! The checks behind the claims: a registry from claim id to function, and what those functions see.

mod a_model_loading;
mod b_tokenization;
mod c_forward_pass;
mod c_inside;
mod chat;
mod checkpoint;
mod context;
mod d_generation;
mod e_visual_control;
mod f_wasm;
mod g_code_quality;
pub mod golden;
mod h_full_lifecycle;
mod h_measured;
mod h_quantized;
mod hub;
mod j_profiling;
#[cfg(test)]
pub(crate) mod made_up;
mod measured;
mod perplexity;
mod playbooks;
mod report;
mod samples;
mod speed;
mod subject;

pub use context::{Context, Model};

use crate::case::{Judgement, Undecided};
use crate::checklist::{Claim, ClaimId};

/// What tries to falsify a claim.
pub type CheckFn = fn(&Context, &Claim) -> Result<Judgement, CheckError>;

/// Why a check could not judge.
#[derive(Debug)]
pub enum CheckError {
    /// Something it needs turned out to be missing.
    Undecided(Undecided),
    /// The check itself, or what it stands on, broke.
    Broken(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for CheckError {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// Every registered check, in order of claim.
pub fn registry() -> Vec<(&'static str, CheckFn)> {
    [
        a_model_loading::CHECKS,
        b_tokenization::CHECKS,
        c_forward_pass::CHECKS,
        d_generation::CHECKS,
        e_visual_control::CHECKS,
        f_wasm::CHECKS,
        g_code_quality::CHECKS,
        golden::CHECKS,
        h_full_lifecycle::CHECKS,
        h_measured::CHECKS,
        h_quantized::CHECKS,
        j_profiling::CHECKS,
        report::CHECKS,
    ]
    .concat()
}

/// The check of a claim.
pub fn find(id: ClaimId) -> Option<CheckFn> {
    let name = id.to_string();
    registry().into_iter().find(|(registered, _)| *registered == name).map(|(_, check)| check)
}

pub use g_code_quality::lint;
pub use measured::{covered, mutants_caught};
pub use playbooks::judge as playbooks;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::Check;
    use crate::workspace::Workspace;

    #[test]
    fn every_builtin_claim_has_a_check_and_every_check_a_builtin_claim() {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let claims = checklist.claims().iter().filter(|claim| claim.check == Check::Builtin);
        let mut expected: Vec<String> = claims.map(|claim| claim.id.to_string()).collect();
        let mut registered: Vec<String> = registry().iter().map(|(id, _)| (*id).to_owned()).collect();
        expected.sort();
        registered.sort();
        assert_eq!(registered, expected);
    }
}
