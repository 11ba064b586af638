//! `trace bisect`: which part of which layer an error begins in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use apr_format::AprFile;
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::Tokenizer;
use clap::Args;
use serde::Serialize;

use super::golden::{goldens_in, goldens_of};
use crate::cli::Global;
use crate::compare::Difference;
use crate::exit::ExitStatus;
use crate::golden::{
    Bisection, Cause, Finding, GoldenSet, Origin, Stage, Truth, Verification, config, first_out, trace_back,
};
use crate::models::choose;
use crate::printer::{Printer, Tone};
use crate::reference::Reference;
use crate::workspace::Workspace;

/// `trace bisect`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador trace bisect\n  cargo probador trace bisect broken.apr --goldens golden/tiny\n  \
                        cargo probador trace bisect release --prompt what_is_2_plus_2 --json\n  \
                        cargo probador trace bisect broken.apr --text 'Why is the sky blue?' --reference tiny\n\n\
                        Finds the first tensor out of tolerance, runs every layer by itself on the input it ought to be given, and \
                        names the first part that is wrong rather than inheriting: input_layernorm, q_proj, k_proj, v_proj, rotary, \
                        scores, attention output, o_proj, residual, post_attention_layernorm, gate_proj, up_proj, down_proj, final \
                        norm, lm_head. Recorded prompts are judged by their goldens, any other text by the engine's float64 reference. \
                        Exits with 100 when a tensor is out of tolerance."
)]
pub struct BisectArgs {
    /// A model: a name of golden/models.yaml, or a file
    #[arg(value_name = "MODEL", env = "PROBADOR_MODEL")]
    model: Option<String>,
    /// Only this recorded prompt, by its slug; may be given several times [default: all, up to the first that fails]
    #[arg(long, value_name = "SLUG", conflicts_with = "text")]
    prompt: Vec<String>,
    /// A text that nobody recorded, judged by the reference
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The goldens [default: those of the model's name, or of its weights]
    #[arg(long, value_name = "DIR", conflicts_with = "text")]
    goldens: Option<PathBuf>,
    /// A model known to be good, which the reference evaluates [default: whichever reproduces the goldens; for --text, the model
    /// itself, and then only its arithmetic is judged]
    #[arg(long, value_name = "NAME|PATH")]
    reference: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'r> {
    model: String,
    weights: String,
    judged_by: String,
    passed: bool,
    n_prompts: usize,
    n_tensors: usize,
    n_compared: usize,
    remarks: &'r [String],
    failure: Option<FailureRow<'r>>,
}

#[derive(Serialize)]
struct FailureRow<'r> {
    prompt: &'r str,
    first_out: FindingRow<'r>,
    /// `null` when no part is wrong by itself.
    origin: Option<OriginRow<'r>>,
    /// Whether the layer of the first tensor out of tolerance is right by itself.
    inherited: bool,
    others: Vec<OriginRow<'r>>,
}

#[derive(Serialize)]
struct FindingRow<'r> {
    key: String,
    difference: &'r Difference,
    worst_place: Option<String>,
}

#[derive(Serialize)]
struct OriginRow<'r> {
    stage: String,
    layer: Option<usize>,
    part: &'static str,
    beside: Vec<&'static str>,
    cause: Cause,
    accounts_for_it: Option<bool>,
    by_itself: FindingRow<'r>,
}

/// What was found.
#[derive(Default)]
struct Found {
    n_prompts: usize,
    n_tensors: usize,
    n_values: usize,
    remarks: Vec<String>,
    failure: Option<(String, Finding, Bisection)>,
}

