//! Text to tokens, tokens to text, conversations to prompts, and files that would break either.
#![allow(clippy::unwrap_used, reason = "a test fails where it is")]

#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod chat;
mod corpus;
mod hostile_files;
mod text;
