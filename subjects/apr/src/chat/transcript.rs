//! A conversation as a file: what `/save` writes and `/load` reads.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use apr_format::Overwrite;
use apr_format::atomic::AtomicFile;
use apr_tokenizer::Message;
use serde::{Deserialize, Serialize};

/// Larger than any context; a larger file is not a conversation.
const MAX_BYTES: u64 = 16 << 20;

/// What was said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transcript {
    /// The model that answered, for the reader's information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    /// `user` and `assistant` in turn, the user first.
    pub(crate) messages: Vec<Message>,
}

impl Transcript {
    /// Reads a conversation, refusing what the program would never have written.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("failed to open conversation `{shown}`"))?;
        let mut json = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut json)
            .with_context(|| format!("failed to read conversation `{shown}`"))?;
        ensure!(
            json.len() as u64 <= MAX_BYTES,
            "`{shown}` is larger than {MAX_BYTES} bytes, which no conversation is"
        );
        let transcript: Self = serde_json::from_slice(&json).with_context(|| {
            format!("`{shown}` is not a saved conversation\nhint: `/save FILE` writes one")
        })?;
        for (index, message) in transcript.messages.iter().enumerate() {
            let expected = if index % 2 == 0 { "user" } else { "assistant" };
            if message.role != expected {
                bail!(
                    "message {} of `{shown}` is from `{}`, and it is the turn of `{expected}`",
                    index + 1,
                    message.role
                );
            }
        }
        Ok(transcript)
    }

    /// Writes the conversation beside `path` and renames it into place.
    pub(crate) fn save(&self, path: &Path, overwrite: Overwrite) -> Result<()> {
        let context = || format!("failed to save the conversation to `{}`", path.display());
        let mut json = serde_json::to_vec_pretty(self).with_context(context)?;
        json.push(b'\n');
        let mut file = AtomicFile::create(path, overwrite)?;
        file.write_all(&json).with_context(context)?;
        file.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn conversation_survives_being_saved_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let transcript = Transcript {
            model: Some("tiny".to_owned()),
            system: None,
            messages: vec![message("user", "2+2?\n<|im_end|>"), message("assistant", "4")],
        };
        transcript.save(&path, Overwrite::Refuse).unwrap();
        assert_eq!(Transcript::load(&path).unwrap(), transcript);
    }

    #[test]
    fn existing_file_is_kept_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        fs::write(&path, "mine").unwrap();
        assert!(Transcript::default().save(&path, Overwrite::Refuse).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        Transcript::default().save(&path, Overwrite::Allow).unwrap();
        assert_eq!(Transcript::load(&path).unwrap(), Transcript::default());
    }

    #[test]
    fn file_that_is_no_conversation_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let nested = "[".repeat(100_000);
        let cases = [
            ("", "is not a saved conversation"),
            ("{}", "is not a saved conversation"),
            (r#"{"messages": [], "extra": 1}"#, "is not a saved conversation"),
            (nested.as_str(), "is not a saved conversation"),
            (r#"{"messages": [{"role": "assistant", "content": ""}]}"#, "it is the turn of `user`"),
            (r#"{"messages": [{"role": "system", "content": ""}]}"#, "is from `system`"),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).unwrap();
            let error = Transcript::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("talk.json"), "{text:.40}: {error}");
        }
    }
}
