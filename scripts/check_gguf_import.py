"""Compare every tensor of an `.apr` with what the `gguf` package makes of the GGUF it came from.

Float32 tensors must be equal bit for bit; float16 ones must equal the float32 values rounded to
nearest, ties to even. The `.apr` is read by `apr_reader.py`, so nothing here is the code under test.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/check_gguf_import.py MODEL.gguf MODEL.apr --tie

With `--tie` the `.apr` has no head and its embedding is the GGUF's `output.weight`. Exit status: 0 all
equal, 1 something differs (each difference is named), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import gguf
import numpy as np

import apr_reader
import model_sources

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def expected_bits(values: np.ndarray, dtype: str) -> np.ndarray:
    """The bit patterns that `values` must be stored as."""
    if dtype == "F32":
        return values.view(np.uint32)
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)  # BF16: round to nearest, ties to even
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def difference(values: np.ndarray, model: apr_reader.AprFile, entry: apr_reader.Entry) -> str | None:
    """What is wrong with one tensor, or nothing."""
    if tuple(entry.shape) != values.shape:
        return f"shape {list(entry.shape)}, expected {list(values.shape)}"
    expected, stored = expected_bits(values, entry.dtype), model.bits(entry)
    unequal = np.flatnonzero(expected.ravel() != stored.ravel())
    if unequal.size == 0:
        return None
    at = int(unequal[0])
    return (f"{unequal.size} of {values.size} elements differ, first at {at}: "
            f"stored {model.float32(entry).ravel()[at]!r}, gguf gives {values.ravel()[at]!r}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Compare an imported .apr with the gguf package's dequantization.",
        epilog="example: python scripts/check_gguf_import.py model.gguf model.apr --tie",
    )
    parser.add_argument("gguf", type=Path)
    parser.add_argument("apr", type=Path)
    parser.add_argument("--tie", action="store_true", help="the embedding is the GGUF's head")
    args = parser.parse_args()
    try:
        model = apr_reader.AprFile(args.apr)
    except apr_reader.AprError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    waiting = {entry.name: entry for entry in model.entries}
    n_differences, n_equal, n_elements, dtypes = 0, 0, 0, {}
    for name, values in model_sources.gguf_tensors_f32(gguf.GGUFReader(args.gguf)):
        if args.tie and name == EMBEDDING:
            continue
        if args.tie and name == HEAD:
            name = EMBEDDING
        entry = waiting.pop(name, None)
        found = "it is missing" if entry is None else difference(values, model, entry)
        if found:
            n_differences += 1
            print(f"{name}: {found}")
        else:
            n_equal += 1
            n_elements += values.size
            dtypes[entry.dtype] = dtypes.get(entry.dtype, 0) + 1
    for name in waiting:
        n_differences += 1
        print(f"{name}: it is not in the GGUF")
    kinds = ", ".join(f"{count} {dtype}" for dtype, count in sorted(dtypes.items()))
    print(f"{n_equal} tensors equal ({kinds}; {n_elements} elements), {n_differences} differ")
    return 1 if n_differences or not n_equal else 0


if __name__ == "__main__":
    sys.exit(main())
