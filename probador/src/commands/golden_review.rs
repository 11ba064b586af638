//! `golden review` and `golden update`: looking at what lies beside goldens, and deciding.

use std::io::{BufRead, IsTerminal, stdin};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use super::golden::is_ci;
use crate::checklist::Date;
use crate::cli::Global;
use crate::compare::{Difference, Histogram, Statistics, View, compare};
use crate::exit::ExitStatus;
use crate::golden::{
    Acceptance, Author, GoldenError, GoldenSet, Pending, accept, check_reason, keep, pending,
};
use crate::models::choose;
use crate::printer::{Printer, Tone};
use crate::reference::Reference;
use crate::tensors::NamePattern;
use crate::workspace::Workspace;

/// Bins of the small histogram of differences.
const N_BINS: usize = 40;

/// `golden review`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador golden review\n  cargo probador golden review release --json\n\n\
                        On a terminal it asks for each: accept what the reference recorded anew (with a reason), keep the golden, \
                        skip, quit. What a model left can only be looked at and removed: it is never a golden. Elsewhere it only \
                        shows. Exits with 5 while something is undecided. Writes nothing when CI is set."
)]
pub struct ReviewArgs {
    /// A model of golden/models.yaml [default: tiny]
    model: Option<String>,
    /// Print JSON, and ask nothing
    #[arg(long)]
    json: bool,
}

/// `golden update`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador golden update --accept logits --prompt unicode --reason 'torch 2.15 sums in another order'\n  \
                        cargo probador golden update release --accept '*' --reason 'recorded from the float16 weights'\n\n\
                        Only what `golden generate --new` left, and the engine's own float64 reference reproduces, becomes a golden; \
                        what a model under test computed is refused with exit code 2. The old and the new hash, the day and the \
                        reason are kept in golden/MODEL/accepted.yaml, which claim I15 shows. Writes nothing when CI is set."
)]
pub struct UpdateArgs {
    /// A model of golden/models.yaml [default: tiny]
    model: Option<String>,
    /// The tensor to accept: its key, or a pattern with a `*`
    #[arg(long, value_name = "KEY", required = true)]
    accept: String,
    /// Only of this prompt, by its slug
    #[arg(long, value_name = "SLUG")]
    prompt: Option<String>,
    /// Why the truth is another now; kept in the log
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON for one tensor beside its golden.
#[derive(Serialize)]
struct Row {
    prompt: String,
    key: String,
    file: String,
    author: Author,
    old: String,
    new: String,
    /// `null` when the two cannot be compared.
    difference: Option<Difference>,
    problem: Option<String>,
    golden: Option<Statistics>,
    found: Statistics,
    differences: Option<Histogram>,
}

/// What is printed as JSON for one that was accepted.
#[derive(Serialize)]
struct AcceptedRow {
    date: Date,
    prompt: String,
    key: String,
    old: String,
    new: String,
    torch: String,
    reason: String,
}

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accept,
    Keep,
    Skip,
    Quit,
}

/// Runs `golden review`.
pub(super) fn review(
    args: &ReviewArgs,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let workspace = super::workspace(global)?;
    let mut set = open(args.model.as_deref(), &workspace)?;
    let n_pending = pending(&set)?.len();
    if args.json {
        let rows: Vec<Row> = pending(&set)?.iter().map(|pending| row(&set, pending)).collect();
        printer.data(&serde_json::to_string_pretty(&rows)?);
        return Ok(status(n_pending));
    }
    let asks = stdin().is_terminal() && !is_ci();
    // Deciding one changes the set, so that each is looked up anew.
    let mut n_passed_over = 0;
    loop {
        let looked_at = pending(&set)?;
        let Some(next) = looked_at.get(n_passed_over) else { break };
        print(&row(&set, next), printer);
        if !asks {
            n_passed_over += 1;
            continue;
        }
        // Not in the match's head: the input would stay locked while the reason is asked for.
        let answer = ask(next.author, &mut stdin().lock(), printer)?;
        match answer {
            Answer::Quit => break,
            Answer::Skip => n_passed_over += 1,
            Answer::Keep => set = keep(&set, next)?,
            Answer::Accept => {
                let reason = ask_reason(&mut stdin().lock(), printer)?;
                let reference = reference(&set, &workspace)?;
                match accept(&set, next, &reason, today(), workspace.root(), &reference) {
                    Ok((acceptance, now)) => {
                        printer.talk(&sentence(&acceptance));
                        set = now;
                    }
                    Err(error @ (GoldenError::Refused { .. } | GoldenError::Unknown(_))) => {
                        printer.error(&format!("{} {error}", printer.paint_talk(Tone::Bad, "error:")));
                        n_passed_over += 1;
                    }
                    Err(other) => return Err(other.into()),
                }
            }
        }
    }
    let n_left = pending(&set)?.len();
    printer.talk(&match (n_pending, n_left) {
        (0, _) => format!("nothing lies beside the goldens in `{}`", set.folder().display()),
        (_, 0) => "all decided".to_owned(),
        (_, n_left) => format!("{n_left} of {n_pending} undecided"),
    });
    Ok(status(n_left))
}

