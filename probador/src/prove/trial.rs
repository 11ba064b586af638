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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Reason;
    use crate::engine::Options;
    use crate::workspace::sample::Checkout;

    fn trials(checkout: &Checkout, model: &Path) -> Trials {
        let options = Options { model: Some(model.display().to_string()), seed: None };
        Trials::new(Arc::new(Engine::open(checkout.workspace(), &options).unwrap()))
    }

    fn tiny(checkout: &Checkout) -> Trials {
        trials(checkout, Path::new("tiny"))
    }

    fn claim<'t>(trials: &'t Trials, id: &str) -> &'t Claim {
        trials.engine().checklist().claim(id.parse().unwrap()).unwrap()
    }

    fn fault<'t>(trials: &'t Trials, name: &str) -> &'t Fault {
        &trials.engine().checklist().faults()[name]
    }

    #[test]
    fn only_red_in_the_words_of_the_fault_shows_that_it_is_caught() {
        let checkout = Checkout::new();
        let trials = tiny(&checkout);
        let a4 = claim(&trials, "A4");
        let misstated = fault(&trials, "vocab-size-misstated");
        let red = |said: &str| Reaction::Red { said: said.to_owned() };
        assert_eq!(red("vocab_size is 7").shows(a4, misstated), Ok(()));
        let other = Doubt::OtherWords { wanted: "vocab_size".into(), said: "layers".into() };
        assert_eq!(red("layers").shows(a4, misstated), Err(other));
        // A fault that asks for no words of the claim is caught by none.
        let none = Doubt::OtherWords { wanted: String::new(), said: "vocab_size".into() };
        assert_eq!(red("vocab_size").shows(a4, fault(&trials, "mask-off-by-one")), Err(none));
        assert_eq!(Reaction::Green.shows(a4, misstated), Err(Doubt::Survived));
        let broken = Reaction::Broken { why: "no disk".into() };
        assert_eq!(broken.shows(a4, misstated), Err(Doubt::Broken("no disk".into())));
    }

    #[test]
    fn every_doubt_is_a_sentence() {
        let said = "one\ntwo\nthree\nfour".to_owned();
        for (doubt, expected) in [
            (Doubt::NotClean("red: off".into()), "it is not green without any fault: red: off"),
            (Doubt::Nervous("red: off".into()), "it is red under a fault that does nothing: red: off"),
            (Doubt::Survived, "the fault survives: it stays green"),
            (
                Doubt::OtherWords { wanted: "off".into(), said },
                "it is red without saying \"off\": one; two; three",
            ),
            (Doubt::Broken("no disk".into()), "nothing was shown: no disk"),
        ] {
            assert_eq!(doubt.to_string(), expected);
        }
        let undecided = Undecided { reason: Reason::Inconclusive, what: "x".into(), remedy: String::new() };
        for (verdict, expected) in [
            (Verdict::Pass, "green"),
            (Verdict::Fail { diagnosis: "off".into() }, "red: off"),
            (Verdict::Undecided(undecided), "undecided: inconclusive: x"),
        ] {
            assert_eq!(describe(&verdict), expected);
        }
        assert!(green(&Judgement::new()).unwrap_err().contains("nothing was measured"));
    }

    #[test]
    fn what_cannot_be_planted_shows_nothing() {
        let checkout = Checkout::new();
        let broken = checkout.path().join("broken.apr");
        std::fs::write(&broken, "no model").unwrap();
        let trials = trials(&checkout, &broken);
        let a4 = claim(&trials, "A4");
        let nobodys = Fault { name: "nobodys".into(), ..fault(&trials, "scale-shifted").clone() };
        let why = "nothing plants `nobodys`".to_owned();
        assert_eq!(trials.under(a4, &nobodys), Reaction::Broken { why });
        let Reaction::Broken { why } = trials.under(a4, fault(&trials, "scale-shifted")) else {
            panic!("it was planted in what is no model")
        };
        assert!(why.starts_with("it cannot be planted: "), "{why}");
        // Nothing shows a check that cannot judge the subject to be green, red or calm.
        let Err(Doubt::NotClean(why)) = trials.catches(a4, fault(&trials, "scale-shifted")) else {
            panic!("what is no model is clean")
        };
        assert!(why.contains("broken.apr"), "{why}");
        std::fs::remove_file(&broken).unwrap();
        let Err(Doubt::Broken(why)) = trials.calm(a4) else { panic!("what is gone was copied") };
        assert!(why.starts_with("nothing cannot be planted: "), "{why}");
    }

    #[test]
    fn a_claim_that_this_model_cannot_decide_is_not_clean() {
        let checkout = Checkout::new();
        let other = checkout.path().join("other.apr");
        std::fs::copy(checkout.path().join("golden/tiny/tiny.apr"), &other).unwrap();
        let trials = trials(&checkout, &other);
        let why = "unverified: there are no golden traces of `other`; scripts/generate_golden_traces.py";
        assert_eq!(trials.clean(claim(&trials, "I14")), Err(Doubt::NotClean(why.to_owned())));
        // The first answer is remembered.
        std::fs::remove_file(&other).unwrap();
        assert_eq!(trials.clean(claim(&trials, "I14")), Err(Doubt::NotClean(why.to_owned())));
    }

    #[test]
    fn figures_of_the_released_model_are_adapted_to_a_stand_in_and_to_no_other() {
        let checkout = Checkout::new();
        let adapt = |trials: &Trials, id: &str, limit: &str| {
            let claim = claim(trials, id);
            let adapted = adapted(claim, trials.engine().context()).unwrap();
            (claim.limits[limit], adapted.limits[limit])
        };
        let small = tiny(&checkout);
        let (released, own) = adapt(&small, "B1", "vocab_size");
        let vocab_size = small.engine().context().file().unwrap().metadata().config.vocab_size;
        assert!((released - 151_936.0).abs() < 1e-9 && (own - vocab_size as f64).abs() < 1e-9);
        let (_, own) = adapt(&small, "B3", "im_start");
        let id = small.engine().context().tokenizer().unwrap().token_to_id("<|im_start|>").unwrap();
        assert!((own - f64::from(id.0)).abs() < 1e-9);

        let other = checkout.path().join("other.apr");
        std::fs::copy(checkout.path().join("golden/tiny/tiny.apr"), &other).unwrap();
        let (released, own) = adapt(&trials(&checkout, &other), "B1", "vocab_size");
        assert!((released - own).abs() < 1e-9, "{own}");
    }
}
