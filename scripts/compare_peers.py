#!/usr/bin/env python3
"""Measure our speed, size and quality beside llama.cpp's, in one run.

Builds llama.cpp from the source distribution of llama-cpp-python (PyPI), makes the same model at Q4_0,
Q8_0 and f16 with its own tools and at int4, int8 and f16 with `apr`, and lets the two take turns (A B A
B ...), so that a busy machine slows both. Prints a Markdown table; --json has every measurement.

    make model && python3 scripts/compare_peers.py
    python3 scripts/compare_peers.py --kinds int8,f16 --rounds 5 --text wikitext-2-raw.test.txt

Needs cmake, ninja and a C++ compiler; everything is kept under the cache, in `peers/`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "llama-cpp-python==0.3.36"
TOOLS = ("llama-bench", "llama-perplexity", "llama-quantize")
# What is held against what: our conversion, and the peer's type.
PAIRS = (("int4", "Q4_0"), ("int8", "Q8_0"), ("f16", "F16"))
RELEASE = "qwen2.5-coder-0.5b-instruct"


def run(command: list[str | Path], **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise SystemExit(f"error: `{words}` exits with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build_llama(folder: Path) -> Path:
    """The folder of llama.cpp's executables, built unless it was before."""
    build = folder / "build"
    if all((build / "bin" / tool).exists() for tool in TOOLS):
        return build / "bin"
    source = folder / "source"
    if not source.exists():
        say(f"fetching {PACKAGE}")
        run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation",
             "-d", folder, PACKAGE])
        archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "unpacked", filter="data")
        next((folder / "unpacked").glob("*/vendor/llama.cpp")).rename(source)
    say("building llama.cpp, some ten minutes")
    defines = ["CMAKE_BUILD_TYPE=Release", "LLAMA_BUILD_SERVER=OFF", "LLAMA_CURL=OFF"]
    run(["cmake", "-G", "Ninja", "-S", source, "-B", build, *(f"-D{define}" for define in defines)])
    run(["cmake", "--build", build, "--target", *TOOLS])
    return build / "bin"


def our_model(apr: Path, models: Path, kind: str) -> Path:
    source = models / f"{RELEASE}.apr"
    if kind == "f16":
        return source
    path = models / f"{RELEASE}-{kind}.apr"
    if not path.exists():
        say(f"converting to {kind}")
        run([apr, "convert", source, "--quantize", kind, "--no-eval", "-o", path])
    return path


def their_model(tools: Path, models: Path, folder: Path, kind: str) -> Path:
    path = folder / f"{RELEASE}-{kind}.gguf"
    if not path.exists():
        say(f"making {kind}")
        source = models / f"{RELEASE}-q4_k_m.gguf"
        unfinished = path.with_suffix(".unfinished")
        run([tools / "llama-quantize", "--allow-requantize", source, unfinished, kind])
        unfinished.rename(path)
    return path


def bench_ours(apr: Path, model: Path, args: argparse.Namespace) -> dict[str, float]:
    lengths = ",".join(map(str, args.prompt))
    out = run([apr, "bench", model, "--prompt", lengths, "--decode", args.decode, "--repeats", 1,
               "--threads", args.threads, "--json"])
    report = json.loads(out)
    figures = {"bandwidth": report["machine"]["bytes_per_second"]["median"] / 1e9}
    for point in report["points"]:
        n = point["prompt_tokens"]
        figures[f"prefill {n}"] = point["prefill_tokens_per_second"]["median"]
        figures[f"decode {n}"] = point["decode_tokens_per_second"]["median"]
        figures[f"share {n}"] = point["bandwidth_share"]["median"]
    return figures


def bench_theirs(tools: Path, model: Path, args: argparse.Namespace) -> dict[str, float]:
    common = [tools / "llama-bench", "-m", model, "-t", args.threads, "-r", 1, "-o", "json"]
    figures = {}
    for n in args.prompt:
        [prefill] = json.loads(run([*common, "-p", n, "-n", 0]))
        [decode] = json.loads(run([*common, "-p", 0, "-n", args.decode, "-d", n]))
        figures[f"prefill {n}"] = prefill["avg_ts"]
        figures[f"decode {n}"] = decode["avg_ts"]
    return figures


