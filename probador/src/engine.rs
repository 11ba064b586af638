//! One opened engine: the checklist, the model under test and its cases, each of which it can run.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use crate::availability::available;
use crate::case::{Case, Evidence, Judgement, Machine, Outcome, Reason, Subject, Undecided, Verdict};
use crate::checklist::{Check, Checklist, Claim, Group};
use crate::checks::{self, CheckError, Context};
use crate::generate::{GoldenTensor, Inputs, generate};
use crate::models::{ModelChoice, choose};
use crate::playbook::Playbook;
use crate::workspace::{LoadError, Workspace};

/// What an engine is opened with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A model's name or file.
    pub model: Option<String>,
    /// Replaces the seed of every sample.
    pub seed: Option<u64>,
}

/// Everything a run needs. Opening it reads names and YAML, never weights.
pub struct Engine {
    checklist: Checklist,
    cases: Vec<Case>,
    context: Context,
    locks: Locks,
}

/// Keeps groups apart: computing cases one at a time, timing cases alone.
#[derive(Default)]
struct Locks {
    model: Mutex<()>,
    process: Mutex<()>,
    machine: RwLock<()>,
}

/// The right to run; given back when dropped.
pub struct Turn<'e> {
    _file: Option<File>,
    _alone: Option<RwLockWriteGuard<'e, ()>>,
    _shared: Option<RwLockReadGuard<'e, ()>>,
    _one_at_a_time: Option<MutexGuard<'e, ()>>,
}

impl Engine {
    /// Opens the engine on `workspace`.
    pub fn open(workspace: Workspace, options: &Options) -> Result<Self, LoadError> {
        let checklist = workspace.checklist()?;
        let model = choose(options.model.as_deref(), &workspace)?;
        let playbooks = workspace.playbooks(&checklist)?;
        let goldens = golden_tensors(&workspace, &model)?;
        let outlines: Vec<_> = playbooks.iter().map(Playbook::outline).collect();
        let cases = generate(&Inputs {
            checklist: &checklist,
            playbooks: &outlines,
            model: &model.name,
            goldens: &goldens,
            available: &|need| available(need, &workspace, &model),
        });
        let context = Context::new(workspace, model, options.seed, playbooks);
        Ok(Self { checklist, cases, context, locks: Locks::default() })
    }

    /// The checklist.
    pub fn checklist(&self) -> &Checklist {
        &self.checklist
    }

