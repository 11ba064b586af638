#!/usr/bin/env python3
"""Write the corpus of hostile files that tests replay and fuzzing starts from.

    python3 scripts/hostile_corpus.py            write subjects/fuzz/hostile/ and probador/tests/hostile*/
    python3 scripts/hostile_corpus.py --check    write nothing; exit status 1 when a file is not what this makes

Each folder holds one file that is sound, `sound.*`, and others that are it with one thing wrong, named
for it. The sound `.apr` file is made by `apr import` from the sound GGUF (target/release/apr, or APR);
everything else needs Python alone. No code is shared with the readers under test.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ROOT / "subjects/fuzz/hostile"
YAML = ROOT / "probador/tests/hostile"
ANSWERS = ROOT / "probador/tests/hostile-answers"

U8, U32, I32, F32, BOOL, STRING, ARRAY = 0, 4, 5, 6, 7, 8, 9
HIDDEN = 16


def text(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def strings(values: list[str]) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def byte_alphabet() -> list[str]:
    """The 256 stand-ins of byte-level BPE, in order of byte."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    following = iter(range(256, 512))
    return [chr(byte if byte in kept else next(following)) for byte in range(256)]


def tokens() -> list[str]:
    return [*byte_alphabet(), "th", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]


class Gguf:
    """A sound Qwen2 of one layer, to be made wrong by whoever holds it."""

    def __init__(self) -> None:
        self.magic, self.version = b"GGUF", struct.pack("<I", 3)
        self.n_tensors = self.n_keys = None
        self.keys: list[tuple[bytes, int, bytes]] = []
        self.tensors: list[dict] = []
        for key, value in [("general.architecture", "qwen2"), ("tokenizer.ggml.model", "gpt2"),
                           ("tokenizer.ggml.pre", "qwen2")]:
            self.set(key, STRING, text(value))
        for key, value in [("block_count", 1), ("context_length", 64), ("embedding_length", HIDDEN),
                           ("feed_forward_length", 24), ("attention.head_count", 2),
                           ("attention.head_count_kv", 1)]:
            self.set(f"qwen2.{key}", U32, struct.pack("<I", value))
        self.set("qwen2.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-6))
        self.set("qwen2.rope.freq_base", F32, struct.pack("<f", 1e6))
        self.set("tokenizer.ggml.eos_token_id", U32, struct.pack("<I", 259))
        self.set("tokenizer.ggml.bos_token_id", U32, struct.pack("<I", 257))
        self.set("tokenizer.ggml.tokens", ARRAY, strings(tokens()))
        types = [1] * 257 + [3] * 3
        self.set("tokenizer.ggml.token_type", ARRAY, struct.pack(f"<IQ{len(types)}i", I32, len(types), *types))
        self.set("tokenizer.ggml.merges", ARRAY, strings(["t h"]))
        shapes = {"token_embd.weight": [HIDDEN, 260], "output_norm.weight": [HIDDEN]}
        shapes |= {f"blk.0.{name}": dims for name, dims in {
            "attn_norm.weight": [HIDDEN], "attn_q.weight": [HIDDEN, 16], "attn_q.bias": [16],
            "attn_k.weight": [HIDDEN, 8], "attn_k.bias": [8], "attn_v.weight": [HIDDEN, 8],
            "attn_v.bias": [8], "attn_output.weight": [16, HIDDEN], "ffn_norm.weight": [HIDDEN],
            "ffn_gate.weight": [HIDDEN, 24], "ffn_up.weight": [HIDDEN, 24], "ffn_down.weight": [24, HIDDEN],
        }.items()}
        for index, (name, dims) in enumerate(shapes.items()):
            n = dims[0] * (dims[1] if len(dims) > 1 else 1)
            values = [((i * 37 % 101) - 50) / 400 + index / 64 for i in range(n)]
            self.tensors.append({"name": name.encode(), "dims": dims, "kind": 0, "offset": None, "n_dims": None,
                                 "data": struct.pack(f"<{n}f", *values)})

    def set(self, key: str, kind: int, value: bytes) -> None:
        entry = (key.encode(), kind, value)
        for index, (other, _, _) in enumerate(self.keys):
            if other == key.encode():
                self.keys[index] = entry
                return
        self.keys.append(entry)

    def tensor(self, name: str) -> dict:
        return next(tensor for tensor in self.tensors if tensor["name"] == name.encode())

    def bytes(self) -> bytes:
        offsets, position = [], 0
        for tensor in self.tensors:
            offsets.append(position)
            position = -(-(position + len(tensor["data"])) // 32) * 32
        out = self.magic + self.version
        out += struct.pack("<QQ", len(self.tensors) if self.n_tensors is None else self.n_tensors,
                           len(self.keys) if self.n_keys is None else self.n_keys)
        for key, kind, value in self.keys:
            out += text(key) + struct.pack("<I", kind) + value
        for tensor, offset in zip(self.tensors, offsets):
            dims = tensor["dims"]
            out += text(tensor["name"])
            out += struct.pack("<I", len(dims) if tensor["n_dims"] is None else tensor["n_dims"])
            out += b"".join(struct.pack("<Q", dim) for dim in dims)
            out += struct.pack("<IQ", tensor["kind"], offset if tensor["offset"] is None else tensor["offset"])
        start = -(-len(out) // 32) * 32
        for tensor, offset in zip(self.tensors, offsets):
            out = out.ljust(start + offset, b"\0") + tensor["data"]
        return out


def gguf_files() -> dict[str, bytes]:
    """Hostile inputs 1 to 16."""
    files = {"sound.gguf": Gguf().bytes()}

    def add(name: str, change) -> None:
        file = Gguf()
        change(file)
        # Nothing after the table is needed to refuse what is wrong in it, and small files fuzz better.
        files[f"{name}.gguf"] = file.bytes()

    def put(**attributes):
        return lambda file: file.__dict__.update(attributes)

    def tensor(which: str, **fields):
        return lambda file: file.tensor(which).update(fields)

    add("01-bad-magic", put(magic=b"GGML"))
    add("01-version-0", put(version=struct.pack("<I", 0)))
    add("01-version-future", put(version=struct.pack("<I", 99)))
    add("01-version-byte-swapped", put(version=struct.pack(">I", 3)))
    add("02-tensor-count-minus-one", put(n_tensors=2**64 - 1))
    add("02-key-count-2-63", put(n_keys=2**63))
    files["03-string-of-a-gibibyte.gguf"] = (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("general.name") + struct.pack("<IQ", STRING, 1 << 30)).ljust(160, b"x")
    files["03-key-length-minus-one.gguf"] = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1)
    add("04-empty-key", lambda file: file.keys.append((b"", U32, struct.pack("<I", 1))))
    add("04-duplicate-key", lambda file: file.keys.append(file.keys[0]))
    add("05-unknown-value-type", lambda file: file.keys.append((b"a.b", 77, b"\0\0\0\0")))
    add("05-bool-of-two", lambda file: file.keys.append((b"a.b", BOOL, b"\2")))
    add("06-arrays-10000-deep",
        lambda file: file.keys.append((b"a.b", ARRAY, struct.pack("<IQ", ARRAY, 1) * 10_000)))
    add("06-array-size-overflows",
        lambda file: file.keys.append((b"a.b", ARRAY, struct.pack("<IQ", F32, 2**62))))
    for alignment in (0, 13, 2**31):
        add(f"07-alignment-{alignment}",
            lambda file, a=alignment: file.set("general.alignment", U32, struct.pack("<I", a)))
    add("07-alignment-is-text", lambda file: file.set("general.alignment", STRING, text("32")))
    for n_dims in (0, 5, 2**32 - 1):
        add(f"08-{n_dims}-dimensions", tensor("output_norm.weight", n_dims=n_dims))
    add("08-zero-dimension", tensor("output_norm.weight", dims=[0]))
    add("09-product-wraps-to-zero", tensor("token_embd.weight", dims=[2**32, 2**32]))
    add("09-product-wraps-to-small", tensor("token_embd.weight", dims=[2**33 + 16, 2**31]))
    add("10-padding-wraps", tensor("output_norm.weight", dims=[2**62 - 4]))
    add("11-offset-misaligned", tensor("output_norm.weight", offset=17))
    add("11-offset-overlaps", tensor("output_norm.weight", offset=32))
    add("11-offset-past-the-end", tensor("output_norm.weight", offset=1 << 40))
    add("11-offset-wraps", tensor("output_norm.weight", offset=2**64 - 32))
    add("12-duplicate-name", tensor("output_norm.weight", name=b"token_embd.weight"))
    add("12-long-name", tensor("output_norm.weight", name=b"x" * 70_000))
    add("12-name-not-utf-8", tensor("output_norm.weight", name=b"\xff\xfe"))
    add("12-name-with-nul", tensor("output_norm.weight", name=b"a\0b"))
    add("13-row-not-a-multiple-of-the-block", tensor("blk.0.attn_q.weight", kind=8))
    add("13-unknown-type", tensor("output_norm.weight", kind=4242))
    add("13-removed-type", tensor("output_norm.weight", kind=4))
    sound = files["sound.gguf"]
    files["14-cut-in-the-header.gguf"] = sound[:2001]
    files["14-cut-in-the-data.gguf"] = sound[:-400]
    negative = tokens()
    negative[65] = "<0x-1>"
    add("15-token-of-a-negative-byte", lambda file: file.set("tokenizer.ggml.tokens", ARRAY, strings(negative)))
    add("15-special-id-outside",
        lambda file: file.set("tokenizer.ggml.eos_token_id", U32, struct.pack("<I", 4_000_000)))
    add("16-zero-heads",
        lambda file: file.set("qwen2.attention.head_count", U32, struct.pack("<I", 0)))
    add("16-ten-thousand-layers",
        lambda file: file.set("qwen2.block_count", U32, struct.pack("<I", 10_000)))
    add("16-another-width",
        lambda file: file.set("qwen2.embedding_length", U32, struct.pack("<I", 32)))
    return files


def safetensors(header: dict | str, data: bytes, length: int | None = None) -> bytes:
    raw = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def safetensors_files() -> dict[str, bytes]:
    """Hostile inputs 17 to 20."""
    def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    two = {"a": entry([2, 2], 0, 16), "b": entry([2], 16, 24)}
    data = struct.pack("<6f", *range(6))
    duplicate = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    flood = {f"t{index}": entry([], 0, 0) for index in range(1001)} | {"a": entry([1], 0, 4)}
    return {f"{name}.safetensors": contents for name, contents in {
        "sound": safetensors(two, data),
        "17-length-all-ones": safetensors(two, data, 2**64 - 1),
        "17-length-over-100-megabytes": safetensors(two, data, 100_000_001),
        "17-length-zero": safetensors(two, data, 0),
        "17-length-beyond-the-file": safetensors(two, data, 4096),
        "17-no-header": b"\x10",
        "18-duplicate-key": safetensors(duplicate, data[:8]),
        "18-hole": safetensors({"a": entry([2, 2], 0, 16), "b": entry([1], 20, 24)}, data),
        "18-overlap": safetensors({"a": entry([2, 2], 0, 16), "b": entry([2], 12, 20)}, data[:20]),
        "18-end-before-begin": safetensors({"a": entry([2], 16, 8)}, data),
        "19-shape-is-not-the-span": safetensors({"a": entry([3], 0, 24)}, data),
        "19-product-wraps": safetensors({"a": entry([2**32, 2**32, 4], 0, 0)}, b""),
        "19-negative-dimension": safetensors({"a": entry([-1], 0, 24)}, data),
        "20-empty-tensors-in-one-place": safetensors(flood | {"b": entry([1], 0, 4)}, data[:4]),
        "20-json-10000-deep": safetensors('{"a":' * 10_000 + "1" + "}" * 10_000, data),
        "20-not-json": safetensors("{'a': 1}", data),
    }.items()}


def tokenizer_files() -> dict[str, bytes]:
    """Hostile inputs 22 to 24."""
    sound = (ROOT / "subjects/tokenizer/tests/fixtures/tokenizer.json").read_text()
    files = {"sound.json": sound.encode()}

    def add(name: str, change) -> None:
        tokenizer = json.loads(sound)
        change(tokenizer)
        files[f"{name}.json"] = json.dumps(tokenizer, ensure_ascii=False).encode()

    add("22-merge-longer-than-every-entry", lambda t: t["model"]["merges"].append(["x" * 300, "y" * 300]))
    add("23-nested-quantifiers",
        lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "(a+)+$"}))
    add("24-duplicate-id", lambda t: t["model"]["vocab"].update({"qqqq": 5}))
    add("24-added-id-at-the-end-of-the-range", lambda t: t["added_tokens"][0].update(id=2**32 - 1))
    files["24-deep.json"] = b'{"model":' * 10_000
    return files


