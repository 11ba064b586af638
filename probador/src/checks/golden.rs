//! Golden tensors as cases and as claims: what a manifest names, and how the model under test meets it.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use apr_generation::TensorKey;

use crate::case::{Judgement, Undecided};
use crate::checklist::Claim;
use crate::checks::subject::require_model;
use crate::checks::{CheckError, CheckFn, Context};
use crate::generate::GoldenTensor;
use crate::golden::{
    Acceptance, GoldenError, GoldenSet, Prompt, VerifiedPrompt, VerifiedTensor, accepted, config, freshness,
    verify_prompt, verify_reference,
};
use crate::workspace::{LoadError, Workspace};

/// The claims that goldens decide by themselves.
pub(super) const CHECKS: &[(&str, CheckFn)] =
    &[("I14", every_tensor_is_reproduced), ("I15", the_goldens_are_this_models), ("I17", last_logits_match)];

/// Prompts longer than this are not evaluated by the reference, which is thorough and slow.
const REFERENCE_IDS: usize = 16;

fn load_error(error: GoldenError) -> LoadError {
    match error {
        GoldenError::Invalid(problems) => LoadError::Invalid(problems),
        other => LoadError::Environment(other.into()),
    }
}

/// The golden tensors of a model, in the manifest's order; opens no tensor.
pub fn index(workspace: &Workspace, model: &str) -> Result<Vec<GoldenTensor>, LoadError> {
    let Some(set) = GoldenSet::open(&workspace.path("golden"), model).map_err(load_error)? else {
        return Ok(Vec::new());
    };
    let of_prompt = set.manifest().prompts.iter().flat_map(|prompt| {
        prompt
            .tensors
            .iter()
            .map(|tensor| GoldenTensor { prompt: prompt.slug.clone(), tensor: tensor.key.to_string() })
    });
    Ok(of_prompt.collect())
}

fn set(context: &Context) -> Result<&GoldenSet, CheckError> {
    context.golden_set()?.ok_or_else(|| {
        CheckError::Undecided(Undecided::unverified(
            format!("there are no golden traces of `{}`", context.model().name),
            "scripts/generate_golden_traces.py",
        ))
    })
}

/// What the model makes of a recorded prompt; evaluated once, for every case that asks.
fn verified(context: &Context, set: &GoldenSet, slug: &str) -> anyhow::Result<Arc<VerifiedPrompt>> {
    context.golden(slug, || {
        let prompt =
            set.manifest().prompt(slug).with_context(|| format!("no prompt `{slug}` is recorded"))?;
        Ok(verify_prompt(set, prompt, context.fork()?.as_mut(), |_| true)?)
    })
}

/// Notes how far a tensor is from its golden, as a share of what it may be.
fn measure(judgement: &mut Judgement, what: &str, tensor: &VerifiedTensor) {
    match tensor.difference() {
        Some(difference) if tensor.passes() => {
            let atol = tensor.tolerance.atol();
            let needed = difference.smallest_atol.unwrap_or(f64::NAN);
            judgement.at_most(
                &format!("smallest absolute tolerance that {what} passes"),
                needed,
                atol,
                "",
                difference.n,
            );
            judgement.note(format!(
                "largest difference {:.2e}, PyTorch's own float32 {:.2e}",
                difference.max_abs, tensor.noise_floor
            ));
        }
        _ => judgement.fail(tensor.to_string()),
    }
}

/// Compares one tensor of the model with its golden.
pub fn judge(context: &Context, slug: &str, key: &str) -> Result<Judgement, CheckError> {
    let set = set(context)?;
    let verified = verified(context, set, slug)?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    let key: TensorKey = key.parse()?;
    let recorded =
        set.manifest().prompt(slug).and_then(|prompt| prompt.tensors.iter().find(|tensor| tensor.key == key));
    if let Some(recorded) = recorded {
        judgement.input("golden", recorded.blake3.as_str());
    }
    let found = verified.tensors.iter().find(|tensor| tensor.key == key);
    measure(&mut judgement, &key.to_string(), found.ok_or_else(|| anyhow!("no golden `{key}` of `{slug}`"))?);
    Ok(judgement)
}

/// Recorded logits that were compared with the model's.
struct Compared<'s> {
    /// The largest difference; not a number when a logit is none.
    worst: f64,
    /// How many.
    n: usize,
    /// The prompts whose logits these are.
    prompts: Vec<&'s Prompt>,
}

/// Holds the logits of every recorded prompt to the goldens.
fn hold_logits<'s>(
    context: &Context,
    set: &'s GoldenSet,
    limit: f64,
    judgement: &mut Judgement,
) -> Result<Compared<'s>, CheckError> {
    let mut compared = Compared { worst: 0.0, n: 0, prompts: Vec::new() };
    for prompt in &set.manifest().prompts {
        let verified = verified(context, set, &prompt.slug)?;
        let logits = verified.tensors.iter().find(|tensor| tensor.key == TensorKey::Logits);
        let Some(difference) = logits.and_then(VerifiedTensor::difference) else {
            judgement.fail(format!("the logits of `{}` cannot be compared with the golden", prompt.slug));
            continue;
        };
        compared.prompts.push(prompt);
        compared.n += difference.n;
        let off = if difference.n_non_finite > 0 { f64::NAN } else { difference.max_abs };
        if off > compared.worst || off.is_nan() {
            compared.worst = off;
        }
        judgement.require(off <= limit, || {
            format!("a logit of `{}` is {off:.2e} from PyTorch's: {difference}", prompt.slug)
        });
    }
    Ok(compared)
}