/// Runs what was typed.
pub(super) fn run(args: &BisectArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = super::workspace(global)?;
    let choice = choose(args.model.as_deref(), &workspace)?;
    let file = AprFile::open_verified(&choice.path).with_context(|| match &choice.known {
        Some(known) => format!("cannot open the model `{}`; get it with `{}`", known.name, known.get),
        None => "cannot open the model".to_owned(),
    })?;
    let (found, judged_by) = if let Some(text) = &args.text {
        by_reference(args, text, &file, &workspace)?
    } else {
        let set = match &args.goldens {
            Some(folder) => goldens_in(folder, &file)?,
            None => goldens_of(&workspace, &choice.name, &file)?,
        };
        if let Err(refused) = set.check_producer() {
            printer.error(&format!("{} {refused}", printer.paint_talk(Tone::Bad, "error:")));
            return Ok(ExitStatus::Invalid);
        }
        by_goldens(args, &set, &file, &workspace, printer)?
    };
    if args.json {
        let report = Report {
            model: file.path().display().to_string(),
            weights: file.weights_fingerprint(),
            judged_by,
            passed: found.failure.is_none(),
            n_prompts: found.n_prompts,
            n_tensors: found.n_tensors,
            n_compared: found.n_values,
            remarks: &found.remarks,
            failure: found.failure.as_ref().map(FailureRow::from),
        };
        printer.data(&serde_json::to_string_pretty(&report)?);
    } else {
        for remark in &found.remarks {
            printer.talk(&format!("{} {remark}", printer.paint_talk(Tone::Unsure, "note:")));
        }
        for line in lines(&found, &judged_by, printer) {
            printer.data(&line);
        }
    }
    Ok(if found.failure.is_none() { ExitStatus::Pass } else { ExitStatus::Failed })
}

/// Judges a text that nobody recorded.
fn by_reference(
    args: &BisectArgs,
    text: &str,
    file: &AprFile,
    workspace: &Workspace,
) -> anyhow::Result<(Found, String)> {
    let verification = config(&workspace.path("golden"))?;
    let json = file.tokenizer_json()?;
    let json = json.ok_or_else(|| anyhow!("`{}` holds no tokenizer", file.path().display()))?;
    let ids: Vec<u32> = Tokenizer::from_json(&json)?.encode(text).iter().map(|id| id.0).collect();
    if ids.is_empty() {
        bail!("the text is no tokens\nhint: pass a text that is not empty");
    }
    let own = Reference::of_file(file)?;
    let mut found = Found { n_prompts: 1, ..Found::default() };
    let judge = args.reference.as_ref().map(|name| reference_of(name, workspace)).transpose()?;
    if judge.is_none() {
        found.remarks.push(
            "judged by the reference on the model's own file, so that weights are taken as they are; name a good model with \
             `--reference` to judge them too"
                .to_owned(),
        );
    }
    let (truth, judged_by) = match &judge {
        Some((reference, path)) => (
            Truth::computed("text", &ids, reference, &verification)?,
            format!("the reference on `{}`", path.display()),
        ),
        None => {
            (Truth::computed("text", &ids, &own, &verification)?, "the reference on its own file".to_owned())
        }
    };
    let mut model = load(file, ids.len())?;
    let symptom = first_out(&mut model, &truth)?;
    (found.n_tensors, found.n_values) = (symptom.n_tensors, symptom.n_values);
    if let Some(first) = symptom.first {
        let bisection = trace_back(&mut model, &truth, &own, &first)?;
        found.failure = Some(("text".to_owned(), first, bisection));
    }
    Ok((found, judged_by))
}

/// Judges recorded prompts, up to the first that fails.
fn by_goldens(
    args: &BisectArgs,
    set: &GoldenSet,
    file: &AprFile,
    workspace: &Workspace,
    printer: &mut Printer,
) -> anyhow::Result<(Found, String)> {
    let prompts = set.select(&args.prompt)?;
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(1);
    let mut model = load(file, longest)?;
    let mut found = Found::default();
    for prompt in prompts {
        printer.talk(&format!("{}: {} ids", prompt.slug, prompt.ids.len()));
        let mut truth = Truth::recorded(set, prompt)?;
        let symptom = first_out(&mut model, &truth)?;
        found.n_prompts += 1;
        found.n_tensors += symptom.n_tensors;
        found.n_values += symptom.n_values;
        let Some(first) = symptom.first else { continue };
        if !truth.is_complete(file.metadata().config.num_layers) {
            fill(&mut truth, args, set, file, workspace, &mut found.remarks)?;
        }
        let bisection = trace_back(&mut model, &truth, &Reference::of_file(file)?, &first)?;
        found.failure = Some((prompt.slug.clone(), first, bisection));
        break;
    }
    Ok((found, format!("the goldens in `{}`", set.folder().display())))
}

