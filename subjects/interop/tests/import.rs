//! Sound sources: what an import writes, that every way to the same weights writes the same, and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use apr_format::{AprFile, Overwrite};
use apr_interop::{
    Encoding, ImportOptions, ImportSummary, Progress, Silent, Source, dequantize, gguf, import,
};
use apr_tensor::{DType, Float};
use apr_tokenizer::Tokenizer;
use support::gguf_file::{GgufFile, TYPE_Q4_0};
use support::safetensors_file::{entry, file, qwen2_tensors, with_tensors, write_directory};
use support::{fixture, import_default, import_with, refused};
use tempfile::TempDir;

/// A directory for outputs, and a path in it.
fn output() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.apr");
    (directory, path)
}

fn tied() -> ImportOptions {
    ImportOptions { tie_embeddings: true, ..ImportOptions::default() }
}

fn as_dtype(dtype: Float) -> ImportOptions {
    ImportOptions { dtype: Some(dtype), ..ImportOptions::default() }
}

/// Name, dtype, shape and hash of every tensor.
fn tensors_of(path: &Path) -> Vec<(String, DType, Vec<usize>, String)> {
    let apr = AprFile::open_verified(path).unwrap();
    let hash = |name: &str| apr.tensor_hash(name).unwrap().to_owned();
    apr.entries()
        .iter()
        .map(|entry| (entry.name.clone(), entry.dtype, entry.shape.clone(), hash(&entry.name)))
        .collect()
}

#[test]
fn a_quantized_gguf_and_the_safetensors_of_the_same_weights_have_the_same_tensor_hashes() {
    let (directory, from_gguf) = output();
    let from_shards = directory.path().join("shards.apr");
    let gguf = import_with(&fixture("tiny-qwen2.gguf"), &from_gguf, &tied()).unwrap();
    let shards = import_default(&fixture("tiny-qwen2"), &from_shards).unwrap();
    let tensors = tensors_of(&from_gguf);
    assert_eq!(tensors, tensors_of(&from_shards));
    assert!(tensors.iter().all(|(_, dtype, ..)| *dtype == DType::F16));
    assert_eq!(gguf.weights_fingerprint, shards.weights_fingerprint);
    assert_eq!((gguf.n_tensors, gguf.n_parameters), (14, shards.n_parameters));
    let (gguf, shards) = (AprFile::open(&from_gguf).unwrap(), AprFile::open(&from_shards).unwrap());
    assert_eq!(gguf.metadata().config, shards.metadata().config);
    assert_eq!(gguf.metadata().chat_template, shards.metadata().chat_template);
    assert_eq!(gguf.metadata().special_tokens["eos_token"], "<|im_end|>");
    assert_eq!(shards.metadata().special_tokens["pad_token"], "<|endoftext|>");
    let generation =
        |apr: &AprFile, key: &str| apr.metadata().generation_config.as_ref().unwrap()[key].clone();
    assert_eq!(generation(&gguf, "eos_token_id"), generation(&shards, "eos_token_id"));
    assert_eq!(generation(&shards, "temperature"), 0.7);
}

#[test]
fn one_changed_weight_changes_one_tensor_hash() {
    let (directory, plain) = output();
    let changed = directory.path().join("changed.apr");
    let mut file = GgufFile::qwen2();
    let write_and_import = |file: &GgufFile, out: &Path| {
        let source = directory.path().join("model.gguf");
        std::fs::write(&source, file.bytes()).unwrap();
        import_default(&source, out).unwrap();
    };
    write_and_import(&file, &plain);
    file.tensor("blk.0.ffn_up.weight").data[5] ^= 1;
    write_and_import(&file, &changed);
    let differing: Vec<String> = tensors_of(&plain)
        .into_iter()
        .zip(tensors_of(&changed))
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0)
        .collect();
    assert_eq!(differing, ["model.layers.0.mlp.up_proj.weight"]);
}

#[test]
fn without_tying_both_matrices_of_a_gguf_are_kept() {
    let (_directory, out) = output();
    let summary = import_default(&fixture("tiny-qwen2.gguf"), &out).unwrap();
    let apr = AprFile::open(&out).unwrap();
    assert_eq!(summary.n_tensors, 15);
    assert!(!apr.metadata().config.tie_word_embeddings);
    assert_ne!(apr.tensor_hash("lm_head.weight"), apr.tensor_hash("model.embed_tokens.weight"));
}

