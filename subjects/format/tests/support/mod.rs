//! A small complete model, and a file taken apart so that one thing about it can be made wrong.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::Path;

use apr_format::{AprWriter, HEADER_SIZE, Header, Metadata, ModelConfig, Provenance, SourceFile, TensorSpec};
use apr_tensor::DType;

/// Vocabulary of the small model.
pub(crate) const VOCAB: usize = 16;

/// A tensor with its bytes.
pub(crate) type SmallTensor = (TensorSpec, Vec<u8>);

/// Metadata of a complete Qwen2 model of one thousandth the usual size.
pub(crate) fn small_metadata(n_layers: usize) -> Metadata {
    let mut metadata = Metadata {
        model_type: Some("qwen2".to_owned()),
        architecture: Some("qwen2".to_owned()),
        name: Some("small".to_owned()),
        chat_template: Some("{% for message in messages %}{{ message.content }}{% endfor %}".to_owned()),
        generation_config: Some(serde_json::json!({"eos_token_id": [14, 15]})),
        provenance: Some(Provenance {
            files: vec![SourceFile { name: "a.gguf".to_owned(), size: 3, sha256: "0f".repeat(32) }],
            tool: "test".to_owned(),
            tool_version: "0".to_owned(),
            ..Provenance::default()
        }),
        ..Metadata::default()
    };
    metadata.config = ModelConfig {
        hidden_size: 8,
        num_layers: n_layers,
        num_heads: 2,
        num_kv_heads: 1,
        vocab_size: VOCAB,
        intermediate_size: 12,
        max_position_embeddings: 32,
        rope_theta: 1e6,
        rms_norm_eps: 1e-6,
        head_dim: 4,
        tie_word_embeddings: true,
        attention_bias: true,
        rope_type: 2,
    };
    let vocab: serde_json::Map<String, serde_json::Value> =
        (0..14).map(|id| (format!("t{id}"), id.into())).collect();
    let added = serde_json::json!([{"id": 14, "content": "<a>"}, {"id": 15, "content": "<b>"}]);
    let tokenizer = serde_json::json!({"model": {"vocab": vocab}, "added_tokens": added});
    metadata.with_tokenizer_json(&serde_json::to_vec(&tokenizer).unwrap());
    metadata
}

/// Tensors of that model: f16 matrices, f32 norms, bf16 biases, with values that look trained.
pub(crate) fn small_tensors(n_layers: usize) -> Vec<SmallTensor> {
    let mut names = vec![
        ("model.embed_tokens.weight".to_owned(), DType::F16, vec![VOCAB, 8]),
        ("model.norm.weight".to_owned(), DType::F32, vec![8]),
    ];
    for layer in 0..n_layers {
        let mut add = |name: &str, dtype: DType, shape: &[usize]| {
            names.push((format!("model.layers.{layer}.{name}"), dtype, shape.to_vec()));
        };
        add("input_layernorm.weight", DType::F32, &[8]);
        add("post_attention_layernorm.weight", DType::F32, &[8]);
        for (name, rows) in [("q_proj", 8), ("k_proj", 4), ("v_proj", 4)] {
            add(&format!("self_attn.{name}.weight"), DType::F16, &[rows, 8]);
            add(&format!("self_attn.{name}.bias"), DType::Bf16, &[rows]);
        }
        add("self_attn.o_proj.weight", DType::F16, &[8, 8]);
        add("mlp.gate_proj.weight", DType::F16, &[12, 8]);
        add("mlp.up_proj.weight", DType::F16, &[12, 8]);
        add("mlp.down_proj.weight", DType::F16, &[8, 12]);
    }
    let mut random = Random(1);
    names
        .into_iter()
        .enumerate()
        .map(|(i, (name, dtype, shape))| {
            let scale = 0.02 * (1.0 + (i % 5) as f32 / 5.0);
            let values = (0..shape.iter().product()).map(|_| scale * random.normal());
            let bytes = encode(dtype, values);
            (TensorSpec { name, dtype, shape }, bytes)
        })
        .collect()
}

/// Values in the encoding of `dtype`.
pub(crate) fn encode(dtype: DType, values: impl Iterator<Item = f32>) -> Vec<u8> {
    match dtype {
        DType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        DType::F16 => values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect(),
        DType::Bf16 => values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect(),
        DType::Int8 | DType::Int4 => panic!("values are packed by `apr-quantize`"),
    }
}

/// Numbers that are the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Uniform bits (Steele, Lea and Flood 2014, SplitMix64).
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Roughly normal: the sum of twelve uniforms.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.bits() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
    }
}

/// The file of a model.
pub(crate) fn write_model(metadata: Metadata, tensors: &[SmallTensor]) -> Vec<u8> {
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer =
        AprWriter::with_sink(Cursor::new(Vec::new()), Path::new("small.apr"), metadata, specs).unwrap();
    for (spec, bytes) in tensors {
        writer.write_tensor(&spec.name, bytes).unwrap();
    }
    writer.finish_sink().unwrap().0.into_inner()
}

/// The file of the small model.
pub(crate) fn small_model(n_layers: usize) -> Vec<u8> {
    write_model(small_metadata(n_layers), &small_tensors(n_layers))
}

/// An index entry as stored, with values that need not make sense.
#[derive(Clone, Debug)]
pub(crate) struct RawEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) dtype: u8,
    pub(crate) n_dimensions: u8,
    pub(crate) dimensions: Vec<u64>,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A file taken apart. Put together again, everything that follows from the parts is right: section offsets, the header's
