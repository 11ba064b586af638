//! Section H: what the `apr` command does, judged by what it writes and prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context as _;
use apr_format::AprFile;
use apr_tokenizer::Tokenizer;
use serde_json::Value;

use super::chat::GREEDY;
use super::hub::{Hub, REPOSITORY};
use super::samples::{self, HOSTILE, PASSAGE};
use super::subject::require_model;
use super::{CheckError, CheckFn, Context, checkpoint};
use crate::case::Judgement;
use crate::checklist::Claim;
use crate::compare::Statistics;
use crate::process::Ended;

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("H1", hub_import),
    ("H2", safetensors_import),
    ("H3", gguf_imports),
    ("H6", inspect_says_what_the_file_holds),
    ("H7", validate_tells_good_from_damaged),
    ("H8", statistics_are_right),
    ("H10", chat_says_what_the_model_says),
    ("H11", inspection_shows_candidates),
];

/// The model to write sources from: with the planted fault, one weight of it is changed.
fn source_model(context: &Context) -> anyhow::Result<AprFile> {
    match context.planted().source_model() {
        Some(path) => Ok(AprFile::open(path)?),
        None => Ok(context.file()?.clone()),
    }
}

/// Imports `source` and compares what came of it with the model under test.
fn judge_import(context: &Context, source: &Path, judgement: &mut Judgement) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("imported.apr");
    let finished = context.apr(|apr| apr.arg("import").arg(source).arg("-o").arg(&out).arg("--json"))?;
    if !finished.succeeded() {
        judgement.fail(format!("the import fails: {}", finished.describe()));
        return Ok(());
    }
    judge_imported(context, &out, judgement)
}

/// Compares an imported file with the model under test.
fn judge_imported(context: &Context, out: &Path, judgement: &mut Judgement) -> anyhow::Result<()> {
    let opened = AprFile::open(out).and_then(|imported| imported.verify().map(|()| imported));
    let imported = match opened {
        Ok(imported) => imported,
        Err(error) => {
            judgement.fail(format!("what was imported is no model: {error}"));
            return Ok(());
        }
    };
    let expected = context.file()?;
    let hashes = |file: &AprFile| -> BTreeMap<String, Option<String>> {
        let names = file.entries().iter().map(|entry| &entry.name);
        names.map(|name| (name.clone(), file.tensor_hash(name).map(str::to_owned))).collect()
    };
    let (expected_hashes, found) = (hashes(expected), hashes(&imported));
    let mut n_differing = 0;
    for (name, hash) in &expected_hashes {
        if found.get(name) != Some(hash) {
            n_differing += 1;
            judgement.fail(format!("the hash of `{name}` is not that of the model it was written from"));
        }
    }
    judgement.exactly("tensors whose hash differs", n_differing, 0, "", expected_hashes.len());
    judgement.exactly("tensors imported", found.len(), expected_hashes.len(), "", found.len());
    let (mut was, mut is) = (expected.metadata().config.clone(), imported.metadata().config.clone());
    // GGUF keeps these in single precision.
    for config in [&mut was, &mut is] {
        config.rope_theta = f64::from(config.rope_theta as f32);
        config.rms_norm_eps = f64::from(config.rms_norm_eps as f32);
    }
    judgement.require(was == is, || format!("the configuration differs: {is:?}, expected {was:?}"));
    let json = imported.tokenizer_json()?.context("the imported model holds no tokenizer")?;
    let tokenizer = Tokenizer::from_json(&json)?;
    for text in HOSTILE.into_iter().chain([PASSAGE, "naïve 日本 👩\u{200d}💻  x\n\n e\u{301}"]) {
        judgement.require(tokenizer.encode(text) == context.tokenizer()?.encode(text), || {
            format!("the imported tokenizer encodes {text:?} otherwise")
        });
    }
    Ok(())
}