/// Holds the logits of every recorded prompt to the goldens, and the engine's reference to the short ones.
pub fn judge_logits(context: &Context, limit: f64, judgement: &mut Judgement) -> Result<(), CheckError> {
    let set = set(context)?;
    let Compared { worst, n, prompts } = hold_logits(context, set, limit, judgement)?;
    let mut n_by_reference = 0;
    for prompt in prompts.into_iter().filter(|prompt| prompt.ids.len() <= REFERENCE_IDS) {
        let by_reference =
            verify_reference(set, prompt, context.reference()?, |key| key == TensorKey::Logits)?;
        n_by_reference += by_reference.tensors.len();
        for tensor in by_reference.tensors.iter().filter(|tensor| !tensor.passes()) {
            judgement.fail(format!(
                "the engine's own reference disagrees with PyTorch: logits of `{}`: {tensor}",
                prompt.slug
            ));
        }
    }
    judgement.at_most("largest logit difference on recorded prompts", worst, limit, "", n);
    let what = "recorded prompts on which the engine's reference agrees with PyTorch";
    judgement.at_least(what, n_by_reference as f64, 1.0, "", n_by_reference);
    Ok(())
}

/// I14: every tensor of every prompt within its tolerance; the likeliest ids and the perplexity too.
fn every_tensor_is_reproduced(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let set = set(context)?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (mut n_out, mut n_tensors, mut n_elements) = (0, 0, 0);
    for prompt in &set.manifest().prompts {
        let verified = verified(context, set, &prompt.slug)?;
        for tensor in &verified.tensors {
            n_tensors += 1;
            n_elements += tensor.n_compared();
            if !tensor.passes() {
                n_out += 1;
                judgement.fail(format!("`{}`: {tensor}", prompt.slug));
            }
        }
        if let Some(metrics) = &verified.metrics {
            judgement.require(metrics.top_k_passes(), || {
                format!("`{}`: {:.3} of the likeliest ids are the reference's", prompt.slug, metrics.top_k)
            });
            judgement.require(metrics.perplexity_passes(), || {
                format!(
                    "`{}`: perplexity {:.4}, the reference gives {:.4}",
                    prompt.slug, metrics.perplexity, metrics.expected_perplexity
                )
            });
        }
    }
    judgement.note(format!(
        "{n_elements} values in {n_tensors} tensors of {} prompts",
        set.manifest().prompts.len()
    ));
    judgement.exactly("golden tensors out of tolerance", n_out, 0, "", n_tensors);
    Ok(judgement)
}

/// I17: the logits of every recorded prompt, against the reference's.
fn last_logits_match(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("logit_difference")?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let Compared { worst, n, .. } = hold_logits(context, set(context)?, limit, &mut judgement)?;
    judgement.at_most("largest logit difference", worst, limit, "", n);
    Ok(judgement)
}

