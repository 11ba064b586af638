"""Strict reading and stable writing of the project's YAML, for the reference scripts.

A library. Reading refuses duplicate keys and takes `1e-4` for a number, as YAML 1.2 does (PyYAML on
its own follows 1.1). Writing keeps the order of keys, quotes every string that could be taken for
something else, and puts lists of scalars and marked mappings on one line, so that files diff well.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads YAML 1.2 floats."""


def construct_strict_mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            mark = key_node.start_mark
            raise SystemExit(f"error: {mark.name}:{mark.line + 1}:{mark.column + 1}: duplicate key `{key}`")
        seen.add(key)
    return dict(loader.construct_pairs(node, deep=True))


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct_strict_mapping)
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)[eE][-+]?\d+\Z"), list("-+.0123456789"))


def read(path: Path) -> dict:
    """The document in `path`."""
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.load(file, StrictLoader)
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"error: failed to read `{path}`: {error}")


class OneLine(dict):
    """A mapping to be written on one line."""


def scalar(value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if PLAIN.match(value) and value.lower() not in RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False)


def is_flow(value) -> bool:
    """Whether a value goes on one line."""
    if isinstance(value, OneLine) or not isinstance(value, (dict, list)) or not value:
        return True
    return isinstance(value, list) and not any(isinstance(item, dict) for item in value) and all(
        is_flow(item) for item in value)


def flow(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def block_lines(value, indent: int) -> list[str]:
    pad = "  " * indent
    lines = []
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        head = pad + ("- " if key is None else f"{scalar(key)}:")
        if is_flow(item):
            lines.append((head if key is None else head + " ") + flow(item))
        elif key is None:
            inner = block_lines(item, indent + 1)
            lines.append(head + inner[0].lstrip())
            lines.extend(inner[1:])
        else:
            lines.append(head)
            lines.extend(block_lines(item, indent + 1))
    return lines


def dump(document: dict, heading: str) -> str:
    """The document as text, under a comment."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return comment + "\n".join(block_lines(document, 0)) + "\n"
