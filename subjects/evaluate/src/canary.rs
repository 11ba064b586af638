//! Canaries: what a model said once, kept so that later runs are held to it.
//!
//! A canary holds some prompts as text and as tokens, the likeliest reply to each with the log-probability of every
//! token, and how fast they came. Checking it evaluates the *recorded* tokens, so that three changes are told apart: a
//! tokenizer that cuts the texts into other tokens, a model that gives the recorded replies other
//! probabilities, and a machine, or a program, that is slower.

use std::time::Instant;

use apr_generation::{CausalLm, LogitRows, Logits, ModelError, argmax, log_probability};
use apr_tokenizer::{TokenId, Tokenizer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Layout of the file this version writes and reads.
pub const CANARY_VERSION: u32 = 1;

/// Nats that a log-probability may be off by. Other kernels, which sum in another order, stay far below it; a model with 8
/// bits instead of 16 does not.
pub const TOLERANCE: f64 = 0.02;

/// Prompts for who has none: prose, code, numbers, and letters beyond ASCII, a line each.
pub const CANARY_PROMPTS: &str = include_str!("../texts/canary-prompts.txt");

/// What a model said once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// [`CANARY_VERSION`].
    pub version: u32,
    /// Root hash of the model's file.
    pub root_hash: String,
    /// Nats that a log-probability may be off by.
    pub tolerance: f64,
    /// What was said to what.
    pub cases: Vec<Case>,
    /// How fast.
    pub speed: Speed,
}

/// A prompt and the reply to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The prompt.
    pub prompt: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The likeliest reply, token by token.
    pub reply: Vec<u32>,
    /// The log-probability of each token of the reply, in nats.
    pub log_probabilities: Vec<f64>,
}

/// How fast replies came, and how fast the machine was then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Tokens of replies a second.
    pub decode_tokens_per_second: f64,
    /// Bytes of the weights that the machine reads a second.
    pub bytes_per_second: f64,
}

/// Why there is no canary, or none to be held to.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CanaryError {
    /// There is no prompt.
    #[error("there is no prompt\nhint: write one prompt a line")]
    NoPrompt,
    /// A prompt says nothing.
    #[error("prompt {index} (`{prompt}`) has no token\nhint: give prompts that say something")]
    Empty {
        /// Which, from 1.
        index: usize,
        /// Its text.
        prompt: String,
    },
    /// A file says what cannot be.
    #[error("{what}\nhint: make it anew with `apr canary create`")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// The model refused a prompt.
    #[error("failed to evaluate prompt {index}: {source}")]
    Model {
        /// Which, from 1.
        index: usize,
        /// Why.
        source: ModelError,
    },
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// What differs from a canary, each aspect by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Prompts that are cut into other tokens.
    pub tokenizer: Vec<TokenizerChange>,
    /// Prompts whose replies have other probabilities.
    pub model: Vec<ModelChange>,
    /// Greatest difference of a log-probability, in nats, over all that was compared.
    pub greatest_difference: f64,
    /// Tokens that were compared.
    pub n_compared: usize,
    /// Tokens of replies a second.
    pub decode_tokens_per_second: f64,
}

/// A prompt that is cut into other tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenizerChange {
    /// Which prompt, from 1.
    pub prompt: usize,
    /// The first token that differs, from 0.
    pub token: usize,
    /// What it was; `None` when there are more now.
    pub expected: Option<u32>,
    /// What it is; `None` when there are fewer now.
    pub found: Option<u32>,
}

/// A reply that has other probabilities.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelChange {
    /// Which prompt, from 1.
    pub prompt: usize,
    /// The first token of the reply that differs, from 0.
    pub token: usize,
    /// Its log-probability then, in nats.
    pub expected: f64,
    /// Its log-probability now.
    pub found: f64,
    /// The token that is likelier now by more than the tolerance, where there is one.
    pub likelier: Option<u32>,
}

/// Hears that another prompt is done: how many of how many. Returns whether to go on.
pub type Told<'a> = &'a mut dyn FnMut(usize, usize) -> bool;

/// Lets `model` reply to `prompts` with `n_tokens` likeliest tokens each, end-of-text tokens like any other.
/// Returns the cases and the tokens of replies a second.
pub fn record(
    model: &mut dyn CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[String],
    n_tokens: usize,
    told: Told<'_>,
) -> Result<(Vec<Case>, f64), CanaryError> {
    if prompts.is_empty() {
        return Err(CanaryError::NoPrompt);
    }
    let mut clock = Clock::default();
    let mut cases = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.iter().enumerate() {
        let failed = |source| CanaryError::Model { index: index + 1, source };
        let ids = tokenizer.encode(prompt);
        if ids.is_empty() {
            return Err(CanaryError::Empty { index: index + 1, prompt: prompt.clone() });
        }
        model.check_room(ids.len().saturating_add(n_tokens)).map_err(failed)?;
        model.reset();
        let mut logits = model.prefill(&ids, LogitRows::Last, None).map_err(failed)?;
        let mut reply = Vec::with_capacity(n_tokens);
        let mut log_probabilities = Vec::with_capacity(n_tokens);
        while reply.len() < n_tokens {
            let id = argmax(logits.last());
            reply.push(id.0);
            log_probabilities.push(log_probability(logits.last(), id));
            if reply.len() < n_tokens {
                logits = clock.decode(model, id).map_err(failed)?;
            }
        }
        let ids = ids.iter().map(|id| id.0).collect();
        cases.push(Case { prompt: prompt.clone(), ids, reply, log_probabilities });
        if !told(index + 1, prompts.len()) {
            return Err(CanaryError::Cancelled);
        }
    }
    Ok((cases, clock.tokens_per_second()))
}