/// I15: the goldens are complete, untouched, of this model, and made by the reference with the script of this checkout.
fn the_goldens_are_this_models(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let set = set(context)?;
    let config = config(&context.golden_folder())?;
    let found = freshness(set, context.file()?, &config, context.workspace().root());
    let mut judgement = Judgement::new();
    let producer = &set.manifest().producer;
    judgement.note(format!(
        "{}, torch {}, transformers {}",
        producer.script, producer.torch, producer.transformers
    ));
    for Acceptance { date, prompt, key, reason, .. } in accepted(set.folder()).unwrap_or_default() {
        judgement.note(format!("`{key}` of `{prompt}` was replaced on {date}: {reason}"));
    }
    judgement.input("recorded weights", set.manifest().model.weights.as_str());
    judgement.exactly(
        "reasons not to trust the goldens",
        found.faults.len(),
        0,
        "",
        found.n_files + found.n_prompts,
    );
    for fault in found.faults {
        judgement.fail(fault);
    }
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::{checkout, claim, context, context_in, undecided};
    use crate::faults;
    use crate::models::choose;

    const PROMPT: &str = "what_is_2_plus_2";

    #[test]
    fn the_tensors_of_a_model_are_listed_by_prompt_and_of_one_without_goldens_none_are() {
        let workspace = Workspace::find(None).unwrap();
        let listed = index(&workspace, "tiny").unwrap();
        let wanted = GoldenTensor { prompt: PROMPT.to_owned(), tensor: "model.layers.0".to_owned() };
        assert!(listed.contains(&wanted), "{} tensors", listed.len());
        assert_eq!(index(&workspace, "unheard-of").unwrap(), []);
    }

    #[test]
    fn a_manifest_that_is_wrong_is_told_from_one_that_cannot_be_read() {
        let (_folder, workspace) = checkout(&[("golden/tiny/manifest.yaml", "schema: 1\nsurprise: 2\n")]);
        let Err(LoadError::Invalid(problems)) = index(&workspace, "tiny") else { panic!("it is read") };
        assert!(
            problems.iter().any(|problem| problem.what.contains("unknown key `surprise`")),
            "{problems:?}"
        );
        let (folder, workspace) = checkout(&[("golden/tiny/manifest.yaml", "")]);
        let path = folder.path().join("golden/tiny/manifest.yaml");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        let Err(LoadError::Environment(error)) = index(&workspace, "tiny") else { panic!("it is read") };
        assert!(error.to_string().contains("golden/tiny/manifest.yaml"), "{error}");
    }

    #[test]
    fn a_model_without_goldens_decides_nothing() {
        let workspace = Workspace::find(None).unwrap();
        let mut model = choose(None, &workspace).unwrap();
        model.name = "unheard-of".to_owned();
        let context = Context::new(workspace, model, None, []);
        let (what, remedy) = undecided(&context, &claim("I15"));
        assert_eq!(what, "there are no golden traces of `unheard-of`");
        assert_eq!(remedy, "scripts/generate_golden_traces.py");
    }

    #[test]
    fn a_tensor_is_measured_where_it_meets_its_golden_and_shown_where_it_does_not() {
        let clean = context();
        let judgement = judge(&clean, PROMPT, "logits").unwrap();
        assert!(judgement.failures.is_empty(), "{:?}", judgement.failures);
        assert_eq!(judgement.measurements[0].what, "smallest absolute tolerance that logits passes");
        assert!(judgement.inputs.contains_key("golden"), "{:?}", judgement.inputs);
        let error = judge(&clean, PROMPT, "model.layers.99").unwrap_err();
        let CheckError::Broken(error) = error else { panic!("{error:?}") };
        assert_eq!(error.to_string(), format!("no golden `model.layers.99` of `{PROMPT}`"));
        let error = judge(&clean, "never_asked", "logits").unwrap_err();
        let CheckError::Broken(error) = error else { panic!("{error:?}") };
        assert_eq!(error.to_string(), "no prompt `never_asked` is recorded");

        let subject = faults::plant("half-precision-logits", &clean.model().path).unwrap().unwrap();
        let judgement = judge(&context().with_fault(subject), PROMPT, "logits").unwrap();
        assert_eq!(judgement.failures.len(), 1);
        assert!(judgement.failures[0].starts_with("logits: out of tolerance: "), "{:?}", judgement.failures);
        assert!(judgement.measurements.is_empty());
    }

    /// The checkout whose only golden prompt is the first, with its manifest's last line, the logits, altered or left out.
    fn with_logits_line(alter: impl Fn(&str) -> Option<String>) -> (tempfile::TempDir, Workspace) {
        let text = std::fs::read_to_string(context().workspace().path("golden/tiny/manifest.yaml")).unwrap();
        let (first, _) = text.split_once("\n  - name: \"Hello, how are you?\"").unwrap();
        let (head, logits) = first.rsplit_once('\n').unwrap();
        assert!(logits.contains("{key: logits,"), "{logits}");
        let manifest = format!("{head}\n{}", alter(logits).unwrap_or_default());
        checkout(&[("golden/tiny/manifest.yaml", &manifest)])
    }

    #[test]
    fn logits_that_cannot_be_compared_are_no_logits_that_agree() {
        let (_folder, workspace) = with_logits_line(|line| {
            let (before, rest) = line.split_once("blake3: \"").unwrap();
            Some(format!("{before}blake3: \"{}{}", "0".repeat(64), &rest[64..]))
        });
        let mut judgement = Judgement::new();
        judge_logits(&context_in(workspace), 1e-4, &mut judgement).unwrap();
        assert_eq!(
            judgement.failures,
            [
                "the logits of `what_is_2_plus_2` cannot be compared with the golden",
                "recorded prompts on which the engine's reference agrees with PyTorch 0, at least 1",
            ]
        );
    }

    #[test]
    fn prompts_without_logits_have_no_metrics_to_meet() {
        let (_folder, workspace) = with_logits_line(|_| None);
        let judgement =
            every_tensor_is_reproduced(&context_in(workspace).undoubted(), &claim("I14")).unwrap();
        assert!(judgement.failures.is_empty(), "{:#?}", judgement.failures);
        assert!(judgement.notes[0].ends_with(" of 1 prompts"), "{:?}", judgement.notes);
        assert_eq!(judgement.measurements[0].n, 68, "all but the logits");
    }

    #[test]
    fn the_reference_is_held_to_the_goldens_too() {
        let (_folder, workspace) = with_logits_line(|line| Some(line.to_owned()));
        let mut judgement = Judgement::new();
        judge_logits(&context_in(workspace), 1e-4, &mut judgement).unwrap();
        assert!(judgement.failures.is_empty(), "{:?}", judgement.failures);
        assert_eq!(judgement.measurements[1].n, 1);
    }
}
