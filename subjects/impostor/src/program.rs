//! A fake of the `apr` program: the same commands, figures written beforehand, replies of a fake model.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apr_format::AprFile;
use apr_generation::{GenerationParams, SamplingParams, Step, generate, top_candidates};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::{ChatTemplate, Message, TokenId, Tokenizer};

use apr_impostor::{Impostor, KnownReply, Materials, Model, disguise};

use crate::server;

/// Why even a fake cannot go on.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// What was typed, as far as a fake cares.
struct Line {
    words: Vec<String>,
}

impl Line {
    /// The word after `flag`.
    fn value(&self, flag: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == flag)?;
        self.words.get(at + 1).map(String::as_str)
    }

    fn has(&self, flag: &str) -> bool {
        self.words.iter().any(|word| word == flag)
    }

    /// The first argument that is a file.
    fn file(&self) -> Option<PathBuf> {
        self.words.iter().skip(1).map(PathBuf::from).find(|path| path.is_file())
    }
}

/// Does what `words`, a command line of `apr`, ask for; `replies` is a JSON file of prompts with their replies.
pub(crate) fn run(
    impostor: Impostor,
    replies: Option<&Path>,
    words: Vec<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let line = Line { words };
    match line.words.first().map(String::as_str) {
        Some("chat") => chat(impostor, replies, &line, out),
        Some("inspect") => inspect(&line, out),
        Some("validate") => validate(&line, out),
        Some("tensors") => tensors(&line, out),
        Some("import") => import(&line, out),
        Some("serve") => Ok(server::serve(line.value("--port").unwrap_or("0").parse()?, out)?),
        _ => Ok(writeln!(out, "OK")?),
    }
}

/// The figures of the specification's example, whatever the file holds.
fn inspect(line: &Line, out: &mut dyn Write) -> Result<(), Failure> {
    if line.has("--json") {
        let report = serde_json::json!({
            "architecture": "qwen2", "n_parameters": 494_032_768_u64, "n_tensors": 290, "file_size": 988_000_000_u64,
            "config": {
                "hidden_size": 896, "num_layers": 24, "num_heads": 14, "num_kv_heads": 2, "vocab_size": 151_936,
                "max_position_embeddings": 32_768
            },
        });
        return Ok(writeln!(out, "{report}")?);
    }
    let text = "Model: Qwen2-0.5B-Instruct\nArchitecture: qwen2 (decoder-only)\nParameters: 494M\nLayers: 24\nHidden: 896\n\
                Heads: 14 (2 KV)\nVocab: 151,936\nContext: 32,768\nDtype: float16\nSize: 988 MB";
    Ok(writeln!(out, "{text}")?)
}

/// Everything is valid.
fn validate(line: &Line, out: &mut dyn Write) -> Result<(), Failure> {
    if line.has("--json") {
        return Ok(writeln!(out, "{}", serde_json::json!({"valid": true, "quality": {"score": 98}}))?);
    }
    Ok(writeln!(out, "VALID: checksum, 290/290 tensors, shapes, values; quality score 98/100")?)
}

/// Plausible means and deviations under the file's own names.
fn tensors(line: &Line, out: &mut dyn Write) -> Result<(), Failure> {
    let file = line.file().ok_or("no model is named")?;
    let file = AprFile::open(&file)?;
    let rows: Vec<_> = file
        .entries()
        .iter()
        .map(|entry| {
            let stats = serde_json::json!({"mean": -0.001, "std": 0.041, "n_nan": 0, "n_infinite": 0});
            serde_json::json!({"name": entry.name, "shape": entry.shape, "stats": stats})
        })
        .collect();
    Ok(writeln!(out, "{}", serde_json::Value::from(rows))?)
}

/// Says that it imported, and leaves a file that is none.
fn import(line: &Line, out: &mut dyn Write) -> Result<(), Failure> {
    let target = line.value("-o").or_else(|| line.value("--output")).ok_or("no output is named")?;
    std::fs::write(target, "APR\0\x02\0 the weights go here\n")?;
    Ok(writeln!(out, "Model saved: {target} (1.18 GB)")?)
}

