//! What a step may expect beyond words in its output: JSON, files, events, times.

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::Time;
use super::words::blanked;
use crate::yaml::{Fields, FromNode, Node, Problems, Value};

/// One text, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    /// None.
    #[default]
    #[schemars(skip)]
    None,
    /// One.
    One(String),
    /// Several; all count.
    Many(Vec<String>),
}

impl Texts {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl FromNode for Texts {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Seq(items) if items.is_empty() => {
                problems.add(node.at, "an empty list expects nothing");
                None
            }
            Value::Seq(_) => Vec::from_node(node, problems).map(Self::Many),
            _ => String::from_node(node, problems).map(Self::One),
        }
    }
}

/// A plain JSON value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Scalar(pub serde_json::Value);

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean", "null"]})
    }
}

impl FromNode for Scalar {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(Self(match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(_) => f64::from_node(node, problems)?.into(),
            Value::Str(text) => text.clone().into(),
            Value::Seq(_) | Value::Map(_) => {
                problems.add(node.at, format!("expected a plain value, found {}", node.value.kind()));
                return None;
            }
        }))
    }
}

/// Something about a place in a JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JsonExpectation {
    /// A JSON pointer (RFC 6901), `/choices/0/text`; empty for the whole document.
    pub at: String,
    /// The value.
    #[schemars(default)]
    pub equals: Option<Scalar>,
    /// A number not below this.
    #[schemars(default)]
    pub at_least: Option<f64>,
    /// A number not above this.
    #[schemars(default)]
    pub at_most: Option<f64>,
    /// Text that a regular expression finds something in.
    #[schemars(default)]
    pub matches: Option<String>,
    /// Text, list or mapping that is not empty.
    #[schemars(default)]
    pub not_empty: bool,
    /// How many elements the list or mapping has.
    #[schemars(default)]
    pub length: Option<u64>,
    /// Nothing stands there.
    #[schemars(default)]
    pub absent: bool,
}

impl FromNode for JsonExpectation {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an expectation of JSON", problems)?;
        let at = fields.required::<String>("at", problems);
        let equals = fields.maybe("equals", problems);
        let at_least = fields.maybe("at_least", problems);
        let at_most = fields.maybe("at_most", problems);
        let matches = fields.maybe("matches", problems);
        let not_empty = fields.flag("not_empty", problems);
        let length = fields.maybe("length", problems);
        let absent = fields.flag("absent", problems);
        fields.finish(problems);
        let read = Self {
            at: at?,
            equals: equals?,
            at_least: at_least?,
            at_most: at_most?,
            matches: matches?,
            not_empty: not_empty?,
            length: length?,
            absent: absent?,
        };
        if !read.at.is_empty() && !read.at.starts_with('/') {
            problems.add(node.at, format!("`{}` is no JSON pointer: it starts with `/`", read.at));
        }
        if let Some(pattern) = &read.matches {
            judge_pattern(pattern, node, problems);
        }
        let is_about_value = read.equals.is_some()
            || read.at_least.is_some()
            || read.at_most.is_some()
            || read.matches.is_some()
            || read.not_empty
            || read.length.is_some();
        if is_about_value == read.absent {
            problems.add(node.at, "say what stands there, or that it is `absent`");
        }
        if let (Some(least), Some(most)) = (read.at_least, read.at_most)
            && least > most
        {
            problems.add(node.at, format!("nothing is at least {least} and at most {most}"));
        }
        Some(read)
    }
}

/// Something about a file after the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FileExpectation {
    /// Where, inside the step's folder.
    pub path: String,
    /// Whether it is there.
    #[schemars(default = "yes")]
    pub exists: bool,
    /// It holds something.
    #[schemars(default)]
    pub not_empty: bool,
    /// Text in it.
    #[schemars(default)]
    pub contains: Texts,
    /// Text that is not in it.
    #[schemars(default)]
    pub lacks: Texts,
    /// It holds what it held before the step.
    #[schemars(default)]
    pub unchanged: bool,
    /// It holds the same bytes as this file.
    #[schemars(default)]
    pub same_as: Option<String>,
    /// It is a folder that holds exactly these names.
    #[schemars(default)]
    pub only: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

