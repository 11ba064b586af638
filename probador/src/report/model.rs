//! What a report says, in the form that is stored; everything else is rendered from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImpostorTable, InputFile, TableStanding};
use crate::case::{Machine, Outcome, Subject, Undecided, Verdict};
use crate::checklist::{Check, Checklist, Claim, ClaimId, Date, Score, Section, Standing, Waiver, score};
use crate::gate::Gate;
use crate::playbook::{PlaybookId, Playbooks};
use crate::prove::ProofStanding;
use crate::yaml::Keyword as _;

/// Why a claim is undecided that nobody asked about.
pub(super) const NOT_SELECTED: &str = "it was not selected for this run";

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this format.
    pub version: u32,
    /// The engine and its version.
    pub tool: String,
    /// When the run began, in seconds since 1970.
    pub started: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// In one word, with what stands behind it.
    pub verdict: RunVerdict,
    /// Whether a release may go out on the day it was made, and what speaks against it.
    pub gate: Gate,
    /// Points, together and by section.
    pub score: Score,
    /// What was judged.
    pub model: ModelFacts,
    /// What it ran on.
    pub machine: Machine,
    /// What was selected, when not everything was.
    pub selection: Option<String>,
    /// Every claim, in order.
    pub claims: Vec<ClaimRow>,
    /// Every playbook that was selected.
    #[serde(default)]
    pub playbooks: Vec<Outcome>,
    /// Every golden tensor that was compared.
    pub goldens: Vec<Outcome>,
    /// How the checklist took the impostors when they were last let loose.
    pub impostors: ImpostorTable,
    /// Whether there is a matrix of all claims and faults, `../prove.html`.
    pub matrix: TableStanding,
    /// Every file that the run rests on, by its hash.
    pub inputs: Vec<InputFile>,
    /// What is wrong with the run itself.
    pub problems: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunVerdict {
    /// Every scored claim passed.
    Pass,
    /// Nothing failed, and claims remain undecided.
    Incomplete,
    /// Something failed, or a waiver is not needed any more.
    Fail,
    /// The run contradicts itself.
    Unbelievable,
}

/// The model that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelFacts {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: String,
    /// Its size in bytes.
    pub file_size: u64,
    /// The root hash it states.
    pub root_hash: String,
    /// Whether it stands in for the released one.
    pub stand_in: bool,
}

/// A claim and how it came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimRow {
    /// Its id.
    pub id: ClaimId,
    /// Its case.
    pub case: String,
    /// A few words.
    pub title: String,
    /// What is claimed.
    pub claim: String,
    /// What would show it false.
    pub falsified_when: String,
    /// What it is worth.
    pub points: u32,
    /// Whether it counts.
    pub scored: bool,
    /// Faults that must turn it red.
    pub faults: Vec<String>,
    /// Whether those have; absent when nothing checks the claim yet.
    pub proof: Option<ProofStanding>,
    /// What tries to falsify it, in words.
    pub check: String,
    /// Publications.
    pub references: Vec<String>,
    /// Where it is written.
    pub file: String,
    /// In which line.
    pub line: u64,
    /// Why it may stay undecided at the gate.
    pub waiver: Option<WaiverRow>,
    /// How it ended; absent when it was not selected.
    pub outcome: Option<Outcome>,
}

/// Why a claim may stay undecided at the gate, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaiverRow {
    /// Why this machine cannot decide it.
    pub reason: String,
    /// The day it was granted.
    pub granted: Date,
    /// The last day it holds.
    pub until: Date,
    /// Where it stands in `checklist/waivers.yaml`.
    pub line: u64,
}

/// Undecided claims that wait for the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What for.
    pub what: String,
    /// What would help.
    pub remedy: String,
    /// Which claims.
    pub claims: Vec<ClaimId>,
    /// Their points together.
    pub points: u32,
}

impl ClaimRow {
    /// How it stands, as far as points go.
    pub fn standing(&self) -> Standing {
        match self.outcome.as_ref().map(|outcome| &outcome.verdict) {
            Some(Verdict::Pass) => Standing::Passed,
            Some(Verdict::Fail { .. }) => Standing::Failed,
            Some(Verdict::Undecided(_)) | None => Standing::Undecided,
        }
    }

    /// Why there is no verdict, if there is none.
    pub fn undecided(&self) -> Option<Undecided> {
        match self.outcome.as_ref().map(|outcome| &outcome.verdict) {
            Some(Verdict::Undecided(undecided)) => Some(undecided.clone()),
            Some(Verdict::Pass | Verdict::Fail { .. }) => None,
            None => Some(Undecided::unverified(NOT_SELECTED, "cargo probador full")),
        }
    }
}