/// Adds to `truth` what was not recorded, by the first model on which the reference reproduces what was.
fn fill(
    truth: &mut Truth,
    args: &BisectArgs,
    set: &GoldenSet,
    file: &AprFile,
    workspace: &Workspace,
    remarks: &mut Vec<String>,
) -> anyhow::Result<()> {
    let verification: &Verification = &set.manifest().verification;
    let name = &set.manifest().model.name;
    let mut candidates = Vec::new();
    if let Some(named) = &args.reference {
        candidates.push(reference_of(named, workspace)?);
    } else {
        // The model the goldens were recorded from, where this machine has it, and then the one in doubt.
        candidates.extend(reference_of(name, workspace).ok());
        candidates.push((Reference::of_file(file)?, file.path().to_owned()));
    }
    for (reference, path) in candidates {
        match truth.fill(&reference, verification) {
            Ok(()) => {
                remarks.push(format!(
                    "not everything is recorded: filled in by the reference on `{}`",
                    path.display()
                ));
                return Ok(());
            }
            Err(untrusted) => remarks.push(format!("`{}` is no help: {untrusted}", path.display())),
        }
    }
    remarks.push(
        "not everything is recorded, and no model at hand reproduces what is: the part may stay unknown\n\
         hint: name a good model with `--reference`"
            .to_owned(),
    );
    Ok(())
}

/// The reference over a model that is known by name or by path.
fn reference_of(name: &str, workspace: &Workspace) -> anyhow::Result<(Reference, PathBuf)> {
    let choice = choose(Some(name), workspace)?;
    let open = |path: &Path| Reference::open(path);
    let reference = open(&choice.path)
        .with_context(|| format!("cannot evaluate `{}` as the reference", choice.path.display()))?;
    Ok((reference, choice.path))
}

fn load(file: &AprFile, n_positions: usize) -> anyhow::Result<Qwen2> {
    let limit = file.metadata().config.max_position_embeddings;
    if n_positions > limit {
        bail!("the prompt has {n_positions} tokens, `{}` holds {limit}", file.path().display());
    }
    Ok(Qwen2::load(file, LoadOptions { context_length: Some(n_positions), n_threads: None })?)
}

impl<'r> From<&'r (String, Finding, Bisection)> for FailureRow<'r> {
    fn from((prompt, first, bisection): &'r (String, Finding, Bisection)) -> Self {
        Self {
            prompt,
            first_out: FindingRow::from(first),
            origin: bisection.origin.as_ref().map(OriginRow::from),
            inherited: inherits(first, bisection),
            others: bisection.others.iter().map(OriginRow::from).collect(),
        }
    }
}

impl<'r> From<&'r Finding> for FindingRow<'r> {
    fn from(finding: &'r Finding) -> Self {
        Self {
            key: finding.key.to_string(),
            difference: &finding.difference,
            worst_place: finding.worst_place(),
        }
    }
}

impl<'r> From<&'r Origin> for OriginRow<'r> {
    fn from(origin: &'r Origin) -> Self {
        Self {
            stage: origin.stage.to_string(),
            layer: match origin.stage {
                Stage::Layer(layer) => Some(layer),
                Stage::Embedding | Stage::Head => None,
            },
            part: origin.part.name(),
            beside: origin.beside.iter().map(|part| part.name()).collect(),
            cause: origin.cause,
            accounts_for_it: origin.accounts,
            by_itself: FindingRow::from(&origin.finding),
        }
    }
}

/// Whether the stage of the first tensor out of tolerance is right by itself.
fn inherits(first: &Finding, bisection: &Bisection) -> bool {
    bisection.origin.as_ref().is_none_or(|origin| origin.stage != Stage::of(first.key))
}

