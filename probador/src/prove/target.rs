//! What can be proven: a claim by its check, or a playbook by itself.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checklist::{Claim, ClaimId, Fault, Group};
use crate::playbook::{Playbook, PlaybookId};

/// A claim or a playbook that is tried under faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'t> {
    /// A claim.
    Claim(&'t Claim),
    /// A playbook.
    Playbook(&'t Playbook),
}

/// What a target is called on the command line and in the file of proofs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub enum TargetName {
    /// `C4`.
    Claim(ClaimId),
    /// `edge-cases/unicode`.
    Playbook(PlaybookId),
}

impl<'t> Target<'t> {
    /// What it is called.
    pub fn name(self) -> TargetName {
        match self {
            Self::Claim(claim) => TargetName::Claim(claim.id),
            Self::Playbook(playbook) => TargetName::Playbook(playbook.id.clone()),
        }
    }

    /// A few words.
    pub fn title(self) -> &'t str {
        match self {
            Self::Claim(claim) => &claim.title,
            Self::Playbook(playbook) => &playbook.name,
        }
    }

    /// What it must not run beside.
    pub fn group(self) -> Group {
        match self {
            Self::Claim(claim) => claim.group,
            Self::Playbook(playbook) => playbook.group(),
        }
    }

    /// The claim it is, if it is one.
    pub fn claim(self) -> Option<&'t Claim> {
        match self {
            Self::Claim(claim) => Some(claim),
            Self::Playbook(_) => None,
        }
    }

    /// The faults that must turn it red.
    pub fn faults(self) -> Vec<&'t str> {
        match self {
            Self::Claim(claim) => claim.faults.iter().map(String::as_str).collect(),
            Self::Playbook(playbook) => playbook.faults.iter().map(|fault| fault.name.as_str()).collect(),
        }
    }

    /// Why a whole fake of the stack may pass it.
    pub fn indifferent(self) -> Option<&'t str> {
        match self {
            Self::Claim(claim) => claim.indifferent.as_deref(),
            Self::Playbook(playbook) => playbook.indifferent.as_deref(),
        }
    }

    /// The words with which it must fail under `fault`.
    pub fn says<'s>(self, fault: &'s Fault) -> Option<&'s str>
    where
        't: 's,
    {
        match self {
            Self::Claim(claim) => fault.diagnostic(claim.id),
            Self::Playbook(playbook) => {
                let caught = playbook.faults.iter().find(|caught| caught.name == fault.name);
                caught.map(|caught| caught.says.as_str())
            }
        }
    }
}

impl<'t> From<&'t Claim> for Target<'t> {
    fn from(claim: &'t Claim) -> Self {
        Self::Claim(claim)
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(id) => id.fmt(f),
            Self::Playbook(id) => id.fmt(f),
        }
    }
}

impl FromStr for TargetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') {
            text.parse().map(Self::Playbook)
        } else {
            text.parse().map(Self::Claim).map_err(|error: crate::checklist::UnknownClaim| error.to_string())
        }
    }
}

impl From<TargetName> for String {
    fn from(name: TargetName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for TargetName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_claims_from_playbooks() {
        assert!(matches!("C4".parse(), Ok(TargetName::Claim(_))));
        let playbook: TargetName = "edge-cases/unicode".parse().unwrap();
        assert_eq!(playbook.to_string(), "edge-cases/unicode");
        assert!("Z9".parse::<TargetName>().is_err() && "nowhere/x".parse::<TargetName>().is_err());
    }

    #[test]
    fn a_playbook_is_tried_by_its_name_its_group_its_faults_and_their_words() {
        let workspace = crate::workspace::Workspace::find(None).unwrap();
        let checklist = workspace.checklist().unwrap();
        let playbooks = workspace.playbooks(&checklist).unwrap();
        let unicode = playbooks.iter().find(|playbook| playbook.id.as_str() == "edge-cases/unicode").unwrap();
        let target = Target::Playbook(unicode);
        assert_eq!(target.name().to_string(), "edge-cases/unicode");
        assert_eq!((target.title(), target.group(), target.claim()), (&*unicode.name, unicode.group(), None));
        let first = &unicode.faults[0];
        assert_eq!(target.faults()[0], first.name);
        let faults = checklist.faults();
        assert_eq!(target.says(&faults[&first.name]), Some(first.says.as_str()));
        assert_eq!(target.says(&faults["mask-off-by-one"]), None);

        let c4 = checklist.claim("C4".parse().unwrap()).unwrap();
        let target = Target::from(c4);
        assert_eq!((target.title(), target.group(), target.claim()), ("Causal mask", Group::Model, Some(c4)));
        assert_eq!(target.faults(), ["mask-off-by-one", "peeks-ahead", "mask-off-by-one-in-attention"]);
        assert_eq!(target.says(&faults["mask-off-by-one"]), faults["mask-off-by-one"].diagnostic(c4.id));
    }
}
