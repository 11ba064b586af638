//! G7: no reply is canned.
//!
//! Follows what a user wrote (standard input, arguments, requests, the text that uncalled functions take) to
//! conditions, and text that stands in the source or in a file to what is printed, sent or returned. A canned text
//! that leaves because of what a prompt says is a stub however it was chosen: by searching, by a hash, by a table, a
//! closure, a regular expression, a draw. So is a reply that is the same for every prompt, logits that no weight had a
//! part in, and sleeping between pieces of a reply. Commands, roles, emptiness and length are not what a prompt says,
//! and what a model computed is nobody's canned text.

mod entries;
mod examples;
mod sleeping;

use std::collections::BTreeMap;

use super::calls::CallGraph;
use super::finding::Findings;
use super::flow::{Emission, Interpreter, Leaves, Macros, Origins, Program, Value};
use super::rule::{Kind, Rule};
use super::tree::{LintError, Tree};
pub(super) use entries::handlers;
use entries::{Entry, Role};

pub(super) const RULE: Rule = Rule {
    id: "G7",
    also: &[],
    name: "canned-reply",
    what: "a reply that no model computed: chosen by what the prompt says, picked from a table, constant, or slowed down to look busy",
    kind: Kind::Violation,
    check,
    must_flag: examples::MUST_FLAG,
    must_not_flag: examples::MUST_NOT_FLAG,
};

/// Passes over the tree in which fields may learn of more.
const MAX_PASSES: usize = 6;

const HINT: &str = "\nhint: let the model generate every reply";

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let graph = CallGraph::of(tree);
    if graph.functions.is_empty() {
        return Err(LintError::NothingToJudge { rule: RULE.id, what: "there is no function".to_owned() });
    }
    let macros = Macros::of(tree);
    let program = Program::new(tree, &graph, &macros);
    let entries = entries::of(tree, &program);
    let mut interpreter = Interpreter::new(&program);
    for _ in 0..MAX_PASSES {
        interpreter.learned = false;
        for entry in &entries {
            interpreter.enter(entry.function, entry.arguments.clone());
        }
        if !interpreter.learned {
            break;
        }
    }
    let mut found = BTreeMap::new();
    for entry in &entries {
        let (returned, arguments) = interpreter.enter(entry.function, entry.arguments.clone());
        judge(entry, &returned, &arguments, &interpreter, &program, &mut found);
    }
    for (place, reason) in found {
        let (file, line, column) = place;
        findings.at_line(program.files[file], line, column, reason);
    }
    for (file, place, reason) in sleeping::look_busy(&program, &interpreter.handle_prompts) {
        findings.at_line(file, place.0, place.1, reason);
    }
    Ok(())
}

type Found = BTreeMap<(usize, usize, usize), String>;

/// Judges everything that left when `entry` was run.
fn judge(
    entry: &Entry,
    returned: &Value,
    arguments: &[Value],
    interpreter: &Interpreter<'_, '_>,
    program: &Program<'_>,
    found: &mut Found,
) {
    let function = &program.graph.functions[entry.function];
    let label = function.label();
    let start = function.signature.ident.span().start();
    let here = (program.file_of(entry.function), start.line, start.column + 1);
    if entry.role == Role::Logits {
        let is_made =
            returned.any(Origins::MODEL) || (returned.any(Origins::STATE) && !returned.any(Origins::CHOICE));
        if !is_made {
            let reason = format!(
                "no weight has a part in the logits that `{label}` returns\nhint: compute them with the model's weights"
            );
            found.entry(here).or_insert(reason);
        }
        return;
    }
    let mut emissions = interpreter.emissions.clone();
    let mut leaves_with = |value: &Value, leaves| {
        emissions.push(Emission {
            value: value.clone(),
            place: here,
            leaves,
            function: entry.function,
            after_prompt: true,
        });
    };
    match entry.role {
        Role::Handler => leaves_with(returned, Leaves::Answered),
        Role::Library if entry.returns_text => leaves_with(returned, Leaves::Returned),
        _ => {}
    }
    for (argument, before) in arguments.iter().zip(&entry.arguments).filter(|_| entry.role != Role::Program) {
        if argument.any(Origins::CANNED) && !before.any(Origins::CANNED | Origins::FORMATTER) {
            leaves_with(&argument.clone(), Leaves::Returned);
        }
    }
    for emission in &emissions {
        if let Some(what) = canned(emission, entry) {
            let place = emission.value.literal.unwrap_or(emission.place);
            let by = program.graph.functions[emission.function].label();
            let way = if by == label { format!("`{by}`") } else { format!("`{by}`, reached from `{label}`") };
            let reason = format!("{what} (said by {way}){HINT}");
            found.entry(place).or_insert(reason);
        }
    }
    // A program or handler that takes a prompt, says something, and no model is anywhere in what it says.
    let after = || emissions.iter().filter(|emission| emission.after_prompt);
    let computes = emissions.iter().any(|emission| emission.value.any(Origins::MODEL | Origins::STATE));
    if matches!(entry.role, Role::Program | Role::Handler)
        && (entry.takes_prompt || interpreter.has_prompt())
        && !computes
        && !interpreter.handed_out
    {
        for emission in after().filter(|emission| emission.value.any(Origins::PROSE | Origins::NUMBERS)) {
            let place = emission.value.literal.unwrap_or(emission.place);
            let reason = format!("`{label}` takes a prompt and says the same whatever it is{HINT}");
            found.entry(place).or_insert(reason);
        }
    }
}

/// Why what leaves is canned, if it is.
fn canned(emission: &Emission, entry: &Entry) -> Option<&'static str> {
    let value = &emission.value;
    if value.any(Origins::INSTEAD) {
        return Some("a canned reply is chosen by what the prompt says");
    }
    if value.any(Origins::MODEL) {
        return None;
    }
    let is_said = value.any(Origins::PROSE | Origins::NUMBERS);
    // Inside a library text in the source means many things; only a search for words tells.
    let is_chosen =
        if entry.is_called { value.origins.all(Origins::CHOICE) } else { value.any(Origins::CHOSEN) };
    if is_chosen && is_said {
        return Some("a canned reply is chosen by what the prompt says");
    }
    let leaves_for_sure = emission.leaves != Leaves::Returned && !entry.is_called;
    if value.any(Origins::SURE) && leaves_for_sure && value.any(Origins::LITERAL) {
        return Some("a canned reply is chosen by what the prompt says");
    }
    if value.origins.all(Origins::SURE | Origins::FILE) && !entry.is_called {
        return Some("a reply that was read from a file is chosen by what the prompt says");
    }
    if value.any(Origins::PICKED) && is_said && (emission.after_prompt || leaves_for_sure) && !entry.is_called
    {
        return Some("a reply is picked from canned ones");
    }
    let computed = Origins::SAID | Origins::STATE | Origins::CHANCE;
    if emission.leaves != Leaves::Printed
        && entry.takes_prompt
        && !entry.is_called
        && is_said
        && !value.any(computed)
    {
        return Some("a constant is returned whatever the prompt is");
    }
    None
}
