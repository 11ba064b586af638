//! One claim or playbook tried: clean, under a fault that does nothing, and under a planted fault.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::target::{Target, TargetName};
use crate::availability::available;
use crate::case::{Judgement, Undecided, Verdict};
use crate::checklist::{Claim, Fault, Need};
use crate::checks::{CheckError, Context};
use crate::engine::{Engine, judge_claim};
use crate::faults::{Subject, plant, plant_nothing};

/// How a claim or a playbook takes a planted fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Red.
    Red {
        /// What it said.
        said: String,
    },
    /// Green.
    Green,
    /// The fault broke the check, or could not be planted: nothing was shown.
    Broken {
        /// How.
        why: String,
    },
}

impl Reaction {
    /// Whether it shows that `target` catches `fault`: red, in the words that the fault asks for.
    pub fn shows<'t>(self, target: impl Into<Target<'t>>, fault: &Fault) -> Result<(), Doubt> {
        match self {
            Self::Red { said } => {
                let wanted = target.into().says(fault).unwrap_or_default().to_owned();
                if wanted.is_empty() || !said.contains(&wanted) {
                    return Err(Doubt::OtherWords { wanted, said });
                }
                Ok(())
            }
            Self::Green => Err(Doubt::Survived),
            Self::Broken { why } => Err(Doubt::Broken(why)),
        }
    }
}

/// Why a claim or a playbook is not shown to catch a fault.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "doubt", content = "said", rename_all = "kebab-case")]
pub enum Doubt {
    /// It is not green when nothing is planted.
    NotClean(String),
    /// It is red when the plant does nothing.
    Nervous(String),
    /// It stays green.
    Survived,
    /// It is red in other words than the fault's.
    OtherWords {
        /// Words it should have said.
        wanted: String,
        /// What it said.
        said: String,
    },
    /// It could not be judged.
    Broken(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotClean(verdict) => write!(f, "it is not green without any fault: {verdict}"),
            Self::Nervous(said) => write!(f, "it is red under a fault that does nothing: {said}"),
            Self::Survived => f.write_str("the fault survives: it stays green"),
            Self::OtherWords { wanted, said } => {
                let first: Vec<&str> = said.lines().take(3).collect();
                write!(f, "it is red without saying {wanted:?}: {}", first.join("; "))
            }
            Self::Broken(why) => write!(f, "nothing was shown: {why}"),
        }
    }
}

/// Tries claims and playbooks on the engine's model, and remembers which are green clean.
pub struct Trials {
    engine: Arc<Engine>,
    clean: Mutex<BTreeMap<TargetName, Result<(), Doubt>>>,
}

impl Trials {
    /// Trials on the model of `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, clean: Mutex::default() }
    }

    /// The engine whose claims are tried.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Shows that `target` is green clean and red under `fault`, in the words that the fault asks for.
    pub fn catches<'t>(&self, target: impl Into<Target<'t>>, fault: &Fault) -> Result<(), Doubt> {
        let target = target.into();
        self.clean(target)?;
        self.under(target, fault).shows(target, fault)
    }

    /// Shows that `target` is green on the subject as it is. Judged once.
    pub fn clean<'t>(&self, target: impl Into<Target<'t>>) -> Result<(), Doubt> {
        let target = target.into();
        let known = self.clean.lock().unwrap_or_else(PoisonError::into_inner).get(&target.name()).cloned();
        let result = known.unwrap_or_else(|| {
            self.on(target, self.engine.context())
                .and_then(|judgement| green(&judgement))
                .map_err(Doubt::NotClean)
        });
        self.clean.lock().unwrap_or_else(PoisonError::into_inner).insert(target.name(), result.clone());
        result
    }

    /// Shows that `target` stays green when everything a fault may touch is replaced by its equal.
    pub fn calm<'t>(&self, target: impl Into<Target<'t>>) -> Result<(), Doubt> {
        let target = target.into();
        let subject = plant_nothing(target.claim(), self.model())
            .map_err(|error| Doubt::Broken(format!("nothing cannot be planted: {error:#}")))?;
        self.on(target, &self.context_of(subject))
            .and_then(|judgement| green(&judgement))
            .map_err(Doubt::Nervous)
    }

    /// Judges `target` with `fault` planted.
    pub fn under<'t>(&self, target: impl Into<Target<'t>>, fault: &Fault) -> Reaction {
        match self.planted(fault) {
            Ok(faulty) => self.react(target, &faulty),
            Err(why) => Reaction::Broken { why },
        }
    }

    /// What checks see with `fault` planted; an error says why it cannot be planted.
    pub fn planted(&self, fault: &Fault) -> Result<Context, String> {
        match plant(&fault.name, self.model()) {
            Ok(Some(subject)) => Ok(self.context_of(subject)),
            Ok(None) => Err(format!("nothing plants `{}`", fault.name)),
            Err(error) => Err(format!("it cannot be planted: {error:#}")),
        }
    }

    /// Judges `target` on what was planted.
    pub fn react<'t>(&self, target: impl Into<Target<'t>>, faulty: &Context) -> Reaction {
        match self.on(target.into(), faulty) {
            // All it has to say: a report shows the first few.
            Ok(judgement) if !judgement.failures.is_empty() => {
                Reaction::Red { said: judgement.failures.join("\n") }
            }
            Ok(judgement) => match green(&judgement) {
                Ok(()) => Reaction::Green,
                Err(why) => Reaction::Broken { why },
            },
            Err(why) => Reaction::Broken { why },
        }
    }

    fn model(&self) -> &Path {
        &self.engine.context().model().path
    }

    fn context_of(&self, subject: Subject) -> Context {
        self.engine.context().with_fault(subject)
    }

    fn on(&self, target: Target<'_>, context: &Context) -> Result<Judgement, String> {
        let _turn = self.engine.turn(target.group());
        match target {
            Target::Claim(claim) => self.judge(claim, context),
            Target::Playbook(playbook) => {
                let report = context.playbook(&playbook.id).map_err(|error| format!("{error:#}"))?;
                // What it says, without what the commands printed: the fault's words must be its own.
                Ok(report.bare_judgement())
            }
        }
    }

    fn judge(&self, claim: &Claim, context: &Context) -> Result<Judgement, String> {
        let claim = adapted(claim, self.engine.context()).map_err(|error| format!("{error:#}"))?;
        match catch_unwind(AssertUnwindSafe(|| judge_claim(&claim, context))) {
            Ok(Ok(judgement)) => Ok(judgement),
            Ok(Err(CheckError::Undecided(undecided))) => Err(undecided.to_string()),
            Ok(Err(CheckError::Broken(error))) => Err(format!("{error:#}")),
            Err(_) => Err("the check panicked".to_owned()),
        }
    }
}

