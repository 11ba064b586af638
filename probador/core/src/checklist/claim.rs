//! One row of the checklist.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ClaimId, Section};
use crate::playbook_id::{PlaybookId, Playbooks};
use crate::yaml::{Fields, FromNode, Keyword, Node, Position, Problems, Value, keyword_from};

/// A claim: what is said, what would show it false, what that is worth.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Claim {
    /// Permanent id.
    pub id: ClaimId,
    /// A few words; part of the case name.
    pub title: String,
    /// What is claimed.
    pub claim: String,
    /// The observation that would show the claim false.
    pub falsified_when: String,
    /// What it is worth; 0 when it is not scored.
    pub points: u32,
    /// Whether it counts towards the 180 points.
    #[schemars(default = "yes")]
    pub scored: bool,
    /// What leaves it undecided when absent.
    pub needs: Vec<Need>,
    /// What tries to falsify it.
    pub check: Check,
    /// For `check: pending`: exactly what it waits for.
    #[schemars(default)]
    pub waits_for: Option<String>,
    /// How many samples, drawn from which seed.
    #[schemars(default)]
    pub sampling: Option<Sampling>,
    /// Named limits that the check compares with.
    #[schemars(default)]
    pub limits: BTreeMap<String, f64>,
    /// What it must not share with others while it runs.
    #[schemars(default)]
    pub group: Group,
    /// Planted faults that must turn it red; see `faults.yaml`.
    #[schemars(default)]
    pub faults: Vec<String>,
    /// Publications it rests on.
    #[schemars(default)]
    pub references: Vec<String>,
    /// Why a fake of the whole stack may pass it, if one may; without it the claim is about behaviour, and void once a
    /// fake passes.
    #[schemars(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indifferent: Option<String>,
    /// The file it is written in.
    #[schemars(skip)]
    pub file: String,
    /// The line it starts in.
    #[schemars(skip)]
    pub line: u64,
}

fn yes() -> bool {
    true
}

/// What tries to falsify a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The function registered for the claim.
    Builtin,
    /// Nothing yet; `waits_for` says what for.
    Pending,
    /// The named lint over the workspace.
    Lint(String),
    /// Every playbook of a category, or every playbook.
    Playbook(Playbooks),
    /// The stored result of a coverage run.
    Coverage(CoverageClaim),
    /// The stored result of a run over mutants.
    Mutation(MutationClaim),
}

/// What is claimed of a stored coverage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CoverageClaim {
    /// A share of the workspace's lines, the limit `percent`.
    Lines,
    /// Every line of the verdict core, but for what is excused in place.
    CoreLines,
    /// A share of the branches of the verdict core, the limit `percent`.
    CoreBranches,
    /// Every public function of the verdict core and the inference crates.
    PublicFunctions,
}

/// What is claimed of the stored results of mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MutationClaim {
    /// A share of the mutants of each scope is caught, the limit `percent`.
    Score,
}

impl Keyword for CoverageClaim {
    const KIND: &'static str = "claim about coverage";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("lines", Self::Lines),
        ("core-lines", Self::CoreLines),
        ("core-branches", Self::CoreBranches),
        ("public-functions", Self::PublicFunctions),
    ];
}

impl Keyword for MutationClaim {
    const KIND: &'static str = "claim about mutants";
    const WORDS: &'static [(&'static str, Self)] = &[("score", Self::Score)];
}

/// How many samples a check draws, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sampling {
    /// How many.
    pub n: u32,
    /// Drawn from this seed unless `--seed` says otherwise.
    pub seed: u64,
}

/// Something a check cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A model file.
    Model,
    /// A model file that is not a small stand-in for the released one.
    ReleaseModel,
    /// A model so small that choosing its int4 values takes seconds.
    SmallModel,
    /// A model that `golden/models.yaml` describes.
    KnownModel,
    /// The `apr` executable.
    Apr,
    /// A pseudo-terminal.
    Terminal,
    /// Golden traces of the model.
    Goldens,
    /// Ids that other tokenizers gave for recorded strings.
    TokenizerGolden,
    /// Means and deviations that the reference reader found in the weights.
    ReferenceWeights,
    /// The text that perplexity is measured on.
    EvaluationText,
    /// The sources of the workspace.
    SourceTree,
    /// A tool's stored result for this state of the tree.
    StoredResult,
    /// The coverage of every crate as it is now.
    Coverage,
    /// The stored coverage of the verdict core, of this very state of it.
    CoreCoverage,
    /// What became of the mutants of every crate as it is now.
    Mutants,
    /// The WebAssembly build.
    Wasm,
    /// The profiler.
    Profiler,
    /// Energy counters.
    Rapl,
    /// A power meter at the wall.
    WallMeter,
}

