"""Read a model from a safetensors directory, a GGUF or an `.apr`, for the reference scripts.

A library. `open_source(path)` gives the configuration in Hugging Face's spelling, every tensor under
its checkpoint name in the type it is stored in, the tokenizer and the chat template. GGUF tensors are
dequantized by the `gguf` package and rounded to float16; `.apr` files are read by `apr_reader`; no
code of the subjects is involved. Run on its own it prints a summary and the weights' fingerprint:

    python scripts/model_sources.py MODEL [--tie]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import blake3
import gguf
import jinja2
import jinja2.sandbox
import numpy as np
import torch
from gguf.quants import dequantize
from safetensors import safe_open
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors

import apr_reader

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

# Splitting patterns by `tokenizer.ggml.pre`. A GGUF names the pattern instead of carrying it.
SPLIT_PATTERNS = {
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}
GGUF_TOKEN_NORMAL, GGUF_TOKEN_CONTROL, GGUF_TOKEN_USER_DEFINED = 1, 3, 4

GGUF_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GGUF_TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


@dataclass
class ModelSource:
    """A model as read: nothing here depends on the code under test."""

    path: Path
    kind: str  # "safetensors", "gguf" or "apr"
    config: dict  # Hugging Face's keys
    tensors: dict[str, torch.Tensor]  # in the stored type
    tokenizer: Tokenizer
    tokenizer_json: bytes | None  # as stored; `None` for a GGUF, which stores none
    chat_template: str | None

    def source_files(self) -> list[dict]:
        """The weight files, named and hashed."""
        if self.path.is_dir():
            files = sorted(self.path.glob("*.safetensors"))
        else:
            files = [self.path]
        return [{"name": file.name, "sha256": file_sha256(file)} for file in files]

    def chat_ids(self, user: str, system: str | None = None) -> list[int]:
        """Ids of one user turn in the model's own template, ready for the reply."""
        if self.chat_template is None:
            raise SystemExit(f"error: `{self.path}` has no chat template\nhint: use prompts with `chat: false`")
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        messages = [{"role": "user", "content": user}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        text = environment.from_string(self.chat_template).render(
            messages=messages, add_generation_prompt=True, tools=None)
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def plain_ids(self, text: str) -> list[int]:
        """Ids of running text; nothing is added."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """The little-endian bytes of a tensor."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def fingerprint_of_hashes(entries: list[tuple[str, str, list[int], str]]) -> str:
    """BLAKE3 over `{name} {DTYPE} {d0}x{d1} {hash}\\n` for each tensor, names in byte order."""
    digest = blake3.blake3()
    for name, dtype, shape, tensor_hash in sorted(entries, key=lambda entry: entry[0].encode()):
        dimensions = "x".join(str(dimension) for dimension in shape)
        digest.update(f"{name} {dtype} {dimensions} {tensor_hash}\n".encode())
    return digest.hexdigest()


def weights_fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """Identifies the weights whatever file they are stored in."""
    return fingerprint_of_hashes([
        (name, DTYPE_NAMES[tensor.dtype], list(tensor.shape), blake3.blake3(raw_bytes(tensor)).hexdigest())
        for name, tensor in tensors.items()
    ])


def open_source(path: Path, tie: bool = False) -> ModelSource:
    """Read the model at `path`; with `tie`, use the head's matrix for the embedding as well."""
    if path.is_dir():
        source = open_safetensors(path)
    elif path.suffix == ".gguf":
        source = open_gguf(path)
    elif path.suffix == ".apr":
        source = open_apr(path)
    else:
        raise SystemExit(
            f"error: cannot tell what `{path}` is\nhint: give a safetensors directory, a .gguf or an .apr")
    if tie and "lm_head.weight" in source.tensors:
        source.tensors["model.embed_tokens.weight"] = source.tensors.pop("lm_head.weight")
    source.config["tie_word_embeddings"] = "lm_head.weight" not in source.tensors
    return source


# --- safetensors -----------------------------------------------------------------------------------


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: failed to read `{path}`: {error}")


def open_safetensors(folder: Path) -> ModelSource:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SystemExit(f"error: `{folder}` holds no .safetensors file")
    tensors = {}
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():
                tensors[name] = opened.get_tensor(name)
    tokenizer_json = (folder / "tokenizer.json").read_bytes()
    tokenizer_config = read_json(folder / "tokenizer_config.json")
    template = tokenizer_config.get("chat_template")
    if template is None and (folder / "chat_template.jinja").exists():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return ModelSource(
        folder, "safetensors", read_json(folder / "config.json"), tensors,
        Tokenizer.from_str(tokenizer_json.decode("utf-8")), tokenizer_json, template)


# --- GGUF ------------------------------------------------------------------------------------------


def checkpoint_name(gguf_name: str) -> str:
    """`blk.3.attn_q.bias` -> `model.layers.3.self_attn.q_proj.bias`"""
    if gguf_name in GGUF_TOP_NAMES:
        return GGUF_TOP_NAMES[gguf_name]
    _, layer, module, kind = gguf_name.split(".")
    return f"model.layers.{layer}.{GGUF_LAYER_NAMES[module]}.{kind}"


def unrotate_llama(matrix: np.ndarray, n_heads: int) -> np.ndarray:
    """Llama GGUFs interleave the rotary halves of Q and K; put them back as the checkpoint has them."""
    rows = matrix.reshape(n_heads, matrix.shape[0] // n_heads // 2, 2, *matrix.shape[1:])
    return rows.swapaxes(1, 2).reshape(matrix.shape)


def gguf_tensor_f32(tensor: gguf.ReaderTensor) -> np.ndarray:
    """One tensor dequantized by the `gguf` package, in row-major checkpoint shape."""
    shape = tuple(int(dimension) for dimension in reversed(tensor.shape))
    return dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).reshape(shape)


def gguf_tensors_f32(reader: gguf.GGUFReader):
    """Yields (checkpoint name, float32 array) for every tensor of a GGUF."""
    fields = {name: field.contents() for name, field in reader.fields.items()
              if not name.startswith(("tokenizer.", "GGUF."))}
    architecture = fields["general.architecture"]
    n_heads = fields[f"{architecture}.attention.head_count"]
    n_kv_heads = fields.get(f"{architecture}.attention.head_count_kv", n_heads)
    for tensor in reader.tensors:
        name = checkpoint_name(tensor.name)
        values = gguf_tensor_f32(tensor)
        if architecture == "llama" and ".q_proj." in name:
            values = unrotate_llama(values, n_heads)
        elif architecture == "llama" and ".k_proj." in name:
            values = unrotate_llama(values, n_kv_heads)
        yield name, values


def shortest(value: float) -> float:
    """A float32 from a GGUF as the decimal number it was written as."""
    return float(str(np.float32(value)))


def gguf_config(reader: gguf.GGUFReader) -> dict:
    def value(key: str, default=None):
        field = reader.fields.get(key)
        return default if field is None else field.contents()

    architecture = value("general.architecture")
    n_heads = value(f"{architecture}.attention.head_count")
    return {
        "model_type": architecture,
        "hidden_size": value(f"{architecture}.embedding_length"),
        "num_hidden_layers": value(f"{architecture}.block_count"),
        "num_attention_heads": n_heads,
        "num_key_value_heads": value(f"{architecture}.attention.head_count_kv", n_heads),
        "intermediate_size": value(f"{architecture}.feed_forward_length"),
        "max_position_embeddings": value(f"{architecture}.context_length"),
        "rope_theta": shortest(value(f"{architecture}.rope.freq_base", 10000.0)),
        "rms_norm_eps": shortest(value(f"{architecture}.attention.layer_norm_rms_epsilon")),
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
    }


def gguf_tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    """A Hugging Face tokenizer from a GGUF's tokens, types and merges, in Qwen2's configuration."""
    pre = reader.fields["tokenizer.ggml.pre"].contents()
    if pre not in SPLIT_PATTERNS:
        raise SystemExit(f"error: no splitting pattern is known for `tokenizer.ggml.pre = {pre}`")
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ", 1)) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    vocabulary = {token: at for at, token in enumerate(tokens) if kinds[at] == GGUF_TOKEN_NORMAL}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT_PATTERNS[pre]), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    for at, token in enumerate(tokens):
        if kinds[at] in (GGUF_TOKEN_CONTROL, GGUF_TOKEN_USER_DEFINED):
            special = kinds[at] == GGUF_TOKEN_CONTROL
            added = AddedToken(token, special=special, normalized=False)
            (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([added])
            if tokenizer.token_to_id(token) != at:
                raise SystemExit(f"error: added token `{token}` got id {tokenizer.token_to_id(token)}, not {at}")
    return tokenizer


def open_gguf(path: Path) -> ModelSource:
    reader = gguf.GGUFReader(path)
    tensors = {name: torch.from_numpy(values.astype(np.float16))
               for name, values in gguf_tensors_f32(reader)}
    template = reader.fields.get("tokenizer.chat_template")
    return ModelSource(
        path, "gguf", gguf_config(reader), tensors, gguf_tokenizer(reader), None,
        None if template is None else template.contents())


# --- .apr ------------------------------------------------------------------------------------------


def apr_tensor(entry: apr_reader.Entry, raw: np.ndarray) -> torch.Tensor:
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[entry.dtype]
    return torch.from_numpy(raw.copy()).view(dtype).reshape(entry.shape)


def open_apr(path: Path) -> ModelSource:
    model = apr_reader.AprFile(path)
    tensors = {entry.name: apr_tensor(entry, model.raw(entry)) for entry in model.entries}
    tokenizer_json = model.tokenizer_json()
    return ModelSource(
        path, "apr", dict(model.config()), tensors,
        Tokenizer.from_str(tokenizer_json.decode("utf-8")), tokenizer_json, model.chat_template())


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Summarise a model and print its weights' fingerprint.",
        epilog="example: python scripts/model_sources.py golden/tiny/tiny.apr",
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--tie", action="store_true", help="use the head's matrix for the embedding")
    args = parser.parse_args()
    source = open_source(args.model, args.tie)
    print(json.dumps(source.config, indent=2, default=str))
    parameters = sum(tensor.numel() for tensor in source.tensors.values())
    print(f"{source.kind}: {len(source.tensors)} tensors, {parameters} parameters")
    print(f"weights blake3 {weights_fingerprint(source.tensors)}")


if __name__ == "__main__":
    main()
