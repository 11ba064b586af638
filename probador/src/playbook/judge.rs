//! What a step expects, held to what it was seen to do.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::expect::{EventExpectation, FileExpectation, JsonExpectation};
use super::observed::{Observed, fingerprint};
use super::step::{Action, Step};
use super::words::filled;
use crate::process::Ended;

/// Bytes of a file that are searched for text.
const SEARCHED: u64 = 16 << 20;

/// Everything that expectations speak of beside the step itself.
pub(super) struct Scene<'s> {
    /// What placeholders stand for.
    pub(super) values: &'s BTreeMap<String, String>,
    /// Outputs of earlier steps, by name.
    pub(super) earlier: &'s BTreeMap<String, Vec<u8>>,
    /// Fingerprints of files before the step.
    pub(super) before: &'s BTreeMap<String, Option<blake3::Hash>>,
    /// The folder that paths start from.
    pub(super) folder: &'s Path,
}

/// Expectations that were met, and what was seen instead of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) n_met: usize,
    pub(super) failures: Vec<String>,
}

impl Judged {
    fn require(&mut self, is_met: bool, otherwise: impl FnOnce() -> String) {
        if is_met {
            self.n_met += 1;
        } else {
            self.failures.push(otherwise());
        }
    }
}

/// Judges what a step was seen to do.
pub(super) fn judge(step: &Step, seen: &Observed, scene: &Scene<'_>) -> Judged {
    let mut judged = Judged::default();
    judge_ending(step, seen, &mut judged);
    judge_headers(step, seen, scene, &mut judged);
    let fill = |text: &String| filled(text, scene.values, str::to_owned);
    let what = seen.what();
    for text in step.expect_output.all().iter().chain(step.output_contains.all()).map(fill) {
        judged.require(seen.text.contains(&text), || format!("{what} does not contain {text:?}"));
    }
    for text in step.output_lacks.all().iter().map(fill) {
        judged.require(!seen.text.contains(&text), || format!("{what} contains {text:?}"));
    }
    for text in step.expect_stderr.all().iter().map(fill) {
        judged.require(seen.stderr.contains(&text), || format!("standard error does not contain {text:?}"));
    }
    for text in step.stderr_lacks.all().iter().map(fill) {
        judged.require(!seen.stderr.contains(&text), || format!("standard error contains {text:?}"));
    }
    for pattern in step.output_matches.all() {
        let pattern = filled(pattern, scene.values, regex::escape);
        judged.require(finds(&pattern, &seen.text), || format!("{what} does not match `{pattern}`"));
    }
    if step.output_not_empty {
        judged.require(!seen.text.trim().is_empty(), || format!("{what} is empty"));
    }
    if !step.expect_json.is_empty() {
        match serde_json::from_slice::<Value>(&seen.output) {
            Err(error) => judged.failures.push(format!("{what} is not JSON: {error}")),
            Ok(document) => {
                for expectation in &step.expect_json {
                    let wrong = wrong_json(expectation, &document);
                    judged.require(wrong.is_none(), || format!("{what}: {}", wrong.unwrap_or_default()));
                }
            }
        }
    }
    if let Some(expected) = &step.expect_events {
        judge_events(expected, seen, &mut judged);
    }
    for file in &step.expect_files {
        judge_file(file, scene, &mut judged);
    }
    for name in step.differs_from.all() {
        let other = scene.earlier.get(name);
        judged.require(other.is_some_and(|other| *other != seen.output), || {
            format!("{what} is the same as in step {name:?}")
        });
    }
    for name in step.same_as.all() {
        let other = scene.earlier.get(name);
        judged.require(other.is_some_and(|other| *other == seen.output), || {
            format!("{what} is another than in step {name:?}")
        });
    }
    judged
}

