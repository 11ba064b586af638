"""Train the tiny Qwen2-architecture model that lives in `golden/tiny/`.

What it does: extracts the Rust Book and its companions from the `rust-docs` component, trains a
4,096-entry byte-level BPE in Qwen2's configuration, trains a six-layer Qwen2 model from a fixed seed
on the CPU (about three quarters of an hour on two cores), rounds it to float16 and writes a Hugging
Face directory. Documents are running text and, for three tenths of the tokens, ChatML conversations
made from section headings and their first paragraphs, so the model ends its turns.

    scripts/setup_python.sh
    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    nice -n 19 $PY scripts/train_tiny.py                  # or again, to resume
    nice -n 19 $PY scripts/train_tiny.py --export-only    # write the current checkpoint as it is

Then `apr import WORK/tiny -o golden/tiny/tiny.apr` makes the committed model. The seed fixes the data
order and the initial weights; the schedule ends after `--steps` steps, `--minutes` of processor time
(per thread, so that a busy machine costs patience and not quality) or `--wall-minutes`, whichever
comes first, and `training.json` says which. The learning rate follows whichever limit is nearest, so only
a run that the steps end (`--minutes 1e9 --wall-minutes 1e9`) can be repeated exactly.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# Threads that wait must not spin: on a busy machine that starves the one they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

import rust_docs_corpus as corpus
import tiny_data
import tiny_export

REPOSITORY = Path(__file__).resolve().parent.parent
CHAT_SHARE = 0.3  # of all training tokens
BATCH_TOKENS = 4096
SEQUENCE = 512
LONG_SEQUENCE = 1024  # for the last part of training: the whole context the model declares
LONG_FROM = 0.85  # of the schedule
PEAK_RATE = 3e-3
FINAL_RATE = 0.01  # of the peak
WARM_UP_STEPS = 150
WEIGHT_DECAY = 0.1
CLIP = 1.0
CHECKPOINT_SECONDS = 150
QUESTIONS = ("What is ownership?", "What is 2+2?", "How do I create a new package with Cargo?")


def cache_folder() -> Path:
    base = os.environ.get("PROBADOR_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probador"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train the tiny model (resumes from its checkpoint).",
        epilog="example: nice -n 19 python scripts/train_tiny.py --minutes 45",
    )
    parser.add_argument("--html", type=Path, help="documentation root (default: the active toolchain's)")
    parser.add_argument("--work", type=Path, default=cache_folder() / "work",
                        help="checkpoints and exported directories (default: %(default)s)")
    parser.add_argument("--record", type=Path, default=REPOSITORY / "golden/tiny",
                        help="where training.json and held-out.txt go (default: golden/tiny)")
    parser.add_argument("--minutes", type=float, default=45.0,
                        help="limit on processor time per thread (default: %(default)s)")
    parser.add_argument("--wall-minutes", type=float, default=120.0,
                        help="limit on elapsed training time (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=6000, help="training step limit")
    parser.add_argument("--seed", type=int, default=20240607)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preview-minutes", type=float, default=2.0,
                        help="write WORK/tiny-preview after this much training; 0 writes none")
    parser.add_argument("--fresh", action="store_true", help="ignore an existing checkpoint")
    parser.add_argument("--export-only", action="store_true", help="write the current checkpoint and stop")
    return parser.parse_args()


@dataclass
class Corpus:
    """Everything the loop and the records need to know about the data."""

    tokenizer: Tokenizer
    documents: tiny_data.Documents
    held_out: str
    sha256: str
    sources: dict


def load_corpus(html: Path | None, work: Path) -> Corpus:
    pages = corpus.load_pages(html or corpus.default_root())
    sources, digest = corpus.corpus_summary(pages), corpus.corpus_hash(pages)
    for source, entry in sources.items():
        print(f"data: rust-docs/{source}: {entry['pages']} pages, {entry['characters']} characters")
    print(f"data: corpus sha256 {digest}")
    training, held_out = corpus.split_held_out(pages)
    tokenizer = tiny_data.train_tokenizer([page.text() for page in training])
    tokenizer.save(str(work / "tokenizer.json"))
    return Corpus(tokenizer, tiny_data.Documents(tokenizer, training), held_out, digest, sources)


def new_model(seed: int, tokenizer: Tokenizer) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    end_of_text, _, turn_end = (tokenizer.token_to_id(token) for token in tiny_data.CONTROL_TOKENS)
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=tiny_data.VOCABULARY, hidden_size=192, intermediate_size=512,
        num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=1024, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=end_of_text, eos_token_id=turn_end, use_sliding_window=False,
    ))


def make_optimizer(model: Qwen2ForCausalLM) -> torch.optim.AdamW:
    """Weight decay on matrices only: biases and norm gains are free."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=PEAK_RATE, betas=(0.9, 0.95), eps=1e-9, fused=True)


