//! Numbers and foreign text, made fit for a person's terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A count with thousands separators: `151,936`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of parameters as people say it: `494M`, `1.54B`.
pub(crate) fn parameters(count: u64) -> String {
    scaled(count, &["", "K", "M", "B", "T"], "")
}

/// A number of bytes in decimal units, as disks are sold: `988 MB`, `1.18 GB`.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], " ")
}

/// Three significant digits and the unit that keeps the number below a thousand.
fn scaled(count: u64, units: &[&str], space: &str) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let n_decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.n_decimals$}{space}{}", units[unit])
}

/// `text` with everything that could steer a terminal spelled out: control characters and the characters that
/// reorder what follows. Names in a model file are anybody's.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) { Cow::Owned(escape(text, steers)) } else { Cow::Borrowed(text) }
}

/// Like [`printable`], keeping line breaks and tabs: for text of several lines, such as a reply.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    let steers = |c: char| steers(c) && !matches!(c, '\n' | '\t');
    if text.chars().any(steers) { Cow::Owned(escape(text, steers)) } else { Cow::Borrowed(text) }
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, steers: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (151_936, "151,936"), (1_234_567, "1,234,567")];
        for (count, expected) in cases {
            assert_eq!(thousands(count), expected);
        }
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn parameters_have_three_digits_and_a_letter() {
        let cases = [(12, "12"), (2_400_000, "2.40M"), (494_032_768, "494M"), (1_540_000_000, "1.54B")];
        for (count, expected) in cases {
            assert_eq!(parameters(count), expected);
        }
    }

    #[test]
    fn sizes_never_show_a_thousand_of_a_unit() {
        let cases =
            [(0, "0 B"), (999, "999 B"), (999_499, "999 kB"), (999_500, "1.00 MB"), (988_097_824, "988 MB")];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
        assert_eq!(bytes(1_180_000_000), "1.18 GB");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
    }

    #[test]
    fn terminal_escapes_are_spelled_out() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("line\nbreak"), "line\\nbreak");
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(printable_lines("line\nbreak\u{7}"), "line\nbreak\\u{7}");
        assert!(matches!(printable("日本語 🇯🇵"), Cow::Borrowed(_)));
    }
}
