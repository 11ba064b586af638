//! What is wrong with a playbook beyond its types: keys that its action does not have, steps that expect nothing,
//! placeholders that nobody fills. Whatever these rules let through is enforced when it runs.

use std::collections::{BTreeMap, BTreeSet};

use super::expect::{MOST_RUNS, Texts, judge_pattern, judge_texts};
use super::scenario::{Playbook, Runner};
use super::service::is_variable;
use super::step::{Action, Method, Step};
use super::words::{placeholders, split};
use crate::checklist::Group;
use crate::yaml::{Node, Position, Problems, Value};

/// More steps than a scenario has.
const MOST_STEPS: usize = 100;
/// More combinations than anybody waits for.
const MOST_COMBINATIONS: usize = 64;
/// Placeholders that are always there.
const ALWAYS: [&str; 3] = ["model", "root", "tmp"];

/// Keys of steps that do something, beside those of their action.
const ACTING: [&str; 8] =
    ["timeout", "capture", "latency", "repeats", "min_pass", "matrix", "name", "action"];
/// Keys that judge any output.
const OUTPUT: [&str; 9] = [
    "expect_output",
    "output_matches",
    "output_contains",
    "output_lacks",
    "output_not_empty",
    "expect_json",
    "expect_files",
    "differs_from",
    "same_as",
];
/// Keys that judge a command.
const COMMAND: [&str; 3] = ["expect_exit", "expect_stderr", "stderr_lacks"];
/// Keys that judge an answer.
const ANSWER: [&str; 3] = ["expect_status", "expect_headers", "expect_events"];
/// Keys that judge how a command ran.
const MEASURED: [&str; 3] = ["memory_limit", "latency", "first_token"];

/// Whether `key` belongs to steps of `action`.
fn belongs(key: &str, action: Action) -> bool {
    OUTPUT.contains(&key)
        || match action {
            Action::Run => {
                ACTING.contains(&key)
                    || COMMAND.contains(&key)
                    || ["command", "shell", "stdin", "env", "memory_limit", "first_token"].contains(&key)
            }
            Action::Http => {
                ACTING.contains(&key)
                    || ANSWER.contains(&key)
                    || ["url", "method", "headers", "body"].contains(&key)
            }
            Action::Assert => {
                COMMAND.contains(&key) || ANSWER.contains(&key) || ["name", "action"].contains(&key)
            }
        }
}

fn keys(node: &Node) -> impl Iterator<Item = (&str, Position, &Node)> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, value)| (key.name.as_str(), key.at, value))
}

/// Where the value of `key` stands, or the mapping it would be in.
fn place<'n>(node: &'n Node, key: &str) -> &'n Node {
    keys(node).find(|(name, _, _)| *name == key).map_or(node, |(_, _, value)| value)
}