class TokenStream:
    """Consecutive windows over shuffled epochs; `position` alone says where it stands."""

    def __init__(self, documents: tiny_data.Documents, seed: int):
        self.documents, self.seed = documents, seed
        self.epoch, self.offset, self.ids = -1, 0, np.zeros(0, dtype=np.int32)

    def seek(self, epoch: int, offset: int) -> None:
        self.epoch, self.offset = epoch, offset
        self.ids = self.documents.epoch_ids(self.seed, epoch, CHAT_SHARE)

    def batch(self, rows: int, length: int) -> torch.Tensor:
        """`[rows, length + 1]` ids."""
        needed = rows * length + 1
        if self.epoch < 0 or self.offset + needed > len(self.ids):
            self.seek(self.epoch + 1, 0)
        flat = self.ids[self.offset:self.offset + needed].astype(np.int64)
        self.offset += rows * length
        windows = [flat[row * length:(row + 1) * length + 1] for row in range(rows)]
        return torch.from_numpy(np.stack(windows))


class Run:
    """The training state: model, optimizer, data position, and time spent."""

    def __init__(self, args: argparse.Namespace, data: Corpus):
        self.args, self.data = args, data
        self.model = new_model(args.seed, data.tokenizer)
        self.optimizer = make_optimizer(self.model)
        self.stream = TokenStream(data.documents, args.seed)
        self.step, self.seconds, self.wall_seconds = 0, 0.0, 0.0
        self.checkpoint = args.work / "tiny-checkpoint.pt"

    def save(self) -> None:
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save({
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "step": self.step, "seconds": self.seconds, "wall_seconds": self.wall_seconds,
            "corpus": self.data.sha256, "epoch": self.stream.epoch, "offset": self.stream.offset,
        }, temporary)
        os.replace(temporary, self.checkpoint)

    def resume(self) -> bool:
        if self.args.fresh or not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        if state["corpus"] != self.data.sha256:
            raise SystemExit(
                f"error: `{self.checkpoint}` was trained on another corpus\nhint: pass --fresh")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.wall_seconds = state["wall_seconds"]
        self.stream.seek(state["epoch"], state["offset"])
        return True

    def progress(self) -> float:
        """How far through the schedule, by whichever limit is nearest."""
        return max(self.step / self.args.steps, self.seconds / (60.0 * self.args.minutes),
                   self.wall_seconds / (60.0 * self.args.wall_minutes))

    def ended_by(self) -> str:
        if self.step >= self.args.steps:
            return "steps"
        return "processor time" if self.seconds >= 60.0 * self.args.minutes else "elapsed time"

    def rate(self) -> float:
        warm_up = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, self.progress())))
        return PEAK_RATE * warm_up * (FINAL_RATE + (1.0 - FINAL_RATE) * cosine)

    def train_step(self) -> float:
        length = LONG_SEQUENCE if self.progress() >= LONG_FROM else SEQUENCE
        ids = self.stream.batch(BATCH_TOKENS // length, length)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def train(self) -> None:
        self.model.train()
        saved_at, window = self.wall_seconds, []
        preview_due = self.args.preview_minutes * 60.0 if self.step == 0 else 0.0
        while self.progress() < 1.0:
            started, busy = time.monotonic(), time.process_time()
            window.append(self.train_step())
            self.step += 1
            self.seconds += (time.process_time() - busy) / self.args.threads
            self.wall_seconds += time.monotonic() - started
            if self.step % 50 == 0:
                print(f"step {self.step} loss {np.mean(window):.4f} rate {self.rate():.2e} "
                      f"epoch {self.stream.epoch} busy {self.seconds / 60:.1f} min "
                      f"wall {self.wall_seconds / 60:.1f} min", flush=True)
                window = []
            if 0.0 < preview_due <= self.seconds:
                preview_due = 0.0
                tiny_export.export(self.model, self.data.tokenizer, self.args.work / "tiny-preview")
                print(f"wrote {self.args.work / 'tiny-preview'}", flush=True)
            if self.wall_seconds - saved_at >= CHECKPOINT_SECONDS:
                saved_at = self.wall_seconds
                self.save()
        self.save()


def record(run: Run, perplexity: float, unigram: float, windows: int) -> dict:
    args, data = run.args, run.data
    parameters = sum(p.numel() for p in run.model.parameters())
    return {
        "model": "tiny",
        "parameters": parameters,
        "seed": args.seed,
        "data": {
            "name": "rust-docs component (HTML): the Rust Book and its companions",
            "rust_docs_version": rust_version(),
            "licence": "MIT OR Apache-2.0",
            "sources": data.sources,
            "corpus_sha256": data.sha256,
            "held_out_pages": list(corpus.HELD_OUT_PAGES),
            "chat_share_of_tokens": CHAT_SHARE,
        },
        "training": {
            "steps": run.step, "seconds": round(run.seconds, 1),
            "seconds_are": "processor time per thread", "wall_seconds": round(run.wall_seconds, 1),
            "tokens": run.step * BATCH_TOKENS, "epochs": run.stream.epoch, "ended_by": run.ended_by(),
            "step_limit": args.steps, "minutes_limit": args.minutes,
            "wall_minutes_limit": args.wall_minutes,
            "batch_tokens": BATCH_TOKENS, "sequence": SEQUENCE, "long_sequence": LONG_SEQUENCE,
            "long_from": LONG_FROM, "optimizer": "AdamW", "peak_rate": PEAK_RATE,
            "weight_decay": WEIGHT_DECAY, "clip": CLIP, "autocast": "bfloat16",
            "threads": args.threads, "cpu": cpu_name(),
            "torch": torch.__version__.split("+")[0], "python": platform.python_version(),
        },
        "held_out": {
            "file": "held-out.txt",
            "method": f"ids of the file, no control tokens, cut into whole windows of "
                      f"{tiny_export.WINDOW}; every id but each window's first is scored",
            "windows": windows,
            "perplexity": round(perplexity, 4),
            "perplexity_weights": "float16, computed in float32",
            "unigram_perplexity": round(unigram, 4),
            "ratio": round(unigram / perplexity, 2),
        },
    }


def rust_version() -> str:
    try:
        return subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    except OSError:
        return "unknown"


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def finish(run: Run) -> None:
    """Export, measure and record."""
    run.model.eval()
    folder = run.args.work / "tiny"
    tiny_export.export(run.model, run.data.tokenizer, folder)
    ids = run.data.documents.encode(run.data.held_out)
    training_ids = np.concatenate([np.asarray(page) for page in run.data.documents.page_ids])
    perplexity = tiny_export.rounded_perplexity(run.model, ids)
    unigram = tiny_export.unigram_perplexity(training_ids, ids, tiny_data.VOCABULARY)
    write_text(run.args.record / "held-out.txt", run.data.held_out)
    summary = record(run, perplexity, unigram, len(tiny_export.held_out_windows(ids)))
    write_text(run.args.record / "training.json", json.dumps(summary, indent=2) + "\n")
    print(f"held-out perplexity {perplexity:.2f}, unigram {unigram:.2f}, ratio {unigram / perplexity:.1f}")
    for question in QUESTIONS:
        print(f"--- {question}\n{tiny_export.sample_reply(run.model, run.data.tokenizer, question)}")
    print(f"wrote {folder} and {run.args.record}/training.json")
    if perplexity * 10.0 > unigram:
        raise SystemExit(
            f"error: perplexity {perplexity:.2f} is more than a tenth of the unigram's {unigram:.2f}\n"
            "hint: train longer (--minutes, --steps)")


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    run = Run(args, load_corpus(args.html, args.work))
    resumed = run.resume()
    print(f"{'resuming at' if resumed else 'starting at'} step {run.step}", flush=True)
    if not args.export_only:
        run.train()
    elif not resumed:
        raise SystemExit(f"error: there is no checkpoint at `{run.checkpoint}`\nhint: train first")
    finish(run)


if __name__ == "__main__":
    main()
