//! `apr inspect`: what a model is, from its metadata and index, without reading its weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use apr_format::{AprFile, IndexEntry, Metadata, ModelConfig, Provenance, SignatureVerdict, TrustedKeys};
use apr_tensor::DType;
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::printer::{Printer, Role};
use crate::text;

/// Show what a model is: dimensions, size, hashes, signature, provenance, tokenizer.
///
/// Header, metadata, index and root hash are checked; the weights are not read (`apr validate` does that).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr inspect model.apr\n  apr inspect model.apr --json")]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything `inspect` has to say.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    path: String,
    architecture: Option<String>,
    model_type: Option<String>,
    n_parameters: u64,
    n_tensors: usize,
    file_size: u64,
    dtypes: BTreeMap<&'static str, u64>,
    config: ModelConfig,
    root_hash: String,
    root_hash_stored: bool,
    weights_fingerprint: String,
    signature: Signature,
    license: Option<String>,
    description: Option<String>,
    source: Option<String>,
    original_format: Option<String>,
    provenance: Option<Provenance>,
    tokenizer: Option<TokenizerReport>,
    chat_template_characters: Option<usize>,
    special_tokens: BTreeMap<String, String>,
    generation_config: Option<serde_json::Value>,
    #[serde(skip)]
    dtype: String,
}

/// What the signature is worth.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Signature {
    Unsigned,
    Trusted { key: String, name: String },
    Untrusted { key: String },
    Invalid { what: String },
}

/// The embedded tokenizer.
#[derive(Debug, Serialize)]
struct TokenizerReport {
    blake3: Option<String>,
    bytes: usize,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let file = AprFile::open(&args.model)?;
    let report = report(&file, &TrustedKeys::of_user()?)?;
    if args.json {
        printer.json(&report)?;
        return Ok(ExitStatus::Success);
    }
    for (label, value) in lines(&report) {
        let label = printer.paint().paint(Role::Label, &format!("{label}:"));
        printer.line(format_args!("{label} {}", text::printable(&value)))?;
    }
    Ok(ExitStatus::Success)
}

/// The dtypes of a file's tensors as people say them, the one with most bytes first: `float16, float32`.
pub(crate) fn dtypes(file: &AprFile) -> String {
    let mut bytes: BTreeMap<DType, u64> = BTreeMap::new();
    for entry in file.entries() {
        *bytes.entry(entry.dtype).or_default() += entry.size;
    }
    let mut dtypes: Vec<(DType, u64)> = bytes.into_iter().collect();
    dtypes.sort_by_key(|&(dtype, bytes)| (std::cmp::Reverse(bytes), dtype));
    let names: Vec<&str> = dtypes.into_iter().map(|(dtype, _)| spoken(dtype)).collect();
    names.join(", ")
}

const fn spoken(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::Bf16 => "bfloat16",
        DType::Int8 => "int8",
        DType::Int4 => "int4",
    }
}

fn report(file: &AprFile, trusted: &TrustedKeys) -> Result<Report> {
    let Metadata {
        name,
        architecture,
        model_type,
        license,
        description,
        source,
        original_format,
        config,
        provenance,
        chat_template,
        special_tokens,
        generation_config,
        root_hash,
        ..
    } = file.metadata().clone();
    let mut dtypes: BTreeMap<&'static str, u64> = BTreeMap::new();
    for entry in file.entries() {
        *dtypes.entry(entry.dtype.name()).or_default() += 1;
    }
    let tokenizer = file.tokenizer_json()?.map(|json| TokenizerReport {
        blake3: file.tokenizer_fingerprint().map(str::to_owned),
        bytes: json.len(),
    });
    let path = file.path();
    Ok(Report {
        model: name.unwrap_or_else(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned()),
        path: path.to_string_lossy().into_owned(),
        architecture,
        model_type,
        n_parameters: file.entries().iter().map(IndexEntry::n_elements).sum(),
        n_tensors: file.entries().len(),
        file_size: file.file_size(),
        dtypes,
        config,
        root_hash: file.root_hash().to_owned(),
        root_hash_stored: root_hash.is_some(),
        weights_fingerprint: file.weights_fingerprint(),
        signature: match file.signature_verdict(trusted) {
            SignatureVerdict::Unsigned => Signature::Unsigned,
            SignatureVerdict::SignedTrusted { key, name } => Signature::Trusted { key: key.to_hex(), name },
            SignatureVerdict::SignedUntrusted { key } => Signature::Untrusted { key: key.to_hex() },
            SignatureVerdict::Invalid { what } => Signature::Invalid { what },
        },
        license,
        description,
        source,
        original_format,
        provenance,
        tokenizer,
        chat_template_characters: chat_template.map(|template| template.chars().count()),
        special_tokens,
        generation_config,
        dtype: self::dtypes(file),
    })
}

