//! One run through the steps of a playbook, in a folder of its own, with its services beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex::Regex;
use tempfile::TempDir;

use super::expect::{Limits, rank};
use super::http::{Question, ask, events, joined};
use super::judge::{Scene, judge};
use super::observed::{Observed, excerpt, fingerprint};
use super::report::{RunReport, StepReport};
use super::run::{combinations, limits_first_token};
use super::running::Running;
use super::scenario::Playbook;
use super::stage::Stage;
use super::step::{Action, Method, Step};
use super::words::{filled, split};
use crate::case::{Measurement, Relation};
use crate::process::{Program, is_interrupted, quoted};
use crate::yaml::Keyword as _;

/// Seconds that the specification allows the first token of a performance playbook.
const FIRST_TOKEN: f64 = 2.0;

/// A run through the steps, as far as it has come.
struct Attempt<'a> {
    playbook: &'a Playbook,
    stage: &'a Stage,
    folder: &'a Path,
    values: BTreeMap<String, String>,
    /// Outputs of the named steps that were done.
    earlier: BTreeMap<String, Vec<u8>>,
    /// What an assertion judges, and the command it came of.
    last: Option<Observed>,
    last_command: String,
    deadline: Instant,
}

/// Runs through the steps with these values of the matrix, up to the first step that fails.
pub(super) fn run_through(
    playbook: &Playbook,
    stage: &Stage,
    matrix: &BTreeMap<String, String>,
) -> anyhow::Result<RunReport> {
    let folder = TempDir::with_prefix("probador-playbook-")?;
    let path = std::fs::canonicalize(folder.path())?;
    let mut values = matrix.clone();
    for (name, path) in [("model", stage.model()), ("root", stage.root()), ("tmp", &path)] {
        values.insert(name.to_owned(), path.display().to_string());
    }
    let mut report = RunReport { values: matrix.clone(), ..RunReport::default() };
    let mut attempt = Attempt {
        playbook,
        stage,
        folder: &path,
        values,
        earlier: BTreeMap::new(),
        last: None,
        last_command: String::new(),
        deadline: Instant::now() + playbook.timeout(),
    };
    let mut running = Vec::new();
    for service in &playbook.services {
        match Running::start(service, &attempt.values, |program| attempt.dressed(program, &service.env)) {
            Ok(started) => {
                attempt.values.extend(started.values());
                running.push(started);
            }
            Err(error) => {
                report.failures.push(format!("service {:?}: {error:#}", service.name));
                break;
            }
        }
    }
    if report.failures.is_empty() {
        for (index, step) in playbook.steps.iter().enumerate() {
            let done = attempt.step(step, index)?;
            let is_good = done.failures.is_empty();
            report.steps.push(done);
            if !is_good || is_interrupted() {
                break;
            }
        }
    }
    for service in running {
        let name = service.name().to_owned();
        let wrong = service.stop()?;
        report.failures.extend(wrong.map(|wrong| format!("service {name:?}: {wrong}")));
    }
    Ok(report)
}

