//! The model under test written in other formats, for importers to read back: safetensors, sharded, and GGUF.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use apr_format::AprFile;
use apr_tensor::DType;
use serde_json::{Value, json};

/// Writes the model as Hugging Face's `save_pretrained` lays it out, in `n_shards` files.
pub(super) fn write_safetensors(file: &AprFile, folder: &Path, n_shards: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let entries = file.entries();
    let per_shard = entries.len().div_ceil(n_shards);
    let mut weight_map = BTreeMap::new();
    for (index, entries) in entries.chunks(per_shard).enumerate() {
        let name = if n_shards == 1 {
            "model.safetensors".to_owned()
        } else {
            format!("model-{:05}-of-{n_shards:05}.safetensors", index + 1)
        };
        let mut header = serde_json::Map::new();
        let mut offset = 0;
        for entry in entries {
            let end = offset + entry.size;
            let dtype = entry.dtype.name();
            header.insert(
                entry.name.clone(),
                json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [offset, end] }),
            );
            weight_map.insert(entry.name.clone(), name.clone());
            offset = end;
        }
        let mut header = serde_json::to_vec(&Value::Object(header))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut out = BufWriter::new(File::create(folder.join(&name))?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for entry in entries {
            let tensor = file.tensor(&entry.name).with_context(|| format!("no tensor `{}`", entry.name))?;
            out.write_all(tensor.bytes())?;
        }
        out.flush()?;
    }
    if n_shards > 1 {
        let total: u64 = entries.iter().map(|entry| entry.size).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        std::fs::write(folder.join("model.safetensors.index.json"), serde_json::to_vec(&index)?)?;
    }
    write_settings(file, folder)
}

/// `config.json`, the tokenizer and the generation defaults.
fn write_settings(file: &AprFile, folder: &Path) -> anyhow::Result<()> {
    let metadata = file.metadata();
    let config = &metadata.config;
    let dtype = match file.entries().first().map(|entry| entry.dtype) {
        Some(DType::F16) => "float16",
        Some(DType::Bf16) => "bfloat16",
        Some(DType::F32) | None => "float32",
        Some(dtype @ (DType::Int8 | DType::Int4)) => {
            bail!("weights of {dtype} are in no other format's types")
        }
    };
    let json = json!({
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_kv_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": dtype,
        "use_sliding_window": false,
        "vocab_size": config.vocab_size,
    });
    std::fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&json)?)?;
    let tokenizer = file.tokenizer_json()?.context("the model holds no tokenizer")?;
    std::fs::write(folder.join("tokenizer.json"), tokenizer)?;
    let mut tokenizer_config = json!({ "chat_template": metadata.chat_template });
    for (role, text) in &metadata.special_tokens {
        tokenizer_config[role] = json!(text);
    }
    std::fs::write(folder.join("tokenizer_config.json"), serde_json::to_vec_pretty(&tokenizer_config)?)?;
    if let Some(generation) = &metadata.generation_config {
        std::fs::write(folder.join("generation_config.json"), serde_json::to_vec_pretty(generation)?)?;
    }
    Ok(())
}

/// Every name of GGUF's that a Qwen2 tensor has.
const GGUF_NAMES: [(&str, &str); 12] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.q_proj.bias", "attn_q.bias"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.k_proj.bias", "attn_k.bias"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.v_proj.bias", "attn_v.bias"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

