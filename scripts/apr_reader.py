"""An independent reader of `.apr` v2 files, for the reference scripts.

It shares no code with the Rust reader, so that a golden or a comparison made through it means
something. Everything it relies on is checked: header, checksums, order, ranges, padding, tensor
hashes. Run on its own it verifies a file and prints its index:

    python scripts/apr_reader.py golden/tiny/tiny.apr [--json]

Layout, little-endian: a 64-byte header; JSON metadata; the tensor index, sorted by name; tensors, each
at a multiple of 64 bytes, zeros between; CRC32 of every byte before it. Needs numpy and blake3.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import blake3
import numpy as np

MAGIC = b"APR\0"
VERSION = (2, 0)
HEADER = struct.Struct("<4sBBHIQIQQI20s")
CRC_AT = 40  # the header's own checksum; it covers the other 60 bytes
ALIGNMENT = 64
DTYPES = {0: ("F32", 4), 1: ("F16", 2), 30: ("BF16", 2)}  # GGML's type ids
FLAG_NAMES = {8: "SIGNED", 32: "QUANTIZED", 128: "HAS_MODEL_CARD", 256: "STREAMING",
              512: "HAS_VOCAB", 1024: "LAYOUT_ROW_MAJOR"}
# The file's spelling of a configuration key, and Hugging Face's; either may be stored, not both.
CONFIG_KEYS = {
    "model_type": "model_type", "hidden_size": "hidden_size", "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads", "num_kv_heads": "num_key_value_heads",
    "intermediate_size": "intermediate_size", "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings", "rope_theta": "rope_theta",
    "rms_norm_eps": "rms_norm_eps", "head_dim": "head_dim", "tie_word_embeddings": "tie_word_embeddings",
}



class AprError(Exception):
    """The file is not what it should be; the text says why."""


class Entry(NamedTuple):
    """One tensor of the index."""

    name: str
    dtype: str  # "F32", "F16" or "BF16"
    shape: tuple[int, ...]
    offset: int  # from the start of the file
    size: int


def round_up(offset: int) -> int:
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


class AprFile:
    """An opened, mapped and verified file."""

    def __init__(self, path: Path | str, verify_hashes: bool = True):
        self.path = Path(path)
        try:
            self.bytes = np.memmap(self.path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise AprError(f"failed to open `{self.path}`: {error}") from error
        self.read_header()
        self.metadata = self.read_metadata()
        self.entries = self.read_index()
        self.check_ranges()
        self.check_trailing_crc()
        self.check_root_hash()
        if verify_hashes:
            self.check_hashes()

    def fail(self, what: str) -> None:
        raise AprError(f"`{self.path}`: {what}")

    def slice(self, start: int, size: int, what: str) -> bytes:
        if start < 0 or size < 0 or start + size > len(self.bytes):
            self.fail(f"{what} ends at {start + size}, the file has {len(self.bytes)} bytes")
        return self.bytes[start:start + size].tobytes()

    def read_header(self) -> None:
        header = self.slice(0, HEADER.size, "the header")
        (magic, major, minor, self.flags, self.tensor_count, self.metadata_offset, self.metadata_size,
         self.index_offset, self.data_offset, checksum, reserved) = HEADER.unpack(header)
        if magic != MAGIC:
            self.fail(f"it starts with {magic!r}, not {MAGIC!r}")
        if (major, minor) != VERSION:
            self.fail(f"it has version {major}.{minor}; this reader knows {VERSION[0]}.{VERSION[1]}")
        computed = zlib.crc32(header[:CRC_AT] + header[CRC_AT + 4:])
        if computed != checksum:
            self.fail(f"the header's checksum is {checksum:08x}, computed {computed:08x}")
        if any(reserved):
            self.fail("reserved bytes of the header are not zero")
        unknown = self.flags & ~sum(FLAG_NAMES)
        if unknown:
            self.fail(f"flags {unknown:#06x} are not known")

    def read_metadata(self) -> dict:
        raw = self.slice(self.metadata_offset, self.metadata_size, "the metadata")
        try:
            return json.loads(raw)
        except ValueError as error:
            self.fail(f"the metadata is not JSON: {error}")

    def read_index(self) -> list[Entry]:
        raw = self.slice(self.index_offset, self.data_offset - self.index_offset, "the index")
        entries, at = [], 0
        try:
            for _ in range(self.tensor_count):
                (length,) = struct.unpack_from("<H", raw, at)
                name = raw[at + 2:at + 2 + length].decode("utf-8")
                at += 2 + length
                code, n_dimensions = struct.unpack_from("<BB", raw, at)
                shape = struct.unpack_from(f"<{n_dimensions}Q", raw, at + 2)
                offset, size = struct.unpack_from("<QQ", raw, at + 2 + 8 * n_dimensions)
                at += 18 + 8 * n_dimensions
                if code not in DTYPES:
                    self.fail(f"`{name}` has dtype code {code}, which is not known")
                entries.append(Entry(name, DTYPES[code][0], shape, self.data_offset + offset, size))
        except (struct.error, UnicodeDecodeError) as error:
            self.fail(f"index entry {len(entries)} cannot be read: {error}")
        if any(raw[at:]):
            self.fail("padding after the index is not zero")
        names = [entry.name.encode() for entry in entries]
        if any(first >= second for first, second in zip(names, names[1:])):
            self.fail("the index is not sorted, or names a tensor twice")
        return entries

    def check_ranges(self) -> None:
        """Sections follow each other, tensors fill the data section, padding is zero."""
        if self.metadata_offset != HEADER.size:
            self.fail(f"its metadata starts at {self.metadata_offset}, not after the header")
        if self.index_offset != round_up(self.metadata_offset + self.metadata_size):
            self.fail(f"its index starts at {self.index_offset}, not after the metadata")
        self.check_zero(self.metadata_offset + self.metadata_size, self.index_offset)
        end = self.data_offset
        for entry in sorted(self.entries, key=lambda entry: entry.offset):
            itemsize = 4 if entry.dtype == "F32" else 2
            expected = itemsize
            for dimension in entry.shape:
                expected *= dimension
            if entry.size != expected:
                self.fail(f"`{entry.name}` of shape {entry.shape} has {entry.size} bytes, not {expected}")
            if entry.offset != round_up(end):
                self.fail(f"`{entry.name}` starts at {entry.offset}, expected {round_up(end)}")
            self.check_zero(end, entry.offset)
            end = entry.offset + entry.size
        if round_up(end) + 4 != len(self.bytes):
            self.fail(f"it has {len(self.bytes)} bytes, expected {round_up(end) + 4}")
        self.check_zero(end, round_up(end))

    def check_zero(self, start: int, end: int) -> None:
        if end > len(self.bytes) or self.bytes[start:end].any():
            self.fail(f"padding between {start} and {end} is not zero, or outside the file")

    def check_trailing_crc(self) -> None:
        (stored,) = struct.unpack("<I", self.bytes[-4:].tobytes())
        computed = zlib.crc32(self.bytes[:-4])
        if stored != computed:
            self.fail(f"the file's checksum is {stored:08x}, computed {computed:08x}")

    def check_root_hash(self) -> None:
        """BLAKE3 of everything before the tensors, the digits of `root_hash` and `signature` as zeros."""
        stored = self.metadata.get("root_hash")
        if stored is None:
            self.fail("it has no `root_hash`")
        head = self.slice(0, self.data_offset, "the head")
        for key in ("root_hash", "signature"):
            digits = self.metadata.get(key)
            if digits:
                sealed = f'"{key}":"'.encode()
                head = head.replace(sealed + digits.encode(), sealed + b"0" * len(digits), 1)
        computed = blake3.blake3(head).hexdigest()
        if computed != stored:
            self.fail(f"its root hash is {stored}, computed {computed}")

    def check_hashes(self) -> None:
        """Every tensor's BLAKE3 against the metadata's `tensor_hashes`."""
        hashes = self.metadata.get("tensor_hashes")
        if not isinstance(hashes, dict) or set(hashes) != {entry.name for entry in self.entries}:
            self.fail("`tensor_hashes` does not name exactly the tensors of the index")
        for entry in self.entries:
            if self.computed_hash(entry) != hashes[entry.name]:
                self.fail(f"`{entry.name}` does not match its hash")

    # --- what users of the library ask for ---------------------------------------------------------

    def raw(self, entry: Entry) -> np.ndarray:
        """The stored bytes, as uint8, without a copy."""
        return self.bytes[entry.offset:entry.offset + entry.size]

    def computed_hash(self, entry: Entry) -> str:
        return blake3.blake3(self.raw(entry).data).hexdigest()

    def bits(self, entry: Entry) -> np.ndarray:
        """The stored elements as unsigned integers of their width, in the tensor's shape."""
        kind = "<u4" if entry.dtype == "F32" else "<u2"
        return self.raw(entry).view(kind).reshape(entry.shape)

    def float32(self, entry: Entry) -> np.ndarray:
        """The values as float32; exact for every dtype."""
        if entry.dtype == "F16":
            return self.raw(entry).view("<f2").reshape(entry.shape).astype(np.float32)
        if entry.dtype == "BF16":
            return (self.bits(entry).astype(np.uint32) << 16).view(np.float32)
        return self.raw(entry).view("<f4").reshape(entry.shape).copy()

    def entry(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        self.fail(f"it has no tensor `{name}`")

    def config(self) -> dict:
        """The model's configuration, Hugging Face's keys."""
        found = {}
        for ours, theirs in CONFIG_KEYS.items():
            values = [self.metadata[key] for key in {ours, theirs} if self.metadata.get(key) is not None]
            if len(values) > 1:
                self.fail(f"its metadata has both `{ours}` and `{theirs}`")
            if values:
                found[theirs] = values[0]
        return found

    def chat_template(self) -> str | None:
        return self.metadata.get("chat_template")

    def tokenizer_json(self) -> bytes:
        """The embedded tokenizer.json, decompressed."""
        embedded = self.metadata.get("tokenizer")
        if not isinstance(embedded, dict):
            self.fail("it has no embedded tokenizer")
        return unpack_tokenizer(embedded, self.fail)


def unpack_tokenizer(embedded: dict, fail) -> bytes:
    """`{format, encoding, size, blake3, data}` -> the bytes of tokenizer.json."""
    if embedded.get("format") != "tokenizer.json" or embedded.get("encoding") != "zlib+base64":
        fail(f"its tokenizer is {embedded.get('format')!r} in {embedded.get('encoding')!r}, which is not known")
    try:
        unpacked = zlib.decompress(base64.b64decode(embedded["data"], validate=True))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        fail(f"its tokenizer cannot be unpacked: {error}")
    if len(unpacked) != embedded.get("size") or blake3.blake3(unpacked).hexdigest() != embedded.get("blake3"):
        fail("its tokenizer does not match its size and hash")
    return unpacked


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Verify an .apr file and print its index.",
        epilog="example: python scripts/apr_reader.py golden/tiny/tiny.apr",
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    args = parser.parse_args()
    try:
        model = AprFile(args.file)
    except AprError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({
            "config": model.config(),
            "tensors": [entry._asdict() | {"blake3": model.computed_hash(entry)} for entry in model.entries],
        }, indent=2))
    else:
        for entry in model.entries:
            print(f"{entry.dtype:5} {str(list(entry.shape)):16} {entry.size:12} {entry.name}")
        print(f"{len(model.entries)} tensors, {len(model.bytes)} bytes: verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
