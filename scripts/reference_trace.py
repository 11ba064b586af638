"""Trace one prompt through a model with PyTorch in float64, in the folder format of `apr trace`.

For prompts that are in no golden: trace the same prompt with both and compare the folders.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/reference_trace.py MODEL.apr --prompt "Why is the sky blue?" --export reference/
    apr trace MODEL.apr --prompt "Why is the sky blue?" --export ours/
    apr diff ours/ reference/ --tolerance 1e-4

Writes `input_ids.npy` and one float32 `.npy` for each checkpoint key, every position, into a folder
that must not exist or be empty. `--only` keeps the keys that match a pattern.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import model_sources
import reference_model


def ids_from(args: argparse.Namespace, source: model_sources.ModelSource) -> list[int]:
    if args.ids is not None:
        return [int(part) for part in args.ids.split(",")]
    text = args.prompt if args.prompt is not None else args.prompt_file.read_text(encoding="utf-8")
    return source.chat_ids(text) if args.chat else source.plain_ids(text)


def write_folder(target: Path, ids: list[int], tensors: dict[str, np.ndarray]) -> None:
    """Write beside the target, then rename."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SystemExit(f"error: `{target}` is there and not an empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    staging.chmod(0o755)
    np.save(staging / "input_ids.npy", np.asarray(ids, dtype=np.int64))
    for key, values in tensors.items():
        np.save(staging / f"{key}.npy", values.astype(np.float32))
    if target.exists():
        target.rmdir()
    os.replace(staging, target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Trace one prompt with PyTorch in float64.",
        epilog="example: python scripts/reference_trace.py golden/tiny/tiny.apr --prompt Hello --export out/",
    )
    parser.add_argument("model", type=Path, help="safetensors directory, .gguf or .apr")
    parser.add_argument("--tie", action="store_true", help="use the head's matrix for the embedding")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="running text")
    prompt.add_argument("--prompt-file", type=Path)
    prompt.add_argument("--ids", help="token ids, separated by commas")
    parser.add_argument("--chat", action="store_true", help="the text is a user turn in the model's template")
    parser.add_argument("--export", type=Path, required=True, help="the folder to write")
    parser.add_argument("--only", default="*", help="pattern of checkpoint keys to keep (default: all)")
    parser.add_argument("--logits", choices=("all", "last"), default="all")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = model_sources.open_source(args.model, args.tie)
    ids = ids_from(args, source)
    model = reference_model.load(source.config, source.tensors, getattr(torch, args.dtype))

    def positions_of(key: str):
        if not fnmatch.fnmatchcase(key, args.only):
            return None
        return [len(ids) - 1] if key == "logits" and args.logits == "last" else range(len(ids))

    tensors, _ = reference_model.trace(model, ids, positions_of)
    write_folder(args.export, ids, tensors)
    print(f"wrote {len(tensors)} tensors of {len(ids)} positions to {args.export}", file=sys.stderr)


if __name__ == "__main__":
    main()
