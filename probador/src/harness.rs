//! Cases as ordinary tests, for `cargo test` and `cargo nextest`; the only file that knows libtest-mimic.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::case::{Case, Outcome, Subject, Verdict};
use crate::engine::{Engine, Options};
use crate::workspace::Workspace;

/// Runs the cases that `belongs` selects as the test binary's tests, under libtest's own command line.
pub fn main(belongs: fn(&Subject) -> bool) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let options =
        Options { model: std::env::var("PROBADOR_MODEL").ok().filter(|model| !model.is_empty()), seed: None };
    let engine = match Workspace::find(None).map_err(Into::into).and_then(|at| Engine::open(at, &options)) {
        Ok(engine) => Arc::new(engine),
        Err(error) => {
            crate::printer::Printer::new(crate::printer::ColorChoice::Never, false)
                .error(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // The cases themselves use every core, and keep out of each other's way.
    arguments.test_threads.get_or_insert(2);
    let trials = engine
        .cases()
        .iter()
        .filter(|case| belongs(&case.subject))
        .map(|case| trial(&engine, case))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A case as a trial: undecidable ones are listed as ignored, and the canary passes by being red.
fn trial(engine: &Arc<Engine>, case: &Case) -> Trial {
    let (engine, case) = (Arc::clone(engine), case.clone());
    let name = case.id.to_string();
    if let Some(undecided) = &case.undecided {
        let reason = undecided.to_string();
        return Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
            .with_ignored_flag(true);
    }
    Trial::test(name, move || conclude(&engine.run(&case)))
}

fn conclude(outcome: &Outcome) -> Result<(), Failed> {
    let rerun = &outcome.evidence.rerun;
    match (&outcome.verdict, &outcome.subject) {
        (Verdict::Fail { .. }, Subject::Canary)
        | (Verdict::Pass, Subject::Claim(_) | Subject::Golden { .. }) => Ok(()),
        (_, Subject::Canary) => Err("the case that is always red was not red".into()),
        (Verdict::Fail { diagnosis }, _) => Err(format!("{diagnosis}\nhint: {rerun}").into()),
        (Verdict::Undecided(undecided), _) => Err(format!("{undecided}\nhint: {rerun}").into()),
    }
}
