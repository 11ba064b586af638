//! Findings as SARIF 2.1.0, what code hosts and editors read.

use serde::Serialize;

use super::suppressions::{ALLOW, WHAT};
use super::{Finding, Linted, RULES};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A SARIF log with one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sarif {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Clone, Debug, Serialize)]
struct Run {
    tool: Tool,
    results: Vec<ResultRow>,
}

#[derive(Clone, Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Clone, Debug, Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<RuleRow>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleRow {
    id: &'static str,
    name: &'static str,
    short_description: Message,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultRow {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
}

/// Why a result may stay; it is said in the source.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Suppression {
    kind: &'static str,
    justification: String,
}

#[derive(Clone, Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    uri_base_id: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
}

/// The log of what was linted; rules without a finding are listed too, so that a reader sees what was looked for.
pub fn sarif(linted: &Linted) -> Sarif {
    let applied: Vec<_> = RULES.into_iter().filter(|rule| linted.rules.contains(&rule.id)).collect();
    let rules = applied.iter().map(|rule| (rule.id, rule.name, rule.what));
    let rules: Vec<RuleRow> = rules
        .chain([(ALLOW, "exception", WHAT)])
        .map(|(id, name, what)| RuleRow { id, name, short_description: Message { text: what.to_owned() } })
        .collect();
    let row = |finding: &Finding, level, suppressions| ResultRow {
        rule_id: finding.rule,
        rule_index: rules.iter().position(|rule| rule.id == finding.rule).unwrap_or_default(),
        level,
        message: Message { text: finding.reason.clone() },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation { uri: as_uri(&finding.file), uri_base_id: "%SRCROOT%" },
                region: Region { start_line: finding.line, start_column: finding.column },
            },
        }],
        suppressions,
    };
    let violations = linted.findings.iter().map(|finding| row(finding, "error", Vec::new()));
    let entries = linted.inventory.iter().map(|entry| row(entry, "note", Vec::new()));
    let excused = linted.suppressed.iter().map(|suppressed| {
        let justification = suppressed.reason.clone();
        row(&suppressed.finding, "error", vec![Suppression { kind: "inSource", justification }])
    });
    let results = violations.chain(entries).chain(excused).collect();
    Sarif {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver: Driver { name: "probador", version: env!("CARGO_PKG_VERSION"), rules } },
            results,
        }],
    }
}

/// A relative path as a URI reference: what RFC 3986 does not allow in one is percent-encoded.
fn as_uri(path: &str) -> String {
    use std::fmt::Write;
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suppressed;
    use crate::tests::checkout;

    #[test]
    fn a_log_names_rule_place_and_reason() {
        let finding = Finding {
            file: "a b/ü.rs".into(),
            line: 3,
            column: 7,
            rule: "G6",
            reason: "returns a `String`".into(),
        };
        let entry = Finding { rule: "J22", ..finding.clone() };
        let excused =
            Suppressed { finding: finding.clone(), reason: "a parser".into(), by: "a b/ü.rs:2".into() };
        let linted = Linted {
            findings: vec![finding],
            inventory: vec![entry],
            suppressed: vec![excused],
            rules: vec!["G2", "G6", "J22"],
            n_crates: 1,
            n_files: 1,
        };
        let log = serde_json::to_value(sarif(&linted)).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][1]["id"], "G6");
        let result = &run["results"][0];
        assert_eq!((result["ruleId"].as_str(), result["ruleIndex"].as_u64()), (Some("G6"), Some(1)));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/%C3%BC.rs");
        assert_eq!(place["region"], serde_json::json!({"startLine": 3, "startColumn": 7}));
        assert_eq!(result["message"]["text"], "returns a `String`");
        assert_eq!((result["level"].as_str(), result.get("suppressions")), (Some("error"), None));
        assert_eq!(
            (run["results"][1]["level"].as_str(), run["results"][1]["ruleIndex"].as_u64()),
            (Some("note"), Some(2))
        );
        let suppressions = serde_json::json!([{"kind": "inSource", "justification": "a parser"}]);
        assert_eq!(run["results"][2]["suppressions"], suppressions);
    }

    /// Our own tree's log as types that were made from the published schema.
    #[test]
    fn a_log_is_what_the_published_schema_asks_for() {
        let linted = crate::run(checkout(), &RULES).unwrap();
        let log = serde_json::to_value(sarif(&linted)).unwrap();
        let read: serde_sarif::sarif::Sarif = serde_json::from_value(log.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), log, "a key that the schema does not know is lost");
        let mut without_text = log;
        without_text["runs"][0]["results"][0].as_object_mut().unwrap().remove("message");
        assert!(serde_json::from_value::<serde_sarif::sarif::Sarif>(without_text).is_err());
    }

    #[test]
    fn a_clean_run_still_lists_its_rules() {
        let linted = Linted {
            findings: vec![],
            inventory: vec![],
            suppressed: vec![],
            rules: vec!["G2"],
            n_crates: 1,
            n_files: 1,
        };
        let log = serde_json::to_value(sarif(&linted)).unwrap();
        assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), 2);
    }
}
