//! Findings as SARIF 2.1.0, what code hosts and editors read.

use serde::Serialize;

use super::{Linted, RULES};

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
    let rules = applied.iter().map(|rule| RuleRow {
        id: rule.id,
        name: rule.name,
        short_description: Message { text: rule.what.to_owned() },
    });
    let results = linted.findings.iter().map(|finding| ResultRow {
        rule_id: finding.rule,
        rule_index: applied.iter().position(|rule| rule.id == finding.rule).unwrap_or_default(),
        level: "error",
        message: Message { text: finding.reason.clone() },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation { uri: as_uri(&finding.file), uri_base_id: "%SRCROOT%" },
                region: Region { start_line: finding.line, start_column: finding.column },
            },
        }],
    });
    Sarif {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "probador",
                    version: env!("CARGO_PKG_VERSION"),
                    rules: rules.collect(),
                },
            },
            results: results.collect(),
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
    use super::super::Finding;
    use super::*;

    #[test]
    fn a_log_names_rule_place_and_reason() {
        let finding = Finding {
            file: "a b/ü.rs".into(),
            line: 3,
            column: 7,
            rule: "G6",
            reason: "returns a `String`".into(),
        };
        let linted = Linted { findings: vec![finding], rules: vec!["G2", "G6"], n_crates: 1, n_files: 1 };
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
    }

    #[test]
    fn a_clean_run_still_lists_its_rules() {
        let linted = Linted { findings: vec![], rules: vec!["G2"], n_crates: 1, n_files: 1 };
        let log = serde_json::to_value(sarif(&linted)).unwrap();
        assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
    }
}
