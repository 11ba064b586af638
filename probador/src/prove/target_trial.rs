//! One claim or playbook tried under everything it names.

use serde::Serialize;

use super::target::{Target, TargetName};
use super::trial::{Doubt, Trials, obstacle};
use crate::checklist::Fault;
use crate::engine::Engine;

/// What trying a claim or a playbook came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetTrial {
    /// What was tried.
    pub target: TargetName,
    /// Its title.
    pub title: String,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Faults it names.
    pub n_named: usize,
    /// The faults it was tried under, now or before with nothing changed since.
    pub faults: Vec<FaultTrial>,
}

/// A target under one of its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultTrial {
    /// The fault.
    pub fault: String,
    /// Why it is not shown to be caught; `None` when it is.
    pub doubt: Option<Doubt>,
}

/// Whether a target is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// Green clean, green under nothing, red under each fault.
    Proven,
    /// Proven before, and nothing it depends on has changed.
    Known,
    /// Caught every fault it was tried under, and not all were tried.
    Unfinished,
    /// At least one fault is not caught.
    Survived,
    /// It could not be tried as it must be.
    Doubtful {
        /// Why.
        why: String,
    },
    /// This model or machine cannot decide it.
    Waiting {
        /// For what.
        why: String,
    },
}

impl TargetTrial {
    /// `target` before it is tried, caught under `known` faults before.
    pub fn new(engine: &Engine, target: Target<'_>, known: &[String]) -> Self {
        let faults = known.iter().map(|name| FaultTrial { fault: name.clone(), doubt: None }).collect();
        let mut trial = Self {
            target: target.name(),
            title: target.title().to_owned(),
            standing: Standing::Unfinished,
            n_named: target.faults().len(),
            faults,
        };
        trial.settle();
        match (&trial.standing, obstacle(engine, target)) {
            (Standing::Proven, _) => trial.standing = Standing::Known,
            (_, Some(undecided)) => trial.standing = Standing::Waiting { why: undecided.to_string() },
            (_, None) => {}
        }
        trial
    }

    /// Tries it clean, under nothing, and under each of `faults`, planted in this process.
    pub fn run(&mut self, trials: &Trials, target: Target<'_>, faults: &[&Fault]) {
        if let Standing::Waiting { .. } = self.standing {
            return;
        }
        if let Err(doubt) = trials.clean(target).and_then(|()| trials.calm(target)) {
            self.standing = Standing::Doubtful { why: doubt.to_string() };
            return;
        }
        for fault in faults {
            self.add(&fault.name, trials.catches(target, fault));
        }
        self.settle();
    }

    /// Notes how it took a fault.
    pub fn add(&mut self, fault: &str, caught: Result<(), Doubt>) {
        self.faults.push(FaultTrial { fault: fault.to_owned(), doubt: caught.err() });
        self.settle();
    }

    /// The faults it is shown to catch.
    pub fn caught(&self) -> Vec<String> {
        let caught = self.faults.iter().filter(|fault| fault.doubt.is_none());
        caught.map(|fault| fault.fault.clone()).collect()
    }

    fn settle(&mut self) {
        let caught = self.faults.iter().filter(|fault| fault.doubt.is_none()).count();
        self.standing = if caught < self.faults.len() {
            Standing::Survived
        } else if caught == 0 || caught < self.n_named {
            Standing::Unfinished
        } else {
            Standing::Proven
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Options;
    use crate::workspace::sample::Checkout;

    fn engine(checkout: &Checkout, model: &str) -> Arc<Engine> {
        let options = Options { model: Some(model.to_owned()), seed: None };
        Arc::new(Engine::open(checkout.workspace(), &options).unwrap())
    }

    fn claim<'e>(engine: &'e Engine, id: &str) -> Target<'e> {
        Target::Claim(engine.checklist().claim(id.parse().unwrap()).unwrap())
    }

    #[test]
    fn what_cannot_be_decided_here_waits_and_is_not_tried() {
        let checkout = Checkout::new();
        let engine = engine(&checkout, "tiny");
        // No result of clippy is stored in this checkout.
        let target = claim(&engine, "G3");
        let mut trial = TargetTrial::new(&engine, target, &[]);
        let why = "unverified: no result of clippy is stored for this tree; cargo probador lint --clippy";
        assert_eq!(trial.standing, Standing::Waiting { why: why.to_owned() });
        let before = trial.clone();
        let fault = &engine.checklist().faults()["mask-off-by-one"];
        trial.run(&Trials::new(Arc::clone(&engine)), target, &[fault]);
        assert_eq!(trial, before);
    }

    #[test]
    fn what_is_not_green_without_a_fault_is_doubtful_and_not_tried_under_one() {
        let checkout = Checkout::new();
        let broken = checkout.path().join("broken.apr");
        std::fs::write(&broken, "no model").unwrap();
        let engine = engine(&checkout, broken.to_str().unwrap());
        let target = claim(&engine, "A1");
        let mut trial = TargetTrial::new(&engine, target, &[]);
        assert_eq!(trial.standing, Standing::Unfinished);
        let fault = &engine.checklist().faults()["truncated-file"];
        trial.run(&Trials::new(Arc::clone(&engine)), target, &[fault]);
        let Standing::Doubtful { why } = &trial.standing else { panic!("{trial:?}") };
        assert!(why.starts_with("it is not green without any fault: red: "), "{why}");
        assert!(trial.faults.is_empty() && trial.caught().is_empty());
    }

    #[test]
    fn a_target_is_proven_once_every_fault_it_names_is_caught() {
        let checkout = Checkout::new();
        let engine = engine(&checkout, "tiny");
        let target = claim(&engine, "A4");
        let known = ["vocab-size-misstated".to_owned(), "layer-count-misstated".to_owned()];
        assert_eq!(TargetTrial::new(&engine, target, &known).standing, Standing::Known);
        let mut trial = TargetTrial::new(&engine, target, &known[..1]);
        assert_eq!((&trial.standing, trial.n_named), (&Standing::Unfinished, 2));
        trial.add(&known[1], Err(Doubt::Survived));
        assert_eq!((&trial.standing, trial.caught()), (&Standing::Survived, known[..1].to_vec()));
        trial.faults.pop();
        trial.add(&known[1], Ok(()));
        assert_eq!((&trial.standing, trial.caught()), (&Standing::Proven, known.to_vec()));
    }
}