#[test]
fn tying_two_different_matrices_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    let mut file = GgufFile::qwen2();
    file.add_f32("output.weight", &[16, 260]);
    std::fs::write(&path, file.bytes()).unwrap();
    refused(&path, &path, &tied(), "--tie-embeddings: `token_embd.weight` and `output.weight` differ by");

    let embedding = file.tensor("token_embd.weight").data.clone();
    file.tensor("output.weight").data = embedding;
    std::fs::write(&path, file.bytes()).unwrap();
    let summary = import_with(&path, &directory.path().join("out.apr"), &tied()).unwrap();
    assert_eq!(summary.transformations, ["tied the embeddings to `output.weight` (F32)"]);
}

#[test]
fn interleaved_heads_of_a_llama_gguf_are_put_in_the_checkpoints_order() {
    let (directory, from_gguf) = output();
    import_default(&fixture("tiny-llama.gguf"), &from_gguf).unwrap();
    let source = directory.path().join("model.safetensors");
    std::fs::copy(fixture("tiny-llama.safetensors"), &source).unwrap();
    let config = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": 288, "rope_theta": 100000.0,
        "rms_norm_eps": 1e-05, "max_position_embeddings": 512, "tie_word_embeddings": true}"#;
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let from_file = directory.path().join("file.apr");
    import_default(&source, &from_file).unwrap();
    assert_eq!(tensors_of(&from_gguf), tensors_of(&from_file));
    let (a, b) = (AprFile::open(&from_gguf).unwrap(), AprFile::open(&from_file).unwrap());
    assert_eq!(a.metadata().config, b.metadata().config);
    // Stored dtypes are kept: this file is not quantized.
    let dtypes: Vec<DType> = a.entries().iter().map(|entry| entry.dtype).collect();
    assert!(dtypes.contains(&DType::F16) && dtypes.contains(&DType::F32), "{dtypes:?}");
}

#[test]
fn every_dtype_holds_the_values_of_the_gguf_package_rounded_to_it() {
    let bytes = std::fs::read(fixture("tiny-qwen2.gguf")).unwrap();
    let parsed = gguf::parse(&bytes).unwrap();
    for dtype in Float::ALL {
        let (_directory, out) = output();
        import_with(&fixture("tiny-qwen2.gguf"), &out, &as_dtype(dtype)).unwrap();
        let apr = AprFile::open(&out).unwrap();
        for (source, key) in [
            ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight"),
            ("output_norm.weight", "model.norm.weight"),
        ] {
            let info = parsed.tensors.iter().find(|tensor| tensor.name == source).unwrap();
            let mut values = vec![0.0; info.shape.iter().product()];
            let blocks = &bytes[info.offset as usize..][..info.size as usize];
            dequantize(info.encoding, blocks, &mut values);
            let expected: Vec<f32> = values.into_iter().map(|value| round(value, dtype)).collect();
            let tensor = apr.tensor(key).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype.dtype(), info.shape.as_slice()));
            assert_eq!(tensor.to_f32(), expected, "{key} as {dtype}");
        }
    }
}

fn round(value: f32, dtype: Float) -> f32 {
    match dtype {
        Float::F32 => value,
        Float::F16 => half::f16::from_f32(value).to_f32(),
        Float::Bf16 => half::bf16::from_f32(value).to_f32(),
    }
}

#[test]
fn a_value_too_large_for_f16_is_refused_and_fits_bf16() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    let mut file = GgufFile::qwen2();
    let largest = 65_519.996_f32;
    for (value, fits) in [(largest, true), (65_520.0, false), (-1e30, false), (f32::INFINITY, true)] {
        file.tensor("output_norm.weight").data[4..8].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&path, file.bytes()).unwrap();
        let (_directory, out) = output();
        let imported = import_with(&path, &out, &as_dtype(Float::F16));
        assert_eq!(imported.is_ok(), fits, "{value}: {imported:?}");
    }
    file.tensor("output_norm.weight").data[4..8].copy_from_slice(&65_520.0_f32.to_le_bytes());
    std::fs::write(&path, file.bytes()).unwrap();
    refused(&path, &path, &as_dtype(Float::F16), "tensor `output_norm.weight` in");
    refused(&path, &path, &as_dtype(Float::F16), "holds 65520, which is too large for F16");
    let (_directory, out) = output();
    import_with(&path, &out, &as_dtype(Float::Bf16)).unwrap();
    assert_eq!(AprFile::open(&out).unwrap().tensor("model.norm.weight").unwrap().to_f32()[1], 65_536.0);
}