/// The report for people, a label and a value a line.
fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let config = &report.config;
    let count = |value: usize| match value {
        0 => "not stated".to_owned(),
        value => text::thousands(value as u64),
    };
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "not stated".to_owned());
    let mut lines = vec![
        ("Model", report.model.clone()),
        ("Architecture", format!("{} (decoder-only)", or_none(&report.architecture))),
        (
            "Parameters",
            format!("{} ({})", text::parameters(report.n_parameters), text::thousands(report.n_parameters)),
        ),
        ("Layers", count(config.num_layers)),
        ("Hidden", count(config.hidden_size)),
        ("Feed-forward", count(config.intermediate_size)),
        ("Heads", format!("{} ({} KV)", count(config.num_heads), count(config.num_kv_heads))),
        ("Head size", count(config.head_dim)),
        ("Vocab", count(config.vocab_size)),
        ("Context", count(config.max_position_embeddings)),
        ("RoPE theta", config.rope_theta.to_string()),
        ("Norm epsilon", format!("{:e}", config.rms_norm_eps)),
        (
            "Embeddings",
            if config.tie_word_embeddings { "tied to the head" } else { "apart from the head" }.to_owned(),
        ),
        ("Dtype", report.dtype.clone()),
        ("Size", format!("{} ({} bytes)", text::bytes(report.file_size), text::thousands(report.file_size))),
        ("Tensors", text::thousands(report.n_tensors as u64)),
        (
            "Root hash",
            format!(
                "{}{}",
                report.root_hash,
                if report.root_hash_stored { "" } else { " (computed; the file stores none)" }
            ),
        ),
        ("Weights", report.weights_fingerprint.clone()),
        (
            "Signature",
            match &report.signature {
                Signature::Unsigned => "unsigned".to_owned(),
                Signature::Trusted { key, name } => format!("signed by {name} ({key}), trusted"),
                Signature::Untrusted { key } => format!("signed by {key}, which is not trusted"),
                Signature::Invalid { what } => format!("INVALID: {what}"),
            },
        ),
    ];
    let source = report.source.as_ref().map(|source| match &report.original_format {
        Some(format) => format!("{source} ({format})"),
        None => source.clone(),
    });
    let optional = [("License", &report.license), ("Description", &report.description), ("Source", &source)];
    lines.extend(optional.into_iter().filter_map(|(label, value)| Some((label, value.clone()?))));
    if let Some(provenance) = &report.provenance {
        lines.extend(provenance_lines(provenance));
    }
    lines.push((
        "Tokenizer",
        match &report.tokenizer {
            Some(tokenizer) => format!(
                "embedded, {}{}",
                text::bytes(tokenizer.bytes as u64),
                tokenizer.blake3.as_ref().map(|hash| format!(", BLAKE3 {hash}")).unwrap_or_default()
            ),
            None => "none".to_owned(),
        },
    ));
    lines.push((
        "Chat template",
        match report.chat_template_characters {
            Some(characters) => format!("embedded, {} characters", text::thousands(characters as u64)),
            None => "none".to_owned(),
        },
    ));
    lines
}

fn provenance_lines(provenance: &Provenance) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(repository) = &provenance.repository {
        let revision =
            provenance.revision.as_ref().map(|revision| format!(" at {revision}")).unwrap_or_default();
        lines.push(("Repository", format!("{repository}{revision}")));
    }
    for file in &provenance.files {
        lines.push((
            "Source file",
            format!("{}, {}, SHA-256 {}", file.name, text::bytes(file.size), file.sha256),
        ));
    }
    lines.push(("Made by", format!("{} {}", provenance.tool, provenance.tool_version)));
    lines.extend(provenance.transformations.iter().map(|what| ("Changed", what.clone())));
    lines
}
