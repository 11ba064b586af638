"""Measure our speed beside PyTorch's, interleaved in one run.

PyTorch float32 on the same weights: prefill of 512 tokens, then decoding one token at a time with its
key-value cache, two threads. With `--ours COMMAND` the two take turns (A B A B ...), so that a busy
machine slows both. COMMAND prints a JSON object with `prefill_tokens_per_second` and
`decode_tokens_per_second` on its last line; `{model}`, `{prompt_tokens}`, `{decode_tokens}` and
`{threads}` in it are replaced. The rate at which the same threads read a large buffer is measured
beside every turn: decoding cannot be faster than that over the weights' size.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/compare_pytorch_speed.py --model MODEL.apr \\
        --ours "target/release/examples/speed {model} {prompt_tokens} {decode_tokens} {threads} memory"

stdout is one JSON object: every turn, the medians, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import model_sources
import reference_model

READ_BYTES = 1 << 30


def read_bandwidth() -> float:
    """GB/s at which a large buffer is summed; the best of three."""
    buffer = torch.ones(READ_BYTES // 4, dtype=torch.float32)
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        buffer.sum()
        best = max(best, READ_BYTES / (time.perf_counter() - started) / 1e9)
    return best


@torch.inference_mode()
def time_pytorch(model, ids: torch.Tensor, decode_tokens: int) -> dict:
    """One turn: tokens per second of prefill and of decode."""
    started = time.perf_counter()
    out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    prefill = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(decode_tokens):
        following = out.logits[:, -1:].argmax(-1)
        out = model(input_ids=following, past_key_values=out.past_key_values, use_cache=True)
    decode = time.perf_counter() - started
    return {"prefill_tokens_per_second": ids.shape[1] / prefill,
            "decode_tokens_per_second": decode_tokens / decode}


def time_ours(args: argparse.Namespace) -> dict:
    """One turn of the given command."""
    filled = {"model": str(args.model), "prompt_tokens": args.prompt_tokens,
              "decode_tokens": args.decode_tokens, "threads": args.threads}
    command = [part.format(**filled) for part in shlex.split(args.ours)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        if done.returncode != 0:
            raise ValueError(f"it exited {done.returncode}")
        measured = json.loads(done.stdout.strip().splitlines()[-1])
        return {key: float(measured[key])
                for key in ("prefill_tokens_per_second", "decode_tokens_per_second")}
    except (ValueError, KeyError, IndexError) as error:
        raise SystemExit(f"error: `{shlex.join(command)}` gave no measurement: {error}\n{done.stderr.strip()}")


def median_of(turns: list[dict]) -> dict:
    return {key: round(statistics.median(turn[key] for turn in turns), 2) for key in turns[0]}


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure our speed beside PyTorch float32, interleaved.",
        epilog="example: python scripts/compare_pytorch_speed.py --model model.gguf --tie --rounds 3",
    )
    parser.add_argument("--model", type=Path, required=True, help="safetensors directory, .gguf or .apr")
    parser.add_argument("--tie", action="store_true", help="use the head's matrix for the embedding")
    parser.add_argument("--ours", help="command that measures ours; without it only PyTorch is measured")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--decode-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = model_sources.open_source(args.model, args.tie)
    model = reference_model.load(source.config, source.tensors, torch.float32)
    model.set_attn_implementation("sdpa")
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 1000, (1, args.prompt_tokens), generator=generator)
    time_pytorch(model, ids[:, :16], 2)  # warm up
    turns: dict[str, list[dict]] = {"pytorch": [], "ours": []}
    bandwidths = []
    for number in range(args.rounds):
        bandwidths.append(round(read_bandwidth(), 1))
        turns["pytorch"].append(time_pytorch(model, ids, args.decode_tokens))
        if args.ours:
            turns["ours"].append(time_ours(args))
        print(f"round {number + 1} of {args.rounds}: {[side[-1] for side in turns.values() if side]}",
              file=sys.stderr)
    result = {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "threads": args.threads,
                    "read_gb_per_second": bandwidths},
        "model": {"path": args.model.name, "weights": model_sources.weights_fingerprint(source.tensors)},
        "prompt_tokens": args.prompt_tokens, "decode_tokens": args.decode_tokens,
        "torch": torch.__version__.split("+")[0], "pytorch_dtype": "float32", "turns": turns,
        "medians": {side: median_of(measured) for side, measured in turns.items() if measured},
    }
    if args.ours:
        ours, theirs = result["medians"]["ours"], result["medians"]["pytorch"]
        result["ours_over_pytorch"] = {key: round(ours[key] / theirs[key], 3) for key in ours}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