impl Attempt<'_> {
    /// Does a step, as often as it is to be done, and judges it.
    fn step(&mut self, step: &Step, index: usize) -> anyhow::Result<StepReport> {
        let mut report = StepReport { name: step.title(index), ..StepReport::default() };
        if step.action == Action::Assert {
            let seen = self.last.clone().unwrap_or_default();
            self.judge_into(step, &seen, &BTreeMap::new(), &mut report);
            if !report.failures.is_empty() {
                report.command.clone_from(&self.last_command);
            }
            return Ok(report);
        }
        let outer = self.values.clone();
        for combination in combinations(&step.matrix) {
            self.values.extend(combination.clone());
            self.runs(step, &combination, &mut report)?;
            if !report.failures.is_empty() || is_interrupted() {
                break;
            }
        }
        // The matrix of a step ends with it; what it captured stays.
        let captured =
            step.capture.keys().filter_map(|name| self.values.remove_entry(name)).collect::<Vec<_>>();
        self.values = outer;
        self.values.extend(captured);
        self.last_command.clone_from(&report.command);
        if let (Some(name), Some(last)) = (&step.name, &self.last) {
            self.earlier.insert(name.clone(), last.output.clone());
        }
        Ok(report)
    }

    /// Does a step for one combination of its matrix, as often as it repeats.
    fn runs(
        &mut self,
        step: &Step,
        combination: &BTreeMap<String, String>,
        report: &mut StepReport,
    ) -> anyhow::Result<()> {
        let n_runs = step.n_runs();
        let least = step.min_pass.unwrap_or(n_runs);
        let mut seconds = Vec::new();
        let mut first_tokens = Vec::new();
        let mut n_failed = 0;
        let mut failed = StepReport::default();
        for _ in 0..n_runs {
            let mut one = StepReport::default();
            let before = self.fingerprints(step)?;
            let seen = self.perform(step, &mut one)?;
            self.judge_into(step, &seen, &before, &mut one);
            self.capture(step, &seen, &mut one);
            seconds.push(seen.seconds);
            first_tokens.extend(seen.first_token());
            self.last = Some(seen);
            report.n_met += one.n_met;
            report.seconds += one.seconds;
            report.peak_memory = report.peak_memory.max(one.peak_memory);
            report.command.clone_from(&one.command);
            report.ended.clone_from(&one.ended);
            if !one.failures.is_empty() {
                n_failed += 1;
                failed = one;
            }
            // Once too many have failed or been slow, the rest can change nothing.
            let is_slow = |limits: Option<Limits>, seconds: &[f64]| {
                limits.is_some_and(|limits| limits.are_broken(seconds))
            };
            if n_runs - n_failed < least
                || is_slow(step.latency, &seconds)
                || is_slow(step.first_token, &first_tokens)
                || is_interrupted()
            {
                break;
            }
        }
        if n_runs - n_failed < least {
            let values: Vec<String> =
                combination.iter().map(|(name, value)| format!("{name} {value:?}: ")).collect();
            let often = if n_runs > 1 {
                format!("in {n_failed} of {n_runs} runs, at least {least} must pass: ")
            } else {
                String::new()
            };
            let words = |what: &String| format!("{}{often}{what}", values.concat());
            report.failures.extend(failed.failures.iter().map(words));
            (report.command, report.ended) = (failed.command, failed.ended);
            (report.output, report.stderr) = (failed.output, failed.stderr);
            return Ok(());
        }
        if let Some(limits) = &step.latency {
            hold("time", &seconds, limits, report);
        }
        if let Some(limits) = &step.first_token {
            if first_tokens.len() == seconds.len() {
                hold("time to the first token", &first_tokens, limits, report);
            } else {
                report.failures.push("the output does not say when the first token came".to_owned());
            }
        }
        Ok(())
    }

    /// Runs the command, or asks.
    fn perform(&self, step: &Step, report: &mut StepReport) -> anyhow::Result<Observed> {
        let rest = self.deadline.saturating_duration_since(Instant::now());
        let timeout = step.timeout.map_or(rest, |timeout| timeout.0.min(rest)).max(Duration::from_millis(1));
        let fill = |text: &String| filled(text, &self.values, str::to_owned);
        if step.action == Action::Http {
            let question = Question {
                method: step
                    .method
                    .unwrap_or(if step.body.is_some() { Method::Post } else { Method::Get })
                    .word(),
                url: step.url.as_ref().map(fill).unwrap_or_default(),
                headers: step.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
                body: step.body.as_ref().map(fill),
                timeout,
            };
            report.command = typed_request(&question);
            return Ok(match ask(&question) {
                Ok(mut seen) => {
                    if let Some(expected) = &step.expect_events {
                        seen.events = events(&seen.text);
                        if let Some(at) = &expected.text_at {
                            seen.text = joined(&seen.events, at);
                        }
                    }
                    seen
                }
                Err(error) => {
                    report.failures.push(format!("{error:#}"));
                    Observed::default()
                }
            });
        }
        let mut program = self.program(step)?.timeout(timeout);
        if let Some(input) = &step.stdin {
            program = program.input(fill(input));
        }
        if let Some(limit) = step.memory_limit {
            program = program.memory_limit(limit.0);
        }
        report.command = self.typed(step);
        Ok(match program.run() {
            Ok(finished) => Observed::of_command(finished),
            Err(error) => {
                report.failures.push(format!("{error:#}"));
                Observed::default()
            }
        })
    }

    /// The program that a step runs.
    fn program(&self, step: &Step) -> anyhow::Result<Program> {
        let words = self.words(step)?;
        let (first, rest) = words.split_first().ok_or_else(|| anyhow::anyhow!("the command is empty"))?;
        let program = if first == "apr" { Program::new(self.stage.program()) } else { Program::new(first) };
        let mut env = self.playbook.env.clone();
        env.extend(step.env.clone());
        Ok(self.dressed(program.args(rest), &env))
    }

    /// A program in the attempt's folder, with its variables and `apr` on PATH.
    fn dressed(&self, program: Program, env: &BTreeMap<String, String>) -> Program {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
            // What is known of a model, so that its hashes are not computed for every command.
            Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))
        });
        let mut program =
            program.folder(self.folder).env("HOME", self.folder).env("PROBADOR_ROOT", self.stage.root());
        if let Some(cache) = cache {
            program = program.env("XDG_CACHE_HOME", cache);
        }
        if let Ok(path) = self.stage.path() {
            program = program.env("PATH", path);
        }
        for (name, value) in env {
            program = program.env(name, filled(value, &self.values, str::to_owned));
        }
        program
    }

    /// The words of a step's command.
    fn words(&self, step: &Step) -> anyhow::Result<Vec<String>> {
        let command = step.command.as_deref().unwrap_or_default();
        if step.shell {
            // A value is one word to the shell, whatever it holds.
            let script = filled(command, &self.values, |value| quoted(value.as_ref()));
            return Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), script]);
        }
        let words = split(command).map_err(anyhow::Error::msg)?;
        let fill = |word: String| {
            if word == "model.apr" {
                self.stage.model().display().to_string()
            } else {
                filled(&word, &self.values, str::to_owned)
            }
        };
        Ok(words.into_iter().map(fill).collect())
    }

    /// The command as it can be typed, on the real `apr`.
    fn typed(&self, step: &Step) -> String {
        /// A longer input is not worth typing.
        const TYPED: usize = 500;
        let mut line = String::new();
        if let Some(input) = step.stdin.as_ref().map(|input| filled(input, &self.values, str::to_owned)) {
            line = if input.len() <= TYPED {
                format!("printf %s {} | ", quoted(input.as_ref()))
            } else {
                format!("(with {} bytes to read) ", input.len())
            };
        }
        let env = self.playbook.env.iter().chain(&step.env);
        let env = env.map(|(name, value)| (name, filled(value, &self.values, str::to_owned)));
        for (name, value) in env {
            // Writing to a string cannot fail.
            let _ = write!(line, "{name}={} ", quoted(value.as_ref()));
        }
        let mut words = self.words(step).unwrap_or_default();
        if let Some(first) = words.first_mut().filter(|first| *first == "apr") {
            *first = self.stage.apr().display().to_string();
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
        line + &words.join(" ")
    }

    fn judge_into(
        &self,
        step: &Step,
        seen: &Observed,
        before: &BTreeMap<String, Option<blake3::Hash>>,
        report: &mut StepReport,
    ) {
        if step.action != Action::Assert {
            report.ended = seen.ending();
            report.seconds = seen.seconds;
            report.peak_memory = seen.peak_memory;
        }
        // A command that could not be started, or a server that gave no answer, has nothing to judge.
        if report.failures.is_empty() {
            let scene = Scene { values: &self.values, earlier: &self.earlier, before, folder: self.folder };
            let judged = judge(step, seen, &scene);
            report.n_met += judged.n_met;
            report.failures.extend(judged.failures);
            if let Some(late) = self.late_first_token(seen) {
                report.failures.push(late);
            }
        }
        if !report.failures.is_empty() {
            report.output = excerpt(&String::from_utf8_lossy(&seen.output));
            report.stderr = excerpt(&seen.stderr);
        }
    }

    /// What the specification forbids any performance playbook to accept.
    fn late_first_token(&self, seen: &Observed) -> Option<String> {
        let seconds = seen.first_token().filter(|_| limits_first_token(self.playbook))?;
        (seconds > FIRST_TOKEN)
            .then(|| format!("the first token came after {seconds:.3} s, later than {FIRST_TOKEN} s"))
    }

    fn capture(&mut self, step: &Step, seen: &Observed, report: &mut StepReport) {
        for (name, pattern) in &step.capture {
            let pattern = filled(pattern, &self.values, regex::escape);
            let found = Regex::new(&pattern).ok().and_then(|regex| {
                let captures = regex.captures(&seen.text)?;
                // The first group, or all of it where there is none.
                captures.get(1).or_else(|| captures.get(0)).map(|found| found.as_str().to_owned())
            });
            match found {
                Some(found) => drop(self.values.insert(name.clone(), found)),
                None => report.failures.push(format!("{} has nothing to capture for `{name}`", seen.what())),
            }
        }
    }

    /// Fingerprints of the files that a step must not change.
    fn fingerprints(&self, step: &Step) -> anyhow::Result<BTreeMap<String, Option<blake3::Hash>>> {
        let files = step.expect_files.iter().filter(|file| file.unchanged);
        files
            .map(|file| {
                let name = filled(&file.path, &self.values, str::to_owned);
                let hash = fingerprint(&self.folder.join(&name))?;
                Ok((name, hash))
            })
            .collect()
    }
}

