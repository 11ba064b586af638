//! Claims about tests: what the stored coverage and the stored results of mutants say, if they are of this very tree.

use std::path::Path;

use crate::case::{Judgement, Undecided};
use crate::checklist::{Claim, CoverageClaim, MutationClaim};
use crate::checks::{CheckError, Context};
use crate::coverage::{
    COVERAGE, Coverage, ENGINE, INFERENCE, Line, Share, Sources, StoredCoverage, VERDICT_CORE, coverage,
    shares,
};
use crate::members::members;
use crate::mutants::{MUTANTS, StoredMutants, mutated, score};

/// Missed lines that are named one by one.
const NAMED: usize = 20;

/// G1, I1, I2, I3: what the tests execute.
pub fn covered(context: &Context, claim: &Claim, what: CoverageClaim) -> Result<Judgement, CheckError> {
    let root = context.workspace().root();
    let stored = StoredCoverage::read(&context.stored_result(COVERAGE))?;
    let members = members(root)?;
    // The verdict core is held to what its own tests execute: a change elsewhere leaves its result as it is.
    let is_core = matches!(what, CoverageClaim::CoreLines | CoverageClaim::CoreBranches);
    let judged = members.iter().filter(|member| !is_core || VERDICT_CORE.takes(member));
    let coverage = coverage(&stored, judged).map_err(CheckError::Undecided)?;
    let mut judgement = Judgement::new();
    judgement.note(coverage.tools.join("; "));
    left_out(&mut judgement, root, &coverage)?;
    match what {
        CoverageClaim::Lines => {
            let [lines, ..] = shares(coverage.files.values());
            share(&mut judgement, "lines covered", lines, claim.limit("percent")?);
            require_branches(&coverage)?;
            for scope in [ENGINE, INFERENCE] {
                let [lines, _, branches] = shares(coverage.within(&scope).map(|(_, file)| file));
                let what = |kind: &str| format!("{kind} covered in {}", scope.name);
                share(&mut judgement, &what("lines"), lines, claim.limit("strict-line-percent")?);
                share(&mut judgement, &what("branches"), branches, claim.limit("strict-branch-percent")?);
            }
        }
        CoverageClaim::CoreLines => core_lines(&mut judgement, root, &coverage)?,
        CoverageClaim::CoreBranches => {
            require_branches(&coverage)?;
            let [_, _, branches] = shares(coverage.within(&VERDICT_CORE).map(|(_, file)| file));
            share(&mut judgement, "branches covered", branches, claim.limit("percent")?);
        }
        CoverageClaim::PublicFunctions => public_functions(&mut judgement, root, &coverage)?,
    }
    Ok(judgement)
}

/// I4: which mutants survive.
pub fn mutants_caught(
    context: &Context,
    claim: &Claim,
    what: MutationClaim,
) -> Result<Judgement, CheckError> {
    let MutationClaim::Score = what;
    let workspace = context.workspace();
    let members = members(workspace.root())?;
    let stored = StoredMutants::read(&context.stored_result(MUTANTS))?;
    let listed = workspace.equivalent_mutants().map_err(anyhow::Error::from)?;
    let limit = claim.limit("percent")?;
    let mut judgement = Judgement::new();
    for member in mutated(&members) {
        let score = score(workspace.root(), member, &stored, &listed).map_err(CheckError::Undecided)?;
        let what = format!("mutants caught in {}", member.name);
        let is_enough = judgement.at_least(&what, score.percent(), limit, "%", score.n());
        for survivor in &score.survivors {
            let what = format!("no test notices {survivor}");
            if is_enough {
                judgement.note(what);
            } else {
                judgement.fail(what);
            }
        }
        for (mutant, why) in &score.equivalent {
            judgement.note(format!("{mutant} means the same: {why}"));
        }
        for problem in &score.problems {
            judgement.fail(problem.to_string());
        }
    }
    Ok(judgement)
}

/// Files may be left out that are for another processor, and no others.
fn left_out(judgement: &mut Judgement, root: &Path, coverage: &Coverage) -> anyhow::Result<()> {
    for (path, lacks) in &coverage.left_out {
        if Sources::read(&root.join(path))?.feature.is_some_and(|feature| feature.name() == lacks) {
            judgement.note(format!("{path} is left out: the processor it was measured on has no {lacks}"));
        } else {
            judgement.fail(format!("{path} is left out, and is not for processors with {lacks} alone"));
        }
    }
    Ok(())
}

