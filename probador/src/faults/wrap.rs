//! Faults around a model: decorators of the public trait, each wrong in one way.

use std::time::Duration;

use apr_generation::{CausalLm, LogitRows, Logits, ModelError, Probe, Site, TensorKey};
use apr_tokenizer::TokenId;
use half::f16;

use crate::checks::Model;

/// The decorator of the fault `name`.
pub(super) fn find(name: &str) -> Option<fn(Model) -> Model> {
    Some(match name {
        "logits-rounded" => |model| wrapped(model, Wrong::TwoDecimals),
        "half-precision-logits" => |model| wrapped(model, Wrong::HalfPrecision),
        "last-token-only" => |model| wrapped(model, Wrong::LastTokenOnly),
        "logits-jittered" => |model| wrapped(model, Wrong::Jittered),
        "seed-ignored" => |model| wrapped(model, Wrong::OwnDraws),
        "seed-ignored-greedy" => |model| wrapped(model, Wrong::OneCandidate),
        "mask-off-by-one" => |model| wrapped(model, Wrong::MaskOffByOne),
        "peeks-ahead" => |model| wrapped(model, Wrong::PeeksAhead),
        "cache-forgotten" => |model| wrapped(model, Wrong::ForgetsCache),
        "cache-stale-after-reset" => |model| wrapped(model, Wrong::StaleAfterReset),
        "position-off-by-one" => |model| wrapped(model, Wrong::PositionOffByOne),
        "positions-ignored" => |model| wrapped(model, Wrong::IgnoresOrder),
        "absolute-position-leaks" => |model| wrapped(model, Wrong::LeaksPosition),
        "logits-not-finite" => |model| wrapped(model, Wrong::NotFinite),
        "gate-rectified" => |model| wrapped(model, Wrong::RectifiedGate),
        "repeats-itself" => |model| wrapped(model, Wrong::Repeats),
        "dawdles" => |model| wrapped(model, Wrong::Dawdles),
        _ => return None,
    })
}

/// A decorator that changes nothing.
pub(super) fn unharmed(model: Model) -> Model {
    wrapped(model, Wrong::Nothing)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    TwoDecimals,
    HalfPrecision,
    LastTokenOnly,
    Jittered,
    OwnDraws,
    OneCandidate,
    MaskOffByOne,
    PeeksAhead,
    ForgetsCache,
    StaleAfterReset,
    PositionOffByOne,
    IgnoresOrder,
    LeaksPosition,
    NotFinite,
    RectifiedGate,
    Repeats,
    Dawdles,
}

struct Faulty {
    inner: Model,
    wrong: Wrong,
    /// Calls so far.
    n_calls: u64,
    /// Tokens so far.
    history: Vec<TokenId>,
}

fn wrapped(inner: Model, wrong: Wrong) -> Model {
    Box::new(Faulty { inner, wrong, n_calls: 0, history: Vec::new() })
}

/// A number that differs from call to call and from process to process.
fn unrepeatable(n_calls: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(n_calls)
}

impl Faulty {
    /// Leaves `keep` certain in the last row.
    fn make_certain(logits: &mut Logits, keep: usize) {
        let (n_rows, vocab_size) = (logits.n_rows(), logits.values().len() / logits.n_rows());
        let row = &mut logits.values_mut()[(n_rows - 1) * vocab_size..];
        row.fill(-1e4);
        row[keep] = 1e4;
    }

    fn alter(&mut self, logits: &mut Logits) {
        let n_rows = logits.n_rows();
        let vocab_size = logits.values().len() / n_rows;
        match self.wrong {
            Wrong::HalfPrecision => {
                logits.values_mut().iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
            }
            Wrong::TwoDecimals => {
                logits.values_mut().iter_mut().for_each(|value| *value = (*value * 100.0).round() / 100.0);
            }
            Wrong::Jittered => {
                let noise = (unrepeatable(self.n_calls) % 1000) as f32 * 1e-7 + 1e-6;
                logits.values_mut().iter_mut().for_each(|value| *value += noise);
            }
            Wrong::OwnDraws => {
                let likely = apr_generation::top_candidates(logits.last(), 40);
                let drawn = unrepeatable(self.n_calls) as usize % likely.len().max(1);
                Self::make_certain(logits, likely[drawn].id.index());
            }
            Wrong::OneCandidate => {
                let likeliest = apr_generation::top_candidates(logits.last(), 1);
                Self::make_certain(logits, likeliest[0].id.index());
            }
            Wrong::PeeksAhead => {
                let last: Vec<f32> = logits.last().to_vec();
                for row in logits.values_mut().chunks_exact_mut(vocab_size).take(n_rows - 1) {
                    row.iter_mut().zip(&last).for_each(|(value, &ahead)| *value += 1e-3 * ahead);
                }
            }
            Wrong::MaskOffByOne => {
                logits.values_mut().copy_within(vocab_size.., 0);
            }
            Wrong::NotFinite => logits.values_mut()[0] = f32::INFINITY,
            Wrong::Repeats => {
                if let Some(&earlier) = self.history.len().checked_sub(4).and_then(|at| self.history.get(at))
                {
                    logits.values_mut()[(n_rows - 1) * vocab_size + earlier.index()] += 50.0;
                }
            }
            _ => {}
        }
    }
}

