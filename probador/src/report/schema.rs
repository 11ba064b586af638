//! The JSON Schema of report.json, made from the types that write it, for whoever reads reports with other tools.

use super::Report;
use crate::checklist::SchemaFile;

/// The schema and the file it is kept in.
pub fn schema() -> SchemaFile {
    SchemaFile::of::<Report>("report.schema.json", "A report")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn validator() -> jsonschema::Validator {
        let schema = serde_json::from_str(&schema().text).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    #[test]
    fn the_checked_in_schema_is_current() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../checklist");
        let stored = std::fs::read_to_string(folder.join(schema().name)).unwrap_or_default();
        assert!(stored == schema().text, "{} is stale\nhint: run `cargo probador schema`", schema().name);
    }

    #[test]
    fn reports_validate_against_it_figures_that_are_not_finite_too() {
        for mut report in [sample::all_passing(), sample::eventful()] {
            let outcome = report.claims[0].outcome.as_mut().unwrap();
            outcome.evidence.measurements[0].value = f64::NAN;
            outcome.evidence.measurements[0].limit = f64::NEG_INFINITY;
            let json = serde_json::to_value(&report).unwrap();
            let errors: Vec<String> = validator().iter_errors(&json).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }

    #[test]
    fn what_is_no_report_does_not_validate() {
        let good = serde_json::to_value(sample::all_passing()).unwrap();
        let spoilt: [fn(&mut serde_json::Value); 5] = [
            |json| drop(json.as_object_mut().unwrap().remove("score")),
            |json| json["verdict"] = "splendid".into(),
            |json| json["claims"][0]["id"] = "Z9".into(),
            |json| json["claims"][0]["outcome"]["verdict"] = "perhaps".into(),
            |json| json["claims"][0]["outcome"]["evidence"]["measurements"][0]["value"] = "much".into(),
        ];
        for spoil in spoilt {
            let mut json = good.clone();
            spoil(&mut json);
            assert!(!validator().is_valid(&json));
        }
    }
}
