//! How a playbook came out: what a report needs of each run and step.

use std::collections::BTreeMap;

use serde::Serialize;

use super::PlaybookId;
use crate::case::{Judgement, Measurement};

/// How a playbook came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaybookReport {
    /// Which.
    pub playbook: PlaybookId,
    /// A few words.
    pub name: String,
    /// Where it is written.
    pub file: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen instead of what was expected, with the step.
    pub failures: Vec<String>,
    /// Figures against their limits.
    pub measurements: Vec<Measurement>,
    /// Every run through the steps.
    pub runs: Vec<RunReport>,
    /// One line that runs it again.
    pub rerun: String,
    /// Seconds it took.
    pub seconds: f64,
}

/// One run through the steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunReport {
    /// The values of the matrix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// The steps that were done, up to the first that failed.
    pub steps: Vec<StepReport>,
    /// What went wrong outside of the steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// The command or the request, as it can be typed; of an assertion, nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// How it ended.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ended: String,
    /// Seconds it took.
    pub seconds: f64,
    /// Highest memory seen, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// How many expectations were met.
    pub n_met: usize,
    /// What was seen instead of the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// The beginning and the end of standard output or the body, when something failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// The beginning and the end of standard error, when something failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Figures against their limits.
    #[serde(skip)]
    pub measurements: Vec<Measurement>,
}

impl RunReport {
    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.steps.iter().all(|step| step.failures.is_empty())
    }

    /// What failed, a line each, with the step and the values of the matrix.
    pub fn said(&self) -> Vec<String> {
        let values: Vec<String> =
            self.values.iter().map(|(name, value)| format!("{name} {value:?}")).collect();
        let values = if values.is_empty() { String::new() } else { format!(" with {}", values.join(", ")) };
        let of_steps = self.steps.iter().flat_map(|step| {
            step.failures.iter().map(|what| format!("step {:?}{values}: {what}", step.name))
        });
        self.failures.iter().map(|what| format!("{what}{values}")).chain(of_steps).collect()
    }
}

impl StepReport {
    /// Command, ending and output of a step, for whoever looks into a failure.
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.command.is_empty() {
            lines.push(format!("command: {}", self.command));
        }
        if !self.ended.is_empty() {
            lines.push(format!("ended: {} after {:.2} s", self.ended, self.seconds));
        }
        for (what, text) in [("output", &self.output), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                lines.push(format!("{what}: {}", text.replace('\n', "\n        ")));
            }
        }
        lines
    }
}

impl PlaybookReport {
    /// How many expectations were met.
    pub fn n_met(&self) -> usize {
        self.runs.iter().flat_map(|run| &run.steps).map(|step| step.n_met).sum()
    }

    /// The first step that failed.
    pub fn failed_step(&self) -> Option<&StepReport> {
        self.runs.iter().flat_map(|run| &run.steps).find(|step| !step.failures.is_empty())
    }

    /// The verdict's grounds, without what the commands printed.
    pub fn bare_judgement(&self) -> Judgement {
        let mut judgement = Judgement::new();
        judgement.measurements.extend(self.measurements.iter().cloned());
        let n_met = self.n_met();
        judgement.exactly(
            "expectations met",
            n_met,
            n_met + self.failures.len(),
            "",
            n_met + self.failures.len(),
        );
        // The count repeats what the failures say one by one.
        judgement.failures.clear();
        judgement.failures.clone_from(&self.failures);
        judgement
    }

    /// The verdict's grounds: failures with what a reader needs to look into the first of them.
    pub fn judgement(&self) -> Judgement {
        let mut judgement = self.bare_judgement();
        if let (Some(first), Some(step)) = (judgement.failures.first_mut(), self.failed_step()) {
            for line in step.details() {
                first.push_str("\n  ");
                first.push_str(&line);
            }
        }
        judgement
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::Category;

    fn report(steps: Vec<StepReport>) -> PlaybookReport {
        let run = RunReport { steps, ..RunReport::default() };
        PlaybookReport {
            playbook: PlaybookId::new(Some(Category::EdgeCases), "x"),
            name: "X".to_owned(),
            file: "playbooks/edge-cases/x.yaml".to_owned(),
            passed: run.passed(),
            failures: run.said(),
            measurements: Vec::new(),
            runs: vec![run],
            rerun: String::new(),
            seconds: 0.5,
        }
    }

    fn failed(ended: &str) -> StepReport {
        StepReport {
            name: "Ask".to_owned(),
            command: "apr chat".to_owned(),
            ended: ended.to_owned(),
            seconds: 0.25,
            n_met: 1,
            failures: vec!["exits with 1, expected 0".to_owned()],
            output: "two\nlines".to_owned(),
            ..StepReport::default()
        }
    }

    #[test]
    fn the_first_failure_is_told_with_what_its_step_did() {
        let good = StepReport { name: "Before".to_owned(), n_met: 2, ..StepReport::default() };
        let report = report(vec![good, failed("exit 1")]);
        let bare = "step \"Ask\": exits with 1, expected 0";
        assert_eq!(report.bare_judgement().failures, [bare]);
        let details = "command: apr chat\n  ended: exit 1 after 0.25 s\n  output: two\n        lines";
        assert_eq!(report.judgement().failures, [format!("{bare}\n  {details}")]);
        let counted = &report.judgement().measurements[0];
        assert_eq!(counted.to_string(), "expectations met 3, exactly 4");
        // What has not ended is not said to have.
        assert_eq!(failed("").details(), ["command: apr chat", "output: two\n        lines"]);
    }

    #[test]
    fn a_report_without_failures_has_nothing_to_add() {
        let good = StepReport { n_met: 2, command: "apr chat".to_owned(), ..StepReport::default() };
        let judgement = report(vec![good]).judgement();
        assert_eq!(judgement.failures, [""; 0]);
        assert_eq!(judgement.measurements[0].to_string(), "expectations met 2, exactly 2");
    }
}
