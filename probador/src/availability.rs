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
    mutated(&members).into_iter().try_for_each(|member| score(member, &stored, &[]).map(drop))
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
