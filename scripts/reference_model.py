"""Qwen2 in PyTorch, watched: the truth that golden traces record.

A library. The model is transformers' `Qwen2ForCausalLM`. In float64 three parts of it would still
compute in float32 (RMSNorm, the rotary angles, softmax); here they are replaced by the same equations
in float64. In float32 the model runs as published, which gives PyTorch's own noise.

Tensors are recorded under checkpoint keys (`model.layers.3.self_attn.q_proj`, ...). Attention scores
are Q K^T / sqrt(d) after rotation and before the mask: for each head the rows of the asked query
positions p, each with its p + 1 keys, concatenated.
"""

from __future__ import annotations

import math
import types
from typing import Callable, Iterable

import numpy as np
import torch
from transformers import AttentionInterface, DynamicCache, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm, Qwen2RotaryEmbedding

LAYER_SITES = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)
# Keys in the order a forward pass reaches them, within a layer.
SITE_ORDER = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.scores",
    "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "",
)


def all_keys(n_layers: int) -> list[str]:
    """Every key there is, in the order of the forward pass."""
    keys = ["model.embed_tokens"]
    for layer in range(n_layers):
        keys += [f"model.layers.{layer}.{site}".rstrip(".") for site in SITE_ORDER]
    return keys + ["model.norm", "logits"]


def qwen2_config(config: dict) -> Qwen2Config:
    """The parts of a configuration that the forward pass reads."""
    if config.get("model_type", config.get("architecture")) not in ("qwen2", "Qwen2ForCausalLM"):
        raise SystemExit(f"error: the reference knows qwen2, not `{config.get('model_type')}`")
    rope = config.get("rope_parameters") or {}
    theta = config.get("rope_theta", rope.get("rope_theta", 10000.0))
    return Qwen2Config(
        vocab_size=config["vocab_size"], hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"], num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config["num_key_value_heads"],
        max_position_embeddings=config["max_position_embeddings"],
        rms_norm_eps=config["rms_norm_eps"], hidden_act=config.get("hidden_act", "silu"),
        rope_parameters={"rope_type": "default", "rope_theta": float(theta)},
        tie_word_embeddings=bool(config["tie_word_embeddings"]), use_sliding_window=False,
    )


def load(config: dict, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> Qwen2ForCausalLM:
    """The model with exactly the given weights, computing in `dtype`."""
    settings = qwen2_config(config)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(settings)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()},
                          strict=False, assign=True)
    model.model.rotary_emb = Qwen2RotaryEmbedding(settings)
    if settings.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    unused = set(tensors) - set(model.state_dict())
    if missing or unused:
        raise SystemExit(f"error: the model lacks tensors {missing} and has no place for {sorted(unused)}")
    if dtype == torch.float64:
        make_double(model)
    return model.eval()


def make_double(model: Qwen2ForCausalLM) -> None:
    """Replace what transformers computes in float32 whatever the model's type."""

    def rms_norm(self: Qwen2RMSNorm, hidden: torch.Tensor) -> torch.Tensor:
        mean_square = hidden.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden * torch.rsqrt(mean_square + self.variance_epsilon))

    def rotary(self: Qwen2RotaryEmbedding, hidden: torch.Tensor, position_ids: torch.Tensor):
        width = self.config.hidden_size // self.config.num_attention_heads
        exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
        frequencies = self.config.rope_parameters["rope_theta"] ** -exponents
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat((angles, angles), dim=-1)  # halves, not adjacent pairs
        return angles.cos(), angles.sin()

    for module in model.modules():
        if isinstance(module, Qwen2RMSNorm):
            module.forward = types.MethodType(rms_norm, module)
    model.model.rotary_emb.forward = types.MethodType(rotary, model.model.rotary_emb)


