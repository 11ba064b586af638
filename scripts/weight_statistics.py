#!/usr/bin/env python3
"""Record each tensor's mean and deviation, as an independent reader finds them in the weights' source.

Claim A2 compares the imported `.apr` with this file. The source is what the `.apr` was made from, a
safetensors directory or a GGUF, read by Python libraries; no code of the subjects is involved.

    scripts/setup_python.sh
    PY=${PROBADOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/probador}/venv/bin/python
    $PY scripts/weight_statistics.py --name tiny --model WORK/tiny
    $PY scripts/weight_statistics.py --name release --tie --model MODEL.gguf

Writes `golden/NAME/weights.json` beside, then renames; refuses to replace one without `--force`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

import model_sources

REPOSITORY = Path(__file__).resolve().parent.parent


def statistics(tensor: torch.Tensor) -> dict:
    """Mean and population deviation in float64."""
    values = tensor.to(torch.float64)
    mean = values.mean()
    return {
        "shape": list(tensor.shape),
        "mean": mean.item(),
        "std": (values - mean).square().mean().sqrt().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="the model's name in golden/models.yaml")
    parser.add_argument("--model", required=True, type=Path, help="a safetensors directory or a GGUF")
    parser.add_argument("--tie", action="store_true", help="use the head's matrix as the embedding too")
    parser.add_argument("--force", action="store_true", help="replace a record that exists")
    arguments = parser.parse_args()
    if arguments.model.suffix == ".apr":
        raise SystemExit("error: an .apr is what is judged\nhint: give the source it was imported from")
    out = REPOSITORY / "golden" / arguments.name / "weights.json"
    if out.exists() and not arguments.force:
        raise SystemExit(f"error: `{out}` exists\nhint: --force replaces it")
    source = model_sources.open_source(arguments.model, tie=arguments.tie)
    record = {
        "producer": f"scripts/weight_statistics.py, torch {torch.__version__}",
        "source": ", ".join(f"{file['name']} sha256:{file['sha256']}" for file in source.source_files()),
        "tensors": {name: statistics(tensor) for name, tensor in sorted(source.tensors.items())},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, out)
    print(out)


if __name__ == "__main__":
    main()
