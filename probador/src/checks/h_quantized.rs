//! Sections A and H: what `apr convert` makes of a model, judged weight by weight and by the text it predicts.

use std::path::Path;

use anyhow::Context as _;
use apr_format::AprFile;
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::{GROUP, Packing};

use super::perplexity::{interval_of_means, require_text};
use super::{CheckError, CheckFn, Context};
use crate::case::Judgement;
use crate::checklist::Claim;

/// The checks of this file.
pub(super) const CHECKS: &[(&str, CheckFn)] =
    &[("A5", int4_is_small), ("H4", int4_keeps_quality), ("H5", int8_keeps_quality)];

/// What is asked of a packing.
struct Promise {
    packing: Packing,
    flag: &'static str,
    /// Largest norm of a matrix's error over the norm of the matrix: uniform rounding of normal weights in groups of 32
    /// makes 0.5 % of it with 8 bits and 9 % with 4, and GPTQ, which trades errors against each other, up to twice as much.
    largest_error: f64,
    /// Largest unevenness of the errors within groups. Rounding prefers no place by itself, but the released model has
    /// 1.24 in a matrix of 128 rows whose weights had few values before; GPTQ prefers columns whose inputs are large;
    /// where groups are cut in the wrong place, one weight of 32 has nearly all of the error, which is 5.
    largest_unevenness: f64,
    /// What to ask for besides: GPTQ on fewer sequences than by itself, which is as good a conversion for what is judged.
    flags: &'static [&'static str],
}

const INT8: Promise = Promise {
    packing: Packing::Int8,
    flag: "int8",
    largest_error: 0.02,
    largest_unevenness: 1.5,
    flags: &[],
};
const INT4: Promise = Promise {
    packing: Packing::Int4,
    flag: "int4",
    largest_error: 0.25,
    largest_unevenness: 1.8,
    flags: &["--sequences", "8"],
};

/// A5: the file of the int4 model.
fn int4_is_small(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("int4.apr");
    // However values are chosen, they take the same room.
    if !convert(context, &INT4, &["--method", "rtn"], &out, &mut judgement)? {
        return Ok(judgement);
    }
    let bytes = std::fs::metadata(&out).context("the converted model is not there")?.len();
    let n_weights: u64 = context.file()?.entries().iter().map(apr_format::IndexEntry::n_elements).sum();
    let bits = 8.0 * bytes as f64 / n_weights.max(1) as f64;
    judgement.at_most("bits of the int4 file for each weight", bits, claim.limit("bits_per_weight")?, "", 1);
    judgement.at_most("size of the int4 file", bytes as f64 / 1e6, claim.limit("megabytes")?, "MB", 1);
    let file = AprFile::open_verified(&out)?;
    judgement.require(
        file.tokenizer_json().is_ok_and(|json| json.is_some()),
        || "the int4 file holds no tokenizer, so it is not the whole model",
    );
    Ok(judgement)
}

/// H4: int4, by GPTQ.
fn int4_keeps_quality(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    keeps_quality(context, claim, &INT4)
}

/// H5: int8.
fn int8_keeps_quality(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    keeps_quality(context, claim, &INT8)
}

fn keeps_quality(context: &Context, claim: &Claim, promise: &Promise) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("converted.apr");
    if !convert(context, promise, promise.flags, &out, &mut judgement)? {
        return Ok(judgement);
    }
    let converted = match AprFile::open_verified(&out) {
        Ok(converted) => converted,
        Err(error) => {
            judgement.fail(format!("what was converted is no model: {error}"));
            return Ok(judgement);
        }
    };
    judge_weights(context.file()?, &converted, promise, &mut judgement)?;

    let (n, _) = context.sampling(claim)?;
    let text = require_text(context)?;
    let window = text.window();
    let options = LoadOptions { context_length: Some(window), n_threads: None };
    let mut packed = Qwen2::load(&converted, options)?;
    let after = text.surprises(&mut packed, n)?;
    let before = context.surprises(&text)?;
    let changes: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let change = changes.iter().sum::<f64>() / changes.len().max(1) as f64;
    let percent = |change: f64| 100.0 * change.exp_m1();
    judgement.input("evaluation text", &text.hash);
    judgement.at_most(
        "rise of the perplexity",
        percent(change),
        claim.limit("percent")?,
        "%",
        changes.len() * text.n_scored(),
    );
    judgement.with_interval(interval_of_means(&changes, percent));
    Ok(judgement)
}

