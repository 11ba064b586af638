//! What a check sees: the workspace, the model under test opened once, and whatever fault was planted in either.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use apr_format::AprFile;
use apr_generation::{CausalLm, GenerationParams, SamplingParams, Step, generate};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::{ChatTemplate, Message, TokenId, Tokenizer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::chat::Inspected;
use super::perplexity::EvaluationText;
use crate::checklist::Claim;
use crate::faults::{Planted, Reply, Subject};
use crate::golden::{GoldenSet, VerifiedPrompt};
use crate::models::ModelChoice;
use crate::playbook::{self, Playbook, PlaybookId, PlaybookReport, Stage, StandIn};
use crate::process::{Ended, Finished, Program};
use crate::reference::Reference;
use crate::report::ModelFacts;
use crate::workspace::Workspace;

/// How long one run of `apr` may take.
const APR_TIME: Duration = Duration::from_mins(5);

/// A language model that can be handed to another thread.
pub type Model = Box<dyn CausalLm + Send>;

/// A playbook that is run once, by whoever asks first.
type Played = Arc<OnceLock<Result<Arc<PlaybookReport>, String>>>;

/// The subject of a check.
pub struct Context {
    workspace: Workspace,
    model: ModelChoice,
    seed: Option<u64>,
    planted: Planted,
    playbooks: Arc<[Playbook]>,
    stage: OnceLock<Result<Stage, String>>,
    played: Mutex<BTreeMap<PlaybookId, Played>>,
    file: OnceLock<Result<AprFile, String>>,
    qwen2: OnceLock<Result<Mutex<Qwen2>, String>>,
    tokenizer: OnceLock<Result<Tokenizer, String>>,
    reference: OnceLock<Result<Reference, String>>,
    chat: OnceLock<Result<Vec<Inspected>, String>>,
    golden_set: OnceLock<Result<Option<GoldenSet>, String>>,
    golden: Mutex<BTreeMap<String, Arc<VerifiedPrompt>>>,
    doubts: OnceLock<Result<Vec<String>, String>>,
    surprises: OnceLock<Result<Vec<f64>, String>>,
}

impl Context {
    /// The subject as it is.
    pub fn new(
        workspace: Workspace,
        model: ModelChoice,
        seed: Option<u64>,
        playbooks: impl Into<Arc<[Playbook]>>,
    ) -> Self {
        Self {
            workspace,
            model,
            seed,
            planted: Planted::default(),
            playbooks: playbooks.into(),
            stage: OnceLock::new(),
            played: Mutex::default(),
            file: OnceLock::new(),
            qwen2: OnceLock::new(),
            tokenizer: OnceLock::new(),
            reference: OnceLock::new(),
            chat: OnceLock::new(),
            golden_set: OnceLock::new(),
            golden: Mutex::default(),
            doubts: OnceLock::new(),
            surprises: OnceLock::new(),
        }
    }

    /// The subject with a fault in it: the same checkout, another model file or another surrounding.
    #[must_use]
    pub fn with_fault(&self, subject: Subject) -> Self {
        let model = ModelChoice { path: subject.model, ..self.model.clone() };
        let faulty = Self::new(self.workspace.clone(), model, self.seed, Arc::clone(&self.playbooks));
        Self { planted: subject.planted, ..faulty }
    }

    /// For tests of what a check says of a model that nobody doubts, whatever it is.
    #[cfg(test)]
    pub(super) fn undoubted(self) -> Self {
        self.doubts.set(Ok(Vec::new())).unwrap();
        self
    }

    /// For tests: the same subject with another model file.
    #[cfg(test)]
    pub(super) fn of(self, model: &Path) -> Self {
        Self { model: ModelChoice { path: model.to_owned(), ..self.model }, ..self }
    }

    /// For tests of what a check says of conversations that nobody held.
    #[cfg(test)]
    pub(super) fn with_chat(self, sessions: Vec<Inspected>) -> Self {
        assert!(self.chat.set(Ok(sessions)).is_ok(), "they were held");
        self
    }

    /// Every playbook.
    pub fn playbooks(&self) -> &[Playbook] {
        &self.playbooks
    }

    /// How a playbook came out; it is run once.
    pub fn playbook(&self, id: &PlaybookId) -> anyhow::Result<Arc<PlaybookReport>> {
        let played = Arc::clone(
            self.played.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default(),
        );
        let report = played.get_or_init(|| {
            let found = self.playbooks.iter().find(|playbook| playbook.id == *id);
            let playbook = found.ok_or_else(|| format!("there is no playbook `{id}`"))?;
            let stage = self.stage().map_err(|error| format!("{error:#}"))?;
            playbook::run(playbook, stage).map(Arc::new).map_err(|error| format!("{error:#}"))
        });
        report.clone().map_err(|error| anyhow!("{error}"))
    }

    /// Where playbooks run, with the planted fault in front of `apr`.
    fn stage(&self) -> anyhow::Result<&Stage> {
        let set = self.stage.get_or_init(|| self.set_stage().map_err(|error| format!("{error:#}")));
        set.as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn set_stage(&self) -> anyhow::Result<Stage> {
        let apr = self.apr_behind()?;
        let engine = self.planted.program().map(|fault| {
            let engine = self
                .workspace
                .program("cargo-probador")
                .context("the `cargo-probador` executable is not built")?;
            Ok::<_, anyhow::Error>((engine, fault))
        });
        let engine = engine.transpose()?;
        let stand_in = engine.as_ref().map(|(engine, fault)| StandIn { engine, fault });
        Stage::new(&apr, &self.model.path, &self.model.typed(), self.workspace.root(), stand_in.as_ref())
    }

    /// The checkout.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The model under test.
    pub fn model(&self) -> &ModelChoice {
        &self.model
    }

    /// What is known of the model under test.
    pub fn known(&self) -> anyhow::Result<&crate::models::KnownModel> {
        let known = self.model.known.as_ref();
        known.ok_or_else(|| anyhow!("`{}` is not described in golden/models.yaml", self.model.name))
    }

    /// The seed that replaces every row's, if one was given.
    pub fn seed_override(&self) -> Option<u64> {
        self.seed
    }

    /// The fault in it, if any.
    pub fn planted(&self) -> &Planted {
        &self.planted
    }

    /// How many samples `claim` draws, and the generator they come from.
    pub fn sampling(&self, claim: &Claim) -> anyhow::Result<(usize, ChaCha8Rng)> {
        let sampling = claim.sampling.ok_or_else(|| anyhow!("claim {} has no `sampling`", claim.id))?;
        let seed = self.seed.unwrap_or(sampling.seed);
        Ok((sampling.n as usize, ChaCha8Rng::seed_from_u64(seed)))
    }

    /// The model's file.
    pub fn file(&self) -> anyhow::Result<&AprFile> {
        let opened =
            self.file.get_or_init(|| AprFile::open(&self.model.path).map_err(|error| error.to_string()));
        opened.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Another sequence over the model's weights, with the planted fault in it.
    pub fn fork(&self) -> anyhow::Result<Model> {
        let loaded = self.qwen2.get_or_init(|| {
            let file = self.file().map_err(|error| error.to_string())?;
            let limit = file.metadata().config.max_position_embeddings.max(1);
            let options = LoadOptions { context_length: Some(limit.min(1024)), n_threads: None };
            Qwen2::load(file, options).map(Mutex::new).map_err(|error| error.to_string())
        });
        let model = loaded.as_ref().map_err(|error| anyhow!("{error}"))?;
        let fork = model.lock().unwrap_or_else(PoisonError::into_inner).fork()?;
        Ok(self.planted.wrap_model(Box::new(fork)))
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> anyhow::Result<&Tokenizer> {
        let built = self.tokenizer.get_or_init(|| {
            let file = self.file().map_err(|error| error.to_string())?;
            let json = file.tokenizer_json().map_err(|error| error.to_string())?;
            let json = json.ok_or_else(|| format!("`{}` holds no tokenizer", file.path().display()))?;
            Tokenizer::from_json(&json).map_err(|error| error.to_string())
        });
        built.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// The engine's own implementation over the same file.
    pub fn reference(&self) -> anyhow::Result<&Reference> {
        let opened = self.reference.get_or_init(|| {
            let file = self.file().map_err(|error| error.to_string())?;
            Reference::of_file(file).map_err(|error| error.to_string())
        });
        opened.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// The model's chat template.
    pub fn template(&self) -> anyhow::Result<ChatTemplate> {
        let metadata = self.file()?.metadata();
        let source = metadata.chat_template.as_deref().context("the model has no chat template")?;
        Ok(ChatTemplate::new(source)?.with_named_tokens(metadata.special_tokens.clone()))
    }

    /// A conversation as the ids the model sees, up to where its turn begins.
    pub fn chat_ids(&self, messages: &[Message]) -> anyhow::Result<Vec<TokenId>> {
        let tokenizer = self.tokenizer()?;
        let segments = self.template()?.render(messages, true, tokenizer)?;
        Ok(self.planted.encode_prompt(tokenizer, &segments))
    }

    /// What the model says to a user's `prompt` when it always takes the likeliest token.
    pub fn greedy_reply(&self, prompt: &str, max_tokens: usize) -> anyhow::Result<String> {
        let (mut model, tokenizer) = (self.fork()?, self.tokenizer()?);
        let ids = self.chat_ids(&[Message { role: "user".to_owned(), content: prompt.to_owned() }])?;
        let params = GenerationParams {
            drafts: 0,
            sampling: SamplingParams::greedy(),
            max_tokens: Some(max_tokens),
            stop: Vec::new(),
            end_of_text: self.end_of_text()?,
        };
        let mut go_on = |_: &Step<'_>| ControlFlow::Continue(());
        Ok(generate(model.as_mut(), tokenizer, &ids, &params, &mut go_on)?.text)
    }

    /// The ids that the file declares to end a reply.
    pub fn end_of_text(&self) -> anyhow::Result<Vec<TokenId>> {
        let declared = self.file()?.metadata().generation_config.as_ref();
        let ids = match declared.and_then(|config| config.get("eos_token_id")) {
            Some(serde_json::Value::Array(ids)) => ids.clone(),
            Some(id) => vec![id.clone()],
            None => Vec::new(),
        };
        let ids = ids.iter().filter_map(serde_json::Value::as_u64).filter_map(|id| u32::try_from(id).ok());
        Ok(ids.map(TokenId).collect())
    }

    /// Inspected conversations with the real `apr`, held once.
    pub(super) fn chat_sessions(&self) -> anyhow::Result<&[Inspected]> {
        let held =
            self.chat.get_or_init(|| super::chat::sessions(self).map_err(|error| format!("{error:#}")));
        held.as_deref().map_err(|error| anyhow!("{error}"))
    }

    /// Where the goldens of all models are.
    pub(super) fn golden_folder(&self) -> PathBuf {
        self.planted.goldens().map_or_else(|| self.workspace.path("golden"), Path::to_owned)
    }

    /// The goldens of the model, if there are any.
    pub(super) fn golden_set(&self) -> anyhow::Result<Option<&GoldenSet>> {
        let opened = self.golden_set.get_or_init(|| {
            GoldenSet::open(&self.golden_folder(), &self.model.name).map_err(|error| error.to_string())
        });
        opened.as_ref().map(Option::as_ref).map_err(|error| anyhow!("{error}"))
    }

    /// The verification of a recorded prompt, made by `verify` unless it was made before.
    pub(super) fn golden(
        &self,
        slug: &str,
        verify: impl FnOnce() -> anyhow::Result<VerifiedPrompt>,
    ) -> anyhow::Result<Arc<VerifiedPrompt>> {
        let mut known = self.golden.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verified) = known.get(slug) {
            return Ok(Arc::clone(verified));
        }
        let verified = Arc::new(verify()?);
        known.insert(slug.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }

    /// Runs `apr` with `arguments` to its end; what it shows goes through the planted fault.
    pub(super) fn apr(&self, program: impl FnOnce(Program) -> Program) -> anyhow::Result<Finished> {
        let apr = self.apr_path()?;
        let program = program(Program::new(apr).timeout(APR_TIME));
        let command = program.command_line();
        let mut finished = program.run()?;
        // What is no text is left as it is, for the check to find.
        if let (Ended::Exited(code), Ok(text)) = (finished.ended, std::str::from_utf8(&finished.stdout)) {
            let reply = self.planted.show(Reply { command, text: text.to_owned(), code });
            finished.stdout = reply.text.into_bytes();
            finished.ended = Ended::Exited(reply.code);
        }
        Ok(finished)
    }

    /// The `apr` executable, or what was planted in its place.
    pub(super) fn apr_path(&self) -> anyhow::Result<PathBuf> {
        if self.planted.program().is_some() {
            return Ok(self.stage()?.program());
        }
        self.apr_behind()
    }

    /// The `apr` executable that a stand-in runs.
    fn apr_behind(&self) -> anyhow::Result<PathBuf> {
        let planted = self.planted.apr().map(Path::to_owned);
        planted.or_else(|| self.workspace.apr()).context("the `apr` executable is not built")
    }

    /// Why what runs here is not the model that the file holds, found out once.
    pub fn doubts(&self) -> anyhow::Result<&[String]> {
        let doubts =
            self.doubts.get_or_init(|| super::subject::doubts(self).map_err(|error| format!("{error:#}")));
        doubts.as_deref().map_err(|error| anyhow!("{error}"))
    }

    /// Mean surprise of each window of `text`, the model's evaluation text; evaluated once.
    pub(super) fn surprises(&self, text: &EvaluationText) -> anyhow::Result<&[f64]> {
        let evaluate = || text.surprises(self.fork()?.as_mut(), text.n_windows());
        let evaluated =
            self.surprises.get_or_init(|| evaluate().map_err(|error: anyhow::Error| format!("{error:#}")));
        evaluated.as_deref().map_err(|error| anyhow!("{error}"))
    }

    /// What a report says of the model; nothing is opened that no check opened.
    pub fn model_facts(&self) -> ModelFacts {
        let opened = self.file.get().and_then(|file| file.as_ref().ok());
        ModelFacts {
            name: self.model.name.clone(),
            path: self.model.path.display().to_string(),
            file_size: std::fs::metadata(&self.model.path).map_or(0, |metadata| metadata.len()),
            root_hash: opened.map(|file| file.root_hash().to_owned()).unwrap_or_default(),
            stand_in: self.model.known.as_ref().is_some_and(|known| known.stand_in),
        }
    }

    /// Where the sources under test are.
    pub fn source_root(&self) -> &Path {
        self.planted.source_root().unwrap_or_else(|| self.workspace.root())
    }

    /// Where a tool's stored result is.
    pub fn stored_result(&self, name: &str) -> PathBuf {
        self.planted.stored_result().map_or_else(|| self.workspace.path(name), Path::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks::made_up::{altered, context_of, context_with_apr};

    #[test]
    fn a_reply_ends_with_the_ids_that_the_file_declares() {
        #[track_caller]
        fn check(declared: Option<serde_json::Value>, expected: &[u32]) {
            let (_folder, model) = altered(|metadata| metadata.generation_config = declared, &[], &[]);
            let ids: Vec<u32> = context_of(&model).end_of_text().unwrap().iter().map(|id| id.0).collect();
            assert_eq!(ids, expected);
        }
        check(Some(json!({ "eos_token_id": 7 })), &[7]);
        check(Some(json!({ "eos_token_id": [7, -1, 9] })), &[7, 9]);
        check(Some(json!({})), &[]);
        check(None, &[]);
    }

    #[test]
    fn a_program_that_a_signal_ended_has_shown_what_it_had_printed() {
        let context = context_with_apr("printf half; kill -9 $$");
        let finished = context.apr(|apr| apr.arg("chat")).unwrap();
        assert_eq!((finished.ended, finished.stdout_text()), (Ended::Signalled, "half".to_owned()));
    }
}
