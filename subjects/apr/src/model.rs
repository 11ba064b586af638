//! Opening a model for a command: integrity first, then the parts that commands need.

use std::path::Path;

use anyhow::{Context, Result};
use apr_format::AprFile;
use apr_tokenizer::{ChatTemplate, Tokenizer};

/// Opens a model whose every byte is as it was written.
pub(crate) fn open_verified(path: &Path) -> Result<AprFile> {
    Ok(AprFile::open_verified(path)?)
}

/// The tokenizer inside `file`.
pub(crate) fn tokenizer(file: &AprFile) -> Result<Tokenizer> {
    let shown = file.path().display();
    let json = file.tokenizer_json()?.with_context(|| {
        format!("`{shown}` carries no tokenizer\nhint: import it from a source that has one, such as a GGUF or a folder with tokenizer.json")
    })?;
    Tokenizer::from_json(&json).with_context(|| format!("failed to read the tokenizer of `{shown}`"))
}

/// The chat template inside `file`.
pub(crate) fn chat_template(file: &AprFile) -> Result<ChatTemplate> {
    let shown = file.path().display();
    let source = file.metadata().chat_template.as_deref().with_context(|| {
        format!("`{shown}` carries no chat template, so it does not know what a conversation looks like\nhint: import an instruction-tuned model")
    })?;
    let template = ChatTemplate::new(source)
        .with_context(|| format!("failed to read the chat template of `{shown}`"))?;
    Ok(template.with_named_tokens(file.metadata().special_tokens.clone()))
}
