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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Options;
    use crate::workspace::sample::Checkout;

    #[test]
    fn after_the_first_failure_a_run_in_a_hurry_runs_nothing_and_another_goes_on() {
        let checkout = Checkout::new();
        let broken = checkout.path().join("broken.apr");
        std::fs::write(&broken, "no model").unwrap();
        let options = Options { model: Some(broken.display().to_string()), seed: None };
        let engine = Engine::open(checkout.workspace(), &options).unwrap();
        let case = |id: &str| {
            let id = id.parse().unwrap();
            engine.cases().iter().find(|case| case.claim() == Some(id)).unwrap().clone()
        };
        // Of one group, so that they run in turn.
        let plan = ["A1", "A6"].map(case);
        let verdicts = |fail_fast| {
            let mut ended = Vec::new();
            let outcomes = run(&engine, &plan, fail_fast, |case, _| ended.push(case.id.to_string()));
            assert_eq!(ended, outcomes.iter().map(|outcome| outcome.case.to_string()).collect::<Vec<_>>());
            let words = outcomes.iter().map(|outcome| (outcome.verdict.word(), outcome.known_before));
            (words.collect::<Vec<_>>(), outcomes[1].verdict.clone())
        };
        let (words, second) = verdicts(true);
        assert_eq!(words, [("fail", false), ("undecided", true)]);
        let not_run = Undecided::unverified(
            "not run: the run stopped at its first failure",
            "run it with --no-fail-fast",
        );
        assert_eq!(second, Verdict::Undecided(not_run));
        assert_eq!(verdicts(false).0, [("fail", false), ("undecided", false)]);
    }
}
