//! A YAML document as a tree whose keys and values carry their line and column.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy, Options, Spanned, from_str_with_options,
};

use super::Problem;

/// Where something stands in a file; both count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// A mapping's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it says.
    pub name: String,
    /// Where it starts.
    pub at: Position,
}

/// A value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it starts.
    pub at: Position,
}

/// What YAML can say. Mappings keep their order and their duplicates: whoever reads them reports those.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number, NaN and infinities included.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping.
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// How a message names the kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Str(_) => "text",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// How deep lists and mappings may nest: far more than any file of ours, and little enough for the stack of
/// a thread even where nothing is optimized.
const DEEPEST: usize = 32;
/// How many lists, mappings and plain values there may be, an alias counting as all that it stands for: ten times what any
/// file of ours has.
const MOST: usize = 50_000;

/// Parses one document. Aliases are bounded, merge keys refused, `no` and `0755` are text.
pub fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    if let Some((at, character)) = forbidden(text) {
        let what = format!("the character U+{:04X} is none of YAML's", u32::from(character));
        return Err(Problem { file: file.to_owned(), at, what });
    }
    from_str_with_options::<Node>(text, options()).map_err(|error| {
        let at = error.location().map_or(Position { line: 1, column: 1 }, |location| position(&location));
        let message = error.without_snippet().to_string();
        // The crate puts its own position behind the message; ours is in front of it.
        let mut what = message.split(" at line ").next().unwrap_or(&message).trim_end().to_owned();
        if what.starts_with("budget breached") {
            what = format!(
                "it is too deep or too large: at most {DEEPEST} levels and {MOST} values, aliases resolved"
            );
        }
        Problem { file: file.to_owned(), at, what }
    })
}

/// The first control character that YAML does not allow (YAML 1.2.2, production 1), and where it stands: behind one, the
/// crate loses count of the lines.
fn forbidden(text: &str) -> Option<(Position, char)> {
    let is_forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let (offset, character) = text.char_indices().find(|(_, c)| is_forbidden(*c))?;
    // A carriage return ends a line, too, alone or before a newline (production 28).
    let before = text[..offset].replace("\r\n", "\n").replace('\r', "\n");
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1;
    Some((Position { line, column }, character))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST, max_nodes: MOST },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn position(location: &serde_saphyr::Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: position(&spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Value::Seq(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let key = Key { at: position(&key.referenced), name: key.value };
            map.push((key, entries.next_value()?));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn text(value: &str) -> Value {
        Value::Str(value.to_owned())
    }

    #[test]
    fn every_key_and_value_knows_where_it_stands() {
        let node = parse("f.yaml", "a: 1\nb:\n  - x\n  - {c: 2.5}\n").unwrap();
        let Value::Map(map) = node.value else { panic!("not a mapping") };
        assert_eq!(map[0].0.at, Position { line: 1, column: 1 });
        assert_eq!(map[0].1, Node { value: Value::Int(1), at: Position { line: 1, column: 4 } });
        let Value::Seq(items) = &map[1].1.value else { panic!("not a list") };
        assert_eq!(items[0], Node { value: text("x"), at: Position { line: 3, column: 5 } });
        let Value::Map(inner) = &items[1].value else { panic!("not a mapping") };
        assert_eq!(inner[0].0, Key { name: "c".into(), at: Position { line: 4, column: 6 } });
        assert_eq!(inner[0].1.value, Value::Float(2.5));
    }

    #[test]
    fn every_kind_of_value_has_a_word_for_messages() {
        for (yaml, kind) in [
            ("", "nothing"),
            ("~", "nothing"),
            ("null", "nothing"),
            ("true", "a truth value"),
            ("7", "a whole number"),
            ("-7", "a whole number"),
            ("18446744073709551615", "a number"),
            ("7.5", "a number"),
            ("seven", "text"),
            ("[7]", "a list"),
            ("{a: 7}", "a mapping"),
        ] {
            assert_eq!(parse("f.yaml", yaml).unwrap().value.kind(), kind, "{yaml:?}");
        }
    }

    #[test]
    fn what_is_no_value_of_yaml_is_refused_by_what_was_expected() {
        use serde::de::value::{BytesDeserializer, Error};
        let error = Value::deserialize(BytesDeserializer::<Error>::new(b"x")).unwrap_err().to_string();
        assert_eq!(error, "invalid type: byte array, expected a YAML value");
    }

    #[test]
    fn duplicate_keys_are_kept_for_the_reader_to_report() {
        let Value::Map(map) = parse("f.yaml", "a: 1\na: 2\n").unwrap().value else { panic!("not a mapping") };
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn words_and_numbers_that_yaml_is_known_to_mistake_stay_text() {
        for word in ["no", "yes", "on", "off", "0755", "1_000"] {
            let Value::Seq(items) = parse("f.yaml", &format!("[{word}]")).unwrap().value else { panic!() };
            assert_eq!(items[0].value, text(word));
        }
    }

    #[test]
    fn not_a_number_reaches_the_reader_as_such() {
        let Value::Seq(items) = parse("f.yaml", "[.nan, .inf]").unwrap().value else { panic!() };
        assert!(matches!(items[0].value, Value::Float(value) if value.is_nan()));
        assert!(matches!(items[1].value, Value::Float(value) if value.is_infinite()));
    }

    #[test]
    fn broken_yaml_is_a_problem_with_its_line() {
        let problem = parse("f.yaml", "a: [1\nb: 2\n").unwrap_err();
        assert!(problem.at.line >= 1, "{problem}");
        assert!(problem.to_string().starts_with("f.yaml:"), "{problem}");
    }

    #[test]
    fn a_control_character_is_refused_where_it_stands() {
        // In a comment, behind which the lines were miscounted.
        for (text, line, column, name) in [
            ("a: b\n# \u{e4} \0\0{", 2, 5, "U+0000"),
            ("\u{1}", 1, 1, "U+0001"),
            ("a: \"\u{7f}\"\n", 1, 5, "U+007F"),
            ("a:\r\n  b: \u{9f}", 2, 6, "U+009F"),
            ("a: b\r\rc: \u{8}", 3, 4, "U+0008"),
        ] {
            let problem = parse("f.yaml", text).unwrap_err();
            assert_eq!((problem.at.line, problem.at.column), (line, column), "{text:?}");
            assert_eq!(problem.what, format!("the character {name} is none of YAML's"));
        }
        parse("f.yaml", "a:\tb # tab\u{85}\r\nc: d\r\n").unwrap();
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
        }
        let what = "it is too deep or too large: at most 32 levels and 50000 values, aliases resolved";
        assert_eq!(parse("f.yaml", &bomb).unwrap_err().what, what);
        // What an alias stands for is counted where it stands: a list of a thousand, and so often.
        let repeated = |n: usize| {
            format!("a: &a [{}]\nb: [{}]\n", vec!["x"; 1_000].join(", "), vec!["*a"; n].join(", "))
        };
        parse("f.yaml", &repeated(48)).unwrap();
        assert_eq!(parse("f.yaml", &repeated(50)).unwrap_err().what, what);
    }

    #[test]
    fn nesting_is_read_to_its_limit_and_refused_without_end() {
        parse("f.yaml", &format!("{}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST))).unwrap();
        let deeper = format!("{}{}", "[".repeat(DEEPEST + 1), "]".repeat(DEEPEST + 1));
        assert!(parse("f.yaml", &deeper).unwrap_err().what.starts_with("it is too deep or too large"));
        parse("f.yaml", &"[".repeat(100_000)).unwrap_err();
    }
}
