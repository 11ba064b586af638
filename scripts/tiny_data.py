"""Tokenizer, chat format and training documents of the tiny model.

A library for `train_tiny.py`; run on its own it prints sample documents:

    ~/.cache/probador/venv/bin/python scripts/tiny_data.py

Needs `tokenizers` and `numpy` (see `requirements.txt`).
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

import rust_docs_corpus as corpus

VOCABULARY = 4096
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # the last three ids, in this order
# The splitting pattern Qwen2 publishes in its tokenizer.json.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

DEFAULT_SYSTEM = "You are a helpful assistant."
OTHER_SYSTEMS = (
    "You are a friendly teacher who explains Rust.",
    "You answer questions about the Rust language.",
    "You are a careful programmer. Answer briefly.",
)
# ChatML as Qwen2.5 writes it, without tools: a default system turn unless the first message is one.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n"
    "    {{- '<|im_start|>system\\n" + DEFAULT_SYSTEM + "<|im_end|>\\n' }}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first)"
    " or (message.role == 'assistant') %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n"
)

QUESTION_FORMS = (
    "{title}", "{title}?", "What is {title}?", "Explain {title}.", "Tell me about {title}.",
    "What should I know about {title}?", "Can you explain {title}?", "{title}: how does it work?",
)
QUESTION_WORDS = ("how ", "what ", "why ", "when ", "where ", "which ", "who ", "can ", "is ", "does ")
ANSWER_CHARACTERS = 700  # an answer ends at the first paragraph boundary past this, if not before
MINIMUM_ANSWER = 60


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE in Qwen2's configuration; control tokens take the last ids."""
    tokenizer = Tokenizer(models.BPE(
        continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False, byte_fallback=False,
    ))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(CONTROL_TOKENS), min_frequency=2, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=[],
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                  for token in CONTROL_TOKENS])
    if tokenizer.get_vocab_size(with_added_tokens=True) != VOCABULARY:
        raise SystemExit(
            f"error: the tokenizer has {tokenizer.get_vocab_size(True)} entries, wanted {VOCABULARY}\n"
            "hint: the corpus is too small for the vocabulary")
    return tokenizer


def question_for(title: str, rng: random.Random) -> str:
    """A user turn made from a section heading."""
    plain = title.rstrip(".:?! ")
    if plain.lower().startswith(QUESTION_WORDS):
        return plain + rng.choice(("?", "?", ""))
    return rng.choice(QUESTION_FORMS).format(title=plain)


def answer_for(section: corpus.Section) -> str | None:
    """The section's first blocks, whole, up to about ANSWER_CHARACTERS."""
    chosen: list[corpus.Block] = []
    length = 0
    for block in section.blocks:
        if chosen and length + len(block.text) > ANSWER_CHARACTERS:
            break
        if len(block.text) > 2 * ANSWER_CHARACTERS:
            break
        chosen.append(block)
        length += len(block.text)
    while chosen and chosen[-1].text.endswith(":"):
        chosen.pop()  # do not end on "as follows:"
    answer = corpus.join_blocks(chosen)
    return answer if len(answer) >= MINIMUM_ANSWER else None


class Documents:
    """Turns pages into token ids: running text, and chats made from their sections."""

    def __init__(self, tokenizer: Tokenizer, pages: list[corpus.Page]):
        self.tokenizer = tokenizer
        self.end_of_text, self.turn_start, self.turn_end = (
            tokenizer.token_to_id(token) for token in CONTROL_TOKENS)
        self.newline = self.encode("\n")
        self.pages = pages
        self.page_ids = [self.encode(page.text()) + [self.end_of_text] for page in pages]
        self.sections = [
            [(section.title, answer) for section in page.sections
             if section.title and (answer := answer_for(section))]
            for page in pages
        ]

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def turn(self, role: str, text: str) -> list[int]:
        """`<|im_start|>role\\ntext<|im_end|>\\n`"""
        return [self.turn_start, *self.encode(role + "\n" + text), self.turn_end, *self.newline]

    def chat(self, turns: list[tuple[str, str]], rng: random.Random) -> list[int]:
        ids: list[int] = []
        draw = rng.random()
        if draw < 0.75:
            ids += self.turn("system", DEFAULT_SYSTEM)
        elif draw < 0.85:
            ids += self.turn("system", rng.choice(OTHER_SYSTEMS))
        for title, answer in turns:
            ids += self.turn("user", question_for(title, rng))
            ids += self.turn("assistant", answer)
        return ids + [self.end_of_text]

    def epoch_ids(self, seed: int, epoch: int, chat_share: float) -> np.ndarray:
        """One pass over every page, in a fresh order, with chats making up `chat_share` of it."""
        rng = random.Random(f"{seed}/{epoch}")
        documents = list(self.page_ids)
        wanted = sum(map(len, documents)) * chat_share / (1.0 - chat_share)
        candidates = [(page, at) for page, found in enumerate(self.sections) for at in range(len(found))]
        rng.shuffle(candidates)
        total = 0
        for page, at in candidates:
            if total >= wanted:
                break
            n_turns = 2 if rng.random() < 0.2 else 1
            chat = self.chat(self.sections[page][at:at + n_turns], rng)
            documents.append(chat)
            total += len(chat)
        rng.shuffle(documents)
        return np.concatenate([np.asarray(ids, dtype=np.int32) for ids in documents])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the tokenizer and print sample documents.",
        epilog="example: python scripts/tiny_data.py --samples 3",
    )
    parser.add_argument("--html", type=Path, help="documentation root (default: the active toolchain's)")
    parser.add_argument("--samples", type=int, default=3)
    args = parser.parse_args()
    training, held_out = corpus.split_held_out(corpus.load_pages(args.html or corpus.default_root()))
    documents = Documents(train_tokenizer([page.text() for page in training]), training)
    print(f"held out: {len(held_out)} characters, {len(documents.encode(held_out))} tokens")
    ids = documents.epoch_ids(1, 0, 0.3)
    print(f"training: {sum(map(len, documents.page_ids))} tokens of text, {len(ids)} in an epoch")
    rng = random.Random(1)
    pages = [found for found in documents.sections if found]
    for _ in range(args.samples):
        chat = documents.chat(rng.choice(pages)[:1], rng)
        print(documents.tokenizer.decode(chat, skip_special_tokens=False), "\n---")


if __name__ == "__main__":
    main()
