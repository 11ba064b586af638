//! What a repository holds, and which of it an import needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use ureq::http::StatusCode;

use super::cache::is_commit;
use super::http::{Answer, Ask, Client};
use super::reference::{DEFAULT_REVISION, is_inside};
use super::{HubError, HubRef};

/// Bytes of a listing.
const MAX_LISTING_BYTES: u64 = 32 << 20;
/// Bytes of a shard index.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Shards of one model.
const MAX_SHARDS: usize = 512;

/// The index of a sharded model.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// A model in one file.
const SINGLE: &str = "model.safetensors";
/// What an import reads beside the weights, where it is there.
const BESIDE: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// The files of one commit.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) names: Vec<String>,
}

/// What to bring here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// One file.
    File(String),
    /// Files of a model, and if it is sharded its index and what that names.
    Model { files: Vec<String>, is_sharded: bool },
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Listing {
    /// Asks the hub.
    pub(super) fn fetch(client: &Client, reference: &HubRef) -> Result<Self, HubError> {
        let repository = reference.repository();
        let mut segments = vec!["api", "models"];
        segments.extend(repository.split('/'));
        let newest = client.url(&segments);
        segments.extend(["revision", reference.revision()]);
        let mut answer = client.send(&client.url(&segments), Ask::All)?;
        // Mirrors may know the newest version only, by the repository's own address.
        if answer.is(StatusCode::NOT_FOUND)
            && answer.header("x-error-code").is_none()
            && reference.revision() == DEFAULT_REVISION
        {
            answer = client.send(&newest, Ask::All)?;
        }
        if !answer.is(StatusCode::OK) {
            return Err(refusal(reference, &answer));
        }
        let not_ours = |fault: &str| answer.unusable(fault);
        let (no_json, no_commit) =
            (not_ours("it is not a description of a model"), not_ours("its `sha` is no commit"));
        let bytes = answer.bytes(MAX_LISTING_BYTES)?;
        let info: Info = serde_json::from_slice(&bytes).map_err(|_| no_json)?;
        if !is_commit(&info.sha) {
            return Err(no_commit);
        }
        let names = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Self { commit: info.sha, names })
    }

    /// Which files `reference` means.
    pub(super) fn choose(&self, reference: &HubRef) -> Result<Choice, HubError> {
        let no_weights = |detail: String| HubError::NoWeights { reference: reference.to_string(), detail };
        let has = |name: &str| self.names.iter().any(|known| known == name);
        if let Some(name) = reference.file() {
            if has(name) {
                return Ok(Choice::File(name.to_owned()));
            }
            return Err(HubError::Refused {
                reference: reference.to_string(),
                what: "the repository has no such file",
                status: StatusCode::NOT_FOUND.as_u16(),
                hint: "leave the file out to import the model that the repository holds",
            });
        }
        let mut files: Vec<String> = BESIDE.into_iter().filter(|name| has(name)).map(str::to_owned).collect();
        if has(INDEX) {
            return Ok(Choice::Model { files, is_sharded: true });
        }
        if has(SINGLE) {
            files.push(SINGLE.to_owned());
            return Ok(Choice::Model { files, is_sharded: false });
        }
        let gguf: BTreeSet<&str> =
            self.names.iter().map(String::as_str).filter(|name| has_extension(name, "gguf")).collect();
        let mut gguf = gguf.into_iter();
        match (gguf.next(), gguf.next()) {
            (Some(only), None) if is_inside(only) => Ok(Choice::File(only.to_owned())),
            (Some(first), _) => Err(no_weights(format!(
                " unless one is named\nhint: it has several GGUF files; name one, such as {reference_with_file}",
                reference_with_file = with_file(reference, first)
            ))),
            (None, _)
                if self.names.iter().any(|name| has_extension(name, "bin") || has_extension(name, "pth")) =>
            {
                let hint =
                    "pickled weights can run code and are not read; look for a conversion to safetensors";
                Err(no_weights(format!("\nhint: {hint}")))
            }
            (None, _) => Err(no_weights(format!("\nhint: it has neither {SINGLE} nor a GGUF file"))),
        }
    }
}