/// Runs `apr convert`; says what is wrong when it fails.
fn convert(
    context: &Context,
    promise: &Promise,
    flags: &[&str],
    out: &Path,
    judgement: &mut Judgement,
) -> anyhow::Result<bool> {
    let path = &context.model().path;
    let finished = context.apr(|apr| {
        let apr = apr.arg("convert").arg(path).args(["--quantize", promise.flag, "--no-eval", "-o"]).arg(out);
        apr.args(flags)
    })?;
    Ok(judgement.require(finished.succeeded(), || format!("the conversion fails: {}", finished.describe())))
}

/// Every tensor is there; vectors are what they were, matrices nearly so, and the layers' have the packing asked for.
fn judge_weights(
    file: &AprFile,
    converted: &AprFile,
    promise: &Promise,
    judgement: &mut Judgement,
) -> anyhow::Result<()> {
    let (mut worst, mut uneven, mut n_packed) = (0.0_f64, 0.0_f64, 0);
    for entry in file.entries() {
        let name = &entry.name;
        let Some(after) = converted.tensor(name) else {
            judgement.fail(format!("the converted model has no `{name}`"));
            continue;
        };
        let before = file.tensor(name).with_context(|| format!("`{name}` cannot be read"))?;
        let Some(packing) = Packing::of(after.dtype()) else {
            judgement.require(before.bytes() == after.bytes(), || format!("`{name}` is not what it was"));
            judgement.require(entry.shape.len() != 2, || format!("the matrix `{name}` is not packed"));
            continue;
        };
        n_packed += 1;
        judgement.require(packing == promise.packing || packing == Packing::Int8, || {
            format!("`{name}` has fewer bits than were asked for")
        });
        let limit = if packing == Packing::Int8 { INT8.largest_error } else { INT4.largest_error };
        let largest_unevenness = promise.largest_unevenness;
        let error = Error::of(packing, &before.to_f32(), &after.to_f32());
        judgement.require(error.relative <= limit, || {
            format!(
                "the weights of `{name}` are off by {:.2} % of their norm, at most {:.2} % is rounding",
                100.0 * error.relative,
                100.0 * limit
            )
        });
        judgement.require(error.unevenness <= largest_unevenness, || {
            format!(
                "the weights of `{name}` are off more at one place of every group than elsewhere, {:.2} times",
                error.unevenness
            )
        });
        worst = worst.max(error.relative / limit);
        uneven = uneven.max(error.unevenness / largest_unevenness);
    }
    judgement.at_most("largest error of a matrix over what rounding makes", worst, 1.0, "", n_packed);
    let what = "largest unevenness of the errors within groups over what it may be";
    judgement.at_most(what, uneven, 1.0, "", n_packed);
    Ok(())
}

/// Root mean square error of a group, in steps of its packing, below which its weights fit the packing by themselves, and
/// what they are off is the rounding of other formats: even errors within half a step make 0.29.
const FITS: f64 = 0.1;

/// How far a matrix is from what it was.
struct Error {
    /// Norm of the difference over the norm.
    relative: f64,
    /// The largest norm of the differences at one place of the groups over the mean of all places', each group's
    /// differences taken over their own norm: a few groups with large weights would drown all others.
    unevenness: f64,
}

