//! A GGUF file as a model that can be imported.

use std::collections::BTreeMap;
use std::path::Path;

use apr_format::Metadata;

use super::{Gguf, GgufError, Stop, TensorInfo, config, names, parse_prefix, tokenizer};
use crate::architecture::{Architecture, HEAD};
use crate::error::ImportError;
use crate::input_file::InputFile;
use crate::model::{self, Model, ModelFault, RowOrder, SourceTensor};

/// Bytes of header read at first: more than the largest vocabularies of today need.
const FIRST_READ: u64 = 16 << 20;
/// The longest header that is read.
const MAX_HEADER: u64 = 256 << 20;

/// Opens and checks the GGUF file at `path`. `asked` is what `--arch` says, if anything.
pub(crate) fn open(path: &Path, asked: Option<Architecture>) -> Result<Model, ImportError> {
    let file = InputFile::open(path)?;
    let mut length = FIRST_READ;
    loop {
        let header = file.prefix(length)?;
        match parse_prefix(&header, file.size()) {
            Ok(gguf) => {
                return understand(&gguf, path, asked).map(|mut model| {
                    model.files.push(file);
                    model
                });
            }
            Err(Stop::Fault(fault)) => return Err(ImportError::gguf(path)(fault)),
            Err(Stop::NeedMore) if length < MAX_HEADER => length *= 2,
            Err(Stop::NeedMore) => {
                return Err(ImportError::gguf(path)(GgufError::HeaderTooLong { limit: MAX_HEADER }));
            }
        }
    }
}

fn understand(gguf: &Gguf<'_>, path: &Path, asked: Option<Architecture>) -> Result<Model, ImportError> {
    read_model(gguf, path, asked).map_err(|fault| match fault {
        config::Fault::Gguf(fault) => ImportError::gguf(path)(fault),
        config::Fault::Model(fault) => ImportError::model(path)(fault),
    })
}

fn read_model(gguf: &Gguf<'_>, path: &Path, asked: Option<Architecture>) -> Result<Model, config::Fault> {
    let architecture = config::architecture(gguf)?;
    if let Some(asked) = asked.filter(|&asked| asked != architecture) {
        let (found, asked) = (architecture.to_string(), asked.to_string());
        return Err(ModelFault::OtherArchitecture { found, asked }.into());
    }
    let mut tensors = BTreeMap::new();
    for info in &gguf.tensors {
        let key = names::checkpoint_key(info.name)
            .ok_or_else(|| ModelFault::UnexpectedTensor(info.name.to_owned()))?;
        model::insert(&mut tensors, key, source_tensor(info))?;
    }
    let vocab_size = model::embedding_rows(&tensors)?;
    let mut config = config::config(gguf, architecture, vocab_size)?;
    config.tie_word_embeddings = !tensors.contains_key(HEAD);
    config.attention_bias = tensors.contains_key("model.layers.0.self_attn.q_proj.bias");
    model::check_config(&config)?;
    model::check_tensors(architecture, &config, &tensors)?;
    if architecture.interleaves_heads_in_gguf() {
        for (key, tensor) in &mut tensors {
            if key.contains(".self_attn.q_proj.") || key.contains(".self_attn.k_proj.") {
                tensor.rows = RowOrder::InterleavedHalves { head_dim: config.head_dim };
            }
        }
    }

    let text = tokenizer::rebuild(gguf, vocab_size)?;
    let string = |key: &str| Ok::<_, GgufError>(gguf.string(key)?.map(str::to_owned));
    let metadata = Metadata {
        model_type: Some(architecture.to_string()),
        architecture: Some(architecture.to_string()),
        name: string("general.name")?,
        description: string("general.description")?,
        license: string("general.license")?,
        original_format: Some("gguf".to_owned()),
        config,
        chat_template: string("tokenizer.chat_template")?,
        generation_config: Some(text.generation_config),
        special_tokens: text.special_tokens,
        ..Metadata::default()
    };
    let tokenizer = Some((path.to_owned(), text.tokenizer_json));
    Ok(Model { metadata, tokenizer, files: Vec::new(), tensors, notes: Vec::new() })
}

fn source_tensor(info: &TensorInfo<'_>) -> SourceTensor {
    SourceTensor {
        source_name: info.name.to_owned(),
        shape: info.shape.clone(),
        encoding: info.encoding,
        file: 0,
        offset: info.offset,
        size: info.size,
        rows: RowOrder::AsIs,
    }
}