fn share(judgement: &mut Judgement, what: &str, share: Share, limit: f64) {
    judgement.at_least(what, share.percent(), limit, "%", share.total);
}

/// Undecided where the branches of a crate were not counted.
fn require_branches(coverage: &Coverage) -> Result<(), CheckError> {
    let without = &coverage.without_branches;
    if without.is_empty() {
        return Ok(());
    }
    let crates: Vec<String> = without.iter().map(|name| format!(" --crate {name}")).collect();
    Err(CheckError::Undecided(Undecided::unverified(
        format!("the stored coverage of {} was measured without branches", without.join(", ")),
        format!("rustup toolchain install nightly && cargo probador coverage --fresh{}", crates.concat()),
    )))
}

/// Every line of the verdict core is executed or excused, and every excuse is needed.
fn core_lines(judgement: &mut Judgement, root: &Path, coverage: &Coverage) -> anyhow::Result<()> {
    let mut n_missed = 0;
    let mut n_lines = 0;
    for (path, file) in coverage.within(&VERDICT_CORE) {
        let sources = Sources::read(&root.join(path))?;
        n_lines += file.lines.total;
        let missed: Vec<u32> = file.lines.missed.0.iter().map(|Line(line)| *line).collect();
        let unexcused: Vec<u32> =
            missed.iter().copied().filter(|line| sources.excuse(*line).is_none()).collect();
        n_missed += unexcused.len();
        for line in unexcused.into_iter().take(NAMED) {
            judgement.fail(format!("{path}:{line}: no test executes this line"));
        }
        for excuse in &sources.exclusions {
            if missed.iter().any(|line| excuse.lines.contains(line)) {
                judgement.note(format!("{path}:{}: excused, because {}", excuse.line, excuse.reason));
            } else {
                judgement.fail(format!("{path}:{}: what is excused here is executed", excuse.line));
            }
        }
        for (line, problem) in &sources.problems {
            judgement.fail(format!("{path}:{line}: {problem}"));
        }
    }
    judgement.exactly("lines not covered", n_missed, 0, "", n_lines);
    Ok(())
}

