"""Record golden traces: what PyTorch computes inside a model, for the prompts of `golden-trace.yaml`.

For every prompt the model is run by transformers in float64, which is the truth that is stored (rounded
to float32), and in float32, once whole and once token by token; the larger of their distances from the
truth is stored beside it as the noise floor. The model is a safetensors directory, a GGUF (dequantized by the `gguf` package; `--tie` makes
the head's matrix serve as the embedding, both float16), or an `.apr` read by `apr_reader.py`.

    PY=${PROBADOR_CACHE:-$HOME/.cache/probador}/venv/bin/python
    $PY scripts/generate_golden_traces.py --name tiny --model golden/tiny/tiny.apr
    $PY scripts/generate_golden_traces.py --name release --model MODEL.gguf --tie --apr MODEL.apr

Writes `golden/<name>/<prompt>/<checkpoint.key>.npy` (float32) and `golden/<name>/manifest.yaml`, whose
keys `golden/README.md` explains. With `--apr`, that file must hold exactly the same weights, and its
embedded tokenizer must give the same ids; without it, a GGUF leaves `tokenizer` null. An existing
golden is replaced only with `--force`. Nothing is changed until everything has been computed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import blake3
import numpy as np
import torch
import transformers

import model_sources
import plain_yaml
import reference_model

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST_HEADING = (
    "Golden traces, recorded by scripts/generate_golden_traces.py; do not edit.\n"
    "The keys are explained in golden/README.md."
)
VERIFICATION_KEYS = {"prompts", "checkpoints", "conditioning", "metrics", "models"}
CHECKPOINT_KEYS = {"layer", "keys", "tolerance", "rtol"}
PROMPT_KEYS = {"name", "slug", "text", "chat", "system", "record"}
RECORD_KEYS = {"checkpoints", "layers", "positions", "logits_positions"}


class ConfigError(Exception):
    """`golden-trace.yaml` is not usable; the text says where."""


def require_keys(mapping: dict, allowed: set, where: str) -> None:
    unknown = set(mapping) - allowed
    if unknown:
        raise ConfigError(f"{where}: unknown keys {sorted(unknown)}; known are {sorted(allowed)}")


def slug_of(text: str) -> str:
    """`What is 2+2?` -> `what_is_2_plus_2`"""
    spelled = text.lower().replace("+", " plus ")
    return re.sub(r"[^a-z0-9]+", "_", spelled).strip("_")


class Plan:
    """`golden-trace.yaml` for one model, checked."""

    def __init__(self, document: dict, model: str):
        require_keys(document, {"verification"}, "top level")
        self.verification = document["verification"]
        require_keys(self.verification, VERIFICATION_KEYS, "verification")
        self.checkpoints = self.verification["checkpoints"]
        for entry in self.checkpoints:
            require_keys(entry, CHECKPOINT_KEYS, f"checkpoint `{entry.get('layer')}`")
        if model not in self.verification["models"]:
            raise ConfigError(f"verification.models has no `{model}`")
        section = self.verification["models"][model]
        require_keys(section, {"record", "prompts"}, f"model `{model}`")
        self.defaults = section["record"]
        shared = [{"name": text, "slug": slug_of(text), "text": text, "chat": False}
                  for text in self.verification["prompts"]]
        self.prompts = shared + section["prompts"]
        slugs = [prompt["slug"] for prompt in self.prompts]
        if len(set(slugs)) != len(slugs):
            raise ConfigError(f"prompts of `{model}` share a slug: {slugs}")
        for prompt in self.prompts:
            require_keys(prompt, PROMPT_KEYS, f"prompt `{prompt['name']}`")
            require_keys(prompt.get("record", {}), RECORD_KEYS, f"prompt `{prompt['name']}`: record")
        require_keys(self.verification["conditioning"], {"max_noise_ratio"}, "conditioning")
        self.max_noise_ratio = self.verification["conditioning"]["max_noise_ratio"]
        self.top_k = self.verification["metrics"]["top_k_accuracy"]["k"]

    def checkpoint_of(self, key: str) -> dict:
        """The entry that decides over a checkpoint key."""
        for entry in self.checkpoints:
            for pattern in entry["keys"]:
                if re.fullmatch(re.escape(pattern).replace(r"\*", r"\d+"), key):
                    return entry
        raise ConfigError(f"no checkpoint entry matches `{key}`")

    def positions_of(self, prompt: dict, n_ids: int):
        """A function from checkpoint key to the positions to store, `None` for none."""
        record = {**self.defaults, **prompt.get("record", {})}
        rows = resolve_positions(record["positions"], n_ids)
        logits_rows = resolve_positions(record["logits_positions"], n_ids)

        def positions(key: str):
            if self.checkpoint_of(key)["layer"] not in record["checkpoints"]:
                return None
            if key.endswith(".scores") and record["layers"] != "all":
                if int(key.split(".")[2]) not in record["layers"]:
                    return None
            return logits_rows if key == "logits" else rows

        return positions


def resolve_positions(wanted, n_ids: int) -> list[int]:
    """`all`, or a list in which negative positions count from the end."""
    if wanted == "all":
        return list(range(n_ids))
    positions = [position + n_ids if position < 0 else position for position in wanted]
    if sorted(set(positions)) != positions or positions[0] < 0 or positions[-1] >= n_ids:
        raise ConfigError(f"positions {wanted} are not increasing and below {n_ids}")
    return positions


# --- recording -------------------------------------------------------------------------------------


def noise_floor(noise: np.ndarray, truth: np.ndarray) -> dict:
    """PyTorch's own float32 error: largest difference, and that over the largest value."""
    difference = float(np.max(noise, initial=0.0))
    largest = float(np.max(np.abs(truth), initial=0.0))
    relative = difference / largest if largest > 0.0 else 0.0
    return plain_yaml.OneLine(max_abs=float(f"{difference:.4g}"), max_rel=float(f"{relative:.4g}"))