fn gguf_name(name: &str) -> anyhow::Result<String> {
    match name {
        "model.embed_tokens.weight" => return Ok("token_embd.weight".to_owned()),
        "model.norm.weight" => return Ok("output_norm.weight".to_owned()),
        "lm_head.weight" => return Ok("output.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'))
        .ok_or_else(|| anyhow!("`{name}` has no name in GGUF"))?;
    let known = GGUF_NAMES.iter().find(|(known, _)| *known == rest);
    let (_, theirs) = known.ok_or_else(|| anyhow!("`{name}` has no name in GGUF"))?;
    Ok(format!("blk.{layer}.{theirs}"))
}

/// A GGUF v3 file being put together.
struct GgufBytes {
    metadata: Vec<u8>,
    n_keys: u64,
}

impl GgufBytes {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.n_keys += 1;
        Self::text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        &mut self.metadata
    }

    fn u32(&mut self, key: &str, value: usize) {
        self.key(key, 4).extend((value as u32).to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f64) {
        self.key(key, 6).extend((value as f32).to_le_bytes());
    }

    fn string(&mut self, key: &str, value: &str) {
        let out = self.key(key, 8);
        Self::text(out, value);
    }

    fn strings(&mut self, key: &str, values: &[String]) {
        let out = self.key(key, 9);
        out.extend(8_u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        for value in values {
            Self::text(out, value);
        }
    }

    fn integers(&mut self, key: &str, values: &[i32]) {
        let out = self.key(key, 9);
        out.extend(5_u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        for value in values {
            out.extend(value.to_le_bytes());
        }
    }
}

/// Writes the model as GGUF v3, tensors as they are stored.
pub(super) fn write_gguf(file: &AprFile, path: &Path) -> anyhow::Result<PathBuf> {
    const ALIGNMENT: u64 = 32;
    let metadata = file.metadata();
    let config = &metadata.config;
    let mut gguf = GgufBytes { metadata: Vec::new(), n_keys: 0 };
    gguf.string("general.architecture", "qwen2");
    gguf.string("general.name", metadata.name.as_deref().unwrap_or("model"));
    gguf.u32("qwen2.block_count", config.num_layers);
    gguf.u32("qwen2.context_length", config.max_position_embeddings);
    gguf.u32("qwen2.embedding_length", config.hidden_size);
    gguf.u32("qwen2.feed_forward_length", config.intermediate_size);
    gguf.u32("qwen2.attention.head_count", config.num_heads);
    gguf.u32("qwen2.attention.head_count_kv", config.num_kv_heads);
    gguf.f32("qwen2.rope.freq_base", config.rope_theta);
    gguf.f32("qwen2.attention.layer_norm_rms_epsilon", config.rms_norm_eps);
    let tokenizer = file.tokenizer_json()?.context("the model holds no tokenizer")?;
    write_vocabulary(&mut gguf, &serde_json::from_slice(&tokenizer)?, config.vocab_size)?;
    if let Some(template) = &metadata.chat_template {
        gguf.string("tokenizer.chat_template", template);
    }

    let mut infos = Vec::new();
    let mut offset = 0_u64;
    for entry in file.entries() {
        GgufBytes::text(&mut infos, &gguf_name(&entry.name)?);
        infos.extend((entry.shape.len() as u32).to_le_bytes());
        // Fastest dimension first.
        entry.shape.iter().rev().for_each(|&dimension| infos.extend((dimension as u64).to_le_bytes()));
        let kind: u32 = match entry.dtype {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::Bf16 => 30,
            dtype @ (DType::Int8 | DType::Int4) => bail!("weights of {dtype} are in no other format's types"),
        };
        infos.extend(kind.to_le_bytes());
        infos.extend(offset.to_le_bytes());
        offset = (offset + entry.size).next_multiple_of(ALIGNMENT);
    }
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(b"GGUF")?;
    out.write_all(&3_u32.to_le_bytes())?;
    out.write_all(&(file.entries().len() as u64).to_le_bytes())?;
    out.write_all(&gguf.n_keys.to_le_bytes())?;
    out.write_all(&gguf.metadata)?;
    out.write_all(&infos)?;
    let written = 24 + gguf.metadata.len() as u64 + infos.len() as u64;
    let padding = |position: u64| vec![0; (position.next_multiple_of(ALIGNMENT) - position) as usize];
    out.write_all(&padding(written))?;
    for entry in file.entries() {
        let tensor = file.tensor(&entry.name).with_context(|| format!("no tensor `{}`", entry.name))?;
        out.write_all(tensor.bytes())?;
        out.write_all(&padding(entry.size))?;
    }
    out.flush()?;
    Ok(path.to_owned())
}

/// Tokens by id, their types, the merges and the special ids.
fn write_vocabulary(gguf: &mut GgufBytes, tokenizer: &Value, vocab_size: usize) -> anyhow::Result<()> {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;
    const UNUSED: i32 = 5;
    let mut tokens: Vec<String> = (0..vocab_size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; vocab_size];
    let vocab = tokenizer["model"]["vocab"].as_object().context("the tokenizer has no vocabulary")?;
    let regular = vocab.iter().map(|(text, id)| (text.as_str(), id.as_u64(), NORMAL));
    let added = tokenizer["added_tokens"].as_array().context("the tokenizer has no added tokens")?;
    let added = added.iter().map(|token| {
        let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
        (token["content"].as_str().unwrap_or_default(), token["id"].as_u64(), kind)
    });
    for (text, id, kind) in regular.chain(added) {
        let id = id.context("a token without an id")? as usize;
        let place = tokens.get_mut(id).with_context(|| format!("token {id} is outside the vocabulary"))?;
        text.clone_into(place);
        types[id] = kind;
    }
    let merges = tokenizer["model"]["merges"].as_array().context("the tokenizer has no merges")?;
    let merges: Vec<String> = merges
        .iter()
        .map(|merge| match merge {
            Value::Array(pair) => {
                let half = |index: usize| pair.get(index).and_then(Value::as_str).unwrap_or_default();
                format!("{} {}", half(0), half(1))
            }
            other => other.as_str().unwrap_or_default().to_owned(),
        })
        .collect();
    gguf.string("tokenizer.ggml.model", "gpt2");
    gguf.string("tokenizer.ggml.pre", "qwen2");
    let id_of = |text: &str| tokens.iter().position(|token| token == text);
    let (end, bos) = (id_of("<|im_end|>"), id_of("<|endoftext|>"));
    gguf.strings("tokenizer.ggml.tokens", &tokens);
    gguf.integers("tokenizer.ggml.token_type", &types);
    gguf.strings("tokenizer.ggml.merges", &merges);
    if let (Some(end), Some(bos)) = (end, bos) {
        gguf.u32("tokenizer.ggml.eos_token_id", end);
        gguf.u32("tokenizer.ggml.bos_token_id", bos);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apr_format::Metadata;

    use super::*;
    use crate::checks::made_up::{self, vector};

    /// A file of one norm in `dtype`, with the metadata of the embedded model after `alter`.
    fn file(dtype: DType, alter: impl FnOnce(&mut Metadata)) -> (tempfile::TempDir, AprFile) {
        let folder = tempfile::tempdir().unwrap();
        let mut metadata = made_up::tiny().metadata().clone();
        alter(&mut metadata);
        let (name, _, shape, bytes) = vector("model.norm.weight", &[2], &[1.0, 2.0]);
        let bytes = if dtype == DType::F32 { bytes } else { vec![0; 4] };
        let file =
            made_up::write_file(&folder.path().join("m.apr"), metadata, vec![(name, dtype, shape, bytes)]);
        (folder, file)
    }

    fn json_at(folder: &Path, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn a_checkpoint_says_in_what_type_its_weights_are() {
        for (dtype, torch, gguf) in
            [(DType::F32, "float32", 0_u32), (DType::F16, "float16", 1), (DType::Bf16, "bfloat16", 30)]
        {
            let (folder, file) = file(dtype, |_| {});
            let out = folder.path().join("out");
            write_safetensors(&file, &out, 1).unwrap();
            assert_eq!(json_at(&out, "config.json")["torch_dtype"], torch);
            let path = write_gguf(&file, &out.join("m.gguf")).unwrap();
            let bytes = std::fs::read(path).unwrap();
            // Its name, one dimension of two, its type.
            let mut info = b"output_norm.weight".to_vec();
            info.extend([1_u32.to_le_bytes(), 2_u32.to_le_bytes(), [0; 4], gguf.to_le_bytes()].concat());
            assert!(bytes.windows(info.len()).any(|window| window == info), "{torch}");
        }
    }

    #[test]
    fn what_a_model_does_not_say_is_not_written() {
        let (folder, file) = file(DType::F32, |metadata| {
            metadata.generation_config = None;
            metadata.chat_template = None;
        });
        let out = folder.path().join("out");
        write_safetensors(&file, &out, 1).unwrap();
        assert!(!out.join("generation_config.json").exists());
        assert_eq!(json_at(&out, "tokenizer_config.json")["chat_template"], Value::Null);
        let bytes = std::fs::read(write_gguf(&file, &out.join("m.gguf")).unwrap()).unwrap();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(holds(b"tokenizer.ggml.merges") && !holds(b"tokenizer.chat_template"));
    }

    #[test]
    fn a_name_that_gguf_does_not_know_is_refused() {
        for (name, expected) in [
            ("model.layers.3.mlp.up_proj.weight", Some("blk.3.ffn_up.weight")),
            ("lm_head.weight", Some("output.weight")),
            ("model.layers.3.mlp.made_up", None),
            ("made_up", None),
        ] {
            let found = gguf_name(name).map_err(|error| error.to_string());
            let refused = format!("`{name}` has no name in GGUF");
            assert_eq!(found, expected.map(str::to_owned).ok_or(refused));
        }
    }

    #[test]
    fn a_vocabulary_is_written_whatever_form_its_merges_and_added_tokens_have() {
        let mut gguf = GgufBytes { metadata: Vec::new(), n_keys: 0 };
        let tokenizer = json!({
            "model": { "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": [["a", "b"], "ab c", 7] },
            "added_tokens": [{ "content": "<x>", "id": 3, "special": true }, { "content": "<y>", "id": 4 }],
        });
        write_vocabulary(&mut gguf, &tokenizer, 6).unwrap();
        let mut expected = GgufBytes { metadata: Vec::new(), n_keys: 0 };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        expected.string("tokenizer.ggml.model", "gpt2");
        expected.string("tokenizer.ggml.pre", "qwen2");
        expected.strings("tokenizer.ggml.tokens", &texts(&["a", "b", "ab", "<x>", "<y>", "[PAD5]"]));
        expected.integers("tokenizer.ggml.token_type", &[1, 1, 1, 3, 4, 5]);
        expected.strings("tokenizer.ggml.merges", &texts(&["a b", "ab c", ""]));
        assert_eq!((gguf.metadata, gguf.n_keys), (expected.metadata, 5));
    }

    #[test]
    fn a_tokenizer_that_is_none_is_refused_with_what_it_lacks() {
        for (tokenizer, expected) in [
            (json!({}), "the tokenizer has no vocabulary"),
            (json!({ "model": { "vocab": {} } }), "the tokenizer has no added tokens"),
            (json!({ "model": { "vocab": { "a": "0" } }, "added_tokens": [] }), "a token without an id"),
            (
                json!({ "model": { "vocab": { "a": 9 } }, "added_tokens": [] }),
                "token 9 is outside the vocabulary",
            ),
            (json!({ "model": { "vocab": {} }, "added_tokens": [] }), "the tokenizer has no merges"),
        ] {
            let mut gguf = GgufBytes { metadata: Vec::new(), n_keys: 0 };
            let error = write_vocabulary(&mut gguf, &tokenizer, 4).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
    }
}