/// What a person reads of it.
fn lines(found: &Found, judged_by: &str, printer: &Printer) -> Vec<String> {
    let Some((prompt, first, bisection)) = &found.failure else {
        return vec![format!(
            "{}: {} values in {} tensors of {}, judged by {judged_by}",
            printer.paint(Tone::Good, "pass"),
            found.n_values,
            found.n_tensors,
            if found.n_prompts == 1 { "1 prompt".to_owned() } else { format!("{} prompts", found.n_prompts) },
        )];
    };
    let mut lines =
        vec![format!("prompt `{prompt}`, judged by {judged_by}"), format!("first out of tolerance: {first}")];
    let stage = Stage::of(first.key);
    lines.push(match &bisection.origin {
        None => format!(
            "{stage} only inherits it, and so does everything before: no part is wrong by itself, rounding adds up"
        ),
        Some(origin) if inherits(first, bisection) => {
            format!("{stage} only inherits it; run by itself, {}", by_itself(origin))
        }
        Some(origin) => format!("run by itself, {}", by_itself(origin)),
    });
    for other in &bisection.others {
        lines.push(format!("besides, run by itself, {}", by_itself(other)));
    }
    if !bisection.not_run.is_empty() {
        let stages: Vec<String> = bisection.not_run.iter().map(ToString::to_string).collect();
        lines.push(format!("not run by itself, for its input is not known: {}", stages.join(", ")));
    }
    lines.push(match &bisection.origin {
        Some(origin) => {
            format!("{}: {}, {}", printer.paint(Tone::Bad, "FAIL"), origin.stage, origin.part.name())
        }
        None => format!("{}: no part is wrong by itself", printer.paint(Tone::Bad, "FAIL")),
    });
    lines
}

/// What running a stage by itself showed, in words.
fn by_itself(origin: &Origin) -> String {
    let beside = match origin.beside.as_slice() {
        [] => String::new(),
        others => {
            let names: Vec<_> = others.iter().map(|part| part.name()).collect();
            format!(" (and {})", names.join(", "))
        }
    };
    let why = match origin.cause {
        Cause::File => {
            "the reference computes the same from this file, so its weights or configuration are others"
        }
        Cause::Arithmetic => "the reference computes the right values from this file, so the code is wrong",
    };
    let degree = if origin.finding.is_out() { "is wrong" } else { "is off by more than rounding explains" };
    let accounts = match origin.accounts {
        Some(true) | None => "",
        Some(false) => "; it is not the only cause",
    };
    format!(
        "{} {degree} in {}{beside}: {}; {why}{accounts}",
        origin.stage,
        origin.part.name(),
        origin.finding
    )
}

#[cfg(test)]
mod tests {
    use apr_generation::{Site, TensorKey};

    use super::*;
    use crate::compare::{Tolerance, View, compare};
    use crate::golden::Part;
    use crate::printer::ColorChoice;

    /// `key` off by `off` at its second value, where 1 is tolerated.
    fn finding(key: TensorKey, off: f32) -> Finding {
        let view = |values| View::new(&[1, 2], values).unwrap();
        let tolerance = Tolerance::new(1.0, 0.0).unwrap();
        let difference = compare(view(&[0.0_f32, 0.0]), view(&[0.0, off]), tolerance).unwrap();
        Finding { key, difference, positions: vec![0] }
    }

    fn origin(stage: Stage, part: Part, cause: Cause, accounts: Option<bool>) -> Origin {
        let finding = finding(TensorKey::Layer(1, Site::UpProj), 4.0);
        Origin { stage, part, beside: Vec::new(), finding, cause, accounts }
    }

    fn found(origin: Option<Origin>, others: Vec<Origin>, not_run: Vec<Stage>) -> Found {
        let first = finding(TensorKey::Layer(2, Site::Output), 3.0);
        let failure = Some(("unicode".to_owned(), first, Bisection { origin, others, not_run }));
        Found { n_prompts: 1, n_tensors: 7, n_values: 14, remarks: Vec::new(), failure }
    }

    /// What is said after the prompt and the first tensor out of tolerance.
    fn told(found: &Found) -> Vec<String> {
        let lines = lines(found, "the goldens", &Printer::new(ColorChoice::Never, true));
        assert_eq!(lines[0], "prompt `unicode`, judged by the goldens");
        assert!(lines[1].starts_with("first out of tolerance: model.layers.2: max_abs 3"), "{}", lines[1]);
        lines[2..].to_vec()
    }

