//! What a verdict rests on: every figure with its limit and sample count, what it was measured on, how to run it again.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything a reader needs to believe a verdict, or to doubt it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What was measured against which limit.
    pub measurements: Vec<Measurement>,
    /// Remarks, such as the figure the specification gives.
    pub notes: Vec<String>,
    /// Hashes of what went in, by name.
    pub inputs: BTreeMap<String, String>,
    /// One line that runs the case again.
    pub rerun: String,
    /// Seconds it took.
    pub seconds: f64,
}

/// What a run was measured on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Threads available to the run.
    pub n_threads: usize,
    /// Operating system and architecture.
    pub os: String,
}

/// A figure and the limit it is held to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// What it is.
    pub what: String,
    /// The figure.
    #[serde(with = "number")]
    #[schemars(schema_with = "number::schema")]
    pub value: f64,
    /// How it must stand to the limit.
    pub relation: Relation,
    /// The limit.
    #[serde(with = "number")]
    #[schemars(schema_with = "number::schema")]
    pub limit: f64,
    /// The unit of both, or nothing.
    pub unit: String,
    /// Samples behind the figure.
    pub n: u64,
    /// A 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
}

/// How a figure must stand to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Not above it.
    AtMost,
    /// Not below it.
    AtLeast,
    /// The same.
    Equal,
}

impl Measurement {
    /// Whether the figure keeps its limit; what is not a number keeps none.
    pub fn holds(&self) -> bool {
        match self.relation {
            Relation::AtMost => self.value <= self.limit,
            Relation::AtLeast => self.value >= self.limit,
            Relation::Equal => self.value.total_cmp(&self.limit).is_eq(),
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.relation {
            Relation::AtMost => "at most",
            Relation::AtLeast => "at least",
            Relation::Equal => "exactly",
        };
        let (value, limit) = (Figure(self.value), Figure(self.limit));
        write!(f, "{} {value}, {relation} {limit}", self.what)?;
        if !self.unit.is_empty() {
            write!(f, " {}", self.unit)?;
        }
        Ok(())
    }
}

/// A number as people read it: whole numbers whole, others with four significant digits.
#[derive(Clone, Copy, Debug)]
pub struct Figure(pub f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.fract() == 0.0 && value.abs() < 1e15 {
            return write!(f, "{value:.0}");
        }
        if !value.is_finite() || !(1e-3..1e6).contains(&value.abs()) {
            return write!(f, "{value:.2e}");
        }
        let digits_before = value.abs().log10().floor() as i32 + 1;
        let n_decimals = (4 - digits_before).clamp(0, 6) as usize;
        let text = format!("{value:.n_decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        f.write_str(text)
    }
}

/// Numbers in JSON, where what is not finite is a word.
mod number {
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "inf", "-inf"] }] })
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrWord {
        Number(f64),
        Word(String),
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.collect_str(value) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match NumberOrWord::deserialize(deserializer)? {
            NumberOrWord::Number(value) => Ok(value),
            NumberOrWord::Word(word) => word.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(value: f64, relation: Relation, limit: f64) -> Measurement {
        Measurement { what: "x".into(), value, relation, limit, unit: String::new(), n: 1, interval: None }
    }

    #[test]
    fn what_is_not_a_number_keeps_no_limit() {
        for relation in [Relation::AtMost, Relation::AtLeast, Relation::Equal] {
            assert!(!measured(f64::NAN, relation, 1.0).holds(), "{relation:?}");
        }
        assert!(measured(1.0, Relation::AtMost, 1.0).holds());
        assert!(!measured(1.1, Relation::AtMost, 1.0).holds());
        assert!(!measured(0.9, Relation::AtLeast, 1.0).holds());
    }

    #[test]
    fn a_measurement_names_figure_relation_limit_and_unit() {
        let mut measurement = measured(31.92, Relation::AtLeast, 34.0);
        assert_eq!(measurement.to_string(), "x 31.92, at least 34");
        "tokens/s".clone_into(&mut measurement.unit);
        assert_eq!(measurement.to_string(), "x 31.92, at least 34 tokens/s");
        assert_eq!(measured(1.0, Relation::AtMost, 2.0).to_string(), "x 1, at most 2");
        assert_eq!(measured(1.0, Relation::Equal, 2.0).to_string(), "x 1, exactly 2");
        assert!(measured(2.0, Relation::Equal, 2.0).holds() && measured(1.0, Relation::AtLeast, 1.0).holds());
    }

    #[test]
    fn figures_read_well() {
        for (value, expected) in [
            (0.0, "0"),
            (-12.0, "-12"),
            (1e15, "1.00e15"),
            (999_999.0, "999999"),
            (12_345.6, "12346"),
            (2_500_000.5, "2.50e6"),
            (120.5, "120.5"),
            (-0.5, "-0.5"),
            (0.001, "0.001"),
            (9.5, "9.5"),
            (f64::INFINITY, "inf"),
            (151_936.0, "151936"),
            (3.9e-5, "3.90e-5"),
            (31.9216, "31.92"),
            (0.0125, "0.0125"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(Figure(value).to_string(), expected);
        }
    }

    #[test]
    fn the_schema_allows_the_words_for_what_is_not_finite() {
        let schema = serde_json::to_value(schemars::schema_for!(Measurement)).unwrap();
        let words = serde_json::json!(["NaN", "inf", "-inf"]);
        assert_eq!(schema["properties"]["value"]["anyOf"][1]["enum"], words, "{schema}");
        assert_eq!(schema["properties"]["limit"]["anyOf"][1]["enum"], words, "{schema}");
    }

    #[test]
    fn what_is_not_finite_survives_json() {
        let text = serde_json::to_string(&measured(f64::INFINITY, Relation::AtMost, 1.0)).unwrap();
        let read: Measurement = serde_json::from_str(&text).unwrap();
        assert!(read.value.is_infinite());
        let finite = measured(1.5, Relation::AtMost, 2.0);
        let text = serde_json::to_string(&finite).unwrap();
        assert!(text.contains("\"value\":1.5"), "{text}");
        assert_eq!(serde_json::from_str::<Measurement>(&text).unwrap(), finite);
        let word = text.replace("1.5", "\"many\"");
        assert!(serde_json::from_str::<Measurement>(&word).is_err(), "{word}");
    }
}
