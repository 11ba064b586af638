//! `mutants`: changes the code a little, sees whether a test notices, and keeps the result for claim I4.

use anyhow::bail;
use serde::Serialize;

use super::workspace;
use crate::cli::{Global, MutantsArgs};
use crate::exit::ExitStatus;
use crate::members::{self, Member, members};
use crate::mutants::{
    CrateResult, Equivalent, MUTANTS, Mutant, Score, Share, State, StoredMutants, Tool, Tried, find, mutated,
    score,
};
use crate::printer::{Format, Printer, Tone};
use crate::process::Program;
use crate::workspace::Workspace;

/// What became of a crate's mutants, and why that is not all of it.
#[derive(Serialize)]
struct Row<'r> {
    name: &'r str,
    #[serde(flatten)]
    tried: Tried,
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
    let mut open = Vec::new();
    for member in asked {
        let state = State::of(workspace.root(), member)?;
        let work = Work::of(&state, stored.crates.get(&member.name), &share, args.fresh);
        open.extend(work.into_iter().map(|work| (*member, state.clone(), work)));
    }
    if open.is_empty() {
        printer.talk("nothing has changed since its mutants were tried");
        return Ok(());
    }
    let tool = Tool::find(workspace.root())?;
    printer.talk(&format!("{}: each mutant is a build; this takes long", tool.version()));
    for (member, state, work) in open {
        let tried = match &work {
            Work::Survivors(survivors) => {
                let n = survivors.len();
                printer.talk(&format!("{}: tests were added; trying {n} survivors again", member.name));
                // With none to name, the tool would try all.
                if n == 0 {
                    Tried::default()
                } else {
                    tool.run(member, &Share::These(survivors.clone()), &folder(workspace, member))?
                }
            }
            Work::Share => {
                printer.talk(&format!("{}: trying its mutants, {name}", member.name));
                tool.run(member, &share, &folder(workspace, member))?
            }
        };
        if members::find(&members(workspace.root())?, &member.name)?.key != member.key {
            bail!("the sources of {} changed while its mutants were tried\nhint: run it again", member.name);
        }
        match work {
            Work::Survivors(_) => stored.keep_again(&member.name, state, &tried)?,
            Work::Share => stored.keep(&member.name, state, tool.version(), &name, tried),
        }
        stored.write(&workspace.path(MUTANTS))?;
    }
    Ok(())
}

/// What there is to try in a crate.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Those that survived before tests were added.
    Survivors(Vec<Mutant>),
    /// The share that was asked for.
    Share,
}

impl Work {
    /// What is open in a crate of this state, of which `stored` is kept.
    fn of(state: &State, stored: Option<&CrateResult>, share: &Share, is_fresh: bool) -> Vec<Self> {
        let usable = stored.filter(|result| {
            !is_fresh && (result.state == *state || state.only_adds_tests_to(&result.state))
        });
        let Some(result) = usable else { return vec![Self::Share] };
        let mut work = Vec::new();
        if result.state != *state {
            work.push(Self::Survivors(result.so_far().missed));
        }
        let is_known =
            result.whole().is_some() || share.name().is_some_and(|name| result.shares.contains_key(&name));
        if !is_known {
            work.push(Self::Share);
        }
        work
    }
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
            // What was asked for has been tried by now, if only a share of it.
            let result = &stored.crates[&member.name];
            let undecided = result.whole().is_none().then_some("so far; shares are open");
            Row { name: &member.name, tried: result.so_far(), undecided }
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
    for mutant in rows.iter().flat_map(|row| &row.tried.missed) {
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
        let Tried { caught, missed, timeout, unviable } = &row.tried;
        let counts = format!(" {caught:>7} {:>7} {timeout:>8} {unviable:>9}", missed.len());
        let note = printer.paint(Tone::Unsure, row.undecided.unwrap_or_default());
        printer.data(format!("{:<14}{counts}  {note}", row.name).trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(tests: &[&str]) -> State {
        let tests: std::collections::BTreeSet<String> = tests.iter().map(|&test| test.to_owned()).collect();
        State { key: format!("{tests:?}"), code: "c".to_owned(), tests }
    }

    #[test]
    fn what_is_known_is_not_tried_again_and_survivors_are_once_tests_were_added() {
        let survivor = Mutant {
            file: "a.rs".to_owned(),
            line: 1,
            column: 1,
            mutant: "replace < with <= in a".to_owned(),
            text: "a < b".to_owned(),
        };
        let tried = Tried { caught: 3, missed: vec![survivor.clone()], ..Tried::default() };
        let mut stored = StoredMutants::default();
        stored.keep("apr-format", state(&["a"]), "t", "1/2", tried);
        let half = Share::Of { index: 1, n: 2 };
        let work = |tests: &[&str], share: &Share, is_fresh| {
            Work::of(&state(tests), stored.crates.get("apr-format"), share, is_fresh)
        };
        assert_eq!(work(&["a"], &half, false), []);
        assert_eq!(work(&["a"], &half, true), [Work::Share]);
        assert_eq!(work(&["a"], &Share::All, false), [Work::Share]);
        assert_eq!(work(&["a", "b"], &half, false), [Work::Survivors(vec![survivor.clone()])]);
        let other = Share::Of { index: 2, n: 2 };
        assert_eq!(work(&["a", "b"], &other, false), [Work::Survivors(vec![survivor]), Work::Share]);
        assert_eq!(work(&["b"], &half, false), [Work::Share]);
        assert_eq!(Work::of(&state(&[]), None, &half, false), [Work::Share]);
    }

    #[test]
    fn shares_that_make_a_whole_are_all_of_it_and_a_share_of_a_whole_is_known() {
        let mut stored = StoredMutants::default();
        for share in ["1/2", "2/2"] {
            stored.keep("apr-format", state(&[]), "t", share, Tried { caught: 3, ..Tried::default() });
        }
        for share in [Share::All, Share::Of { index: 1, n: 2 }, Share::Of { index: 1, n: 3 }] {
            assert_eq!(Work::of(&state(&[]), stored.crates.get("apr-format"), &share, false), []);
        }
    }
}
