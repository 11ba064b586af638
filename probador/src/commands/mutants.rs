//! `mutants`: changes the code a little, sees whether a test notices, and keeps the result for claim I4.

use anyhow::bail;
use serde::Serialize;

use super::workspace;
use crate::cli::{Global, MutantsArgs};
use crate::exit::ExitStatus;
use crate::members::{self, Member, members};
use crate::mutants::{
    CrateResult, Equivalent, MUTANTS, Mutant, Score, Share, StoredMutants, Tool, Tried, find, is_stale,
    mutated, score,
};
use crate::printer::{Format, Printer, Tone};
use crate::process::Program;
use crate::workspace::Workspace;

/// What became of a crate's mutants, or why that is not known.
#[derive(Serialize)]
struct Row<'r> {
    name: &'r str,
    #[serde(flatten)]
    tried: Option<Tried>,
    undecided: Option<&'static str>,
}

/// Tries what is open, stores it, and prints the survivors.
pub(super) fn run(args: &MutantsArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let listed = workspace.equivalent_mutants()?;
    let members = members(workspace.root())?;
    let asked = if args.crates.is_empty() {
        mutated(&members)
    } else {
        args.crates.iter().map(|name| find(&members, name)).collect::<Result<_, _>>()?
    };
    if let Some(reference) = &args.in_diff {
        return in_diff(reference, &asked, &workspace, &listed, args, printer);
    }
    let mut stored = StoredMutants::read(&workspace.path(MUTANTS))?;
    stored.crates.retain(|name, _| find(&members, name).is_ok());
    try_open(&asked, &workspace, &mut stored, args, printer)?;
    report(&asked, &stored, &listed, args, printer)
}

/// Tries the mutants of those crates that have changed since, and stores what becomes of them.
fn try_open(
    asked: &[&Member],
    workspace: &Workspace,
    stored: &mut StoredMutants,
    args: &MutantsArgs,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let share = match args.shard {
        None => Share::All,
        Some(shard) => Share::Of { index: shard.index(), n: shard.n() },
    };
    let name = share.name().unwrap_or_default();
    let is_known = |member: &Member| {
        stored.crates.get(&member.name).is_some_and(|result| {
            result.shares.contains_key(&name) || (share == Share::All && result.whole().is_some())
        })
    };
    let is_open = |member: &&&Member| args.fresh || is_stale(member, stored) || !is_known(member);
    let open: Vec<&Member> = asked.iter().filter(is_open).copied().collect();
    if open.is_empty() {
        printer.talk("nothing has changed since its mutants were tried");
        return Ok(());
    }
    let tool = Tool::find(workspace.root())?;
    printer.talk(&format!("{}: each mutant is a build; this takes long", tool.version()));
    for member in open {
        printer.talk(&format!("{}: trying its mutants, {name}", member.name));
        let tried = tool.run(member, &share, &folder(workspace, member))?;
        if members::find(&members(workspace.root())?, &member.name)?.key != member.key {
            bail!("the sources of {} changed while its mutants were tried\nhint: run it again", member.name);
        }
        stored.keep(&member.name, &member.key, tool.version(), &name, tried);
        stored.write(&workspace.path(MUTANTS))?;
    }
    Ok(())
}

fn folder(workspace: &Workspace, member: &Member) -> std::path::PathBuf {
    workspace.path("target/probador/mutants").join(&member.name)
}