/// Runs `golden update`.
pub(super) fn update(
    args: &UpdateArgs,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    if is_ci() {
        bail!(
            "goldens are not changed in CI\nhint: accept them where a person looks at them, and commit them"
        );
    }
    if let Err(error) = check_reason(&args.reason) {
        printer.error(&format!("{} {error}", printer.paint_talk(Tone::Bad, "error:")));
        return Ok(ExitStatus::Usage);
    }
    let workspace = super::workspace(global)?;
    let mut set = open(args.model.as_deref(), &workspace)?;
    let pattern: NamePattern = args.accept.parse().unwrap_or_else(|never| match never {});
    let is_chosen = |pending: &&Pending<'_>| {
        let key = pending.tensor.key.to_string();
        let is_key = if args.accept.contains('*') { pattern.matches(&key) } else { key == args.accept };
        is_key && args.prompt.as_ref().is_none_or(|slug| *slug == pending.prompt.slug)
    };
    if let Some(slug) = &args.prompt {
        set.select(std::slice::from_ref(slug))?;
    }
    let mut accepted = Vec::new();
    loop {
        let looked_at = pending(&set)?;
        let Some(next) = looked_at.iter().find(is_chosen) else { break };
        let reference = reference(&set, &workspace)?;
        match accept(&set, next, &args.reason, today(), workspace.root(), &reference) {
            Ok((acceptance, now)) => {
                printer.talk(&sentence(&acceptance));
                accepted.push(acceptance);
                set = now;
            }
            Err(error @ GoldenError::Refused { .. }) => {
                printer.error(&format!("{} {error}", printer.paint_talk(Tone::Bad, "error:")));
                return Ok(ExitStatus::Invalid);
            }
            Err(other) => return Err(other.into()),
        }
    }
    if accepted.is_empty() {
        printer.error(&format!(
            "nothing called `{}` lies beside a golden in `{}`\nhint: `cargo probador golden generate --new` has PyTorch record it anew",
            args.accept,
            set.folder().display()
        ));
        return Ok(ExitStatus::NothingRan);
    }
    if args.json {
        let rows: Vec<AcceptedRow> = accepted.into_iter().map(AcceptedRow::from).collect();
        printer.data(&serde_json::to_string_pretty(&rows)?);
    }
    Ok(ExitStatus::Pass)
}

impl From<Acceptance> for AcceptedRow {
    fn from(acceptance: Acceptance) -> Self {
        let Acceptance { date, prompt, key, old, new, torch, reason } = acceptance;
        Self { date, prompt, key, old, new, torch, reason }
    }
}

fn status(n_pending: usize) -> ExitStatus {
    if n_pending == 0 { ExitStatus::Pass } else { ExitStatus::Undecided }
}

fn sentence(acceptance: &Acceptance) -> String {
    let Acceptance { prompt, key, old, new, .. } = acceptance;
    format!("accepted `{key}` of `{prompt}`: {} is now {}", &old[..12], &new[..12])
}

