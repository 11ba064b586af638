//! J24: which crates were chosen for performance, as an inventory.
//!
//! Lists every line of a manifest that declares one, in any table and under any name, the workspace's own table
//! included. Nothing about them is wrong.

use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, Tree};

pub(super) const RULE: Rule = Rule {
    id: "J24",
    also: &[],
    name: "performance-crate",
    what: "a crate that is chosen for performance",
    kind: Kind::Inventory,
    check,
    must_flag: &[
        Example {
            what: "in every table, and under another name",
            files: &[
                (
                    "Cargo.toml",
                    "[package]\nname = \"example\"\n[dependencies]\nsmallvec = \"1\"\narena = { package = \"bumpalo\", version = \"3\" }\n[dev-dependencies]\nmemchr = \"2\"\n\
                     [target.'cfg(unix)'.dependencies]\nmemmap2.workspace = true\n[build-dependencies.rayon]\nversion = \"1\"\n",
                ),
                ("src/lib.rs", ""),
            ],
            at: &[
                ("Cargo.toml", 4),
                ("Cargo.toml", 5),
                ("Cargo.toml", 7),
                ("Cargo.toml", 9),
                ("Cargo.toml", 10),
            ],
        },
        Example {
            what: "in a workspace's table",
            files: &[
                (
                    "Cargo.toml",
                    "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nserde = \"1\"\nahash = \"0.8\"\n",
                ),
                ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
                ("a/src/lib.rs", ""),
            ],
            at: &[("Cargo.toml", 5)],
        },
    ],
    must_not_flag: &[Example {
        what: "other crates, and a feature of that name",
        files: &[
            (
                "Cargo.toml",
                "[package]\nname = \"example\"\n[dependencies]\nserde = \"1\"\n[features]\nsmallvec = []\n# bumpalo = \"3\"\n",
            ),
            ("src/lib.rs", ""),
        ],
        at: &[],
    }],
};

/// Packages that people choose for speed or memory, and what each is for.
pub const CHOSEN: &[(&str, &str)] = &[
    ("ahash", "a fast hash for maps"),
    ("aho-corasick", "many needles in one pass"),
    ("arrayvec", "lists on the stack"),
    ("bitvec", "bits packed"),
    ("blake3", "a vectorised hash"),
    ("bstr", "fast byte strings"),
    ("bumpalo", "arena allocation"),
    ("bytemuck", "casts without copies"),
    ("bytes", "shared buffers without copies"),
    ("compact_str", "short strings inline"),
    ("crc32fast", "a vectorised checksum"),
    ("crossbeam", "lock-free queues"),
    ("crossbeam-channel", "fast channels"),
    ("crossbeam-deque", "work stealing"),
    ("crossbeam-utils", "cache-line padding"),
    ("dashmap", "a concurrent map"),
    ("faer", "matrix kernels"),
    ("fast-float2", "fast parsing of floats"),
    ("fixedbitset", "bits packed"),
    ("flume", "fast channels"),
    ("foldhash", "a fast hash for maps"),
    ("fst", "compact sets"),
    ("fxhash", "a fast hash for maps"),
    ("gemm", "matrix kernels"),
    ("half", "16-bit floats"),
    ("hashbrown", "a fast map"),
    ("heapless", "lists without allocation"),
    ("indexmap", "a map in order with fast iteration"),
    ("itoa", "fast printing of numbers"),
    ("jemallocator", "an allocator"),
    ("lexical-core", "fast parsing of numbers"),
    ("libdeflater", "fast compression"),
    ("lz4_flex", "fast compression"),
    ("matrixmultiply", "matrix kernels"),
    ("memchr", "vectorised search"),
    ("memmap2", "mapped files"),
    ("mimalloc", "an allocator"),
    ("nohash-hasher", "a fast hash for maps"),
    ("once_map", "concurrent memoising"),
    ("parking_lot", "small fast locks"),
    ("phf", "perfect hashing"),
    ("pulp", "portable vector instructions"),
    ("quick_cache", "a concurrent cache"),
    ("rayon", "data parallelism"),
    ("rkyv", "reading without parsing"),
    ("roaring", "compressed bitmaps"),
    ("rustc-hash", "a fast hash for maps"),
    ("ryu", "fast printing of floats"),
    ("seahash", "a fast hash"),
    ("simd-json", "vectorised JSON"),
    ("simdutf8", "vectorised UTF-8"),
    ("slab", "preallocated storage"),
    ("smallvec", "short lists inline"),
    ("smartstring", "short strings inline"),
    ("smol_str", "short strings inline"),
    ("snmalloc-rs", "an allocator"),
    ("thin-vec", "small headers"),
    ("tikv-jemallocator", "an allocator"),
    ("tinyvec", "short lists inline"),
    ("triomphe", "small reference counts"),
    ("twox-hash", "a fast hash"),
    ("typed-arena", "arena allocation"),
    ("wide", "portable vector instructions"),
    ("xxhash-rust", "a fast hash"),
    ("zerocopy", "casts without copies"),
    ("zstd", "fast compression"),
];

#[expect(clippy::unnecessary_wraps, reason = "other rules can find nothing to judge")]
fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let of_crates = tree
        .crates()
        .iter()
        .flat_map(|krate| krate.dependencies.iter().map(|d| (krate.manifest.as_str(), d)));
    let of_others =
        tree.other_dependencies().iter().map(|(manifest, dependency)| (manifest.as_str(), dependency));
    for (manifest, dependency) in of_crates.chain(of_others) {
        if let Some((package, what)) = CHOSEN.iter().find(|(package, _)| *package == dependency.package) {
            findings.at_line(manifest, dependency.line, 1, format!("declares `{package}`: {what}"));
        }
    }
    Ok(())
}
