//! `playbook`: lists, validates, creates and runs playbooks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::run::{self as runs, PlaybookRunArgs};
use super::workspace;
use crate::checklist::SourceText;
use crate::cli::Global;
use crate::exit::ExitStatus;
use crate::playbook::{Category, Playbook, PlaybookId, judge_faults, read, read_all, template};
use crate::printer::{Format, Printer, Tone};
use crate::workspace::{LoadError, Workspace};

/// `playbook`.
#[derive(Debug, Subcommand)]
pub enum PlaybookCommand {
    /// List playbooks
    List(ListArgs),
    /// Report every problem with file, line and column
    Validate(ValidateArgs),
    /// Write a playbook that is red until it is filled in
    Create(CreateArgs),
    /// Run playbooks
    Run(PlaybookRunArgs),
}

/// `playbook list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador playbook list\n  cargo probador playbook list edge-cases --format json"
)]
pub struct ListArgs {
    /// Files, folders, categories or names [default: every playbook]
    #[arg(value_name = "FILE|CATEGORY|NAME")]
    pub playbooks: Vec<String>,
    /// Only playbooks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// How to print the list
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
}

/// `playbook validate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador playbook validate\n  cargo probador playbook validate my-playbook.yaml"
)]
pub struct ValidateArgs {
    /// Files, folders, categories or names [default: every playbook]
    #[arg(value_name = "FILE|CATEGORY|NAME")]
    pub playbooks: Vec<String>,
}

/// `playbook create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo probador playbook create edge-cases/right-to-left")]
pub struct CreateArgs {
    /// Category and name
    #[arg(value_name = "CATEGORY/NAME")]
    pub playbook: PlaybookId,
}

#[derive(Serialize)]
struct Row<'p> {
    playbook: &'p PlaybookId,
    name: &'p str,
    description: &'p str,
    file: &'p str,
    tags: &'p [String],
    n_steps: usize,
    faults: Vec<&'p str>,
}

/// Does what was asked for.
pub(super) fn run(
    command: &PlaybookCommand,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    match command {
        PlaybookCommand::List(args) => list(args, &workspace(global)?, printer),
        PlaybookCommand::Validate(args) => validate(args, &workspace(global)?, printer),
        PlaybookCommand::Create(args) => create(args, &workspace(global)?, printer),
        PlaybookCommand::Run(args) => runs::run(args, global, printer),
    }
}

fn list(args: &ListArgs, workspace: &Workspace, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let playbooks =
        tagged(read_all(&sources(&args.playbooks, workspace)?).map_err(LoadError::Invalid)?, &args.tag);
    match args.format {
        Format::Json => {
            let rows: Vec<Row<'_>> = playbooks.iter().map(row).collect();
            printer.data(&serde_json::to_string_pretty(&rows)?);
        }
        Format::Terse => playbooks.iter().for_each(|playbook| printer.data(playbook.id.as_str())),
        Format::Human => {
            for playbook in &playbooks {
                let name = printer.paint(Tone::Faint, &playbook.name);
                printer.data(&format!("{:<48} {name}", playbook.id));
            }
            printer.talk(&census(&playbooks));
        }
    }
    Ok(if playbooks.is_empty() { ExitStatus::NothingRan } else { ExitStatus::Pass })
}

fn row(playbook: &Playbook) -> Row<'_> {
    Row {
        playbook: &playbook.id,
        name: &playbook.name,
        description: &playbook.description,
        file: &playbook.file,
        tags: &playbook.tags,
        n_steps: playbook.steps.len() + playbook.cases.len(),
        faults: playbook.faults.iter().map(|fault| fault.name.as_str()).collect(),
    }
}

/// How many there are in each category, and how many there must be.
fn census(playbooks: &[Playbook]) -> String {
    let mut line = format!("{} playbooks:", playbooks.len());
    for category in Category::ALL {
        let n = playbooks.iter().filter(|playbook| playbook.category() == Some(category)).count();
        // Writing to a string cannot fail.
        let _ = write!(line, " {category} {n} of {};", category.required());
    }
    line.trim_end_matches(';').to_owned()
}