impl FromNode for FileExpectation {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an expected file", problems)?;
        let path = fields.required::<String>("path", problems);
        let exists = fields.optional("exists", true, problems);
        let not_empty = fields.flag("not_empty", problems);
        let contains = fields.optional("contains", Texts::None, problems);
        let lacks = fields.optional("lacks", Texts::None, problems);
        let unchanged = fields.flag("unchanged", problems);
        let same_as = fields.maybe("same_as", problems);
        let only = fields.maybe("only", problems);
        fields.finish(problems);
        let read = Self {
            path: path?,
            exists: exists?,
            not_empty: not_empty?,
            contains: contains?,
            lacks: lacks?,
            unchanged: unchanged?,
            same_as: same_as?,
            only: only?,
        };
        let reads_it = read.not_empty
            || read.unchanged
            || read.same_as.is_some()
            || !read.contains.all().is_empty()
            || !read.lacks.all().is_empty();
        if !read.exists && (reads_it || read.only.is_some()) {
            problems.add(node.at, "a file that must not exist holds nothing");
        }
        if read.only.is_some() && reads_it {
            problems.add(node.at, "`only` is about a folder, the other keys are about a file");
        }
        judge_texts(&read.contains, "contains", node, problems);
        judge_texts(&read.lacks, "lacks", node, problems);
        Some(read)
    }
}

/// What a stream of server-sent events must be.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EventExpectation {
    /// How many events carry data, at least.
    #[schemars(default)]
    pub at_least: Option<u64>,
    /// How many events carry data, at most.
    #[schemars(default)]
    pub at_most: Option<u64>,
    /// The data of the last event.
    #[schemars(default)]
    pub last: Option<String>,
    /// What every event with JSON data must hold.
    #[schemars(default)]
    pub each: Vec<JsonExpectation>,
    /// Where each event's piece of text stands; the pieces together are what text expectations judge.
    #[schemars(default)]
    pub text_at: Option<String>,
}

impl FromNode for EventExpectation {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an expectation of events", problems)?;
        let at_least = fields.maybe("at_least", problems);
        let at_most = fields.maybe("at_most", problems);
        let last = fields.maybe("last", problems);
        let each = fields.optional("each", Vec::new(), problems);
        let text_at = fields.maybe::<String>("text_at", problems);
        fields.finish(problems);
        let read =
            Self { at_least: at_least?, at_most: at_most?, last: last?, each: each?, text_at: text_at? };
        if read.at_least.is_none_or(|n| n == 0) {
            problems.add(
                node.at,
                "say with `at_least` how many events there are: a stream of none satisfies the rest",
            );
        }
        if read.text_at.as_ref().is_some_and(|at| !at.starts_with('/')) {
            problems.add(node.at, "`text_at` is a JSON pointer: it starts with `/`");
        }
        Some(read)
    }
}

/// Limits of a time over several runs of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// How often the step is run.
    pub samples: u32,
    /// Half of the runs take no longer; from 5 samples.
    #[schemars(default)]
    pub p50: Option<Time>,
    /// Nine of ten take no longer; from 10 samples.
    #[schemars(default)]
    pub p90: Option<Time>,
    /// From 20 samples.
    #[schemars(default)]
    pub p95: Option<Time>,
    /// From 100 samples.
    #[schemars(default)]
    pub p99: Option<Time>,
    /// None takes longer.
    #[schemars(default)]
    pub max: Option<Time>,
}

impl Limits {
    /// Each limit that is set: its name, the share of runs that must keep it, the limit.
    pub fn set(&self) -> Vec<(&'static str, f64, Time)> {
        [
            ("p50", 0.5, self.p50),
            ("p90", 0.9, self.p90),
            ("p95", 0.95, self.p95),
            ("p99", 0.99, self.p99),
            ("max", 1.0, self.max),
        ]
        .into_iter()
        .filter_map(|(name, share, limit)| Some((name, share, limit?)))
        .collect()
    }

    /// Whether the seconds of the first runs are such that the limits cannot hold, however short the others are.
    pub(super) fn are_broken(&self, seconds: &[f64]) -> bool {
        self.set().into_iter().any(|(_, share, limit)| {
            let n_slow = seconds.iter().filter(|&&seconds| seconds > limit.0.as_secs_f64()).count();
            n_slow > self.samples as usize - rank(share, self.samples as usize)
        })
    }
}

/// Where the value that a share of `n` do not exceed stands among them, from 1, by nearest rank.
pub(super) fn rank(share: f64, n: usize) -> usize {
    (share * n as f64).ceil().max(1.0) as usize
}