impl Need {
    /// Whether what it asks for takes hours to get again after a change.
    pub const fn takes_hours(self) -> bool {
        matches!(self, Self::Coverage | Self::Mutants)
    }
}

impl Keyword for Need {
    const KIND: &'static str = "need";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("model", Self::Model),
        ("release-model", Self::ReleaseModel),
        ("small-model", Self::SmallModel),
        ("known-model", Self::KnownModel),
        ("apr", Self::Apr),
        ("terminal", Self::Terminal),
        ("goldens", Self::Goldens),
        ("tokenizer-golden", Self::TokenizerGolden),
        ("reference-weights", Self::ReferenceWeights),
        ("evaluation-text", Self::EvaluationText),
        ("source-tree", Self::SourceTree),
        ("stored-result", Self::StoredResult),
        ("coverage", Self::Coverage),
        ("core-coverage", Self::CoreCoverage),
        ("mutants", Self::Mutants),
        ("wasm", Self::Wasm),
        ("profiler", Self::Profiler),
        ("rapl", Self::Rapl),
        ("wall-meter", Self::WallMeter),
    ];
}

/// Which cases must not run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Reads files; runs beside anything.
    #[default]
    File,
    /// Computes with the model in this process; one at a time, since a pass uses every core.
    Model,
    /// Starts processes that compute; one at a time.
    Process,
    /// Reads sources; runs beside anything.
    Source,
    /// Measures time; runs alone.
    Perf,
}

impl Keyword for Group {
    const KIND: &'static str = "group";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("file", Self::File),
        ("model", Self::Model),
        ("process", Self::Process),
        ("source", Self::Source),
        ("perf", Self::Perf),
    ];
}

impl Claim {
    /// The name of the claim's case, `checklist::c_forward_pass::c4_causal_mask`.
    pub fn case_name(&self) -> String {
        let id = self.id.to_string().to_ascii_lowercase();
        format!("checklist::{}::{id}_{}", self.id.section.slug(), slug(&self.title))
    }

    /// The limit called `name`; a check that asks for one its row does not have cannot judge.
    pub fn limit(&self, name: &str) -> anyhow::Result<f64> {
        self.limits.get(name).copied().ok_or_else(|| {
            anyhow::anyhow!(
                "claim {} has no limit `{name}`\nhint: add it in {}:{}",
                self.id,
                self.file,
                self.line
            )
        })
    }

    /// Whether something is there that tries to falsify it.
    pub fn has_check(&self) -> bool {
        self.check != Check::Pending
    }

    /// Whether it is judged by what becomes of `playbook`.
    pub fn is_judged_by(&self, playbook: &PlaybookId) -> bool {
        matches!(self.check, Check::Playbook(wanted) if wanted.holds(playbook))
    }

    /// Reads a row; see [`FromNode`].
    pub(super) fn read(node: &Node, file: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a claim", problems)?;
        let at = fields.at();
        let id = fields.required("id", problems);
        let title = fields.required::<String>("title", problems);
        let claim = fields.required("claim", problems);
        let falsified_when = fields.required("falsified_when", problems);
        let points = fields.required("points", problems);
        let scored = fields.optional("scored", true, problems);
        let needs = fields.required("needs", problems);
        let check = fields.required("check", problems);
        let waits_for: Option<Option<String>> = fields.optional("waits_for", None, problems);
        let sampling = fields.optional("sampling", None, problems);
        let limits = fields.optional("limits", BTreeMap::new(), problems);
        let group = fields.optional("group", Group::default(), problems);
        let faults = fields.optional("faults", Vec::new(), problems);
        let references = fields.optional("references", Vec::new(), problems);
        let indifferent: Option<Option<String>> = fields.optional("indifferent", None, problems);
        fields.finish(problems);
        let read = Self {
            id: id?,
            title: title?,
            claim: claim?,
            falsified_when: falsified_when?,
            points: points?,
            scored: scored?,
            needs: needs?,
            check: check?,
            waits_for: waits_for?,
            sampling: sampling?,
            limits: limits?,
            group: group?,
            faults: faults?,
            references: references?,
            indifferent: indifferent?,
            file: file.to_owned(),
            line: at.line,
        };
        read.judge(at, problems);
        Some(read)
    }