    /// Every case, in order.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// What checks see.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Runs one case to its outcome. A panic is an outcome too.
    pub fn run(&self, case: &Case) -> Outcome {
        let mut evidence = Evidence { rerun: self.rerun(case), ..Evidence::default() };
        if let Some(undecided) = &case.undecided {
            return Outcome {
                case: case.id.clone(),
                subject: case.subject.clone(),
                verdict: Verdict::Undecided(undecided.clone()),
                known_before: true,
                evidence,
            };
        }
        let _turn = self.turn(case.group);
        let started = Instant::now();
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(case)));
        evidence.seconds = started.elapsed().as_secs_f64();
        Outcome {
            case: case.id.clone(),
            subject: case.subject.clone(),
            verdict: verdict(judged, &mut evidence),
            known_before: false,
            evidence,
        }
    }

    /// Waits until a case of `group` may run, and keeps out of its way what must not run beside it.
    pub fn turn(&self, group: Group) -> Turn<'_> {
        let is_alone = group == Group::Perf;
        let alone = is_alone.then(|| self.locks.machine.write().unwrap_or_else(PoisonError::into_inner));
        let shared = (!is_alone).then(|| self.locks.machine.read().unwrap_or_else(PoisonError::into_inner));
        let one_at_a_time = match group {
            Group::Model => Some(&self.locks.model),
            Group::Process => Some(&self.locks.process),
            Group::File | Group::Source | Group::Perf => None,
        };
        let lock = one_at_a_time.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        // Other processes that run cases, as nextest starts them; without the lock file there is only more noise.
        let cache = Workspace::cache();
        let file = std::fs::create_dir_all(&cache).and_then(|()| File::create(cache.join("run.lock"))).ok();
        if let Some(file) = &file {
            let operation = if is_alone { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
            let _ = flock(file, operation);
        }
        Turn { _file: file, _alone: alone, _shared: shared, _one_at_a_time: lock }
    }

    fn judge(&self, case: &Case) -> Result<Judgement, CheckError> {
        match &case.subject {
            Subject::Claim(id) => {
                let claim = self.checklist.claim(*id).ok_or_else(|| anyhow::anyhow!("no claim {id}"))?;
                judge_claim(claim, &self.context)
            }
            Subject::Playbook(id) => Ok(self.context.playbook(id)?.judgement()),
            Subject::Golden { prompt, tensor, .. } => checks::golden::judge(&self.context, prompt, tensor),
            Subject::Canary => {
                let mut judgement = Judgement::new();
                judgement.exactly("faces of a coin that are neither", 2, 0, "", 1);
                Ok(judgement)
            }
        }
    }

    /// One line that runs `case` again on the same model.
    fn rerun(&self, case: &Case) -> String {
        let name = self.context.model().typed();
        if let Subject::Playbook(id) = &case.subject {
            return format!("cargo probador run {id} --model {name}");
        }
        let seed = self.context.seed_override().map(|seed| format!(" --seed {seed}")).unwrap_or_default();
        format!("cargo probador full --model {name} --exact {}{seed}", case.id)
    }

    /// The machine this runs on.
    pub fn machine(&self) -> Machine {
        let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Machine {
            cpu: cpu.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned()),
            n_threads: thread::available_parallelism().map_or(1, usize::from),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Judges one claim against what `context` holds. A check of behaviour that breaks on what is not the model in the file
/// at all is red: a fake must not escape by not answering.
pub fn judge_claim(claim: &Claim, context: &Context) -> Result<Judgement, CheckError> {
    let judged = check_claim(claim, context);
    let Err(CheckError::Broken(error)) = &judged else { return judged };
    let doubts = if claim.indifferent.is_none() { context.doubts().unwrap_or_default() } else { &[] };
    if doubts.is_empty() {
        return judged;
    }
    let mut judgement = Judgement::new();
    for doubt in doubts {
        judgement.fail(doubt);
    }
    judgement.fail(format!("the check could not go on: {error:#}"));
    Ok(judgement)
}

fn check_claim(claim: &Claim, context: &Context) -> Result<Judgement, CheckError> {
    match &claim.check {
        Check::Builtin => {
            let check = checks::find(claim.id)
                .ok_or_else(|| anyhow::anyhow!("no check is registered for {}", claim.id))?;
            check(context, claim)
        }
        Check::Lint(rule) => checks::lint(context, rule),
        Check::Playbook(playbooks) => checks::playbooks(context, claim, *playbooks),
        Check::Coverage(what) => checks::covered(context, claim, *what),
        Check::Mutation(what) => checks::mutants_caught(context, claim, *what),
        Check::Pending => Err(CheckError::Undecided(Undecided::unverified("nothing checks this yet", ""))),
    }
}

/// The verdict of what was judged, whose figures and remarks become evidence.
fn verdict(judged: thread::Result<Result<Judgement, CheckError>>, evidence: &mut Evidence) -> Verdict {
    match judged {
        Ok(Ok(judgement)) => {
            let verdict = judgement.verdict();
            evidence.measurements = judgement.measurements;
            evidence.notes = judgement.notes;
            evidence.inputs = judgement.inputs;
            verdict
        }
        Ok(Err(CheckError::Undecided(undecided))) => Verdict::Undecided(undecided),
        Ok(Err(CheckError::Broken(error))) => inconclusive(format!("{error:#}")),
        Err(panic) => inconclusive(format!("the check panicked: {}", panic_message(panic.as_ref()))),
    }
}

fn inconclusive(what: String) -> Verdict {
    Verdict::Undecided(Undecided {
        reason: Reason::Inconclusive,
        what,
        remedy: "run it again alone".to_owned(),
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

/// The golden tensors that the model's manifest names; none when it has no manifest.
fn golden_tensors(workspace: &Workspace, model: &ModelChoice) -> Result<Vec<GoldenTensor>, LoadError> {
    checks::golden::index(workspace, &model.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CaseId;
    use crate::workspace::sample::Checkout;

    fn engine(checkout: &Checkout, model: &str, seed: Option<u64>) -> Engine {
        Engine::open(checkout.workspace(), &Options { model: Some(model.to_owned()), seed }).unwrap()
    }

    /// An engine on a file that is no model.
    fn on_broken(checkout: &Checkout) -> Engine {
        let path = checkout.path().join("broken.apr");
        std::fs::write(&path, "no model").unwrap();
        engine(checkout, path.to_str().unwrap(), None)
    }

    fn case<'e>(engine: &'e Engine, id: &str) -> &'e Case {
        let id = id.parse().unwrap();
        engine.cases().iter().find(|case| case.claim() == Some(id)).unwrap()
    }

    #[test]
    fn what_cannot_be_decided_is_known_before_and_says_how_to_run_it_again() {
        let checkout = Checkout::new();
        let engine = engine(&checkout, "tiny", Some(5));
        let case = case(&engine, "J1");
        let outcome = engine.run(case);
        assert_eq!(outcome.verdict, Verdict::Undecided(case.undecided.clone().unwrap()));
        assert!(outcome.known_before && !outcome.is_red());
        let rerun = format!("cargo probador full --model tiny --exact {} --seed 5", case.id);
        assert_eq!(outcome.evidence, Evidence { rerun, ..Evidence::default() });
    }

    #[test]
    fn a_check_that_breaks_or_lacks_something_at_the_last_moment_is_undecided_and_red() {
        let checkout = Checkout::new();
        let engine = on_broken(&checkout);
        let outcome = engine.run(case(&engine, "A4"));
        let Verdict::Undecided(undecided) = &outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(
            (undecided.reason, undecided.remedy.as_str()),
            (Reason::Inconclusive, "run it again alone")
        );
        assert!(undecided.what.contains("broken.apr"), "{}", undecided.what);
        assert!(!outcome.known_before && outcome.is_red());

        let subject = Subject::Golden { model: "broken".into(), prompt: "p".into(), tensor: "logits".into() };
        let golden = Case {
            id: CaseId::golden("broken", "p", "logits"),
            subject,
            undecided: None,
            ..case(&engine, "A4").clone()
        };
        let outcome = engine.run(&golden);
        let missing = Undecided::unverified(
            "there are no golden traces of `broken`",
            "scripts/generate_golden_traces.py",
        );
        assert_eq!(outcome.verdict, Verdict::Undecided(missing));
        assert!(outcome.is_red());
    }

    #[test]
    fn a_panic_is_an_outcome_with_its_words() {
        let said = |panic: Box<dyn std::any::Any + Send>| {
            let mut evidence = Evidence::default();
            match verdict(Err(panic), &mut evidence) {
                Verdict::Undecided(Undecided { reason: Reason::Inconclusive, what, .. }) => what,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(said(Box::new("no more memory")), "the check panicked: no more memory");
        assert_eq!(said(Box::new("row 7".to_owned())), "the check panicked: row 7");
        assert_eq!(said(Box::new(7)), "the check panicked: without a message");
    }

    #[test]
    fn what_a_judgement_measured_and_noted_is_evidence() {
        let mut judgement = Judgement::new();
        judgement.at_most("differences", 3.0, 2.0, "", 5);
        judgement.note("a remark");
        judgement.input("model", "ab");
        let mut evidence = Evidence::default();
        let verdict = verdict(Ok(Ok(judgement.clone())), &mut evidence);
        assert_eq!(verdict, judgement.verdict());
        assert!(matches!(verdict, Verdict::Fail { .. }));
        assert_eq!(
            (evidence.measurements, evidence.notes),
            (judgement.measurements, vec!["a remark".to_owned()])
        );
        assert_eq!(evidence.inputs["model"], "ab");
    }

    #[test]
    fn what_nothing_checks_yet_and_what_no_tool_has_measured_is_undecided() {
        let checkout = Checkout::new();
        checkout.remove(crate::mutants::MUTANTS);
        let engine = engine(&checkout, "tiny", None);
        for (id, expected) in [
            ("J1", "unverified: nothing checks this yet"),
            ("I4", "unverified: no result of the mutants of "),
        ] {
            let claim = engine.checklist().claim(id.parse().unwrap()).unwrap();
            match judge_claim(claim, engine.context()) {
                Err(CheckError::Undecided(undecided)) => {
                    assert!(undecided.to_string().starts_with(expected), "{undecided}");
                }
                other => panic!("{id}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_machine_is_described() {
        let checkout = Checkout::new();
        let machine = engine(&checkout, "tiny", None).machine();
        assert!(machine.n_threads > 0 && !machine.cpu.is_empty());
        assert_eq!(machine.os, format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    }
}
