//! `attest`: signs the statement that binds the newest report to what was judged, and holds such a statement to what is
//! here.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use apr_format::{SecretKey, TrustedKeys};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::full::folder;
use super::workspace;
use crate::attest::{Attested, Demands, Envelope, Refusal, SignedBy, Statement, verify};
use crate::cli::Global;
use crate::exit::ExitStatus;
use crate::models::choose;
use crate::printer::{Printer, Tone};
use crate::report::{InputFile, InputPaths, Report, Role, input_files, write_file};
use crate::workspace::Workspace;

/// `attest`.
#[derive(Clone, Debug, Subcommand)]
pub enum AttestCommand {
    /// Write the statement that binds the newest report to the files it is of, signed when there is a key
    Create(CreateArgs),
    /// Hold a statement to the report and the files that are here
    Verify(VerifyArgs),
}

/// `attest create`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  apr keygen -o release.key\n  cargo probador attest create --key release.key -o release.att.json\n\n\
                        Exits with 100 when a file is not the one that the run rested on: what has changed since is not what \
                        was judged."
)]
pub struct CreateArgs {
    /// The secret key to sign with, as `apr keygen` wrote it [default: unsigned]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Where the attestation goes [default: attestation.json beside the report]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where reports are kept [default: reports in the checkout]
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

/// `attest verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador attest verify release.att.json --trusted-keys keys.txt\n  \
                        cargo probador attest verify release.att.json --hold model,apr --model ./model.apr --apr ./apr\n\n\
                        Exits with 0 when it holds, 100 when it is refused (each reason is printed), 3 when a file cannot \
                        be read."
)]
pub struct VerifyArgs {
    /// The attestation
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The report it is of [default: report.json beside it, else the newest]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The model to hold it to [default: the report's]
    #[arg(long, value_name = "NAME|PATH")]
    pub model: Option<String>,
    /// The `apr` executable to hold it to [default: the one that `full` would judge]
    #[arg(long, value_name = "FILE")]
    pub apr: Option<PathBuf>,
    /// Keys whose signatures count, a line each [default: those of `apr validate`]
    #[arg(long, value_name = "FILE")]
    pub trusted_keys: Option<PathBuf>,
    /// Hold only these to their hashes; the report is in any case
    #[arg(long, value_name = "ROLE", value_delimiter = ',', default_values_t = ROLES, value_enum)]
    pub hold: Vec<Role>,
    /// Accept one that nobody signed, for its hashes alone
    #[arg(long)]
    pub unsigned: bool,
    /// Refuse one of a run that kept the gate shut
    #[arg(long)]
    pub require_pass: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const ROLES: [Role; 5] = [Role::Model, Role::Apr, Role::Engine, Role::Checklist, Role::Golden];

/// Larger reports are refused unread.
const MAX_REPORT_SIZE: u64 = 1 << 30;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    holds: bool,
    result: Option<&'static str>,
    signed_by: Option<String>,
    n_files: usize,
    refusals: Vec<String>,
}

/// Creates or verifies.
pub(super) fn run(
    command: &AttestCommand,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    match command {
        AttestCommand::Create(args) => create(args, global, printer),
        AttestCommand::Verify(args) => hold(args, global, printer),
    }
}

fn create(args: &CreateArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let folder = folder(args.reports.as_deref(), &workspace);
    let report = folder.read_latest()?;
    let bytes = read(&folder.latest().join("report.json"))?;
    let apr = workspace.apr();
    let changed = changed(&report, &here(&workspace, &report, None, apr)?);
    if !changed.is_empty() {
        for name in changed {
            printer.error(&format!("`{name}` is not what it was when the report was made"));
        }
        printer.error("hint: run `cargo probador full` again, then attest that");
        return Ok(ExitStatus::Failed);
    }
    let statement = Statement::of(&report, &bytes);
    let text = match &args.key {
        Some(key) => Envelope::seal(&statement, &SecretKey::read(key)?)?.to_json()?,
        None => statement.to_json()?,
    };
    let output = args.output.clone().unwrap_or_else(|| folder.latest().join("attestation.json"));
    write_file(&output, text.as_bytes())?;
    let signed = if args.key.is_some() { "signed" } else { "unsigned" };
    printer.data(&format!(
        "{}: {signed}, {}, {} files and the report",
        output.display(),
        statement.result().word(),
        statement.files().count()
    ));
    Ok(ExitStatus::Pass)
}

/// The names of files that are not what `report` says they were.
fn changed(report: &Report, here: &[InputFile]) -> Vec<String> {
    let gone = report.inputs.iter().filter(|file| !here.contains(file));
    let added = here.iter().filter(|file| report.inputs.iter().all(|known| known.name != file.name));
    gone.chain(added).map(|file| file.name.clone()).collect()
}

fn hold(args: &VerifyArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let attestation = read(&args.file)?;
    let report_path = args.report.clone().unwrap_or_else(|| {
        let beside = args.file.with_file_name("report.json");
        if beside.is_file() { beside } else { folder(None, &workspace).latest().join("report.json") }
    });
    let bytes = read(&report_path)?;
    let report: Report = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is not a report of this version", report_path.display()))?;
    let trusted = match &args.trusted_keys {
        Some(path) => TrustedKeys::read(path)?,
        None => TrustedKeys::of_user()?,
    };
    let apr = args.apr.clone().or_else(|| workspace.apr());
    let here = here(&workspace, &report, args.model.as_deref(), apr)?;
    let demands = Demands {
        trusted: &trusted,
        accepts_unsigned: args.unsigned,
        requires_pass: args.require_pass,
        roles: &args.hold,
    };
    let judged = verify(&attestation, (&report, &bytes), &here, &demands);
    if args.json {
        printer.data(&serde_json::to_string_pretty(&document(&judged))?);
    }
    match judged {
        Ok(attested) => {
            if !args.json {
                printer.data(&accepted(&attested, args, printer));
            }
            Ok(ExitStatus::Pass)
        }
        Err(refusals) => {
            let word = printer.paint_talk(Tone::Bad, "refused:");
            for refusal in refusals {
                printer.error(&format!("{word} {}: {refusal}", args.file.display()));
            }
            Ok(ExitStatus::Failed)
        }
    }
}

fn accepted(attested: &Attested, args: &VerifyArgs, printer: &Printer) -> String {
    let by = match &attested.by {
        SignedBy::Nobody => "signed by nobody".to_owned(),
        SignedBy::Trusted { key, name } if name.is_empty() => format!("signed with {key}"),
        SignedBy::Trusted { key, name } => format!("signed by {name} ({key})"),
    };
    let roles: Vec<&str> = args.hold.iter().map(|role| role.word()).collect();
    format!(
        "{} {by}; {} files are those attested ({}), and the report; the run is {}",
        printer.paint(Tone::Good, "holds:"),
        attested.n_files,
        roles.join(", "),
        attested.statement.result().word()
    )
}

fn document(judged: &Result<Attested, Vec<Refusal>>) -> Document {
    let attested = judged.as_ref().ok();
    Document {
        holds: judged.is_ok(),
        result: attested.map(|attested| attested.statement.result().word()),
        signed_by: attested.and_then(|attested| match &attested.by {
            SignedBy::Nobody => None,
            SignedBy::Trusted { key, .. } => Some(key.to_hex()),
        }),
        n_files: attested.map_or(0, |attested| attested.n_files),
        refusals: judged.as_ref().err().into_iter().flatten().map(ToString::to_string).collect(),
    }
}

/// The files that are here in the places of those that `report` rests on.
fn here(
    workspace: &Workspace,
    report: &Report,
    model: Option<&str>,
    apr: Option<PathBuf>,
) -> anyhow::Result<Vec<InputFile>> {
    // A model that was given as a file has no name that it could be found by.
    let by_name = choose(Some(&report.model.name), workspace).map(|choice| choice.path);
    let path = match model {
        Some(wanted) => choose(Some(wanted), workspace)?.path,
        None => match by_name {
            Ok(path) if report.inputs.iter().any(|file| is_model_at(file, &path, workspace)) => path,
            _ => PathBuf::from(&report.model.path),
        },
    };
    input_files(workspace, &InputPaths { model: path, apr, model_name: report.model.name.clone() })
}

/// Whether `file` of a report is the model at `path`. A file outside of the checkout is called by its name alone, and may
/// be called as one in the checkout is.
fn is_model_at(file: &InputFile, path: &Path, workspace: &Workspace) -> bool {
    let is_inside = path.starts_with(workspace.root());
    file.role == Role::Model
        && if is_inside { path == workspace.path(&file.name) } else { path.ends_with(&file.name) }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("failed to read `{}`", path.display());
    let metadata = std::fs::metadata(path).with_context(failed)?;
    anyhow::ensure!(metadata.len() <= MAX_REPORT_SIZE, "`{}` is too large for a report", path.display());
    std::fs::read(path).with_context(failed)
}
