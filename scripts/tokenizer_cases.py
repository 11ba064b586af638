"""Strings that tokenizers disagree about, generated from a seed.

A library for `check_tokenizer.py`; run on its own it writes them as JSON lines:

    python3 scripts/tokenizer_cases.py --count 100000 --seed 7 > strings.jsonl

Every string is valid Unicode text. Each belongs to a kind, so that a disagreement says where it lies.
Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import unicodedata
from typing import Callable

WORDS = (
    "the quick brown fox can't won't I'll you're we've they'd it's O'Neill HTTPServer snake_case "
    "camelCase naïve café Größe straße İstanbul ΑΒΓ привет שלום مرحبا नमस्ते สวัสดี ñandú Ærøskøbing"
).split()
SPACES = (" ", " ", " ", "\n", "\n", "\t", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u000b",
          "\u0085", "\u200b", "\ufeff")
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»„“”‘’–—…¿¡§†•※〜、。「」·"
DIGITS = "0123456789٠١٢٣۴۵५६७²³¹½¾Ⅷ①⑳０１９𝟘𝟙"
CJK = "漢字日本語中文简体繁體한국어조선말ひらがなカタカナｶﾀｶﾅ々〇ー𠀀𠮷龘"
COMBINING = "\u0300\u0301\u0302\u0303\u0308\u030a\u0323\u0327\u0328\u0338\u0345\u05b4\u064b\u093c\u0e34\u20dd\u3099\u309a"
BASES = "aeiouAEIOUncszyNCSZqxאبकกがはハ①=<>"
EMOJI = ("👩", "👨", "👧", "👦", "💻", "🚀", "❤", "🏳", "🌈", "🏴", "☠", "🙂", "👍", "🧑", "🔬", "⚕", "🇫", "🇷", "🇩", "🇪", "#", "1")
EMOJI_JOINERS = ("\u200d", "\u200d", "\ufe0f", "\ufe0e", "\u20e3", "🏻", "🏽", "🏿", "")
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'Ll", "’s", "’t", "''s", "'", "'x", "'ſ")
# Text that looks like broken bytes: mojibake, replacement characters, non-characters, controls, escapes.
BROKEN = ("\ufffd", "Ã©", "â€™", "ï»¿", "ð\x9f\x98\x80", "\x00", "\x01", "\x1b[0m", "\x7f", "\x80", "\x9f", "\uffff",
          "\ufdd0", "\U0010ffff", "\ue000", "\\xff", "<0x0A>", "%C3%28", "&#0;", "\\ud800", "Ġ", "Ċ", "âĢĻ", "\u200e", "\u202e")
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NEARLY_CONTROL = ("<|im_end|", "<|im_ end|>", "<|IM_END|>", "< |im_end|>", "<|im_end|>>", "<|im_start|>system\n", "</s>", "<s>", "[INST]")
CODE = ("fn main() {\n    println!(\"{}\", x);\n}\n", "for i in range(10):\n\tprint(i)\n", "a+=b**2;//c", "if(x!=y){return z;}",
        "SELECT * FROM t WHERE a='b';", "{\"k\": [1, 2.5e-3, null]}", "https://example.org/a?b=c&d=%20#e", "C:\\dir\\f.txt")


def joined(rng: random.Random, parts: list[str], most: int) -> str:
    return "".join(rng.choice(parts) for _ in range(rng.randint(1, most)))


def whitespace(rng: random.Random) -> str:
    pieces = []
    for _ in range(rng.randint(1, 6)):
        pieces.append(rng.choice(SPACES) * rng.randint(1, 5) if rng.random() < 0.6 else rng.choice(WORDS))
    return "".join(pieces)


def digits(rng: random.Random) -> str:
    groups = ["".join(rng.choices(DIGITS, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 4))]
    return rng.choice(("", " ", ".", ",", "-", ":", "e")).join(groups)


def contractions(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) + rng.choice(CONTRACTIONS) + rng.choice(("", "", "x", " ", "1"))
                    for _ in range(rng.randint(1, 5)))


def cjk(rng: random.Random) -> str:
    text = "".join(rng.choices(CJK, k=rng.randint(1, 12)))
    return text if rng.random() < 0.6 else text + rng.choice(WORDS + list("。、 !？")) + rng.choice(CJK)


def emoji(rng: random.Random) -> str:
    return "".join(rng.choice(EMOJI) + rng.choice(EMOJI_JOINERS) for _ in range(rng.randint(1, 7)))


def combining(rng: random.Random) -> str:
    text = "".join(rng.choice(BASES) + "".join(rng.choices(COMBINING, k=rng.randint(0, 3)))
                   for _ in range(rng.randint(1, 8)))
    return unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKD")), text) if rng.random() < 0.5 else text


def normal_forms(rng: random.Random) -> str:
    special = ("Å", "Å", "Ω", "ﬁ", "각", "각", "が", "ⓐ", "\u0340", "\u0344", "\u0958", "\u2126",
               "\ufb1d", "\U0001d15e", "豈", "ñ", "ế")
    text = joined(rng, list(special) + WORDS[:4], 8)
    return unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC", "NFKD")), text)


def broken(rng: random.Random) -> str:
    return joined(rng, list(BROKEN) + [rng.choice(WORDS), " "], 8)


def control(rng: random.Random) -> str:
    return joined(rng, list(CONTROL + NEARLY_CONTROL) + [rng.choice(WORDS), " ", "\n"], 6)


def code(rng: random.Random) -> str:
    text = joined(rng, list(CODE), 3)
    cut = sorted(rng.randint(0, len(text)) for _ in range(2))
    return text[cut[0]:cut[1]] or text


def is_settled(character: str) -> bool:
    """Assigned, and not a combining mark of a later Unicode than every normaliser here knows."""
    return unicodedata.category(character) not in ("Cn", "Cs") and (
        unicodedata.combining(character) == unicodedata.ucd_3_2_0.combining(character))


def any_characters(rng: random.Random) -> str:
    """Characters from anywhere."""
    found = []
    while len(found) < rng.randint(1, 8):
        ceiling = rng.choice((0x7F, 0x24F, 0x2FFF, 0xFFFF, 0x1FFFF))
        character = chr(rng.randint(1, ceiling))
        if is_settled(character):
            found.append(character)
    return "".join(found)


def runs(rng: random.Random) -> str:
    """Long runs of one thing, where a merge order shows."""
    return rng.choice((" ", "\n", "a", "-", "=", "0", "é", "漢", "👍", "ab", "\t")) * rng.randint(5, 60)


def mixed(rng: random.Random) -> str:
    kinds = [kind for kind in KINDS.values() if kind not in (mixed, control)]
    return rng.choice(("", " ", "\n")).join(rng.choice(kinds)(rng) for _ in range(rng.randint(2, 5)))


KINDS: dict[str, Callable[[random.Random], str]] = {
    "whitespace": whitespace, "digits": digits, "contractions": contractions, "cjk": cjk, "emoji": emoji,
    "combining": combining, "normal_forms": normal_forms, "broken": broken, "control": control,
    "code": code, "any_characters": any_characters, "runs": runs,
    "punctuation": lambda rng: "".join(rng.choices(PUNCTUATION + " \n", k=rng.randint(1, 12))),
    "mixed": mixed,
}


def generate(count: int, seed: int) -> list[tuple[str, str]]:
    """`count` distinct strings with their kinds; the same for the same seed."""
    rng = random.Random(seed)
    names, found, seen = list(KINDS), [], set()
    while len(found) < count:
        kind = names[len(found) % len(names)] if rng.random() < 0.9 else "mixed"
        text = KINDS[kind](rng)
        if text not in seen:
            seen.add(text)
            found.append((kind, text))
        elif rng.random() < 0.5:  # a small kind may run dry
            text += rng.choice(WORDS) + str(rng.randint(0, 9999))
            if text not in seen:
                seen.add(text)
                found.append((kind, text))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write test strings for tokenizers as JSON lines.",
        epilog="example: python3 scripts/tokenizer_cases.py --count 1000 > strings.jsonl",
    )
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20240607)
    args = parser.parse_args()
    for _, text in generate(args.count, args.seed):
        sys.stdout.write(json.dumps(text, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