    #[test]
    fn a_pass_says_what_was_compared() {
        let mut found = Found { n_prompts: 1, n_tensors: 7, n_values: 14, ..Found::default() };
        let printer = Printer::new(ColorChoice::Never, true);
        let said = |found: &Found| lines(found, "the goldens", &printer).join("\n");
        assert_eq!(said(&found), "pass: 14 values in 7 tensors of 1 prompt, judged by the goldens");
        found.n_prompts = 3;
        assert_eq!(said(&found), "pass: 14 values in 7 tensors of 3 prompts, judged by the goldens");
    }

    #[test]
    fn rounding_that_adds_up_blames_no_part() {
        let lines = told(&found(None, Vec::new(), vec![Stage::Layer(0), Stage::Head]));
        assert_eq!(
            lines,
            [
                "layer 2 only inherits it, and so does everything before: no part is wrong by itself, rounding adds up",
                "not run by itself, for its input is not known: layer 0, the head",
                "FAIL: no part is wrong by itself",
            ]
        );
    }

    #[test]
    fn an_origin_in_another_layer_is_told_with_those_beside_it_and_besides() {
        let mut first = origin(Stage::Layer(1), Part::GateProj, Cause::File, Some(false));
        first.beside = vec![Part::UpProj];
        let other = origin(Stage::Head, Part::LmHead, Cause::Arithmetic, None);
        let lines = told(&found(Some(first), vec![other], Vec::new()));
        assert!(
            lines[0].starts_with(
                "layer 2 only inherits it; run by itself, layer 1 is wrong in gate_proj (and up_proj): model.layers.1"
            ),
            "{}",
            lines[0]
        );
        assert!(
            lines[0].ends_with(
                "the reference computes the same from this file, so its weights or configuration are others; it is not the \
                 only cause"
            ),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].starts_with("besides, run by itself, the head is wrong in lm_head: "),
            "{}",
            lines[1]
        );
        assert!(
            lines[1]
                .ends_with("the reference computes the right values from this file, so the code is wrong"),
            "{}",
            lines[1]
        );
        assert_eq!(lines[2..], ["FAIL: layer 1, gate_proj"]);
    }

    #[test]
    fn an_origin_in_the_same_layer_that_is_within_tolerance_is_off_and_not_wrong() {
        let mut here = origin(Stage::Layer(2), Part::DownProj, Cause::File, Some(true));
        here.finding = finding(TensorKey::Layer(2, Site::DownProj), 0.5);
        let lines = told(&found(Some(here), Vec::new(), Vec::new()));
        assert!(
            lines[0]
                .starts_with("run by itself, layer 2 is off by more than rounding explains in down_proj: "),
            "{}",
            lines[0]
        );
        assert!(lines[0].ends_with("configuration are others"), "{}", lines[0]);
        assert_eq!(lines[1..], ["FAIL: layer 2, down_proj"]);
    }

    #[test]
    fn json_has_a_number_for_a_layer_and_none_for_the_ends() {
        let head = origin(Stage::Head, Part::LmHead, Cause::Arithmetic, None);
        let mut layer = origin(Stage::Layer(1), Part::GateProj, Cause::File, Some(true));
        layer.beside = vec![Part::UpProj];
        let found = found(Some(head), vec![layer], Vec::new());
        let row = serde_json::to_value(FailureRow::from(found.failure.as_ref().unwrap())).unwrap();
        assert_eq!((&row["prompt"], &row["inherited"]), (&"unicode".into(), &true.into()));
        assert_eq!((&row["origin"]["stage"], &row["origin"]["layer"]), (&"the head".into(), &().into()));
        let other = &row["others"][0];
        assert_eq!((&other["layer"], &other["beside"][0]), (&1.into(), &"up_proj".into()));
        assert_eq!((&other["cause"], &other["accounts_for_it"]), (&"file".into(), &true.into()));
    }
}