/// Tries the mutants in what differs from `reference`; a part of the truth, so it is printed and not stored.
fn in_diff(
    reference: &str,
    asked: &[&Member],
    workspace: &Workspace,
    listed: &[Equivalent],
    args: &MutantsArgs,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let diff = Program::new("git").args(["diff", "--no-color", reference]).folder(workspace.root()).run()?;
    if !diff.succeeded() {
        bail!("{}", diff.describe());
    }
    let path = workspace.path("target/probador/mutants/in.diff");
    crate::report::write_file(&path, &diff.stdout)?;
    let changed = diff.stdout_text();
    let tool = Tool::find(workspace.root())?;
    let mut all = Score::default();
    for member in asked {
        let own = format!("{}/src/", member.folder);
        let mut files = changed.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        if files.any(|file| file.starts_with(&own)) {
            printer.talk(&format!("{}: trying its mutants in what differs from {reference}", member.name));
            let tried = tool.run(member, &Share::InDiff(path.clone()), &folder(workspace, member))?;
            all.sort_out(&tried, listed);
        }
    }
    if all.n() == 0 {
        printer.error(&format!("what differs from {reference} holds no mutant to try"));
        return Ok(ExitStatus::NothingRan);
    }
    match args.format {
        Format::Json => printer.data(&serde_json::to_string_pretty(&all.survivors)?),
        Format::Human | Format::Terse => {
            all.survivors.iter().for_each(|survivor| printer.data(&survivor.to_string()));
        }
    }
    printer.talk(&format!("{:.1} % of {} mutants are caught", all.percent(), all.n()));
    let limit = args.fail_under.unwrap_or(0.0);
    Ok(if all.percent() < limit { ExitStatus::Failed } else { ExitStatus::Pass })
}

fn report(
    asked: &[&Member],
    stored: &StoredMutants,
    listed: &[Equivalent],
    args: &MutantsArgs,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let rows: Vec<Row<'_>> = asked
        .iter()
        .map(|member| {
            let result = stored.crates.get(&member.name);
            let undecided = match result {
                None => Some("not tried"),
                Some(_) if is_stale(member, stored) => Some("stale"),
                Some(result) if result.whole().is_none() => Some("only a share was tried"),
                Some(_) => None,
            };
            Row { name: &member.name, tried: result.and_then(CrateResult::whole), undecided }
        })
        .collect();
    match args.format {
        Format::Json => printer.data(&serde_json::to_string_pretty(&rows)?),
        Format::Human => {
            print_survivors(&rows, listed, true, printer);
            print_counts(&rows, printer);
        }
        Format::Terse => print_survivors(&rows, listed, false, printer),
    }
    let mut status = ExitStatus::Pass;
    for member in asked {
        match score(member, stored, listed) {
            Ok(score) => {
                let percent = score.percent();
                printer.talk(&format!("{}: {percent:.1} % of {} mutants are caught", member.name, score.n()));
                for problem in &score.problems {
                    printer.error(&problem.to_string());
                    status = ExitStatus::Invalid;
                }
                if args.fail_under.is_some_and(|limit| percent < limit) && status == ExitStatus::Pass {
                    status = ExitStatus::Failed;
                }
            }
            Err(undecided) => {
                printer.talk(&format!("{}: {undecided}", member.name));
                if args.fail_under.is_some() && status == ExitStatus::Pass {
                    status = ExitStatus::Undecided;
                }
            }
        }
    }
    Ok(status)
}

fn print_survivors(rows: &[Row<'_>], listed: &[Equivalent], with_equivalent: bool, printer: &mut Printer) {
    let missed = rows.iter().filter_map(|row| row.tried.as_ref()).flat_map(|tried| &tried.missed);
    for mutant in missed {
        let same = |mutant: &Mutant| listed.iter().find(|entry| entry.is(mutant));
        match same(mutant) {
            None => printer.data(&format!("{} {mutant}", printer.paint(Tone::Bad, "SURVIVED"))),
            Some(entry) if with_equivalent => {
                let word = printer.paint(Tone::Faint, "the same");
                printer.data(&format!("{word} {mutant}\n         {}", entry.reason));
            }
            Some(_) => {}
        }
    }
}

fn print_counts(rows: &[Row<'_>], printer: &mut Printer) {
    printer.data(&format!("{:<14} {:>7} {:>7} {:>8} {:>9}", "", "caught", "missed", "timeout", "unviable"));
    for row in rows {
        let counts = row.tried.as_ref().map_or_else(String::new, |tried| {
            let Tried { caught, missed, timeout, unviable } = tried;
            format!(" {caught:>7} {:>7} {timeout:>8} {unviable:>9}", missed.len())
        });
        let note = printer.paint(Tone::Unsure, row.undecided.unwrap_or_default());
        printer.data(format!("{:<14}{counts}  {note}", row.name).trim_end());
    }
}