#[test]
fn the_rebuilt_tokenizer_encodes_by_its_merges_and_knows_its_control_tokens() {
    let (_directory, out) = output();
    import_default(&fixture("tiny-qwen2.gguf"), &out).unwrap();
    let json = AprFile::open(&out).unwrap().tokenizer_json().unwrap().unwrap();
    let tokenizer = Tokenizer::from_json(&json).unwrap();
    let id = |text: &str| tokenizer.token_to_id(text).unwrap();
    assert_eq!(tokenizer.encode("the the"), [id("the"), id(" the")]);
    // NFC: e and a combining acute are one character before they are bytes.
    assert_eq!(tokenizer.encode("e\u{301}"), tokenizer.encode("\u{e9}"));
    assert_eq!(tokenizer.encode_with_control("<|im_end|>"), [id("<|im_end|>")]);
    assert!(tokenizer.is_control(id("<|im_end|>")));
    assert_eq!(tokenizer.token_to_id("[PAD287]"), None, "padding is no token");
    assert_eq!(tokenizer.decode(&tokenizer.encode("and \u{1F600}")), "and \u{1F600}");
}

#[test]
fn the_file_says_where_it_came_from_and_is_the_same_every_time() {
    let (directory, out) = output();
    let summary = import_with(&fixture("tiny-qwen2.gguf"), &out, &tied()).unwrap();
    let again = directory.path().join("again.apr");
    import_with(&fixture("tiny-qwen2.gguf"), &again, &tied()).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&again).unwrap());

    let apr = AprFile::open(&out).unwrap();
    let provenance = apr.metadata().provenance.clone().unwrap();
    let bytes = std::fs::read(fixture("tiny-qwen2.gguf")).unwrap();
    assert_eq!(provenance.files.len(), 1);
    assert_eq!(provenance.files[0].name, "tiny-qwen2.gguf");
    assert_eq!(provenance.files[0].size, bytes.len() as u64);
    let sha256 = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
    assert_eq!(provenance.files[0].sha256, hex::encode(sha256));
    assert_eq!(provenance.transformations, summary.transformations);
    assert_eq!(apr.root_hash(), summary.root_hash);
    assert_eq!(summary.file_size, std::fs::metadata(&out).unwrap().len());
    assert_eq!(apr.metadata().license.as_deref(), Some("cc0-1.0"));
}

#[test]
fn gguf_version_2_is_read_like_version_3() {
    let directory = tempfile::tempdir().unwrap();
    let import_version = |version: u32| {
        let source = directory.path().join("model.gguf");
        std::fs::write(&source, GgufFile { version: version.to_le_bytes(), ..GgufFile::qwen2() }.bytes())
            .unwrap();
        let out = directory.path().join(format!("v{version}.apr"));
        import_default(&source, &out).unwrap().weights_fingerprint
    };
    assert_eq!(import_version(2), import_version(3));
}

#[test]
fn an_alignment_of_the_files_own_is_honoured() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("model.gguf");
    let import_file = |file: &GgufFile, name: &str| {
        std::fs::write(&source, file.bytes()).unwrap();
        import_default(&source, &directory.path().join(name)).unwrap().weights_fingerprint
    };
    let mut file = GgufFile::qwen2();
    let plain = import_file(&file, "32.apr");
    file.alignment = 256;
    file.set_u32("general.alignment", 256);
    assert_eq!(import_file(&file, "256.apr"), plain);
}

#[test]
fn a_lone_file_takes_a_published_qwen2s_dimensions_from_its_shapes() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("model.safetensors");
    let tensors: Vec<(String, Vec<usize>)> = qwen2_tensors()
        .into_iter()
        .map(|(name, shape)| {
            // hidden 16 -> 896, keys and values 8 -> 128, the rest stays small.
            let wide = |dim: usize| match dim {
                16 => 896,
                8 => 128,
                other => other,
            };
            (name, shape.into_iter().map(wide).collect())
        })
        .collect();
    std::fs::write(&source, with_tensors(&tensors)).unwrap();
    let out = directory.path().join("out.apr");
    let options = ImportOptions { arch: Some("qwen2".to_owned()), ..ImportOptions::default() };
    let summary = import_with(&source, &out, &options).unwrap();
    let config = AprFile::open(&out).unwrap().metadata().config.clone();
    assert_eq!((config.num_heads, config.num_kv_heads, config.head_dim), (14, 2, 64));
    assert!(config.tie_word_embeddings);
    assert!(
        summary.notes[0].starts_with("no config.json: dimensions come from tensor shapes"),
        "{:?}",
        summary.notes
    );

    refused(&source, &source, &ImportOptions::default(), "hint: pass --arch qwen2");
    let llama = ImportOptions { arch: Some("llama".to_owned()), ..ImportOptions::default() };
    refused(&source, &source, &llama, "its config does not say num_attention_heads, max_position_embeddings");
    let unknown = ImportOptions { arch: Some("gpt9".to_owned()), ..ImportOptions::default() };
    refused(&source, &source, &unknown, "its architecture is `gpt9`; supported are qwen2, llama, mistral");
}

