"""Extract clean English text from the `rust-docs` component (HTML) for training.

The Rust Book and its companions are installed with the toolchain as HTML. This module turns the
pages into plain, Markdown-like text: headings, paragraphs, list items, table rows and code blocks.
Pages are cut into sections (a heading and what follows it), which are the raw material both for
running text and for question-and-answer documents.

    python3 scripts/rust_docs_corpus.py --html "$(rustc --print sysroot)/share/doc/rust/html"

prints the data sources, their sizes and the corpus hash; `--out FILE` also writes the text.
Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import unicodedata
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

# Books read in full, in this order. All are MIT OR Apache-2.0, as the Rust project is.
BOOKS = (
    "book",
    "reference",
    "rust-by-example",
    "nomicon",
    "cargo",
    "rustc",
    "rustdoc",
    "edition-guide",
    "embedded-book",
    "clippy",
    "style-guide",
    "error_codes",
    "unstable-book",
)
# API documentation: only each page's opening text, which is prose; per-method text is noise.
API_CRATES = ("std",)

# Pages kept out of training: whole pages of running prose, from several books.
HELD_OUT_PAGES = (
    "book/ch16-03-shared-state.html",
    "nomicon/races.html",
    "cargo/guide/why-cargo-exists.html",
)

# Translations and superseded editions (stubs), and the all-in-one pages that repeat everything.
SKIPPED_FOLDERS = {"es", "ja", "ko", "zh", "first-edition", "second-edition", "2018-edition"}
SKIPPED_PAGES = {"print.html", "toc.html", "404.html", "SUMMARY.html", "all.html", "test-summary.html"}

VOID_TAGS = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
}
SKIPPED_TAGS = {"script", "style", "button", "nav", "svg", "noscript", "template", "math"}
SKIPPED_CLASSES = {
    "buttons", "boring", "tooltip", "sidetoc", "rule", "rule-link", "grammar-container",
    "grammar-railroad", "toggle-railroad", "test-link", "src", "scraped-example-list",
    "popup-container", "railroad-production", "footnote-reference",
}
BLOCK_TAGS = {
    "p", "div", "ul", "ol", "li", "table", "thead", "tbody", "tr", "blockquote", "section", "article",
    "details", "summary", "dl", "dt", "dd", "figure", "figcaption", "hr", "h1", "h2", "h3", "h4", "h5",
    "h6", "main", "pre",
}


@dataclass
class Block:
    """One heading, paragraph, list item, table row or code block."""

    kind: str  # "heading", "text", "item", "row" or "code"
    text: str
    level: int = 0  # of a heading; otherwise list depth

    def rendered(self) -> str:
        if self.kind == "heading":
            return "#" * self.level + " " + self.text
        if self.kind == "item":
            return "  " * max(self.level - 1, 0) + "- " + self.text
        if self.kind == "row":
            return "| " + self.text + " |"
        if self.kind == "code":
            return "```\n" + self.text + "\n```"
        return self.text


@dataclass
class Section:
    """A heading and the blocks up to the next heading."""

    title: str
    level: int
    blocks: list[Block] = field(default_factory=list)

    def text(self) -> str:
        heading = [Block("heading", self.title, self.level)] if self.title else []
        return join_blocks(heading + self.blocks)


@dataclass
class Page:
    """One HTML page as sections."""

    source: str  # the book's folder name
    name: str  # path below the documentation root
    sections: list[Section]

    def blocks(self) -> list[Block]:
        found = []
        for section in self.sections:
            if section.title:
                found.append(Block("heading", section.title, section.level))
            found.extend(section.blocks)
        return found

    def text(self) -> str:
        return join_blocks(self.blocks())


def join_blocks(blocks: list[Block]) -> str:
    """Blocks as text: a blank line between them, none between items of a list or rows."""
    parts: list[str] = []
    previous = None
    for block in blocks:
        tight = previous is not None and previous.kind == block.kind and block.kind in ("item", "row")
        if parts:
            parts.append("\n" if tight else "\n\n")
        parts.append(block.rendered())
        previous = block
    return "".join(parts)


class PageParser(HTMLParser):
    """Collects the blocks inside `<main>` (books) or the opening doc block (API pages)."""

    def __init__(self, api_page: bool):
        super().__init__(convert_charrefs=True)
        self.api_page = api_page
        self.blocks: list[Block] = []
        self.stack: list[tuple[str, bool, bool]] = []  # tag, opens skipped text, opens kept text
        self.skipping = 0
        self.inside = 0
        self.done = False
        self.buffer: list[str] = []
        self.in_pre = 0
        self.heading = 0
        self.list_depth = 0
        self.item_open = False
        self.row_open = False

    def handle_starttag(self, tag, attrs):
        if tag in VOID_TAGS:
            if tag == "br":
                self.buffer.append("\n" if self.in_pre else " ")
            return
        classes = set((dict(attrs).get("class") or "").split())
        skip = tag in SKIPPED_TAGS or bool(classes & SKIPPED_CLASSES)
        if self.api_page:
            keep = "docblock" in classes and not self.done
        else:
            keep = tag == "main"
        if self.inside and not self.skipping and not skip:
            self.open_tag(tag)
        self.stack.append((tag, skip, keep))
        self.skipping += skip
        self.inside += keep

    def handle_endtag(self, tag):
        if tag in VOID_TAGS or not any(entry[0] == tag for entry in self.stack):
            return
        while self.stack:
            name, skip, keep = self.stack.pop()
            if self.inside and not self.skipping and not skip:
                self.close_tag(name)
            self.skipping -= skip
            self.inside -= keep
            if keep:
                self.flush()
                self.done = self.api_page
            if name == tag:
                break

    def handle_data(self, data):
        if self.inside and not self.skipping:
            self.buffer.append(data)

    def open_tag(self, tag):
        if tag == "code" and not self.in_pre and not self.heading:
            self.buffer.append("`")
        if tag in ("td", "th"):
            if "".join(self.buffer).strip():
                self.buffer.append(" | ")
        if tag not in BLOCK_TAGS or self.row_open and tag != "tr":
            return
        self.flush()
        if tag == "pre":
            self.in_pre += 1
        elif tag in ("ul", "ol"):
            self.list_depth += 1
        elif tag == "li":
            self.item_open = True
        elif tag == "tr":
            self.row_open = True
        elif tag[0] == "h" and tag[1:].isdigit():
            self.heading = int(tag[1:])

    def close_tag(self, tag):
        if tag == "code" and not self.in_pre and not self.heading:
            self.buffer.append("`")
        if tag not in BLOCK_TAGS or self.row_open and tag != "tr":
            return
        self.flush()
        if tag == "pre":
            self.in_pre = max(self.in_pre - 1, 0)
        elif tag in ("ul", "ol"):
            self.list_depth = max(self.list_depth - 1, 0)
        elif tag == "li":
            self.item_open = False
        elif tag == "tr":
            self.row_open = False
        elif tag[0] == "h" and tag[1:].isdigit():
            self.heading = 0

    def flush(self):
        raw = "".join(self.buffer)
        self.buffer = []
        if self.in_pre:
            lines = [line.rstrip() for line in raw.split("\n")]
            text = "\n".join(lines).strip("\n")
            text = re.sub(r"\n{3,}", "\n\n", text)
            if text.strip():
                self.blocks.append(Block("code", text))
            return
        text = clean_prose(raw)
        if not text:
            return
        if self.heading:
            self.blocks.append(Block("heading", text.rstrip("§").strip(), self.heading))
        elif self.row_open:
            self.blocks.append(Block("row", text))
        elif self.item_open:
            self.item_open = False  # later paragraphs of the same item are plain text
            self.blocks.append(Block("item", text, self.list_depth))
        else:
            self.blocks.append(Block("text", text))


def clean_prose(raw: str) -> str:
    """Collapse white space and drop decorations the HTML adds."""
    text = unicodedata.normalize("NFC", raw)
    text = text.replace("\u00a0", " ").replace("§", "").replace("\u200b", "")
    text = re.sub(r"\s+", " ", text).strip()
    return "" if text in ("``", "|", "[+] show others", "Source") else text


def read_page(path: Path, source: str, root: Path) -> Page | None:
    """Parse one HTML file; `None` for redirect stubs and pages with next to no text."""
    html = path.read_text(encoding="utf-8", errors="replace")
    api_page = source in API_CRATES
    parser = PageParser(api_page)
    parser.feed(html)
    parser.close()
    blocks = parser.blocks
    if api_page:
        title = re.search(r"<title>([^<]*)</title>", html)
        name = (title.group(1) if title else path.stem).replace(" - Rust", "")
        blocks = [Block("heading", clean_prose(name), 1)] + blocks
    if sum(len(block.text) for block in blocks) < 200:
        return None
    return Page(source, path.relative_to(root).as_posix(), split_sections(blocks))


def split_sections(blocks: list[Block]) -> list[Section]:
    sections: list[Section] = []
    for block in blocks:
        if block.kind == "heading":
            sections.append(Section(block.text, block.level))
        else:
            if not sections:
                sections.append(Section("", 1))
            sections[-1].blocks.append(block)
    return sections


def page_paths(root: Path) -> list[tuple[str, Path]]:
    """Every page to read, books first, in a fixed order."""
    found = []
    for source in BOOKS + API_CRATES:
        folder = root / source
        if not folder.is_dir():
            raise SystemExit(f"error: `{folder}` is missing\nhint: run `rustup component add rust-docs`")
        for path in sorted(folder.rglob("*.html")):
            parts = set(path.relative_to(folder).parts[:-1])
            if path.name not in SKIPPED_PAGES and not parts & SKIPPED_FOLDERS:
                found.append((source, path))
    return found


def dedup_key(block: Block) -> bytes:
    """Blocks that differ only in numbers (`i8`, `u64`, listing numbers) count as the same."""
    return hashlib.blake2b(re.sub(r"\d+", "0", block.text).encode(), digest_size=12).digest()


def drop_repeated_blocks(pages: list[Page]) -> list[Page]:
    """Keep the first copy of every block longer than a line; drop pages left empty."""
    seen: set[bytes] = set()
    kept = []
    for page in pages:
        for section in page.sections:
            fresh = []
            for block in section.blocks:
                key = dedup_key(block)
                if len(block.text) < 40 or key not in seen:
                    fresh.append(block)
                    seen.add(key)
            section.blocks = fresh
        page.sections = [section for section in page.sections if section.blocks]
        if sum(len(block.text) for section in page.sections for block in section.blocks) >= 150:
            kept.append(page)
    return kept


def load_pages(root: Path) -> list[Page]:
    """Read, clean and deduplicate the whole corpus."""
    pages = [read_page(path, source, root) for source, path in page_paths(root)]
    return drop_repeated_blocks([page for page in pages if page is not None])


def split_held_out(pages: list[Page]) -> tuple[list[Page], str]:
    """Training pages, and the text of the held-out ones. Blocks they share leave the training side."""
    held = [page for page in pages if page.name in HELD_OUT_PAGES]
    missing = set(HELD_OUT_PAGES) - {page.name for page in held}
    if missing:
        raise SystemExit(f"error: held-out pages are not in the documentation: {sorted(missing)}")
    training = [page for page in pages if page.name not in HELD_OUT_PAGES]
    return training, "\n\n".join(page.text() for page in held) + "\n"


def corpus_hash(pages: list[Page]) -> str:
    """SHA-256 over every page's name and text, in order."""
    digest = hashlib.sha256()
    for page in pages:
        digest.update(page.name.encode() + b"\0" + page.text().encode() + b"\0")
    return digest.hexdigest()