/// Reports what is wrong with a step by itself.
pub(super) fn judge_step(step: &Step, node: &Node, problems: &mut Problems) {
    let word = match step.action {
        Action::Run => "run",
        Action::Assert => "assert",
        Action::Http => "http",
    };
    for (key, at, _) in keys(node) {
        let is_known =
            [&OUTPUT[..], &COMMAND, &ANSWER, &MEASURED, &ACTING].iter().any(|keys| keys.contains(&key))
                || ["command", "shell", "stdin", "env", "url", "method", "headers", "body"].contains(&key);
        if is_known && !belongs(key, step.action) {
            problems.add(at, format!("`{key}` does not belong to `action: {word}`"));
        }
    }
    let expects = keys(node).any(|(key, _, _)| {
        OUTPUT.contains(&key) || COMMAND.contains(&key) || ANSWER.contains(&key) || MEASURED.contains(&key)
    });
    if !expects {
        problems.add(
            node.at,
            "a step that expects nothing shows nothing; add `expect_exit`, or what it should print",
        );
    }
    if step.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        problems.add(place(node, "name").at, "the name is empty");
    }
    match (step.action, &step.command, &step.url) {
        (Action::Run, None, _) => problems.add(node.at, "a run step lacks `command`"),
        (Action::Run, Some(command), _) if !step.shell => {
            let at = place(node, "command").at;
            match split(command) {
                Err(why) => problems.add(at, format!("the command cannot be split: {why}")),
                Ok(words) if writes_over_model(&words) => problems.add(
                    at,
                    "this would write over the model under test, which `model.apr` means; give the output another name",
                ),
                Ok(_) => {}
            }
        }
        (Action::Run, Some(command), _) if command.trim().is_empty() => {
            problems.add(place(node, "command").at, "the command is empty");
        }
        (Action::Http, _, None) => problems.add(node.at, "an http step lacks `url`"),
        _ => {}
    }
    for (key, texts) in [
        ("expect_output", &step.expect_output),
        ("expect_stderr", &step.expect_stderr),
        ("output_contains", &step.output_contains),
        ("output_lacks", &step.output_lacks),
        ("stderr_lacks", &step.stderr_lacks),
    ] {
        judge_texts(texts, key, place(node, key), problems);
    }
    for pattern in step.output_matches.all() {
        judge_pattern(pattern, place(node, "output_matches"), problems);
    }
    for (name, pattern) in &step.capture {
        let node = place(node, "capture");
        judge_pattern(pattern, node, problems);
        if !is_variable(name) || ALWAYS.contains(&name.as_str()) {
            problems.add(
                node.at,
                format!(
                    "`{name}` cannot be captured: lower-case letters, digits and `_`, and no other meaning"
                ),
            );
        }
    }
    if step.action == Action::Assert && step.expect_files.iter().any(|file| file.unchanged) {
        problems.add(
            place(node, "expect_files").at,
            "`unchanged` compares with the time before a step that does something",
        );
    }
    if step.body.is_some() && !matches!(step.method, None | Some(Method::Post | Method::Put)) {
        problems.add(place(node, "body").at, "a body is sent with POST or PUT");
    }
    judge_empty(
        node,
        &["expect_json", "expect_files", "capture", "matrix", "env", "headers", "expect_headers"],
        problems,
    );
    judge_repeats(step.repeats, step.min_pass, node, problems);
    judge_matrix(&step.matrix, place(node, "matrix"), problems);
    judge_env(&step.env, place(node, "env"), problems);
    let limits = step.latency.is_some() || step.first_token.is_some();
    if limits && step.repeats.is_some() {
        problems.add(
            place(node, "repeats").at,
            "`samples` says how often a timed step is run; leave `repeats` out",
        );
    }
    if let (Some(latency), Some(first_token)) = (step.latency, step.first_token)
        && latency.samples != first_token.samples
    {
        problems.add(
            place(node, "first_token").at,
            "`latency` and `first_token` are of the same runs: give them the same `samples`",
        );
    }
    if step.first_token.is_some()
        && !step.command.as_ref().is_some_and(|command| command.contains("--inspect"))
    {
        problems.add(
            place(node, "first_token").at,
            "the time to the first token is printed with `--inspect` only",
        );
    }
}

/// Whether the output that `words` name is the model under test, for every playbook that comes after.
fn writes_over_model(words: &[String]) -> bool {
    let is_model = |word: &str| ["model.apr", "{model}"].contains(&word);
    words.windows(2).any(|pair| ["-o", "--output"].contains(&pair[0].as_str()) && is_model(&pair[1]))
        || words.iter().any(|word| word.strip_prefix("--output=").is_some_and(is_model))
}

/// Reports what is wrong with a playbook as a whole.
pub(super) fn judge_playbook(playbook: &Playbook, node: &Node, steps: &[Node], problems: &mut Problems) {
    if playbook.name.trim().is_empty() {
        problems.add(place(node, "name").at, "the name is empty");
    }
    for tag in &playbook.tags {
        if !super::is_name(tag) {
            problems
                .add(place(node, "tags").at, format!("`{tag}` is no tag: lower-case words joined by `-`"));
        }
    }
    if let Some(Group::Model | Group::Source) = playbook.group {
        problems.add(place(node, "group").at, "the group of a playbook is one of: file, process, perf");
    }
    if playbook.indifferent.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        problems.add(place(node, "indifferent").at, "`indifferent` says why a fake may pass");
    }
    judge_empty(node, &["env", "services", "matrix", "faults", "tags"], problems);
    judge_repeats(playbook.repeats, playbook.min_pass, node, problems);
    judge_matrix(&playbook.matrix, place(node, "matrix"), problems);
    judge_env(&playbook.env, place(node, "env"), problems);
    judge_unique(
        playbook.faults.iter().map(|fault| fault.name.as_str()),
        "fault",
        place(node, "faults"),
        problems,
    );
    judge_unique(
        playbook.services.iter().map(|service| service.name.as_str()),
        "service",
        place(node, "services"),
        problems,
    );
    judge_unique(
        playbook.steps.iter().filter_map(|step| step.name.as_deref()),
        "step",
        place(node, "steps"),
        problems,
    );
    let (lacking, foreign): (&[&str], &[&str]) = match playbook.runner {
        Runner::Cli => (&["steps"], &["component", "setup", "cases", "assertions"]),
        Runner::Wasm => (
            &["component", "cases"],
            &["steps", "services", "env", "matrix", "repeats", "min_pass", "timeout"],
        ),
    };
    let word = if playbook.runner == Runner::Cli { "cli" } else { "wasm" };
    for key in lacking {
        let value = &place(node, key).value;
        let is_there = keys(node).any(|(name, _, _)| name == *key);
        if !is_there || matches!(value, Value::Seq(items) if items.is_empty()) {
            problems.add(node.at, format!("a playbook of `runner: {word}` lacks `{key}`"));
        }
    }
    for (key, at, _) in keys(node).filter(|(key, _, _)| foreign.contains(key)) {
        problems.add(at, format!("`{key}` does not belong to `runner: {word}`"));
    }
    if playbook.steps.len() > MOST_STEPS {
        problems.add(
            place(node, "steps").at,
            format!("{} steps, a scenario has at most {MOST_STEPS}", playbook.steps.len()),
        );
    }
    judge_order(playbook, steps, problems);
    judge_names(playbook, node, steps, problems);
}

