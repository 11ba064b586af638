//! The command line: what can be typed, nothing of what it does.

use std::ffi::OsString;
use std::path::PathBuf;

use apr_impostor::Impostor;
use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand};

use crate::checklist::{ClaimId, FaultKind, Section};
use crate::commands::{
    self, AttestCommand, ClaimCommand, GoldenCommand, MisbehaveArgs, PlaybookCommand, PlaybookRunArgs,
    TensorCommand, TraceCommand,
};
use crate::exit::ExitStatus;
use crate::printer::{ColorChoice, Format, Printer, Tone};
use crate::process::survive_size_limit;
use crate::prove::TargetName;
use crate::selection::{Selection, Shard, TAGS};
use crate::yaml::Keyword;

/// Verify a language-model stack: claims, golden traces and lints to one report.
#[derive(Debug, Parser)]
#[command(name = "cargo-probador", bin_name = "cargo probador", version, after_help = exit_codes())]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The checkout to verify [default: around the working directory]
    #[arg(long, global = true, value_name = "DIR", env = "PROBADOR_ROOT")]
    pub root: Option<PathBuf>,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Print results only
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What the engine does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plan, run, account for and report every case
    #[command(
        after_help = "Examples:\n  cargo probador full\n  cargo probador full C4 D1 --seed 7\n  cargo probador full --section A,B --model release"
    )]
    Full(FullArgs),
    /// List the cases without opening a model
    #[command(
        after_help = "Examples:\n  cargo probador list\n  cargo probador list --tag playbook --format json"
    )]
    List(ListArgs),
    /// Validate the checklist, or write its schemas
    #[command(subcommand)]
    Checklist(ChecklistCommand),
    /// Write the JSON schemas of the checklist's files and of playbooks
    #[command(after_help = "Examples:\n  cargo probador schema\n  cargo probador schema --check")]
    Schema(SchemaArgs),
    /// Hold a model to its golden traces; record them, review and update them
    #[command(subcommand)]
    Golden(GoldenCommand),
    /// List, validate, create and run playbooks
    #[command(subcommand)]
    Playbook(PlaybookCommand),
    /// Run playbooks: the same as `playbook run`
    Run(PlaybookRunArgs),
    /// Compare what `apr trace` exported, or find where an error begins
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Export, compare and describe a model's tensors
    #[command(subcommand)]
    Tensor(TensorCommand),
    /// Lint the sources; with --clippy, run clippy and keep its result for claim G3
    #[command(
        after_help = "Examples:\n  cargo probador lint\n  cargo probador lint G7 --format sarif\n  cargo probador lint G7 G8 --root ../another-project\n\nAny folder of crates can be named; it needs no checklist."
    )]
    Lint(LintArgs),
    /// Measure what the tests execute, and keep it for claims G1, I1, I2 and I3
    Coverage(CoverageArgs),
    /// Change the code a little, see whether a test notices, and keep it for claim I4
    Mutants(MutantsArgs),
    /// Show the newest report again, or write its pages anew
    #[command(after_help = "Examples:\n  cargo probador report\n  cargo probador report --format json")]
    Report(ReportArgs),
    /// Run everything, and pass only when every claim is decided, passing and proven, or waived
    #[command(after_help = "Example:\n  cargo probador gate --model release")]
    Gate(FullArgs),
    /// Run everything without colour; with --strict, hold it to the committed baseline
    #[command(
        after_help = "Examples:\n  cargo probador ci --strict\n  cargo probador ci --accept --model release"
    )]
    Ci(CiArgs),
    /// Bind the newest report to what was judged, or hold such a statement to what is here
    #[command(subcommand)]
    Attest(AttestCommand),
    /// Start on the check of a claim, or on one more fault of it
    #[command(subcommand)]
    Claim(ClaimCommand),
    /// See every check fail under the faults its claim names, and keep the proof
    Prove(ProveArgs),
    /// Let whole fakes stand in for the stack, and see which claims they get away with
    Impostors(ImpostorsArgs),
    /// Stand in for `apr` with a planted fault
    #[command(hide = true)]
    Misbehave(MisbehaveArgs),
}