/// H1: a hub on loopback; honest, lying, and not to be called.
fn hub_import(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let model = context.file()?;
    judgement.input("root hash", model.root_hash());
    judgement.note("against a hub served on loopback; the real one is not asked");
    let folder = tempfile::tempdir()?;
    let served = folder.path().join("served");
    checkpoint::write_safetensors(model, &served, 2)?;
    let import = |hub: &Hub, home: &str, out: &str, is_offline: bool| {
        let out = folder.path().join(out);
        let finished = context.apr(|apr| {
            apr.arg("import")
                .arg(format!("hf://{REPOSITORY}"))
                .arg("-o")
                .arg(&out)
                .env("HF_HOME", folder.path().join(home))
                .env("HF_ENDPOINT", hub.endpoint())
                .env("HF_HUB_OFFLINE", if is_offline { "1" } else { "0" })
        })?;
        anyhow::Ok((finished, out))
    };

    let honest = Hub::serve(&served, context.planted().serves_corrupt())?;
    let (finished, out) = import(&honest, "home", "imported.apr", false)?;
    if !finished.succeeded() {
        judgement.fail(format!("the import fails: {}", finished.describe()));
        return Ok(judgement);
    }
    judge_imported(context, &out, &mut judgement)?;
    judgement.at_least(
        "connections to the hub",
        honest.n_connections() as f64,
        1.0,
        "",
        honest.n_connections(),
    );

    let lying = Hub::serve(&served, true)?;
    let (finished, out) = import(&lying, "other-home", "corrupted.apr", false)?;
    judgement.require(finished.ended == Ended::Exited(1) && !out.exists(), || {
        format!("a byte changed on the way is accepted: {}", finished.describe())
    });

    let n_before = honest.n_connections();
    let (from_cache, out) = import(&honest, "home", "again.apr", true)?;
    judgement.require(from_cache.succeeded() && out.exists(), || {
        format!("offline, what is in the cache is not imported: {}", from_cache.describe())
    });
    let (without, out) = import(&honest, "empty-home", "never.apr", true)?;
    judgement.require(without.ended == Ended::Exited(1) && !out.exists(), || {
        format!("offline, with nothing in the cache: {}", without.describe())
    });
    let n_offline = honest.n_connections() - n_before;
    judgement.exactly("connections to the hub while offline", n_offline, 0, "", 2);
    Ok(judgement)
}

/// H2: one file and shards.
fn safetensors_import(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let model = source_model(context)?;
    judgement.input("root hash", model.root_hash());
    for n_shards in [1, 3] {
        let folder = tempfile::tempdir()?;
        checkpoint::write_safetensors(&model, folder.path(), n_shards)?;
        judge_import(context, folder.path(), &mut judgement)?;
    }
    Ok(judgement)
}

/// H3: GGUF.
fn gguf_imports(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let model = source_model(context)?;
    judgement.input("root hash", model.root_hash());
    let folder = tempfile::tempdir()?;
    let source = checkpoint::write_gguf(&model, &folder.path().join("model.gguf"))?;
    judge_import(context, &source, &mut judgement)?;
    Ok(judgement)
}

