//! What a rule found: where, which rule, and why it matters.

use std::fmt;

use serde::Serialize;

/// One violation of one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, relative to the root that was linted, with `/` between its parts.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The rule's permanent id: the claim it decides.
    pub rule: &'static str,
    /// What is wrong, and what to do instead.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: {}", self.file, self.line, self.column, self.rule, self.reason)
    }
}

/// What one rule found so far.
pub(super) struct Findings {
    rule: &'static str,
    found: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(rule: &'static str) -> Self {
        Self { rule, found: Vec::new() }
    }

    /// Adds one at a token of `file`.
    pub(super) fn at(&mut self, file: &str, span: proc_macro2::Span, reason: impl Into<String>) {
        let start = span.start();
        self.at_line(file, start.line, start.column + 1, reason);
    }

    /// Adds one at a line and column, both from 1.
    pub(super) fn at_line(&mut self, file: &str, line: usize, column: usize, reason: impl Into<String>) {
        self.found.push(Finding {
            file: file.to_owned(),
            line,
            column,
            rule: self.rule,
            reason: reason.into(),
        });
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.found
    }
}