/// `checklist`.
#[derive(Debug, Subcommand)]
pub enum ChecklistCommand {
    /// Report every problem with file, line and column
    #[command(after_help = "Example:\n  cargo probador checklist validate")]
    Validate,
    /// Write the JSON schemas
    #[command(after_help = "Example:\n  cargo probador checklist schema --check")]
    Schema(SchemaArgs),
}

/// Which cases.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectionArgs {
    /// Parts of case names, or claim ids
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only the case with exactly this name
    #[arg(long, value_name = "NAME")]
    pub exact: Vec<String>,
    /// Only these sections
    #[arg(long, value_name = "LETTER", value_delimiter = ',')]
    pub section: Vec<Section>,
    /// Only cases with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(TAGS))]
    pub tag: Vec<String>,
    /// Only what failed in the newest report
    #[arg(long)]
    pub rerun_failed: bool,
    /// Only the k-th of n shares
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
}

/// What is judged.
#[derive(Clone, Debug, Default, Args)]
pub struct SubjectArgs {
    /// A model of golden/models.yaml, or a file
    #[arg(long, value_name = "NAME|PATH", env = "PROBADOR_MODEL")]
    pub model: Option<String>,
    /// Draw every sample from this seed
    #[arg(long)]
    pub seed: Option<u64>,
}

/// `full`, `gate`.
#[derive(Clone, Debug, Default, Args)]
pub struct FullArgs {
    /// Which cases.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What is judged.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Stop at the first failure
    #[arg(long, overrides_with = "no_fail_fast")]
    pub fail_fast: bool,
    /// Run everything in any case (the default)
    #[arg(long, overrides_with = "fail_fast")]
    pub no_fail_fast: bool,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Where to keep reports [default: reports in the checkout]
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// Judge the `apr` that is there instead of building it first
    #[arg(long)]
    pub no_build: bool,
}

/// `list`.
#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    /// Which cases.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What is judged.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// How to print the list
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Where reports are kept, for --rerun-failed
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

/// `schema`.
#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// Write nothing; fail when a schema is stale
    #[arg(long)]
    pub check: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LintFormat {
    /// A line each.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0.
    Sarif,
}

/// `lint`.
#[derive(Clone, Debug, Args)]
pub struct LintArgs {
    /// Only these rules, with the entries of those that are inventories [default: all]
    #[arg(value_name = "RULE")]
    pub rules: Vec<String>,
    /// How to print findings
    #[arg(long, value_name = "FORMAT", default_value = "human", conflicts_with = "clippy")]
    pub format: LintFormat,
    /// Run clippy over the workspace and keep its result for claim G3
    #[arg(long, conflicts_with = "rules")]
    pub clippy: bool,
}

/// `coverage`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador coverage\n  cargo probador coverage --crate apr-format --format terse\n  \
                        cargo probador coverage --html --fail-under 85\n\nWhat is stored in checklist/coverage.json and has not \
                        changed since is not measured again."
)]
pub struct CoverageArgs {
    /// Only these crates, and those below them whose result is stale [default: all]
    #[arg(long = "crate", value_name = "NAME")]
    pub crates: Vec<String>,
    /// Exit with 100 when fewer of the lines are covered, in percent
    #[arg(long, value_name = "N", value_parser = percent)]
    pub fail_under: Option<f64>,
    /// Write reports/coverage.html, which shows the lines that no test executes
    #[arg(long)]
    pub html: bool,
    /// Measure again what was measured before and has not changed
    #[arg(long)]
    pub fresh: bool,
    /// How to print the result; terse lists the lines that are missed
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
}

