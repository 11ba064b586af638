"""Write a trained tiny model as a Hugging Face directory, and measure its perplexity.

A library for `train_tiny.py`: weights rounded to float16 in one safetensors file, `config.json` with
every field spelled out, the tokenizer with its chat template, and the generation defaults.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

import tiny_data

WINDOW = 512  # perplexity is measured in windows of this many ids; every id but a window's first is scored


def rounded_weights(model: Qwen2ForCausalLM) -> dict[str, torch.Tensor]:
    """Every parameter in float16; the tied head is stored once, as the embedding."""
    weights = {}
    for name, parameter in model.named_parameters():
        half = parameter.detach().to(torch.float16).contiguous()
        if not torch.isfinite(half).all():
            raise SystemExit(f"error: `{name}` does not fit in float16\nhint: lower the learning rate")
        weights[name] = half
    return weights


def config_json(config: Qwen2Config, end_of_text: int, turn_end: int) -> dict:
    """`config.json` as Qwen2 models publish it."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text,
        "eos_token_id": turn_end,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "max_window_layers": config.num_hidden_layers,
        "model_type": "qwen2",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": config.vocab_size,
    }


def tokenizer_config_json(tokenizer: Tokenizer, context: int) -> dict:
    """`tokenizer_config.json` as Qwen2.5 publishes it: no BOS, ChatML template."""
    end_of_text, _, turn_end = tiny_data.CONTROL_TOKENS
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token, "lstrip": False, "normalized": False,
                "rstrip": False, "single_word": False, "special": True,
            } for token in tiny_data.CONTROL_TOKENS
        },
        "additional_special_tokens": list(tiny_data.CONTROL_TOKENS[1:]),
        "bos_token": None,
        "chat_template": tiny_data.CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": turn_end,
        "errors": "replace",
        "model_max_length": context,
        "pad_token": end_of_text,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def generation_config_json(end_of_text: int, turn_end: int) -> dict:
    return {
        "bos_token_id": end_of_text,
        "do_sample": True,
        "eos_token_id": [turn_end, end_of_text],
        "pad_token_id": end_of_text,
        "repetition_penalty": 1.1,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
    }


def export(model: Qwen2ForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the whole directory beside its final place, then swap it in."""
    end_of_text, _, turn_end = (tokenizer.token_to_id(token) for token in tiny_data.CONTROL_TOKENS)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    staging.chmod(0o755)
    save_file(rounded_weights(model), str(staging / "model.safetensors"), metadata={"format": "pt"})
    (staging / "model.safetensors").chmod(0o644)  # safetensors writes it readable by its owner only
    tokenizer.save(str(staging / "tokenizer.json"))
    for name, content in (
        ("config.json", config_json(model.config, end_of_text, turn_end)),
        ("tokenizer_config.json",
         tokenizer_config_json(tokenizer, model.config.max_position_embeddings)),
        ("generation_config.json", generation_config_json(end_of_text, turn_end)),
    ):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (staging / name).write_text(text, encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(staging, folder)


def held_out_windows(ids: list[int]) -> list[list[int]]:
    """Whole windows, one after the other; what is left at the end is dropped."""
    return [ids[start:start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)]


@torch.no_grad()
def perplexity(model: Qwen2ForCausalLM, ids: list[int]) -> float:
    """exp of the mean negative log-likelihood over every scored id."""
    total, count = 0.0, 0
    for window in held_out_windows(ids):
        logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, :-1].double()
        targets = torch.tensor(window[1:])
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        count += len(targets)
    return math.exp(total / count)


def rounded_perplexity(model: Qwen2ForCausalLM, ids: list[int]) -> float:
    """Perplexity with the weights as stored: rounded to float16, computed in float32."""
    rounded = Qwen2ForCausalLM(model.config)
    rounded.load_state_dict(
        {name: half.float() for name, half in rounded_weights(model).items()}, strict=False)
    rounded.tie_weights()
    return perplexity(rounded.eval(), ids)


def unigram_perplexity(training_ids: np.ndarray, ids: list[int], vocabulary: int) -> float:
    """Perplexity of token frequencies (add-one smoothed) on the same scored ids."""
    counts = np.bincount(training_ids, minlength=vocabulary).astype(np.float64) + 1.0
    log_probability = np.log(counts / counts.sum())
    scored = np.concatenate([np.asarray(window[1:]) for window in held_out_windows(ids)])
    return float(math.exp(-log_probability[scored].mean()))


def sample_reply(model: Qwen2ForCausalLM, tokenizer: Tokenizer, question: str, limit: int = 120) -> str:
    """A greedy reply to one chat turn, with its end marker if the model wrote one."""
    prompt = (f"<|im_start|>system\n{tiny_data.DEFAULT_SYSTEM}<|im_end|>\n"
              f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    stop = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    out = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=limit, do_sample=False, eos_token_id=stop, pad_token_id=stop[1])
    return tokenizer.decode(out[0, len(ids):].tolist(), skip_special_tokens=False)
