#!/usr/bin/env python3
"""Record what Hugging Face's tokenizer and tiktoken make of odd strings, for claims B2 and B5.

The strings are drawn from a fixed seed: whitespace runs, digits, contractions, scripts, emoji with
joiners, combining marks, text that spells control tokens. Hugging Face's tokenizer runs with special
tokens split into text; tiktoken is built from the same vocabulary, the published pattern, and NFC text.
A string on which the two disagree is left out and counted: it cannot judge a third.

    scripts/setup_python.sh
    PY=${PROBADOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/probador}/venv/bin/python
    $PY scripts/generate_tokenizer_golden.py --name tiny --model WORK/tiny
    $PY scripts/generate_tokenizer_golden.py --name release --model MODEL.gguf

Writes `golden/NAME/tokenizer-ids.json` beside, then renames; refuses to replace one without `--force`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import unicodedata
from pathlib import Path

import blake3
import tiktoken
import tokenizers

import model_sources

REPOSITORY = Path(__file__).resolve().parent.parent
SEED = 20
N_WHITESPACE = 160
N_MIXED = 340
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\t ", "\u00a0", "\u3000", "\u2003", "\u200b"]
WORDS = ["the", "Function", "naïve", "don't", "I'LL", "x", "42", "1234567", "3.14", "fn", "日本語", "中文", "한국어",
         "ไทย", "العربية", "हिन्दी", "e\u0301", "\u212b", "ﬁ", "👩\u200d💻", "👍🏽", "🇩🇪", "½", "Ⅷ", "ß", "İ", "_", "::",
         "->", "//", "...", "\\n", "\"", "'s", "'", "(", "{}", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "\u0000",
         "\u0301", "\ufeff", "𝒜", "\U0010ffff"]


def byte_decoder() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE, back to bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in plain}
    shifted = (byte for byte in range(256) if byte not in plain)
    table.update({chr(256 + index): byte for index, byte in enumerate(shifted)})
    return table


def tiktoken_of(tokenizer_json: dict, split_pattern: str) -> tiktoken.Encoding:
    """tiktoken over the same vocabulary. Its ranks are ids, so ids must be in order of merging."""
    decode = byte_decoder()
    added = {token["content"] for token in tokenizer_json["added_tokens"]}
    ranks = {
        bytes(decode[character] for character in text): rank
        for text, rank in tokenizer_json["model"]["vocab"].items()
        if text not in added
    }
    return tiktoken.Encoding("recorded", pat_str=split_pattern, mergeable_ranks=ranks, special_tokens={})


def strings() -> list[tuple[str, str]]:
    """(kind, text), all different."""
    rng = random.Random(SEED)
    found: dict[str, str] = {"": "mixed"}
    for spaces in SPACES:
        found[spaces] = "whitespace"
    while sum(kind == "whitespace" for kind in found.values()) < N_WHITESPACE:
        run = "".join(rng.choices(SPACES, k=rng.randint(1, 4)))
        word = rng.choice(WORDS[:20])
        text = rng.choice([run + word, word + run, word + run + word, run, run + word + run])
        found.setdefault(text, "whitespace")
    while len(found) < N_WHITESPACE + N_MIXED:
        pieces = rng.choices(WORDS + SPACES, k=rng.randint(1, 9))
        if rng.random() < 0.3:
            pieces.append(chr(rng.choice([rng.randrange(0x20, 0xD800), rng.randrange(0xE000, 0x110000)])))
        rng.shuffle(pieces)
        found.setdefault("".join(pieces), "mixed")
    return [(kind, text) for text, kind in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="the model's name in golden/models.yaml")
    parser.add_argument("--model", required=True, type=Path, help="a safetensors directory or a GGUF")
    parser.add_argument("--force", action="store_true", help="replace a record that exists")
    arguments = parser.parse_args()
    out = REPOSITORY / "golden" / arguments.name / "tokenizer-ids.json"
    if out.exists() and not arguments.force:
        raise SystemExit(f"error: `{out}` exists\nhint: --force replaces it")
    source = model_sources.open_source(arguments.model)
    text = source.tokenizer_json or source.tokenizer.to_str().encode()
    reference = tokenizers.Tokenizer.from_str(text.decode())
    reference.encode_special_tokens = True
    second = tiktoken_of(json.loads(text), model_sources.SPLIT_PATTERNS["qwen2"])
    rows, n_disagreeing = [], 0
    for kind, string in strings():
        huggingface = reference.encode(string, add_special_tokens=False).ids
        other = second.encode(unicodedata.normalize("NFC", string), disallowed_special=())
        if huggingface != other:
            n_disagreeing += 1
            continue
        rows.append({"text": string, "kind": kind, "huggingface": huggingface, "tiktoken": other})
    record = {
        "producer": f"scripts/generate_tokenizer_golden.py, tokenizers {tokenizers.__version__}, "
                    f"tiktoken {tiktoken.__version__}; {n_disagreeing} strings left out on which they disagree",
        "tokenizer": blake3.blake3(text).hexdigest(),
        "strings": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    body = json.dumps(record, ensure_ascii=False).replace('{"text"', '\n{"text"')
    partial.write_text(body + "\n", encoding="utf-8")
    os.replace(partial, out)
    print(f"{out}: {len(rows)} strings, {n_disagreeing} left out")


if __name__ == "__main__":
    main()