    /// Reports what is wrong with the row as a whole.
    fn judge(&self, at: Position, problems: &mut Problems) {
        let id = self.id;
        let mut add = |what: String| problems.add(at, what);
        for (key, text) in
            [("title", &self.title), ("claim", &self.claim), ("falsified_when", &self.falsified_when)]
        {
            if text.trim().is_empty() {
                add(format!("{id}: `{key}` is empty"));
            }
        }
        match (&self.check, self.waits_for.as_deref().map(str::trim)) {
            (Check::Pending, None | Some("")) => {
                add(format!("{id}: a pending check says in `waits_for` what it waits for"));
            }
            (Check::Pending, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                add(format!("{id}: `waits_for` belongs to `check: pending`, this claim has a check"));
            }
        }
        if self.has_check() && self.faults.is_empty() {
            add(format!("{id}: a claim with a check names at least one fault that turns it red"));
        }
        if self.indifferent.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            add(format!("{id}: `indifferent` says why a fake may pass"));
        }
        if self.scored == (self.points == 0) {
            add(format!("{id}: a scored claim has points, an unscored one has none"));
        }
        if self.sampling.is_some_and(|sampling| sampling.n == 0) {
            add(format!("{id}: a sample of none shows nothing"));
        }
    }
}

/// Lower-case words joined by underscores.
fn slug(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

impl FromNode for ClaimId {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = String::from_node(node, problems)?;
        text.parse().map_err(|error: super::UnknownClaim| problems.add(node.at, error.to_string())).ok()
    }
}

impl FromNode for Need {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

impl FromNode for Group {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

impl FromNode for Option<String> {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        String::from_node(node, problems).map(Some)
    }
}

impl FromNode for Option<Sampling> {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "sampling", problems)?;
        let n = fields.required("n", problems);
        let seed = fields.required("seed", problems);
        fields.finish(problems);
        Some(Some(Sampling { n: n?, seed: seed? }))
    }
}

/// Checks written as one word.
#[derive(Clone, Copy)]
enum PlainCheck {
    Builtin,
    Pending,
}

impl Keyword for PlainCheck {
    const KIND: &'static str = "check";
    const WORDS: &'static [(&'static str, Self)] = &[("builtin", Self::Builtin), ("pending", Self::Pending)];
}

impl FromNode for Check {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return keyword_from(node, problems).map(|plain| match plain {
                PlainCheck::Builtin => Self::Builtin,
                PlainCheck::Pending => Self::Pending,
            });
        };
        let [(key, value)] = entries.as_slice() else {
            problems.add(node.at, "a check is one word, or one key with what it applies to");
            return None;
        };
        match key.name.as_str() {
            "lint" => String::from_node(value, problems).map(Self::Lint),
            "playbook" => match String::from_node(value, problems)?.parse() {
                Ok(playbooks) => Some(Self::Playbook(playbooks)),
                Err(error) => {
                    problems.add(value.at, error);
                    None
                }
            },
            "coverage" => keyword_from(value, problems).map(Self::Coverage),
            "mutation" => keyword_from(value, problems).map(Self::Mutation),
            other => {
                problems.add(
                    key.at,
                    format!("unknown check `{other}`; one of: builtin, pending, lint, playbook, coverage, mutation"),
                );
                None
            }
        }
    }
}

