//! A million characters of one kind take time and memory in proportion (hostile 23). A test binary of its own: the
//! memory is the process's.
#![allow(clippy::unwrap_used, reason = "a test fails where it is")]

mod support;

use std::time::{Duration, Instant};

use support::tokenizer;

/// Characters of a text: a tenth of a million in builds that are not optimized, in which mutants are tried.
const N: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

#[test]
fn a_million_characters_of_one_kind_take_little_time_and_memory() {
    let tokenizer = tokenizer();
    let kinds = [
        "a",
        " ",
        "\n",
        "\t",
        "1",
        "!",
        "'",
        "'s",
        "é",
        "中",
        "👍",
        "👩\u{200d}",
        "\u{301}",
        "\u{300}\u{316}",
        "\u{958}",
        "a ",
        " \n",
        "\r\n",
        "\u{3000}",
        "<|im_end|>",
        "<|im_end|",
        "<tool_call>",
    ];
    for kind in kinds {
        let text = kind.repeat(N / kind.chars().count());
        let start = Instant::now();
        let ids = tokenizer.encode(&text);
        let decoded = tokenizer.decode(&ids);
        // Measured: under two seconds for each; time that grew with the square would be days.
        assert!(start.elapsed() < Duration::from_mins(1), "{kind:?} took {:?}", start.elapsed());
        if kind != "\u{300}\u{316}" && kind != "\u{958}" {
            assert!(decoded == text, "{kind:?} does not round-trip");
        }
    }
    // Measured: 213 MB beyond the start for four million bytes, some fifty times the text.
    if let Some(peak) = support::peak_memory() {
        assert!(peak < 600 << 20, "{peak} bytes");
    }
}

#[test]
fn a_run_is_cut_where_the_published_expression_cuts_it() {
    let tokenizer = tokenizer();
    let space = tokenizer.encode(" ");
    for n in [2, 3, 1000, N] {
        let run = " ".repeat(n);
        // The last space goes with the word; the others are one piece, merged as far as merges go.
        let mut expected = tokenizer.encode(&" ".repeat(n - 1));
        expected.extend(tokenizer.encode(" b"));
        assert_eq!(tokenizer.encode(&format!("{run}b")), expected, "{n} spaces");
        assert_ne!(tokenizer.encode(&run), [expected, space.clone()].concat());
    }
}
