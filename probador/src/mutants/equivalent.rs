//! Mutants that mean the same as the code, so that no test can notice them: each listed with its reason.

use super::Mutant;
use crate::checklist::SourceText;
use crate::yaml::{Fields, FromNode, Node, Position, Problem, Problems, Value, parse};

/// Where they are listed, in the checkout.
pub const EQUIVALENT: &str = "checklist/equivalent-mutants.yaml";

/// A mutant that means the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivalent {
    /// The file, from the top of the checkout.
    pub file: String,
    /// The line that is changed, as it stands there.
    pub text: String,
    /// What is changed into what, and in which function, as cargo-mutants says it.
    pub mutant: String,
    /// Why no test can notice it.
    pub reason: String,
    /// The line and column it starts in.
    pub at: (u64, u64),
}

impl Equivalent {
    /// Whether this is `mutant`.
    pub fn is(&self, mutant: &Mutant) -> bool {
        self.file == mutant.file && self.mutant == mutant.mutant && self.text == mutant.text
    }

    /// A problem with the entry, at its place in `file`.
    pub fn problem(&self, file: &str, what: impl Into<String>) -> Problem {
        let at = Position { line: self.at.0, column: self.at.1 };
        Problem { file: file.to_owned(), at, what: what.into() }
    }
}

impl FromNode for Equivalent {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an equivalent mutant", problems)?;
        let at = fields.at();
        let file = fields.required("file", problems);
        let text = fields.required("text", problems);
        let mutant = fields.required("mutant", problems);
        let reason = fields.required::<String>("reason", problems);
        fields.finish(problems);
        let read =
            Self { file: file?, text: text?, mutant: mutant?, reason: reason?, at: (at.line, at.column) };
        if read.reason.split_whitespace().count() < 3 {
            problems.add(at, format!("`{}` is no reason: say why the mutant means the same", read.reason));
        }
        Some(read)
    }
}

/// Reads the list; every problem in it at once.
pub fn load_equivalent(source: &SourceText) -> Result<Vec<Equivalent>, Vec<Problem>> {
    let mut problems = Problems::new(&source.file);
    let mut listed: Vec<Equivalent> = Vec::new();
    match parse(&source.file, &source.text) {
        Err(problem) => problems.add(problem.at, problem.what),
        Ok(Node { value: Value::Null, .. }) => {}
        Ok(Node { value: Value::Seq(items), .. }) => {
            for node in &items {
                let Some(read) = Equivalent::from_node(node, &mut problems) else { continue };
                let is_same = |other: &&Equivalent| {
                    (&other.file, &other.text, &other.mutant) == (&read.file, &read.text, &read.mutant)
                };
                if let Some(first) = listed.iter().find(is_same) {
                    problems
                        .add(node.at, format!("this mutant is listed twice, first in line {}", first.at.0));
                }
                listed.push(read);
            }
        }
        Ok(node) => problems.add(node.at, format!("expected a list of mutants, found {}", node.value.kind())),
    }
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(listed) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        "- file: a.rs\n  text: a < b\n  mutant: replace < with <= in a\n  reason: a and b are never equal\n";

    fn load(text: &str) -> Result<Vec<Equivalent>, Vec<String>> {
        let source = SourceText { file: "list.yaml".to_owned(), text: text.to_owned() };
        load_equivalent(&source).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_entry_names_one_mutant() {
        let listed = load(ENTRY).unwrap();
        let mutant = Mutant {
            file: "a.rs".to_owned(),
            line: 90,
            column: 3,
            mutant: "replace < with <= in a".to_owned(),
            text: "a < b".to_owned(),
        };
        assert!(listed[0].is(&mutant));
        assert!(!listed[0].is(&Mutant { text: "a < c".to_owned(), ..mutant.clone() }));
        assert!(!listed[0].is(&Mutant { file: "b.rs".to_owned(), ..mutant }));
        assert_eq!(load("# none\n").unwrap(), []);
    }

    #[test]
    fn an_entry_that_is_wrong_is_reported_with_its_place() {
        assert_eq!(
            load("a: 1\n").unwrap_err(),
            ["list.yaml:1:1: expected a list of mutants, found a mapping"]
        );
        let said = |text: &str| load(text).unwrap_err().join("\n");
        assert!(
            said(&ENTRY.replace("a and b are never equal", "hard"))
                .contains("list.yaml:1:3: `hard` is no reason")
        );
        assert!(said(&ENTRY.replace("  text: a < b\n", "")).contains("lacks `text`"));
        assert!(
            said(&format!("{ENTRY}{ENTRY}"))
                .contains("list.yaml:5:3: this mutant is listed twice, first in line 1")
        );
        assert!(said(&ENTRY.replace("reason:", "why:")).contains("unknown key `why`"));
        assert!(said("[").contains("list.yaml:"));
    }
}
