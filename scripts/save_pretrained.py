"""Write a GGUF's weights as a sharded safetensors directory, the way transformers does.

The tensors are dequantized by the `gguf` package, rounded to float16 and (with `--tie`) the head's
matrix serves as the embedding; `save_pretrained` then writes shards, index and config, and the
tokenizer's files go beside them. Importing the directory must give the same tensor hashes as importing
the GGUF.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/save_pretrained.py MODEL.gguf OUT_DIR --tie --max-shard-size 200MB
    apr import OUT_DIR -o from-safetensors.apr
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch

import model_sources
import reference_model


def tokenizer_config(source: model_sources.ModelSource) -> dict:
    """`tokenizer_config.json` with what a GGUF knows."""
    tokenizer, end = source.tokenizer, source.config.get("eos_token_id")
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "chat_template": source.chat_template,
        "clean_up_tokenization_spaces": False,
        "eos_token": None if end is None else tokenizer.id_to_token(end),
        "model_max_length": source.config["max_position_embeddings"],
        "tokenizer_class": "Qwen2Tokenizer",
    }


def generation_config(source: model_sources.ModelSource) -> dict:
    """Every end-of-text id: the turn's end and the document's."""
    ends = {source.config.get("eos_token_id"), source.tokenizer.token_to_id("<|endoftext|>")}
    return {"bos_token_id": source.config.get("bos_token_id"),
            "eos_token_id": sorted((end for end in ends if end is not None), reverse=True)}


def write(source: model_sources.ModelSource, folder: Path, max_shard_size: str) -> None:
    model = reference_model.load(source.config, source.tensors, torch.float16)
    model.config.bos_token_id = source.config.get("bos_token_id")
    model.config.eos_token_id = source.config.get("eos_token_id")
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    source.tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in (("tokenizer_config.json", tokenizer_config(source)),
                          ("generation_config.json", generation_config(source))):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write a GGUF as a sharded safetensors directory.",
        epilog="example: python scripts/save_pretrained.py model.gguf out/ --tie",
    )
    parser.add_argument("model", type=Path, help=".gguf (or a safetensors directory, or .apr)")
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--tie", action="store_true", help="use the head's matrix for the embedding")
    parser.add_argument("--max-shard-size", default="200MB")
    parser.add_argument("--force", action="store_true", help="replace the directory")
    args = parser.parse_args()
    if args.out.exists() and not args.force:
        raise SystemExit(f"error: `{args.out}` exists\nhint: pass --force to replace it")
    source = model_sources.open_source(args.model, args.tie)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{args.out.name}.", dir=args.out.parent))
    staging.chmod(0o755)
    try:
        write(source, staging, args.max_shard_size)
        for file in staging.iterdir():
            file.chmod(0o644)
        if args.out.exists():
            shutil.rmtree(args.out)
        os.replace(staging, args.out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shards = len(list(args.out.glob("*.safetensors")))
    print(f"wrote {args.out}: {shards} shards, "
          f"weights {model_sources.weights_fingerprint(source.tensors)}", file=sys.stderr)


if __name__ == "__main__":
    main()