/// Holds times to their limits; percentiles by nearest rank.
fn hold(what: &str, seconds: &[f64], limits: &Limits, report: &mut StepReport) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    for (name, share, limit) in limits.set() {
        let Some(&value) = sorted.get(rank(share, sorted.len()) - 1) else { continue };
        let measurement = Measurement {
            what: format!("{what}, {name}"),
            value,
            relation: Relation::AtMost,
            limit: limit.0.as_secs_f64(),
            unit: "s".to_owned(),
            n: sorted.len() as u64,
            interval: None,
        };
        if measurement.holds() {
            report.n_met += 1;
        } else {
            report.failures.push(format!("{measurement} ({} of {} runs)", sorted.len(), limits.samples));
        }
        report.measurements.push(measurement);
    }
}

/// A request as it can be typed.
fn typed_request(question: &Question<'_>) -> String {
    let mut words = vec!["curl".to_owned(), "-i".to_owned(), "-X".to_owned(), question.method.to_owned()];
    for (name, value) in &question.headers {
        words.extend(["-H".to_owned(), format!("{name}: {value}")]);
    }
    if let Some(body) = &question.body {
        words.extend([
            "-H".to_owned(),
            "content-type: application/json".to_owned(),
            "-d".to_owned(),
            body.clone(),
        ]);
    }
    words.push(question.url.clone());
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}
