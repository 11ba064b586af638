//! Cases as ordinary tests, for `cargo test` and `cargo nextest`; the only file that knows libtest-mimic.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::case::{Case, Outcome, Subject, Verdict};
use crate::checklist::FaultKind;
use crate::engine::{Engine, Options};
use crate::printer::{ColorChoice, Printer};
use crate::prove::{Target, Trials, obstacle, pairs, targets};
use crate::workspace::Workspace;

/// Runs the cases that `belongs` selects as the test binary's tests, under libtest's own command line.
pub fn main(belongs: fn(&Subject) -> bool) -> ExitCode {
    run(belongs(&Subject::Canary), |engine| {
        engine.cases().iter().filter(|case| belongs(&case.subject)).map(|case| trial(engine, case)).collect()
    })
}

/// Runs every claim and every playbook with each of its planted faults as a test: green without the fault, red with it.
pub fn faults() -> ExitCode {
    run(false, |engine| {
        // One for all, so that a claim is judged clean once.
        let trials = Arc::new(Trials::new(Arc::clone(engine)));
        pairs(engine)
            .into_iter()
            .map(|(target, fault)| {
                let case = match target {
                    Target::Claim(claim) => {
                        claim.case_name().rsplit("::").next().unwrap_or_default().to_owned()
                    }
                    Target::Playbook(playbook) => playbook.id.case_name(),
                };
                let name = format!("fault::{case}::{}", fault.name);
                let (target_name, fault) = (target.name(), fault.clone());
                if let Some(undecided) = obstacle(engine, target) {
                    let reason = undecided.to_string();
                    return Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
                        .with_ignored_flag(true);
                }
                if fault.kind == FaultKind::Source {
                    let reason = format!("it takes a build: cargo probador prove {target_name}");
                    return Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
                        .with_ignored_flag(true);
                }
                let trials = Arc::clone(&trials);
                Trial::test(name, move || {
                    let target = targets(trials.engine()).find(|target| target.name() == target_name);
                    let target = target.ok_or_else(|| format!("there is no {target_name}"))?;
                    let catches = trials.catches(target, &fault);
                    catches.map_err(|doubt| format!("{target_name} under `{}`: {doubt}", fault.name).into())
                })
            })
            .collect()
    })
}

/// Opens the engine on the model that `PROBADOR_MODEL` names and runs the trials that `make` makes of it; `explains` at
/// the end what ignored cases wait for.
fn run(explains: bool, make: impl FnOnce(&Arc<Engine>) -> Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let model = std::env::var("PROBADOR_MODEL").ok().filter(|model| !model.is_empty());
    let options = Options { model, seed: None };
    let engine = match Workspace::find(None).map_err(Into::into).and_then(|at| Engine::open(at, &options)) {
        Ok(engine) => Arc::new(engine),
        Err(error) => {
            Printer::new(ColorChoice::Never, false).error(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // The cases themselves use every core, and keep out of each other's way.
    arguments.test_threads.get_or_insert(2);
    let conclusion = libtest_mimic::run(&arguments, make(&engine));
    if explains && !arguments.list && !arguments.exact && conclusion.num_ignored > 0 {
        explain_ignored(&engine);
    }
    conclusion.exit_code()
}

/// Says what ignored cases wait for, which libtest's format has no place for.
fn explain_ignored(engine: &Engine) {
    let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in engine.cases() {
        if let (Some(undecided), Some(claim)) = (&case.undecided, case.claim()) {
            waiting.entry(undecided.to_string()).or_default().push(claim.to_string());
        }
    }
    let mut printer = Printer::new(ColorChoice::Never, false);
    printer.talk("ignored, because undecidable here:");
    for (why, claims) in waiting {
        printer.talk(&format!("  {}: {why}", claims.join(" ")));
    }
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
        | (Verdict::Pass, Subject::Claim(_) | Subject::Playbook(_) | Subject::Golden { .. }) => Ok(()),
        (_, Subject::Canary) => Err("the case that is always red was not red".into()),
        (Verdict::Fail { diagnosis }, _) => Err(format!("{diagnosis}\nhint: {rerun}").into()),
        (Verdict::Undecided(undecided), _) => Err(format!("{undecided}\nhint: {rerun}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{CaseId, Evidence, Undecided};

    fn concluded(subject: &Subject, verdict: Verdict) -> Result<(), String> {
        let outcome = Outcome {
            case: CaseId::canary(),
            subject: subject.clone(),
            verdict,
            known_before: false,
            evidence: Evidence { rerun: "run it so".to_owned(), ..Evidence::default() },
        };
        conclude(&outcome).map_err(|failed| failed.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_claim_passes_green_and_the_canary_red() {
        let red = || Verdict::Fail { diagnosis: "off by 2".to_owned() };
        let undecided = || Verdict::Undecided(Undecided::unverified("no model", "get one"));
        let claim = Subject::Claim("A1".parse().unwrap());
        assert_eq!(concluded(&claim, Verdict::Pass), Ok(()));
        assert_eq!(concluded(&claim, red()), Err("off by 2\nhint: run it so".to_owned()));
        let waits = "unverified: no model; get one\nhint: run it so".to_owned();
        assert_eq!(concluded(&claim, undecided()), Err(waits));
        assert_eq!(concluded(&Subject::Canary, red()), Ok(()));
        for verdict in [Verdict::Pass, undecided()] {
            let green = "the case that is always red was not red".to_owned();
            assert_eq!(concluded(&Subject::Canary, verdict), Err(green));
        }
    }
}
