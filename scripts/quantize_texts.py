#!/usr/bin/env python3
"""Write the texts that `apr convert` calibrates and evaluates with when it is given none.

Prose and code from the Rust books (the rust-docs component, MIT OR Apache-2.0): for calibration, sections
spread evenly over all training pages of the tiny model; for evaluation, the pages that are held out from
its training. Needs Python 3.9 or newer and `rustup component add rust-docs`; nothing is downloaded.

    python3 scripts/quantize_texts.py            # writes subjects/quantize/texts/*.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import rust_docs_corpus as corpus

# Some 65,000 tokens of Qwen2: twice what 64 sequences of 512 take.
CALIBRATION_CHARACTERS = 260_000
# Sections shorter than this say little by themselves.
LEAST_CHARACTERS = 600
FOLDER = Path(__file__).resolve().parent.parent / "subjects" / "quantize" / "texts"


def calibration_text(pages: list[corpus.Page]) -> str:
    sections = [
        text
        for page in pages
        for section in page.sections
        if len(text := section.text()) >= LEAST_CHARACTERS
    ]
    total = sum(map(len, sections))
    chosen, due = [], 0.0
    for text in sections:
        due += len(text) * CALIBRATION_CHARACTERS / total
        if due >= len(text):
            chosen.append(text)
            due -= len(text)
    return "\n\n".join(chosen) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, help="documentation root (default: the active toolchain's)")
    arguments = parser.parse_args()
    pages = corpus.load_pages(arguments.html or corpus.default_root())
    training, held_out = corpus.split_held_out(pages)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in (("calibration", calibration_text(training)), ("evaluation", held_out)):
        path = FOLDER / f"{name}.txt"
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {len(text)} characters")


if __name__ == "__main__":
    main()