fn today() -> Date {
    Date::of_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The goldens of a model that is known by name.
fn open(model: Option<&str>, workspace: &Workspace) -> anyhow::Result<GoldenSet> {
    let name = choose(model, workspace)?.name;
    let set = GoldenSet::open(&workspace.path("golden"), &name)?;
    set.with_context(|| format!("there are no goldens of `{name}`"))
}

/// The reference over the very weights that the goldens are of.
fn reference(set: &GoldenSet, workspace: &Workspace) -> anyhow::Result<Reference> {
    let recorded = &set.manifest().model;
    let choice = choose(Some(&recorded.name), workspace)?;
    let file = apr_format::AprFile::open_verified(&choice.path)
        .with_context(|| format!("the model `{}` is needed to check what is accepted", recorded.name))?;
    if file.weights_fingerprint() != recorded.weights {
        bail!(
            "`{}` holds other weights than the goldens were recorded from, so nothing can be checked\n\
             hint: record the goldens as a whole: `golden generate --force`",
            choice.path.display()
        );
    }
    Ok(Reference::of_file(&file)?)
}

fn row(set: &GoldenSet, pending: &Pending<'_>) -> Row {
    let Pending { prompt, tensor, path, blake3, author, array } = pending;
    let mut row = Row {
        prompt: prompt.slug.clone(),
        key: tensor.key.to_string(),
        file: path.display().to_string(),
        author: *author,
        old: tensor.blake3.clone(),
        new: blake3.clone(),
        difference: None,
        problem: None,
        golden: None,
        found: Statistics::of_slice(&array.values),
        differences: None,
    };
    let golden = match set.read(tensor) {
        Ok(golden) => golden,
        Err(error) => return Row { problem: Some(error.to_string()), ..row },
    };
    row.golden = Some(Statistics::of_slice(&golden.values));
    let compared = View::new(&golden.shape, &golden.values)
        .and_then(|expected| compare(expected, View::new(&array.shape, &array.values)?, tensor.tolerance));
    match compared {
        Ok(difference) => {
            let pairs = || array.values.iter().zip(&golden.values);
            row.differences = Histogram::of(N_BINS, || pairs().map(|(&a, &e)| f64::from(a) - f64::from(e)));
            row.difference = Some(difference);
        }
        Err(error) => row.problem = Some(error.to_string()),
    }
    row
}

fn print(row: &Row, printer: &mut Printer) {
    let by = match row.author {
        Author::Model => "left by a model that misses the golden",
        Author::Reference => "recorded anew by the reference",
    };
    let heading = printer.paint(Tone::Strong, &format!("{}  {}", row.prompt, row.key));
    printer.data(&format!("{heading}  {by}"));
    if let Some(problem) = &row.problem {
        printer.data(&format!("  {problem}"));
    }
    if let Some(difference) = &row.difference {
        printer.data(&format!("  {difference}"));
    }
    let moments = |what: &str, statistics: &Statistics| {
        let number =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.6e}"));
        format!("  {what:6}  mean {}  deviation {}", number(statistics.mean), number(statistics.std))
    };
    if let Some(golden) = &row.golden {
        printer.data(&moments("golden", golden));
    }
    printer.data(&moments("new", &row.found));
    if let Some(differences) = &row.differences {
        printer.data(&format!(
            "  differences  {:.2e} |{}| {:.2e}",
            differences.low,
            differences.bars(),
            differences.high
        ));
    }
}

/// Asks until the answer is one that may be given.
fn ask(author: Author, answers: &mut impl BufRead, printer: &mut Printer) -> anyhow::Result<Answer> {
    let question = match author {
        Author::Reference => "(a)ccept it, (k)eep the golden, (s)kip, (q)uit?",
        Author::Model => "(k)eep the golden and remove this, (s)kip, (q)uit?",
    };
    loop {
        printer.error(question);
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            return Ok(Answer::Quit);
        }
        match (line.trim(), author) {
            ("a" | "accept", Author::Reference) => return Ok(Answer::Accept),
            ("a" | "accept", Author::Model) => {
                printer.error("what a model under test computed is never a golden");
            }
            ("k" | "keep", _) => return Ok(Answer::Keep),
            ("s" | "skip", _) => return Ok(Answer::Skip),
            ("q" | "quit", _) => return Ok(Answer::Quit),
            _ => {}
        }
    }
}

/// Asks for a reason until one is given.
fn ask_reason(answers: &mut impl BufRead, printer: &mut Printer) -> anyhow::Result<String> {
    loop {
        printer.error("why is the truth another now?");
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            bail!("no reason was given, so nothing was accepted");
        }
        match check_reason(&line) {
            Ok(reason) => return Ok(reason.to_owned()),
            Err(error) => printer.error(&error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::ColorChoice;

    #[test]
    fn what_a_model_computed_cannot_be_accepted_by_any_answer() {
        let mut printer = Printer::new(ColorChoice::Never, true);
        let mut answer = |author, typed: &str| ask(author, &mut typed.as_bytes(), &mut printer).unwrap();
        assert_eq!(answer(Author::Reference, "a\n"), Answer::Accept);
        assert_eq!(answer(Author::Model, "a\naccept\nk\n"), Answer::Keep);
        assert_eq!(answer(Author::Model, "what?\n\ns\n"), Answer::Skip);
        assert_eq!(answer(Author::Model, "a\n"), Answer::Quit, "the end of the input decides nothing");
    }

    #[test]
    fn a_reason_is_asked_for_until_it_says_something() {
        let mut printer = Printer::new(ColorChoice::Never, true);
        let mut typed = "\n   \na new torch\n".as_bytes();
        assert_eq!(ask_reason(&mut typed, &mut printer).unwrap(), "a new torch");
        assert!(ask_reason(&mut "\n".as_bytes(), &mut printer).is_err());
    }
}
