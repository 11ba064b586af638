//! What is here and what is not: for each thing a check may need, whether it is there, and if not, how to get it.

use crate::case::Undecided;
use crate::checklist::Need;
use crate::coverage::{COVERAGE, StoredCoverage, VERDICT_CORE, coverage};
use crate::members::{Member, members};
use crate::models::ModelChoice;
use crate::mutants::{MUTANTS, StoredMutants, mutated, score};
use crate::workspace::Workspace;

/// Whether `need` can be met for `model`. Looks at names of files only, never inside a model or a tensor.
pub fn available(need: Need, workspace: &Workspace, model: &ModelChoice) -> Result<(), Undecided> {
    let golden = |file: &str| workspace.path("golden").join(&model.name).join(file);
    let missing = |what: String, remedy: String| Err(Undecided::unverified(what, remedy));
    match need {
        Need::Model if model.path.is_file() => Ok(()),
        Need::Model => {
            let get = model
                .known
                .as_ref()
                .map_or_else(|| "name another with --model".to_owned(), |known| known.get.clone());
            missing(format!("there is no model at `{}`", model.path.display()), get)
        }
        Need::ReleaseModel => {
            available(Need::Model, workspace, model)?;
            match &model.known {
                Some(known) if known.stand_in => missing(
                    format!("the claim is about the released model, `{}` only stands in for it", known.name),
                    "make model && cargo probador full --model release".to_owned(),
                ),
                _ => Ok(()),
            }
        }
        Need::SmallModel => match &model.known {
            None => available(Need::KnownModel, workspace, model),
            Some(known) if known.stand_in => Ok(()),
            Some(known) => missing(
                format!("choosing the int4 values of `{}` takes minutes", known.name),
                "cargo probador full --model tiny".to_owned(),
            ),
        },
        Need::KnownModel if model.known.is_some() => Ok(()),
        Need::KnownModel => missing(
            format!("`{}` is not described in golden/models.yaml", model.name),
            "add it there: where it comes from, its fingerprints, its perplexity".to_owned(),
        ),
        Need::Apr if workspace.apr().is_some() => Ok(()),
        Need::Apr => missing(
            "the `apr` executable is not built".to_owned(),
            "cargo build --release -p apr-cli".to_owned(),
        ),
        Need::Terminal if cfg!(unix) => Ok(()),
        Need::Terminal => {
            missing("this system has no pseudo-terminals".to_owned(), "run it on Linux or macOS".to_owned())
        }
        Need::Goldens if golden("manifest.yaml").is_file() => Ok(()),
        Need::Goldens => missing(
            format!("there are no golden traces of `{}`", model.name),
            format!("scripts/generate_golden_traces.py, into golden/{}", model.name),
        ),
        Need::TokenizerGolden if golden("tokenizer-ids.json").is_file() => Ok(()),
        Need::TokenizerGolden => missing(
            format!("no ids of other tokenizers are recorded for `{}`", model.name),
            format!("scripts/generate_tokenizer_golden.py, into golden/{}", model.name),
        ),
        Need::ReferenceWeights if golden("weights.json").is_file() => Ok(()),
        Need::ReferenceWeights => missing(
            format!("no reference statistics of the weights of `{}`", model.name),
            format!("scripts/weight_statistics.py, into golden/{}", model.name),
        ),
        Need::EvaluationText => match model.known.as_ref().map(|known| &known.perplexity.text) {
            None => available(Need::KnownModel, workspace, model),
            Some(text) if evaluation_text(text, workspace).is_some() => Ok(()),
            Some(text) => missing(
                format!("the evaluation text `{text}` is not here"),
                "put it into the folder that APR_DATA_DIR names".to_owned(),
            ),
        },
        Need::SourceTree if workspace.path("subjects").is_dir() => Ok(()),
        Need::SourceTree => missing("the sources are not here".to_owned(), "run it in a checkout".to_owned()),
        Need::StoredResult if workspace.path(crate::stored::CLIPPY).is_file() => Ok(()),
        Need::StoredResult => missing(
            "no result of clippy is stored for this tree".to_owned(),
            "cargo probador lint --clippy".to_owned(),
        ),
        Need::Coverage => stored_coverage(workspace, |_| true),
        Need::CoreCoverage => stored_coverage(workspace, |member| VERDICT_CORE.takes(member)),
        Need::Mutants => stored_mutants(workspace),
        Need::Wasm => missing("there is no WebAssembly build".to_owned(), String::new()),
        Need::Profiler => missing("there is no profiler".to_owned(), String::new()),
        Need::Rapl => missing("this machine has no readable energy counters".to_owned(), String::new()),
        Need::WallMeter => missing("no power meter is attached".to_owned(), String::new()),
    }
}