impl CausalLm for Faulty {
    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn context_length(&self) -> usize {
        self.inner.context_length()
    }

    fn position(&self) -> usize {
        self.inner.position()
    }

    fn cache_bytes_per_position(&self) -> u64 {
        self.inner.cache_bytes_per_position()
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        self.n_calls += 1;
        let position = self.inner.position();
        self.history.truncate(position);
        self.history.extend_from_slice(ids);
        let is_decoding = ids.len() == 1 && position > 0;
        let mut order = ids.to_vec();
        match self.wrong {
            Wrong::LastTokenOnly if rows == LogitRows::Last => {
                self.inner.reset();
                return self.inner.prefill(&ids[ids.len().saturating_sub(1)..], rows, probe);
            }
            Wrong::ForgetsCache if is_decoding => self.inner.truncate(position / 2),
            Wrong::PositionOffByOne if is_decoding => {
                self.inner.prefill(&[TokenId(0)], LogitRows::Last, None)?;
            }
            // All but the last, which asks for the logits.
            Wrong::IgnoresOrder => order[..ids.len().saturating_sub(1)].sort_unstable(),
            Wrong::Dawdles => std::thread::sleep(Duration::from_millis(120)),
            _ => {}
        }
        let mut logits = match probe {
            Some(probe) => {
                self.inner.prefill(&order, rows, Some(&mut Distorted { inner: probe, wrong: self.wrong }))?
            }
            None => self.inner.prefill(&order, rows, None)?,
        };
        self.alter(&mut logits);
        Ok(logits)
    }

    fn truncate(&mut self, n_positions: usize) {
        let kept = if self.wrong == Wrong::StaleAfterReset { n_positions.max(1) } else { n_positions };
        self.inner.truncate(kept);
        self.history.truncate(kept);
    }
}

/// Shows another probe tensors that are not quite what the model computed.
struct Distorted<'p> {
    inner: &'p mut dyn Probe,
    wrong: Wrong,
}

impl Probe for Distorted<'_> {
    fn wants(&self, key: TensorKey) -> bool {
        self.inner.wants(key)
    }

    fn record(&mut self, key: TensorKey, shape: &[usize], values: &[f32]) {
        let mut values = values.to_vec();
        match (self.wrong, key) {
            (Wrong::RectifiedGate, TensorKey::Layer(_, Site::GateProj)) => {
                for value in &mut values {
                    *value = value.max(0.0);
                }
            }
            (Wrong::LeaksPosition, TensorKey::Layer(_, Site::Scores)) => {
                let n_pairs = shape[1].max(1);
                for head in values.chunks_exact_mut(n_pairs) {
                    head.iter_mut().enumerate().for_each(|(pair, value)| *value += 0.01 * pair as f32);
                }
            }
            (Wrong::NotFinite, TensorKey::Logits) => values[0] = f32::INFINITY,
            _ => {}
        }
        self.inner.record(key, shape, &values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Context;
    use crate::models::choose;
    use crate::workspace::Workspace;

    fn context() -> Context {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        Context::new(workspace, model, None, [])
    }

    #[test]
    fn a_model_that_is_unharmed_is_the_model() {
        let context = context();
        let (mut own, mut wrapped) = (context.fork().unwrap(), unharmed(context.fork().unwrap()));
        assert_eq!(wrapped.cache_bytes_per_position(), own.cache_bytes_per_position());
        assert_eq!(wrapped.vocab_size(), own.vocab_size());
        let ids = [TokenId(5), TokenId(6)];
        let expected = own.prefill(&ids, LogitRows::All, None).unwrap();
        assert_eq!(wrapped.prefill(&ids, LogitRows::All, None).unwrap(), expected);
        wrapped.truncate(1);
        assert_eq!(wrapped.position(), 1);
        assert!(find("unheard-of").is_none());
    }

    #[test]
    fn what_repeats_itself_repeats_the_token_before_the_last_three() {
        let context = context();
        let mut own = context.fork().unwrap();
        let mut repeating = find("repeats-itself").unwrap()(context.fork().unwrap());
        let ids = [40, 41, 42, 43, 44].map(TokenId);
        for n in [1, 3] {
            let expected = own.prefill(&ids[..n], LogitRows::Last, None).unwrap();
            assert_eq!(repeating.prefill(&ids[..n], LogitRows::Last, None).unwrap(), expected, "{n}");
            own.reset();
            repeating.reset();
        }
        let logits = repeating.prefill(&ids, LogitRows::Last, None).unwrap();
        assert_eq!(apr_generation::top_candidates(logits.last(), 1)[0].id, TokenId(41));
    }
}
