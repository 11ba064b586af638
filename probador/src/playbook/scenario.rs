//! A playbook: a scenario that is told in YAML and can fail.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::Time;
use super::rules;
use super::service::Service;
use super::step::Step;
use super::wasm::{SetupStep, WasmAssertion, WasmCase};
use super::{Category, PlaybookId};
use crate::case::Undecided;
use crate::checklist::{Group, Need};
use crate::generate::PlaybookOutline;
use crate::yaml::{Fields, FromNode, Keyword, Node, Position, Problems, Value, keyword_from};

/// How long a scenario may take that does not say so.
const USUAL_TIME: Duration = Duration::from_mins(2);

/// What runs a playbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// Commands and HTTP requests.
    #[default]
    Cli,
    /// A WebAssembly module.
    Wasm,
}

impl Keyword for Runner {
    const KIND: &'static str = "runner";
    const WORDS: &'static [(&'static str, Self)] = &[("cli", Self::Cli), ("wasm", Self::Wasm)];
}

impl FromNode for Runner {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

/// A planted fault that must turn the playbook red.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CaughtFault {
    /// Its name in `checklist/faults.yaml`.
    pub name: String,
    /// Words that the failure must hold.
    pub says: String,
    /// Where it is named.
    #[serde(skip)]
    #[schemars(skip)]
    pub at: Position,
}

impl FromNode for CaughtFault {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a fault of a playbook", problems)?;
        let name = fields.required("name", problems);
        let says = fields.required::<String>("says", problems);
        fields.finish(problems);
        if says.as_ref().is_some_and(|says| says.trim().is_empty()) {
            problems.add(node.at, "`says` is empty: any failure would do");
        }
        Some(Self { name: name?, says: says?, at: node.at })
    }
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Playbook {
    /// A few words.
    pub name: String,
    /// What it shows.
    #[schemars(default)]
    pub description: String,
    /// How long one run through the steps may take; two minutes without it.
    #[schemars(default)]
    pub timeout: Option<Time>,
    /// What runs it.
    #[schemars(default)]
    pub runner: Runner,
    /// Words to select it by.
    #[schemars(default)]
    pub tags: Vec<String>,
    /// What leaves it undecided when absent; the model and `apr` without it.
    #[schemars(default)]
    pub needs: Option<Vec<Need>>,
    /// What it must not share with others while it runs: file, process or perf.
    #[schemars(default)]
    pub group: Option<Group>,
    /// Variables of every command.
    #[schemars(default)]
    pub env: BTreeMap<String, String>,
    /// Programs that run while the steps do.
    #[schemars(default)]
    pub services: Vec<Service>,
    /// The steps are run once for each combination of these values; `{name}` stands for the value.
    #[schemars(default)]
    pub matrix: BTreeMap<String, Vec<String>>,
    /// How often the steps are run.
    #[schemars(default)]
    pub repeats: Option<u32>,
    /// How many of the repeats must pass; all without it.
    #[schemars(default)]
    pub min_pass: Option<u32>,
    /// Planted faults that must turn it red.
    #[schemars(default)]
    pub faults: Vec<CaughtFault>,
    /// Why a whole fake of the stack may pass it; every impostor must fail without it.
    #[schemars(default)]
    pub indifferent: Option<String>,
    /// What is done, in order.
    #[schemars(default)]
    pub steps: Vec<Step>,
    /// wasm: the module.
    #[schemars(default)]
    pub component: Option<String>,
    /// wasm: what is done before the first case.
    #[schemars(default)]
    pub setup: Vec<SetupStep>,
    /// wasm: prompts and what their replies must be.
    #[schemars(default)]
    pub cases: Vec<WasmCase>,
    /// wasm: what must hold of all cases together.
    #[schemars(default)]
    pub assertions: Vec<WasmAssertion>,
    /// What it is called.
    #[schemars(skip)]
    pub id: PlaybookId,
    /// The file it is written in.
    #[schemars(skip)]
    pub file: String,
}

impl Playbook {
    /// Reads the playbook `id` of `file`.
    pub(super) fn read(node: &Node, id: PlaybookId, file: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a playbook", problems)?;
        let name = fields.required("name", problems);
        let description = fields.optional("description", String::new(), problems);
        let timeout = fields.maybe("timeout", problems);
        let runner = fields.optional("runner", Runner::default(), problems);
        let tags = fields.optional("tags", Vec::new(), problems);
        let needs = fields.maybe("needs", problems);
        let group = fields.maybe("group", problems);
        let env = fields.optional("env", BTreeMap::new(), problems);
        let services = fields.optional("services", Vec::new(), problems);
        let matrix = fields.optional("matrix", BTreeMap::new(), problems);
        let repeats = fields.maybe("repeats", problems);
        let min_pass = fields.maybe("min_pass", problems);
        let faults = fields.optional("faults", Vec::new(), problems);
        let indifferent: Option<Option<String>> = fields.maybe("indifferent", problems);
        let steps_node = fields.node("steps");
        let steps = steps_node.map_or(Some(Vec::new()), |node| Vec::from_node(node, problems));
        let component = fields.maybe("component", problems);
        let setup = fields.optional("setup", Vec::new(), problems);
        let cases = fields.optional("cases", Vec::new(), problems);
        let assertions = fields.optional("assertions", Vec::new(), problems);
        fields.finish(problems);
        let read = Self {
            name: name?,
            description: description?,
            timeout: timeout?,
            runner: runner?,
            tags: tags?,
            needs: needs?,
            group: group?,
            env: env?,
            services: services?,
            matrix: matrix?,
            repeats: repeats?,
            min_pass: min_pass?,
            faults: faults?,
            indifferent: indifferent?,
            steps: steps?,
            component: component?,
            setup: setup?,
            cases: cases?,
            assertions: assertions?,
            id,
            file: file.to_owned(),
        };
        let step_nodes = match steps_node {
            Some(Node { value: Value::Seq(items), .. }) => items.as_slice(),
            _ => &[],
        };
        rules::judge_playbook(&read, node, step_nodes, problems);
        Some(read)
    }

    /// The folder it lies in, when that is a category's.
    pub fn category(&self) -> Option<Category> {
        self.id.category()
    }

    /// What it must not run beside. Playbooks compute, unless they say that they only look at files; those that measure
    /// run alone.
    pub fn group(&self) -> Group {
        self.group.unwrap_or(match self.category() {
            Some(Category::Performance) => Group::Perf,
            _ => Group::Process,
        })
    }

    /// What leaves it undecided when absent.
    pub fn needs(&self) -> Vec<Need> {
        match (&self.needs, self.runner) {
            (Some(needs), _) => needs.clone(),
            (None, Runner::Cli) => vec![Need::Model, Need::Apr],
            (None, Runner::Wasm) => vec![Need::Model, Need::Wasm],
        }
    }

    /// Why nothing here can run it, whatever is installed.
    pub fn obstacle(&self) -> Option<Undecided> {
        (self.runner == Runner::Wasm).then(|| Undecided::unverified("waits for `subjects/wasm`", ""))
    }

    /// What listing has to know of it.
    pub fn outline(&self) -> PlaybookOutline {
        PlaybookOutline {
            id: self.id.clone(),
            name: self.name.clone(),
            file: self.file.clone(),
            group: self.group(),
            needs: self.needs(),
            obstacle: self.obstacle(),
        }
    }

    /// How long one run through the steps may take.
    pub fn timeout(&self) -> Duration {
        self.timeout.map_or(USUAL_TIME, |time| time.0)
    }
}
