//! A step of a playbook: what is done, and everything that is expected of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::expect::{EventExpectation, FileExpectation, JsonExpectation, Limits, Texts};
use super::quantity::{Bytes, Time};
use super::rules;
use crate::yaml::{Fields, FromNode, Keyword, Node, Position, Problems, keyword_from};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Runs a command.
    Run,
    /// Judges the step before it.
    Assert,
    /// Asks a server.
    Http,
}

impl Keyword for Action {
    const KIND: &'static str = "action";
    const WORDS: &'static [(&'static str, Self)] =
        &[("run", Self::Run), ("assert", Self::Assert), ("http", Self::Http)];
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// OPTIONS.
    Options,
}

impl Keyword for Method {
    const KIND: &'static str = "method";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("GET", Self::Get),
        ("HEAD", Self::Head),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("DELETE", Self::Delete),
        ("OPTIONS", Self::Options),
    ];
}

/// A step. Which keys belong to which action is said in `rules.rs`; any other is refused.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Step {
    /// What the report calls it; `differs_from` and `same_as` refer to it.
    #[schemars(default)]
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
    /// run: the command, split into words without a shell; `{model}` and `model.apr` are the model under test.
    #[schemars(default)]
    pub command: Option<String>,
    /// run: the command is a script for `sh`.
    #[schemars(default)]
    pub shell: bool,
    /// run: what the command reads; without it, there is nothing to read.
    #[schemars(default)]
    pub stdin: Option<String>,
    /// run: variables.
    #[schemars(default)]
    pub env: BTreeMap<String, String>,
    /// run: most memory that the command and all it starts may ever hold.
    #[schemars(default)]
    pub memory_limit: Option<Bytes>,
    /// http: where; on this machine only.
    #[schemars(default)]
    pub url: Option<String>,
    /// http: how; GET without it, POST with a body.
    #[schemars(default)]
    pub method: Option<Method>,
    /// http: headers to send.
    #[schemars(default)]
    pub headers: BTreeMap<String, String>,
    /// http: what to send; JSON unless a header says otherwise.
    #[schemars(default)]
    pub body: Option<String>,
    /// run, http: it must end in this time, or its whole process group is killed; never more than the playbook's.
    #[schemars(default)]
    pub timeout: Option<Time>,
    /// run, http: names for what patterns find in the output; `{name}` stands for it in later steps.
    #[schemars(default)]
    pub capture: BTreeMap<String, String>,
    /// run, http: limits of the time it takes, over several runs.
    #[schemars(default)]
    pub latency: Option<Limits>,
    /// run: limits of the time to the first token, as `--inspect` prints it, over several runs.
    #[schemars(default)]
    pub first_token: Option<Limits>,
    /// run, http: how often it is run.
    #[schemars(default)]
    pub repeats: Option<u32>,
    /// run, http: how many of the repeats must meet the expectations; all without it.
    #[schemars(default)]
    pub min_pass: Option<u32>,
    /// run, http: it is run once for each combination of these values; `{name}` stands for the value.
    #[schemars(default)]
    pub matrix: BTreeMap<String, Vec<String>>,
    /// The exit code; 0 without it.
    #[schemars(default)]
    pub expect_exit: Option<u8>,
    /// Text in standard output, or in the body.
    #[schemars(default)]
    pub expect_output: Texts,
    /// Text in standard error.
    #[schemars(default)]
    pub expect_stderr: Texts,
    /// Regular expressions that find something in standard output, or in the body.
    #[schemars(default)]
    pub output_matches: Texts,
    /// Text in standard output, or in the body.
    #[schemars(default)]
    pub output_contains: Texts,
    /// Text that is not in standard output, or in the body.
    #[schemars(default)]
    pub output_lacks: Texts,
    /// Text that is not in standard error.
    #[schemars(default)]
    pub stderr_lacks: Texts,
    /// There is more than white space in standard output, or in the body.
    #[schemars(default)]
    pub output_not_empty: bool,
    /// Standard output, or the body, is JSON in which these hold.
    #[schemars(default)]
    pub expect_json: Vec<JsonExpectation>,
    /// Files as they are after the step.
    #[schemars(default)]
    pub expect_files: Vec<FileExpectation>,
    /// Earlier steps whose output is another.
    #[schemars(default)]
    pub differs_from: Texts,
    /// Earlier steps whose output is the same, byte by byte.
    #[schemars(default)]
    pub same_as: Texts,
    /// http: the status; 200 without it.
    #[schemars(default)]
    pub expect_status: Option<u16>,
    /// http: text in headers of the answer.
    #[schemars(default)]
    pub expect_headers: BTreeMap<String, String>,
    /// http: the answer is a stream of events.
    #[schemars(default)]
    pub expect_events: Option<EventExpectation>,
    /// Where it starts.
    #[serde(skip)]
    #[schemars(skip)]
    pub at: Position,
}

