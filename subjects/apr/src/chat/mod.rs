//! A conversation with a model: its commands, its saved form, and what can be seen of the model while it answers.

pub(crate) mod attention;
pub(crate) mod inspect;
pub(crate) mod repl;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod slash;
mod terminal;
pub(crate) mod transcript;