/// Judges how a step ended: by itself, with the expected code, and with nothing left behind.
fn judge_ending(step: &Step, seen: &Observed, judged: &mut Judged) {
    let expected_exit = step.expect_exit.or((step.action == Action::Run).then_some(0));
    if let (Some(expected), Some(ended)) = (expected_exit, seen.ended) {
        match ended {
            Ended::Exited(code) => {
                judged.require(code == i32::from(expected), || {
                    format!("exits with {code}, expected {expected}")
                });
            }
            Ended::Signalled => judged.failures.push("was killed by a signal".to_owned()),
            Ended::TimedOut => judged.failures.push(format!("did not end in {:.1} s", seen.seconds)),
            Ended::OverMemory => {}
        }
    }
    if step.action == Action::Run {
        judged.require(seen.left_behind.is_empty(), || {
            format!("left {} running: {}", seen.left_behind.len(), seen.left_behind.join("; "))
        });
        if let Some(limit) = step.memory_limit {
            match seen.peak_memory {
                None => judged.failures.push("its memory could not be measured".to_owned()),
                Some(peak) => judged.require(peak <= limit.0, || {
                    format!("peak memory {:.1} MB, at most {limit}", peak as f64 / 1e6)
                }),
            }
        }
    }
    let expected_status = step.expect_status.or((step.action == Action::Http).then_some(200));
    if let (Some(expected), Some(status)) = (expected_status, seen.status) {
        judged.require(status == expected, || format!("answers with status {status}, expected {expected}"));
    }
}

fn judge_headers(step: &Step, seen: &Observed, scene: &Scene<'_>, judged: &mut Judged) {
    for (name, text) in &step.expect_headers {
        let text = filled(text, scene.values, str::to_owned);
        let header = seen.headers.get(&name.to_ascii_lowercase());
        judged.require(header.is_some_and(|header| header.contains(text.as_str())), || match header {
            Some(header) => format!("the header `{name}` is {header:?}, which does not contain {text:?}"),
            None => format!("the answer has no header `{name}`"),
        });
    }
}

