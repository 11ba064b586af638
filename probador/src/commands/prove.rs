//! `prove`: sees every check fail, by each of the faults its claim names.

use std::sync::Arc;

use serde::Serialize;

use super::full::build_apr;
use super::workspace;
use crate::checklist::{Claim, Fault, FaultKind, Group};
use crate::cli::{Global, ProveArgs};
use crate::engine::{Engine, Options};
use crate::exit::ExitStatus;
use crate::printer::{Format, Printer, Tone};
use crate::prove::{
    ClaimTrial, Doubt, FaultTrial, Keys, Matrix, PROOFS, Proof, Proofs, Reaction, Standing, Trials, obstacle,
    prove,
};
use crate::runner::in_lanes;

/// What `--format json` prints.
#[derive(Serialize)]
struct Document<'d> {
    model: &'d str,
    trials: &'d [ClaimTrial],
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix: Option<&'d Matrix>,
}

/// A claim that is to be tried.
struct Job<'e> {
    claim: &'e Claim,
    faults: Vec<&'e Fault>,
    key: String,
}

/// Tries the claims that were asked for, keeps the proofs, and says what survived.
pub(super) fn run(args: &ProveArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let path = workspace.path(PROOFS);
    let mut proofs = Proofs::read(&path)?;
    if !args.no_build {
        build_apr(&workspace, printer)?;
    }
    let options = Options { model: args.subject.model.clone(), seed: args.subject.seed };
    let engine = Arc::new(Engine::open(workspace, &options)?);
    let jobs = jobs(&engine, args)?;
    if jobs.is_empty() {
        printer.error("no claim with a check was selected\nhint: `cargo probador list` names every claim");
        return Ok(ExitStatus::NothingRan);
    }
    let model = engine.context().model().name.clone();
    // Another seed is another proof, and not the one that is kept.
    let is_kept = args.subject.seed.is_none();
    let mut trials = Vec::new();
    let (known, open): (Vec<Job<'_>>, Vec<Job<'_>>) = jobs
        .into_iter()
        .partition(|job| is_kept && !args.fresh && proofs.holds(&model, &job.claim.id.to_string(), &job.key));
    for job in &known {
        trials.push(recalled(job));
    }
    if args.format == Format::Human {
        printer.start_progress(open.len());
    }
    let human = args.format == Format::Human;
    let tried = Trials::new(Arc::clone(&engine));
    try_all(&tried, &open, |job, trial| {
        if human && !matches!(trial.standing, Standing::Proven | Standing::Waiting { .. }) {
            for line in lines(&trial, printer) {
                printer.talk(&line);
            }
        }
        printer.advance();
        if is_kept && !matches!(trial.standing, Standing::Waiting { .. }) {
            let proof = (trial.standing == Standing::Proven).then(|| Proof {
                key: job.key.clone(),
                faults: trial.faults.iter().map(|fault| fault.fault.clone()).collect(),
            });
            proofs.set(&model, &trial.claim.to_string(), proof);
        }
        trials.push(trial);
    });
    printer.end_progress();
    trials.sort_by_key(|trial| trial.claim);
    if is_kept && !open.is_empty() {
        proofs.write(&path)?;
    }
    let matrix = args.matrix.then(|| matrix(&engine, &tried, printer));
    match args.format {
        Format::Human => {
            for trial in &trials {
                for line in lines(trial, printer) {
                    printer.data(&line);
                }
            }
            for line in summary(&engine, &model, &trials, matrix.as_ref()) {
                printer.data(&line);
            }
        }
        Format::Terse => trials.iter().for_each(|trial| printer.data(&terse(trial))),
        Format::Json => {
            let document = Document { model: &model, trials: &trials, matrix: matrix.as_ref() };
            printer.data(&serde_json::to_string_pretty(&document)?);
        }
    }
    Ok(status(&trials))
}

fn jobs<'e>(engine: &'e Engine, args: &ProveArgs) -> anyhow::Result<Vec<Job<'e>>> {
    let keys = Keys::new(engine)?;
    let checklist = engine.checklist();
    let is_selected =
        |claim: &&Claim| claim.has_check() && (args.claims.is_empty() || args.claims.contains(&claim.id));
    checklist
        .claims()
        .iter()
        .filter(is_selected)
        .map(|claim| {
            let faults: Vec<&Fault> =
                claim.faults.iter().filter_map(|name| checklist.faults().get(name)).collect();
            Ok(Job { claim, key: keys.of(claim, &faults)?, faults })
        })
        .collect()
}

/// A trial that was made before.
fn recalled(job: &Job<'_>) -> ClaimTrial {
    let faults = job.faults.iter().map(|fault| FaultTrial { fault: fault.name.clone(), doubt: None });
    ClaimTrial {
        claim: job.claim.id,
        title: job.claim.title.clone(),
        standing: Standing::Known,
        faults: faults.collect(),
    }
}

