//! A builder of safetensors files and directories that can be wrong in any way.

use std::path::Path;

/// Header and data as a file: the length that is true, then both.
pub fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// One header entry.
pub fn entry(name: &str, shape: &[usize], begin: usize, end: usize) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
}

/// Names and shapes of a sound Qwen2 of one layer: hidden 16, 2 heads of 8, one key and value head, vocabulary 24.
pub fn qwen2_tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![24, 16]),
        ("model.norm.weight".to_owned(), vec![16]),
    ];
    for (name, shape) in [
        ("input_layernorm.weight", vec![16]),
        ("self_attn.q_proj.weight", vec![16, 16]),
        ("self_attn.q_proj.bias", vec![16]),
        ("self_attn.k_proj.weight", vec![8, 16]),
        ("self_attn.k_proj.bias", vec![8]),
        ("self_attn.v_proj.weight", vec![8, 16]),
        ("self_attn.v_proj.bias", vec![8]),
        ("self_attn.o_proj.weight", vec![16, 16]),
        ("post_attention_layernorm.weight", vec![16]),
        ("mlp.gate_proj.weight", vec![24, 16]),
        ("mlp.up_proj.weight", vec![24, 16]),
        ("mlp.down_proj.weight", vec![16, 24]),
    ] {
        tensors.push((format!("model.layers.0.{name}"), shape));
    }
    tensors
}

/// A safetensors file with those tensors, in f32.
pub fn with_tensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let begin = data.len();
        let n: usize = shape.iter().product();
        data.extend((0..n).flat_map(|i| ((i % 13) as f32 / 16.0).to_le_bytes()));
        entries.push(entry(name, shape, begin, data.len()));
    }
    file(&format!("{{{}}}", entries.join(",")), &data)
}

/// The config.json of [`qwen2_tensors`].
pub const CONFIG: &str = r#"{
  "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
  "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
  "intermediate_size": 24, "vocab_size": 24, "max_position_embeddings": 64,
  "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "tie_word_embeddings": true, "use_sliding_window": false
}"#;

/// Writes a sound directory with one file.
pub fn write_directory(directory: &Path) {
    std::fs::write(directory.join("config.json"), CONFIG).unwrap();
    std::fs::write(directory.join("model.safetensors"), with_tensors(&qwen2_tensors())).unwrap();
}

/// Writes a sound directory with two shards, `a.safetensors` and `b.safetensors`.
pub fn write_sharded(directory: &Path) {
    std::fs::write(directory.join("config.json"), CONFIG).unwrap();
    let tensors = qwen2_tensors();
    let (first, second) = tensors.split_at(6);
    std::fs::write(directory.join("a.safetensors"), with_tensors(first)).unwrap();
    std::fs::write(directory.join("b.safetensors"), with_tensors(second)).unwrap();
    let in_a = first.iter().map(|(name, _)| (name.as_str(), "a.safetensors"));
    let in_b = second.iter().map(|(name, _)| (name.as_str(), "b.safetensors"));
    write_index(directory, in_a.chain(in_b));
}

/// Writes `model.safetensors.index.json`.
pub fn write_index<'a>(directory: &Path, weight_map: impl Iterator<Item = (&'a str, &'a str)>) {
    let lines: Vec<String> = weight_map.map(|(name, shard)| format!("{name:?}: {shard:?}")).collect();
    let index = format!("{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}", lines.join(",\n"));
    std::fs::write(directory.join("model.safetensors.index.json"), index).unwrap();
}
