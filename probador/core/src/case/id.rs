//! What a case is and what it is called; names are explicit and permanent.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Undecided;
use crate::checklist::{Claim, ClaimId, Group};
use crate::playbook_id::PlaybookId;

/// The permanent name of a case, `checklist::c_forward_pass::c4_causal_mask`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CaseId(String);

impl CaseId {
    /// The case of a claim.
    pub fn claim(claim: &Claim) -> Self {
        Self(claim.case_name())
    }

    /// The case of a playbook, `playbook::edge_cases::unicode_prompt`.
    pub fn playbook(playbook: &PlaybookId) -> Self {
        Self(playbook.case_name())
    }

    /// The case of one golden tensor, `golden::tiny::what_is_2_plus_2::model.layers.0`.
    pub fn golden(model: &str, prompt: &str, tensor: &str) -> Self {
        Self(format!("golden::{model}::{prompt}::{tensor}"))
    }

    /// The case that is always red; a run in which it is not cannot tell red from green.
    pub fn canary() -> Self {
        Self("canary::always_red".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a case judges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A row of the checklist.
    Claim(ClaimId),
    /// A scenario.
    Playbook(PlaybookId),
    /// One tensor of a recorded prompt.
    Golden {
        /// Name of the model in `golden/models.yaml`.
        model: String,
        /// Name of the prompt in the manifest.
        prompt: String,
        /// Checkpoint key.
        tensor: String,
    },
    /// Whether red can be seen at all.
    Canary,
}

/// A runnable unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its permanent name.
    pub id: CaseId,
    /// What it judges.
    pub subject: Subject,
    /// A line for people.
    pub title: String,
    /// What it must not run beside.
    pub group: Group,
    /// The file and line it comes from.
    pub source: Option<(String, u64)>,
    /// Why it cannot be decided here, when that is known before anything is opened.
    pub undecided: Option<Undecided>,
}

impl Case {
    /// The claim it judges, if it judges one.
    pub fn claim(&self) -> Option<ClaimId> {
        match self.subject {
            Subject::Claim(id) => Some(id),
            Subject::Playbook(_) | Subject::Golden { .. } | Subject::Canary => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(subject: Subject) -> Case {
        Case {
            id: CaseId::golden("tiny", "hello", "model.layers.0"),
            subject,
            title: String::new(),
            group: Group::File,
            source: None,
            undecided: None,
        }
    }

    #[test]
    fn names_say_what_is_judged_and_keep_their_column() {
        let name = CaseId::golden("tiny", "hello", "model.layers.0");
        assert_eq!(name.as_str(), "golden::tiny::hello::model.layers.0");
        assert_eq!(format!("{:<20}|", CaseId::canary()), "canary::always_red  |");
        assert_eq!(serde_json::to_string(&CaseId::canary()).unwrap(), r#""canary::always_red""#);
    }

    #[test]
    fn only_the_case_of_a_claim_judges_one() {
        let id: ClaimId = "C4".parse().unwrap();
        assert_eq!(case(Subject::Claim(id)).claim(), Some(id));
        let golden =
            Subject::Golden { model: "tiny".into(), prompt: "hello".into(), tensor: "model.norm".into() };
        assert_eq!(case(golden).claim(), None);
        assert_eq!(case(Subject::Canary).claim(), None);
    }
}
