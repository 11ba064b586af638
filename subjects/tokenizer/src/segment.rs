//! Prompts before they are ids: typed, so that user text can never become a control token.

use serde::{Deserialize, Serialize};

use crate::TokenId;

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A control token that the template itself wrote.
    Control(TokenId),
    /// Plain text; whatever it spells, it is encoded as text.
    Text(String),
}

/// One turn of a conversation, as chat templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}