def template_files() -> dict[str, bytes]:
    """Hostile input 25."""
    plain = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    return {f"{name}.jinja": contents.encode() for name, contents in {
        "sound": plain,
        "25-nested-loops": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "25-doubling": "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        "25-replace-blows-up": "{% set s = 'a' * 1000 %}{{ s | replace('a', s) | replace('a', s) | replace('a', s) }}",
        "25-recursion": "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "25-class": "{{ ''.__class__.__mro__ }}",
        "25-unclosed": "{% for m in messages %}",
    }.items()}


def sealed(contents: bytes) -> bytes:
    """`contents` without its last four bytes, with the checksums of header and file made right again."""
    body = bytearray(contents[:-4])
    body[40:44] = struct.pack("<I", zlib.crc32(bytes(body[:40]) + bytes(body[44:64])))
    return bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))


def apr_files(sound_gguf: bytes) -> dict[str, bytes]:
    """Hostile inputs 27 to 31."""
    apr = os.environ.get("APR", str(ROOT / "target/release/apr"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sound.gguf").write_bytes(sound_gguf)
        subprocess.run([apr, "import", "sound.gguf", "-o", "sound.apr"], cwd=folder, check=True,
                       capture_output=True)
        sound = (Path(folder) / "sound.apr").read_bytes()
    index = struct.unpack_from("<Q", sound, 24)[0]
    data = struct.unpack_from("<Q", sound, 32)[0]

    def with_bytes(at: int, value: bytes, seal: bool = True) -> bytes:
        changed = sound[:at] + value + sound[at + len(value):]
        return sealed(changed) if seal else changed

    def flipped(at: int) -> bytes:
        return with_bytes(at, bytes([sound[at] ^ 0xFF]), seal=False)

    return {f"{name}.apr": contents for name, contents in {
        "sound": sound,
        "27-byte-flipped-in-header": flipped(9),
        "27-byte-flipped-in-metadata": flipped(100),
        "27-byte-flipped-in-index": flipped(index + 3),
        "27-byte-flipped-in-tensor": flipped(data + 5),
        "27-byte-flipped-in-footer": flipped(len(sound) - 2),
        "28-footer-cut": sound[:-4],
        "28-last-tensor-cut": sound[:-200],
        "28-bytes-after-the-end": sound + b"\0\0\0\0",
        "28-empty": b"",
        "29-all-tensors-there-can-be": with_bytes(8, struct.pack("<I", 2**32 - 1)),
        "30-version-9": with_bytes(4, b"\x09"),
        "30-unknown-flag": with_bytes(6, struct.pack("<H", 1 << 14)),
        "30-encrypted": with_bytes(6, struct.pack("<H", struct.unpack_from("<H", sound, 6)[0] | 4)),
        "30-signed-without-a-signature": with_bytes(6, struct.pack("<H", struct.unpack_from("<H", sound, 6)[0] | 8)),
        "31-index-beyond-the-file": with_bytes(24, struct.pack("<Q", 2**63)),
        "31-name-unsorted": with_bytes(index + 2, b"z"),
    }.items()}


def yaml_files() -> dict[str, bytes]:
    """Hostile inputs 37 and 38, as a section of the checklist would hold them; none of them loads."""
    row = ("- id: C2\n  title: Context\n  claim: x\n  falsified_when: y\n  points: 3\n  needs: [model]\n"
           "  check: builtin\n  faults: [last-token-only]\n")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))
    return {f"{name}.yaml": contents.encode() for name, contents in {
        "37-alias-bomb": bomb,
        "37-deep": "[" * 50_000 + "]" * 50_000,
        "37-deep-block": "".join(" " * depth + "a:\n" for depth in range(400)),
        "37-duplicate-key": row + "  points: 3\n",
        "37-norway": row.replace("title: Context", "title: no"),
        "37-octal": row.replace("points: 3", "points: 0755"),
        "37-nan-threshold": row + "  limits: {smallest_change: .nan}\n",
        "37-infinite-threshold": row + "  limits: {smallest_change: .inf}\n",
        "37-tab": row.replace("  title", "\ttitle"),
        "37-nul": row.replace("Context", "Con\0text"),
        "37-nul-in-comment": row + "  # a comment \0\0{",
        "37-another-document": row + "---\n" + row,
        "38-unknown-key": row + "  certainty: high\n",
        "38-unknown-need": row.replace("[model]", "[modle]"),
        "38-unknown-check": row.replace("check: builtin", "check: magic"),
        "38-a-mapping": "claims: none\n",
        "38-a-word": "claims\n",
        "38-nothing": "",
    }.items()}


