//! Runs a plan: cases that compute in turn, others beside them, timing cases last and alone; outcomes as they come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use crate::case::{Case, Evidence, Outcome, Undecided, Verdict};
use crate::checklist::Group;
use crate::engine::Engine;
use crate::process::is_interrupted;

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
        let run_one = |case: &&Case| {
            let outcome = if fail_fast && has_failed.load(Ordering::Relaxed) {
                not_run(case)
            } else {
                engine.run(case)
            };
            has_failed.fetch_or(outcome.is_red(), Ordering::Relaxed);
            outcome
        };
        in_lanes(&lanes, run_one, |case, outcome| {
            ended(case, &outcome);
            outcomes.push(outcome);
        });
    }
    outcomes
}

/// Does the jobs of each lane in turn, the lanes beside each other; what comes of them is handed over here, in the order
/// they end. Once interrupted, it begins no other.
pub fn in_lanes<'j, J: Sync, R: Send>(
    lanes: &'j [Vec<J>],
    work: impl Fn(&J) -> R + Sync,
    mut ended: impl FnMut(&'j J, R),
) {
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for lane in lanes {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || {
                for job in lane.iter().take_while(|_| !is_interrupted()) {
                    // The receiver outlives the scope; it hears of every job.
                    let _ = sender.send((job, work(job)));
                }
            });
        }
        // Only the lanes' senders must keep the channel open.
        drop(sender);
        for (job, result) in receiver {
            ended(job, result);
        }
    });
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
