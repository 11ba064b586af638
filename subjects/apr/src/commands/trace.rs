//! `apr trace`: every named tensor of a forward pass, as `.npy` files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, top_candidates};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::{Message, TokenId, Tokenizer};
use clap::ValueEnum;
use serde::Serialize;

use crate::commands::tokenize;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::trace::export::{Exported, Exporter};
use crate::trace::folder::NewFolder;
use crate::trace::keys::KeyFilter;
use crate::trace::npy::NpyFile;
use crate::{model, text};

/// Positions evaluated at a time: bounds the memory, and Ctrl-C is seen in between.
const CHUNK: usize = 128;

/// Write the tensors of a forward pass to .npy files.
///
/// Files are named by checkpoint key, such as model.layers.3.self_attn.q_proj.npy, float32; attention scores are the
/// lower triangle. input_ids.npy (int64) and logits.npy are always among them. The folder appears when it is complete.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("input").required(true).args(["prompt", "prompt_file", "ids"]),
    after_help = "Examples:\n  apr trace model.apr --prompt Hello --export tensors/\n  \
                  apr trace model.apr --prompt 'What is 2+2?' --chat --export tensors/ --logits last\n  \
                  apr trace model.apr --ids 9707,11,1879 --export tensors/ --keys 'layers.0.' --keys '*.norm'"
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// The text to evaluate.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// A file with the text to evaluate; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// The token ids to evaluate, separated by commas.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    ids: Option<Vec<u32>>,

    /// Put the text into the model's chat template, as a message of the user.
    #[arg(long, conflicts_with = "ids")]
    chat: bool,

    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    export: PathBuf,

    /// Positions whose logits are exported.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = LogitsOf::All)]
    logits: LogitsOf,

    /// Export only tensors whose key contains this, or matches it when it has a `*`; may be given several times
    /// [default: all].
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    keys: Vec<String>,

    /// Replace the folder of an earlier export.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Positions whose logits are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogitsOf {
    /// Every position: [n_tokens, vocab_size].
    All,
    /// The last position: [1, vocab_size].
    Last,
}

/// What is evaluated.
#[derive(Debug)]
enum Input {
    Text(String),
    File(PathBuf),
    Ids(Vec<TokenId>),
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    model: PathBuf,
    input: Input,
    chat: bool,
    export: PathBuf,
    logits: LogitsOf,
    keys: Vec<String>,
    force: bool,
    json: bool,
}

/// What was exported.
#[derive(Debug, Serialize)]
struct Report {
    folder: String,
    ids: Vec<TokenId>,
    n_files: usize,
    n_bytes: u64,
    /// What would come next.
    next: Vec<Next>,
}

/// A token that could come next.
#[derive(Debug, Serialize)]
struct Next {
    id: TokenId,
    token: Option<String>,
    probability: f64,
}

pub(crate) fn plan(args: Args) -> Plan {
    let input = match (args.prompt, args.prompt_file, args.ids) {
        (Some(text), ..) => Input::Text(text),
        (None, Some(file), _) => Input::File(file),
        (None, None, ids) => Input::Ids(ids.unwrap_or_default().into_iter().map(TokenId).collect()),
    };
    Plan {
        model: args.model,
        input,
        chat: args.chat,
        export: args.export,
        logits: args.logits,
        keys: args.keys,
        force: args.force,
        json: args.json,
    }
}

pub(crate) fn run(plan: Plan, printer: &mut Printer) -> Result<ExitStatus> {
    let interrupt = Interrupt::on_any_request()?;
    let file = model::open_verified(&plan.model)?;
    let (ids, tokenizer) = ids(plan.input, plan.chat, &file)?;
    ensure!(
        !ids.is_empty(),
        "the prompt is empty: there is nothing to evaluate\nhint: give --prompt some text"
    );
    let options = LoadOptions { context_length: Some(context_length(ids.len(), &file)?), n_threads: None };
    let mut model = Qwen2::load(&file, options)?;
    let n_ids = model.vocab_size();
    if let Some(id) = ids.iter().find(|id| id.index() >= n_ids) {
        bail!(
            "token id {id} is outside the model's vocabulary of {n_ids}\nhint: ids go from 0 to {}",
            n_ids - 1
        );
    }
    let filter = KeyFilter::new(&plan.keys, model.config().num_layers)?;
    let folder = NewFolder::create(&plan.export, plan.force)?;

    let mut exporter = Exporter::new(folder.path(), &filter, ids.len());
    let mut logits = LogitsFile::create(folder.path(), plan.logits, ids.len(), model.vocab_size())?;
    let mut next = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        interrupt.check()?;
        let rows = match plan.logits {
            LogitsOf::All => LogitRows::All,
            LogitsOf::Last => LogitRows::Last,
        };
        let computed =
            model.prefill(chunk, rows, Some(&mut exporter)).context("failed to evaluate the prompt")?;
        exporter.check()?;
        logits.write(computed.values(), model.position() == ids.len())?;
        next = top_candidates(computed.last(), 5);
    }
    let mut exported = exporter.finish()?;
    exported.add(write_ids(folder.path(), &ids)?);
    exported.add(logits.file.finish()?);
    interrupt.check()?;
    folder.commit()?;

    let next = next.into_iter().map(|candidate| Next {
        id: candidate.id,
        token: tokenizer.as_ref().map(|tokenizer| tokenizer.token_text(candidate.id)),
        probability: candidate.probability,
    });
    let report = Report {
        folder: plan.export.to_string_lossy().into_owned(),
        ids,
        n_files: exported.n_files,
        n_bytes: exported.n_bytes,
        next: next.collect(),
    };
    print(&report, plan.json, printer)
}