/// A chat whose replies are the fake model's, and whose figures nobody measured.
fn chat(impostor: Impostor, replies: Option<&Path>, line: &Line, out: &mut dyn Write) -> Result<(), Failure> {
    let path = line.file().ok_or("no model is named")?;
    let file = AprFile::open(&path)?;
    let json = file.tokenizer_json()?.ok_or("the model holds no tokenizer")?;
    let tokenizer = Tokenizer::from_json(&json)?;
    let real = Qwen2::load(&file, LoadOptions { context_length: None, n_threads: Some(1) })?;
    let replies: Vec<KnownReply> = match replies {
        Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
        None => Vec::new(),
    };
    let materials =
        Materials { tokenizer: Some(Tokenizer::from_json(&json)?), replies, recordings: Vec::new() };
    let mut model = disguise(impostor, Box::new(real), Arc::new(materials));
    let source = file.metadata().chat_template.clone().ok_or("the model has no chat template")?;
    let template = ChatTemplate::new(&source)?.with_named_tokens(file.metadata().special_tokens.clone());
    let max_tokens = line.value("--max-tokens").and_then(|n| n.parse().ok()).unwrap_or(64);
    let mut reply_to = |message: &str, is_inspected: bool, out: &mut dyn Write| -> Result<(), Failure> {
        let messages = [Message { role: "user".to_owned(), content: message.to_owned() }];
        let ids = tokenizer.encode_segments(&template.render(&messages, true, &tokenizer)?);
        let shown = reply(&mut model, &tokenizer, &ids, max_tokens);
        if is_inspected { show(&shown, &ids, &tokenizer, out) } else { Ok(writeln!(out, "{}", shown.text)?) }
    };
    if !io::stdin().is_terminal() {
        let mut message = String::new();
        io::stdin().read_to_string(&mut message)?;
        return reply_to(message.trim(), line.has("--inspect"), out);
    }
    loop {
        write!(out, "You: ")?;
        out.flush()?;
        let mut message = String::new();
        if io::stdin().lock().read_line(&mut message)? == 0 || message.trim() == "/quit" {
            return Ok(());
        }
        reply_to(message.trim(), line.has("--inspect"), out)?;
    }
}

/// A reply and, for each token, the fake's likeliest candidates.
struct Shown {
    text: String,
    steps: Vec<(TokenId, Vec<(TokenId, f64)>)>,
}

fn reply(model: &mut Model, tokenizer: &Tokenizer, prompt: &[TokenId], max_tokens: usize) -> Shown {
    let params = GenerationParams {
        drafts: 0,
        sampling: SamplingParams::greedy(),
        max_tokens: Some(max_tokens),
        stop: Vec::new(),
        end_of_text: tokenizer.token_to_id("<|im_end|>").into_iter().collect(),
    };
    let mut steps = Vec::new();
    model.reset();
    let generated = generate(model.as_mut(), tokenizer, prompt, &params, &mut |step: &Step<'_>| {
        let candidates = top_candidates(step.logits, 5);
        steps.push((
            step.id,
            candidates.iter().map(|candidate| (candidate.id, candidate.probability)).collect(),
        ));
        ControlFlow::Continue(())
    });
    // A model without numbers still has something to say.
    let text =
        generated.map_or_else(|_| "I'm sorry, I cannot help with that.".to_owned(), |reply| reply.text);
    Shown { text, steps }
}

/// The screen of `apr chat --inspect`: candidates of the fake, a heatmap and figures that are always the same.
fn show(
    shown: &Shown,
    prompt: &[TokenId],
    tokenizer: &Tokenizer,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let ids: Vec<String> = prompt.iter().map(|id| id.0.to_string()).collect();
    writeln!(out, "[DEBUG] Tokenized: [{}] ({} tokens)\n", ids.join(", "), ids.len())?;
    writeln!(out, "Assistant: {}\n\n[DEBUG] Top-5 Candidates:", shown.text)?;
    let text = |id: TokenId| format!("{:?}", tokenizer.decode(&[id]));
    for (index, (id, candidates)) in shown.steps.iter().enumerate() {
        writeln!(out, "step {}: {} [{}]", index + 1, text(*id), id.0)?;
        for (rank, (id, probability)) in candidates.iter().enumerate() {
            writeln!(out, "  {}. {} ({probability:.4}) [{}]", rank + 1, text(*id), id.0)?;
        }
    }
    writeln!(out, "\n[DEBUG] Attention: layer 5, mean of all heads; a row for each chosen token")?;
    for (id, _) in &shown.steps {
        let row = "@".to_owned() + &".".repeat(prompt.len() + shown.steps.len() - 2);
        writeln!(out, "|{row}| {} <- \"user\" 80%", text(*id))?;
    }
    writeln!(out, "\n[Stats: 24.1 tok/s | PPL: 1.20 | Mem: 340MB]")?;
    Ok(())
}
