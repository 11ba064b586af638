//! Planted faults: concrete ways to break a subject, as the checklist names them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::ClaimId;
use crate::playbook_id::PlaybookId;
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
    /// The changes that a fault in the sources consists of; none for other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// The claims and playbooks it must turn red, each with words that the failure must hold. Playbooks that list the
    /// fault need not be named here too.
    #[schemars(default)]
    pub caught_by: BTreeMap<String, String>,
    /// The line it starts in.
    #[schemars(skip)]
    pub line: u64,
}

/// A change to one file of the sources: text that stands there exactly once, and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the top of the checkout.
    pub file: String,
    /// What stands there.
    pub before: String,
    /// What stands there instead.
    pub after: String,
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
        let edits = fields.optional("edits", Vec::<Edit>::new(), problems);
        let caught_by = fields.optional("caught_by", BTreeMap::<String, String>::new(), problems);
        fields.finish(problems);
        if let (Some(kind), Some(edits)) = (kind, &edits)
            && (kind == FaultKind::Source) == edits.is_empty()
        {
            problems.add(at, "a fault of kind `source` consists of `edits`, and no other kind has any");
        }
        if let Some(caught_by) = &caught_by {
            for (name, words) in caught_by {
                if name.contains('/') {
                    if let Err(error) = name.parse::<PlaybookId>() {
                        problems.add(at, error);
                    }
                } else if let Err(error) = name.parse::<ClaimId>() {
                    problems.add(at, error.to_string());
                }
                if words.trim().is_empty() {
                    problems.add(at, format!("the diagnostic for {name} is empty: any failure would do"));
                }
            }
        }
        Some(Self {
            name: name?,
            kind: kind?,
            does: does?,
            edits: edits?,
            caught_by: caught_by?,
            line: at.line,
        })
    }
}

impl Edit {
    /// The text of the file with the edit in it; an error when it no longer applies.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.before).count() {
            1 if self.before == self.after => Err(format!("the edit of `{}` changes nothing", self.file)),
            1 => Ok(text.replacen(&self.before, &self.after, 1)),
            n => Err(format!(
                "the edit of `{}` no longer applies: what it replaces is there {n} times, not once",
                self.file
            )),
        }
    }
}

impl FromNode for Edit {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an edit", problems)?;
        let at = fields.at();
        let file = fields.required::<String>("file", problems);
        let before = fields.required::<String>("before", problems);
        let after = fields.required("after", problems);
        fields.finish(problems);
        if let Some(file) = &file {
            let is_inside = std::path::Path::new(file)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            if !(is_inside && file.starts_with("subjects/")) {
                problems.add(at, format!("`{file}` is no file of the subjects"));
            }
        }
        if before.as_ref().is_some_and(|before| before.trim().is_empty()) {
            problems.add(at, "an edit replaces some text");
        }
        Some(Self { file: file?, before: before?, after: after? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    /// What reading this fault reports.
    fn problems(text: &str) -> Vec<String> {
        let mut problems = Problems::new("faults.yaml");
        Fault::from_node(&parse("faults.yaml", text).unwrap(), &mut problems);
        problems.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_fault_that_shows_nothing_is_refused() {
        let fault = |caught_by: &str| format!("{{name: a, kind: data, does: b{caught_by}}}");
        assert_eq!(problems(&fault(", caught_by: {A1: words}")), [""; 0]);
        let unknown = problems(&fault(", caught_by: {Z9: words}"));
        assert!(unknown[0].contains("`Z9` is not a section"), "{unknown:?}");
        assert_eq!(problems(&fault(", caught_by: {edge-cases/unicode: words}")), [""; 0]);
        let unknown = problems(&fault(", caught_by: {nowhere/unicode: words}"));
        assert!(unknown[0].contains("`nowhere` is no category of playbooks"), "{unknown:?}");
        let list = problems(&fault(", caught_by: [A1]"));
        assert!(list[0].contains("expected a mapping, found a list"), "{list:?}");
        assert!(problems(&fault(", caught_by: {A1: ' '}"))[0].contains("the diagnostic for A1 is empty"));
    }

    #[test]
    fn an_edit_names_a_file_and_some_text() {
        let fault = |edit: &str| {
            format!("{{name: a, kind: source, does: b, caught_by: {{A1: words}}, edits: [{edit}]}}")
        };
        assert_eq!(problems(&fault("{file: subjects/a.rs, before: x, after: y}")), [""; 0]);
        assert!(problems(&fault("{before: x, after: y}"))[0].contains("an edit lacks `file`"));
        let blank = problems(&fault("{file: subjects/a.rs, before: ' ', after: y}"));
        assert!(blank[0].contains("an edit replaces some text"), "{blank:?}");
        let outside = problems(&fault("{file: /etc/passwd, before: x, after: y}"));
        assert!(outside[0].contains("`/etc/passwd` is no file of the subjects"), "{outside:?}");
    }

    #[test]
    fn an_edit_applies_once_or_not_at_all() {
        let edit = |before: &str, after: &str| Edit {
            file: "subjects/a.rs".to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        assert_eq!(edit("start + 1", "start").apply("let n = start + 1;"), Ok("let n = start;".to_owned()));
        let error = edit("start", "end").apply("start..start").unwrap_err();
        assert_eq!(
            error,
            "the edit of `subjects/a.rs` no longer applies: what it replaces is there 2 times, not once"
        );
        assert!(edit("stop", "end").apply("start").unwrap_err().contains("0 times"));
        assert!(edit("start", "start").apply("start").unwrap_err().contains("changes nothing"));
    }
}
