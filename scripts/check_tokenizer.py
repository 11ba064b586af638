"""Compare `apr tokenize` with Hugging Face and tiktoken on generated strings.

At least 100,000 strings are made from a seed (see `tokenizer_cases.py`) and given to
`apr tokenize MODEL --jsonl FILE`, which prints one JSON array of ids for each line of FILE, a JSON
string. The ids must equal

* Hugging Face's `tokenizers` on the same text, control tokens spelt in it taken as text; from the
  GGUF's tokens and merges, or from `tokenizer.json`;
* tiktoken's over the vocabulary of `--tiktoken FILE` (see `fetch_release_model.py --model
  qwen-tiktoken`), on the NFC form of the text;

and decode, by Hugging Face and by `apr tokenize --decode`, to the NFC form of the text.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/check_tokenizer.py --apr target/release/apr --model MODEL.apr --reference MODEL.gguf \\
        --tiktoken "$(python3 scripts/fetch_release_model.py --model qwen-tiktoken)"

Exit status: 0 all agree, 1 something differs (the first cases of each kind are shown), 2 wrong usage.
`--no-apr` compares the two references with each other only.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import gguf
import tiktoken
from tokenizers import Tokenizer

import apr_reader
import model_sources
import tokenizer_cases

SHOWN = 3  # disagreements printed for each kind


def reference_tokenizer(path: Path) -> Tokenizer:
    """Hugging Face's tokenizer for a GGUF, a directory, a tokenizer.json or an .apr."""
    if path.suffix == ".gguf":
        tokenizer = model_sources.gguf_tokenizer(gguf.GGUFReader(path))
    elif path.suffix == ".apr":
        tokenizer = Tokenizer.from_str(apr_reader.AprFile(path, verify_hashes=False).tokenizer_json().decode())
    else:
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))
    tokenizer.encode_special_tokens = True  # control tokens in a text are text
    return tokenizer


def tiktoken_ids(vocabulary: Path, texts: list[str]) -> list[list[int]]:
    """Ids by tiktoken, on the NFC form."""
    ranks = {}
    for line in vocabulary.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    encoding = tiktoken.Encoding(
        name="qwen2", pat_str=model_sources.SPLIT_PATTERNS["qwen2"], mergeable_ranks=ranks, special_tokens={})
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    return encoding.encode_ordinary_batch(normal, num_threads=2)


def our_lines(apr: Path, model: Path, lines: list, keep: Path | None, *flags: str) -> list:
    """What `apr tokenize --jsonl` answers, a JSON value for each JSON value it is given."""
    with tempfile.TemporaryDirectory() as folder:
        file = keep or Path(folder) / "lines.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        command = [str(apr), "tokenize", str(model), "--jsonl", str(file), *flags]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: `{' '.join(command)}` exited {done.returncode}:\n{done.stderr.strip()}")
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    if len(answers) != len(lines):
        raise SystemExit(f"error: `{' '.join(command)}` printed {len(answers)} lines for {len(lines)}")
    return answers


class Comparison:
    """Counts disagreements by kind and shows the first of each."""

    def __init__(self, cases: list[tuple[str, str]]):
        self.cases, self.failed = cases, 0

    def require(self, what: str, left: list, right: list) -> None:
        wrong: Counter = Counter()
        for (kind, text), a, b in zip(self.cases, left, right):
            if a != b:
                wrong[kind] += 1
                if wrong[kind] <= SHOWN:
                    print(f"{what}: {kind}: {json.dumps(text)}\n  {a}\n  {b}")
        self.failed += sum(wrong.values())
        detail = f" ({', '.join(f'{kind} {count}' for kind, count in wrong.most_common())})" if wrong else ""
        print(f"{what}: {len(self.cases) - sum(wrong.values())} of {len(self.cases)} agree{detail}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Compare our tokenizer with Hugging Face and tiktoken on generated strings.",
        epilog="example: python scripts/check_tokenizer.py --model m.apr --reference m.gguf",
    )
    parser.add_argument("--apr", type=Path, default=Path("target/release/apr"), help="the apr executable")
    parser.add_argument("--model", type=Path, help="the .apr whose tokenizer is checked")
    parser.add_argument("--reference", type=Path, required=True,
                        help=".gguf, safetensors directory, tokenizer.json, or .apr for Hugging Face")
    parser.add_argument("--tiktoken", type=Path, help="tiktoken vocabulary (`token rank` lines)")
    parser.add_argument("--file", type=Path, help="keep the strings here, as JSON lines")
    parser.add_argument("--count", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=20240607)
    parser.add_argument("--no-apr", action="store_true", help="compare only the references")
    args = parser.parse_args()
    if not args.no_apr and args.model is None:
        parser.error("--model is needed unless --no-apr is given")
    cases = tokenizer_cases.generate(args.count, args.seed)
    texts = [text for _, text in cases]
    print(f"{len(texts)} strings from seed {args.seed}: {dict(Counter(kind for kind, _ in cases))}")
    reference = reference_tokenizer(args.reference)
    expected = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    comparison = Comparison(cases)
    if args.tiktoken:
        comparison.require("Hugging Face, tiktoken", expected, tiktoken_ids(args.tiktoken, texts))
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    decoded = reference.decode_batch(expected, skip_special_tokens=False)
    comparison.require("decoded by Hugging Face, NFC", decoded, normal)
    if not args.no_apr:
        ids = our_lines(args.apr, args.model, texts, args.file)
        comparison.require("ours, Hugging Face", ids, expected)
        decoded = our_lines(args.apr, args.model, ids, None, "--decode")
        comparison.require("decoded by ours, NFC", decoded, normal)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