/// Whether the stored coverage is of those crates as they are now that `wanted` takes.
fn stored_coverage(workspace: &Workspace, wanted: impl Fn(&Member) -> bool) -> Result<(), Undecided> {
    let stored = StoredCoverage::read(&workspace.path(COVERAGE)).map_err(|error| broken(&error, COVERAGE))?;
    let members = members(workspace.root()).map_err(|error| broken(&error, COVERAGE))?;
    coverage(&stored, members.iter().filter(|member| wanted(member))).map(drop)
}

/// Whether the stored results of mutants are of their crates as they are now.
fn stored_mutants(workspace: &Workspace) -> Result<(), Undecided> {
    let stored = StoredMutants::read(&workspace.path(MUTANTS)).map_err(|error| broken(&error, MUTANTS))?;
    let members = members(workspace.root()).map_err(|error| broken(&error, MUTANTS))?;
    let root = workspace.root();
    mutated(&members).into_iter().try_for_each(|member| score(root, member, &stored, &[]).map(drop))
}

fn broken(error: &anyhow::Error, file: &str) -> Undecided {
    Undecided::unverified(format!("{error:#}"), format!("look at {file}"))
}

/// Where the evaluation text lies.
pub fn evaluation_text(text: &str, workspace: &Workspace) -> Option<std::path::PathBuf> {
    if text.starts_with("golden/") {
        Some(workspace.path(text)).filter(|path| path.is_file())
    } else {
        workspace.data_file(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::choose;
    use crate::workspace::sample::Checkout;

    /// What is missing and how to get it.
    fn missing(need: Need, checkout: &Checkout, model: &ModelChoice) -> (String, String) {
        let undecided = available(need, &checkout.workspace(), model).unwrap_err();
        (undecided.what, undecided.remedy)
    }

    /// A model that is a file nobody described.
    fn nobodys(checkout: &Checkout) -> ModelChoice {
        let path = checkout.path().join("nobodys.apr");
        std::fs::write(&path, "anything").unwrap();
        choose(path.to_str(), &checkout.workspace()).unwrap()
    }

    #[track_caller]
    fn check(need: Need, checkout: &Checkout, model: &ModelChoice, what: &str, remedy: &str) {
        assert_eq!(missing(need, checkout, model), (what.to_owned(), remedy.to_owned()), "{need:?}");
    }

    #[test]
    fn a_model_that_is_not_there_says_how_to_get_it() {
        let checkout = Checkout::new();
        let (mut own, mut known) = (nobodys(&checkout), choose(None, &checkout.workspace()).unwrap());
        assert_eq!(available(Need::Model, &checkout.workspace(), &own), Ok(()));
        own.path = "/nowhere/nobodys.apr".into();
        known.path = "/nowhere/tiny.apr".into();
        for need in [Need::Model, Need::ReleaseModel] {
            let what = "there is no model at `/nowhere/nobodys.apr`";
            check(need, &checkout, &own, what, "name another with --model");
            let what = "there is no model at `/nowhere/tiny.apr`";
            check(need, &checkout, &known, what, "git checkout golden/tiny/tiny.apr");
        }
    }

    #[test]
    fn a_small_model_stands_in_for_the_released_one_and_any_other_is_taken_for_one() {
        let checkout = Checkout::new();
        let known = choose(None, &checkout.workspace()).unwrap();
        check(
            Need::ReleaseModel,
            &checkout,
            &known,
            "the claim is about the released model, `tiny` only stands in for it",
            "make model && cargo probador full --model release",
        );
        assert_eq!(available(Need::SmallModel, &checkout.workspace(), &known), Ok(()));
        let own = nobodys(&checkout);
        assert_eq!(available(Need::ReleaseModel, &checkout.workspace(), &own), Ok(()));
        let mut large = known;
        let described = large.known.as_mut().unwrap();
        (described.name, described.stand_in) = ("release".to_owned(), false);
        let what = "choosing the int4 values of `release` takes minutes";
        check(Need::SmallModel, &checkout, &large, what, "cargo probador full --model tiny");
    }

    #[test]
    fn nothing_is_recorded_of_a_model_that_nobody_described() {
        let checkout = Checkout::new();
        let own = nobodys(&checkout);
        let described = "add it there: where it comes from, its fingerprints, its perplexity";
        let unknown = "`nobodys` is not described in golden/models.yaml";
        for (need, what, remedy) in [
            (Need::KnownModel, unknown, described),
            (Need::SmallModel, unknown, described),
            (Need::EvaluationText, unknown, described),
            (
                Need::Goldens,
                "there are no golden traces of `nobodys`",
                "scripts/generate_golden_traces.py, into golden/nobodys",
            ),
            (
                Need::TokenizerGolden,
                "no ids of other tokenizers are recorded for `nobodys`",
                "scripts/generate_tokenizer_golden.py, into golden/nobodys",
            ),
            (
                Need::ReferenceWeights,
                "no reference statistics of the weights of `nobodys`",
                "scripts/weight_statistics.py, into golden/nobodys",
            ),
        ] {
            check(need, &checkout, &own, what, remedy);
            let known = choose(None, &checkout.workspace()).unwrap();
            assert_eq!(available(need, &checkout.workspace(), &known), Ok(()), "{need:?}");
        }
    }

    #[test]
    fn an_evaluation_text_is_looked_for_where_its_name_says() {
        let checkout = Checkout::new();
        let mut known = choose(None, &checkout.workspace()).unwrap();
        for text in ["golden/tiny/no-such-text.txt", "no-such-text.txt"] {
            known.known.as_mut().unwrap().perplexity.text = text.to_owned();
            let what = format!("the evaluation text `{text}` is not here");
            let remedy = "put it into the folder that APR_DATA_DIR names";
            check(Need::EvaluationText, &checkout, &known, &what, remedy);
        }
        let data = checkout.path().join("../shared/data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("no-such-text.txt"), "text").unwrap();
        assert_eq!(available(Need::EvaluationText, &checkout.workspace(), &known), Ok(()));
    }

    #[test]
    fn sources_and_results_that_are_not_here_say_what_makes_them() {
        let checkout = Checkout::new();
        let known = choose(None, &checkout.workspace()).unwrap();
        let clippy = "no result of clippy is stored for this tree";
        check(Need::StoredResult, &checkout, &known, clippy, "cargo probador lint --clippy");
        checkout.write(crate::stored::CLIPPY, "{}");
        assert_eq!(available(Need::StoredResult, &checkout.workspace(), &known), Ok(()));
        assert_eq!(available(Need::SourceTree, &checkout.workspace(), &known), Ok(()));
        checkout.remove("subjects");
        let sources = "the sources are not here";
        check(Need::SourceTree, &checkout, &known, sources, "run it in a checkout");
        for (need, what) in [
            (Need::Wasm, "there is no WebAssembly build"),
            (Need::Profiler, "there is no profiler"),
            (Need::Rapl, "this machine has no readable energy counters"),
            (Need::WallMeter, "no power meter is attached"),
        ] {
            check(need, &checkout, &known, what, "");
        }
    }

    #[test]
    fn a_stored_result_that_cannot_be_read_is_looked_at_and_one_that_is_missing_is_made() {
        let checkout = Checkout::new();
        let known = choose(None, &checkout.workspace()).unwrap();
        for (need, file) in
            [(Need::Coverage, COVERAGE), (Need::CoreCoverage, COVERAGE), (Need::Mutants, MUTANTS)]
        {
            checkout.remove(file);
            let (what, remedy) = missing(need, &checkout, &known);
            assert!(what.contains("stored") && remedy.starts_with("cargo probador "), "{what}; {remedy}");
            checkout.write(file, "not JSON");
            let (what, remedy) = missing(need, &checkout, &known);
            assert!(what.contains(file), "{what}");
            assert_eq!(remedy, format!("look at {file}"));
        }
    }
}