/// Holds `model` and `tokenizer` to `canary`.
pub fn check(
    model: &mut dyn CausalLm,
    tokenizer: &Tokenizer,
    canary: &Canary,
    told: Told<'_>,
) -> Result<Verdict, CanaryError> {
    canary.check_form(model.vocab_size())?;
    let mut verdict = Verdict::default();
    let mut clock = Clock::default();
    for (index, case) in canary.cases.iter().enumerate() {
        let now: Vec<u32> = tokenizer.encode(&case.prompt).iter().map(|id| id.0).collect();
        if let Some(token) = first_difference(&case.ids, &now) {
            let (expected, found) = (case.ids.get(token).copied(), now.get(token).copied());
            verdict.tokenizer.push(TokenizerChange { prompt: index + 1, token, expected, found });
        }
        let failed = |source| CanaryError::Model { index: index + 1, source };
        model.check_room(case.ids.len().saturating_add(case.reply.len())).map_err(failed)?;
        model.reset();
        let ids: Vec<TokenId> = case.ids.iter().copied().map(TokenId).collect();
        let mut logits = model.prefill(&ids, LogitRows::Last, None).map_err(failed)?;
        let mut change = None;
        for (token, (&id, &expected)) in case.reply.iter().zip(&case.log_probabilities).enumerate() {
            if token > 0 {
                logits = clock.decode(model, TokenId(case.reply[token - 1])).map_err(failed)?;
            }
            let found = log_probability(logits.last(), TokenId(id));
            let best = argmax(logits.last());
            // Whichever of two that are as likely comes first is no change.
            let is_overtaken =
                best.0 != id && log_probability(logits.last(), best) - found > canary.tolerance;
            let difference = (found - expected).abs();
            verdict.n_compared += 1;
            // A NaN is as different as can be.
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            verdict.greatest_difference = verdict.greatest_difference.max(difference);
            if change.is_none() && (difference > canary.tolerance || is_overtaken) {
                let likelier = is_overtaken.then_some(best.0);
                change = Some(ModelChange { prompt: index + 1, token, expected, found, likelier });
            }
        }
        verdict.model.extend(change);
        if !told(index + 1, canary.cases.len()) {
            return Err(CanaryError::Cancelled);
        }
    }
    verdict.decode_tokens_per_second = clock.tokens_per_second();
    Ok(verdict)
}

impl Canary {
    /// Reads a canary from JSON.
    pub fn from_json(text: &[u8]) -> Result<Self, CanaryError> {
        let malformed = |what: String| CanaryError::Malformed { what };
        let canary: Self =
            serde_json::from_slice(text).map_err(|error| malformed(format!("it is no canary: {error}")))?;
        if canary.version != CANARY_VERSION {
            return Err(malformed(format!(
                "it is of version {}, this program knows version {CANARY_VERSION}",
                canary.version
            )));
        }
        Ok(canary)
    }

    /// Refuses what no model of `vocab_size` tokens can be held to.
    fn check_form(&self, vocab_size: usize) -> Result<(), CanaryError> {
        let malformed = |what: String| Err(CanaryError::Malformed { what });
        if self.cases.is_empty() {
            return malformed("it has no case, so it can find nothing".to_owned());
        }
        if !self.tolerance.is_finite() || self.tolerance < 0.0 {
            return malformed(format!("its tolerance is {}", self.tolerance));
        }
        for (index, case) in self.cases.iter().enumerate() {
            let index = index + 1;
            if case.ids.is_empty() || case.reply.is_empty() {
                return malformed(format!("case {index} has no prompt or no reply"));
            }
            if case.reply.len() != case.log_probabilities.len() {
                return malformed(format!(
                    "case {index} has {} tokens in its reply and {} log-probabilities",
                    case.reply.len(),
                    case.log_probabilities.len()
                ));
            }
            if let Some(id) = case.ids.iter().chain(&case.reply).find(|&&id| id as usize >= vocab_size) {
                return malformed(format!("case {index} has token {id}; the model has {vocab_size} tokens"));
            }
        }
        Ok(())
    }
}

fn first_difference(a: &[u32], b: &[u32]) -> Option<usize> {
    (0..a.len().max(b.len())).find(|&index| a.get(index) != b.get(index))
}

/// Times decoded tokens.
#[derive(Default)]
struct Clock {
    n: usize,
    seconds: f64,
}

impl Clock {
    fn decode(&mut self, model: &mut dyn CausalLm, id: TokenId) -> Result<Logits, ModelError> {
        let start = Instant::now();
        let logits = model.decode(id);
        self.seconds += start.elapsed().as_secs_f64();
        self.n += 1;
        logits
    }

    /// 0 when nothing was decoded.
    fn tokens_per_second(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.n as f64 / self.seconds }
    }
}
