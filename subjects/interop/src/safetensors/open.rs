//! A safetensors file or directory as a model that can be imported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apr_format::Metadata;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::config::{self, HfConfig};
use super::json_file;
use super::shards::{INDEX, SINGLE, Shards};
use crate::architecture::{Architecture, HEAD};
use crate::error::ImportError;
use crate::model::{self, Model, ModelFault};

/// Bytes read of `config.json` and `generation_config.json`.
const MAX_CONFIG: u64 = 1 << 20;
/// Bytes read of `tokenizer_config.json` and a chat template.
const MAX_TOKENIZER_CONFIG: u64 = 16 << 20;
/// Bytes read of `tokenizer.json`.
const MAX_TOKENIZER: u64 = 256 << 20;

/// Opens a directory with `config.json` and one or more safetensors files.
pub(crate) fn open_directory(directory: &Path, asked: Option<Architecture>) -> Result<Model, ImportError> {
    if !directory.join("config.json").exists() {
        let hint = match gguf_file_in(directory) {
            Some(name) => format!("import one of its GGUF files, such as {name}"),
            None => "give a directory as `save_pretrained` writes it, or a single file".to_owned(),
        };
        return Err(json_file::fault(directory, format!("it has no config.json\nhint: {hint}")));
    }
    // As transformers does: a whole model goes before a sharded one.
    let single = directory.join(SINGLE);
    let index = directory.join(INDEX);
    let shards = if single.exists() {
        Shards::single(&single)?
    } else if index.exists() {
        Shards::sharded(&index)?
    } else {
        let what = format!("it has neither {SINGLE} nor {INDEX}");
        return Err(json_file::fault(directory, what));
    };
    understand(directory, directory, shards, asked)
}

/// The first GGUF file of a directory, for a hint.
fn gguf_file_in(directory: &Path) -> Option<String> {
    let names =
        std::fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_gguf =
        |name: &str| Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case("gguf"));
    names.filter(|name| is_gguf(name)).min()
}

/// Opens a single file; `config.json` and the tokenizer's files count when they are beside it.
pub(crate) fn open_file(path: &Path, asked: Option<Architecture>) -> Result<Model, ImportError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    understand(path, &directory, Shards::single(path)?, asked)
}

/// `source` is what messages name; the files beside the tensors are in `directory`.
fn understand(
    source: &Path,
    directory: &Path,
    shards: Shards,
    asked: Option<Architecture>,
) -> Result<Model, ImportError> {
    let Shards { files, mut tensors } = shards;
    let mut notes = Vec::new();
    drop_recomputed(&mut tensors, &mut notes);

    let config_path = directory.join("config.json");
    let hf_config: Option<HfConfig> = json_file::parse_if_there(&config_path, MAX_CONFIG)?;
    let refuse_config = ImportError::model(if hf_config.is_some() { &config_path } else { source });
    let described = describe(hf_config.as_ref(), asked, &tensors, &mut notes);
    let (architecture, config) = match described {
        Ok(described) => described,
        Err(fault) => return Err(refuse_config(fault)),
    };
    if config.tie_word_embeddings && tensors.remove(HEAD).is_some() {
        notes.push(format!("config.json ties the embeddings: `{HEAD}` is left out, as transformers does"));
    }
    if let Err(fault) = model::check_config(&config) {
        return Err(refuse_config(fault));
    }
    model::check_tensors(architecture, &config, &tensors).map_err(ImportError::model(source))?;

    let tokenizer_config: TokenizerConfig =
        json_file::parse_if_there(&directory.join("tokenizer_config.json"), MAX_TOKENIZER_CONFIG)?
            .unwrap_or_default();
    let metadata = Metadata {
        model_type: Some(architecture.to_string()),
        architecture: Some(architecture.to_string()),
        original_format: Some("safetensors".to_owned()),
        config,
        chat_template: chat_template(directory, &tokenizer_config)?,
        generation_config: generation_config(directory, hf_config.as_ref())?,
        special_tokens: tokenizer_config.special_tokens(),
        ..Metadata::default()
    };
    let tokenizer_path = directory.join("tokenizer.json");
    let tokenizer =
        json_file::read_if_there(&tokenizer_path, MAX_TOKENIZER)?.map(|json| (tokenizer_path, json));
    if tokenizer.is_none() {
        notes.push("there is no tokenizer.json: the model is imported without a tokenizer".to_owned());
    }
    Ok(Model { metadata, tokenizer, files, tensors, notes })
}

