//! Commands split into words without a shell, and placeholders filled in.

use std::collections::BTreeMap;

/// Why a command cannot be split.
pub(super) type Unsplittable = String;

/// The words of a command line, with a shell's quotes and nothing else of a shell's.
pub(super) fn split(command: &str) -> Result<Vec<String>, Unsplittable> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(inside) => quoted.push(inside),
                        None => return Err("a `'` is not closed".to_owned()),
                    }
                }
            }
            '"' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(escaped @ ('"' | '\\')) => quoted.push(escaped),
                            Some(other) => quoted.extend(['\\', other]),
                            None => return Err("a `\"` is not closed".to_owned()),
                        },
                        Some(inside) => quoted.push(inside),
                        None => return Err("a `\"` is not closed".to_owned()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("it ends in `\\`".to_owned()),
            },
            '|' | '>' | '<' | ';' | '&' | '`' | '$' | '*' => {
                return Err(format!(
                    "`{c}` means something to a shell only: quote it, or ask for one with `shell: true`"
                ));
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Err("the command is empty".to_owned()) } else { Ok(words) }
}

/// A piece of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Placeholder(&'t str),
}

/// Cuts a text at its placeholders: `{model}`, `{server.port}`. `{{` and `}}` around a name stand for plain braces.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let after = &rest[at + 1..];
        let escaped = after.strip_prefix('{').and_then(|inside| name_before(inside, "}}"));
        if let Some(name) = escaped {
            // The inner pair of braces, and the name between them.
            let plain = &after[..name.len() + 2];
            found.extend([Piece::Text(&rest[..at]), Piece::Text(plain)]);
            rest = &after[name.len() + 3..];
        } else if let Some(name) = name_before(after, "}") {
            found.extend([Piece::Text(&rest[..at]), Piece::Placeholder(name)]);
            rest = &after[name.len() + 1..];
        } else {
            found.push(Piece::Text(&rest[..=at]));
            rest = after;
        }
    }
    found.push(Piece::Text(rest));
    found
}

/// The name that `text` starts with, when `end` follows it.
fn name_before<'t>(text: &'t str, end: &str) -> Option<&'t str> {
    let length = text.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && !"_.".contains(c))?;
    let is_named = text.starts_with(|c: char| c.is_ascii_lowercase());
    (is_named && text[length..].starts_with(end)).then(|| &text[..length])
}

/// The names that a text has placeholders for.
pub(super) fn placeholders(text: &str) -> Vec<&str> {
    let named = |piece| match piece {
        Piece::Placeholder(name) => Some(name),
        Piece::Text(_) => None,
    };
    pieces(text).into_iter().filter_map(named).collect()
}

/// `text` with each placeholder that has a value replaced by it, as `quoted` wants it; others stay as they are.
pub(super) fn filled(
    text: &str,
    values: &BTreeMap<String, String>,
    quoted: impl Fn(&str) -> String,
) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Placeholder(name) => match values.get(name) {
                Some(value) => filled.push_str(&quoted(value)),
                None => filled.extend(["{", name, "}"]),
            },
        }
    }
    filled
}

/// `text` with a letter for each placeholder, whatever it will stand for.
pub(super) fn blanked(text: &str) -> String {
    let blank = |piece| match piece {
        Piece::Text(text) => text,
        Piece::Placeholder(_) => "x",
    };
    pieces(text).into_iter().map(blank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_would_without_running_one() {
        assert_eq!(
            split("apr chat  m.apr --max-tokens 5").unwrap(),
            ["apr", "chat", "m.apr", "--max-tokens", "5"]
        );
        assert_eq!(split(r#"a 'b c' "d \"e\" \n" f\ g ''"#).unwrap(), ["a", "b c", r#"d "e" \n"#, "f g", ""]);
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for command in [
            "a | b",
            "a > b",
            "a && b",
            "a; b",
            "echo $HOME",
            "a `b`",
            "ls *",
            "",
            "  ",
            "a 'b",
            "a \"b",
            "a\\",
        ] {
            assert!(split(command).is_err(), "{command:?}");
        }
    }

    #[test]
    fn what_is_open_at_the_end_is_named() {
        for (command, expected) in [
            ("a 'b", "a `'` is not closed"),
            ("a \"b", "a `\"` is not closed"),
            ("a \"b\\", "a `\"` is not closed"),
            ("a\\", "it ends in `\\`"),
            (" ", "the command is empty"),
        ] {
            assert_eq!(split(command).unwrap_err(), expected, "{command:?}");
        }
    }

    #[test]
    fn placeholders_are_filled_and_json_is_left_alone() {
        let values = BTreeMap::from([("model".to_owned(), "/m.apr".to_owned())]);
        let check = |text: &str, expected: &str| assert_eq!(filled(text, &values, str::to_owned), expected);
        check("apr chat {model}", "apr chat /m.apr");
        check(r#"{"model": {"a": 1}, "b": {}}"#, r#"{"model": {"a": 1}, "b": {}}"#);
        check("{{model}} {other} {", "{model} {other} {");
        check("日本{model}語", "日本/m.apr語");
        assert_eq!(placeholders("{a} {b.port} {{c}} {\"d\"} {"), ["a", "b.port"]);
    }
}