/// Whether a pattern finds something; patterns were tried when the playbook was read.
fn finds(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// What is wrong with one place of a document.
fn wrong_json(expectation: &JsonExpectation, document: &Value) -> Option<String> {
    let at = if expectation.at.is_empty() { "the document" } else { expectation.at.as_str() };
    let Some(found) = document.pointer(&expectation.at) else {
        return (!expectation.absent).then(|| format!("{at} is not there"));
    };
    if expectation.absent {
        return Some(format!("{at} is there: {}", short(found)));
    }
    let number = |limit: Option<f64>, keeps: fn(f64, f64) -> bool, words: &str| {
        let limit = limit?;
        let holds = found.as_f64().is_some_and(|value| keeps(value, limit));
        (!holds).then(|| format!("{at} is {}, {words} {limit}", short(found)))
    };
    if let Some(expected) = &expectation.equals
        && !is_equal(found, &expected.0)
    {
        return Some(format!("{at} is {}, expected {}", short(found), expected.0));
    }
    if let Some(pattern) = &expectation.matches
        && !found.as_str().is_some_and(|text| finds(pattern, text))
    {
        return Some(format!("{at} is {}, which does not match `{pattern}`", short(found)));
    }
    let length = match found {
        Value::String(text) => Some(text.trim().len()),
        Value::Array(items) => Some(items.len()),
        Value::Object(entries) => Some(entries.len()),
        _ => None,
    };
    if expectation.not_empty && length.is_none_or(|length| length == 0) {
        return Some(format!("{at} is empty: {}", short(found)));
    }
    if let Some(expected) = expectation.length
        && length != Some(expected as usize)
    {
        return Some(format!(
            "{at} has {} elements, expected {expected}",
            length.map_or("no".to_owned(), |n| n.to_string())
        ));
    }
    number(expectation.at_least, |value, limit| value >= limit, "at least")
        .or_else(|| number(expectation.at_most, |value, limit| value <= limit, "at most"))
}

/// Numbers are equal by value: YAML's `1` and JSON's `1.0` are.
fn is_equal(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => found.total_cmp(&expected).is_eq(),
        _ => found == expected,
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn judge_events(expected: &EventExpectation, seen: &Observed, judged: &mut Judged) {
    let n = seen.events.len() as u64;
    if let Some(least) = expected.at_least {
        judged.require(n >= least, || format!("{n} events, at least {least}"));
    }
    if let Some(most) = expected.at_most {
        judged.require(n <= most, || format!("{n} events, at most {most}"));
    }
    if let Some(last) = &expected.last {
        judged.require(seen.events.last() == Some(last), || {
            format!(
                "the last event is {:?}, expected {last:?}",
                seen.events.last().map_or("", String::as_str)
            )
        });
    }
    let documents: Vec<Value> =
        seen.events.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    for expectation in &expected.each {
        let wrong = documents.iter().find_map(|document| wrong_json(expectation, document));
        judged.require(wrong.is_none() && !documents.is_empty(), || {
            format!("an event: {}", wrong.unwrap_or_else(|| "none of them is JSON".to_owned()))
        });
    }
}

fn judge_file(expected: &FileExpectation, scene: &Scene<'_>, judged: &mut Judged) {
    let name = filled(&expected.path, scene.values, str::to_owned);
    let path = scene.folder.join(&name);
    let is_there = std::fs::symlink_metadata(&path).is_ok();
    judged.require(is_there == expected.exists, || {
        format!("`{name}` {}", if is_there { "exists" } else { "does not exist" })
    });
    if !is_there || !expected.exists {
        return;
    }
    if let Some(only) = &expected.only {
        match names_in(&path) {
            Err(error) => judged.failures.push(format!("`{name}` cannot be listed: {error}")),
            Ok(found) => {
                let mut wanted = only.clone();
                wanted.sort();
                judged.require(found == wanted, || format!("`{name}` holds {found:?}, expected {wanted:?}"));
            }
        }
        return;
    }
    if expected.not_empty {
        let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        judged.require(size > 0, || format!("`{name}` is empty"));
    }
    if expected.unchanged {
        let before = scene.before.get(&name).copied().flatten();
        let now = fingerprint(&path).ok().flatten();
        judged.require(before.is_some() && now == before, || format!("`{name}` has changed"));
    }
    if let Some(other) = &expected.same_as {
        let other = filled(other, scene.values, str::to_owned);
        let hashes = [&path, &scene.folder.join(&other)].map(|path| fingerprint(path).ok().flatten());
        judged.require(hashes[0].is_some() && hashes[0] == hashes[1], || {
            format!("`{name}` does not hold the same bytes as `{other}`")
        });
    }
    let (contains, lacks) = (expected.contains.all(), expected.lacks.all());
    if contains.is_empty() && lacks.is_empty() {
        return;
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(SEARCHED).read_to_end(&mut bytes));
    if let Err(error) = read {
        judged.failures.push(format!("`{name}` cannot be read: {error}"));
        return;
    }
    let content = String::from_utf8_lossy(&bytes);
    for text in contains.iter().map(|text| filled(text, scene.values, str::to_owned)) {
        judged.require(content.contains(&text), || format!("`{name}` does not contain {text:?}"));
    }
    for text in lacks.iter().map(|text| filled(text, scene.values, str::to_owned)) {
        judged.require(!content.contains(&text), || format!("`{name}` contains {text:?}"));
    }
}

/// Names in a folder, in order.
fn names_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{FromNode as _, Problems, parse};

    /// What a step with these keys has against `seen`, with its files in `folder`.
    fn failures(keys: &str, seen: &Observed, folder: &Path) -> Vec<String> {
        let mut problems = Problems::new("p.yaml");
        let step = Step::from_node(&parse("p.yaml", &format!("{{{keys}}}")).unwrap(), &mut problems);
        assert_eq!(problems.into_vec(), [], "{keys}");
        let (values, earlier) = (BTreeMap::new(), BTreeMap::new());
        let before = BTreeMap::from([("new".to_owned(), None)]);
        let scene = Scene { values: &values, earlier: &earlier, before: &before, folder };
        judge(&step.unwrap(), seen, &scene).failures
    }

    #[track_caller]
    fn check(keys: &str, seen: &Observed, expected: &[&str]) {
        assert_eq!(failures(keys, seen, Path::new("/no/such")), expected, "{keys}");
    }

    /// What a server answers.
    fn answer(body: &str, events: &[&str]) -> Observed {
        Observed {
            output: body.as_bytes().to_vec(),
            text: body.to_owned(),
            status: Some(200),
            events: events.iter().map(|&event| event.to_owned()).collect(),
            ..Observed::default()
        }
    }

    #[test]
    fn memory_that_was_not_measured_is_within_no_limit() {
        let ended = |peak_memory: Option<u64>| Observed {
            ended: Some(Ended::Exited(0)),
            peak_memory,
            ..Observed::default()
        };
        let keys = "action: run, command: x, memory_limit: 1MB";
        check(keys, &ended(None), &["its memory could not be measured"]);
        check(keys, &ended(Some(1_000_001)), &["peak memory 1.0 MB, at most 1.0 MB"]);
        check(keys, &ended(Some(1_000_000)), &[]);
    }

    #[test]
    fn what_an_answer_lacks_is_named() {
        let ask = |keys: &str| format!("action: http, url: 'http://localhost', {keys}");
        check(&ask("expect_headers: {X-Kind: a}"), &answer("", &[]), &["the answer has no header `X-Kind`"]);
        let long = format!("\"{}\"", "é".repeat(100));
        let shown = format!("the body: the document is \"{}..., expected 1", "é".repeat(79));
        check(&ask("expect_json: [{at: '', equals: 1}]"), &answer(&long, &[]), &[&shown]);
        check(
            &ask("expect_json: [{at: /a, equals: 1}, {at: /b, absent: true}]"),
            &answer("{\"b\": [1]}", &[]),
            &["the body: /a is not there", "the body: /b is there: [1]"],
        );
    }

    #[test]
    fn events_are_counted_and_each_is_looked_at() {
        let ask = |keys: &str| format!("action: http, url: 'http://localhost', expect_events: {{{keys}}}");
        let events = ["{\"t\": 1}", "{\"t\": 2}", "[DONE]"];
        check(
            &ask("at_least: 3, at_most: 3, last: '[DONE]', each: [{at: /t, at_least: 1}]"),
            &answer("", &events),
            &[],
        );
        check(
            &ask("at_least: 1, at_most: 2, last: x, each: [{at: /t, equals: 1}]"),
            &answer("", &events),
            &[
                "3 events, at most 2",
                "the last event is \"[DONE]\", expected \"x\"",
                "an event: /t is 2, expected 1",
            ],
        );
        check(
            &ask("at_least: 1, last: x, each: [{at: /t, equals: 1}]"),
            &answer("", &[]),
            &[
                "0 events, at least 1",
                "the last event is \"\", expected \"x\"",
                "an event: none of them is JSON",
            ],
        );
    }

    #[test]
    fn files_that_are_not_what_the_step_takes_them_for_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["new", "old"] {
            std::fs::write(folder.path().join(file), "words").unwrap();
        }
        std::fs::create_dir(folder.path().join("d")).unwrap();
        let check = |expected: &str, words: &str| {
            let seen = Observed { ended: Some(Ended::Exited(0)), ..Observed::default() };
            let keys = format!("action: run, command: x, expect_files: [{{{expected}}}]");
            let found = failures(&keys, &seen, folder.path());
            assert!(found.len() == 1 && found[0].starts_with(words), "{expected}: {found:?}");
        };
        check("path: old, only: [a]", "`old` cannot be listed: Not a directory");
        check("path: d, only: [a]", "`d` holds [], expected [\"a\"]");
        check("path: new, unchanged: true", "`new` has changed");
        check("path: d, same_as: old", "`d` does not hold the same bytes as `old`");
        check("path: d, contains: words", "`d` cannot be read: Is a directory");
        check("path: old, lacks: words", "`old` contains \"words\"");
    }
}