fn print(report: &Report, json: bool, printer: &mut Printer) -> Result<ExitStatus> {
    if json {
        printer.json(report)?;
        return Ok(ExitStatus::Success);
    }
    printer.line(format_args!(
        "Traced {} tokens: {} files, {}, in {}",
        report.ids.len(),
        report.n_files,
        text::bytes(report.n_bytes),
        text::printable(&report.folder)
    ))?;
    printer.line("Likeliest next tokens:")?;
    for next in &report.next {
        let token = next.token.as_ref().map(|token| serde_json::Value::from(token.as_str()).to_string());
        printer.line(format_args!(
            "  {} {} {:.4}",
            next.id,
            text::printable(&token.unwrap_or_default()),
            next.probability
        ))?;
    }
    Ok(ExitStatus::Success)
}

/// The ids to evaluate, and the tokenizer when there is one; without text, none is needed.
fn ids(input: Input, chat: bool, file: &AprFile) -> Result<(Vec<TokenId>, Option<Tokenizer>)> {
    let text = match input {
        Input::Ids(ids) => {
            let tokenizer = file.tokenizer_json()?.map(|_| model::tokenizer(file)).transpose()?;
            return Ok((ids, tokenizer));
        }
        Input::Text(text) => text,
        Input::File(path) => tokenize::read(&path)?,
    };
    let tokenizer = model::tokenizer(file)?;
    let ids = if chat {
        let message = Message { role: "user".to_owned(), content: text };
        let segments = model::chat_template(file)?.render(&[message], true, &tokenizer)?;
        tokenizer.encode_segments(&segments)
    } else {
        let mut ids = tokenizer.prompt_prefix().to_vec();
        ids.extend(tokenizer.encode(&text));
        ids
    };
    Ok((ids, Some(tokenizer)))
}

/// As many positions as there are tokens, if the model was made for so many.
fn context_length(n_tokens: usize, file: &AprFile) -> Result<usize> {
    let limit = file.metadata().config.max_position_embeddings;
    ensure!(
        n_tokens <= limit,
        "the prompt has {n_tokens} tokens, `{}` was made for a context of {limit}\nhint: give it a shorter prompt",
        file.path().display()
    );
    Ok(n_tokens)
}

/// `logits.npy` while it is filled.
struct LogitsFile {
    file: NpyFile,
    which: LogitsOf,
    n_written: usize,
}

impl LogitsFile {
    fn create(folder: &Path, which: LogitsOf, n_tokens: usize, vocab_size: usize) -> Result<Self> {
        let n_rows = match which {
            LogitsOf::All => n_tokens,
            LogitsOf::Last => 1,
        };
        let file = NpyFile::create::<f32>(&folder.join("logits.npy"), &[n_rows, vocab_size])?;
        Ok(Self { file, which, n_written: 0 })
    }

    /// Takes the logits of a chunk, `[n_rows, vocab_size]`.
    fn write(&mut self, logits: &[f32], is_last_chunk: bool) -> Result<()> {
        if self.which == LogitsOf::All || is_last_chunk {
            self.file.write(self.n_written, logits)?;
            self.n_written += logits.len();
        }
        Ok(())
    }
}

/// Writes `input_ids.npy` and returns its size.
fn write_ids(folder: &Path, ids: &[TokenId]) -> Result<u64> {
    let mut file = NpyFile::create::<i64>(&folder.join("input_ids.npy"), &[ids.len()])?;
    let values: Vec<i64> = ids.iter().map(|id| i64::from(id.0)).collect();
    file.write(0, &values)?;
    file.finish()
}

impl Exported {
    /// Counts one more file.
    fn add(&mut self, n_bytes: u64) {
        self.n_files += 1;
        self.n_bytes += n_bytes;
    }
}
