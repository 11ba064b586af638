//! Fakes behind the `CausalLm` trait.

use std::collections::BTreeMap;
use std::sync::Arc;

use apr_generation::{CausalLm, LogitRows, Logits, ModelError, Probe, TensorKey};
use apr_tokenizer::TokenId;

use crate::canned::canned_reply;
use crate::{Impostor, Materials, Recording};

/// A language model that can be handed to another thread.
pub type Model = Box<dyn CausalLm + Send>;

/// How much higher the logit of a token is that a fake wants.
const CERTAIN: f32 = 24.0;
/// Rows of logits that [`Impostor::LastTokenOnly`] remembers, so that it is not slower than the real model.
const REMEMBERED: usize = 4096;

/// `impostor` in the place of `real`, which lends it its sizes, and in part its weights.
pub fn disguise(impostor: Impostor, real: Model, materials: Arc<Materials>) -> Model {
    if impostor == Impostor::RandomWeights {
        // The fake is in the file.
        return real;
    }
    Box::new(Fake {
        impostor,
        real,
        materials,
        history: Vec::new(),
        n_prompt: 0,
        remembered: BTreeMap::new(),
    })
}

struct Fake {
    impostor: Impostor,
    real: Model,
    materials: Arc<Materials>,
    /// Tokens so far.
    history: Vec<TokenId>,
    /// Tokens that came before the first that were decoded one by one.
    n_prompt: usize,
    remembered: BTreeMap<TokenId, Vec<f32>>,
}

impl Fake {
    /// The logits after the first `n` tokens.
    fn logits(&mut self, n: usize) -> Result<Vec<f32>, ModelError> {
        let vocab_size = self.real.vocab_size();
        match self.impostor {
            Impostor::ConstantLogits => Ok((0..vocab_size).map(|index| (index as f32).sin()).collect()),
            Impostor::NanLogits => Ok(vec![f32::NAN; vocab_size]),
            Impostor::CannedReplies => Ok(self.phrase(n, false)),
            Impostor::LookupTable => Ok(self.phrase(n, true)),
            Impostor::RandomWeights | Impostor::LastTokenOnly => self.last_token_only(n),
            Impostor::GoldenReplayer => match self.recorded_logits(n) {
                Some(row) => Ok(row),
                None => self.last_token_only(n),
            },
        }
    }

    /// Certainty of the next token of a reply that was written beforehand.
    fn phrase(&self, n: usize, knows_replies: bool) -> Vec<f32> {
        let mut logits = vec![0.0; self.real.vocab_size()];
        let Some(tokenizer) = &self.materials.tokenizer else { return logits };
        let n_prompt = self.n_prompt.min(n);
        let prompt = tokenizer.decode(&self.history[..n_prompt]);
        let known =
            self.materials.replies.iter().filter(|known| knows_replies && prompt.contains(&known.prompt));
        // The longest prompt that fits is the likeliest one.
        let known = known.max_by_key(|known| known.prompt.len());
        let reply = known.map_or_else(|| canned_reply(&prompt).to_owned(), |known| known.reply.clone());
        let ids = tokenizer.encode(&reply);
        let next = ids.get(n - n_prompt).copied().or_else(|| tokenizer.token_to_id("<|im_end|>"));
        if let Some(logit) = next.and_then(|id| logits.get_mut(id.index())) {
            *logit = CERTAIN;
        }
        logits
    }

    fn last_token_only(&mut self, n: usize) -> Result<Vec<f32>, ModelError> {
        let last = self.history[n - 1];
        if let Some(row) = self.remembered.get(&last) {
            return Ok(row.clone());
        }
        self.real.reset();
        let row = self.real.prefill(&[last], LogitRows::Last, None)?.values().to_vec();
        if self.remembered.len() < REMEMBERED {
            self.remembered.insert(last, row.clone());
        }
        Ok(row)
    }

    /// The recording that begins with the first `n` tokens.
    fn recording(&self, n: usize) -> Option<&Recording> {
        self.materials.recordings.iter().find(|recording| recording.ids.starts_with(&self.history[..n]))
    }

    fn recorded_logits(&self, n: usize) -> Option<Vec<f32>> {
        let (shape, values) = self.recording(n)?.tensors.get(&TensorKey::Logits)?;
        let width = *shape.last()?;
        values.get((n - 1) * width..n * width).map(<[f32]>::to_vec)
    }

    /// Shows the probe what was recorded, when this call is a whole recorded prompt.
    fn replay(&self, probe: &mut dyn Probe) {
        let Some(recording) = self.recording(self.history.len()) else { return };
        if self.impostor != Impostor::GoldenReplayer || recording.ids.len() != self.history.len() {
            return;
        }
        for (&key, (shape, values)) in &recording.tensors {
            if probe.wants(key) {
                probe.record(key, shape, values);
            }
        }
    }
}

impl CausalLm for Fake {
    fn vocab_size(&self) -> usize {
        self.real.vocab_size()
    }

    fn context_length(&self) -> usize {
        self.real.context_length()
    }

    fn position(&self) -> usize {
        self.history.len()
    }

    fn cache_bytes_per_position(&self) -> u64 {
        self.real.cache_bytes_per_position()
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        if ids.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let first = self.history.len();
        self.check_room(first + ids.len())?;
        self.history.extend_from_slice(ids);
        if ids.len() > 1 || first == 0 {
            self.n_prompt = self.history.len();
        }
        let from = match rows {
            LogitRows::All => first + 1,
            LogitRows::Last => self.history.len(),
        };
        let n_rows = (self.history.len() + 1).saturating_sub(from);
        let mut values = Vec::with_capacity(n_rows.saturating_mul(self.vocab_size()));
        for n in from..=self.history.len() {
            values.extend(self.logits(n)?);
        }
        if let Some(probe) = probe {
            self.replay(probe);
        }
        Ok(Logits::new(self.vocab_size(), values))
    }

    fn truncate(&mut self, n_positions: usize) {
        self.history.truncate(n_positions);
        self.n_prompt = self.n_prompt.min(n_positions);
    }
}