/// Every claim whose check is there, then every playbook.
pub fn targets(engine: &Engine) -> impl Iterator<Item = Target<'_>> {
    let claims = engine.checklist().claims().iter().filter(|claim| claim.has_check()).map(Target::Claim);
    claims.chain(engine.context().playbooks().iter().map(Target::Playbook))
}

/// Every target with each of its faults.
pub fn pairs(engine: &Engine) -> Vec<(Target<'_>, &Fault)> {
    let faults = engine.checklist().faults();
    let named =
        targets(engine).flat_map(|target| target.faults().into_iter().map(move |name| (target, name)));
    named.filter_map(|(target, name)| Some((target, faults.get(name)?))).collect()
}

/// Why a target cannot be judged here at all. That a small model stands in for the released one is no obstacle for a
/// claim whose figures can be adapted; a playbook means what it says.
pub fn obstacle<'t>(engine: &Engine, target: impl Into<Target<'t>>) -> Option<Undecided> {
    let context = engine.context();
    let is_available = |need: Need| available(need, context.workspace(), context.model());
    let claim = match target.into() {
        Target::Claim(claim) => claim,
        Target::Playbook(playbook) => return playbook.outline().undecided(&is_available),
    };
    let needs = claim.needs.iter().filter(|&&need| need != Need::ReleaseModel);
    needs.copied().find_map(|need| is_available(need).err()).or_else(|| {
        let judges = context.playbooks().iter().filter(|playbook| claim.is_judged_by(&playbook.id));
        judges.into_iter().find_map(|playbook| playbook.outline().undecided(&is_available))
    })
}

fn green(judgement: &Judgement) -> Result<(), String> {
    match judgement.verdict() {
        Verdict::Pass => Ok(()),
        other => Err(describe(&other)),
    }
}

fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => "green".to_owned(),
        Verdict::Fail { diagnosis } => format!("red: {diagnosis}"),
        Verdict::Undecided(undecided) => format!("undecided: {undecided}"),
    }
}

/// The claim with the figures of the model at hand where it names those of the released one.
fn adapted(claim: &Claim, context: &Context) -> anyhow::Result<Claim> {
    let mut claim = claim.clone();
    if !context.model().known.as_ref().is_some_and(|known| known.stand_in) {
        return Ok(claim);
    }
    if let Some(limit) = claim.limits.get_mut("vocab_size") {
        *limit = context.file()?.metadata().config.vocab_size as f64;
    }
    if let Some(limit) = claim.limits.get_mut("im_start") {
        let id = context.tokenizer()?.token_to_id("<|im_start|>");
        *limit = id.map_or(f64::NAN, |id| f64::from(id.0));
    }
    Ok(claim)
}
