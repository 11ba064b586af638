//! Planted faults: concrete ways to break a subject, as the checklist names them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::ClaimId;
use crate::yaml::{Fields, FromNode, Keyword, Node, Problems, keyword_from};

/// A concrete way to break the subject, and what each claim must then say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Fault {
    /// What claims call it.
    pub name: String,
    /// How it is planted.
    pub kind: FaultKind,
    /// What it does to the subject.
    pub does: String,
    /// The claims it must turn red, each with words that the failure must hold.
    pub caught_by: BTreeMap<String, String>,
    /// The line it starts in.
    #[schemars(skip)]
    pub line: u64,
}

/// How a fault is planted; always from outside the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Edits a copy of a model or another file.
    Data,
    /// Decorates the subject's public interface or what it shows.
    Wrap,
    /// Edits a scratch copy of the sources, builds and runs it.
    Source,
    /// A small tree or stored result that must be flagged.
    Fixture,
}

impl Keyword for FaultKind {
    const KIND: &'static str = "kind of fault";
    const WORDS: &'static [(&'static str, Self)] =
        &[("data", Self::Data), ("wrap", Self::Wrap), ("source", Self::Source), ("fixture", Self::Fixture)];
}

impl FromNode for FaultKind {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

impl Fault {
    /// The words with which `claim` must fail under this fault.
    pub fn diagnostic(&self, claim: ClaimId) -> Option<&str> {
        self.caught_by.get(&claim.to_string()).map(String::as_str)
    }
}

impl FromNode for Fault {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a fault", problems)?;
        let at = fields.at();
        let name = fields.required::<String>("name", problems);
        let kind = fields.required("kind", problems);
        let does = fields.required("does", problems);
        let caught_by = fields.required::<BTreeMap<String, String>>("caught_by", problems);
        fields.finish(problems);
        if let Some(caught_by) = &caught_by {
            if caught_by.is_empty() {
                problems.add(at, "a fault that no claim has to catch shows nothing");
            }
            for (claim, words) in caught_by {
                if let Err(error) = claim.parse::<ClaimId>() {
                    problems.add(at, error.to_string());
                }
                if words.trim().is_empty() {
                    problems.add(at, format!("the diagnostic for {claim} is empty: any failure would do"));
                }
            }
        }
        Some(Self { name: name?, kind: kind?, does: does?, caught_by: caught_by?, line: at.line })
    }
}
