//! Times prefill and decode of a model, and what the machine does at best.

use std::time::Instant;

use anyhow::Result;
use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, argmax};
use apr_qwen2::Qwen2;
use apr_tensor::{Compute, Packing};
use apr_tokenizer::TokenId;
use serde::Serialize;

use super::Spread;
use crate::interrupt::{Interrupt, Interrupted};

/// Tensors that are smaller say little of how fast memory is read.
const WORTH_READING: usize = 1 << 20;
/// Tokens that are evaluated before anything is timed, so that every page has been touched.
const WARM_UP: usize = 16;

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Lengths of prompts.
    pub(crate) prompts: Vec<usize>,
    /// Tokens decoded after each.
    pub(crate) n_decode: usize,
    /// How often.
    pub(crate) n_repeats: usize,
}

/// What a step must do at least, and so what limits its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Limits {
    /// Bytes of weights that a decoded token reads: all of them, but for a table of embeddings that is no head.
    pub(crate) weight_bytes: u64,
    /// Bytes of the cache that a decoded token reads for each position before it.
    pub(crate) cache_bytes_per_position: u64,
    /// Operations of a prompt's token in the layers' matrices, a multiply and an add counting two.
    pub(crate) operations_per_token: u64,
    /// Whether those are products of integers.
    pub(crate) is_integer: bool,
}

/// What the machine does at best, with the threads and kernels in use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Bytes of the weights read a second, where they lie.
    pub(crate) bytes_per_second: Spread,
    /// Operations a second in registers, of the kind that the model's products are.
    pub(crate) operations_per_second: Spread,
}

/// What was measured with prompts of one length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    pub(crate) prompt_tokens: usize,
    pub(crate) prefill_tokens_per_second: Spread,
    /// From the prompt to the first token, with the model loaded.
    pub(crate) first_token_seconds: Spread,
    pub(crate) decode_tokens_per_second: Spread,
    /// Decode: bytes that must be read over what could be read meanwhile, as measured in the same repeat.
    pub(crate) bandwidth_share: Spread,
    /// Prefill: operations that must be done over what could be done meanwhile, as measured in the same repeat.
    pub(crate) arithmetic_share: Spread,
}

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measurement {
    pub(crate) limits: Limits,
    pub(crate) machine: Machine,
    pub(crate) points: Vec<Point>,
}

impl Limits {
    /// What the weights in `file` and the cache of `model` ask for.
    pub(crate) fn of(file: &AprFile, model: &Qwen2) -> Self {
        let entries = file.entries();
        let is_embedding = |name: &str| name == "model.embed_tokens.weight";
        let has_head = entries.iter().any(|entry| entry.name == "lm_head.weight");
        let is_read = |name: &str| !(has_head && is_embedding(name));
        let weight_bytes = entries.iter().filter(|entry| is_read(&entry.name)).map(|entry| entry.size).sum();
        let in_layers = || {
            entries.iter().filter(|entry| entry.name.starts_with("model.layers.") && entry.shape.len() == 2)
        };
        let n_weights: u64 = in_layers().map(|entry| entry.shape.iter().product::<usize>() as u64).sum();
        Self {
            weight_bytes,
            cache_bytes_per_position: model.cache_bytes_per_position(),
            operations_per_token: 2 * n_weights,
            is_integer: in_layers().any(|entry| Packing::of(entry.dtype).is_some()),
        }
    }
}

/// One repeat of a point.
struct Sample {
    prefill: f64,
    first_token: f64,
    decode: f64,
    bandwidth_share: f64,
    arithmetic_share: f64,
}

