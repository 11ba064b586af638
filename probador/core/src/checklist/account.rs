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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Problems, parse};

    /// A claim worth so many points.
    fn claim(id: &str, points: u32) -> Claim {
        let text = format!(
            "{{id: {id}, title: t, claim: c, falsified_when: f, points: {points}, needs: [], check: pending, waits_for: w}}"
        );
        let mut problems = Problems::new("c.yaml");
        Claim::read(&parse("c.yaml", &text).unwrap(), "c.yaml", &mut problems).unwrap()
    }

    #[test]
    fn every_point_lands_in_exactly_one_place() {
        let claims = [claim("A1", 1), claim("A2", 2), claim("C1", 6), claim("C2", 3), claim("C3", 30)];
        let standing = |id: ClaimId| match (id.section, id.number) {
            (Section::A, _) | (_, 2) => Standing::Passed,
            (_, 1) => Standing::Failed,
            _ => Standing::Undecided,
        };
        let score = score(&claims, standing);
        assert_eq!(score.all, SectionScore { passed: 6, failed: 6, undecided: 30 });
        assert_eq!(score.sections.keys().collect::<Vec<_>>(), [&'A', &'C']);
        assert_eq!(score.sections[&'A'], SectionScore { passed: 3, failed: 0, undecided: 0 });
        assert_eq!(score.sections[&'C'], SectionScore { passed: 3, failed: 6, undecided: 30 });
        assert_eq!(score.sections[&'C'].total(), 39);
    }
}
