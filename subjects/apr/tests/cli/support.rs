//! A small random model of the Qwen2 architecture, and running `apr` on it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use apr_interop::{ImportOptions, Silent, Source, import};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Ids of the control tokens; the 256 before them are the bytes.
pub(crate) const END_OF_TEXT: usize = 256;
pub(crate) const IM_START: usize = 257;
pub(crate) const IM_END: usize = 258;
/// Rows of the embedding, a few more than there are tokens, as in the real model.
pub(crate) const VOCAB_SIZE: usize = 264;
pub(crate) const N_LAYERS: usize = 2;
pub(crate) const N_HEADS: usize = 4;
pub(crate) const CONTEXT: usize = 512;
const HIDDEN: usize = 64;
const KV: usize = 32;
const INTERMEDIATE: usize = 96;

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Threads of a process whose names begin so; a process that ended has none.
pub(crate) fn n_threads_called(id: u32, prefix: &str) -> usize {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return 0 };
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// An empty folder with the small model in it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("apr-cli-").tempdir().unwrap();
        fs::copy(model(), folder.path().join("model.apr")).unwrap();
        Self { folder }
    }

    /// The same with a model whose replies end only at `--max-tokens`, and that takes long ones.
    pub(crate) fn endless() -> Self {
        let place = Self::new();
        let checkpoint = Checkpoint { end_of_text: &[], context: 16_384, ..Checkpoint::default() };
        checkpoint.write(&place.path("checkpoint"));
        place.apr().args(["import", "checkpoint", "-o", "model.apr", "--force"]).assert().success();
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `apr` in this folder, with a clean environment.
    pub(crate) fn apr(&self) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new(apr());
        command.current_dir(self.folder.path()).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.envs(place_of_counts());
        // Verified models are remembered here and not in the developer's cache.
        command.env("HOME", self.folder.path()).timeout(std::time::Duration::from_mins(2));
        command
    }

    /// The same as the standard library's command, for tests that need its pipes.
    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(apr());
        command.current_dir(self.folder.path()).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.envs(place_of_counts());
        command.env("HOME", self.folder.path()).stdin(std::process::Stdio::null());
        command
    }

    /// Runs `apr ARGS` and returns the exit code, standard output and standard error as one text, for a snapshot.
    pub(crate) fn run<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> String {
        shown(&self.apr().args(args).output().unwrap())
    }

    /// Runs `apr ARGS`, which must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn stdout<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> String {
        let output = self.apr().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `apr ARGS`, which must succeed, and parses its standard output.
    #[track_caller]
    pub(crate) fn json<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Value {
        serde_json::from_str(&self.stdout(args)).unwrap()
    }

    /// Names in this folder, sorted, but for the cache of verified models.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

/// Names in `folder`, sorted, but for the cache of verified models.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| name != ".cache");
    names.sort();
    names
}

/// Where an executable that was built to measure coverage leaves its counts; without it, beside what it works on.
pub(crate) fn place_of_counts() -> Option<(&'static str, std::ffi::OsString)> {
    const NAME: &str = "LLVM_PROFILE_FILE";
    std::env::var_os(NAME).map(|place| (NAME, place))
}

/// The executable under test.
pub(crate) fn apr() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_apr"))
}

/// Exit code, standard output and standard error as one text. Hashes and times are replaced by their names.
pub(crate) fn shown(output: &std::process::Output) -> String {
    let text = format!(
        "exit: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    redacted(&text)
}

/// `text` with hashes and times replaced by their names.
fn redacted(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        redacted.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        // Whole hashes, and the beginnings of some.
        let is_hash = end == 64 || end >= 12 && rest[end..].starts_with("...");
        redacted.push_str(if is_hash { "[HASH]" } else { &rest[..end] });
        rest = &rest[end..];
    }
    redacted.push_str(rest);
    let redacted =
        redacted.replace(&format!("apr import {}", env!("CARGO_PKG_VERSION")), "apr import [VERSION]");
    let lines = redacted.lines().map(|line| match line.strip_prefix("Time: ") {
        Some(_) => "Time: [SECONDS]",
        None => line,
    });
    lines.fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

/// The small model, imported once for all tests of this process.
pub(crate) fn model() -> &'static Path {
    static MODEL: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        checkpoint(&folder.path().join("checkpoint"), 1);
        let path = folder.path().join("model.apr");
        let source = Source::SafetensorsDir(folder.path().join("checkpoint"));
        import(&source, &path, &ImportOptions::default(), &Silent).unwrap();
        (folder, path)
    });
    path
}

/// Writes a checkpoint as `save_pretrained` does, with weights drawn from `seed`.
pub(crate) fn checkpoint(folder: &Path, seed: u64) {
    Checkpoint { seed, ..Checkpoint::default() }.write(folder);
}