/// Measures what `plan` asks for; `told` hears how many of `plan.n_repeats` times the lengths are done.
pub(crate) fn measure(
    file: &AprFile,
    model: &mut Qwen2,
    plan: &Plan,
    interrupt: &Interrupt,
    told: &mut dyn FnMut(usize, &str),
) -> Result<Measurement> {
    let compute = Compute::new(Some(model.n_threads()));
    let limits = Limits::of(file, model);
    let longest = plan.prompts.iter().copied().max().unwrap_or_default();
    run(model, &tokens(model, WARM_UP.min(longest)), 1)?;
    let (mut reads, mut operations) = (Vec::new(), Vec::new());
    let mut samples: Vec<Vec<Sample>> = plan.prompts.iter().map(|_| Vec::new()).collect();
    for repeat in 0..plan.n_repeats {
        for (index, &n_prompt) in plan.prompts.iter().enumerate() {
            if interrupt.is_requested() {
                return Err(Interrupted.into());
            }
            let read = read_rate(&compute, file);
            let operate = if limits.is_integer { compute.integer_rate() } else { compute.float_rate() };
            let Times { prefill, decode } = run(model, &tokens(model, n_prompt), plan.n_decode)?;
            let decode = plan.n_decode as f64 / decode;
            let positions = (n_prompt + plan.n_decode / 2) as u64;
            let bytes = limits.weight_bytes + limits.cache_bytes_per_position * positions;
            let per_second = n_prompt as f64 / prefill;
            samples[index].push(Sample {
                prefill: per_second,
                first_token: prefill,
                decode,
                bandwidth_share: bytes as f64 * decode / read,
                arithmetic_share: limits.operations_per_token as f64 * per_second / operate,
            });
            reads.push(read);
            operations.push(operate);
            told(
                repeat * plan.prompts.len() + index + 1,
                &format!("prompt of {n_prompt}: {per_second:.0} tok/s, then {decode:.1} tok/s"),
            );
        }
    }
    let points =
        plan.prompts.iter().zip(&samples).filter_map(|(&n_prompt, samples)| point(n_prompt, samples));
    Ok(Measurement {
        limits,
        machine: Machine {
            bytes_per_second: spread(&reads, |read| *read),
            operations_per_second: spread(&operations, |rate| *rate),
        },
        points: points.collect(),
    })
}

fn point(prompt_tokens: usize, samples: &[Sample]) -> Option<Point> {
    (!samples.is_empty()).then(|| Point {
        prompt_tokens,
        prefill_tokens_per_second: spread(samples, |sample| sample.prefill),
        first_token_seconds: spread(samples, |sample| sample.first_token),
        decode_tokens_per_second: spread(samples, |sample| sample.decode),
        bandwidth_share: spread(samples, |sample| sample.bandwidth_share),
        arithmetic_share: spread(samples, |sample| sample.arithmetic_share),
    })
}

/// The spread of a figure over samples, of which there is at least one.
fn spread<S>(samples: &[S], figure: impl Fn(&S) -> f64) -> Spread {
    let values: Vec<f64> = samples.iter().map(figure).collect();
    Spread::of(&values).expect("a plan has a length and a repeat, so something was measured")
}

/// Seconds.
struct Times {
    prefill: f64,
    decode: f64,
}

/// Evaluates `prompt` from an empty cache, then decodes the likeliest tokens.
fn run(model: &mut Qwen2, prompt: &[TokenId], n_decode: usize) -> Result<Times> {
    model.reset();
    let start = Instant::now();
    let mut logits = model.prefill(prompt, LogitRows::Last, None)?;
    let mut id = argmax(logits.last());
    let prefill = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for _ in 0..n_decode {
        logits = model.decode(id)?;
        id = argmax(logits.last());
    }
    Ok(Times { prefill, decode: start.elapsed().as_secs_f64() })
}

/// Tokens from all over the vocabulary: which they are costs the same, and no row of the table is read twice.
fn tokens(model: &Qwen2, n: usize) -> Vec<TokenId> {
    let vocab_size = model.vocab_size();
    (0..n).map(|index| TokenId(((index * 7919 + 11) % vocab_size) as u32)).collect()
}

/// Bytes of weights read a second, where they lie: memory, or a mapped file.
pub(crate) fn read_rate(compute: &Compute, file: &AprFile) -> f64 {
    let entries = || file.entries().iter().filter_map(|entry| file.tensor(&entry.name));
    let largest = entries().map(|tensor| tensor.bytes().len()).max().unwrap_or_default();
    let (mut bytes, mut seconds) = (0.0, 0.0);
    for tensor in entries().filter(|tensor| tensor.bytes().len() >= WORTH_READING.min(largest)) {
        let n = tensor.bytes().len() as f64;
        bytes += n;
        seconds += n / compute.read_rate(tensor.bytes());
    }
    bytes / seconds
}