def corpus_summary(pages: list[Page]) -> dict[str, dict[str, int]]:
    """Pages and characters for each source."""
    summary: dict[str, dict[str, int]] = {}
    for page in pages:
        entry = summary.setdefault(page.source, {"pages": 0, "characters": 0})
        entry["pages"] += 1
        entry["characters"] += len(page.text())
    return summary


def default_root() -> Path:
    """The documentation folder of the active toolchain."""
    try:
        sysroot = subprocess.run(
            ["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"error: cannot run `rustc --print sysroot`: {error}\nhint: pass --html DIR")
    return Path(sysroot) / "share/doc/rust/html"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Extract the training text from the rust-docs component and report its hash.",
        epilog="example: python3 scripts/rust_docs_corpus.py --out /tmp/corpus.txt",
    )
    parser.add_argument("--html", type=Path, help="documentation root (default: the active toolchain's)")
    parser.add_argument("--out", type=Path, help="also write the text here")
    args = parser.parse_args()
    pages = load_pages(args.html or default_root())
    total = 0
    for source, entry in corpus_summary(pages).items():
        total += entry["characters"]
        print(f"{source:16} {entry['pages']:6} pages {entry['characters']:10} characters")
    print(f"{'total':16} {len(pages):6} pages {total:10} characters")
    print(f"sha256 {corpus_hash(pages)}")
    if args.out:
        args.out.write_text("\n\n\n".join(page.text() for page in pages), encoding="utf-8")
        print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