fn has_extension(name: &str, wanted: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
}

fn with_file(reference: &HubRef, file: &str) -> String {
    let file: String = file.chars().filter(|c| !c.is_control()).take(128).collect();
    format!("hf://{}/{file}@{}", reference.repository(), reference.revision())
}

/// The shards that the index at `path` names.
pub(super) fn shards(reference: &HubRef, path: &Path) -> Result<BTreeSet<String>, HubError> {
    let refuse = |detail: String| HubError::NoWeights { reference: reference.to_string(), detail };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(HubError::io("read", path))?;
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(refuse(format!(
            ": its {INDEX} has more than {MAX_INDEX_BYTES} bytes, which is all that is read"
        )));
    }
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|error| refuse(format!(": its {INDEX} cannot be read: {error}")))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if names.len() > MAX_SHARDS {
        return Err(refuse(format!(
            ": its {INDEX} names {} shards, at most {MAX_SHARDS} are read",
            names.len()
        )));
    }
    // Shards lie beside their index.
    match names
        .iter()
        .find(|name| !is_inside(name) || name.contains('/') || !has_extension(name, "safetensors"))
    {
        Some(name) => {
            let name = name.chars().take(256).collect();
            Err(HubError::FileName { reference: reference.to_string(), name })
        }
        None => Ok(names),
    }
}

/// What the hub means by not giving something.
pub(super) fn refusal(reference: &HubRef, answer: &Answer) -> HubError {
    let (what, hint) = match (answer.status(), answer.header("x-error-code")) {
        (401 | 403, _) | (_, Some("GatedRepo")) => (
            "the repository is private, gated, or does not exist",
            "set HF_TOKEN to a token of an account that may read it",
        ),
        (404, Some("RevisionNotFound")) => {
            ("the repository has no such revision", "leave @revision out for the newest")
        }
        (404, Some("EntryNotFound")) => {
            ("the repository has no such file", "see the repository's page for its files")
        }
        (404, _) => {
            ("there is no such repository or revision", "check its spelling; names are case-sensitive")
        }
        _ => return answer.unexpected(),
    };
    HubError::Refused { reference: reference.to_string(), what, status: answer.status(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, names: &[&str], expected: Result<Choice, &str>) {
        let listing =
            Listing { commit: "c".repeat(40), names: names.iter().map(|name| (*name).to_owned()).collect() };
        match (listing.choose(&reference.parse().unwrap()), expected) {
            (Ok(choice), Ok(expected)) => assert_eq!(choice, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (choice, expected) => panic!("{choice:?}, expected {expected:?}"),
        }
    }

    fn model(files: &[&str], is_sharded: bool) -> Choice {
        Choice::Model { files: files.iter().map(|name| (*name).to_owned()).collect(), is_sharded }
    }

    #[test]
    fn an_import_needs_weights_config_and_tokenizer() {
        let readme = ["README.md", ".gitattributes", "tokenizer.json", "config.json", "pytorch_model.bin"];
        check(
            "hf://a/b",
            &[&readme[..], &["model.safetensors", "x.gguf"]].concat(),
            Ok(model(&["config.json", "tokenizer.json", "model.safetensors"], false)),
        );
        check("hf://a/b", &["config.json", INDEX, SINGLE], Ok(model(&["config.json"], true)));
        check("hf://a/b", &["config.json", "x.gguf"], Ok(Choice::File("x.gguf".into())));
        check("hf://a/b", &["y.gguf", "x.gguf"], Err("such as hf://a/b/x.gguf@main"));
        check("hf://a/b", &["../x.gguf"], Err("several GGUF files"));
        check("hf://a/b", &readme, Err("pickled weights"));
        check("hf://a/b", &[], Err("neither model.safetensors nor a GGUF"));
    }

    #[test]
    fn a_named_file_is_all_that_is_needed() {
        check("hf://a/b/sub/x.gguf", &["sub/x.gguf", SINGLE], Ok(Choice::File("sub/x.gguf".into())));
        check("hf://a/b/z.gguf@v1", &["x.gguf"], Err("the repository has no such file"));
    }
}