fn public_functions(judgement: &mut Judgement, root: &Path, coverage: &Coverage) -> anyhow::Result<()> {
    let mut n_functions = 0;
    let mut n_missed = 0;
    for (path, file) in coverage.within(&VERDICT_CORE).chain(coverage.within(&INFERENCE)) {
        let sources = Sources::read(&root.join(path))?;
        for function in &sources.public {
            n_functions += 1;
            if let Some(missed) = file.functions.missed.0.iter().find(|at| function.lines.contains(&at.line))
            {
                n_missed += 1;
                judgement.fail(format!("{path}:{}: no test executes `{}`", missed.line, function.name));
            }
        }
    }
    judgement.exactly("public functions not covered", n_missed, 0, "", n_functions);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Verdict;
    use crate::checklist::Check;
    use crate::coverage::{Counts, FileCounts};
    use crate::faults;
    use crate::models::choose;
    use crate::workspace::Workspace;

    /// The verdict on `id` under the fault of this name, or under one that does nothing.
    fn verdict(id: &str, fault: Option<&str>) -> Verdict {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        let checklist = workspace.checklist().unwrap();
        let claim = checklist.claim(id.parse().unwrap()).unwrap();
        let subject = match fault {
            Some(name) => faults::plant(name, &model.path).unwrap().unwrap(),
            None => faults::plant_nothing(Some(claim), &model.path).unwrap(),
        };
        let context = Context::new(workspace, model, None, []).with_fault(subject);
        let judged = match claim.check {
            Check::Coverage(what) => covered(&context, claim, what),
            Check::Mutation(what) => mutants_caught(&context, claim, what),
            _ => panic!("{id} judges no stored result"),
        };
        judged.unwrap_or_else(|error| panic!("{error:?}")).verdict()
    }

    #[test]
    fn branches_that_were_not_counted_decide_nothing() {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        let checklist = workspace.checklist().unwrap();
        let claim = checklist.claim("I2".parse().unwrap()).unwrap();
        let subject = faults::plant_nothing(Some(claim), &model.path).unwrap();
        let path = subject.planted.stored_result().unwrap().to_owned();
        let mut stored = StoredCoverage::read(&path).unwrap();
        stored.crates.get_mut("probador-core").unwrap().has_branches = false;
        stored.write(&path).unwrap();
        let context = Context::new(workspace, model, None, []).with_fault(subject);
        let judged = covered(&context, claim, CoverageClaim::CoreBranches);
        let Err(CheckError::Undecided(undecided)) = judged else { panic!("{judged:?}") };
        assert_eq!(
            undecided.to_string(),
            "unverified: the stored coverage of probador-core was measured without branches; rustup toolchain install \
             nightly && cargo probador coverage --fresh --crate probador-core"
        );
    }

    #[test]
    fn every_altered_result_is_red_in_the_words_of_its_fault_and_the_clean_twin_green() {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        for id in ["G1", "I1", "I2", "I3", "I4"] {
            assert_eq!(verdict(id, None), Verdict::Pass, "{id}");
            let claim = checklist.claim(id.parse().unwrap()).unwrap();
            assert!(!claim.faults.is_empty(), "{id}");
            for name in &claim.faults {
                let Verdict::Fail { diagnosis } = verdict(id, Some(name)) else {
                    panic!("{id} accepts {name}")
                };
                let wanted = checklist.faults()[name].diagnostic(claim.id).unwrap();
                assert!(diagnosis.contains(wanted), "{id} under {name}: {diagnosis}");
            }
        }
    }

    #[test]
    fn survivors_are_named_where_enough_are_caught_and_a_stale_list_is_found() {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        let claim = workspace.checklist().unwrap().claim("I4".parse().unwrap()).unwrap().clone();
        let listed = workspace.equivalent_mutants().unwrap();
        let first = &listed[0];
        let subject = faults::plant_nothing(Some(&claim), &model.path).unwrap();
        let path = subject.planted.stored_result().unwrap().to_owned();
        let mut stored = StoredMutants::read(&path).unwrap();
        let mut survivor = None;
        for file in stored.crates.values_mut().flat_map(|result| result.files.values_mut()) {
            let missed = &mut file.tried.missed;
            if let Some(at) = missed.iter().position(|mutant| first.is(mutant)) {
                missed[at].mutant = "replace + with - in a made-up function".to_owned();
                survivor = Some(format!("no test notices {}", missed[at]));
            }
        }
        stored.write(&path).unwrap();
        let context = Context::new(workspace, model, None, []).with_fault(subject);
        let judgement = mutants_caught(&context, &claim, MutationClaim::Score).unwrap();
        let (line, column) = first.at;
        let what = format!("`{}` is no survivor: it is gone, or a test notices it", first.mutant);
        assert_eq!(
            judgement.failures,
            [format!("checklist/equivalent-mutants.yaml:{line}:{column}: {what}")]
        );
        assert!(judgement.notes.contains(&survivor.unwrap()), "{:?}", judgement.notes);
    }

    #[test]
    fn lines_that_are_missed_must_be_excused_and_excuses_needed() {
        let root = tempfile::tempdir().unwrap();
        let path = "probador/core/src/made_up.rs";
        std::fs::create_dir_all(root.path().join("probador/core/src")).unwrap();
        let text = [
            "fn a() {",
            "    // coverage: the next line, because nothing gets there",
            "    b();",
            "    // coverage: the next line, because it was thought that nothing does",
            "    c();",
            "    // coverage: never mind",
            "    d();",
            "}",
        ];
        std::fs::write(root.path().join(path), text.join("\n")).unwrap();
        let lines = Counts { total: 8, missed: [3, 7].map(Line).into_iter().collect() };
        let file = FileCounts { lines, ..FileCounts::default() };
        let coverage = Coverage { files: [(path.to_owned(), file)].into(), ..Coverage::default() };
        let mut judgement = Judgement::new();
        core_lines(&mut judgement, root.path(), &coverage).unwrap();
        assert_eq!(judgement.notes, [format!("{path}:2: excused, because nothing gets there")]);
        let found = &judgement.failures;
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[0], format!("{path}:7: no test executes this line"));
        assert_eq!(found[1], format!("{path}:4: what is excused here is executed"));
        assert!(found[2].starts_with(&format!("{path}:6: ")), "{found:?}");
        assert_eq!(found[3], "lines not covered 1, exactly 0");
    }
}
