//! `apr tokenize`: text to token ids and back, with the tokenizer inside a model.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use apr_format::AprFile;
use apr_tokenizer::{TokenId, Tokenizer};
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::model;
use crate::printer::Printer;

/// More text than this is not tokenized at once.
const MAX_INPUT_BYTES: u64 = 1 << 30;

/// Turn text into token ids, or ids into text.
///
/// Text is plain text: what spells a control token such as <|im_end|> is split like any other text, unless
/// --parse-special is given.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("input").required(true).args(["text", "file", "jsonl"]),
    after_help = "Examples:\n  apr tokenize model.apr --text 'Hello, world'\n  \
                  apr tokenize model.apr --text '9707 11 1879' --decode\n  \
                  apr tokenize model.apr --file prompt.txt --json"
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// The text; with --decode, ids separated by spaces or commas.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// A file with the text, or with --decode the ids; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// A file with one JSON string a line; prints one JSON array of ids a line. With --decode, the other way round. `-` is
    /// standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    jsonl: Option<PathBuf>,

    /// Turn ids into text.
    #[arg(long)]
    decode: bool,

    /// Read what spells a control token as that token.
    #[arg(long, conflicts_with = "decode")]
    parse_special: bool,

    /// Print JSON: {"ids": [...], "tokens": [...]}, with --decode also "text".
    #[arg(long)]
    json: bool,
}

/// What to do, once there is a tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    model: PathBuf,
    input: Input,
    direction: Direction,
    json: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Input {
    Text(String),
    File(PathBuf),
    Lines(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Encode { parse_special: bool },
    Decode,
}

/// Tokens as JSON.
#[derive(Debug, Serialize)]
struct Report {
    ids: Vec<TokenId>,
    tokens: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

pub(crate) fn plan(args: Args) -> Plan {
    let Args { model, text, file, jsonl, decode, parse_special, json } = args;
    let input = match (text, file, jsonl) {
        (Some(text), ..) => Input::Text(text),
        (None, Some(file), _) => Input::File(file),
        (None, None, lines) => Input::Lines(lines.unwrap_or_else(|| "-".into())),
    };
    let direction = if decode { Direction::Decode } else { Direction::Encode { parse_special } };
    Plan { model, input, direction, json }
}

pub(crate) fn run(plan: &Plan, printer: &mut Printer) -> Result<ExitStatus> {
    let file = AprFile::open(&plan.model)?;
    let tokenizer = model::tokenizer(&file)?;
    let text = match &plan.input {
        Input::Text(text) => text.clone(),
        Input::File(path) => read(path)?,
        Input::Lines(path) => {
            lines(path, &tokenizer, plan.direction, printer)?;
            return Ok(ExitStatus::Success);
        }
    };
    match plan.direction {
        Direction::Encode { parse_special } => {
            let ids = encode(&text, parse_special, &tokenizer);
            if plan.json {
                let tokens = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
                printer.json_line(&Report { ids, tokens, text: None })?;
            } else {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                printer.line(ids.join(" "))?;
            }
        }
        Direction::Decode => {
            let ids = parse_ids(&text, &tokenizer)?;
            let text = tokenizer.decode(&ids);
            if plan.json {
                let tokens = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
                printer.json_line(&Report { ids, tokens, text: Some(text) })?;
            } else if printer.stdout_is_terminal() {
                printer.line(crate::text::printable_lines(&text))?;
            } else {
                // Exactly the text, for whatever reads it.
                printer.data(text.as_bytes())?;
            }
        }
    }
    Ok(ExitStatus::Success)
}

fn encode(text: &str, parse_special: bool, tokenizer: &Tokenizer) -> Vec<TokenId> {
    if parse_special { tokenizer.encode_with_control(text) } else { tokenizer.encode(text) }
}

/// Each line of JSON to a line of JSON.
fn lines(path: &Path, tokenizer: &Tokenizer, direction: Direction, printer: &mut Printer) -> Result<()> {
    let shown = name(path);
    for (index, line) in open(path)?.lines().enumerate() {
        let place = || format!("{shown}, line {}", index + 1);
        let line = line.with_context(|| format!("failed to read {}", place()))?;
        let json = match direction {
            Direction::Encode { parse_special } => {
                let text: String = serde_json::from_str(&line)
                    .with_context(|| format!("{} is not a JSON string", place()))?;
                serde_json::to_string(&encode(&text, parse_special, tokenizer))?
            }
            Direction::Decode => {
                let ids: Vec<TokenId> = serde_json::from_str(&line)
                    .with_context(|| format!("{} is not a JSON array of ids", place()))?;
                check_ids(&ids, tokenizer).with_context(place)?;
                serde_json::to_string(&tokenizer.decode(&ids))?
            }
        };
        printer.line(json)?;
    }
    Ok(())
}

/// All of a file, which must be text.
pub(crate) fn read(path: &Path) -> Result<String> {
    let shown = name(path);
    let mut bytes = Vec::new();
    open(path)?
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("failed to read {shown}"))?;
    ensure!(bytes.len() as u64 <= MAX_INPUT_BYTES, "{shown} has more than {MAX_INPUT_BYTES} bytes");
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!(
            "{shown} is not UTF-8: byte {at} begins no character\nhint: convert it to UTF-8 first"
        )
    })
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("failed to open {}", name(path)))?;
    Ok(Box::new(BufReader::new(file)))
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { format!("`{}`", path.display()) }
}

/// Ids separated by white space or commas, with or without brackets around them.
fn parse_ids(text: &str, tokenizer: &Tokenizer) -> Result<Vec<TokenId>> {
    let text = text.trim();
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ids = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse().map(TokenId).with_context(|| {
                format!(
                    "`{word}` is not a token id\nhint: ids are numbers, with spaces or commas between them"
                )
            })
        })
        .collect::<Result<Vec<_>>>()?;
    check_ids(&ids, tokenizer)?;
    Ok(ids)
}

fn check_ids(ids: &[TokenId], tokenizer: &Tokenizer) -> Result<()> {
    let n = tokenizer.vocab_size();
    match ids.iter().find(|id| id.index() >= n) {
        Some(id) => anyhow::bail!(
            "token id {id} is outside the tokenizer's vocabulary of {n}\nhint: ids go from 0 to {}",
            n - 1
        ),
        None => Ok(()),
    }
}