#[test]
fn an_arch_that_the_source_contradicts_is_refused() {
    let options = ImportOptions { arch: Some("llama".to_owned()), ..ImportOptions::default() };
    let gguf = fixture("tiny-qwen2.gguf");
    refused(&gguf, &gguf, &options, "its architecture is `qwen2`, not `llama`");
    refused(
        &fixture("tiny-qwen2"),
        &fixture("tiny-qwen2"),
        &options,
        "its architecture is `qwen2`, not `llama`",
    );
}

#[test]
fn an_output_that_exists_is_replaced_only_when_asked_and_never_when_it_is_the_source() {
    let (directory, out) = output();
    std::fs::write(&out, "precious").unwrap();
    let error = import_default(&fixture("tiny-qwen2.gguf"), &out).unwrap_err();
    assert!(error.contains("already exists"), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    let allow = ImportOptions { overwrite: Overwrite::Allow, ..ImportOptions::default() };
    import_with(&fixture("tiny-qwen2.gguf"), &out, &allow).unwrap();
    assert_eq!(AprFile::open_verified(&out).unwrap().entries().len(), 15);

    let source = directory.path().join("model.gguf");
    std::fs::copy(fixture("tiny-qwen2.gguf"), &source).unwrap();
    let alias = directory.path().join("alias.apr");
    std::os::unix::fs::symlink(&source, &alias).unwrap();
    for out in [&source, &alias] {
        let error = import_with(&source, out, &allow).unwrap_err();
        assert!(error.contains("is both input and output"), "{error}");
    }
    assert_eq!(std::fs::read(&source).unwrap(), std::fs::read(fixture("tiny-qwen2.gguf")).unwrap());
}

/// Does something to the source at the moment its tensors are about to be read.
struct Meddler<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> Progress for Meddler<F> {
    fn start(&self, what: &str, _total_bytes: Option<u64>) {
        if what.starts_with("importing") {
            (self.0)();
        }
    }

    fn advance(&self, _n_bytes: u64) {}
}

#[test]
fn a_source_that_changes_while_it_is_read_is_an_error_and_leaves_nothing() {
    let shrink =
        |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(9000).unwrap();
    let rewrite =
        |path: &Path| std::fs::write(path, std::fs::read(fixture("tiny-qwen2.gguf")).unwrap()).unwrap();
    for meddle in [shrink as fn(&Path), rewrite] {
        let (directory, out) = output();
        let source = directory.path().join("model.gguf");
        std::fs::copy(fixture("tiny-qwen2.gguf"), &source).unwrap();
        std::fs::File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let progress = Meddler(|| meddle(&source));
        let error =
            import(&Source::Gguf(source.clone()), &out, &ImportOptions::default(), &progress).unwrap_err();
        assert!(error.to_string().contains("changed while it was being imported"), "{error}");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "only the source is left");
    }
}

/// Counts bytes, and cancels once some were written.
#[derive(Default)]
struct Impatient {
    cancels: bool,
    importing: AtomicBool,
    total: AtomicU64,
    done: AtomicU64,
}

