//! The keys of playbooks for the WebAssembly runner. They are read as strictly as the others; what runs them comes with
//! `subjects/wasm`, and until then such a playbook is undecided.

use schemars::JsonSchema;
use serde::Serialize;

use super::expect::Texts;
use crate::yaml::{Fields, FromNode, Keyword, Node, Problems, keyword_from};

/// What is done before the first case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SetupStep {
    /// What to do.
    pub action: SetupAction,
    /// The model file.
    pub path: String,
    /// The folder that the module may read.
    #[schemars(default)]
    pub dir_mount: Option<String>,
}

/// What a set-up step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SetupAction {
    /// Loads a model.
    Load,
}

impl Keyword for SetupAction {
    const KIND: &'static str = "action of a set-up";
    const WORDS: &'static [(&'static str, Self)] = &[("load", Self::Load)];
}

impl FromNode for SetupAction {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

impl FromNode for SetupStep {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a set-up step", problems)?;
        let action = fields.required("action", problems);
        let path = fields.required("path", problems);
        let dir_mount = fields.maybe("dir_mount", problems);
        fields.finish(problems);
        Some(Self { action: action?, path: path?, dir_mount: dir_mount? })
    }
}

/// One prompt, and what its reply must be.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WasmCase {
    /// What the report calls it.
    pub name: String,
    /// The prompt.
    pub input: String,
    /// Text in the reply.
    #[schemars(default)]
    pub expect_contains: Texts,
    /// There is a reply.
    #[schemars(default)]
    pub expect_not_empty: bool,
    /// Milliseconds that it may take.
    #[schemars(default)]
    pub max_latency_ms: Option<u64>,
    /// A file with what the reply must be.
    #[schemars(default)]
    pub golden: Option<String>,
    /// How far logits may be from the golden's, as a share.
    #[schemars(default)]
    pub tolerance: Option<f64>,
}

impl FromNode for WasmCase {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a case", problems)?;
        let name = fields.required("name", problems);
        let input = fields.required("input", problems);
        let expect_contains = fields.optional("expect_contains", Texts::None, problems);
        let expect_not_empty = fields.flag("expect_not_empty", problems);
        let max_latency_ms = fields.maybe("max_latency_ms", problems);
        let golden = fields.maybe("golden", problems);
        let tolerance = fields.maybe("tolerance", problems);
        fields.finish(problems);
        let read = Self {
            name: name?,
            input: input?,
            expect_contains: expect_contains?,
            expect_not_empty: expect_not_empty?,
            max_latency_ms: max_latency_ms?,
            golden: golden?,
            tolerance: tolerance?,
        };
        super::expect::judge_texts(&read.expect_contains, "expect_contains", node, problems);
        let expects = !read.expect_contains.all().is_empty()
            || read.expect_not_empty
            || read.max_latency_ms.is_some()
            || read.golden.is_some();
        if !expects {
            problems.add(node.at, "a case that expects nothing shows nothing");
        }
        if read.tolerance.is_some() && read.golden.is_none() {
            problems.add(node.at, "`tolerance` is about a `golden`, and there is none");
        }
        if read.tolerance.is_some_and(|tolerance| tolerance < 0.0) {
            problems.add(node.at, "nothing is within a tolerance below zero");
        }
        Some(read)
    }
}

/// What must hold of all cases together; each item has one key.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WasmAssertion {
    /// Every case passes.
    AllCasesPass(bool),
    /// Mean milliseconds, `<3000`.
    AvgLatencyMs(String),
    /// Peak megabytes, `<512`.
    MemoryMb(String),
}

impl FromNode for WasmAssertion {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an assertion", problems)?;
        let all = fields.node("all_cases_pass");
        let latency = fields.node("avg_latency_ms");
        let memory = fields.node("memory_mb");
        fields.finish(problems);
        let n_said = [all, latency, memory].into_iter().flatten().count();
        if n_said != 1 {
            problems.add(node.at, "an assertion has one key: all_cases_pass, avg_latency_ms or memory_mb");
            return None;
        }
        if let Some(node) = all {
            let holds = bool::from_node(node, problems)?;
            if !holds {
                problems.add(node.at, "cases that need not pass are no assertion");
            }
            return Some(Self::AllCasesPass(holds));
        }
        let limit = latency.or(memory)?;
        let text = String::from_node(limit, problems)?;
        let number = text.strip_prefix('<').map(str::trim).and_then(|number| number.parse::<f64>().ok());
        if !number.is_some_and(|number| number.is_finite() && number > 0.0) {
            problems.add(limit.at, format!("`{text}` is no limit such as `<3000`"));
        }
        Some(if latency.is_some() { Self::AvgLatencyMs(text) } else { Self::MemoryMb(text) })
    }
}