/// Tries the jobs, claims that compute with the model in turn and others beside them; trials come as they end.
fn try_all(trials: &Trials, jobs: &[Job<'_>], mut ended: impl FnMut(&Job<'_>, ClaimTrial)) {
    let lanes: [Vec<&Job<'_>>; 2] = {
        let (computing, beside) = jobs.iter().partition(|job| job.claim.group == Group::Model);
        [computing, beside]
    };
    in_lanes(&lanes, |job| prove(trials, job.claim, &job.faults), |job, trial| ended(job, trial));
}

/// Every claim that can be tried, under every fault. A fault is planted once for all claims.
fn matrix(engine: &Engine, trials: &Trials, printer: &mut Printer) -> Matrix {
    let checklist = engine.checklist();
    let claims: Vec<&Claim> = checklist
        .claims()
        .iter()
        .filter(|claim| claim.has_check() && obstacle(engine, claim).is_none() && trials.clean(claim).is_ok())
        .collect();
    let faults = checklist.faults();
    printer.start_progress(faults.len());
    let mut matrix = Matrix::of(claims.iter().map(|claim| claim.id));
    for fault in faults.values() {
        // Small trees and stored results are seen by nobody else; a fault of speed changes nothing but speed, and would
        // hold everybody else up.
        let is_of_speed = checklist
            .claims()
            .iter()
            .all(|claim| claim.group == Group::Perf || !fault.caught_by.contains_key(&claim.id.to_string()));
        let seen_by = |claim: &&&Claim| match fault.kind {
            FaultKind::Fixture => claim.group == Group::Source,
            _ if is_of_speed => claim.group == Group::Perf,
            FaultKind::Data | FaultKind::Wrap | FaultKind::Source => claim.group != Group::Source,
        };
        if let Ok(faulty) = trials.planted(fault) {
            for claim in claims.iter().filter(seen_by) {
                if let Reaction::Red { .. } = trials.react(claim, &faulty) {
                    matrix.note_red(claim.id, &fault.name);
                }
            }
        }
        printer.advance();
    }
    printer.end_progress();
    matrix
}

/// What a person reads of one trial.
fn lines(trial: &ClaimTrial, printer: &Printer) -> Vec<String> {
    let n = trial.faults.len();
    let caught = trial.faults.iter().filter(|fault| fault.doubt.is_none()).count();
    let (tone, word, rest) = match &trial.standing {
        Standing::Proven => (Tone::Good, "proven", format!("red under {n} of {n} faults")),
        Standing::Known => (Tone::Good, "proven", format!("red under {n} of {n} faults, as before")),
        Standing::Survived => (Tone::Bad, "SURVIVED", format!("red under {caught} of {n} faults")),
        Standing::Doubtful { why } => (Tone::Bad, "DOUBTFUL", why.clone()),
        Standing::Waiting { why } => (Tone::Faint, "waiting", why.clone()),
    };
    let head =
        format!("{} {} {}  {rest}", printer.paint(tone, &format!("{word:>8}")), trial.claim, trial.title);
    let doubts = trial.faults.iter().filter_map(|fault| {
        let doubt = fault.doubt.as_ref()?;
        Some(format!("         {}: {doubt}", fault.fault))
    });
    std::iter::once(head).chain(doubts).collect()
}

fn terse(trial: &ClaimTrial) -> String {
    format!("{} {}", word(&trial.standing), trial.claim)
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Proven | Standing::Known => "proven",
        Standing::Survived => "survived",
        Standing::Doubtful { .. } => "doubtful",
        Standing::Waiting { .. } => "waiting",
    }
}

fn summary(engine: &Engine, model: &str, trials: &[ClaimTrial], matrix: Option<&Matrix>) -> Vec<String> {
    let count = |wanted: &str| trials.iter().filter(|trial| word(&trial.standing) == wanted).count();
    let survivors =
        trials.iter().flat_map(|trial| &trial.faults).filter(|fault| fault.doubt.is_some()).count();
    let mut lines = vec![
        String::new(),
        format!(
            "{} claims proven on {model}, {} not, {} wait; {survivors} faults survived",
            count("proven"),
            count("survived") + count("doubtful"),
            count("waiting")
        ),
    ];
    if let Some(matrix) = matrix {
        for claims in matrix.redundant() {
            let names: Vec<String> = claims.iter().map(ToString::to_string).collect();
            lines.push(format!("red under the same faults: {}", names.join(" ")));
        }
        let all = engine.checklist().faults().keys().map(String::as_str);
        let uncaught = matrix.uncaught(all);
        if !uncaught.is_empty() {
            lines.push(format!("caught by no claim on {model}: {}", uncaught.join(" ")));
        }
    }
    lines
}

fn status(trials: &[ClaimTrial]) -> ExitStatus {
    let survived = |trial: &ClaimTrial| {
        trial.standing == Standing::Survived
            && trial.faults.iter().any(|fault| !matches!(fault.doubt, None | Some(Doubt::Broken(_))))
    };
    let is_open =
        |trial: &ClaimTrial| matches!(trial.standing, Standing::Survived | Standing::Doubtful { .. });
    if trials.iter().any(survived) {
        ExitStatus::FaultSurvived
    } else if trials.iter().any(is_open) {
        ExitStatus::Undecided
    } else {
        ExitStatus::Pass
    }
}
