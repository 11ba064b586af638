//! `claim create`: begins with the check of a claim, or with one more fault of it, and says what to do next.

use clap::{Args, Subcommand};

use super::workspace;
use crate::checklist::{ClaimId, FaultKind, Section, SourceText, load};
use crate::cli::Global;
use crate::exit::ExitStatus;
use crate::printer::{Printer, Tone};
use crate::report::write_file;
use crate::scaffold::{FAULTS, Idea, NewText, REGISTRY, begin, check_file, needs_check};
use crate::workspace::{LoadError, Workspace};

/// `claim`.
#[derive(Clone, Debug, Subcommand)]
pub enum ClaimCommand {
    /// Give a pending claim a check that is red until it is written, or a claim one more fault
    Create(CreateArgs),
}

/// `claim create`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  cargo probador claim create F9 --fault apr-drops-exit-code --kind wrap \\\n    \
                        --does 'hides that the engine failed' --says 'exit code'\n\n\
                        Ids, titles and points are the specification's and stay as they are. Nothing is written unless the \
                        checklist is valid afterwards; nothing that is there is replaced. Exits with 2 when the idea cannot be \
                        begun with."
)]
pub struct CreateArgs {
    /// The claim
    #[arg(value_name = "ID")]
    pub claim: ClaimId,
    /// A new fault that must turn it red
    #[arg(long, value_name = "NAME")]
    pub fault: String,
    /// How the fault is planted
    #[arg(long, value_name = "KIND", default_value = "wrap", value_parser = crate::cli::word::<FaultKind>())]
    pub kind: FaultKind,
    /// What the fault does to the subject
    #[arg(long, value_name = "TEXT")]
    pub does: String,
    /// Words that the claim must say when it is red under the fault
    #[arg(long, value_name = "WORDS")]
    pub says: String,
    /// Print the edits and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Writes the edits, or prints them.
pub(super) fn run(
    command: &ClaimCommand,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let ClaimCommand::Create(args) = command;
    let workspace = workspace(global)?;
    let checklist = workspace.checklist()?;
    let claim = checklist
        .claim(args.claim)
        .ok_or_else(|| anyhow::anyhow!("no claim {} in the checklist", args.claim))?;
    let idea = Idea {
        claim: args.claim,
        fault: args.fault.clone(),
        kind: args.kind,
        does: args.does.clone(),
        says: args.says.clone(),
    };
    let file = check_file(claim.id);
    let checks = workspace.path(&file).is_file().then(|| workspace.source(&file)).transpose()?;
    let begun = begin(
        &idea,
        &checklist,
        claim,
        &workspace.source(&claim.file)?,
        &workspace.source(FAULTS)?,
        checks.as_ref(),
        &workspace.source(REGISTRY)?,
    );
    let edits = match begun {
        Ok(edits) => edits,
        Err(obstacle) => {
            printer.error(&format!("{} {obstacle}", printer.paint_talk(Tone::Bad, "error:")));
            return Ok(ExitStatus::Invalid);
        }
    };
    validate(&workspace, &edits)?;
    for edit in &edits {
        let (word, line) =
            if edit.before.is_empty() { ("created", 1) } else { ("changed", first_change(edit)) };
        if args.dry_run {
            printer.data(&format!("would be {word}: {}:{line}", edit.file));
            for line in difference(edit) {
                printer.data(&line);
            }
        } else {
            write_file(&workspace.path(&edit.file), edit.after.as_bytes())?;
            printer.data(&format!("{word} {}:{line}", edit.file));
        }
    }
    if !args.dry_run {
        for line in next_steps(&idea, needs_check(claim)) {
            printer.data(&line);
        }
    }
    Ok(ExitStatus::Pass)
}

/// Reads the checklist as it would be: an edit that breaks it is not made.
fn validate(workspace: &Workspace, edits: &[NewText]) -> Result<(), LoadError> {
    let text = |file: String| match edits.iter().find(|edit| edit.file == file) {
        Some(edit) => Ok(SourceText { file, text: edit.after.clone() }),
        None => workspace.source(&file),
    };
    let sections = Section::ALL.map(|section| text(format!("checklist/{}", section.file_name())));
    let sections = sections.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    load(&sections, &text(FAULTS.to_owned())?).map(drop).map_err(LoadError::Invalid)
}

/// The line in which an edit begins.
fn first_change(edit: &NewText) -> usize {
    edit.before.lines().zip(edit.after.lines()).take_while(|(before, after)| before == after).count() + 1
}

/// The lines that go and come, by the longest common subsequence of those between what both texts begin and end with.
fn difference(edit: &NewText) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (edit.before.lines().collect(), edit.after.lines().collect());
    let same = first_change(edit) - 1;
    let (before, after) = (&before[same..], &after[same..]);
    let common_end =
        before.iter().rev().zip(after.iter().rev()).take_while(|(before, after)| before == after);
    let n_end = common_end.count();
    let (before, after) = (&before[..before.len() - n_end], &after[..after.len() - n_end]);
    // length[i][j]: of the longest subsequence that before[i..] and after[j..] have in common.
    let mut length = vec![vec![0_usize; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            length[i][j] = if before[i] == after[j] {
                length[i + 1][j + 1] + 1
            } else {
                length[i + 1][j].max(length[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || (i < before.len() && length[i + 1][j] >= length[i][j + 1]) {
            lines.push(format!("- {}", before[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", after[j]));
            j += 1;
        }
    }
    lines
}

fn next_steps(idea: &Idea, has_new_check: bool) -> Vec<String> {
    let (id, fault) = (idea.claim, &idea.fault);
    let mut steps = Vec::new();
    if has_new_check {
        steps.push(format!(
            "make fmt, then `cargo probador full {id}`: red, since its check is not written yet"
        ));
        steps.push(format!(
            "write the check in {}, until `cargo probador full {id}` is green",
            check_file(id)
        ));
    }
    steps.push(match idea.kind {
        FaultKind::Data => format!("plant `{fault}` in probador/src/faults/data.rs, in a copy of the model file"),
        FaultKind::Wrap => format!(
            "plant `{fault}` in probador/src/faults/wrap.rs, around the model, or screen.rs, around what programs show"
        ),
        FaultKind::Source => format!("write the `edits` of `{fault}` in {FAULTS}: what is replaced in which file"),
        FaultKind::Fixture => format!("plant `{fault}` in probador/src/faults/fixture.rs: a tree or result to flag"),
    });
    steps.push(format!(
        "`cargo probador prove {id}`: proven once it is red under `{fault}`, saying {:?}; commit checklist/proofs.json",
        idea.says
    ));
    steps.into_iter().enumerate().map(|(index, step)| format!("{}. {step}", index + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_what_goes_and_comes() {
        let edit = |before: &str, after: &str| NewText {
            file: "f".into(),
            before: before.into(),
            after: after.into(),
        };
        assert_eq!(difference(&edit("a\nb\nc\n", "a\nx\nc\n")), ["- b", "+ x"]);
        assert_eq!(difference(&edit("a\nm\nz\n", "a\nb\nm\ny\nz\n")), ["+ b", "+ y"]);
        assert_eq!(difference(&edit("a\n", "a\na\n")), ["+ a"]);
        assert_eq!(difference(&edit("", "a\n")), ["+ a"]);
        assert_eq!(difference(&edit("a\n", "a\n")), Vec::<String>::new());
    }

    #[test]
    fn lines_that_come_before_those_that_go_are_told_in_their_order() {
        let edit = |before: &str, after: &str| NewText {
            file: "f".into(),
            before: before.into(),
            after: after.into(),
        };
        assert_eq!(difference(&edit("a\nb\nc\nd\nz\n", "b\nx\nd\ny\nz\n")), ["- a", "- c", "+ x", "+ y"]);
        assert_eq!(difference(&edit("a\nb\nz\n", "z\n")), ["- a", "- b"]);
        assert_eq!(first_change(&edit("a\nb\n", "a\nc\n")), 2);
    }

    #[test]
    fn each_kind_of_fault_is_planted_in_its_place_after_the_check_is_written() {
        let idea = |kind| Idea {
            claim: "F9".parse().unwrap(),
            fault: "exit-lost".into(),
            kind,
            does: "hides it".into(),
            says: "exit code".into(),
        };
        let proven = "`cargo probador prove F9`: proven once it is red under `exit-lost`, saying \"exit code\"; commit \
                      checklist/proofs.json";
        for (kind, planted) in [
            (
                FaultKind::Data,
                "plant `exit-lost` in probador/src/faults/data.rs, in a copy of the model file",
            ),
            (
                FaultKind::Wrap,
                "plant `exit-lost` in probador/src/faults/wrap.rs, around the model, or screen.rs, around what programs show",
            ),
            (
                FaultKind::Source,
                "write the `edits` of `exit-lost` in checklist/faults.yaml: what is replaced in which file",
            ),
            (
                FaultKind::Fixture,
                "plant `exit-lost` in probador/src/faults/fixture.rs: a tree or result to flag",
            ),
        ] {
            assert_eq!(next_steps(&idea(kind), false), [format!("1. {planted}"), format!("2. {proven}")]);
            assert_eq!(
                next_steps(&idea(kind), true),
                [
                    "1. make fmt, then `cargo probador full F9`: red, since its check is not written yet".to_owned(),
                    "2. write the check in probador/src/checks/f_wasm.rs, until `cargo probador full F9` is green"
                        .to_owned(),
                    format!("3. {planted}"),
                    format!("4. {proven}"),
                ]
            );
        }
    }
}
