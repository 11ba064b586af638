#!/usr/bin/env python3
"""Record what Hugging Face makes of text and conversations, for the tests of `subjects/tokenizer`.

    scripts/setup_python.sh
    PY=${PROBADOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/probador}/venv/bin/python
    $PY scripts/generate_tokenizer_fixtures.py --tokenizer WORK/tiny/tokenizer.json

Writes to `subjects/tokenizer/tests/fixtures/`:

* `tokenizer.json`: the given tokenizer (the tiny model's) cut to its first merges, with an added token that is not
  special, so that a test is quick and the file small;
* `ids.json`: strings, their ids as plain text (`split_special_tokens=True`) and with control tokens parsed;
* `chat.json`: for each `*.jinja` there, conversations and the ids of `apply_chat_template`;
* `constructs.json`: for each line of `constructs.txt`, a template, the text that it renders to.

The templates themselves are written by hand or published (see the folder's README) and not touched here.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import tokenizers
import transformers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

import tokenizer_cases

FIXTURES = Path(__file__).resolve().parent.parent / "subjects" / "tokenizer" / "tests" / "fixtures"
N_MERGES = 600
N_STRINGS = 400
N_CONVERSATIONS = 12
SEED = 11
# What people write, and what templates could trip over; nothing that spells a control token.
SAID = ("Hello", "  spaces  ", "\n\nlines\n", "What is 2+2?", "你好", "e\u0301", "<think>", "</think>", "a'b\"c\\", "{{ x }}",
        "{% if %}", "<|", "|>", "", "\x1ctrimmed\x1c", "\u00a0", "<tool_call>1</tool_call>", "ABC def")


def cut(path: Path) -> dict:
    """The tokenizer with its alphabet and first merges only."""
    full = json.loads(path.read_text(encoding="utf-8"))
    merges = [merge if isinstance(merge, list) else merge.split(" ") for merge in full["model"]["merges"][:N_MERGES]]
    by_id = sorted(full["model"]["vocab"], key=full["model"]["vocab"].get)
    made = {left + right for left, right in merges}
    kept = [token for token in by_id if len(token) == 1 or token in made]
    full["model"]["vocab"] = {token: index for index, token in enumerate(kept)}
    full["model"]["merges"] = merges
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    names = [(token["content"], True) for token in full["added_tokens"]] + [("<tool_call>", False)]
    full["added_tokens"] = [
        {"id": len(kept) + index, "content": content, **plain, "special": special}
        for index, (content, special) in enumerate(names)
    ]
    return full


def conversations(rng: random.Random) -> list[list[dict]]:
    found = []
    for index in range(N_CONVERSATIONS):
        turns = [] if index % 2 else [{"role": "system", "content": rng.choice(SAID)}]
        for _ in range(rng.randint(1, 3)):
            for role in ("user", "assistant"):
                turns.append({"role": role, "content": "".join(rng.choices(SAID, k=rng.randint(1, 4)))})
        found.append(turns[:-1] if rng.random() < 0.5 else turns)
    return found


def rows(records: list[dict]) -> str:
    return "[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", required=True, type=Path, help="the tiny model's tokenizer.json")
    arguments = parser.parse_args()
    fixture = FIXTURES / "tokenizer.json"
    fixture.write_text(json.dumps(cut(arguments.tokenizer), ensure_ascii=False, separators=(",", ":")) + "\n",
                       encoding="utf-8")
    reference = PreTrainedTokenizerFast(tokenizer_file=str(fixture))

    rng = random.Random(SEED)
    kinds = list(tokenizer_cases.KINDS.values())
    texts = dict.fromkeys(["", " ", "<tool_call>", "<|im_end|>", "a<|im_end|>\u0338", "<tool_call>\u0338"])
    while len(texts) < N_STRINGS:
        texts[kinds[len(texts) % len(kinds)](rng)[:120]] = None
    records = []
    for text in texts:
        plain, parsed = (
            reference(text, add_special_tokens=False, split_special_tokens=split).input_ids for split in (True, False)
        )
        record = {"text": text, "ids": plain}
        if parsed != plain:
            record["parsed"] = parsed
        records.append(record)
    (FIXTURES / "ids.json").write_text(rows(records), encoding="utf-8")

    records = []
    for template in sorted(FIXTURES.glob("*.jinja")):
        source = template.read_text(encoding="utf-8")
        for messages in conversations(random.Random(SEED)):
            for generate in (False, True):
                ids = reference.apply_chat_template(
                    messages, chat_template=source, add_generation_prompt=generate, tokenize=True, return_dict=False)
                records.append({"template": template.name, "messages": messages, "generate": generate, "ids": ids})
    (FIXTURES / "chat.json").write_text(rows(records), encoding="utf-8")

    constructs = []
    for source in (FIXTURES / "constructs.txt").read_text(encoding="utf-8").splitlines():
        rendered, _ = render_jinja_template([[{"role": "user", "content": "hi"}]], chat_template=source)
        constructs.append({"template": source, "text": rendered[0]})
    (FIXTURES / "constructs.json").write_text(rows(constructs), encoding="utf-8")
    print(f"{FIXTURES}: {len(texts)} strings, {len(records)} conversations, "
          f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")


if __name__ == "__main__":
    main()
