//! Section C, second half: rotary positions, norms and the gate, recomputed in f64 from what a probe saw.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use apr_generation::{LogitRows, Recorder, Site, TensorKey, Trace};
use apr_tokenizer::TokenId;
use rand::Rng;

use super::c_forward_pass::largest_difference;
use super::subject::require_model;
use super::{CheckError, Context, samples};
use crate::case::Judgement;
use crate::checklist::Claim;

/// Qwen2's published epsilon, whatever the file says.
const EPSILON: f64 = 1e-6;

type Traces = BTreeMap<TensorKey, Trace>;

/// Evaluates `ids` from nothing and keeps the tensors that `wanted` asks for.
fn traced(context: &Context, ids: &[TokenId], wanted: impl Fn(TensorKey) -> bool) -> anyhow::Result<Traces> {
    let mut model = context.fork()?;
    let mut recorder = Recorder::new(wanted);
    model.prefill(ids, LogitRows::All, Some(&mut recorder))?;
    Ok(recorder.into_tensors())
}

fn tensor(traces: &Traces, key: TensorKey) -> anyhow::Result<&Trace> {
    traces.get(&key).ok_or_else(|| anyhow!("the model showed no `{key}`"))
}

/// C6: scores are a function of contents and distance alone, and distance matters.
pub(super) fn positions_are_relative(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let config = &context.file()?.metadata().config;
    let (n_heads, n_kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
    let vocab_size = context.tokenizer()?.vocab_size();
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (shift_atol, smallest_change) = (claim.limit("shift_atol")?, claim.limit("smallest_change")?);
    let (mut worst, mut n_scores, mut least) = (0.0_f64, 0, f64::INFINITY);
    for _ in 0..n {
        let length = rng.random_range(6..20);
        let ids = samples::ids(&mut rng, length, vocab_size);
        let wanted = |key| matches!(key, TensorKey::Layer(_, Site::QProj | Site::KProj | Site::Scores));
        let traces = traced(context, &ids, wanted)?;
        for layer in 0..config.num_layers {
            let q = tensor(&traces, TensorKey::Layer(layer, Site::QProj))?; // [t, n_heads * head_dim]
            let k = tensor(&traces, TensorKey::Layer(layer, Site::KProj))?; // [t, n_kv_heads * head_dim]
            let scores = tensor(&traces, TensorKey::Layer(layer, Site::Scores))?; // [n_heads, n_pairs]
            let n_pairs = length * (length + 1) / 2;
            let largest =
                scores.values.iter().fold(1.0_f64, |largest, &score| largest.max(f64::from(score).abs()));
            for head in 0..n_heads {
                let kv_head = head / (n_heads / n_kv_heads.max(1)).max(1);
                for i in 0..length {
                    let query = &q.values[i * n_heads * head_dim + head * head_dim..][..head_dim];
                    for j in 0..=i {
                        let key = &k.values[j * n_kv_heads * head_dim + kv_head * head_dim..][..head_dim];
                        let expected = rotated_product(query, key, (i - j) as f64, config.rope_theta);
                        let found = f64::from(scores.values[head * n_pairs + i * (i + 1) / 2 + j]);
                        let off = (found - expected).abs() / largest;
                        if off > worst || off.is_nan() {
                            worst = off;
                        }
                        n_scores += 1;
                    }
                }
            }
        }
        // The same tokens, one of them at another distance from the last.
        let mut moved = ids.clone();
        moved[..length - 1].rotate_left(1);
        let last = |ids: &[TokenId]| -> anyhow::Result<Vec<f32>> {
            Ok(context.fork()?.prefill(ids, LogitRows::Last, None)?.last().to_vec())
        };
        least = least.min(largest_difference(&last(&ids)?, &last(&moved)?));
    }
    if !judgement.at_most(
        "largest relative error of scores computed from distance alone",
        worst,
        shift_atol,
        "",
        n_scores,
    ) {
        judgement.fail("a shift of all positions would change the attention scores");
    }
    if !judgement.at_least("smallest change of logits when a token moves", least, smallest_change, "", n) {
        judgement.fail("the distance between two tokens does not matter to the logits");
    }
    Ok(judgement)
}

/// `(R(distance) q) . k / sqrt(d)`, halves rotated together (Su et al. 2024, eq. 34).
fn rotated_product(query: &[f32], key: &[f32], distance: f64, theta: f64) -> f64 {
    let half = query.len() / 2;
    let dot: f64 = (0..half)
        .map(|i| {
            let angle = distance * theta.powf(-(i as f64) / half as f64);
            let (sin, cos) = angle.sin_cos();
            let (a, b) = (f64::from(query[i]), f64::from(query[i + half]));
            (a * cos - b * sin) * f64::from(key[i]) + (b * cos + a * sin) * f64::from(key[i + half])
        })
        .sum();
    dot / (query.len() as f64).sqrt()
}

/// C7: every norm's output is its input over its root mean square times its weight; all of it finite.
pub(super) fn norms_are_root_mean_square(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("relative_error")?;
    let (n, mut rng) = context.sampling(claim)?;
    let file = context.file()?;
    let n_layers = file.metadata().config.num_layers;
    let vocab_size = context.tokenizer()?.vocab_size();
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    require_model(context, &mut judgement)?;
    let (mut worst, mut n_values, mut n_not_finite) = (0.0_f64, 0, 0);
    for _ in 0..n {
        let length = rng.random_range(3..16);
        let ids = samples::ids(&mut rng, length, vocab_size);
        let traces = traced(context, &ids, |key| {
            let inside = [Site::InputLayernorm, Site::PostAttentionLayernorm, Site::OProj, Site::Output];
            match key {
                TensorKey::Layer(_, site) => inside.contains(&site),
                TensorKey::Embedding | TensorKey::Norm | TensorKey::Logits => true,
            }
        })?;
        n_not_finite +=
            traces.values().flat_map(|trace| &trace.values).filter(|value| !value.is_finite()).count();
        let mut norm = |input: &[f64], weight: &str, output: &Trace| -> anyhow::Result<()> {
            let weight = file.tensor(weight).with_context(|| format!("there is no `{weight}`"))?.to_f32();
            for (input, output) in
                input.chunks_exact(weight.len()).zip(output.values.chunks_exact(weight.len()))
            {
                let mean_square = input.iter().map(|value| value * value).sum::<f64>() / input.len() as f64;
                let scale = 1.0 / (mean_square + EPSILON).sqrt();
                let largest =
                    output.iter().fold(1e-6_f64, |largest, &value| largest.max(f64::from(value).abs()));
                for ((&value, &weight), &found) in input.iter().zip(&weight).zip(output) {
                    let off = (value * scale * f64::from(weight) - f64::from(found)).abs() / largest;
                    if off > worst || off.is_nan() {
                        worst = off;
                    }
                    n_values += 1;
                }
            }
            Ok(())
        };
        let wide =
            |trace: &Trace| -> Vec<f64> { trace.values.iter().map(|&value| f64::from(value)).collect() };
        let mut hidden = wide(tensor(&traces, TensorKey::Embedding)?);
        for layer in 0..n_layers {
            let at = |site| tensor(&traces, TensorKey::Layer(layer, site));
            let prefix = format!("model.layers.{layer}");
            norm(&hidden, &format!("{prefix}.input_layernorm.weight"), at(Site::InputLayernorm)?)?;
            for (value, &added) in hidden.iter_mut().zip(&at(Site::OProj)?.values) {
                *value += f64::from(added);
            }
            let post = at(Site::PostAttentionLayernorm)?;
            norm(&hidden, &format!("{prefix}.post_attention_layernorm.weight"), post)?;
            hidden = wide(at(Site::Output)?);
        }
        norm(&hidden, "model.norm.weight", tensor(&traces, TensorKey::Norm)?)?;
    }
    if !judgement.exactly("values that are not finite", n_not_finite, 0, "", n_values) {
        judgement.fail("a norm or a logit is not finite");
    }
    if !judgement.at_most("largest relative error of a norm's output", worst, limit, "", n_values) {
        judgement.fail("a norm's output is not its input over its root mean square, times its weight");
    }
    Ok(judgement)
}

/// C8: the block's output is `down(silu(gate) * up)`, and the gate takes both signs.
pub(super) fn the_gate_is_silu(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("relative_error")?;
    let (n, mut rng) = context.sampling(claim)?;
    let file = context.file()?;
    let config = &file.metadata().config;
    let vocab_size = context.tokenizer()?.vocab_size();
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    require_model(context, &mut judgement)?;
    let (mut worst, mut n_values) = (0.0_f64, 0);
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for _ in 0..n {
        let ids = samples::ids(&mut rng, 3, vocab_size);
        let wanted = |key| matches!(key, TensorKey::Layer(_, Site::GateProj | Site::UpProj | Site::DownProj));
        let traces = traced(context, &ids, wanted)?;
        for layer in 0..config.num_layers {
            let at = |site| tensor(&traces, TensorKey::Layer(layer, site));
            let (gate, up, down) = (at(Site::GateProj)?, at(Site::UpProj)?, at(Site::DownProj)?);
            let name = format!("model.layers.{layer}.mlp.down_proj.weight");
            let weight = file.tensor(&name).with_context(|| format!("there is no `{name}`"))?.to_f32();
            let rows = gate.values.chunks_exact(config.intermediate_size);
            let rows = rows.zip(up.values.chunks_exact(config.intermediate_size));
            for ((gate, up), down) in rows.zip(down.values.chunks_exact(config.hidden_size)) {
                let product: Vec<f64> = gate
                    .iter()
                    .zip(up)
                    .map(|(&gate, &up)| {
                        let activated = silu(f64::from(gate));
                        lowest = lowest.min(activated);
                        highest = highest.max(activated);
                        activated * f64::from(up)
                    })
                    .collect();
                let largest =
                    down.iter().fold(1e-6_f64, |largest, &value| largest.max(f64::from(value).abs()));
                for (weights, &found) in weight.chunks_exact(config.intermediate_size).zip(down) {
                    let expected: f64 =
                        weights.iter().zip(&product).map(|(&weight, value)| f64::from(weight) * value).sum();
                    let off = (expected - f64::from(found)).abs() / largest;
                    if off > worst || off.is_nan() {
                        worst = off;
                    }
                    n_values += 1;
                }
            }
        }
    }
    if !judgement.at_most("largest relative error of down(silu(gate) * up)", worst, limit, "", n_values) {
        judgement.fail("the feed-forward block is not down(silu(gate) * up)");
    }
    if !judgement.at_most("lowest activation of the gate", lowest, -1e-6, "", n_values) {
        judgement.fail("silu of the gate is never negative");
    }
    judgement.at_least("lowest activation of the gate", lowest, -0.278_465, "", n_values);
    judgement.at_least("highest activation of the gate", highest, 1e-6, "", n_values);
    Ok(judgement)
}

/// `x / (1 + e^-x)`.
fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use apr_generation::{CausalLm, Logits, ModelError, Probe};

    use super::*;
    use crate::checks::Model;
    use crate::checks::made_up::{claim_of, context_with_model, failures};

    #[test]
    fn silu_dips_below_zero_to_its_known_minimum() {
        let lowest = (-400..0).map(|x| silu(f64::from(x) / 100.0)).fold(0.0, f64::min);
        assert!((lowest + 0.278_464).abs() < 1e-5, "{lowest}");
        assert!(silu(3.0) > 2.8);
    }

    #[test]
    fn a_rotated_product_turns_with_distance_and_keeps_its_size() {
        let (query, key) = ([1.0, 0.0], [1.0, 0.0]);
        assert!((rotated_product(&query, &key, 0.0, 1e4) * 2_f64.sqrt() - 1.0).abs() < 1e-12);
        let turned = rotated_product(&query, &key, std::f64::consts::PI, 1e4) * 2_f64.sqrt();
        assert!((turned + 1.0).abs() < 1e-12, "{turned}");
    }

    /// A model that computes what it computes, and shows every tensor without one number in it.
    struct Opaque(Model);

    impl CausalLm for Opaque {
        fn vocab_size(&self) -> usize {
            self.0.vocab_size()
        }

        fn context_length(&self) -> usize {
            self.0.context_length()
        }

        fn position(&self) -> usize {
            self.0.position()
        }

        fn cache_bytes_per_position(&self) -> u64 {
            self.0.cache_bytes_per_position()
        }

        fn prefill(
            &mut self,
            ids: &[TokenId],
            rows: LogitRows,
            probe: Option<&mut dyn Probe>,
        ) -> Result<Logits, ModelError> {
            match probe {
                Some(probe) => self.0.prefill(ids, rows, Some(&mut Blank(probe))),
                None => self.0.prefill(ids, rows, None),
            }
        }

        fn truncate(&mut self, n_positions: usize) {
            self.0.truncate(n_positions);
        }
    }

    struct Blank<'p>(&'p mut dyn Probe);

    impl Probe for Blank<'_> {
        fn wants(&self, key: TensorKey) -> bool {
            self.0.wants(key)
        }

        fn record(&mut self, key: TensorKey, shape: &[usize], values: &[f32]) {
            self.0.record(key, shape, &vec![f32::NAN; values.len()]);
        }
    }

    #[test]
    fn what_is_not_a_number_is_the_worst_that_can_be_shown() {
        #[track_caller]
        fn check(id: &str, expected: &[&str]) {
            let context = context_with_model(|model| Box::new(Opaque(model)));
            let found = failures(&context, &claim_of(id, 1));
            for what in expected {
                assert!(found.iter().any(|found| found.starts_with(what)), "{what:?} is not in {found:#?}");
            }
        }
        check(
            "C6",
            &[
                "largest relative error of scores computed from distance alone NaN",
                "a shift of all positions would change the attention scores",
            ],
        );
        check(
            "C7",
            &[
                "a norm or a logit is not finite",
                "largest relative error of a norm's output NaN",
                "a norm's output is not its input over its root mean square, times its weight",
            ],
        );
        check(
            "C8",
            &[
                "largest relative error of down(silu(gate) * up) NaN",
                "the feed-forward block is not down(silu(gate) * up)",
                "silu of the gate is never negative",
            ],
        );
    }
}
