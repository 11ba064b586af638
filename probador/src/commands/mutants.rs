//! `mutants`: changes the code a little, sees whether a test notices, and keeps the result for claim I4.

use anyhow::bail;
use serde::Serialize;

use super::workspace;
use crate::cli::{Global, MutantsArgs};
use crate::exit::ExitStatus;
use crate::members::{Member, members};
use crate::mutants::{
    Equivalent, MUTANTS, ROOMS, Room, SCOPES, Score, Share, StoredMutants, Tool, Tried, find, is_stale, score,
};
use crate::printer::{Format, Printer, Tone};
use crate::process::Program;
use crate::workspace::Workspace;

/// What became of a room, or why that is not known.
#[derive(Serialize)]
struct Row<'r> {
    name: &'r str,
    #[serde(flatten)]
    tried: Option<Tried>,
    undecided: Option<String>,
}

/// Tries what is open, stores it, and prints the survivors.
pub(super) fn run(args: &MutantsArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let equivalent = workspace.equivalent_mutants()?;
    let asked = asked(&args.crates)?;
    let members = members(workspace.root())?;
    let mut stored = StoredMutants::read(&workspace.path(MUTANTS))?;
    if let Some(reference) = &args.in_diff {
        return in_diff(reference, &asked, &workspace, &equivalent, args, printer);
    }
    let share = match args.shard {
        None => Share::All,
        Some(shard) => Share::Of { index: shard.index(), n: shard.n() },
    };
    let name = share.name().unwrap_or_default();
    let mut open = Vec::new();
    for &room in &asked {
        let stale = is_stale(room, &stored, workspace.root(), &members)?;
        let is_known = stored.rooms.get(room.name).is_some_and(|result| {
            result.shares.contains_key(&name) || (share == Share::All && result.whole().is_some())
        });
        if stale || !is_known || args.fresh {
            open.push(room);
        }
    }
    if open.is_empty() {
        printer.talk("nothing has changed since its mutants were tried");
    } else {
        let tool = Tool::find(workspace.root())?;
        printer.talk(&format!("{}: each mutant is a build; this takes long", tool.version()));
        for room in open {
            printer.talk(&format!("{}: trying its mutants, {name}", room.name));
            let key = room.key(workspace.root(), &members)?;
            let tried = tool.run(room, &share, &folder(&workspace, room))?;
            if room.key(workspace.root(), &crate::members::members(workspace.root())?)? != key {
                bail!(
                    "the sources of {} changed while its mutants were tried\nhint: run it again",
                    room.name
                );
            }
            stored.keep(room.name, &key, tool.version(), &name, tried);
            stored.write(&workspace.path(MUTANTS))?;
        }
    }
    report(&asked, &stored, &equivalent, &workspace, &members, args, printer)
}

/// The rooms that were asked for.
fn asked(names: &[String]) -> anyhow::Result<Vec<&'static Room>> {
    if names.is_empty() {
        return Ok(ROOMS.iter().collect());
    }
    let found: Vec<Vec<&Room>> = names.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    Ok(ROOMS.iter().filter(|room| found.iter().flatten().any(|other| other.name == room.name)).collect())
}

fn folder(workspace: &Workspace, room: &Room) -> std::path::PathBuf {
    workspace.path("target/probador/mutants").join(room.name)
}

/// Tries the mutants in what differs from `reference`; a part of the truth, so it is printed and not stored.
fn in_diff(
    reference: &str,
    asked: &[&Room],
    workspace: &Workspace,
    equivalent: &[Equivalent],
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
    for room in asked {
        let is_touched =
            changed.lines().filter_map(|line| line.strip_prefix("+++ b/")).any(|file| room.holds(file));
        if !is_touched {
            continue;
        }
        printer.talk(&format!("{}: trying its mutants in what differs from {reference}", room.name));
        let tried = tool.run(room, &Share::InDiff(path.clone()), &folder(workspace, room))?;
        let is_equivalent =
            |listed: &&crate::mutants::Mutant| equivalent.iter().any(|other| other.is(listed));
        all.survivors.extend(tried.missed.iter().filter(|mutant| !is_equivalent(mutant)).cloned());
        all.tried = all.tried.and(&tried);
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
    asked: &[&Room],
    stored: &StoredMutants,
    equivalent: &[Equivalent],
    workspace: &Workspace,
    members: &[Member],
    args: &MutantsArgs,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let mut rows = Vec::new();
    for room in asked {
        let result = stored.rooms.get(room.name);
        let undecided = match result {
            None => Some("not tried".to_owned()),
            Some(_) if is_stale(room, stored, workspace.root(), members)? => Some("stale".to_owned()),
            Some(result) if result.whole().is_none() => Some("only a share was tried".to_owned()),
            Some(_) => None,
        };
        rows.push(Row {
            name: room.name,
            tried: result.and_then(crate::mutants::RoomResult::whole),
            undecided,
        });
    }
    match args.format {
        Format::Json => printer.data(&serde_json::to_string_pretty(&rows)?),
        Format::Human | Format::Terse => print(&rows, equivalent, args.format, printer),
    }
    let mut status = ExitStatus::Pass;
    for scope in SCOPES.iter().filter(|scope| asked.iter().any(|room| scope.rooms.contains(&room.name))) {
        match score(scope, stored, equivalent, workspace.root(), members)? {
            Ok(score) => {
                printer.talk(&format!(
                    "{}: {:.1} % of {} mutants are caught",
                    scope.name,
                    score.percent(),
                    score.n()
                ));
                for problem in &score.problems {
                    printer.error(&problem.to_string());
                    status = ExitStatus::Invalid;
                }
                if args.fail_under.is_some_and(|limit| score.percent() < limit) && status == ExitStatus::Pass
                {
                    status = ExitStatus::Failed;
                }
            }
            Err(undecided) => {
                printer.talk(&format!("{}: {undecided}", scope.name));
                if args.fail_under.is_some() && status == ExitStatus::Pass {
                    status = ExitStatus::Undecided;
                }
            }
        }
    }
    Ok(status)
}

fn print(rows: &[Row<'_>], equivalent: &[Equivalent], format: Format, printer: &mut Printer) {
    for row in rows {
        for mutant in row.tried.iter().flat_map(|tried| &tried.missed) {
            match equivalent.iter().find(|listed| listed.is(mutant)) {
                None => printer.data(&format!("{} {mutant}", printer.paint(Tone::Bad, "SURVIVED"))),
                Some(listed) if format == Format::Human => {
                    printer.data(&format!(
                        "{} {mutant}\n         {}",
                        printer.paint(Tone::Faint, "the same"),
                        listed.reason
                    ));
                }
                Some(_) => {}
            }
        }
    }
    if format == Format::Terse {
        return;
    }
    printer.data(&format!("{:<12} {:>7} {:>7} {:>8} {:>9}", "", "caught", "missed", "timeout", "unviable"));
    for row in rows {
        let note = row.undecided.as_deref().unwrap_or_default();
        let line = match &row.tried {
            None => format!("{:<12}", row.name),
            Some(tried) => format!(
                "{:<12} {:>7} {:>7} {:>8} {:>9}",
                row.name,
                tried.caught,
                tried.missed.len(),
                tried.timeout,
                tried.unviable
            ),
        };
        printer.data(format!("{line}  {}", printer.paint(Tone::Unsure, note)).trim_end());
    }
}
