//! Texts to a checklist, or to every problem in them.

use std::collections::BTreeMap;

use super::account::judge_totals;
use super::{Claim, ClaimId, Fault, Section};
use crate::yaml::{FromNode, Node, Problem, Problems, Value, parse};

/// A file that was read: its name for messages, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The name to report problems under.
    pub file: String,
    /// The contents.
    pub text: String,
}

/// The whole checklist: claims in order, faults by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Checklist {
    claims: Vec<Claim>,
    faults: BTreeMap<String, Fault>,
}

impl Checklist {
    /// Every claim, in order of id.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// One claim; every [`ClaimId`] that exists has one.
    pub fn claim(&self, id: ClaimId) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.id == id)
    }

    /// Every fault, by name.
    pub fn faults(&self) -> &BTreeMap<String, Fault> {
        &self.faults
    }
}

/// Reads the section files and the faults file. On failure every problem of every file is returned, in order.
pub fn load(sections: &[SourceText], faults: &SourceText) -> Result<Checklist, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut claims = Vec::new();
    let mut section_problems = Vec::new();
    for (place, source) in sections.iter().enumerate() {
        let mut found = Problems::new(&source.file);
        for node in items(source, &mut found, "a list of claims").unwrap_or_default() {
            if let Some(claim) = Claim::read(&node, &source.file, &mut found) {
                claims.push((claim, node.at, place));
            }
        }
        section_problems.push(found);
    }
    let mut fault_problems = Problems::new(&faults.file);
    let mut by_name = BTreeMap::new();
    let fault_nodes = items(faults, &mut fault_problems, "a list of faults");
    // Of a file that is no YAML only that is said, not that each of its faults is missing.
    let has_faults = fault_nodes.is_some();
    for node in fault_nodes.unwrap_or_default() {
        let Some(fault) = Fault::from_node(&node, &mut fault_problems) else { continue };
        let name = fault.name.clone();
        if let Some(earlier) = by_name.insert(name.clone(), fault) {
            let earlier: Fault = earlier;
            fault_problems
                .add(node.at, format!("fault `{name}` is defined twice, first in line {}", earlier.line));
        }
    }

    for (index, (claim, at, place)) in claims.iter().enumerate() {
        let found = &mut section_problems[*place];
        if let Some((first, ..)) = claims[..index].iter().find(|(earlier, ..)| earlier.id == claim.id) {
            found.add(*at, format!("{} is claimed twice, first in {}:{}", claim.id, first.file, first.line));
        }
        if !claim.file.ends_with(&claim.id.section.file_name()) {
            found.add(*at, format!("{} belongs in {}", claim.id, claim.id.section.file_name()));
        }
        for name in &claim.faults {
            match by_name.get(name) {
                None if !has_faults => {}
                None => found.add(*at, format!("{}: fault `{name}` is not in {}", claim.id, faults.file)),
                Some(fault) if fault.diagnostic(claim.id).is_none() => found.add(
                    *at,
                    format!(
                        "{}: fault `{name}` does not say what {} must name when it is planted",
                        claim.id, claim.id
                    ),
                ),
                Some(_) => {}
            }
        }
    }
    for fault in by_name.values() {
        for name in fault.caught_by.keys() {
            // A claim that could not be read has its own problem.
            let Some((claim, ..)) = claims.iter().find(|(claim, ..)| claim.id.to_string() == *name) else {
                continue;
            };
            if !claim.faults.contains(&fault.name) {
                let at = crate::yaml::Position { line: fault.line, column: 1 };
                let what =
                    format!("fault `{}` is to be caught by {name}, which does not list it", fault.name);
                fault_problems.add(at, what);
            }
        }
    }
    for found in section_problems {
        problems.extend(found.into_vec());
    }
    problems.extend(fault_problems.into_vec());

    let mut claims: Vec<Claim> = claims.into_iter().map(|(claim, ..)| claim).collect();
    claims.sort_by_key(|claim| claim.id);
    // Totals of a file that could not be read would only repeat what is already reported.
    if problems.is_empty() {
        let file_of = |section: Section| {
            let name = section.file_name();
            sections
                .iter()
                .map(|source| &source.file)
                .find(|file| file.ends_with(&name))
                .cloned()
                .unwrap_or(name)
        };
        problems.extend(judge_totals(&claims, file_of));
    }
    if problems.is_empty() {
        Ok(Checklist { claims, faults: by_name })
    } else {
        problems.sort();
        problems.dedup();
        Err(problems)
    }
}

/// The items of a file that is one list; `None` when it is none.
fn items(source: &SourceText, problems: &mut Problems, expected: &str) -> Option<Vec<Node>> {
    match parse(&source.file, &source.text) {
        Err(problem) => {
            problems.add(problem.at, problem.what);
            None
        }
        Ok(Node { value: Value::Seq(items), .. }) => Some(items),
        Ok(node) => {
            problems.add(node.at, format!("expected {expected}, found {}", node.value.kind()));
            None
        }
    }
}