impl FromNode for Action {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

impl FromNode for Method {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        keyword_from(node, problems)
    }
}

impl FromNode for Step {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a step", problems)?;
        let name = fields.maybe("name", problems);
        let action = fields.required("action", problems);
        let command = fields.maybe("command", problems);
        let shell = fields.flag("shell", problems);
        let stdin = fields.maybe("stdin", problems);
        let env = fields.optional("env", BTreeMap::new(), problems);
        let memory_limit = fields.maybe("memory_limit", problems);
        let url = fields.maybe("url", problems);
        let method = fields.maybe("method", problems);
        let headers = fields.optional("headers", BTreeMap::new(), problems);
        let body = fields.maybe("body", problems);
        let timeout = fields.maybe("timeout", problems);
        let capture = fields.optional("capture", BTreeMap::new(), problems);
        let latency = fields.maybe("latency", problems);
        let first_token = fields.maybe("first_token", problems);
        let repeats = fields.maybe("repeats", problems);
        let min_pass = fields.maybe("min_pass", problems);
        let matrix = fields.optional("matrix", BTreeMap::new(), problems);
        let expect_exit = fields.maybe::<u32>("expect_exit", problems);
        let expect_output = fields.optional("expect_output", Texts::None, problems);
        let expect_stderr = fields.optional("expect_stderr", Texts::None, problems);
        let output_matches = fields.optional("output_matches", Texts::None, problems);
        let output_contains = fields.optional("output_contains", Texts::None, problems);
        let output_lacks = fields.optional("output_lacks", Texts::None, problems);
        let stderr_lacks = fields.optional("stderr_lacks", Texts::None, problems);
        let output_not_empty = fields.flag("output_not_empty", problems);
        let expect_json = fields.optional("expect_json", Vec::new(), problems);
        let expect_files = fields.optional("expect_files", Vec::new(), problems);
        let differs_from = fields.optional("differs_from", Texts::None, problems);
        let same_as = fields.optional("same_as", Texts::None, problems);
        let expect_status = fields.maybe::<u32>("expect_status", problems);
        let expect_headers = fields.optional("expect_headers", BTreeMap::new(), problems);
        let expect_events = fields.maybe("expect_events", problems);
        fields.finish(problems);
        let expect_exit = expect_exit?.map(|code| {
            u8::try_from(code).map_err(|_| problems.add(node.at, format!("{code} is no exit code: 0 to 255")))
        });
        let expect_status = expect_status?.map(|status| {
            let known = u16::try_from(status).ok().filter(|status| (100..600).contains(status));
            known.ok_or_else(|| problems.add(node.at, format!("{status} is no HTTP status")))
        });
        let read = Self {
            name: name?,
            action: action?,
            command: command?,
            shell: shell?,
            stdin: stdin?,
            env: env?,
            memory_limit: memory_limit?,
            url: url?,
            method: method?,
            headers: headers?,
            body: body?,
            timeout: timeout?,
            capture: capture?,
            latency: latency?,
            first_token: first_token?,
            repeats: repeats?,
            min_pass: min_pass?,
            matrix: matrix?,
            expect_exit: expect_exit.transpose().ok()?,
            expect_output: expect_output?,
            expect_stderr: expect_stderr?,
            output_matches: output_matches?,
            output_contains: output_contains?,
            output_lacks: output_lacks?,
            stderr_lacks: stderr_lacks?,
            output_not_empty: output_not_empty?,
            expect_json: expect_json?,
            expect_files: expect_files?,
            differs_from: differs_from?,
            same_as: same_as?,
            expect_status: expect_status.transpose().ok()?,
            expect_headers: expect_headers?,
            expect_events: expect_events?,
            at: node.at,
        };
        rules::judge_step(&read, node, problems);
        Some(read)
    }
}

impl Step {
    /// What to call it; `index` counts from 0.
    pub fn title(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("step {}", index + 1))
    }

    /// How often it is run for each combination of its matrix.
    pub fn n_runs(&self) -> u32 {
        let samples =
            [self.latency, self.first_token].into_iter().flatten().map(|limits| limits.samples).max();
        samples.or(self.repeats).unwrap_or(1)
    }
}