fn validate(args: &ValidateArgs, workspace: &Workspace, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let sources = sources(&args.playbooks, workspace)?;
    let checklist = workspace.checklist()?;
    let mut problems = Vec::new();
    let mut playbooks = Vec::new();
    for source in &sources {
        match read(source) {
            Ok(playbook) => playbooks.push(playbook),
            Err(found) => problems.extend(found),
        }
    }
    if args.playbooks.is_empty() && problems.is_empty() {
        playbooks = workspace.playbooks(&checklist)?;
    } else {
        // Faults that name other playbooks are not these files' fault.
        let found = judge_faults(&playbooks, checklist.faults(), "checklist/faults.yaml");
        problems.extend(
            found.into_iter().filter(|problem| sources.iter().any(|source| source.file == problem.file)),
        );
    }
    if !problems.is_empty() {
        problems.sort();
        return Err(LoadError::Invalid(problems).into());
    }
    printer.data(&census(&playbooks));
    Ok(if playbooks.is_empty() { ExitStatus::NothingRan } else { ExitStatus::Pass })
}

fn create(args: &CreateArgs, workspace: &Workspace, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    use std::io::Write as _;
    let id = &args.playbook;
    let category = id.category().context("a new playbook lies in a category")?;
    let file = format!("playbooks/{id}.yaml");
    let path = workspace.path(&file);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    }
    let stem = id.as_str().rsplit('/').next().unwrap_or_default();
    let created = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut opened = match created {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("`{file}` exists already, and is left as it is\nhint: choose another name")
        }
        other => other.with_context(|| format!("failed to write `{}`", path.display()))?,
    };
    opened.write_all(template(category, stem).as_bytes())?;
    opened.sync_all()?;
    printer.data(&file);
    printer.talk(&format!(
        "fill it in, then: cargo probador playbook validate {id} && cargo probador run {id} && cargo probador prove {id}"
    ));
    Ok(ExitStatus::Pass)
}

/// The texts of the playbooks that `words` name: files, folders, categories, names; all without words.
pub(super) fn sources(words: &[String], workspace: &Workspace) -> anyhow::Result<Vec<SourceText>> {
    let all = workspace.playbook_sources()?;
    if words.is_empty() {
        return Ok(all);
    }
    let mut found: Vec<SourceText> = Vec::new();
    for word in words {
        let path = Path::new(word);
        let named: Vec<SourceText> = if path.is_file() {
            vec![source(path, workspace)?]
        } else if path.is_dir() {
            files_in(path)?.iter().map(|path| source(path, workspace)).collect::<anyhow::Result<_>>()?
        } else {
            let wanted = word.strip_prefix("playbooks/").unwrap_or(word).trim_end_matches('/');
            let wanted = wanted.strip_suffix(".yaml").unwrap_or(wanted);
            all.iter().filter(|source| is_called(source, wanted)).cloned().collect()
        };
        if named.is_empty() {
            bail!(
                "`{word}` names no playbook: no file, no folder with one, no category, no name\nhint: `cargo probador playbook list` names every playbook"
            );
        }
        for source in named {
            if !found.iter().any(|known| known.file == source.file) {
                found.push(source);
            }
        }
    }
    Ok(found)
}

fn is_called(source: &SourceText, wanted: &str) -> bool {
    PlaybookId::of_file(&source.file).is_ok_and(|id| {
        id.as_str() == wanted
            || id.category().is_some_and(|category| category.word() == wanted)
            || id.as_str().rsplit('/').next() == Some(wanted)
    })
}

/// Playbooks with one of `tags`; all without tags.
pub(super) fn tagged(mut playbooks: Vec<Playbook>, tags: &[String]) -> Vec<Playbook> {
    playbooks.retain(|playbook| tags.is_empty() || playbook.tags.iter().any(|tag| tags.contains(tag)));
    playbooks
}

/// A file, named from the top of the checkout where it lies in it.
fn source(path: &Path, workspace: &Workspace) -> anyhow::Result<SourceText> {
    let canonical = |path: &Path| std::fs::canonicalize(path);
    let bytes = std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let inside = canonical(path)?.strip_prefix(canonical(workspace.root())?).map(Path::to_owned);
    let file = inside.map_or_else(|_| path.display().to_string(), |inside| inside.display().to_string());
    let text = String::from_utf8(bytes).map_err(|error| {
        let upto = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..upto].split(|&byte| byte == b'\n').count() as u64;
        let at = crate::yaml::Position { line, column: 1 };
        let what = "this line is not text in UTF-8".to_owned();
        LoadError::Invalid(vec![crate::yaml::Problem { file: file.clone(), at, what }])
    })?;
    Ok(SourceText { file, text })
}

/// The playbooks in a folder, in order of name.
fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.with_context(|| format!("failed to list `{}`", folder.display()))?;
        let is_yaml =
            entry.path().extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if entry.file_type().is_file() && is_yaml {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}
