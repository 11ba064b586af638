"""Measure a model's perplexity on a text with PyTorch: the figure that ours is compared with.

The text's ids (no control tokens) are cut into consecutive whole windows; each is run on its own, and the
ids at its positions from `--scored-from` on are scored, each by the logits of the position before it
(llama.cpp's "second half" of 512 is 257). Beside it stands what the text's own token frequencies (add-one)
would give on the same ids.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/reference_perplexity.py MODEL.gguf --tie --text wiki.test.raw --scored-from 257 --windows 40
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

import model_sources
import reference_model


def windows_of(ids: list[int], length: int) -> list[list[int]]:
    """Whole windows; what is left at the end is dropped."""
    return [ids[start:start + length] for start in range(0, len(ids) - length + 1, length)]


def unigram_perplexity(ids: list[int], windows: list[list[int]], scored_from: int, vocabulary: int) -> float:
    counts = np.bincount(ids, minlength=vocabulary) + 1.0
    scored = np.concatenate([window[scored_from:] for window in windows])
    return math.exp(-np.log(counts / counts.sum())[scored].mean())


@torch.no_grad()
def perplexity(model, windows: list[list[int]], scored_from: int) -> tuple[float, int]:
    """exp of the mean negative log-likelihood over every scored id, and how many there were."""
    total, count = 0.0, 0
    for number, window in enumerate(windows, 1):
        logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, scored_from - 1:-1]
        targets = torch.tensor(window[scored_from:])
        total += torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum").item()
        count += len(targets)
        print(f"{number}/{len(windows)} windows: {math.exp(total / count):.4f}", file=sys.stderr)
    return math.exp(total / count), count


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure a model's perplexity with PyTorch in float32.",
        epilog="example: python scripts/reference_perplexity.py golden/tiny/tiny.apr"
               " --text golden/tiny/held-out.txt",
    )
    parser.add_argument("model", type=Path, help="safetensors directory, .gguf or .apr")
    parser.add_argument("--tie", action="store_true", help="use the head's matrix for the embedding")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--scored-from", type=int, default=1,
                        help="first position of a window whose id is scored (default: 1, all that can be)")
    parser.add_argument("--windows", type=int, help="how many windows, from the start (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not 1 <= args.scored_from < args.window:
        parser.error(f"--scored-from must be from 1 to {args.window - 1}")
    torch.set_num_threads(args.threads)
    source = model_sources.open_source(args.model, args.tie)
    # As bytes: reading as text would turn the carriage returns that WikiText-2 holds into newlines.
    ids = source.plain_ids(args.text.read_bytes().decode("utf-8"))
    windows = windows_of(ids, args.window)[:args.windows]
    if not windows:
        raise SystemExit(f"error: `{args.text}` has {len(ids)} ids, less than one window of {args.window}")
    model = reference_model.load(source.config, source.tensors, torch.float32)
    model.set_attn_implementation("sdpa")
    value, count = perplexity(model, windows, args.scored_from)
    print(json.dumps({
        "text": args.text.name, "text_sha256": model_sources.file_sha256(args.text), "ids": len(ids),
        "window": args.window, "scored_from": args.scored_from, "windows": len(windows),
        "scored": count, "perplexity": round(value, 4),
        "unigram_of_text": round(unigram_perplexity(
            ids, windows, args.scored_from, source.config["vocab_size"]), 2),
        "torch": torch.__version__.split("+")[0],
        "weights": model_sources.weights_fingerprint(source.tensors),
    }, indent=2))


if __name__ == "__main__":
    main()
