//! `prove`: sees every check and every playbook fail, by each of the faults it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::full::{build_apr, folder};
use super::workspace;
use crate::checklist::{Claim, ClaimId, Edit, Fault, FaultKind, Group};
use crate::cli::{Global, ProveArgs};
use crate::engine::{Engine, Options};
use crate::exit::ExitStatus;
use crate::printer::{Format, Printer, Tone};
use crate::process::{is_interrupted, not_interrupted};
use crate::prove::{
    Doubt, Keys, Matrix, PROOFS, Proof, Proofs, Reaction, Scratch, Standing, Target, TargetName, TargetTrial,
    Trials, obstacle, targets,
};
use crate::report::{StoredMatrix, to_matrix_html, write_file};
use crate::runner::in_lanes;

/// What `--format json` prints.
#[derive(Serialize)]
struct Document<'d> {
    model: &'d str,
    trials: &'d [TargetTrial],
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix: Option<&'d Matrix>,
}

/// A claim or a playbook that is to be tried.
struct Job<'e> {
    target: Target<'e>,
    /// The faults it names that nobody has seen it red under yet.
    faults: Vec<&'e Fault>,
    key: String,
    /// The faults it was red under before, with nothing changed since.
    known: Vec<String>,
}

/// Tries the claims that were asked for, keeps the proofs, and says what survived.
pub(super) fn run(args: &ProveArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let path = workspace.path(PROOFS);
    // Another seed is another proof, and not the one that is kept.
    let mut keeper = Keeper { proofs: Proofs::read(&path)?, path, is_kept: args.subject.seed.is_none() };
    if !args.no_build {
        build_apr(&workspace, printer)?;
    }
    let options = Options { model: args.subject.model.clone(), seed: args.subject.seed };
    let engine = Arc::new(Engine::open(workspace, &options)?);
    let model = engine.context().model().name.clone();
    let jobs = jobs(&engine, args, &keeper)?;
    if jobs.is_empty() {
        printer.error("no claim with a check and no playbook was selected\nhint: `cargo probador list` names every claim");
        return Ok(ExitStatus::NothingRan);
    }
    let human = args.format == Format::Human;
    let mut trials: BTreeMap<TargetName, TargetTrial> = jobs
        .iter()
        .map(|job| (job.target.name(), TargetTrial::new(&engine, job.target, &job.known)))
        .collect();
    let open: Vec<&Job<'_>> = jobs.iter().filter(|job| !job.faults.is_empty()).collect();
    if human {
        printer.start_progress(open.len());
    }
    let tried = Trials::new(Arc::clone(&engine));
    try_all(&tried, &open, |job, trial| {
        if human
            && !matches!(trial.standing, Standing::Proven | Standing::Unfinished | Standing::Waiting { .. })
        {
            for line in lines(&trial, printer) {
                printer.talk(&line);
            }
        }
        printer.advance();
        if is_interrupted() {
            return;
        }
        keeper.note(&model, job, &trial);
        trials.insert(job.target.name(), trial);
    });
    printer.end_progress();
    keeper.write()?;
    not_interrupted()?;
    try_in_sources(&engine, &open, &mut trials, printer, |job, trial| keeper.keep(&model, job, trial))?;
    let trials: Vec<TargetTrial> = trials.into_values().collect();
    let matrix = args.matrix.then(|| matrix(args, &engine, &tried, printer)).transpose()?;
    if let Some(matrix) = &matrix {
        keep_matrix(args, &engine, matrix, printer)?;
    }
    match args.format {
        Format::Human => {
            for trial in &trials {
                for line in lines(trial, printer) {
                    printer.data(&line);
                }
            }
            for line in matrix.iter().flat_map(table) {
                printer.data(&line);
            }
            for line in summary(args, &engine, &model, &trials, matrix.as_ref()) {
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

/// The file of proofs, and whether this run may add to it.
struct Keeper {
    proofs: Proofs,
    path: PathBuf,
    is_kept: bool,
}

impl Keeper {
    /// Notes what `trial` showed.
    fn note(&mut self, model: &str, job: &Job<'_>, trial: &TargetTrial) {
        if matches!(trial.standing, Standing::Waiting { .. }) {
            return;
        }
        let faults = trial.caught();
        let is_shown = !faults.is_empty() && !matches!(trial.standing, Standing::Doubtful { .. });
        let proof = is_shown.then(|| Proof { key: job.key.clone(), faults });
        self.proofs.set(model, &trial.target.to_string(), proof);
    }

    /// Notes it and writes the file, since the next trial may take long.
    fn keep(&mut self, model: &str, job: &Job<'_>, trial: &TargetTrial) -> anyhow::Result<()> {
        self.note(model, job, trial);
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        if self.is_kept { self.proofs.write(&self.path) } else { Ok(()) }
    }
}

fn jobs<'e>(engine: &'e Engine, args: &ProveArgs, keeper: &Keeper) -> anyhow::Result<Vec<Job<'e>>> {
    let keys = Keys::new(engine.context().workspace(), engine.context().model())?;
    let model = &engine.context().model().name;
    let checklist = engine.checklist();
    let is_selected = |target: &Target<'_>| args.targets.is_empty() || args.targets.contains(&target.name());
    let is_asked_for = |fault: &&Fault| args.kind.is_empty() || args.kind.contains(&fault.kind);
    targets(engine)
        .filter(is_selected)
        .map(|target| {
            let named: Vec<&Fault> =
                target.faults().into_iter().filter_map(|name| checklist.faults().get(name)).collect();
            let key = keys.of(target, &named)?;
            let known = if keeper.is_kept && !args.fresh {
                keeper.proofs.caught(model, &target.name().to_string(), &key).to_vec()
            } else {
                Vec::new()
            };
            let is_new = |fault: &&Fault| !known.contains(&fault.name);
            let faults = named.into_iter().filter(is_asked_for).filter(is_new).collect();
            Ok(Job { target, faults, key, known })
        })
        .collect()
}

/// Tries the jobs' faults that are planted in this process, claims that compute with the model in turn and others beside
/// them; trials come as they end.
fn try_all(trials: &Trials, jobs: &[&Job<'_>], mut ended: impl FnMut(&Job<'_>, TargetTrial)) {
    let lanes: [Vec<&Job<'_>>; 2] = {
        let (computing, beside) = jobs.iter().partition(|job| job.target.group() == Group::Model);
        [computing, beside]
    };
    let work = |job: &&Job<'_>| {
        let mut trial = TargetTrial::new(trials.engine(), job.target, &job.known);
        let planted_here: Vec<&Fault> =
            job.faults.iter().copied().filter(|fault| fault.kind != FaultKind::Source).collect();
        trial.run(trials, job.target, &planted_here);
        trial
    };
    in_lanes(&lanes, work, |job, trial| ended(job, trial));
}

/// A fault in the sources, and the claims that are to be tried under it.
type Planting<'j> = (&'j Fault, Vec<(&'j Claim, &'j Job<'j>)>);

/// Tries the jobs' faults in the sources: first the sources as they are, built in the scratch copy, then fault by fault,
/// since each is a build.
fn try_in_sources(
    engine: &Engine,
    jobs: &[&Job<'_>],
    trials: &mut BTreeMap<TargetName, TargetTrial>,
    printer: &mut Printer,
    mut ended: impl FnMut(&Job<'_>, &TargetTrial) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut by_fault: BTreeMap<&str, Planting<'_>> = BTreeMap::new();
    // Playbooks name no fault in the sources.
    for (claim, job) in jobs.iter().filter_map(|&job| Some((job.target.claim()?, job))) {
        if matches!(trials[&job.target.name()].standing, Standing::Doubtful { .. } | Standing::Waiting { .. })
        {
            continue;
        }
        for fault in job.faults.iter().filter(|fault| fault.kind == FaultKind::Source) {
            by_fault.entry(&fault.name).or_insert_with(|| (fault, Vec::new())).1.push((claim, job));
        }
    }
    if by_fault.is_empty() {
        return Ok(());
    }
    printer.talk(&format!(
        "{} faults in the sources, a build each: the first takes minutes, the others less",
        by_fault.len()
    ));
    printer.start_progress(by_fault.len() + 1);
    let scratch = Scratch::open(engine.context().workspace())?;
    let mut claims: Vec<&Claim> =
        by_fault.values().flat_map(|(_, jobs)| jobs.iter().map(|(claim, _)| *claim)).collect();
    claims.sort_by_key(|claim| claim.id);
    claims.dedup_by_key(|claim| claim.id);
    let calm = react_in_sources(&scratch, &[], engine, &claims);
    printer.advance();
    for (fault, jobs) in by_fault.into_values() {
        let (nervous, calm): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|(claim, _)| calm[&claim.id] != Reaction::Green);
        let calm_claims: Vec<&Claim> = calm.iter().map(|(claim, _)| *claim).collect();
        let reactions = react_in_sources(&scratch, &fault.edits, engine, &calm_claims);
        not_interrupted()?;
        for (_, job) in nervous {
            let why = "its check is not green when the sources are built as they are".to_owned();
            trials
                .entry(job.target.name())
                .and_modify(|trial| trial.add(&fault.name, Err(Doubt::Nervous(why))));
        }
        for (claim, job) in calm {
            let caught = reactions[&claim.id].clone().shows(claim, fault);
            if let Some(trial) = trials.get_mut(&job.target.name()) {
                trial.add(&fault.name, caught);
                ended(job, trial)?;
            }
        }
        printer.advance();
    }
    printer.end_progress();
    Ok(())
}

/// How `claims` take `edits` of the sources; broken, all of them, where nothing can be built or run.
fn react_in_sources(
    scratch: &Scratch,
    edits: &[Edit],
    engine: &Engine,
    claims: &[&Claim],
) -> BTreeMap<ClaimId, Reaction> {
    scratch.build(edits).and_then(|built| built.react(engine, claims)).unwrap_or_else(|error| {
        let broken = Reaction::Broken { why: format!("{error:#}") };
        claims.iter().map(|claim| (claim.id, broken.clone())).collect()
    })
}

/// Every claim that can be tried, under every fault. A fault is planted once for all claims.
fn matrix(
    args: &ProveArgs,
    engine: &Engine,
    trials: &Trials,
    printer: &mut Printer,
) -> anyhow::Result<Matrix> {
    let checklist = engine.checklist();
    let claims: Vec<&Claim> = checklist
        .claims()
        .iter()
        .filter(|claim| args.targets.is_empty() || args.targets.contains(&TargetName::Claim(claim.id)))
        .filter(|claim| {
            claim.has_check() && obstacle(engine, *claim).is_none() && trials.clean(*claim).is_ok()
        })
        .collect();
    let faults: Vec<&Fault> = checklist
        .faults()
        .values()
        .filter(|fault| args.kind.is_empty() || args.kind.contains(&fault.kind))
        .collect();
    let has_sources = faults.iter().any(|fault| fault.kind == FaultKind::Source);
    let scratch = has_sources.then(|| Scratch::open(engine.context().workspace())).transpose()?;
    printer.start_progress(faults.len());
    let mut matrix = Matrix::of(claims.iter().map(|claim| claim.id));
    for fault in faults {
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
        if fault.kind == FaultKind::Source {
            let claims: Vec<&Claim> = claims.iter().filter(seen_by).copied().collect();
            let reactions =
                scratch.as_ref().map(|scratch| react_in_sources(scratch, &fault.edits, engine, &claims));
            for (claim, reaction) in reactions.into_iter().flatten() {
                if let Reaction::Red { .. } = reaction {
                    matrix.note_red(claim, &fault.name);
                }
            }
        } else if let Ok(faulty) = trials.planted(fault) {
            for claim in claims.iter().filter(seen_by) {
                if let Reaction::Red { .. } = trials.react(*claim, &faulty) {
                    matrix.note_red(claim.id, &fault.name);
                }
            }
        }
        printer.advance();
    }
    printer.end_progress();
    Ok(matrix)
}

/// Writes the matrix as a page and as JSON, for reports to link to.
fn keep_matrix(
    args: &ProveArgs,
    engine: &Engine,
    matrix: &Matrix,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let (workspace, model) = (engine.context().workspace(), engine.context().model());
    let key = Keys::new(workspace, model)?.of_all(engine.checklist(), &[])?;
    let faults = engine.checklist().faults().values();
    let tried = faults.filter(|fault| args.kind.is_empty() || args.kind.contains(&fault.kind));
    let stored = StoredMatrix {
        model: model.name.clone(),
        key,
        faults: tried.map(|fault| fault.name.clone()).collect(),
        matrix: matrix.clone(),
    };
    let (page, json) = folder(args.reports.as_deref(), workspace).matrix();
    write_file(&json, (serde_json::to_string_pretty(&stored)? + "\n").as_bytes())?;
    write_file(&page, to_matrix_html(&stored, engine.checklist())?.as_bytes())?;
    printer.talk(&printer.paint_talk(Tone::Faint, &format!("matrix: {}", page.display())));
    Ok(())
}

/// What a person reads of one trial.
fn lines(trial: &TargetTrial, printer: &Printer) -> Vec<String> {
    let (n, caught) = (trial.n_named, trial.caught().len());
    let (tone, word, rest) = match &trial.standing {
        Standing::Proven => (Tone::Good, "proven", format!("red under {n} of {n} faults")),
        Standing::Known => (Tone::Good, "proven", format!("red under {n} of {n} faults, as before")),
        Standing::Unfinished => {
            (Tone::Unsure, "OPEN", format!("red under {caught} of {n} faults, the others were not tried"))
        }
        Standing::Survived => (Tone::Bad, "SURVIVED", format!("red under {caught} of {n} faults")),
        Standing::Doubtful { why } => (Tone::Bad, "DOUBTFUL", why.clone()),
        Standing::Waiting { why } => (Tone::Faint, "waiting", why.clone()),
    };
    let head =
        format!("{} {} {}  {rest}", printer.paint(tone, &format!("{word:>8}")), trial.target, trial.title);
    let doubts = trial.faults.iter().filter_map(|fault| {
        let doubt = fault.doubt.as_ref()?;
        Some(format!("         {}: {doubt}", fault.fault))
    });
    std::iter::once(head).chain(doubts).collect()
}

/// What a person reads of the matrix: of each claim, all that turns it red.
fn table(matrix: &Matrix) -> Vec<String> {
    let row = |(claim, faults): (&ClaimId, &BTreeSet<String>)| {
        let names: Vec<&str> = faults.iter().map(String::as_str).collect();
        format!(
            "{:<4} {}",
            claim.to_string(),
            if names.is_empty() { "-".to_owned() } else { names.join(" ") }
        )
    };
    let head = [String::new(), "red under every fault of:".to_owned()];
    head.into_iter().chain(matrix.red.iter().map(row)).collect()
}

fn terse(trial: &TargetTrial) -> String {
    format!("{} {}", word(&trial.standing), trial.target)
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Proven | Standing::Known => "proven",
        Standing::Unfinished => "open",
        Standing::Survived => "survived",
        Standing::Doubtful { .. } => "doubtful",
        Standing::Waiting { .. } => "waiting",
    }
}

fn summary(
    args: &ProveArgs,
    engine: &Engine,
    model: &str,
    trials: &[TargetTrial],
    matrix: Option<&Matrix>,
) -> Vec<String> {
    let count = |wanted: &str| trials.iter().filter(|trial| word(&trial.standing) == wanted).count();
    let survivors =
        trials.iter().flat_map(|trial| &trial.faults).filter(|fault| fault.doubt.is_some()).count();
    let mut lines = vec![
        String::new(),
        format!(
            "{} claims and playbooks proven on {model}, {} not, {} wait; {survivors} faults survived",
            count("proven"),
            count("survived") + count("doubtful") + count("open"),
            count("waiting")
        ),
    ];
    if let Some(matrix) = matrix {
        for claims in matrix.redundant() {
            let names: Vec<String> = claims.iter().map(ToString::to_string).collect();
            lines.push(format!("red under the same faults: {}", names.join(" ")));
        }
        // Faults of playbooks alone are no claim's business.
        let all = engine.checklist().faults().values().filter(|fault| !fault.caught_by.is_empty());
        let tried = all.filter(|fault| args.kind.is_empty() || args.kind.contains(&fault.kind));
        let uncaught = matrix.uncaught(tried.map(|fault| fault.name.as_str()));
        if !uncaught.is_empty() && args.targets.is_empty() {
            lines.push(format!("caught by no claim on {model}: {}", uncaught.join(" ")));
        }
    }
    lines
}

fn status(trials: &[TargetTrial]) -> ExitStatus {
    let survived = |trial: &TargetTrial| {
        trial.standing == Standing::Survived
            && trial.faults.iter().any(|fault| !matches!(fault.doubt, None | Some(Doubt::Broken(_))))
    };
    let is_open = |trial: &TargetTrial| {
        matches!(trial.standing, Standing::Survived | Standing::Doubtful { .. } | Standing::Unfinished)
    };
    if trials.iter().any(survived) {
        ExitStatus::FaultSurvived
    } else if trials.iter().any(is_open) {
        ExitStatus::Undecided
    } else {
        ExitStatus::Pass
    }
}

#[cfg(test)]
mod tests;
