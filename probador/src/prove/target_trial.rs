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