/// Reports steps that speak of a step that is not before them, or of more time than there is.
fn judge_order(playbook: &Playbook, nodes: &[Node], problems: &mut Problems) {
    for (index, (step, node)) in playbook.steps.iter().zip(nodes).enumerate() {
        let earlier = &playbook.steps[..index];
        if step.action == Action::Assert {
            let judged = earlier.iter().rev().find(|step| step.action != Action::Assert);
            let wrong: &[&str] = match judged.map(|step| step.action) {
                Some(Action::Http) => &COMMAND,
                Some(_) => &ANSWER,
                None => {
                    problems.add(node.at, "there is no step before it whose output it could judge");
                    &[]
                }
            };
            for (key, at, _) in keys(node).filter(|(key, _, _)| wrong.contains(key)) {
                problems.add(at, format!("`{key}` says nothing of the step before it"));
            }
        }
        for (key, texts) in [("differs_from", &step.differs_from), ("same_as", &step.same_as)] {
            for name in texts.all() {
                let is_known = earlier
                    .iter()
                    .any(|step| step.name.as_deref() == Some(name) && step.action != Action::Assert);
                if !is_known {
                    problems.add(
                        place(node, key).at,
                        format!("`{key}`: no step before it that runs something is named `{name}`"),
                    );
                }
            }
        }
        if step.timeout.is_some_and(|timeout| timeout.0 > playbook.timeout()) {
            problems.add(
                place(node, "timeout").at,
                format!(
                    "the playbook ends after {} s, before this step may; raise its `timeout`",
                    playbook.timeout().as_secs()
                ),
            );
        }
    }
}

/// Reports placeholders that nobody fills, and values that nobody asks for.
fn judge_names(playbook: &Playbook, node: &Node, nodes: &[Node], problems: &mut Problems) {
    let mut known: BTreeSet<String> = ALWAYS.iter().map(|&name| name.to_owned()).collect();
    let mut used = BTreeSet::new();
    let name_it = |name: &str, known: &mut BTreeSet<String>, at: Position, problems: &mut Problems| {
        if !known.insert(name.to_owned()) {
            problems.add(at, format!("`{name}` has a meaning already"));
        }
    };
    for name in playbook.matrix.keys() {
        name_it(name, &mut known, place(node, "matrix").at, problems);
    }
    let mut look = |text: &str, known: &BTreeSet<String>, at: Position, problems: &mut Problems| {
        for name in placeholders(text) {
            used.insert(name.to_owned());
            if !known.contains(name) {
                let names: Vec<&str> = known.iter().map(String::as_str).collect();
                problems.add(
                    at,
                    format!(
                        "nothing fills `{{{name}}}`; there are: {}; write `{{{{{name}}}}}` for plain braces",
                        names.join(", ")
                    ),
                );
            }
        }
    };
    for value in playbook.env.values() {
        look(value, &known, place(node, "env").at, problems);
    }
    for service in &playbook.services {
        let at = place(node, "services").at;
        let mut inside = known.clone();
        inside.insert("port".to_owned());
        look(&service.command, &inside, at, problems);
        service.env.values().for_each(|value| look(value, &inside, at, problems));
        for name in [format!("{}.port", service.name), format!("{}.url", service.name)] {
            name_it(&name, &mut known, at, problems);
        }
    }
    for (step, node) in playbook.steps.iter().zip(nodes) {
        let mut inside = known.clone();
        for name in step.matrix.keys() {
            name_it(name, &mut inside, place(node, "matrix").at, problems);
        }
        for (key, text) in texts(step) {
            look(text, &inside, place(node, key).at, problems);
        }
        for name in step.matrix.keys() {
            let is_used = texts(step).iter().any(|(_, text)| placeholders(text).contains(&name.as_str()));
            if !is_used {
                problems.add(place(node, "matrix").at, format!("`{{{name}}}` is used nowhere in the step"));
            }
        }
        for name in step.capture.keys() {
            if step.matrix.contains_key(name) {
                problems.add(place(node, "capture").at, format!("`{name}` has a meaning already"));
            }
            // A later step may capture the name anew.
            known.insert(name.clone());
        }
    }
    for name in playbook.matrix.keys() {
        // Patterns are not looked into: their braces mean something else too.
        let in_patterns = playbook.steps.iter().any(|step| {
            step.output_matches.all().iter().any(|pattern| placeholders(pattern).contains(&name.as_str()))
        });
        if !used.contains(name) && !in_patterns {
            problems.add(place(node, "matrix").at, format!("`{{{name}}}` is used nowhere"));
        }
    }
}