/// CRC32, the root hash, the trailing CRC32. So whatever is refused is refused for the part that was changed.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) header: Header,
    pub(crate) metadata: String,
    pub(crate) entries: Vec<RawEntry>,
    /// Everything between the index and the CRC32.
    pub(crate) data: Vec<u8>,
    /// Bytes behind the CRC32.
    pub(crate) trailing: Vec<u8>,
    /// Whether section offsets and counts follow from the parts, or stay as they are in `header`.
    pub(crate) keep_header: bool,
}

impl Raw {
    /// Takes a file apart.
    pub(crate) fn new(file: &[u8]) -> Self {
        let header = Header::decode(file).unwrap();
        let metadata = &file[HEADER_SIZE..HEADER_SIZE + header.metadata_size as usize];
        let mut position = header.tensor_index_offset as usize;
        let mut take = |n: usize| {
            position += n;
            &file[position - n..position]
        };
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let entries = (0..header.tensor_count)
            .map(|_| {
                let name_size = u16::from_le_bytes(take(2).try_into().unwrap());
                let name = take(name_size as usize).to_vec();
                let [dtype, n_dimensions] = take(2).try_into().unwrap();
                let dimensions = (0..n_dimensions).map(|_| number(take(8))).collect();
                let (offset, size) = (number(take(8)), number(take(8)));
                RawEntry { name, dtype, n_dimensions, dimensions, offset, size }
            })
            .collect();
        Self {
            header,
            metadata: String::from_utf8(metadata.to_vec()).unwrap(),
            entries,
            data: file[header.data_offset as usize..file.len() - 4].to_vec(),
            trailing: Vec::new(),
            keep_header: false,
        }
    }

    /// The small model taken apart.
    pub(crate) fn small() -> Self {
        Self::new(&small_model(1))
    }

    /// The same without the fields that only our files have.
    pub(crate) fn without_hashes(&self) -> Self {
        let mut raw = self.clone();
        raw.edit(|object| {
            for key in ["root_hash", "signature", "tensor_hashes"] {
                object.remove(key).unwrap();
            }
        });
        raw
    }

    /// Changes the metadata as an object.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
        let mut value: serde_json::Value = serde_json::from_str(&self.metadata).unwrap();
        change(value.as_object_mut().unwrap());
        self.metadata = value.to_string();
    }

    /// The entry called `name`.
    pub(crate) fn entry(&mut self, name: &str) -> &mut RawEntry {
        self.entries.iter_mut().find(|entry| entry.name == name.as_bytes()).unwrap()
    }

    /// Changes the metadata text; what is replaced must be there.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        assert!(self.metadata.contains(from), "{from} is not in {}", self.metadata);
        self.metadata = self.metadata.replacen(from, to, 1);
    }

    /// Puts the file together.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut index = Vec::new();
        for entry in &self.entries {
            index.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
            index.extend_from_slice(&entry.name);
            index.extend_from_slice(&[entry.dtype, entry.n_dimensions]);
            index.extend(entry.dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()));
            index.extend_from_slice(&entry.offset.to_le_bytes());
            index.extend_from_slice(&entry.size.to_le_bytes());
        }
        let mut header = self.header;
        let index_start = (HEADER_SIZE + self.metadata.len()).next_multiple_of(64);
        let data_start = (index_start + index.len()).next_multiple_of(64);
        if !self.keep_header {
            header.tensor_count = self.entries.len() as u32;
            header.metadata_size = self.metadata.len() as u32;
            header.tensor_index_offset = index_start as u64;
            header.data_offset = data_start as u64;
        }
        header.checksum = header.computed_checksum();
        let mut file = header.to_bytes().to_vec();
        file.extend_from_slice(self.metadata.as_bytes());
        file.resize(index_start, 0);
        file.extend_from_slice(&index);
        file.resize(data_start, 0);
        file.extend_from_slice(&self.data);
        seal(&mut file, data_start);
        let checksum = crc32fast::hash(&file);
        file.extend_from_slice(&checksum.to_le_bytes());
        file.extend_from_slice(&self.trailing);
        file
    }
}

/// Writes the root hash where the file has a place for it, found by searching the text.
pub(crate) fn seal(file: &mut [u8], data_start: usize) {
    let mut zeroed = file[..data_start].to_vec();
    for (key, n_digits) in [("\"root_hash\":\"", 64), ("\"signature\":\"", 192)] {
        if let Some(position) = find(&zeroed, key.as_bytes()) {
            let start = position + key.len();
            zeroed[start..start + n_digits].fill(b'0');
        }
    }
    let root_hash = blake3::hash(&zeroed).to_hex();
    if let Some(position) = find(file, b"\"root_hash\":\"") {
        file[position + 13..position + 13 + 64].copy_from_slice(root_hash.as_bytes());
    }
}

/// Corrects both CRC32 of a file that was altered.
pub(crate) fn fix_checksums(file: &mut [u8]) {
    if let Ok(header) = Header::decode(file) {
        file[40..44].copy_from_slice(&header.computed_checksum().to_le_bytes());
    }
    let end = file.len() - 4;
    let checksum = crc32fast::hash(&file[..end]);
    file[end..].copy_from_slice(&checksum.to_le_bytes());
}

/// Everything in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Where `needle` starts in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