impl Progress for Impatient {
    fn start(&self, what: &str, total_bytes: Option<u64>) {
        self.importing.store(what.starts_with("importing"), Ordering::Relaxed);
        self.total.store(total_bytes.unwrap(), Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, n_bytes: u64) {
        self.done.fetch_add(n_bytes, Ordering::Relaxed);
    }

    fn end(&self) {
        assert_eq!(self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
    }

    fn is_cancelled(&self) -> bool {
        self.cancels && self.importing.load(Ordering::Relaxed) && self.done.load(Ordering::Relaxed) > 0
    }
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let (directory, out) = output();
    let source = Source::Gguf(fixture("tiny-qwen2.gguf"));
    let impatient = Impatient { cancels: true, ..Impatient::default() };
    let error = import(&source, &out, &ImportOptions::default(), &impatient).unwrap_err();
    assert_eq!(error.to_string(), "the import was cancelled; nothing was written");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    import(&source, &out, &ImportOptions::default(), &Impatient::default()).unwrap();
}

#[test]
fn a_head_that_the_config_ties_is_left_out() {
    let (directory, out) = output();
    write_directory(directory.path());
    let mut tensors = qwen2_tensors();
    tensors.push(("lm_head.weight".to_owned(), vec![24, 16]));
    std::fs::write(directory.path().join("model.safetensors"), with_tensors(&tensors)).unwrap();
    let summary = import_default(directory.path(), &out).unwrap();
    assert_eq!(summary.n_tensors, 14);
    assert_eq!(
        summary.notes[0],
        "config.json ties the embeddings: `lm_head.weight` is left out, as transformers does"
    );
}

#[test]
fn sources_are_told_apart_by_content_before_name() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("weights.safetensors");
    std::fs::copy(fixture("tiny-qwen2.gguf"), &odd).unwrap();
    assert_eq!(Source::from_path(&odd).unwrap(), Source::Gguf(odd.clone()));
    assert_eq!(
        Source::from_path(directory.path()).unwrap(),
        Source::SafetensorsDir(directory.path().to_owned())
    );
    let pipe = Path::new("/dev/null");
    let error = Source::from_path(pipe).unwrap_err().to_string();
    assert!(error.contains("it is neither a regular file nor a directory"), "{error}");
}

#[test]
fn a_summary_serializes_with_every_number() {
    let (_directory, out) = output();
    let summary: ImportSummary = import_default(&fixture("tiny-qwen2.gguf"), &out).unwrap();
    let json = serde_json::to_value(&summary).unwrap();
    for key in [
        "source",
        "n_tensors",
        "n_parameters",
        "source_bytes",
        "file_size",
        "seconds",
        "root_hash",
        "weights_fingerprint",
    ] {
        assert!(json.get(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    assert!(json["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_safetensors_file_of_bf16_is_copied_unchanged() {
    let (directory, out) = output();
    write_directory(directory.path());
    let mut data = Vec::new();
    let mut entries = Vec::new();
    for (name, shape) in qwen2_tensors() {
        let begin = data.len();
        let n: usize = shape.iter().product();
        data.extend((0..n).flat_map(|i| half::bf16::from_f32(i as f32 / 7.0).to_le_bytes()));
        entries.push(entry(&name, &shape, begin, data.len()).replace("F32", "BF16"));
    }
    std::fs::write(
        directory.path().join("model.safetensors"),
        file(&format!("{{{}}}", entries.join(",")), &data),
    )
    .unwrap();
    import_default(directory.path(), &out).unwrap();
    let tensor = AprFile::open(&out).unwrap().tensor("model.embed_tokens.weight").unwrap();
    assert_eq!(tensor.dtype(), DType::Bf16);
    assert_eq!(&tensor.bytes()[..], &data[..24 * 16 * 2]);
}

#[test]
fn blocks_of_a_quantized_tensor_keep_their_rows() {
    // One row of ones among rows of other values shows a shift of rows or blocks at once.
    let directory = tempfile::tempdir().unwrap();
    let (source, out) = (directory.path().join("model.gguf"), directory.path().join("out.apr"));
    let mut file = GgufFile::qwen2();
    let tensor = file.tensor("token_embd.weight");
    (tensor.kind, tensor.dims) = (TYPE_Q4_0, vec![32, 130]);
    let scale = half::f16::ONE.to_le_bytes();
    tensor.data =
        (0..130).flat_map(|row| [&scale[..], &[if row == 77 { 0x99 } else { 0x88 }; 16]].concat()).collect();
    std::fs::write(&source, file.bytes()).unwrap();
    let bytes = file.bytes();
    let parsed = gguf::parse(&bytes).unwrap();
    let info = &parsed.tensors[0];
    assert_eq!((info.encoding, info.shape.as_slice()), (Encoding::Q4_0, &[130, 32][..]));
    let mut values = vec![0.0; 130 * 32];
    dequantize(info.encoding, &bytes[info.offset as usize..][..info.size as usize], &mut values);
    assert!(
        values.chunks(32).enumerate().all(|(row, values)| values == [f32::from(u8::from(row == 77)); 32])
    );
    let error = import(&Source::Gguf(source), &out, &ImportOptions::default(), &Silent).unwrap_err();
    assert!(
        error.to_string().contains("the embedding has 130 rows") || error.to_string().contains("asks for"),
        "{error}"
    );
}