/// H6: the figures in JSON and in plain text.
fn inspect_says_what_the_file_holds(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let file = context.file()?;
    let config = &file.metadata().config;
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    let path = &context.model().path;
    let json = context.apr(|apr| apr.arg("inspect").arg(path).arg("--json"))?;
    let plain = context.apr(|apr| apr.arg("inspect").arg(path))?;
    for finished in [&json, &plain] {
        judgement.require(finished.succeeded(), || finished.describe());
    }
    let Ok(report) = serde_json::from_slice::<Value>(&json.stdout) else {
        judgement.fail("`apr inspect --json` prints no JSON");
        return Ok(judgement);
    };
    let n_parameters: u64 = file.entries().iter().map(apr_format::IndexEntry::n_elements).sum();
    let figures = [
        ("parameters", &report["n_parameters"], n_parameters),
        ("vocab_size", &report["config"]["vocab_size"], config.vocab_size as u64),
        ("layers", &report["config"]["num_layers"], config.num_layers as u64),
        ("heads", &report["config"]["num_heads"], config.num_heads as u64),
        ("key and value heads", &report["config"]["num_kv_heads"], config.num_kv_heads as u64),
    ];
    for (what, found, expected) in figures {
        let found = found.as_u64();
        judgement.require(found == Some(expected), || {
            format!("{what} in JSON: {found:?}, the file holds {expected}")
        });
    }
    judgement
        .require(report["architecture"] == "qwen2", || format!("architecture: {}", report["architecture"]));
    judgement.exactly("figures in JSON that were compared", 6, 6, "", 6);
    let text = plain.stdout_text();
    let line = |label: &str| text.lines().find(|line| line.starts_with(label)).map(str::to_owned);
    let thousands = |value: usize| {
        let digits = value.to_string();
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    };
    let shown = [
        ("Architecture:", "qwen2".to_owned()),
        ("Vocab:", thousands(config.vocab_size)),
        ("Layers:", config.num_layers.to_string()),
        ("Heads:", config.num_heads.to_string()),
    ];
    for (label, expected) in shown {
        let found = line(label);
        judgement.require(found.as_ref().is_some_and(|line| line.contains(&expected)), || {
            format!("the plain text says {found:?}, not {label} {expected}")
        });
    }
    let shown = line("Parameters:");
    let number = shown.as_ref().and_then(|line| parameters(line));
    let off = number.map_or(f64::INFINITY, |number| (number / n_parameters as f64 - 1.0).abs());
    judgement.at_most("relative error of the parameters in plain text", off, 0.01, "", 1);
    Ok(judgement)
}

/// `494M` or `3.15M` or `3,150,144` on the line.
fn parameters(line: &str) -> Option<f64> {
    let word = line.split_whitespace().nth(1)?.replace(',', "");
    let (digits, scale) = match word.char_indices().last()? {
        (at, 'K' | 'k') => (&word[..at], 1e3),
        (at, 'M') => (&word[..at], 1e6),
        (at, 'B' | 'G') => (&word[..at], 1e9),
        _ => (word.as_str(), 1.0),
    };
    digits.parse::<f64>().ok().map(|value| value * scale)
}

/// H7: the model is valid; a truncated copy, one with a byte changed and one with a value that is no number are not.
fn validate_tells_good_from_damaged(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let path = &context.model().path;
    let score = |path: &Path| -> anyhow::Result<(Ended, Option<f64>, String)> {
        let finished = context.apr(|apr| apr.args(["validate", "--quality", "--json"]).arg(path))?;
        let report: Option<Value> = serde_json::from_slice(&finished.stdout).ok();
        let score = report.as_ref().and_then(|report| report["quality"]["score"].as_f64());
        Ok((finished.ended, score, finished.describe()))
    };
    let (ended, good, described) = score(path)?;
    judgement.require(ended == Ended::Exited(0), || format!("on the model, {described}"));
    judgement.at_least("quality of the model", good.unwrap_or(f64::NAN), 90.0, "points", 1);

    let folder = tempfile::tempdir()?;
    let size = std::fs::metadata(path)?.len();
    let nan = crate::faults::plant("weights-not-finite", path)?.context("no such fault")?;
    let damaged = [
        (
            "truncated",
            damage(path, &folder.path().join("truncated.apr"), |file| file.set_len(size - size / 3))?,
        ),
        (
            "changed in one byte",
            damage(path, &folder.path().join("changed.apr"), |file| invert(file, size / 2))?,
        ),
        ("holding a value that is no number", nan.model.clone()),
    ];
    let mut n_accepted = 0;
    for (what, copy) in &damaged {
        let (ended, score, _) = score(copy)?;
        if ended != Ended::Exited(1) {
            n_accepted += 1;
            judgement.fail(format!("`apr validate` accepts a copy {what}: {ended:?}"));
        }
        judgement.require(score < good || score.is_none(), || {
            format!("the score of a copy {what} is {score:?}, no lower than the model's {good:?}")
        });
    }
    judgement.exactly("damaged copies that are accepted", n_accepted, 0, "", damaged.len());
    Ok(judgement)
}

