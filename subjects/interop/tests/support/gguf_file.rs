//! A builder of GGUF files that can be wrong in any way.

/// GGUF's numbers of the value types used here.
pub const U8: u32 = 0;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

/// GGUF's numbers of the element types used here.
pub const TYPE_F32: u32 = 0;
pub const TYPE_Q4_0: u32 = 2;
pub const TYPE_Q8_0: u32 = 8;

/// One tensor of the table.
#[derive(Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    /// Innermost first, as the file has them.
    pub dims: Vec<u64>,
    /// Written instead of `dims.len()`.
    pub n_dims: Option<u32>,
    pub kind: u32,
    /// Written instead of the place the data gets.
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

/// A file to be written.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: [u8; 4],
    /// Written instead of the number of tensors.
    pub n_tensors: Option<u64>,
    /// Written instead of the number of keys.
    pub n_keys: Option<u64>,
    /// Key, value type and value as bytes.
    pub metadata: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
    pub alignment: usize,
}

/// A string as GGUF writes it.
pub fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

/// An array of strings as GGUF writes it.
pub fn strings<S: AsRef<str>>(texts: &[S]) -> Vec<u8> {
    let texts: Vec<Vec<u8>> = texts.iter().map(|text| string(text.as_ref().as_bytes())).collect();
    [STRING.to_le_bytes().to_vec(), (texts.len() as u64).to_le_bytes().to_vec(), texts.concat()].concat()
}

/// An array of i32 as GGUF writes it.
pub fn integers(values: &[i32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [&I32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &bytes].concat()
}

/// An array of f32 as GGUF writes it.
pub fn floats(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [&F32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &bytes].concat()
}

/// The vocabulary of [`GgufFile::qwen2`]: 256 bytes, a merge, three control tokens.
pub fn tokens() -> Vec<String> {
    let is_kept = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 256;
    let mut tokens: Vec<String> = (0..256)
        .map(|byte| {
            let stand_in = if is_kept(byte) { byte } else { next };
            next += u32::from(!is_kept(byte));
            char::from_u32(stand_in).unwrap().to_string()
        })
        .collect();
    tokens.extend(["th", "<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    tokens
}

/// Number of [`tokens`].
pub const VOCAB: usize = 260;
/// Width of [`GgufFile::qwen2`].
pub const HIDDEN: usize = 16;

impl GgufFile {
    /// A sound Qwen2 of one layer in f32, 2 heads of 8, one key and value head.
    pub fn qwen2() -> Self {
        let mut file = Self {
            magic: *b"GGUF",
            version: 3_u32.to_le_bytes(),
            n_tensors: None,
            n_keys: None,
            metadata: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        };
        file.set_string("general.architecture", "qwen2");
        for (key, value) in [
            ("qwen2.block_count", 1),
            ("qwen2.context_length", 64),
            ("qwen2.embedding_length", HIDDEN as u32),
            ("qwen2.feed_forward_length", 24),
            ("qwen2.attention.head_count", 2),
            ("qwen2.attention.head_count_kv", 1),
            ("tokenizer.ggml.eos_token_id", 259),
            ("tokenizer.ggml.bos_token_id", 257),
        ] {
            file.set_u32(key, value);
        }
        file.set("qwen2.attention.layer_norm_rms_epsilon", F32, &1e-6_f32.to_le_bytes());
        file.set("qwen2.rope.freq_base", F32, &1e6_f32.to_le_bytes());
        file.set_string("tokenizer.ggml.model", "gpt2");
        file.set_string("tokenizer.ggml.pre", "qwen2");
        file.set("tokenizer.ggml.tokens", ARRAY, &strings(&tokens()));
        let mut types = vec![1; VOCAB];
        types[257..].fill(3);
        file.set("tokenizer.ggml.token_type", ARRAY, &integers(&types));
        file.set("tokenizer.ggml.merges", ARRAY, &strings(&["t h"]));

        file.add_f32("token_embd.weight", &[HIDDEN, VOCAB]);
        file.add_f32("output_norm.weight", &[HIDDEN]);
        for (name, dims) in [
            ("attn_norm.weight", vec![HIDDEN]),
            ("attn_q.weight", vec![HIDDEN, 16]),
            ("attn_q.bias", vec![16]),
            ("attn_k.weight", vec![HIDDEN, 8]),
            ("attn_k.bias", vec![8]),
            ("attn_v.weight", vec![HIDDEN, 8]),
            ("attn_v.bias", vec![8]),
            ("attn_output.weight", vec![16, HIDDEN]),
            ("ffn_norm.weight", vec![HIDDEN]),
            ("ffn_gate.weight", vec![HIDDEN, 24]),
            ("ffn_up.weight", vec![HIDDEN, 24]),
            ("ffn_down.weight", vec![24, HIDDEN]),
        ] {
            file.add_f32(&format!("blk.0.{name}"), &dims);
        }
        file
    }

    /// Sets a key, in place when it is there.
    pub fn set(&mut self, key: &str, kind: u32, value: &[u8]) {
        let entry = (key.as_bytes().to_vec(), kind, value.to_vec());
        match self.metadata.iter_mut().find(|(other, ..)| other == key.as_bytes()) {
            Some(old) => *old = entry,
            None => self.metadata.push(entry),
        }
    }

    pub fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, U32, &value.to_le_bytes());
    }

    pub fn set_string(&mut self, key: &str, value: &str) {
        self.set(key, STRING, &string(value.as_bytes()));
    }

    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(other, ..)| other != key.as_bytes());
    }

    /// Adds an f32 tensor; `dims` innermost first. Its values are small and all different.
    pub fn add_f32(&mut self, name: &str, dims: &[usize]) {
        let n: usize = dims.iter().product();
        let seed = self.tensors.len() as f32;
        let data = (0..n)
            .flat_map(|i| (((i * 37 % 101) as f32 - 50.0) / 400.0 + seed / 64.0).to_le_bytes())
            .collect();
        let dims = dims.iter().map(|&dim| dim as u64).collect();
        let name = name.as_bytes().to_vec();
        self.tensors.push(Tensor { name, dims, n_dims: None, kind: TYPE_F32, offset: None, data });
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes()).unwrap()
    }

    /// Offset of each tensor in the data section.
    pub fn offsets(&self) -> Vec<u64> {
        let mut position = 0;
        let mut offsets = Vec::new();
        for tensor in &self.tensors {
            offsets.push(position as u64);
            position = (position + tensor.data.len()).next_multiple_of(self.alignment);
        }
        offsets
    }

    /// Everything before the data section's padding.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = [self.magic, self.version].concat();
        bytes.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.n_keys.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.metadata {
            bytes.extend(string(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        for (tensor, offset) in self.tensors.iter().zip(self.offsets()) {
            bytes.extend(string(&tensor.name));
            bytes.extend(tensor.n_dims.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            bytes.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
        }
        bytes
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let start = bytes.len().next_multiple_of(self.alignment);
        for (tensor, offset) in self.tensors.iter().zip(self.offsets()) {
            bytes.resize(start + offset as usize, 0);
            bytes.extend(&tensor.data);
        }
        bytes
    }
}