def answers() -> dict[str, bytes]:
    """What a hostile server sends to a playbook that asks it; what is called `read-` is an answer all the same."""
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
    return {f"{name}.http": contents.encode("latin-1") for name, contents in {
        "read-sound": head + "content-length: 2\r\n\r\nhi",
        "read-no-length": head + "\r\nuntil the end",
        "read-not-utf-8": head + "content-length: 3\r\n\r\n\xff\xfe\xfd",
        "read-redirect-to-itself": "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        "read-stream-cut": "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"a\": 1}\n\ndata: {\"a",
        "refused-nothing": "",
        "refused-no-http": "SSH-2.0-OpenSSH_9.2\r\n",
        "refused-status-in-words": "HTTP/1.1 fine OK\r\n\r\n",
        "refused-status-0": "HTTP/1.1 0 None\r\n\r\n",
        "refused-head-cut": "HTTP/1.1 200 OK\r\ncontent-le",
        "refused-length-negative": head + "content-length: -1\r\n\r\nhi",
        "refused-length-2-64": head + "content-length: 18446744073709551616\r\n\r\nhi",
        "refused-length-beyond-the-body": head + "content-length: 1000\r\n\r\nhi",
        "refused-chunk-size-in-words": head + "transfer-encoding: chunked\r\n\r\nmany\r\nhi\r\n0\r\n\r\n",
        "refused-chunk-beyond-the-body": head + "transfer-encoding: chunked\r\n\r\nffffff\r\nhi",
        "refused-header-without-colon": "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        "refused-header-with-nul": "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "refused-1000-headers": "HTTP/1.1 200 OK\r\n" + "".join(f"a{i}: b\r\n" for i in range(1000)) + "\r\n",
        "refused-header-of-200000-bytes": "HTTP/1.1 200 OK\r\na: " + "b" * 200_000 + "\r\n\r\n",
    }.items()}


def main() -> int:
    gguf = gguf_files()
    folders = {
        FORMATS / "gguf": gguf,
        FORMATS / "safetensors": safetensors_files(),
        FORMATS / "tokenizer": tokenizer_files(),
        FORMATS / "template": template_files(),
        FORMATS / "apr": apr_files(gguf["sound.gguf"]),
        YAML: yaml_files(),
        ANSWERS: answers(),
    }
    if sys.argv[1:] not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wrong = 0
    for folder, files in folders.items():
        present = {path.name for path in folder.glob("*")} if folder.exists() else set()
        for name, contents in files.items():
            path = folder / name
            if path.exists() and path.read_bytes() == contents:
                continue
            wrong += 1
            if "--check" in sys.argv:
                print(f"{path.relative_to(ROOT)} is not what this makes", file=sys.stderr)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(contents)
        for name in present - set(files):
            wrong += 1
            print(f"{(folder / name).relative_to(ROOT)} is not of this corpus", file=sys.stderr)
    total = sum(len(files) for files in folders.values())
    print(f"{total} files in {len(folders)} folders, {wrong} changed")
    return 1 if wrong and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