fn damage(
    model: &Path,
    copy: &Path,
    edit: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> anyhow::Result<std::path::PathBuf> {
    std::fs::copy(model, copy)?;
    edit(&mut File::options().read(true).write(true).open(copy)?)?;
    Ok(copy.to_owned())
}

fn invert(file: &mut File, offset: u64) -> std::io::Result<()> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[!byte[0]])
}

/// H8: every tensor's mean and deviation against the engine's own.
fn statistics_are_right(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("relative_difference")?;
    let file = context.file()?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    let path = &context.model().path;
    let finished = context.apr(|apr| apr.args(["tensors", "--stats", "--json"]).arg(path))?;
    judgement.require(finished.succeeded(), || finished.describe());
    let Ok(rows) = serde_json::from_slice::<Vec<Value>>(&finished.stdout) else {
        judgement.fail("`apr tensors --json` prints no JSON");
        return Ok(judgement);
    };
    let by_name: BTreeMap<&str, &Value> =
        rows.iter().filter_map(|row| Some((row["name"].as_str()?, &row["stats"]))).collect();
    let mut worst = 0.0_f64;
    for entry in file.entries() {
        let Some(stats) = by_name.get(entry.name.as_str()) else {
            judgement.fail(format!("`{}` is missing", entry.name));
            continue;
        };
        let (Some(mean), Some(std)) = (stats["mean"].as_f64(), stats["std"].as_f64()) else {
            judgement.fail(format!("mean or deviation of `{}` is not finite", entry.name));
            continue;
        };
        let tensor = file.tensor(&entry.name).with_context(|| format!("no tensor `{}`", entry.name))?;
        let own = Statistics::of_slice(&tensor.to_f32());
        judgement.require(own.n_nan + own.n_inf == 0, || {
            format!("`{}` holds values that are not finite", entry.name)
        });
        let scale = own.std.unwrap_or(f64::NAN).max(f64::MIN_POSITIVE);
        let off = ((mean - own.mean.unwrap_or(f64::NAN)).abs() / scale)
            .max((std - own.std.unwrap_or(f64::NAN)).abs() / scale);
        if off > worst || off.is_nan() {
            worst = off;
        }
        judgement.require(off <= limit, || {
            format!(
                "`{}` differs: mean {mean}, deviation {std}, the engine finds {:?}, {:?}",
                entry.name, own.mean, own.std
            )
        });
    }
    judgement.at_most(
        "largest error of mean or deviation, in deviations",
        worst,
        limit,
        "",
        file.entries().len(),
    );
    Ok(judgement)
}

/// H10: piped prompts that nobody recorded get the greedy continuation that the library computes.
fn chat_says_what_the_model_says(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    const N_TOKENS: usize = 20;
    let (n, mut rng) = context.sampling(claim)?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let mut replies = Vec::new();
    let mut n_differing = 0;
    for _ in 0..n {
        let prompt = &samples::prompt(&mut rng);
        let path = &context.model().path;
        let finished = context.apr(|apr| {
            apr.arg("chat")
                .arg(path)
                .args(GREEDY)
                .args(["--max-tokens", &N_TOKENS.to_string()])
                .input(prompt.as_str())
        })?;
        judgement.require(finished.succeeded(), || finished.describe());
        let expected = context.greedy_reply(prompt, N_TOKENS)?;
        let Ok(reply) = String::from_utf8(finished.stdout) else {
            judgement.fail(format!("the reply to {prompt:?} is not valid text"));
            continue;
        };
        let reply = reply.trim_end_matches('\n').to_owned();
        judgement.require(!reply.trim().is_empty(), || format!("the reply to {prompt:?} is empty"));
        if reply != expected.trim_end_matches('\n') {
            n_differing += 1;
            judgement.fail(format!("the reply to {prompt:?} is {reply:?}, the model gives {expected:?}"));
        }
        replies.push(reply);
    }
    judgement.exactly("replies that are not the model's", n_differing, 0, "", n);
    let distinct: BTreeSet<&String> = replies.iter().collect();
    judgement.require(distinct.len() > 1, || "every prompt gets the same reply");
    Ok(judgement)
}

