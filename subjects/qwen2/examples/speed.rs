//! Times prefill and decode of a model: `speed MODEL.apr [PROMPT_TOKENS] [DECODE_TOKENS] [THREADS] [mapped|memory]`.
//!
//! Prints one JSON object; `scripts/compare_pytorch_speed.py` takes turns with it. Each decoded token is the likeliest.
#![expect(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, argmax};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::TokenId;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: usize| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let path = arguments.get(1).ok_or("usage: speed MODEL.apr [PROMPT_TOKENS] [DECODE_TOKENS] [THREADS]")?;
    let (n_prompt, n_decode) = (number(2, 512)?, number(3, 64)?);
    let n_threads = number(4, std::thread::available_parallelism()?.get())?;

    let start = Instant::now();
    let file = AprFile::open_verified(Path::new(path))?;
    let file = match arguments.get(5).map_or("mapped", String::as_str) {
        "mapped" => file,
        "memory" => file.to_memory()?,
        other => return Err(format!("`{other}` is neither `mapped` nor `memory`").into()),
    };
    let options = LoadOptions { context_length: Some(n_prompt + n_decode), n_threads: Some(n_threads) };
    let mut model = Qwen2::load(&file, options)?;
    let load_seconds = start.elapsed().as_secs_f64();

    // Spread over the vocabulary, so that no embedding row is read twice.
    let n_tokens = model.vocab_size();
    let ids: Vec<TokenId> = (0..n_prompt).map(|i| TokenId(((i * 7919 + 11) % n_tokens) as u32)).collect();
    let start = Instant::now();
    let mut logits = model.prefill(&ids, LogitRows::Last, None)?;
    let prefill_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    for _ in 0..n_decode {
        logits = model.decode(argmax(logits.last()))?;
    }
    let decode_seconds = start.elapsed().as_secs_f64();
    println!(
        "{{\"load_seconds\": {load_seconds:.3}, \"prefill_tokens_per_second\": {:.2}, \
         \"decode_tokens_per_second\": {:.2}, \"threads\": {}, \"kernels\": \"{}\"}}",
        n_prompt as f64 / prefill_seconds,
        n_decode as f64 / decode_seconds,
        model.n_threads(),
        model.kernels()
    );
    Ok(())
}
