//! Runs a plan: cases that compute in turn, others beside them, timing cases last and alone; outcomes as they come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use crate::case::{Case, Evidence, Outcome, Undecided, Verdict};
use crate::checklist::Group;
use crate::engine::Engine;

/// Runs `plan` and hands every outcome to `ended` in the order they end. With `fail_fast`, cases after the first red
/// one are not run and say so.
pub fn run(
    engine: &Engine,
    plan: &[Case],
    fail_fast: bool,
    mut ended: impl FnMut(&Case, &Outcome),
) -> Vec<Outcome> {
    let (alone, together): (Vec<&Case>, Vec<&Case>) = plan.iter().partition(|case| case.group == Group::Perf);
    let (computing, beside): (Vec<&Case>, Vec<&Case>) =
        together.into_iter().partition(|case| case.group == Group::Model);
    let has_failed = AtomicBool::new(false);
    let mut outcomes = Vec::with_capacity(plan.len());
    for lanes in [[computing, beside], [alone, Vec::new()]] {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        std::thread::scope(|scope| {
            for lane in &lanes {
                let (sender, has_failed) = (&sender, &has_failed);
                let sender = sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
                scope.spawn(move || {
                    for case in lane {
                        let outcome = if fail_fast && has_failed.load(Ordering::Relaxed) {
                            not_run(case)
                        } else {
                            engine.run(case)
                        };
                        has_failed.fetch_or(outcome.is_red(), Ordering::Relaxed);
                        // The receiver outlives the scope; it hears of every case.
                        let _ = sender.send((*case, outcome));
                    }
                });
            }
            // Only the lanes' senders must keep the channel open.
            *sender.lock().unwrap_or_else(PoisonError::into_inner) = mpsc::channel().0;
            for (case, outcome) in receiver {
                ended(case, &outcome);
                outcomes.push(outcome);
            }
        });
    }
    outcomes
}

fn not_run(case: &Case) -> Outcome {
    Outcome {
        case: case.id.clone(),
        subject: case.subject.clone(),
        verdict: Verdict::Undecided(Undecided::unverified(
            "not run: the run stopped at its first failure",
            "run it with --no-fail-fast",
        )),
        known_before: true,
        evidence: Evidence::default(),
    }
}
