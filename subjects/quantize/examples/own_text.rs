//! Continues openings with a model's own samples: `own_text MODEL.apr OPENINGS.txt TOKENS > TEXT`.
//!
//! What a model writes at temperature 1 is spread as what it was trained on, so its own text is a fair sample to calibrate
//! it with where no corpus is at hand (Williams, Chrysostomou and Aletras 2024, "Self-calibration for language model
//! quantization and pruning"). An opening is a line; `\n` in it is a line break. Every opening has its own seed, so the
//! same model gives the same text.
#![expect(clippy::print_stdout, reason = "its result")]
#![expect(clippy::print_stderr, reason = "how far it is")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use apr_format::AprFile;
use apr_generation::{GenerationParams, SamplingParams, Step, generate};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::{TokenId, Tokenizer};

/// Keeps the unlikeliest tenth of a thousand out: one such token makes everything behind it nonsense.
const TOP_P: f32 = 0.98;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, openings, n_tokens] = &arguments[..] else {
        return Err("usage: own_text MODEL.apr OPENINGS.txt TOKENS > TEXT".into());
    };
    let n_tokens: usize = n_tokens.parse()?;
    let file = AprFile::open_verified(Path::new(model))?;
    let json = file.tokenizer_json()?.ok_or("the model has no tokenizer")?;
    let tokenizer = Tokenizer::from_json(&json)?;
    let ends: Vec<TokenId> =
        ["<|im_end|>", "<|endoftext|>"].iter().filter_map(|text| tokenizer.token_to_id(text)).collect();
    let mut model =
        Qwen2::load(&file, LoadOptions { context_length: Some(n_tokens + 256), n_threads: None })?;
    let openings = std::fs::read_to_string(openings)?;
    for (index, line) in openings.lines().enumerate() {
        let opening = line.replace("\\n", "\n");
        let prompt = tokenizer.encode_with_control(&opening);
        let params = GenerationParams {
            sampling: SamplingParams {
                temperature: 1.0,
                top_p: TOP_P,
                seed: index as u64,
                ..SamplingParams::greedy()
            },
            max_tokens: Some(n_tokens.saturating_sub(prompt.len())),
            stop: Vec::new(),
            end_of_text: Vec::clone(&ends),
            drafts: 0,
        };
        let reply =
            generate(
                &mut model,
                &tokenizer,
                &prompt,
                &params,
                &mut |_: &Step<'_>| ControlFlow::Continue(()),
            )?;
        println!("{opening}{}\n", reply.text);
        eprintln!("{index}: {} tokens", prompt.len() + reply.ids.len());
    }
    Ok(())
}
