//! A program that runs while the steps of a playbook do: what may be said of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::Time;
use super::words::{placeholders, split};
use crate::yaml::{Fields, FromNode, Node, Problems};

/// A program that is started before the steps and stopped after them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Service {
    /// What steps call it: `{name.port}` and `{name.url}` are its port and its address.
    pub name: String,
    /// The command, split into words without a shell; `{port}` is a port that was free.
    pub command: String,
    /// Variables.
    #[schemars(default)]
    pub env: BTreeMap<String, String>,
    /// How to tell that it can be used.
    pub ready: Ready,
    /// How long that may take; ten seconds without it.
    #[schemars(default)]
    pub timeout: Option<Time>,
}

/// How to tell that a service can be used; one of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ready {
    /// A path that is answered with a status below 300.
    #[schemars(default)]
    pub http: Option<String>,
    /// The port takes connections.
    #[schemars(default)]
    pub tcp: bool,
    /// Text in what it prints.
    #[schemars(default)]
    pub output: Option<String>,
}

impl FromNode for Ready {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a sign of readiness", problems)?;
        let http = fields.maybe::<String>("http", problems);
        let tcp = fields.flag("tcp", problems);
        let output = fields.maybe::<String>("output", problems);
        fields.finish(problems);
        let read = Self { http: http?, tcp: tcp?, output: output? };
        let n_signs =
            usize::from(read.http.is_some()) + usize::from(read.tcp) + usize::from(read.output.is_some());
        if n_signs != 1 {
            problems.add(node.at, "a service is ready by one sign: http, tcp or output");
        }
        if read.http.as_ref().is_some_and(|path| !path.starts_with('/')) {
            problems.add(node.at, "`http` is a path on the service: it starts with `/`");
        }
        if read.output.as_ref().is_some_and(String::is_empty) {
            problems.add(node.at, "the empty text is in everything, so it is no sign");
        }
        Some(read)
    }
}

impl FromNode for Service {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a service", problems)?;
        let name = fields.required::<String>("name", problems);
        let command = fields.required::<String>("command", problems);
        let env = fields.optional("env", BTreeMap::new(), problems);
        let ready = fields.required::<Ready>("ready", problems);
        let timeout = fields.maybe("timeout", problems);
        fields.finish(problems);
        let read = Self { name: name?, command: command?, env: env?, ready: ready?, timeout: timeout? };
        if !is_variable(&read.name) {
            problems.add(node.at, format!("`{}` is no name: lower-case letters, digits and `_`", read.name));
        }
        if let Err(why) = split(&read.command) {
            problems.add(node.at, format!("the command cannot be split: {why}"));
        }
        let takes_port = placeholders(&read.command).contains(&"port")
            || read.env.values().any(|value| placeholders(value).contains(&"port"));
        if !takes_port && (read.ready.tcp || read.ready.http.is_some()) {
            problems.add(node.at, "the service is not told its port: put `{port}` into its command");
        }
        Some(read)
    }
}

/// Whether a placeholder may be called so.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