def perplexity_ours(apr: Path, model: Path, text: Path, args: argparse.Namespace) -> float:
    out = run([apr, "eval", model, "--dataset", text, "--windows", args.windows, "--threads", args.threads, "--json"])
    return json.loads(out)["perplexity"]["value"]


def perplexity_theirs(tools: Path, model: Path, text: Path, args: argparse.Namespace) -> float:
    done = subprocess.run([str(tools / "llama-perplexity"), "-m", str(model), "-f", str(text), "-c", "512",
                           "--chunks", str(args.windows), "-t", str(args.threads)], capture_output=True, text=True)
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", done.stdout + done.stderr)
    if not found:
        raise SystemExit(f"error: llama-perplexity gave no estimate for `{model}`:\n{done.stderr.strip()[-2000:]}")
    return float(found.group(1))


def table(rows: list[dict], prompts: list[int]) -> str:
    head = ["", "file (MB)", "perplexity"]
    head += [f"{what} {n} (tok/s)" for what in ("prefill", "decode") for n in prompts]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["name"], f"{row['bytes'] / 1e6:.1f}", f"{row['perplexity']:.2f}" if row["perplexity"] else "-"]
        for what in ("prefill", "decode"):
            for n in prompts:
                text = f"{row['median'][f'{what} {n}']:.1f}"
                if "ratio" in row:
                    text += f" ({row['ratio'][f'{what} {n}']:.2f}x)"
                cells.append(text)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    cache = Path(os.environ.get("PROBADOR_CACHE", Path.home() / ".cache" / "probador"))
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apr", type=Path, default=here / "target/release/apr", help="default: the one built here")
    parser.add_argument("--models", type=Path, default=cache / "models", help="where `make model` puts them")
    parser.add_argument("--text", type=Path, help="text of the perplexities; default: none are measured")
    parser.add_argument("--windows", type=int, default=40, help="windows of 512 tokens of that text")
    parser.add_argument("--prompt", type=lambda text: [int(n) for n in text.split(",")], default=[128, 512, 2048])
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[ours for ours, _ in PAIRS],
                        help="which of int4, int8 and f16")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    folder = cache / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    tools = build_llama(folder)
    pairs = [(ours, theirs) for ours, theirs in PAIRS if ours in args.kinds]
    subjects = []
    for ours, theirs in pairs:
        subjects.append((f"apr {ours}", our_model(args.apr, args.models, ours), bench_ours, args.apr))
        subjects.append((f"llama.cpp {theirs}", their_model(tools, args.models, folder, theirs), bench_theirs, tools))
    turns: dict[str, list[dict]] = {name: [] for name, *_ in subjects}
    for number in range(args.rounds):
        for name, model, bench, program in subjects:
            say(f"round {number + 1} of {args.rounds}: {name}")
            turns[name].append(bench(program, model, args))
    rows = []
    for name, model, bench, program in subjects:
        measure = perplexity_ours if bench is bench_ours else perplexity_theirs
        if args.text:
            say(f"perplexity: {name}")
        median = {key: statistics.median(turn[key] for turn in turns[name]) for key in turns[name][0]}
        rows.append({"name": name, "bytes": model.stat().st_size, "median": median, "turns": turns[name],
                     "perplexity": measure(program, model, args.text, args) if args.text else None})
    for ours, theirs in zip(rows[::2], rows[1::2]):
        ours["ratio"] = {key: ours["median"][key] / value for key, value in theirs["median"].items()}
    print(table(rows, args.prompt))
    read = statistics.median(turn["bandwidth"] for row in rows[::2] for turn in row["turns"])
    print(f"\nMedians of {args.rounds} rounds taken in turn, {args.threads} threads; in brackets ours over theirs. "
          f"The weights are read at {read:.1f} GB/s.")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