/// `mutants`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador mutants --crate apr-format\n  cargo probador mutants --in-diff main\n  \
                        cargo probador mutants --shard 1/8 --fail-under 90\n\nWhat is stored in checklist/mutants.json and has not \
                        changed since is not tried again. A mutant that means the same as the code is listed with its reason in \
                        checklist/equivalent-mutants.yaml."
)]
pub struct MutantsArgs {
    /// Only these crates [default: probador-core, apr-format, apr-qwen2, apr-tokenizer]
    #[arg(long = "crate", value_name = "NAME")]
    pub crates: Vec<String>,
    /// Exit with 100 when fewer of the mutants are caught, in percent
    #[arg(long, value_name = "N", value_parser = percent)]
    pub fail_under: Option<f64>,
    /// Only mutants in what differs from this commit; printed, not stored
    #[arg(long, value_name = "REF", num_args = 0..=1, default_missing_value = "HEAD", conflicts_with = "shard")]
    pub in_diff: Option<String>,
    /// Only the k-th of n shares of a crate's files; the shares of all make the whole
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// Try again what was tried before and has not changed
    #[arg(long, conflicts_with = "in_diff")]
    pub fresh: bool,
    /// How to print the result; terse lists the survivors
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
}

/// Parses a share of a hundred.
fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent)
    } else {
        Err(format!("{text} is not between 0 and 100"))
    }
}

/// `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Where reports are kept [default: reports in the checkout]
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

/// `ci`.
#[derive(Clone, Debug, Args)]
pub struct CiArgs {
    /// How to run.
    #[command(flatten)]
    pub full: FullArgs,
    /// Fail when a claim that passed at checklist/baseline.json no longer does
    #[arg(long)]
    pub strict: bool,
    /// Write what passed now to checklist/baseline.json
    #[arg(long, conflicts_with = "strict")]
    pub accept: bool,
}

/// `prove`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador prove\n  cargo probador prove C4 C8 --fresh\n  cargo probador prove --kind data,wrap,fixture\n  cargo probador prove --model release --format json"
)]
pub struct ProveArgs {
    /// Only these claims and playbooks [default: every claim with a check, and every playbook]
    #[arg(value_name = "CLAIM|PLAYBOOK")]
    pub targets: Vec<TargetName>,
    /// What is judged.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Prove again what was proven before and has not changed
    #[arg(long)]
    pub fresh: bool,
    /// Only faults that are planted so [default: all]; those in the sources take a build each
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = word::<FaultKind>())]
    pub kind: Vec<FaultKind>,
    /// Try every claim under every fault, not only under its own, print what turns each red, name claims that catch just
    /// the same, and write reports/prove.html
    #[arg(long)]
    pub matrix: bool,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Judge the `apr` that is there instead of building it first
    #[arg(long)]
    pub no_build: bool,
    /// Where the matrix is kept [default: reports in the checkout]
    #[arg(long, value_name = "DIR", requires = "matrix")]
    pub reports: Option<PathBuf>,
}