impl WaiverRow {
    fn of(waiver: &Waiver) -> Self {
        Self {
            reason: waiver.reason.clone(),
            granted: waiver.granted,
            until: waiver.until,
            line: waiver.line,
        }
    }
}

/// What was observed, or why nothing was; of a pass there is nothing to say.
pub(super) fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail { diagnosis } => diagnosis.clone(),
        Verdict::Undecided(undecided) => undecided.to_string(),
    }
}

impl ClaimRow {
    /// Whether a playbook is one of those that judge the claim.
    pub(super) fn is_judged_by(&self, playbook: &PlaybookId) -> bool {
        let judges = [Some(Playbooks::All), playbook.category().map(Playbooks::Of)];
        judges.into_iter().flatten().any(|judges| self.check == judged_by(judges))
    }
}

/// What is said of a claim that `playbooks` judge.
fn judged_by(playbooks: Playbooks) -> String {
    match playbooks {
        Playbooks::All => "the playbooks, all of them".to_owned(),
        Playbooks::Of(category) => format!("the playbooks in playbooks/{category}"),
    }
}

/// What tries to falsify `claim`, for a reader.
fn check(claim: &Claim) -> String {
    match &claim.check {
        Check::Builtin => "a check of the engine".to_owned(),
        Check::Pending => "nothing yet".to_owned(),
        Check::Lint(rule) => format!("lint {rule}"),
        Check::Playbook(playbooks) => judged_by(*playbooks),
        Check::Coverage(what) => format!("the stored coverage: {}", what.word()),
        Check::Mutation(what) => format!("the stored results of mutants: {}", what.word()),
    }
}

impl Report {
    /// Version of the format that is written here.
    pub const VERSION: u32 = 2;

    /// The claims of a checklist with what `outcomes` say of them, and the score that makes.
    pub fn tally(
        checklist: &Checklist,
        outcomes: &[Outcome],
        waivers: &[Waiver],
        proofs: &BTreeMap<ClaimId, ProofStanding>,
    ) -> (Vec<ClaimRow>, Score) {
        let by_claim: BTreeMap<ClaimId, &Outcome> = outcomes
            .iter()
            .filter_map(|outcome| match outcome.subject {
                Subject::Claim(id) => Some((id, outcome)),
                Subject::Playbook(_) | Subject::Golden { .. } | Subject::Canary => None,
            })
            .collect();
        let rows: Vec<ClaimRow> = checklist
            .claims()
            .iter()
            .map(|claim| ClaimRow {
                id: claim.id,
                case: claim.case_name(),
                title: claim.title.clone(),
                claim: claim.claim.clone(),
                falsified_when: claim.falsified_when.clone(),
                points: claim.points,
                scored: claim.scored,
                faults: claim.faults.clone(),
                proof: proofs.get(&claim.id).copied(),
                references: claim.references.clone(),
                file: claim.file.clone(),
                line: claim.line,
                check: check(claim),
                waiver: waivers.iter().find(|waiver| waiver.claim == claim.id).map(WaiverRow::of),
                outcome: by_claim.get(&claim.id).map(|&outcome| outcome.clone()),
            })
            .collect();
        let standing: BTreeMap<ClaimId, Standing> = rows.iter().map(|row| (row.id, row.standing())).collect();
        let score = score(checklist.claims(), |id| standing.get(&id).copied().unwrap_or(Standing::Undecided));
        (rows, score)
    }

    /// Claims that passed without a proof that their check can fail, which is not what a release rests on.
    pub fn unproven(&self) -> impl Iterator<Item = &ClaimRow> {
        let passed = self.claims.iter().filter(|row| row.standing() == Standing::Passed);
        passed.filter(|row| row.proof != Some(ProofStanding::Proven))
    }