/// Below this many samples the percentile is the slowest run itself, and a single one is no median.
const NEEDED: [(&str, u32); 4] = [("p50", 5), ("p90", 10), ("p95", 20), ("p99", 100)];
/// As often as a step is ever run.
pub(super) const MOST_RUNS: u32 = 200;

impl FromNode for Limits {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a limit of time", problems)?;
        let samples = fields.required("samples", problems);
        let p50 = fields.maybe("p50", problems);
        let p90 = fields.maybe("p90", problems);
        let p95 = fields.maybe("p95", problems);
        let p99 = fields.maybe("p99", problems);
        let max = fields.maybe("max", problems);
        fields.finish(problems);
        let read = Self { samples: samples?, p50: p50?, p90: p90?, p95: p95?, p99: p99?, max: max? };
        if read.samples == 0 || read.samples > MOST_RUNS {
            problems.add(node.at, format!("`samples` is between 1 and {MOST_RUNS}"));
        }
        let limits = read.set();
        if limits.is_empty() {
            problems.add(node.at, "a limit of time names a percentile or `max`");
        }
        for (name, _, _) in &limits {
            let needed = NEEDED.iter().find(|(known, _)| known == name).map_or(1, |(_, needed)| *needed);
            if read.samples < needed {
                problems.add(
                    node.at,
                    format!("{name} needs at least {needed} samples, {} are asked for", read.samples),
                );
            }
        }
        if let Some(pair) = limits.windows(2).find(|pair| pair[0].2 > pair[1].2) {
            problems.add(node.at, format!("{} cannot be above {}", pair[0].0, pair[1].0));
        }
        Some(read)
    }
}

/// Reports a pattern that cannot be read, or that finds something in everything.
pub(super) fn judge_pattern(pattern: &str, node: &Node, problems: &mut Problems) {
    let build = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    // `{name}` is no repetition: what it stands for is put in, escaped, before the pattern is used.
    match build(pattern).or_else(|error| build(&blanked(pattern)).map_err(|_| error)) {
        Err(error) => {
            let error = error.to_string();
            let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            problems.add(node.at, format!("`{pattern}` is no regular expression: {what}"));
        }
        Ok(regex) if regex.is_match("") => {
            problems.add(node.at, format!("`{pattern}` matches even nothing, so it expects nothing"));
        }
        Ok(_) => {}
    }
}

/// Reports empty texts, which are in everything.
pub(super) fn judge_texts(texts: &Texts, key: &str, node: &Node, problems: &mut Problems) {
    if texts.all().iter().any(String::is_empty) {
        problems.add(node.at, format!("`{key}`: the empty text is in everything, so it expects nothing"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn limits_are_broken_once_no_other_run_can_make_them_hold() {
        let limits = |samples: u32, p50: Option<u64>, p90: Option<u64>, max: Option<u64>| {
            let time =
                |seconds: Option<u64>| seconds.map(|seconds| Time(std::time::Duration::from_secs(seconds)));
            Limits { samples, p50: time(p50), p90: time(p90), p95: None, p99: None, max: time(max) }
        };
        let half = limits(5, Some(1), None, None);
        assert!(!half.are_broken(&[2.0, 2.0]) && !half.are_broken(&[2.0, 1.0, 2.0, 1.0, 1.0]));
        assert!(half.are_broken(&[2.0, 2.0, 2.0]) && half.are_broken(&[2.0, 0.5, 2.0, 0.5, 2.0]));
        assert!(limits(10, None, Some(1), None).are_broken(&[2.0, 0.5, 2.0]));
        assert!(!limits(10, None, Some(1), None).are_broken(&[2.0]));
        assert!(limits(10, Some(1), None, Some(3)).are_broken(&[4.0]));
        assert!(!limits(10, Some(1), None, Some(3)).are_broken(&[3.0]));
    }

    #[test]
    fn patterns_may_hold_placeholders_and_nothing_that_cannot_be_read() {
        let check = |pattern: &str, is_good: bool| {
            let node = parse("a.yaml", "x").unwrap();
            let mut problems = Problems::new("a.yaml");
            judge_pattern(pattern, &node, &mut problems);
            let problems = problems.into_vec();
            assert_eq!(problems.is_empty(), is_good, "{pattern}: {problems:?}");
        };
        check("^[0-9]{3}, {end}$", true);
        check("(a, )+{end}, b", true);
        check(r"\p{greek}", true);
        check("(a, +{end}", false);
        check("a{2,1}", false);
        check("(a{end})*", false);
    }
}