/// Architecture and config, from `config.json` or, without one, from `--arch` and the shapes.
fn describe(
    hf_config: Option<&HfConfig>,
    asked: Option<Architecture>,
    tensors: &BTreeMap<String, model::SourceTensor>,
    notes: &mut Vec<String>,
) -> Result<(Architecture, apr_format::ModelConfig), ModelFault> {
    let Some(hf_config) = hf_config else {
        let architecture = asked.ok_or(ModelFault::ArchitectureUnknown)?;
        let (config, note) = config::from_shapes(architecture, tensors)?;
        notes.push(note);
        return Ok((architecture, config));
    };
    let stated = match hf_config.model_type.as_deref() {
        Some(name) => Some(
            Architecture::from_name(name)
                .ok_or_else(|| ModelFault::Architecture { found: name.chars().take(64).collect() })?,
        ),
        None => None,
    };
    let architecture = match (stated, asked) {
        (Some(stated), Some(asked)) if stated != asked => {
            let (found, asked) = (stated.to_string(), asked.to_string());
            return Err(ModelFault::OtherArchitecture { found, asked });
        }
        (Some(architecture), _) | (None, Some(architecture)) => architecture,
        (None, None) => {
            let keys = vec!["model_type".to_owned()];
            return Err(ModelFault::MissingConfig { keys, hint: "\nhint: pass --arch qwen2" });
        }
    };
    let config = hf_config.to_model_config(architecture, tensors.contains_key(HEAD))?;
    Ok((architecture, config))
}

/// Old Llama checkpoints store the rotary frequencies, which follow from the config.
fn drop_recomputed(tensors: &mut BTreeMap<String, model::SourceTensor>, notes: &mut Vec<String>) {
    let before = tensors.len();
    tensors.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
    if tensors.len() < before {
        notes.push("stored rotary frequencies are left out: they follow from the config".to_owned());
    }
}

/// What is read of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    chat_template: Option<Json>,
    bos_token: Option<Json>,
    eos_token: Option<Json>,
    pad_token: Option<Json>,
    unk_token: Option<Json>,
}

impl TokenizerConfig {
    /// Text of the special tokens by role; each is a string, or an object that holds it as `content`.
    fn special_tokens(&self) -> BTreeMap<String, String> {
        let roles = [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("pad_token", &self.pad_token),
            ("unk_token", &self.unk_token),
        ];
        let text = |token: &Json| {
            token.as_str().or_else(|| token.get("content").and_then(Json::as_str)).map(str::to_owned)
        };
        roles
            .into_iter()
            .filter_map(|(role, token)| Some((role.to_owned(), text(token.as_ref()?)?)))
            .collect()
    }
}

/// `chat_template.jinja`, or the template in `tokenizer_config.json`: a string, or the one named `default` of several.
fn chat_template(directory: &Path, config: &TokenizerConfig) -> Result<Option<String>, ImportError> {
    let path = directory.join("chat_template.jinja");
    if let Some(bytes) = json_file::read_if_there(&path, MAX_TOKENIZER_CONFIG)? {
        let template =
            String::from_utf8(bytes).map_err(|_| json_file::fault(&path, "it is not UTF-8".to_owned()))?;
        return Ok(Some(template));
    }
    Ok(match &config.chat_template {
        Some(Json::String(template)) => Some(template.clone()),
        Some(Json::Array(named)) => named
            .iter()
            .find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str().map(str::to_owned)),
        _ => None,
    })
}

/// `generation_config.json`, completed with the special ids that `config.json` states.
fn generation_config(directory: &Path, hf_config: Option<&HfConfig>) -> Result<Option<Json>, ImportError> {
    let path = directory.join("generation_config.json");
    let mut config: Map<String, Json> = json_file::parse_if_there(&path, MAX_CONFIG)?.unwrap_or_default();
    if let Some(hf_config) = hf_config {
        let stated = [
            ("bos_token_id", &hf_config.bos_token_id),
            ("eos_token_id", &hf_config.eos_token_id),
            ("pad_token_id", &hf_config.pad_token_id),
        ];
        for (key, value) in stated {
            if let Some(value) = value.as_ref().filter(|value| !value.is_null()) {
                config.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
    Ok(if config.is_empty() { None } else { Some(Json::Object(config)) })
}