    /// Every outcome that turned the run red.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        let claims = self.claims.iter().filter_map(|row| row.outcome.as_ref());
        claims.chain(&self.playbooks).chain(&self.goldens).filter(|outcome| outcome.is_red())
    }

    /// Claims that passed although a waiver says that they cannot be decided.
    pub fn needlessly_waived(&self) -> impl Iterator<Item = &ClaimRow> {
        self.claims.iter().filter(|row| row.waiver.is_some() && row.standing() == Standing::Passed)
    }

    /// The claims of one section.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &ClaimRow> {
        self.claims.iter().filter(move |row| row.id.section == section)
    }

    /// Undecided claims by what they wait for, most points first.
    pub fn waiting(&self) -> Vec<Waiting> {
        let mut groups: Vec<Waiting> = Vec::new();
        for row in &self.claims {
            let Some(undecided) = row.undecided() else { continue };
            let place = groups
                .iter()
                .position(|group| group.what == undecided.what && group.remedy == undecided.remedy);
            let place = place.unwrap_or_else(|| {
                let (what, remedy) = (undecided.what, undecided.remedy);
                groups.push(Waiting { what, remedy, claims: Vec::new(), points: 0 });
                groups.len() - 1
            });
            let group = &mut groups[place];
            group.claims.push(row.id);
            group.points += row.points;
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.points));
        groups
    }

    /// What the facts add up to.
    pub fn judge(&self) -> RunVerdict {
        if !self.problems.is_empty() {
            RunVerdict::Unbelievable
        } else if self.failures().next().is_some() || self.needlessly_waived().next().is_some() {
            RunVerdict::Fail
        } else if self.score.all.undecided > 0 {
            RunVerdict::Incomplete
        } else {
            RunVerdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::playbook::Category;
    use crate::workspace::Workspace;

    #[test]
    fn what_a_verdict_says_is_what_was_observed_or_is_missing() {
        assert_eq!(said(&Verdict::Pass), "");
        assert_eq!(said(&Verdict::Fail { diagnosis: "a\nb".into() }), "a\nb");
        let open = Undecided::unverified("there is no model", "make model");
        assert_eq!(said(&Verdict::Undecided(open)), "unverified: there is no model; make model");
    }

    #[test]
    fn every_kind_of_check_is_told_in_words() {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let of = |kind: Check| check(&Claim { check: kind, ..checklist.claims()[0].clone() });
        assert_eq!(of(Check::Builtin), "a check of the engine");
        assert_eq!(of(Check::Pending), "nothing yet");
        assert_eq!(of(Check::Playbook(Playbooks::All)), "the playbooks, all of them");
        let some = Check::Playbook(Playbooks::Of(Category::EdgeCases));
        assert_eq!(of(some.clone()), "the playbooks in playbooks/edge-cases");
        let row = |check: String| ClaimRow { check, ..sample::all_passing().claims[0].clone() };
        let playbook: PlaybookId = "edge-cases/unicode".parse().unwrap();
        for (kind, expected) in [
            (Check::Playbook(Playbooks::All), true),
            (some, true),
            (Check::Playbook(Playbooks::Of(Category::HappyPath)), false),
            (Check::Builtin, false),
        ] {
            assert_eq!(row(of(kind.clone())).is_judged_by(&playbook), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_tally_keeps_each_waiver_with_its_claim() {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let day = |year: u16| Date::new(year, 1, 1).unwrap();
        let claim: ClaimId = "J16".parse().unwrap();
        let waiver =
            Waiver { claim, reason: "no counters".into(), granted: day(2026), until: day(2027), line: 7 };
        let (rows, score) = Report::tally(&checklist, &[], &[waiver], &BTreeMap::new());
        let waived: Vec<_> = rows.iter().filter_map(|row| Some((row.id, row.waiver.clone()?))).collect();
        let row = WaiverRow { reason: "no counters".into(), granted: day(2026), until: day(2027), line: 7 };
        assert_eq!(waived, [(claim, row)]);
        assert_eq!((score.all.passed, score.all.undecided), (0, 180));
    }

    #[test]
    fn the_verdict_is_the_gravest_thing_that_happened() {
        let mut report = sample::all_passing();
        assert_eq!(report.judge(), RunVerdict::Pass);
        report.score.all.undecided = 1;
        assert_eq!(report.judge(), RunVerdict::Incomplete);
        let day = Date::new(2026, 1, 1).unwrap();
        let waiver = WaiverRow { reason: "no counters".into(), granted: day, until: day, line: 7 };
        report.claims[0].waiver = Some(waiver);
        assert_eq!(report.needlessly_waived().map(|row| row.id).collect::<Vec<_>>(), [report.claims[0].id]);
        assert_eq!(report.judge(), RunVerdict::Fail);
        // A waiver of what is undecided is no reason.
        report.claims[0].outcome = None;
        assert_eq!(report.judge(), RunVerdict::Incomplete);
        report.problems.push("points do not add up".into());
        assert_eq!(report.judge(), RunVerdict::Unbelievable);
    }
}
