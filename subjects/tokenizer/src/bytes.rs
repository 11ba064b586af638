//! The byte alphabet of byte-level BPE: every byte has one printable character that stands for it in a vocabulary.

use std::sync::LazyLock;

/// The character that stands for each byte. The 188 bytes that print as Latin-1 stand for themselves; the others take
/// U+0100 and up, in order (GPT-2, Radford et al. 2019, `encoder.py`).
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut stand_ins = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte as u8),
        _ => stand_ins.next().unwrap_or(char::REPLACEMENT_CHARACTER),
    })
});

/// The byte of each character below U+0200, by code point.
static BYTES: LazyLock<[Option<u8>; 0x200]> = LazyLock::new(|| {
    let mut bytes = [None; 0x200];
    for (byte, &c) in (0..=u8::MAX).zip(CHARS.iter()) {
        bytes[c as usize] = Some(byte);
    }
    bytes
});

/// The character that stands for `byte`.
pub(crate) fn char_of(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// Replaces the contents of `out` by the stand-ins of `text`'s bytes.
pub(crate) fn write_chars(text: &str, out: &mut String) {
    out.clear();
    out.extend(text.bytes().map(char_of));
}

/// The bytes that a vocabulary entry stands for; an entry outside the alphabet stands for its own UTF-8, as in
/// `tokenizers`.
pub(crate) fn bytes_of(entry: &str) -> Vec<u8> {
    entry
        .chars()
        .map(|c| BYTES.get(c as usize).copied().flatten())
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_else(|| entry.as_bytes().to_vec())
}

/// Whether text of assigned characters can do without `byte`: control characters, bytes that are not UTF-8 and those
/// of planes 4 to 11. Vocabularies that were trained without a full alphabet (SmolLM2's) lack some of these.
pub(crate) fn is_dispensable(byte: u8) -> bool {
    match byte {
        b'\t' | b'\n' | b'\r' => false,
        ..0x20 | 0x7F | 0xC0 | 0xC1 | 0xF1 | 0xF2 | 0xF5.. => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet_is_the_published_one_and_invertible() {
        assert_eq!(
            [b'\n', b' ', b'!', 0x7F, 0xA0, 0xAD, 0xFF].map(char_of),
            ['Ċ', 'Ġ', '!', 'ġ', 'ł', 'Ń', 'ÿ']
        );
        for byte in 0..=u8::MAX {
            assert_eq!(bytes_of(&char_of(byte).to_string()), [byte]);
        }
    }

    #[test]
    fn texts_need_bytes_that_print_and_line_ends_and_no_other_controls() {
        let needed = b"\t\n\r azAZ09~\x80\xbf\xc2\xdf\xe4\xf0\xf3\xf4";
        assert!(needed.iter().all(|&byte| !is_dispensable(byte)));
        let needless = b"\0\x08\x0b\x1f\x7f\xc0\xc1\xf1\xf2\xf5\xff";
        assert!(needless.iter().all(|&byte| is_dispensable(byte)));
    }

    #[test]
    fn entry_outside_the_alphabet_stands_for_its_own_utf8() {
        assert_eq!(bytes_of("Ġa"), b" a");
        assert_eq!(bytes_of("<｜end｜>"), "<｜end｜>".as_bytes());
    }
}
