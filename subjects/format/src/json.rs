//! Strict JSON: an object with a key twice is refused at every depth, and the raw span of chosen values is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::Fault;

/// Marks a duplicate key inside serde's error text, which is the only way out of a visitor.
const DUPLICATE: &str = "duplicate key \u{1}";

/// A JSON object whose keys are unique at every depth, and where some of its values stand in the text.
#[derive(Debug)]
pub(crate) struct StrictObject {
    /// Every key with its value.
    pub(crate) values: BTreeMap<String, Value>,
    /// The byte range of the values of the keys that were asked for.
    pub(crate) spans: BTreeMap<&'static str, Range<usize>>,
}

/// Parses `text` as one object, noting where the values of `span_keys` stand.
pub(crate) fn parse_object(text: &[u8], span_keys: &'static [&'static str]) -> Result<StrictObject, Fault> {
    let text =
        std::str::from_utf8(text).map_err(|error| Fault::Metadata(format!("it is not UTF-8: {error}")))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Object { text, span_keys };
    object
        .deserialize(&mut deserializer)
        .and_then(|object| deserializer.end().map(|()| object))
        .map_err(|error| fault(&error))
}

fn fault(error: &serde_json::Error) -> Fault {
    let message = error.to_string();
    match message.split_once(DUPLICATE).and_then(|(_, rest)| rest.split_once('\u{1}')) {
        Some((key, _)) => Fault::DuplicateKey(key.to_owned()),
        None => Fault::Metadata(format!("it is not a JSON object of the expected form: {message}")),
    }
}

fn duplicate<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("{DUPLICATE}{key}\u{1}"))
}

/// Reads the outermost object.
struct Object<'a> {
    text: &'a str,
    span_keys: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Object<'de> {
    type Value = StrictObject;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<StrictObject, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'de> {
    type Value = StrictObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrictObject, A::Error> {
        let mut object = StrictObject { values: BTreeMap::new(), spans: BTreeMap::new() };
        while let Some(key) = map.next_key::<String>()? {
            if object.values.contains_key(&key) {
                return Err(duplicate(&key));
            }
            let value = if let Some(span_key) = self.span_keys.iter().find(|span_key| **span_key == key) {
                let raw: &'de RawValue = map.next_value()?;
                // Both point into `text`, so the difference of their addresses is an index.
                let start = raw.get().as_ptr() as usize - self.text.as_ptr() as usize;
                object.spans.insert(span_key, start..start + raw.get().len());
                serde_json::from_str(raw.get()).map_err(de::Error::custom)?
            } else {
                map.next_value_seed(StrictValue)?
            };
            object.values.insert(key, value);
        }
        Ok(object)
    }
}

/// Reads any value, refusing duplicate keys in it.
struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(duplicate(&key));
            }
            let value = map.next_value_seed(Self)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Fault) {
        assert_eq!(&parse_object(text.as_bytes(), &["root"]).unwrap_err(), expected);
    }

    #[test]
    fn a_duplicate_key_is_refused_at_every_depth() {
        check(r#"{"a": 1, "a": 1}"#, &Fault::DuplicateKey("a".to_owned()));
        check(r#"{"root": 1, "root": 1}"#, &Fault::DuplicateKey("root".to_owned()));
        check(r#"{"a": {"b": 1, "c": 2, "b": 3}}"#, &Fault::DuplicateKey("b".to_owned()));
        check(r#"{"a": [[{"\u0062": 1, "b": 3}]]}"#, &Fault::DuplicateKey("b".to_owned()));
    }

    #[test]
    fn a_span_is_the_raw_text_of_the_value() {
        let text = r#" { "x": "é", "ro\u006ft" :  "abc" } "#;
        let object = parse_object(text.as_bytes(), &["root"]).unwrap();
        assert_eq!(&text[object.spans["root"].clone()], r#""abc""#);
        assert_eq!(object.values["root"], "abc");
    }

    #[test]
    fn values_survive_unchanged() {
        let text = r#"{"a": [null, true, -3, 18446744073709551615, 1e-6, "s\n"], "b": {"c": {}}}"#;
        let object = parse_object(text.as_bytes(), &[]).unwrap();
        let expected: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(object.values, expected);
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        for text in ["", "[]", "{} {}", "{", "{\"a\": NaN}", "{\"a\": 1e999}", "{\"a\": \"\\ud800\"}", &deep]
        {
            let fault = parse_object(text.as_bytes(), &[]).unwrap_err();
            assert!(matches!(fault, Fault::Metadata(_)), "{fault:?}");
        }
    }
}
