//! `mutants`: changes the code a little, sees whether a test notices, and keeps the result for claim I4.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::workspace;
use crate::cli::{Global, MutantsArgs};
use crate::exit::ExitStatus;
use crate::members::{Member, members};
use crate::mutants::{
    Chosen, CrateResult, Equivalent, FileResult, MUTANTS, Mutant, Score, State, StoredMutants, Tool, Tried,
    find, is_known, mutated, score,
};
use crate::printer::{Format, Printer, Tone};
use crate::process::Program;
use crate::selection::Shard;
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
    report(workspace.root(), &asked, &stored, &listed, args, printer)
}

/// Tries the mutants of those files that have changed since, and stores what becomes of them.
fn try_open(
    asked: &[&Member],
    workspace: &Workspace,
    stored: &mut StoredMutants,
    args: &MutantsArgs,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut open = Vec::new();
    for member in asked {
        let states = State::of_files(workspace.root(), member)?;
        let result = stored.crates.entry(member.name.clone()).or_default();
        result.files.retain(|path, _| states.contains_key(path));
        let work = Work::of(&states, result, args.shard, args.fresh);
        open.extend(work.into_iter().map(|work| (*member, states.clone(), work)));
    }
    if open.is_empty() {
        printer.talk("nothing has changed since its mutants were tried");
        return Ok(());
    }
    let tool = Tool::find(workspace.root())?;
    printer.talk(&format!("{}: each mutant is a build; this takes long", tool.version()));
    for (member, states, work) in open {
        let name = &member.name;
        let chosen = match &work {
            Work::Survivors(survivors) => {
                printer
                    .talk(&format!("{name}: tests were added; trying {} survivors again", survivors.len()));
                Chosen::These(survivors.clone())
            }
            Work::Files(files) => {
                let n = states.len();
                printer.talk(&format!("{name}: trying the mutants of {} of {n} files", files.len()));
                Chosen::Files(files.clone())
            }
        };
        let mut tried = tool.run(member, &chosen, &folder(workspace, member))?;
        if State::of_files(workspace.root(), member)? != states {
            bail!("the sources of {name} changed while its mutants were tried\nhint: run it again");
        }
        match work {
            Work::Survivors(_) => stored.keep_again(name, &states, &tried)?,
            Work::Files(files) => {
                let results = files.into_iter().map(|path| {
                    // The tool says nothing of a file without mutants.
                    let tried = tried.remove(&path).unwrap_or_default();
                    let state = states[&path].clone();
                    (path, FileResult { state, tried })
                });
                stored.keep(name, tool.version(), results);
            }
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
    /// All in these files.
    Files(Vec<String>),
}

impl Work {
    /// What is open in a crate with files of these `states`, of which `result` is kept.
    fn of(
        states: &BTreeMap<String, State>,
        result: &CrateResult,
        shard: Option<Shard>,
        is_fresh: bool,
    ) -> Vec<Self> {
        let is_in_share = |place: usize| shard.is_none_or(|shard| place % shard.n() == shard.index() - 1);
        let (mut survivors, mut files) = (Vec::new(), Vec::new());
        for (place, (path, state)) in states.iter().enumerate() {
            match result.files.get(path).filter(|_| !is_fresh && is_known(result, path, state)) {
                Some(file) if file.state != *state => survivors.extend(file.tried.missed.iter().cloned()),
                None if is_in_share(place) => files.push(path.clone()),
                Some(_) | None => {}
            }
        }
        let survivors = (!survivors.is_empty()).then_some(Self::Survivors(survivors));
        survivors.into_iter().chain((!files.is_empty()).then_some(Self::Files(files))).collect()
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
            let tried = tool.run(member, &Chosen::InDiff(path.clone()), &folder(workspace, member))?;
            for tried in tried.values() {
                all.sort_out(tried, listed);
            }
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
    root: &Path,
    asked: &[&Member],
    stored: &StoredMutants,
    listed: &[Equivalent],
    args: &MutantsArgs,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let scores: Vec<_> = asked.iter().map(|member| score(root, member, stored, listed)).collect();
    let rows: Vec<Row<'_>> = asked
        .iter()
        .zip(&scores)
        .map(|(member, score)| {
            let tried = stored.crates.get(&member.name).map(CrateResult::tried).unwrap_or_default();
            Row { name: &member.name, tried, undecided: score.is_err().then_some("so far; files are open") }
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
    for (member, score) in asked.iter().zip(&scores) {
        match score {
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

    fn state(code: &str, tests: &[&str]) -> State {
        State { code: code.to_owned(), tests: tests.iter().map(|&test| test.to_owned()).collect() }
    }

    fn states(files: &[(&str, State)]) -> BTreeMap<String, State> {
        files.iter().map(|(path, state)| ((*path).to_owned(), state.clone())).collect()
    }

    fn survivor() -> Mutant {
        Mutant {
            file: "a.rs".to_owned(),
            line: 1,
            column: 1,
            mutant: "replace < with <= in a".to_owned(),
            text: "a < b".to_owned(),
        }
    }

    /// A result with a survivor in `a.rs` and none in `b.rs`.
    fn result() -> CrateResult {
        let file = |missed: Vec<Mutant>| FileResult {
            state: state("c", &["t"]),
            tried: Tried { caught: 3, missed, ..Tried::default() },
        };
        let files = [("a.rs".to_owned(), file(vec![survivor()])), ("b.rs".to_owned(), file(Vec::new()))];
        CrateResult { tool: "t".to_owned(), files: files.into() }
    }

    #[test]
    fn what_is_known_is_not_tried_again_and_survivors_are_once_tests_were_added() {
        let now = |a: State, b: State| states(&[("a.rs", a), ("b.rs", b)]);
        let open = |a: State, b: State, is_fresh: bool| Work::of(&now(a, b), &result(), None, is_fresh);
        let (same, more, other) = (state("c", &["t"]), state("c", &["t", "u"]), state("d", &["t"]));
        let files = |paths: &[&str]| Work::Files(paths.iter().map(|&path| path.to_owned()).collect());
        assert_eq!(open(same.clone(), same.clone(), false), []);
        assert_eq!(open(same.clone(), same.clone(), true), [files(&["a.rs", "b.rs"])]);
        assert_eq!(open(more.clone(), more.clone(), false), [Work::Survivors(vec![survivor()])]);
        assert_eq!(open(same.clone(), more.clone(), false), [], "there is no survivor to try");
        assert_eq!(open(same, other.clone(), false), [files(&["b.rs"])]);
        assert_eq!(open(more, other, false), [Work::Survivors(vec![survivor()]), files(&["b.rs"])]);
        let no_tests = state("c", &[]);
        assert_eq!(open(no_tests.clone(), no_tests, false), [files(&["a.rs", "b.rs"])], "a test is gone");
    }

    #[test]
    fn shares_make_a_whole_and_none_tries_what_is_known() {
        let names = ["a.rs", "b.rs", "c.rs", "d.rs", "e.rs"];
        let now = states(&names.map(|name| (name, state("c", &["t"]))));
        let share = |text: &str| match &Work::of(&now, &result(), Some(text.parse().unwrap()), false)[..] {
            [Work::Files(files)] => files.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (share("1/2"), share("2/2")),
            (vec!["c.rs".to_owned(), "e.rs".to_owned()], vec!["d.rs".to_owned()])
        );
    }
}
