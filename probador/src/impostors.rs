//! Whole fakes judged by the checklist: what each knows, how it takes the place of model and program, and which claims it
//! gets away with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use apr_generation::{Site, TensorKey};
use apr_impostor::{Impostor, KnownReply, Materials, Recording, disguise};
use apr_tokenizer::{TokenId, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::checks::Context;
use crate::engine::Engine;
use crate::faults::{Planted, Subject, plant};
use crate::golden::{GoldenSet, Prompt, Tensor};
use crate::process::write_wrapper;
use crate::prove::{Reaction, Target, TargetName, Trials, obstacle, targets};

/// Tokens of the replies that an impostor knows.
const REPLY_TOKENS: usize = 32;

/// How a claim or a playbook took an impostor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reception {
    /// Red.
    Red,
    /// It could not even be judged, which is no pass.
    Broken,
    /// Green, and it says why a fake may pass.
    Indifferent,
    /// Green, though it is about behaviour: it is void.
    Fooled,
}

/// One claim or playbook on one impostor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The claim or the playbook; kept tables of claims alone called it so.
    #[serde(alias = "claim")]
    pub target: TargetName,
    /// How it took the impostor.
    pub reception: Reception,
    /// What it said, or why a fake may pass.
    pub said: String,
}

/// Everything that one impostor did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Performance {
    /// The impostor.
    pub impostor: Impostor,
    /// What it does instead of what it should.
    pub does: String,
    /// Every claim and playbook that could be judged, in order.
    pub rows: Vec<Row>,
}

impl Performance {
    /// Claims and playbooks with this reception.
    pub fn with(&self, reception: Reception) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.reception == reception)
    }
}

/// Impostors, and what they know.
pub struct Cast {
    engine: Arc<Engine>,
    program: PathBuf,
    materials: Arc<Materials>,
}

impl Cast {
    /// Teaches the impostors all that someone who has seen the tests could know: the recorded prompts with their tensors
    /// and, for each of them, of the playbooks' and of `prompts`, what the real model replies.
    pub fn new(engine: Arc<Engine>, prompts: &[String]) -> anyhow::Result<Self> {
        let context = engine.context();
        let program = context.workspace().program("apr-impostor").context(
            "the `apr-impostor` executable is not built\nhint: cargo build --release -p apr-impostor",
        )?;
        let set = GoldenSet::open(&context.workspace().path("golden"), &context.model().name)?;
        let recorded: &[Prompt] = set.as_ref().map_or(&[], |set| &set.manifest().prompts);
        let texts =
            recorded.iter().map(|prompt| prompt.text.as_str()).chain(prompts.iter().map(String::as_str));
        // A prompt that the model refuses, such as one too long for it, has no reply to know.
        let replies = texts.chain(prompts_of_playbooks(context)).filter_map(|prompt| {
            let reply = context.greedy_reply(prompt, REPLY_TOKENS).ok()?;
            Some(KnownReply { prompt: prompt.to_owned(), reply })
        });
        let replies = replies.collect();
        let recordings = match &set {
            Some(set) => {
                recorded.iter().map(|prompt| recording(set, prompt)).collect::<anyhow::Result<_>>()?
            }
            None => Vec::new(),
        };
        let json = context.file()?.tokenizer_json()?.context("the model holds no tokenizer")?;
        let tokenizer = Some(Tokenizer::from_json(&json)?);
        let materials = Arc::new(Materials { tokenizer, replies, recordings });
        Ok(Self { engine, program, materials })
    }

    /// Lets `impostor` stand in for the whole stack and judges every claim and playbook that can be judged here.
    pub fn perform(&self, impostor: Impostor) -> anyhow::Result<Performance> {
        let context = self.context(impostor)?;
        let trials = Trials::new(Arc::clone(&self.engine));
        let judged = targets(&self.engine).filter(|target| obstacle(&self.engine, *target).is_none());
        let rows = judged.map(|target| receive(target, trials.react(target, &context))).collect();
        Ok(Performance { impostor, does: impostor.does().to_owned(), rows })
    }

    /// What checks see when `impostor` has taken the place of model and program.
    pub fn context(&self, impostor: Impostor) -> anyhow::Result<Context> {
        let real = self.engine.context();
        let mut model = real.model().path.clone();
        let folder = tempfile::tempdir()?;
        if impostor == Impostor::RandomWeights {
            let random = plant("random-weights", &model)?.context("no random weights can be drawn")?;
            let copy = folder.path().join("model.apr");
            std::fs::copy(&random.model, &copy)?;
            model = copy;
        }
        let apr = self.script(impostor, folder.path())?;
        let materials = Arc::clone(&self.materials);
        let wrap = Arc::new(move |real| disguise(impostor, real, Arc::clone(&materials)));
        let sources = sources(real.workspace().root(), folder.path())?;
        let planted = Planted::impostor(wrap, apr, sources, folder);
        Ok(real.with_fault(Subject { model, planted }))
    }

    /// An executable called `apr` that is the impostor.
    fn script(&self, impostor: Impostor, folder: &Path) -> anyhow::Result<PathBuf> {
        let replies = folder.join("replies.json");
        std::fs::write(&replies, serde_json::to_vec(&self.materials.replies)?)?;
        let path = folder.join("apr");
        let words = [
            self.program.as_os_str(),
            impostor.name().as_ref(),
            "--replies".as_ref(),
            replies.as_os_str(),
            "--".as_ref(),
        ];
        write_wrapper(&path, &words)?;
        Ok(path)
    }
}

