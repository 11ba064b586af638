//! Whole fakes of the stack, which the engine must catch: as models, as the `apr` program, and as a server.
//!
//! Nothing in the product depends on this crate. The specification was written because an earlier demo answered from a
//! list of phrases; that demo is here, and so are cleverer ones. A claim about behaviour that any of them passes proves
//! nothing about the real stack.
#![cfg_attr(
    any(),
    probador::allow(
        G7,
        reason = "a fake is what this crate is for: the engine must catch it by what it does"
    )
)]
#![forbid(unsafe_code)]

mod canned;
mod fake;

use std::collections::BTreeMap;

use apr_generation::TensorKey;
use apr_tokenizer::{TokenId, Tokenizer};
use serde::{Deserialize, Serialize};

pub use canned::canned_reply;
pub use fake::{Model, disguise};

/// A whole subject that is fake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impostor {
    /// The demo of the specification: looks for words in the prompt and gives a written reply.
    CannedReplies,
    /// Gives every position the same logits.
    ConstantLogits,
    /// Gives logits that are not numbers.
    NanLogits,
    /// A real forward pass over weights drawn at random, each matrix with the mean and deviation of the real one.
    RandomWeights,
    /// Knows the prompts that tests use, and what the real model answers to them.
    LookupTable,
    /// The real model, which forgets all but the last token.
    LastTokenOnly,
    /// Replays the tensors that PyTorch recorded for known prompts, and else knows the last token only.
    GoldenReplayer,
}

impl Impostor {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CannedReplies,
        Self::ConstantLogits,
        Self::NanLogits,
        Self::RandomWeights,
        Self::LookupTable,
        Self::LastTokenOnly,
        Self::GoldenReplayer,
    ];

    /// What it is called on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::CannedReplies => "canned-replies",
            Self::ConstantLogits => "constant-logits",
            Self::NanLogits => "nan-logits",
            Self::RandomWeights => "random-weights",
            Self::LookupTable => "lookup-table",
            Self::LastTokenOnly => "last-token-only",
            Self::GoldenReplayer => "golden-replayer",
        }
    }

    /// What it does instead of what it should.
    pub fn does(self) -> &'static str {
        match self {
            Self::CannedReplies => "looks for words in the prompt and gives a written reply",
            Self::ConstantLogits => "gives every position the same logits",
            Self::NanLogits => "gives logits that are not numbers",
            Self::RandomWeights => "computes with weights drawn at random, of the right means and deviations",
            Self::LookupTable => "knows the prompts that tests use, and the real model's replies to them",
            Self::LastTokenOnly => "is the real model, and forgets all but the last token",
            Self::GoldenReplayer => {
                "replays recorded tensors for known prompts, and else sees the last token only"
            }
        }
    }

    /// The impostor called `name`.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|impostor| impostor.name() == name)
    }
}

/// What an impostor knows beforehand.
#[derive(Default)]
pub struct Materials {
    /// Turns phrases into tokens.
    pub tokenizer: Option<Tokenizer>,
    /// Prompts with the replies that the real model gave.
    pub replies: Vec<KnownReply>,
    /// Recorded passes.
    pub recordings: Vec<Recording>,
}

/// A prompt and what the real model replied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownReply {
    /// What the user wrote.
    pub prompt: String,
    /// What the real model replied.
    pub reply: String,
}

/// The tensors of one prompt, as the reference recorded them.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The prompt.
    pub ids: Vec<TokenId>,
    /// Shape and values by key; the logits are `[n_positions, vocab_size]`.
    pub tensors: BTreeMap<TensorKey, (Vec<usize>, Vec<f32>)>,
}