class Recorder:
    """Keeps the rows that are asked for, of the tensors that are asked for."""

    def __init__(self, positions_of: Callable[[str], Iterable[int] | None]):
        self.positions_of = positions_of
        self.start = 0  # position of the first row of the tensors it is shown
        self.parts: dict[str, list[torch.Tensor]] = {}

    def wanted(self, key: str, n_rows: int) -> list[int]:
        """Which of the next rows to keep, counted from `start`."""
        positions = self.positions_of(key)
        if positions is None:
            return []
        return [position - self.start for position in positions
                if self.start <= position < self.start + n_rows]

    def rows(self, key: str, values: torch.Tensor) -> None:
        """`values`: `[n_positions, width]`"""
        rows = self.wanted(key, len(values))
        if rows:
            self.parts.setdefault(key, []).append(values[rows].double())

    def scores(self, layer: int, values: torch.Tensor) -> None:
        """`values`: `[n_heads, n_queries, n_keys]`"""
        key = f"model.layers.{layer}.self_attn.scores"
        for row in self.wanted(key, values.shape[1]):
            self.parts.setdefault(key, []).append(values[:, row, :self.start + row + 1].double())

    def tensors(self) -> dict[str, np.ndarray]:
        return {key: torch.cat(parts, dim=1 if key.endswith(".scores") else 0).numpy()
                for key, parts in self.parts.items()}


active_recorder: Recorder | None = None


def recorded_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """Causal attention, eagerly: `[1, n_heads, n_queries, head_dim]` queries, grouped keys and values."""
    groups = module.num_key_value_groups
    keys = key.repeat_interleave(groups, dim=1)
    values = value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, keys.transpose(2, 3)) * scaling
    if active_recorder is not None:
        active_recorder.scores(module.layer_idx, scores[0])
    n_queries, n_keys = scores.shape[-2:]
    later = torch.ones(n_queries, n_keys, dtype=torch.bool).triu(1 + n_keys - n_queries)
    weights = torch.softmax(scores.masked_fill(later, -math.inf), dim=-1)
    return torch.matmul(weights, values).transpose(1, 2).contiguous(), None


AttentionInterface.register("recorded", recorded_attention)


def hook(recorder: Recorder, key: str):
    def record(_module, _inputs, output):
        values = output[0] if isinstance(output, tuple) else output
        recorder.rows(key, values[0])
    return record


@torch.no_grad()
def trace(model: Qwen2ForCausalLM, ids: list[int], positions_of,
          chunk: int | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run the prompt, whole or `chunk` ids at a time. Returns what was recorded, and every logit, float64.

    `positions_of(key)` says which positions of that tensor to keep, `None` for none.
    """
    global active_recorder
    recorder = Recorder(positions_of)
    model.set_attn_implementation("recorded")
    core = model.model
    handles = [core.embed_tokens.register_forward_hook(hook(recorder, "model.embed_tokens")),
               core.norm.register_forward_hook(hook(recorder, "model.norm"))]
    for index, layer in enumerate(core.layers):
        prefix = f"model.layers.{index}"
        handles.append(layer.register_forward_hook(hook(recorder, prefix)))
        for site in LAYER_SITES:
            module = layer.get_submodule(site)
            handles.append(module.register_forward_hook(hook(recorder, f"{prefix}.{site}")))
    active_recorder = recorder
    cache, logits = DynamicCache(), []
    try:
        for recorder.start in range(0, len(ids), chunk or len(ids)):
            part = torch.tensor([ids[recorder.start:recorder.start + (chunk or len(ids))]])
            logits.append(model(input_ids=part, past_key_values=cache, use_cache=True).logits[0])
            recorder.rows("logits", logits[-1])
    finally:
        active_recorder = None
        for handle in handles:
            handle.remove()
    return recorder.tensors(), torch.cat(logits).double().numpy()


def prompt_perplexity(logits: np.ndarray, ids: list[int]) -> float:
    """exp of the mean negative log-likelihood of every id but the first."""
    scored = torch.from_numpy(logits[:-1])
    return math.exp(torch.nn.functional.cross_entropy(scored, torch.tensor(ids[1:])).item())
