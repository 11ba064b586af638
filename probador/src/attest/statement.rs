//! What is attested: an in-toto Statement v1 with the test-result predicate v0.1.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::case::{Outcome, Verdict};
use crate::report::{Report, Role, RunVerdict};

/// The type of every statement.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of what is stated.
const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// The report's name among the subjects.
const REPORT: &str = "report.json";
/// The annotation that says what a file is to the run.
const ROLE: &str = "role";
/// The role of the report itself.
const REPORT_ROLE: &str = "report";

/// That these files were tested, with what result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    type_uri: String,
    /// What was tested: the model, `apr`, and the report that says how it went.
    subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    result: TestResult,
    /// What it was tested with: the engine, the checklist, the goldens.
    configuration: Vec<Resource>,
    passed_tests: Vec<String>,
    warned_tests: Vec<String>,
    failed_tests: Vec<String>,
}

/// How the tests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestResult {
    /// The release gate is open.
    Passed,
    /// Nothing failed, and the gate is shut.
    Warned,
    /// Something failed.
    Failed,
}

impl TestResult {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Warned => "WARNED",
            Self::Failed => "FAILED",
        }
    }
}

/// A file by its name, its hash and what it is to the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    name: String,
    digest: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Resource {
    fn new(name: &str, sha256: &str, role: &str) -> Self {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Self { name: name.to_owned(), digest: one("sha256", sha256), annotations: one(ROLE, role) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is to the run.
    pub fn role(&self) -> &str {
        self.annotations.get(ROLE).map_or("", String::as_str)
    }

    /// Its SHA-256; nothing, which no file has, where none is given.
    pub fn sha256(&self) -> &str {
        self.digest.get("sha256").map_or("", String::as_str)
    }
}

impl Statement {
    /// The statement that `report`, written as `bytes`, makes.
    pub fn of(report: &Report, bytes: &[u8]) -> Self {
        let resources = |is_judged: bool| {
            let files = report.inputs.iter().filter(move |file| file.role.is_judged() == is_judged);
            files.map(|file| Resource::new(&file.name, &file.sha256, file.role.word()))
        };
        let mut subject: Vec<Resource> = resources(true).collect();
        subject.push(Resource::new(REPORT, &hex::encode(Sha256::digest(bytes)), REPORT_ROLE));
        let outcomes = || {
            let claims = report.claims.iter().filter_map(|row| row.outcome.as_ref());
            claims.chain(&report.playbooks).chain(&report.goldens)
        };
        let named = |is_wanted: &dyn Fn(&Outcome) -> bool| {
            let wanted = outcomes().filter(|outcome| is_wanted(outcome));
            wanted.map(|outcome| outcome.case.to_string()).collect()
        };
        let passed = |outcome: &Outcome| outcome.verdict == Verdict::Pass;
        Self {
            type_uri: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                result: result(report),
                configuration: resources(false).collect(),
                passed_tests: named(&passed),
                warned_tests: named(&|outcome| !passed(outcome) && !outcome.is_red()),
                failed_tests: named(&|outcome: &Outcome| outcome.is_red()),
            },
        }
    }

    /// Reads a statement; one of another type is refused.
    pub fn from_json(bytes: &[u8]) -> anyhow::Result<Self> {
        let statement: Self =
            serde_json::from_slice(bytes).context("it holds no statement of test results")?;
        for (found, expected) in
            [(&statement.type_uri, STATEMENT_TYPE), (&statement.predicate_type, PREDICATE_TYPE)]
        {
            anyhow::ensure!(found == expected, "it states `{found}`, not `{expected}`");
        }
        Ok(statement)
    }

    /// The statement's text.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// How the tests ended.
    pub fn result(&self) -> TestResult {
        self.predicate.result
    }

    /// Every file it names but the report.
    pub fn files(&self) -> impl Iterator<Item = &Resource> {
        let subject = self.subject.iter().filter(|resource| resource.role() != REPORT_ROLE);
        subject.chain(&self.predicate.configuration)
    }

    /// Files of a role that it names.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Resource> {
        self.files().filter(move |resource| resource.role() == role.word())
    }

    /// The SHA-256 of the report.
    pub fn report_sha256(&self) -> Option<&str> {
        self.subject.iter().find(|resource| resource.role() == REPORT_ROLE).map(Resource::sha256)
    }
}

fn result(report: &Report) -> TestResult {
    match report.verdict {
        RunVerdict::Fail | RunVerdict::Unbelievable => TestResult::Failed,
        RunVerdict::Pass | RunVerdict::Incomplete if report.gate.is_open() => TestResult::Passed,
        RunVerdict::Pass | RunVerdict::Incomplete => TestResult::Warned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_statement_names_result_tests_files_and_the_report() {
        let statement = Statement::of(&sample::eventful(), b"abc");
        assert_eq!(statement.result(), TestResult::Failed);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(statement.report_sha256(), Some(abc));
        let json: serde_json::Value = serde_json::from_str(&statement.to_json().unwrap()).unwrap();
        assert_eq!(json["_type"], STATEMENT_TYPE);
        assert_eq!(json["predicateType"], PREDICATE_TYPE);
        assert_eq!(json["subject"][0]["digest"]["sha256"], "cd".repeat(32));
        assert_eq!(json["predicate"]["result"], "FAILED");
        let failed = json["predicate"]["failedTests"].as_array().unwrap();
        assert!(failed.iter().any(|name| name == "checklist::c_forward_pass::c4_causal_mask"), "{failed:?}");
        assert_eq!(Statement::from_json(&serde_json::to_vec(&json).unwrap()).unwrap(), statement);
    }

    #[test]
    fn only_an_open_gate_is_a_pass() {
        let mut report = sample::all_passing();
        assert_eq!(Statement::of(&report, b"").result(), TestResult::Passed);
        report.gate = sample::eventful().gate;
        assert_eq!(Statement::of(&report, b"").result(), TestResult::Warned);
    }

    #[test]
    fn a_statement_of_something_else_is_refused() {
        let text = Statement::of(&sample::all_passing(), b"").to_json().unwrap();
        let refused = |text: &str| format!("{:#}", Statement::from_json(text.as_bytes()).unwrap_err());
        assert!(refused(&text.replace("test-result/v0.1", "test-result/v9")).contains("v9`, not `"));
        assert!(refused(&text.replace("Statement/v1", "Statement/v0")).contains("not `https"));
        assert!(refused("{}").contains("holds no statement"));
        assert!(refused(&text.replace("\"subject\"", "\"extra\": 1, \"subject\"")).contains("extra"));
    }

    #[test]
    fn a_result_is_called_in_messages_what_it_is_called_in_the_statement() {
        for result in [TestResult::Passed, TestResult::Warned, TestResult::Failed] {
            assert_eq!(serde_json::to_value(result).unwrap(), result.word());
        }
        assert_eq!(TestResult::Warned.word(), "WARNED");
    }
}
