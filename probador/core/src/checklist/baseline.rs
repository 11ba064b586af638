//! The baseline: the claims that passed on each model when it was last committed. Losing one is a regression.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ClaimId;

/// What passed, by model name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Claims that passed, by the name of the model they passed on.
    pub passing: BTreeMap<String, BTreeSet<ClaimId>>,
}

/// A claim that passed at the baseline and no longer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Regression(pub ClaimId);

impl Baseline {
    /// Reads the committed file.
    pub fn from_json(file: &str, text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            anyhow::anyhow!(
                "{file}:{}:{}: {error}\nhint: write it anew with `cargo probador ci --accept`",
                error.line(),
                error.column()
            )
        })
    }

    /// The file's text: sorted, a claim a line, so that a change is a readable diff.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The claims that passed on `model` and are not in `passed` now.
    pub fn regressions(&self, model: &str, passed: &BTreeSet<ClaimId>) -> Vec<Regression> {
        self.passing
            .get(model)
            .into_iter()
            .flatten()
            .filter(|id| !passed.contains(id))
            .map(|&id| Regression(id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> BTreeSet<ClaimId> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_claim_that_no_longer_passes_is_a_regression() {
        let baseline =
            Baseline { passing: [("tiny".to_owned(), ids(&["A1", "C4", "C10".get(..2).unwrap()]))].into() };
        assert_eq!(baseline.regressions("tiny", &ids(&["A1", "C1"])), [Regression("C4".parse().unwrap())]);
        assert_eq!(baseline.regressions("tiny", &ids(&["A1", "C1", "C4", "B2"])), []);
    }

    #[test]
    fn the_file_survives_being_written_and_read() {
        let baseline = Baseline { passing: [("tiny".to_owned(), ids(&["A1", "H11"]))].into() };
        assert_eq!(Baseline::from_json("b.json", &baseline.to_json()).unwrap(), baseline);
    }

    #[test]
    fn an_unknown_claim_or_key_is_refused_with_its_place() {
        for text in [r#"{"passing": {"tiny": ["Z9"]}}"#, r#"{"passing": {}, "extra": 1}"#] {
            let error = Baseline::from_json("b.json", text).unwrap_err().to_string();
            assert!(error.starts_with("b.json:1:"), "{error}");
        }
    }
}