def rows_of(key: str, values: np.ndarray, positions: list[int]) -> list[np.ndarray]:
    """One array for each position: a row, or for scores the columns of that query in every head."""
    if not key.endswith(".scores"):
        return list(values)
    ends = np.cumsum([position + 1 for position in positions])
    return [values[:, end - position - 1:end] for end, position in zip(ends, positions)]


def well_conditioned(key: str, noise: np.ndarray, truth: np.ndarray, positions: list[int],
                     checkpoint: dict, max_noise_ratio: float) -> list[int]:
    """Positions at which PyTorch's float32 is off by at most that many times the tolerance."""
    kept = []
    for position, error, exact in zip(
            positions, rows_of(key, noise, positions), rows_of(key, truth, positions)):
        allowed = checkpoint["tolerance"] + checkpoint["rtol"] * np.abs(exact)
        if np.all(error <= max_noise_ratio * allowed):
            kept.append(position)
    return kept


def keep_positions(key: str, values: np.ndarray, positions: list[int], kept: list[int]) -> np.ndarray:
    """The rows of `kept`, out of those of `positions`."""
    rows = [row for position, row in zip(positions, rows_of(key, values, positions)) if position in kept]
    return np.concatenate(rows, axis=1) if key.endswith(".scores") else np.stack(rows)


def top_ids(logits: np.ndarray, positions: list[int], k: int) -> list[dict]:
    """The k likeliest next ids at each position, likeliest first."""
    order = np.argsort(-logits[positions], axis=1, kind="stable")[:, :k]
    return [plain_yaml.OneLine(position=position, ids=[int(at) for at in row])
            for position, row in zip(positions, order)]


def record_tensor(plan: Plan, key: str, truth: np.ndarray, noise: np.ndarray, positions: list[int],
                  folder: Path) -> dict:
    """Write one tensor and describe it, without the positions that the tolerance cannot judge."""
    checkpoint = plan.checkpoint_of(key)
    kept = list(positions)
    if key != "logits":
        kept = well_conditioned(key, noise, truth, positions, checkpoint, plan.max_noise_ratio)
    left_out = [position for position in positions if position not in kept]
    if left_out:
        print(f"{folder.name}/{key}: float32 noise leaves out positions {left_out}", file=sys.stderr)
    if not kept:
        raise SystemExit(f"error: `{folder.name}/{key}` has no well-conditioned position to store")
    truth, noise = (keep_positions(key, values, positions, kept) for values in (truth, noise))
    file = folder / f"{key}.npy"
    np.save(file, truth.astype(np.float32))
    return plain_yaml.OneLine(
        key=key, file=f"{folder.name}/{file.name}", shape=list(truth.shape), dtype="float32",
        positions=kept, left_out=left_out, blake3=blake3.blake3(file.read_bytes()).hexdigest(),
        atol=float(checkpoint["tolerance"]), rtol=float(checkpoint["rtol"]),
        noise_floor=noise_floor(noise, truth))


def record_prompt(plan: Plan, prompt: dict, ids: list[int], models, folder: Path) -> dict:
    """Run one prompt in both precisions, write its tensors, and describe them."""
    double, single = models
    positions_of = plan.positions_of(prompt, len(ids))
    truth, logits = reference_model.trace(double, ids, positions_of)
    noisy = [reference_model.trace(single, ids, positions_of, chunk)[0] for chunk in (None, 1)]
    noise = {key: np.maximum(*(np.abs(run[key] - truth[key]) for run in noisy)) for key in truth}
    folder.mkdir()
    described = {"name": prompt["name"], "slug": prompt["slug"], "text": prompt["text"],
                 "chat": prompt["chat"]}
    if "system" in prompt:
        described["system"] = prompt["system"]
    tensors = [record_tensor(plan, key, truth[key], noise[key], positions_of(key), folder)
               for key in reference_model.all_keys(double.config.num_hidden_layers) if key in truth]
    return {
        **described,
        "ids": ids,
        "perplexity": reference_model.prompt_perplexity(logits, ids),
        "top_k": top_ids(logits, tensors[-1]["positions"], plan.top_k),
        "tensors": tensors,
    }


def prompt_ids(source: model_sources.ModelSource, prompt: dict) -> list[int]:
    if prompt["chat"]:
        return source.chat_ids(prompt["text"], prompt.get("system"))
    return source.plain_ids(prompt["text"])