/// Every text of a step in which placeholders are filled, with its key. Patterns keep their braces to themselves.
fn texts(step: &Step) -> Vec<(&'static str, &str)> {
    let mut found: Vec<(&'static str, &str)> = Vec::new();
    for (key, text) in
        [("command", &step.command), ("stdin", &step.stdin), ("url", &step.url), ("body", &step.body)]
    {
        found.extend(text.as_deref().map(|text| (key, text)));
    }
    for (key, map) in
        [("env", &step.env), ("headers", &step.headers), ("expect_headers", &step.expect_headers)]
    {
        found.extend(map.values().map(|text| (key, text.as_str())));
    }
    for (key, texts) in [
        ("expect_output", &step.expect_output),
        ("expect_stderr", &step.expect_stderr),
        ("output_contains", &step.output_contains),
        ("output_lacks", &step.output_lacks),
        ("stderr_lacks", &step.stderr_lacks),
    ] {
        found.extend(texts.all().iter().map(|text| (key, text.as_str())));
    }
    for file in &step.expect_files {
        found.push(("expect_files", &file.path));
        found.extend(file.same_as.as_deref().map(|text| ("expect_files", text)));
        let inside = [&file.contains, &file.lacks].into_iter().flat_map(Texts::all);
        found.extend(inside.map(|text| ("expect_files", text.as_str())));
    }
    found
}

/// Reports keys whose list or mapping is empty: they ask for nothing.
fn judge_empty(node: &Node, names: &[&str], problems: &mut Problems) {
    for (key, _, value) in keys(node).filter(|(key, _, _)| names.contains(key)) {
        let is_empty = matches!(&value.value, Value::Seq(items) if items.is_empty())
            || matches!(&value.value, Value::Map(entries) if entries.is_empty());
        if is_empty {
            problems.add(value.at, format!("`{key}` is empty; leave it out"));
        }
    }
}

fn judge_repeats(repeats: Option<u32>, min_pass: Option<u32>, node: &Node, problems: &mut Problems) {
    if repeats.is_some_and(|n| !(2..=MOST_RUNS).contains(&n)) {
        problems.add(place(node, "repeats").at, format!("`repeats` is between 2 and {MOST_RUNS}"));
    }
    match (min_pass, repeats) {
        (Some(_), None) => {
            problems.add(place(node, "min_pass").at, "`min_pass` is of `repeats`, and there are none");
        }
        (Some(least), Some(n)) if least == 0 || least > n => {
            problems.add(place(node, "min_pass").at, format!("`min_pass` is between 1 and the {n} repeats"));
        }
        _ => {}
    }
}

fn judge_matrix(matrix: &BTreeMap<String, Vec<String>>, node: &Node, problems: &mut Problems) {
    let mut n_combinations: usize = 1;
    for (name, values) in matrix {
        if !is_variable(name) {
            problems.add(node.at, format!("`{name}` is no name: lower-case letters, digits and `_`"));
        }
        if values.is_empty() {
            problems.add(node.at, format!("`{name}` has no values, so nothing would run"));
        }
        n_combinations = n_combinations.saturating_mul(values.len().max(1));
    }
    if n_combinations > MOST_COMBINATIONS {
        problems.add(node.at, format!("{n_combinations} combinations, at most {MOST_COMBINATIONS}"));
    }
}

fn judge_env(env: &BTreeMap<String, String>, node: &Node, problems: &mut Problems) {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            problems.add(node.at, format!("`{name}` cannot be a variable of a process"));
        }
    }
}

fn judge_unique<'n>(names: impl Iterator<Item = &'n str>, kind: &str, node: &Node, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            problems.add(node.at, format!("two of the {kind}s are named `{name}`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn only_a_mapping_has_keys_and_what_has_none_is_its_own_place() {
        let node = parse("p.yaml", "{a: 1, b: 2}").unwrap();
        assert_eq!(keys(&node).map(|(key, _, _)| key).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(place(&node, "b").value, Value::Int(2));
        let node = parse("p.yaml", "[a, b]").unwrap();
        assert_eq!(keys(&node).count(), 0);
        assert_eq!(place(&node, "b"), &node);
    }
}
