//! Adding up: what the checklist must total, and what a run scored.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Claim, ClaimId, Section};
use crate::yaml::{Position, Problem};

/// Points of the whole checklist.
pub const CHECKLIST_POINTS: u32 = 180;

/// The rows that are shown without points.
const UNSCORED: [ClaimId; 2] =
    [ClaimId { section: Section::I, number: 19 }, ClaimId { section: Section::I, number: 20 }];

/// Reports every section whose rows or points are not those the specification's summary gives.
pub(super) fn judge_totals(claims: &[Claim], file_of: impl Fn(Section) -> String) -> Vec<Problem> {
    let mut problems = Vec::new();
    for section in Section::ALL {
        let mut add = |line: u64, what: String| {
            problems.push(Problem { file: file_of(section), at: Position { line, column: 1 }, what });
        };
        let of_section = || claims.iter().filter(|claim| claim.id.section == section);
        for number in 1..=section.n_claims() {
            let id = ClaimId { section, number };
            if of_section().all(|claim| claim.id != id) {
                add(1, format!("claim {id} is missing"));
            }
        }
        for claim in of_section() {
            if claim.scored == UNSCORED.contains(&claim.id) {
                let expected = if claim.scored { "shown without points" } else { "scored" };
                add(claim.line, format!("{} is {expected} in the specification", claim.id));
            }
        }
        let n_points: u32 = of_section().map(|claim| claim.points).fold(0, u32::saturating_add);
        if n_points != section.n_points() {
            add(
                1,
                format!("section {section} totals {n_points} points, it must total {}", section.n_points()),
            );
        }
    }
    problems
}

/// Points of one section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SectionScore {
    /// Points of claims that passed.
    pub passed: u32,
    /// Points of claims that failed.
    pub failed: u32,
    /// Points of claims that are undecided.
    pub undecided: u32,
}

impl SectionScore {
    /// All points of the section.
    pub fn total(self) -> u32 {
        self.passed + self.failed + self.undecided
    }
}

/// Points of a run, by section and together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// Together.
    pub all: SectionScore,
    /// By section letter.
    pub sections: BTreeMap<char, SectionScore>,
}

/// What a claim came to, as far as points go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Only this scores.
    Passed,
    /// Shown false.
    Failed,
    /// Neither, or not run.
    Undecided,
}

/// Adds up what `standing` says of each claim. Every point of the checklist lands in exactly one place.
pub fn score(claims: &[Claim], standing: impl Fn(ClaimId) -> Standing) -> Score {
    let mut score = Score::default();
    for claim in claims {
        let section = score.sections.entry(claim.id.section.letter()).or_default();
        for tally in [section, &mut score.all] {
            match standing(claim.id) {
                Standing::Passed => tally.passed += claim.points,
                Standing::Failed => tally.failed += claim.points,
                Standing::Undecided => tally.undecided += claim.points,
            }
        }
    }
    score
}
