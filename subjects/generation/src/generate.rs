//! Autoregressive generation: a prompt in, tokens out one step at a time, until something says stop.

use std::mem;
use std::ops::ControlFlow;

use apr_tokenizer::{TokenId, Tokenizer};
use thiserror::Error;

use crate::distribution::log_probability;
use crate::drafts::PromptLookup;
use crate::stop::StopMatcher;
use crate::{
    CausalLm, LogitRows, Logits, ModelError, NotANumber, Probe, Sampler, SamplingParamError, SamplingParams,
};

/// What to generate and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationParams {
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens to generate; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Strings that end the reply; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the reply; they are not part of it.
    pub end_of_text: Vec<TokenId>,
    /// Tokens that are guessed from what came before and verified in one pass, at most [`MAX_DRAFTS`]. The reply is the
    /// same for any number; it pays where further rows of a pass are cheap, as with packed weights.
    pub drafts: usize,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model chose an end-of-text token.
    EndOfText,
    /// A stop string appeared.
    Stop,
    /// The maximum length was reached.
    Length,
    /// The observer asked to stop.
    Cancelled,
}

/// One generated token.
#[derive(Debug)]
pub struct Step<'a> {
    /// The token chosen; the last step's may be an end-of-text token.
    pub id: TokenId,
    /// Text that became sure with this token: whole characters, no part of a stop string; often empty.
    pub text: &'a str,
    /// The logits the token was chosen from, `[vocab_size]`.
    pub logits: &'a [f32],
    /// The token's log-probability in nats, before any filter or temperature.
    pub log_probability: f64,
}

/// Watches a generation and may end it.
pub trait Observer {
    /// Called after each token; `Break` cancels before the next.
    fn on_step(&mut self, step: &Step<'_>) -> ControlFlow<()>;

    /// A probe for the forward passes, if wanted.
    fn probe(&mut self) -> Option<&mut dyn Probe> {
        None
    }

    /// Asked before each forward pass; `true` cancels.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl<F: FnMut(&Step<'_>) -> ControlFlow<()>> Observer for F {
    fn on_step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        self(step)
    }
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The tokens of the reply, without the end-of-text token.
    pub ids: Vec<TokenId>,
    /// The reply.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// Sum of the log-probabilities of every token chosen, the end-of-text token included.
    pub log_probability: f64,
    /// Number of tokens in that sum.
    pub n_chosen: usize,
}

impl Generation {
    /// `exp` of the mean negative log-probability of the tokens chosen; `None` when there were none.
    pub fn perplexity(&self) -> Option<f64> {
        (self.n_chosen > 0).then(|| (-self.log_probability / self.n_chosen as f64).exp())
    }
}

/// Why nothing could be generated.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GenerationError {
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingParamError),
    /// The model refused the call.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The logits hold a NaN.
    #[error(transparent)]
    NotANumber(#[from] NotANumber),
}

/// Positions a prompt is evaluated in at a time, so that a cancellation is seen soon.
const PREFILL_CHUNK: usize = 128;

/// Tokens that a reply is given room for at once; a longer one makes its own.
const ROOM: usize = 1024;

/// Bytes of text that a token comes to, as it does in English.
const BYTES_PER_TOKEN: usize = 4;

/// Generates a reply to `prompt`, the whole sequence so far; the model starts from an empty cache.
///
/// A prompt that, with `max_tokens`, does not fit the context is refused before anything is computed.
pub fn generate(
    model: &mut dyn CausalLm,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    params: &GenerationParams,
    observer: &mut dyn Observer,
) -> Result<Generation, GenerationError> {
    generate_after(0, model, tokenizer, prompt, params, observer)
}