/// `impostors`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador impostors\n  cargo probador impostors canned-replies --format json\n\n\
                        Exits with 6 when a fake passes a claim about behaviour. Claims that a fake may pass say why in the \
                        checklist (`indifferent`)."
)]
pub struct ImpostorsArgs {
    /// Only these impostors [default: all]
    #[arg(value_name = "IMPOSTOR", value_parser = impostor())]
    pub names: Vec<Impostor>,
    /// What is judged.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Judge with the executables that are there instead of building them first
    #[arg(long)]
    pub no_build: bool,
    /// Where reports are kept [default: reports in the checkout]
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

/// Parses one of a closed set of words.
pub(crate) fn word<K: Keyword + Send + Sync>() -> impl clap::builder::TypedValueParser<Value = K> {
    let words = K::WORDS.iter().map(|(word, _)| *word);
    clap::builder::PossibleValuesParser::new(words).try_map(|typed| {
        let known = K::WORDS.iter().find(|(word, _)| *word == typed);
        known.map(|&(_, value)| value).ok_or("no such word")
    })
}

/// Parses the name of an impostor.
fn impostor() -> impl clap::builder::TypedValueParser<Value = Impostor> {
    clap::builder::PossibleValuesParser::new(Impostor::ALL.map(Impostor::name))
        .try_map(|name| Impostor::find(&name).ok_or("no such impostor"))
}

impl SelectionArgs {
    /// The selection that was typed; a name that is a claim id means that claim.
    pub fn resolve(&self, failed_before: Option<std::collections::BTreeSet<String>>) -> Selection {
        let substrings = self.names.iter().map(|name| match name.parse::<ClaimId>() {
            Ok(id) => format!("::{}_", id.to_string().to_ascii_lowercase()),
            Err(_) => name.clone(),
        });
        Selection {
            substrings: substrings.collect(),
            exact: self.exact.clone(),
            sections: self.section.clone(),
            tags: self.tag.clone(),
            failed_before,
            shard: self.shard,
        }
    }
}

fn exit_codes() -> String {
    let lines = ExitStatus::ALL.map(|status| format!("  {:>3}  {}", status.code(), status.meaning()));
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Arguments as cargo passes them to a subcommand: `cargo-probador probador full` means `full`.
pub fn without_cargo(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == "probador") {
        arguments.remove(1);
    }
    arguments
}

/// Parses, runs and ends: the whole program.
pub fn main(arguments: Vec<OsString>) -> ExitStatus {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data, everything else is talk; clap knows which.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Pass };
        }
    };
    survive_size_limit();
    let mut printer = Printer::new(cli.global.color, cli.global.quiet);
    let status =
        commands::run(cli, &mut printer).unwrap_or_else(|error| commands::explain(&error, &mut printer));
    let Some(lost) = printer.lost().map(ToString::to_string) else { return status };
    let tag = printer.paint_talk(Tone::Bad, "error:");
    printer.error(&format!("{tag} failed to write to standard output: {lost}"));
    if status == ExitStatus::Pass { ExitStatus::Environment } else { status }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        let mut ahead = vec![Cli::command()];
        let mut n_commands = 0;
        while let Some(command) = ahead.pop() {
            let below = command.get_subcommands().filter(|below| !below.is_hide_set());
            ahead.extend(below.cloned());
            if command.get_subcommands().next().is_none() {
                let shown = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    shown.contains("\n  cargo probador ") && shown.contains(command.get_name()),
                    "{}",
                    command.get_name()
                );
                n_commands += 1;
            }
        }
        assert!(n_commands > 25, "{n_commands}");
    }

    #[test]
    fn cargos_own_argument_is_dropped() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(without_cargo(words("cargo-probador probador full")), words("cargo-probador full"));
        assert_eq!(
            without_cargo(words("cargo-probador full probador")),
            words("cargo-probador full probador")
        );
    }

    #[test]
    fn a_claim_id_selects_that_claim_only() {
        let arguments = SelectionArgs { names: vec!["c4".into(), "mask".into()], ..SelectionArgs::default() };
        assert_eq!(arguments.resolve(None).substrings, ["::c4_", "mask"]);
    }

    #[test]
    fn a_share_of_a_hundred_is_a_number_from_0_to_100() {
        let good = ["0", "85", "99.5", "100"].map(percent);
        assert_eq!(good, [Ok(0.0), Ok(85.0), Ok(99.5), Ok(100.0)]);
        for text in ["-1", "100.1", "nan", "inf"] {
            assert_eq!(percent(text), Err(format!("{text} is not between 0 and 100")));
        }
        assert_eq!(percent("most"), Err("`most` is no number".to_owned()));
    }

    #[test]
    fn help_is_data_and_wrong_usage_is_not() {
        let ends = |words: &[&str]| main(words.iter().map(OsString::from).collect());
        assert_eq!(ends(&["cargo-probador", "--version"]), ExitStatus::Pass);
        assert_eq!(ends(&["cargo-probador", "coverage", "--fail-under", "101"]), ExitStatus::Usage);
        // What would be ignored is refused.
        assert_eq!(ends(&["cargo-probador", "prove", "--reports", "r"]), ExitStatus::Usage);
        assert_eq!(ends(&["cargo-probador", "mutants", "--in-diff", "--fresh"]), ExitStatus::Usage);
    }
}