/// A copy of the impostors' own sources, without the attributes that excuse them in our tree.
fn sources(root: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let (from, to) = (root.join("subjects/impostor"), folder.join("sources"));
    std::fs::create_dir_all(to.join("src"))?;
    std::fs::copy(from.join("Cargo.toml"), to.join("Cargo.toml"))?;
    for entry in std::fs::read_dir(from.join("src"))? {
        let entry = entry?;
        let text = std::fs::read_to_string(entry.path())?;
        // Under another name an exception is no exception.
        let text = text.replace("probador::allow(", "excused(");
        std::fs::write(to.join("src").join(entry.file_name()), text)?;
    }
    Ok(to)
}

fn receive(target: Target<'_>, reaction: Reaction) -> Row {
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let (reception, said) = match (reaction, target.indifferent()) {
        (Reaction::Red { said }, _) => (Reception::Red, first_line(said)),
        (Reaction::Broken { why }, _) => (Reception::Broken, first_line(why)),
        (Reaction::Green, Some(reason)) => (Reception::Indifferent, reason.to_owned()),
        (Reaction::Green, None) => (Reception::Fooled, "it stays green".to_owned()),
    };
    Row { target: target.name(), reception, said }
}

/// What users of the playbooks write.
fn prompts_of_playbooks(context: &Context) -> impl Iterator<Item = &str> {
    let steps = context.playbooks().iter().flat_map(|playbook| &playbook.steps);
    steps.filter_map(|step| step.stdin.as_deref()).map(str::trim).filter(|prompt| !prompt.is_empty())
}

/// The tensors of a recorded prompt, each with a row for every position; rows that were not recorded are zero.
fn recording(set: &GoldenSet, prompt: &Prompt) -> anyhow::Result<Recording> {
    let mut recording =
        Recording { ids: prompt.ids.iter().copied().map(TokenId).collect(), ..Recording::default() };
    for tensor in &prompt.tensors {
        if let Some(whole) = whole(set, tensor, prompt.ids.len())? {
            recording.tensors.insert(tensor.key, whole);
        }
    }
    Ok(recording)
}

fn whole(set: &GoldenSet, tensor: &Tensor, n: usize) -> anyhow::Result<Option<(Vec<usize>, Vec<f32>)>> {
    let array = set.read(tensor)?;
    if tensor.positions.len() == n {
        return Ok(Some((array.shape, array.values)));
    }
    // Scores of some positions are not rows of a whole.
    let is_rows = !matches!(tensor.key, TensorKey::Layer(_, Site::Scores));
    let (Some(&width), true) = (array.shape.last(), is_rows) else { return Ok(None) };
    let mut values = vec![0.0; n * width];
    for (row, &position) in array.values.chunks_exact(width).zip(&tensor.positions) {
        values[position * width..][..width].copy_from_slice(row);
    }
    Ok(Some((vec![n, width], values)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn only_green_fools_a_claim_and_only_one_that_does_not_say_why() {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let receive = |id: &str, reaction: Reaction| {
            let row = receive(checklist.claim(id.parse().unwrap()).unwrap().into(), reaction);
            assert_eq!(row.target.to_string(), id);
            (row.reception, row.said)
        };
        let red = Reaction::Red { said: "off by 2\nand more".to_owned() };
        assert_eq!(receive("C4", red), (Reception::Red, "off by 2".to_owned()));
        let broken = Reaction::Broken { why: "no replies\nhint: none".to_owned() };
        assert_eq!(receive("C4", broken), (Reception::Broken, "no replies".to_owned()));
        assert_eq!(receive("C4", Reaction::Green), (Reception::Fooled, "it stays green".to_owned()));
        let why = "the file is judged, not what computes with it".to_owned();
        assert_eq!(receive("A4", Reaction::Green), (Reception::Indifferent, why));
    }

    #[test]
    fn scores_of_some_positions_are_no_rows_and_other_tensors_are_filled_up() {
        let workspace = Workspace::find(None).unwrap();
        let set = GoldenSet::open(&workspace.path("golden"), "tiny").unwrap().unwrap();
        let prompt = set.manifest().prompt("long_prompt").unwrap();
        let n = prompt.ids.len();
        let sparse = prompt.tensors.iter().find(|tensor| tensor.positions.len() < n).unwrap();
        let (shape, values) = whole(&set, sparse, n).unwrap().unwrap();
        let width = *sparse.shape.last().unwrap();
        assert_eq!((shape, values.len()), (vec![n, width], n * width));
        let recorded = set.read(sparse).unwrap();
        for (row, &position) in recorded.values.chunks_exact(width).zip(&sparse.positions) {
            assert_eq!(row, &values[position * width..][..width]);
        }
        let other = (0..n).find(|position| !sparse.positions.contains(position)).unwrap();
        assert!(values[other * width..][..width].iter().all(|value| value.abs() == 0.0));
        let mut scores = sparse.clone();
        scores.key = TensorKey::Layer(0, Site::Scores);
        assert_eq!(whole(&set, &scores, n).unwrap(), None);
    }

    #[test]
    fn what_is_no_model_teaches_an_impostor_nothing() {
        let checkout = crate::workspace::sample::Checkout::new();
        checkout.write("target/release/apr-impostor", "");
        checkout.write("broken.apr", "no model");
        let model = Some(checkout.path().join("broken.apr").display().to_string());
        let options = crate::engine::Options { model, seed: None };
        let engine = Arc::new(Engine::open(checkout.workspace(), &options).unwrap());
        let error = Cast::new(engine, &["a prompt".to_owned()]).err().unwrap();
        assert!(format!("{error:#}").contains("broken.apr"), "{error:#}");
    }
}