impl Error {
    fn of(packing: Packing, before: &[f32], after: &[f32]) -> Self {
        let n_steps = f64::from(packing.range().1);
        let mut shares = [0.0_f64; GROUP];
        let (mut error, mut norm, mut n_off) = (0.0, 0.0, 0);
        for (before, after) in before.chunks(GROUP).zip(after.chunks(GROUP)) {
            let pairs = before.iter().zip(after);
            let squares = pairs.map(|(&before, &after)| (f64::from(before) - f64::from(after)).powi(2));
            let of_group: f64 = squares.clone().sum();
            error += of_group;
            norm += before.iter().map(|&before| f64::from(before).powi(2)).sum::<f64>();
            let largest =
                before.iter().fold(0.0, |largest: f64, &before| largest.max(f64::from(before).abs()));
            if of_group > (FITS * largest / n_steps).powi(2) * GROUP as f64 {
                n_off += 1;
                shares.iter_mut().zip(squares).for_each(|(share, square)| *share += square / of_group);
            }
        }
        let most = shares.iter().copied().fold(0.0, f64::max);
        Self {
            relative: if norm == 0.0 { error.sqrt() } else { (error / norm).sqrt() },
            unevenness: (most * GROUP as f64 / f64::from(n_off.max(1))).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::{
        altered, claim, claim_of, context, context_with_apr, failures, judged, tiny,
    };

    /// A script in the place of `apr` that gives the file at `path` for whatever it is to convert: `convert MODEL
    /// --quantize TYPE --no-eval -o OUT`, with flags behind it.
    fn gives(path: &Path) -> String {
        format!("cp '{}' \"$7\"", path.display())
    }

    #[test]
    fn a_conversion_that_fails_or_makes_no_model_is_shown() {
        for id in ["A5", "H4", "H5"] {
            let found = failures(&context_with_apr("echo no room >&2; exit 1"), &claim(id));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(
                found[0].starts_with("the conversion fails: ") && found[0].contains("no room"),
                "{found:?}"
            );
        }
        let found = failures(&context_with_apr("echo nothing > \"$7\""), &claim("H5"));
        assert!(found[0].starts_with("what was converted is no model: "), "{found:?}");
    }

    #[test]
    fn a_model_that_was_not_converted_at_all_is_found() {
        let found = failures(&context_with_apr(&gives(tiny().path())), &claim_of("H5", 1));
        assert!(
            found.iter().all(|what| what.starts_with("the matrix `") && what.ends_with("` is not packed"))
        );
        assert_eq!(found.len(), tiny().entries().iter().filter(|entry| entry.shape.len() == 2).count());
    }

    #[test]
    fn a_tensor_that_is_gone_and_a_vector_that_changed_are_found() {
        let (_folder, model) =
            altered(|_| {}, &["model.layers.0.mlp.up_proj.weight"], &["model.norm.weight"]);
        let mut judgement = Judgement::new();
        judge_weights(&tiny(), &AprFile::open(&model).unwrap(), &INT8, &mut judgement).unwrap();
        let found = judgement.failures;
        assert!(found.contains(&"`model.norm.weight` is not what it was".to_owned()), "{found:#?}");
        assert!(
            found.contains(&"the converted model has no `model.layers.0.mlp.up_proj.weight`".to_owned()),
            "{found:#?}"
        );
    }

    #[test]
    fn fewer_bits_than_were_asked_for_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("int4.apr");
        let mut judgement = Judgement::new();
        assert!(convert(&context(), &INT4, &["--method", "rtn"], &out, &mut judgement).unwrap());
        judge_weights(&tiny(), &AprFile::open(&out).unwrap(), &INT8, &mut judgement).unwrap();
        let what = "`model.layers.0.mlp.up_proj.weight` has fewer bits than were asked for".to_owned();
        assert!(judgement.failures.contains(&what), "{:#?}", judgement.failures);
    }

    #[test]
    fn a_file_that_is_small_for_want_of_a_tokenizer_is_not_the_model() {
        let (_folder, model) = altered(|metadata| metadata.tokenizer = None, &[], &[]);
        let judgement = judged(&context_with_apr(&gives(&model)), &claim("A5"));
        let [size, tokenizer] = &judgement.failures[..] else { panic!("{:#?}", judgement.failures) };
        assert!(size.starts_with("bits of the int4 file for each weight 16."), "{size}");
        assert_eq!(tokenizer, "the int4 file holds no tokenizer, so it is not the whole model");
        let what: Vec<&str> = judgement.measurements.iter().map(|measured| measured.what.as_str()).collect();
        assert_eq!(what, ["bits of the int4 file for each weight", "size of the int4 file"]);
    }

    #[test]
    fn errors_are_measured_over_the_norm_and_by_their_place() {
        let of = |before: &[f32], after: &[f32]| Error::of(Packing::Int8, before, after);
        let before: Vec<f32> = (0..4 * GROUP).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let same = of(&before, &before);
        assert_eq!((same.relative, same.unevenness), (0.0, 0.0));
        let even: Vec<f32> = before.iter().map(|value| value * 1.5).collect();
        let error = of(&before, &even);
        assert_eq!((error.relative, error.unevenness), (0.5, 1.0));
        let mut last = before.clone();
        last.iter_mut().skip(GROUP - 1).step_by(GROUP).for_each(|value| *value = 0.0);
        let error = of(&before, &last);
        assert!((error.relative - (1.0 / GROUP as f64).sqrt()).abs() < 1e-12);
        assert!((error.unevenness - (GROUP as f64).sqrt()).abs() < 1e-12);
        assert_eq!(of(&[0.0; GROUP], &[2.0; GROUP]).relative, 2.0 * (GROUP as f64).sqrt());
    }

    #[test]
    fn a_large_group_does_not_drown_the_others_and_one_that_fits_says_nothing() {
        let of = |before: &[f32], after: &[f32]| Error::of(Packing::Int8, before, after).unevenness;
        let mut before = vec![1.0; 8 * GROUP];
        let mut after = vec![1.5; 8 * GROUP];
        before[..GROUP].fill(1000.0);
        after[..GROUP].fill(1000.0);
        after[3] = 1500.0;
        let expected = ((1.0 + 7.0 / GROUP as f64) * GROUP as f64 / 8.0).sqrt();
        assert!((of(&before, &after) - expected).abs() < 1e-12);
        // An error far below a step of 1000 / 127.
        after[3] = 1000.5;
        assert_eq!(of(&before, &after), 1.0);
    }
}