impl Section {
    /// The name of the file that holds the section, `c-forward-pass.yaml`.
    pub fn file_name(self) -> String {
        format!("{}.yaml", self.slug().replace('_', "-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    const ROW: &str = "id: C4\ntitle: Causal mask\nclaim: x\nfalsified_when: y\npoints: 3\nneeds: [model]\n\
                       check: builtin\nfaults: [f]\n";

    /// The row with `before` replaced by `after`, and what reading it reports.
    fn read(before: &str, after: &str) -> (Option<Claim>, Vec<String>) {
        assert!(ROW.contains(before), "{before}");
        let text = ROW.replace(before, after);
        let mut problems = Problems::new("c.yaml");
        let claim = Claim::read(&parse("c.yaml", &text).unwrap(), "c.yaml", &mut problems);
        (claim, problems.into_vec().iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    fn refused(before: &str, after: &str, expected: &str) {
        let (_, problems) = read(before, after);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected:?} among {problems:?}");
    }

    #[track_caller]
    fn accepted(before: &str, after: &str) -> Claim {
        let (claim, problems) = read(before, after);
        assert_eq!(problems, [""; 0]);
        claim.unwrap()
    }

    #[test]
    fn a_row_that_contradicts_itself_is_refused() {
        refused("title: Causal mask", "title: ' '", "C4: `title` is empty");
        refused("claim: x", "claim: ''", "C4: `claim` is empty");
        refused("falsified_when: y", "falsified_when: ''", "C4: `falsified_when` is empty");
        refused("faults: [f]", "faults: [f]\nwaits_for: x", "C4: `waits_for` belongs to `check: pending`");
        refused(
            "check: builtin",
            "check: pending\nwaits_for: ' '",
            "C4: a pending check says in `waits_for`",
        );
        refused("check: builtin", "check: pending", "C4: a pending check says in `waits_for`");
        refused("faults: [f]", "faults: [f]\nindifferent: ''", "C4: `indifferent` says why a fake may pass");
        refused("points: 3", "points: 0", "C4: a scored claim has points");
        refused("points: 3", "points: 3\nscored: false", "C4: a scored claim has points");
        refused(
            "faults: [f]",
            "faults: [f]\nsampling: {n: 0, seed: 1}",
            "C4: a sample of none shows nothing",
        );
        refused("faults: [f]", "faults: []", "C4: a claim with a check names at least one fault");
    }

    #[test]
    fn a_check_is_one_word_or_one_key_with_what_it_applies_to() {
        let check = |text: &str| accepted("check: builtin", &format!("check: {text}")).check;
        assert_eq!(check("builtin"), Check::Builtin);
        assert_eq!(check("{lint: G2}"), Check::Lint("G2".to_owned()));
        assert_eq!(check("{playbook: edge-cases}"), Check::Playbook("edge-cases".parse().unwrap()));
        assert_eq!(check("{playbook: all}"), Check::Playbook("all".parse().unwrap()));
        assert_eq!(check("{coverage: core-lines}"), Check::Coverage(CoverageClaim::CoreLines));
        assert_eq!(check("{mutation: score}"), Check::Mutation(MutationClaim::Score));
        for (text, expected) in [
            ("{lint: G2, playbook: x}", "a check is one word, or one key with what it applies to"),
            ("{}", "a check is one word, or one key with what it applies to"),
            ("{trust: me}", "unknown check `trust`; one of: builtin, pending, lint"),
            ("{coverage: most}", "unknown claim about coverage `most`; one of: lines, core-lines"),
            ("{mutation: few}", "unknown claim about mutants `few`; one of: score"),
            ("{lint: 3}", "expected text"),
            ("{playbook: 3}", "expected text"),
            ("{playbook: nowhere}", "`nowhere` is no category of playbooks; one of: happy-path"),
            ("[builtin]", "expected text"),
        ] {
            refused("check: builtin", &format!("check: {text}"), expected);
        }
    }

    #[test]
    fn a_claim_is_judged_by_the_playbooks_of_its_category_or_by_all() {
        let judges = |check: &str, playbook: &str| {
            accepted("check: builtin", &format!("check: {check}")).is_judged_by(&playbook.parse().unwrap())
        };
        assert!(judges("{playbook: edge-cases}", "edge-cases/unicode"));
        assert!(!judges("{playbook: edge-cases}", "regression/unicode"));
        assert!(judges("{playbook: all}", "regression/unicode"));
        assert!(!judges("builtin", "edge-cases/unicode"));
    }

    #[test]
    fn only_measured_tests_take_hours() {
        let slow: Vec<&str> =
            Need::WORDS.iter().filter(|(_, need)| need.takes_hours()).map(|(word, _)| *word).collect();
        assert_eq!(slow, ["coverage", "mutants"]);
    }

    #[test]
    fn a_row_says_what_it_is_called_and_what_its_limits_are() {
        let claim = accepted("faults: [f]", "faults: [f]\nlimits: {atol: 1.0e-4}\nsampling: {n: 8, seed: 3}");
        assert_eq!(claim.case_name(), "checklist::c_forward_pass::c4_causal_mask");
        assert_eq!((claim.limit("atol").unwrap(), claim.sampling), (1e-4, Some(Sampling { n: 8, seed: 3 })));
        assert_eq!(
            claim.limit("rtol").unwrap_err().to_string(),
            "claim C4 has no limit `rtol`\nhint: add it in c.yaml:1"
        );
        assert!(claim.has_check() && claim.scored && claim.indifferent.is_none());
        let pending = accepted("check: builtin\nfaults: [f]", "check: pending\nwaits_for: the sun");
        assert!(!pending.has_check());
        assert_eq!(pending.waits_for.as_deref(), Some("the sun"));
    }
}