/// The same with a head of its own.
pub(crate) fn untied_checkpoint(folder: &Path, seed: u64) {
    Checkpoint { seed, is_tied: false, ..Checkpoint::default() }.write(folder);
}

/// What can differ between the checkpoints of these tests.
pub(crate) struct Checkpoint {
    pub(crate) seed: u64,
    pub(crate) is_tied: bool,
    pub(crate) context: usize,
    /// Tokens that end a reply; without any, it goes on to `--max-tokens`.
    pub(crate) end_of_text: &'static [usize],
    pub(crate) vocab_size: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            seed: 1,
            is_tied: true,
            context: CONTEXT,
            end_of_text: &[IM_END, END_OF_TEXT],
            vocab_size: VOCAB_SIZE,
        }
    }
}

impl Checkpoint {
    /// Writes it to `folder`.
    pub(crate) fn write(&self, folder: &Path) {
        write_checkpoint(folder, self);
    }
}

fn write_checkpoint(folder: &Path, checkpoint: &Checkpoint) {
    let &Checkpoint { seed, is_tied, context, end_of_text, vocab_size } = checkpoint;
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, value: &Value| fs::write(folder.join(name), value.to_string()).unwrap();
    write(
        "config.json",
        &json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS,
            "num_key_value_heads": 2, "vocab_size": vocab_size, "max_position_embeddings": context,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": is_tied,
            "torch_dtype": "float16",
        }),
    );
    write("generation_config.json", &json!({"eos_token_id": end_of_text}));
    write("tokenizer.json", &tokenizer());
    let eos_token = (!end_of_text.is_empty()).then_some("<|im_end|>");
    write(
        "tokenizer_config.json",
        &json!({"chat_template": TEMPLATE, "eos_token": eos_token, "tokenizer_class": "Qwen2Tokenizer"}),
    );
    fs::write(folder.join("model.safetensors"), safetensors(seed, is_tied, vocab_size)).unwrap();
}

/// A byte-level tokenizer without merges: a token for each byte.
fn tokenizer() -> Value {
    let vocab: serde_json::Map<String, Value> =
        (0..=255_u8).map(|byte| (character(byte).to_string(), json!(byte))).collect();
    let control = [("<|endoftext|>", END_OF_TEXT), ("<|im_start|>", IM_START), ("<|im_end|>", IM_END)];
    let added: Vec<Value> = control
        .iter()
        .map(|(content, id)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "NFC"}, "pre_tokenizer": byte_level, "post_processor": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": []},
    })
}

/// The printable character that byte-level tokenizers write for a byte.
fn character(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    if is_printable(byte) {
        return char::from(byte);
    }
    let n_before = (0..byte).filter(|&byte| !is_printable(byte)).count();
    char::from_u32(256 + u32::try_from(n_before).unwrap()).unwrap()
}

/// The weights, in the order of their names.
fn safetensors(seed: u64, is_tied: bool, vocab_size: usize) -> Vec<u8> {
    let mut tensors = Vec::new();
    if !is_tied {
        tensors.push(("lm_head.weight".to_owned(), vec![vocab_size, HIDDEN]));
    }
    tensors.push(("model.embed_tokens.weight".to_owned(), vec![vocab_size, HIDDEN]));
    for layer in 0..N_LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        add("input_layernorm.weight", &[HIDDEN]);
        add("mlp.down_proj.weight", &[HIDDEN, INTERMEDIATE]);
        add("mlp.gate_proj.weight", &[INTERMEDIATE, HIDDEN]);
        add("mlp.up_proj.weight", &[INTERMEDIATE, HIDDEN]);
        add("post_attention_layernorm.weight", &[HIDDEN]);
        add("self_attn.k_proj.bias", &[KV]);
        add("self_attn.k_proj.weight", &[KV, HIDDEN]);
        add("self_attn.o_proj.weight", &[HIDDEN, HIDDEN]);
        add("self_attn.q_proj.bias", &[HIDDEN]);
        add("self_attn.q_proj.weight", &[HIDDEN, HIDDEN]);
        add("self_attn.v_proj.bias", &[KV]);
        add("self_attn.v_proj.weight", &[KV, HIDDEN]);
    }
    tensors.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    let mut state = seed;
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let start = data.len();
        if name == "model.embed_tokens.weight" {
            // A head of its own holds the same values, so that tying is allowed.
            state = seed;
        }
        for _ in 0..shape.iter().product() {
            data.extend(
                half::f16::from_f32(if shape.len() == 1 { 1.0 } else { draw(&mut state) }).to_le_bytes(),
            );
        }
        header.insert(name, json!({"dtype": "F16", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let mut header = Value::from(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A number between -0.5 and 0.5 (splitmix64).
fn draw(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
}