/// [`generate`] over a cache that holds the first `n_kept` tokens of `prompt` already, as after the last turn of a
/// conversation: only the rest is evaluated, at least one token, and the reply is the same.
pub fn generate_after(
    n_kept: usize,
    model: &mut dyn CausalLm,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    params: &GenerationParams,
    observer: &mut dyn Observer,
) -> Result<Generation, GenerationError> {
    let mut sampler = Sampler::new(params.sampling.clone())?;
    let n_kept = n_kept.min(model.position()).min(prompt.len().saturating_sub(1));
    model.truncate(n_kept);
    let context_length = model.context_length();
    let room = context_length.saturating_sub(prompt.len());
    let max_tokens = params.max_tokens.unwrap_or(room);
    model.check_room(prompt.len().saturating_add(max_tokens))?;

    let mut decoder = tokenizer.decoder().skip_control();
    let mut stops = StopMatcher::new(&params.stop);
    let mut history = prompt.to_vec();
    let mut reply = Generation {
        ids: Vec::with_capacity(max_tokens.min(ROOM)),
        text: String::with_capacity(max_tokens.min(ROOM) * BYTES_PER_TOKEN),
        finish: FinishReason::Length,
        log_probability: 0.0,
        n_chosen: 0,
    };
    let Some(logits) = prefill(model, &prompt[n_kept..], observer)? else {
        reply.finish = FinishReason::Cancelled;
        return Ok(reply);
    };
    let mut ahead = Ahead { row: logits.n_rows() - 1, logits, drafts: Vec::new() };
    let mut lookup = PromptLookup::new(params.drafts);
    while reply.ids.len() < max_tokens {
        let logits = ahead.logits.row(ahead.row);
        let id = sampler.sample(logits, &history)?;
        let log_probability = log_probability(logits, id);
        reply.log_probability += log_probability;
        reply.n_chosen += 1;
        let ended = params.end_of_text.contains(&id);
        let (mut released, mut stopped) = (String::new(), false);
        if !ended {
            reply.ids.push(id);
            history.push(id);
            let part = stops.push(&decoder.push(id));
            (released, stopped) = (part.text, part.stopped);
        }
        let is_last = ended || stopped || reply.ids.len() == max_tokens;
        if is_last && !stopped {
            let part = stops.push(&mem::replace(&mut decoder, tokenizer.decoder()).finish());
            released.push_str(&part.text);
            stopped = part.stopped;
            if !stopped {
                released.push_str(&stops.finish());
            }
        }
        reply.text.push_str(&released);
        let flow = observer.on_step(&Step { id, text: &released, logits, log_probability });
        let is_cancelled = !is_last && (flow.is_break() || observer.is_cancelled());
        if is_last || is_cancelled {
            // Of what was drafted, the cache keeps what was chosen before this token.
            model.truncate(model.position() - ahead.n_unverified());
        }
        if ended || stopped {
            reply.finish = if stopped { FinishReason::Stop } else { FinishReason::EndOfText };
            return Ok(reply);
        }
        if is_last {
            break;
        }
        if is_cancelled {
            let rest = stops.push(&mem::replace(&mut decoder, tokenizer.decoder()).finish());
            reply.text.push_str(&rest.text);
            reply.text.push_str(&stops.finish());
            reply.finish = FinishReason::Cancelled;
            return Ok(reply);
        }
        if ahead.drafts.get(ahead.row) == Some(&id) {
            ahead.row += 1;
            continue;
        }
        model.truncate(model.position() - ahead.n_unverified());
        if !ahead.drafts.is_empty() {
            lookup.learn(ahead.row);
        }
        if let Some(probe) = observer.probe() {
            let logits = model.prefill(&[id], LogitRows::Last, Some(probe))?;
            ahead = Ahead { logits, row: 0, drafts: Vec::new() };
            continue;
        }
        // The last token is chosen after a pass, not evaluated.
        let drafts = lookup.guess(&history, max_tokens - reply.ids.len() - 1);
        ahead = Ahead { logits: ahead_of(model, id, &drafts)?, row: 0, drafts };
    }
    Ok(reply)
}

/// Logits from which tokens are chosen one after the other, as long as what was drafted is chosen.
struct Ahead {
    logits: Logits,
    /// The row that the next token is chosen from: how many drafts were right so far.
    row: usize,
    /// Row `r + 1` holds after draft `r`.
    drafts: Vec<TokenId>,
}

impl Ahead {
    /// Drafts that are in the model's cache and were not chosen.
    fn n_unverified(&self) -> usize {
        self.drafts.len().saturating_sub(self.row)
    }
}

/// The logits after `id`, and after each of the drafts behind it.
fn ahead_of(model: &mut dyn CausalLm, id: TokenId, drafts: &[TokenId]) -> Result<Logits, ModelError> {
    if drafts.is_empty() {
        return model.decode(id);
    }
    let ids: Vec<TokenId> = std::iter::once(id).chain(drafts.iter().copied()).collect();
    model.prefill(&ids, LogitRows::All, None)
}

/// Evaluates the prompt in chunks; `None` when cancelled in between.
fn prefill(
    model: &mut dyn CausalLm,
    prompt: &[TokenId],
    observer: &mut dyn Observer,
) -> Result<Option<Logits>, ModelError> {
    let mut logits = None;
    for chunk in prompt.chunks(PREFILL_CHUNK) {
        if observer.is_cancelled() {
            return Ok(None);
        }
        logits = Some(model.prefill(chunk, LogitRows::Last, observer.probe())?);
    }
    logits.map(Some).ok_or(ModelError::EmptyPrompt)
}
