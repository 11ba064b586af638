//! One opened engine: the checklist, the model under test and its cases, each of which it can run.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
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
        let verdict = match judged {
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
        };
        Outcome {
            case: case.id.clone(),
            subject: case.subject.clone(),
            verdict,
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
            n_threads: std::thread::available_parallelism().map_or(1, usize::from),
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