def identity(source: model_sources.ModelSource, apr: Path | None, name: str, prompts: list[dict]) -> dict:
    """The model's fingerprints; with `apr`, after checking that it is the same model."""
    fingerprint = model_sources.weights_fingerprint(source.tensors)
    tokenizer = source.tokenizer_json
    if apr is not None:
        converted = model_sources.open_source(apr)
        found = model_sources.weights_fingerprint(converted.tensors)
        if found != fingerprint:
            raise SystemExit(f"error: `{apr}` holds other weights than `{source.path}`: {found}, not {fingerprint}")
        for prompt in prompts:
            if prompt_ids(converted, prompt) != prompt_ids(source, prompt):
                raise SystemExit(f"error: `{apr}` tokenizes the prompt `{prompt['name']}` differently")
        tokenizer = converted.tokenizer_json
    return {"name": name, "weights": fingerprint,
            "tokenizer": None if tokenizer is None else blake3.blake3(tokenizer).hexdigest()}


def imported_modules() -> list[Path]:
    """The scripts of this folder that this one has imported, whatever imported them."""
    folder = Path(__file__).resolve().parent
    files = {Path(module.__file__).resolve() for module in sys.modules.values() if getattr(module, "__file__", None)}
    return sorted(file for file in files if file.parent == folder and file != Path(__file__).resolve())


def producer(source: model_sources.ModelSource) -> dict:
    script = Path(__file__).resolve()
    return {
        "script": script.relative_to(REPOSITORY).as_posix(),
        "script_blake3": blake3.blake3(script.read_bytes()).hexdigest(),
        "modules": [plain_yaml.OneLine(path=module.relative_to(REPOSITORY).as_posix(),
                                       blake3=blake3.blake3(module.read_bytes()).hexdigest())
                    for module in imported_modules()],
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "dtype": "float64",
        "noise_dtype": "float32",
        "threads": torch.get_num_threads(),
        "source": [plain_yaml.OneLine(entry) for entry in source.source_files()],
    }


# --- writing ---------------------------------------------------------------------------------------


def install(staging: Path, target: Path) -> None:
    """Put the recorded folders and then the manifest in place; folders of the old manifest go."""
    target.mkdir(parents=True, exist_ok=True)
    manifest = target / "manifest.yaml"
    if manifest.exists():
        for prompt in plain_yaml.read(manifest).get("prompts", []):
            shutil.rmtree(target / prompt["slug"], ignore_errors=True)
        manifest.unlink()
    for folder in sorted(path for path in staging.iterdir() if path.is_dir()):
        if (target / folder.name).exists():
            raise SystemExit(f"error: `{target / folder.name}` is in the way and not part of a golden")
        os.replace(folder, target / folder.name)
    os.replace(staging / "manifest.yaml", manifest)


def record_model(args: argparse.Namespace) -> Path:
    target = args.output / args.name
    if (target / "manifest.yaml").exists() and not args.force:
        raise SystemExit(f"error: `{target / 'manifest.yaml'}` exists\nhint: pass --force to replace the golden")
    plan = Plan(plain_yaml.read(args.config), args.name)
    source = model_sources.open_source(args.model, args.tie)
    described = identity(source, args.apr, args.name, plan.prompts)
    models = [reference_model.load(source.config, source.tensors, dtype)
              for dtype in (torch.float64, torch.float32)]
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{args.name}.", dir=args.output) as name:
        staging = Path(name)
        recorded = []
        for prompt in plan.prompts:
            ids = prompt_ids(source, prompt)
            print(f"{prompt['slug']}: {len(ids)} ids", file=sys.stderr, flush=True)
            recorded.append(record_prompt(plan, prompt, ids, models, staging / prompt["slug"]))
        manifest = {"schema": 1, "model": described, "producer": producer(source),
                    "verification": plan.verification, "prompts": recorded}
        (staging / "manifest.yaml").write_text(
            plain_yaml.dump(manifest, MANIFEST_HEADING), encoding="utf-8")
        install(staging, target)
    return target


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Record golden traces with PyTorch in float64.",
        epilog="example: python scripts/generate_golden_traces.py --name tiny --model golden/tiny/tiny.apr",
    )
    parser.add_argument("--name", required=True, help="the model's name in golden-trace.yaml")
    parser.add_argument("--model", type=Path, required=True,
                        help="safetensors directory, .gguf or .apr")
    parser.add_argument("--tie", action="store_true", help="use the head's matrix for the embedding")
    parser.add_argument("--apr", type=Path, help="the converted model, checked to hold the same weights")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "golden/golden-trace.yaml")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "golden")
    parser.add_argument("--force", action="store_true", help="replace an existing golden")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    try:
        target = record_model(args)
    except (ConfigError, model_sources.apr_reader.AprError) as error:
        raise SystemExit(f"error: {error}")
    size = sum(path.stat().st_size for path in target.rglob("*.npy"))
    print(f"wrote {target / 'manifest.yaml'}: {size / 1e6:.1f} MB of tensors", file=sys.stderr)


if __name__ == "__main__":
    main()
