//! Amounts as people write them: `500ms`, `60s`, `2m`; `512MB`, `1GiB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::yaml::{FromNode, Node, Problems};

/// The longest that anything in a playbook may take.
const LONGEST: Duration = Duration::from_hours(1);
/// More memory than any machine this runs on.
const MOST: u64 = 1 << 50;

/// A time, above zero and at most an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// An amount of memory, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("`{text}` is not a time such as `500ms`, `60s` or `2m`");
        let (number, unit) = split_unit(text).ok_or_else(error)?;
        let scale = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            _ => return Err(error()),
        };
        let seconds = number * scale;
        if seconds <= 0.0 || seconds > LONGEST.as_secs_f64() {
            return Err(format!("`{text}` is not between nothing and an hour"));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("`{text}` is not an amount such as `512MB` or `1GiB`");
        let (number, unit) = split_unit(text).ok_or_else(error)?;
        let scale: u64 = match unit {
            "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(error()),
        };
        let bytes = number * scale as f64;
        if bytes < 1.0 || bytes > MOST as f64 {
            return Err(format!("`{text}` is not between a byte and a pebibyte"));
        }
        Ok(Self(bytes as u64))
    }
}

/// The digits in front, and the unit behind them.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(at);
    // Digits and points only: no sign, no exponent, no `inf`.
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 1.0 { write!(f, "{}ms", seconds * 1e3) } else { write!(f, "{seconds}s") }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MB", self.0 as f64 / 1e6)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "`500ms`, `60s` or `2m`", "pattern": r"^[0-9.]+ *(ms|s|m)$"})
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "`512MB` or `1GiB`", "pattern": r"^[0-9.]+ *[KMG]i?B$"})
    }
}

impl FromNode for Time {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        parsed(node, problems)
    }
}

impl FromNode for Bytes {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        parsed(node, problems)
    }
}

fn parsed<T: FromStr<Err = String>>(node: &Node, problems: &mut Problems) -> Option<T> {
    let text = String::from_node(node, problems)?;
    text.parse().map_err(|error: String| problems.add(node.at, error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_amounts_have_a_unit() {
        assert_eq!("500ms".parse(), Ok(Time(Duration::from_millis(500))));
        assert_eq!("1.5 s".parse(), Ok(Time(Duration::from_millis(1500))));
        assert_eq!("2m".parse(), Ok(Time(Duration::from_mins(2))));
        assert_eq!("512MB".parse(), Ok(Bytes(512_000_000)));
        assert_eq!("1GiB".parse(), Ok(Bytes(1 << 30)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "5", "0s", "-1s", "nan s", "inf", "1e9s", "61m", "5 minutes", "1.2.3s", "s"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        for text in ["", "5", "0MB", "-1MB", "9999999GB", "5 B", "MB", "1tb"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
    #[test]
    fn amounts_are_written_as_they_are_read() {
        let check = |text: &str, written: &str| {
            let time: Time = text.parse().unwrap();
            assert_eq!(time.to_string(), written);
            assert_eq!(written.parse(), Ok(time));
            assert_eq!(serde_json::to_value(time).unwrap(), written);
        };
        check("500ms", "500ms");
        check("0.25 s", "250ms");
        check("1500ms", "1.5s");
        check("2m", "120s");
        let bytes: Bytes = "1.5GB".parse().unwrap();
        assert_eq!(bytes.to_string(), "1500.0 MB");
        assert_eq!(serde_json::to_value(bytes).unwrap(), 1_500_000_000_u64);
    }
}
