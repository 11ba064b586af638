//! Which cases to run: by name, section, tag, last failures, or an even share of them. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::case::{Case, Subject};
use crate::checklist::Section;

/// What was asked for; everything empty means every case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Parts of names; one must match.
    pub substrings: Vec<String>,
    /// Whole names; one must match.
    pub exact: Vec<String>,
    /// Sections; one must match.
    pub sections: Vec<Section>,
    /// Tags; one must match. See [`tags`].
    pub tags: Vec<String>,
    /// Names of the cases that failed last time.
    pub failed_before: Option<BTreeSet<String>>,
    /// Every n-th case only.
    pub shard: Option<Shard>,
}

/// The k-th of n shares, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    n: usize,
}

impl Shard {
    /// Which share, from 1.
    pub fn index(self) -> usize {
        self.index
    }

    /// Of how many.
    pub fn n(self) -> usize {
        self.n
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("`{text}` is not a share such as `1/3`, counted from 1");
        let (index, n) = text.split_once('/').ok_or_else(error)?;
        let (index, n) = (index.parse().map_err(|_| error())?, n.parse().map_err(|_| error())?);
        if (1..=n).contains(&index) { Ok(Self { index, n }) } else { Err(error()) }
    }
}

/// What `--tag` knows a case by: `claim`, `playbook`, `golden` or `canary`; its group; `decidable` or `undecidable`.
pub fn tags(case: &Case) -> [&'static str; 3] {
    use crate::checklist::Group;
    let kind = match case.subject {
        Subject::Claim(_) => "claim",
        Subject::Playbook(_) => "playbook",
        Subject::Golden { .. } => "golden",
        Subject::Canary => "canary",
    };
    let group = match case.group {
        Group::File => "file",
        Group::Model => "model",
        Group::Process => "process",
        Group::Source => "source",
        Group::Perf => "perf",
    };
    [kind, group, if case.undecided.is_none() { "decidable" } else { "undecidable" }]
}

/// Every word that `--tag` takes.
pub const TAGS: [&str; 11] = [
    "claim",
    "playbook",
    "golden",
    "canary",
    "file",
    "model",
    "process",
    "source",
    "perf",
    "decidable",
    "undecidable",
];

impl Selection {
    /// The selected cases, in order. The canary is never among them: it runs beside every selection.
    pub fn apply(&self, cases: &[Case]) -> Vec<Case> {
        let selected = cases.iter().filter(|case| case.subject != Subject::Canary && self.takes(case));
        match self.shard {
            None => selected.cloned().collect(),
            Some(shard) => selected.skip(shard.index - 1).step_by(shard.n).cloned().collect(),
        }
    }

    /// Whether nothing in particular was asked for.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    fn takes(&self, case: &Case) -> bool {
        let name = case.id.as_str();
        let by_name = self.substrings.is_empty() && self.exact.is_empty()
            || self.substrings.iter().any(|part| name.contains(part.as_str()))
            || self.exact.iter().any(|whole| whole == name);
        let by_section = self.sections.is_empty()
            || case.claim().is_some_and(|claim| self.sections.contains(&claim.section));
        let by_tag = self.tags.is_empty() || self.tags.iter().any(|tag| tags(case).contains(&tag.as_str()));
        let by_failure = self.failed_before.as_ref().is_none_or(|failed| failed.contains(name));
        by_name && by_section && by_tag && by_failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CaseId;
    use crate::checklist::{ClaimId, Group};

    fn case(id: &str) -> Case {
        let claim: ClaimId = id.parse().unwrap();
        Case {
            id: CaseId::golden("m", "p", &format!("{}_{id}", claim.section.slug())),
            subject: Subject::Claim(claim),
            title: String::new(),
            group: Group::Model,
            source: None,
            undecided: None,
        }
    }

    fn cases() -> Vec<Case> {
        let mut cases: Vec<_> = ["A1", "A2", "C4", "C5", "D1"].map(case).into();
        cases.push(Case { id: CaseId::canary(), subject: Subject::Canary, ..case("A1") });
        cases
    }

    #[track_caller]
    fn check(selection: &Selection, expected: &[&str]) {
        let selected = selection.apply(&cases());
        let found: Vec<_> = selected.iter().map(|case| case.claim().unwrap().to_string()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn everything_is_selected_when_nothing_is_asked_for_but_the_canary() {
        check(&Selection::default(), &["A1", "A2", "C4", "C5", "D1"]);
    }

    #[test]
    fn names_match_in_part_or_whole() {
        check(&Selection { substrings: vec!["forward".into()], ..Selection::default() }, &["C4", "C5"]);
        check(&Selection { exact: vec!["forward".into()], ..Selection::default() }, &[]);
        let whole = vec!["golden::m::p::c_forward_pass_C4".into()];
        check(&Selection { exact: whole, ..Selection::default() }, &["C4"]);
    }

    #[test]
    fn sections_tags_and_failures_narrow_each_other() {
        let sections = vec![Section::C, Section::D];
        check(&Selection { sections: sections.clone(), ..Selection::default() }, &["C4", "C5", "D1"]);
        let failed_before = Some(BTreeSet::from(["golden::m::p::d_generation_D1".to_owned()]));
        check(&Selection { sections, failed_before, ..Selection::default() }, &["D1"]);
        check(&Selection { tags: vec!["perf".into()], ..Selection::default() }, &[]);
    }

    #[test]
    fn shards_are_disjoint_and_complete() {
        let share = |text: &str| Selection { shard: Some(text.parse().unwrap()), ..Selection::default() };
        check(&share("1/2"), &["A1", "C4", "D1"]);
        check(&share("2/2"), &["A2", "C5"]);
    }

    #[test]
    fn shares_count_from_one() {
        for text in ["0/2", "3/2", "1/0", "1", "a/b", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_knows_which_of_how_many_it_is() {
        let shard: Shard = "2/3".parse().unwrap();
        assert_eq!((shard.index(), shard.n()), (2, 3));
    }

    #[test]
    fn a_case_is_known_by_its_kind_its_group_and_whether_it_can_be_decided() {
        use crate::case::Undecided;
        let golden = Subject::Golden { model: "m".into(), prompt: "p".into(), tensor: "logits".into() };
        let playbook = Subject::Playbook("edge-cases/unicode".parse().unwrap());
        let claim = Subject::Claim("A1".parse().unwrap());
        let undecided = Some(Undecided::unverified("no model", ""));
        for (subject, group, undecided, expected) in [
            (golden, Group::Model, None, ["golden", "model", "decidable"]),
            (playbook, Group::Process, None, ["playbook", "process", "decidable"]),
            (Subject::Canary, Group::File, None, ["canary", "file", "decidable"]),
            (claim.clone(), Group::Source, None, ["claim", "source", "decidable"]),
            (claim, Group::Perf, undecided, ["claim", "perf", "undecidable"]),
        ] {
            let found = tags(&Case { subject, group, undecided, ..case("A1") });
            assert_eq!(found, expected);
            assert!(found.iter().all(|tag| TAGS.contains(tag)), "{found:?}");
        }
    }
}
