//! The fixtures, and broken copies of them.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails where it is")]

use std::path::PathBuf;

use apr_tokenizer::{Message, TokenId, Tokenizer, TokenizerError};
use serde_json::Value;

/// A file of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fixture as JSON.
pub(crate) fn json(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).unwrap()
}

/// The fixture's tokenizer.
pub(crate) fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(fixture("tokenizer.json").as_bytes()).unwrap()
}

/// What becomes of the fixture after `change`.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Result<Tokenizer, TokenizerError> {
    let mut file = json("tokenizer.json");
    change(&mut file);
    Tokenizer::from_json(file.to_string().as_bytes())
}

/// Ids from a JSON array.
pub(crate) fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect()
}

/// One turn.
pub(crate) fn turn(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}

/// The most memory the process has had, in bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10)
}