/// H11: every generated token with candidates that hold the chosen one.
fn inspection_shows_candidates(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (mut n_steps, mut fewest) = (0, usize::MAX);
    for inspected in context.chat_sessions()? {
        judgement.require(!inspected.steps.is_empty(), || "no candidates are shown for any token");
        for (index, step) in inspected.steps.iter().enumerate() {
            n_steps += 1;
            fewest = fewest.min(step.candidates.len());
            judgement.require(step.candidates.first().is_some_and(|&(id, _)| id == step.id), || {
                format!("the candidates of step {} do not start with the token chosen greedily", index + 1)
            });
        }
    }
    judgement.at_least("fewest candidates shown for a token", fewest as f64, 5.0, "", n_steps);
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::chat::{Inspected, StepShown};
    use crate::checks::made_up::{altered, claim, claim_of, context, context_with_apr, failures, tiny};
    use crate::faults;

    #[track_caller]
    fn says(failures: &[String], words: &str) {
        assert!(failures.iter().any(|what| what.contains(words)), "{words:?} is not in {failures:#?}");
    }

    #[test]
    fn an_import_that_fails_is_shown_as_it_ended() {
        let found = failures(&context_with_apr("echo no such format >&2; exit 3"), &claim("H3"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("the import fails: ") && found[0].contains("exits with 3"), "{found:?}");
        assert!(found[0].contains("no such format"), "{found:?}");
        let found = failures(&context_with_apr("exit 4"), &claim("H1"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("the import fails: ") && found[0].contains("exits with 4"), "{found:?}");
    }

    #[test]
    fn what_was_imported_must_be_a_model_with_this_tokenizer() {
        let found = failures(&context_with_apr("echo nothing > \"$4\""), &claim("H3"));
        assert!(found[0].starts_with("what was imported is no model: "), "{found:?}");
        let model = faults::plant("entries-exchanged", tiny().path()).unwrap().unwrap();
        let script = format!("cp '{}' \"$4\"", model.model.display());
        let found = failures(&context_with_apr(&script), &claim("H3"));
        says(&found, "the imported tokenizer encodes \"naïve 日本");
        assert!(found.iter().all(|what| what.contains("encodes")), "the weights are the same: {found:?}");
    }

    #[test]
    fn an_import_that_asks_no_hub_and_works_only_online_is_told_by_both() {
        let script = format!("test \"$HF_HUB_OFFLINE\" = 0 && cp '{}' \"$4\"", tiny().path().display());
        let found = failures(&context_with_apr(&script), &claim("H1"));
        assert_eq!(found.len(), 3, "{found:#?}");
        assert_eq!(found[0], "connections to the hub 0, at least 1");
        assert!(found[1].starts_with("a byte changed on the way is accepted: "), "{found:?}");
        assert!(found[2].starts_with("offline, what is in the cache is not imported: "), "{found:?}");
    }

    #[test]
    fn what_should_be_json_and_is_not_is_said_to_be_none() {
        let talk = || context_with_apr("echo a model");
        assert_eq!(failures(&talk(), &claim("H6")), ["`apr inspect --json` prints no JSON"]);
        assert_eq!(failures(&talk(), &claim("H8")), ["`apr tensors --json` prints no JSON"]);
    }

    #[test]
    fn parameters_are_read_however_they_are_written() {
        #[track_caller]
        fn check(line: &str, expected: Option<f64>) {
            assert_eq!(parameters(line), expected, "{line}");
        }
        check("Parameters: 494M", Some(494e6));
        check("Parameters: 3,150,144 (f16)", Some(3_150_144.0));
        check("Parameters: 12K", Some(12e3));
        check("Parameters: 12k", Some(12e3));
        check("Parameters: 1.5B", Some(1.5e9));
        check("Parameters: 2G", Some(2e9));
        check("Parameters: many", None);
        check("Parameters:", None);
    }

    #[test]
    fn statistics_that_are_missing_absent_or_of_nothing_finite_are_each_found() {
        let blank = "model.norm.weight";
        let (_folder, model) = altered(|_| {}, &[], &[blank]);
        let file = AprFile::open(&model).unwrap();
        let rows: Vec<Value> = file
            .entries()
            .iter()
            .filter(|entry| !entry.name.ends_with("layers.0.input_layernorm.weight"))
            .map(|entry| {
                let own = Statistics::of_slice(&file.tensor(&entry.name).unwrap().to_f32());
                let is_absent = entry.name.ends_with("layers.1.input_layernorm.weight");
                let std = if is_absent { None } else { own.std.or(Some(1.0)) };
                serde_json::json!({ "name": entry.name, "stats": { "mean": own.mean.unwrap_or(0.0), "std": std } })
            })
            .collect();
        let shown = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&shown, serde_json::to_vec(&rows).unwrap()).unwrap();
        let context = context_with_apr(&format!("cat '{}'", shown.path().display())).of(&model);
        let found = failures(&context, &claim("H8"));
        assert_eq!(
            found,
            [
                "`model.layers.0.input_layernorm.weight` is missing",
                "mean or deviation of `model.layers.1.input_layernorm.weight` is not finite",
                "`model.norm.weight` holds values that are not finite",
                "`model.norm.weight` differs: mean 0, deviation 1, the engine finds None, None",
                "largest error of mean or deviation, in deviations NaN, at most 0.001",
            ]
        );
    }

    #[test]
    fn a_reply_that_is_no_text_is_found_and_not_mended() {
        let found = failures(&context_with_apr("printf 'a\\377\\n'"), &claim_of("H10", 1));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found[0].starts_with("the reply to ") && found[0].ends_with(" is not valid text"),
            "{found:?}"
        );
        assert_eq!(found[1], "every prompt gets the same reply");
    }

    #[test]
    fn an_empty_reply_is_said_to_be_empty_and_not_the_models() {
        let found = failures(&context_with_apr("echo"), &claim_of("H10", 2));
        assert_eq!(found.iter().filter(|what| what.ends_with(" is empty")).count(), 2, "{found:#?}");
        says(&found, "is \"\", the model gives \"");
        says(&found, "replies that are not the model's 2, exactly 0");
        says(&found, "every prompt gets the same reply");
    }

    #[test]
    fn candidates_that_do_not_start_with_the_token_chosen_are_found() {
        let likely = |first: u32| (0..5).map(|at| (first + at, 0.2)).collect();
        let steps = vec![
            StepShown { id: 7, candidates: likely(7) },
            StepShown { id: 9, candidates: likely(8) },
            StepShown { id: 9, candidates: vec![] },
        ];
        let shown = Inspected { steps, ..Inspected::default() };
        let nothing = Inspected::default();
        let found = failures(&context().undoubted().with_chat(vec![shown, nothing]), &claim("H11"));
        assert_eq!(
            found,
            [
                "the candidates of step 2 do not start with the token chosen greedily",
                "the candidates of step 3 do not start with the token chosen greedily",
                "no candidates are shown for any token",
                "fewest candidates shown for a token 0, at least 5",
            ]
        );
    }

    #[test]
    fn a_model_that_claims_another_size_is_not_what_inspect_shows() {
        let (_folder, model) = altered(|metadata| metadata.config.num_layers = 5, &[], &[]);
        let says = "echo '{\"architecture\": \"llama\"}'";
        let found = failures(&context_with_apr(says).of(&model), &claim("H6"));
        assert!(found.contains(&"layers in JSON: None, the file holds 5".to_owned()), "{found:#?}");
        assert!(found.contains(&"architecture: \"llama\"".to_owned()), "{found:#?}");
        let label = "the plain text says None, not Layers: 5".to_owned();
        assert!(found.contains(&label), "{found:#?}");
    }
}
