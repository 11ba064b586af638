//! Which part of a layer a wrong tensor speaks against, and whether the file is at fault or the arithmetic.
//!
//! The model shows tensors at eleven sites of a layer; some parts lie between two of them. They are told apart by where
//! the error shows: a rotation leaves the score of a position with itself alone, and at the first position attention has
//! one key, so that its output is that key's value whatever the softmax does.

use std::fmt;

use apr_generation::{Site, TensorKey, Trace};
use serde::Serialize;

use super::evaluate::pair_at;
use super::truth::Expected;
use crate::compare::NonFinite;
use crate::reference;

/// What runs by itself: the embedding, a layer, or the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The embedding.
    Embedding,
    /// A layer.
    Layer(usize),
    /// The final norm and the output head.
    Head,
}

/// A part of the network that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The embedding.
    Embedding,
    /// The attention's RMSNorm.
    InputLayernorm,
    /// The query projection or its bias.
    QProj,
    /// The key projection or its bias.
    KProj,
    /// The value projection or its bias.
    VProj,
    /// The rotation of queries and keys.
    Rotary,
    /// The products of queries and keys: scale, heads, mask.
    Scores,
    /// Softmax and the weighted sum of values.
    AttentionOutput,
    /// The attention's output projection.
    OProj,
    /// A residual connection.
    Residual,
    /// The MLP's RMSNorm.
    PostAttentionLayernorm,
    /// The gate projection.
    GateProj,
    /// The up projection.
    UpProj,
    /// The down projection, or the activation before it.
    DownProj,
    /// The final RMSNorm.
    FinalNorm,
    /// The output head.
    LmHead,
    /// Some part before the tensor: those in between are not known.
    Unknown,
}

/// Why a part computes something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The reference computes the same wrong values from this file: its weights or its configuration are others.
    File,
    /// The reference computes the right values from this file: the code is wrong.
    Arithmetic,
}

impl Stage {
    /// What computes the tensor `key`.
    pub fn of(key: TensorKey) -> Self {
        match key {
            TensorKey::Embedding => Self::Embedding,
            TensorKey::Layer(layer, _) => Self::Layer(layer),
            TensorKey::Norm | TensorKey::Logits => Self::Head,
        }
    }

    /// The tensors it computes, in the order of the pass.
    pub fn keys(self) -> Vec<TensorKey> {
        match self {
            Self::Embedding => vec![TensorKey::Embedding],
            Self::Layer(layer) => Site::ALL.map(|site| TensorKey::Layer(layer, site)).to_vec(),
            Self::Head => vec![TensorKey::Norm, TensorKey::Logits],
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("the embedding"),
            Self::Layer(layer) => write!(f, "layer {layer}"),
            Self::Head => f.write_str("the head"),
        }
    }
}

impl Part {
    /// Its name: the checkpoint's where it has one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embed_tokens",
            Self::InputLayernorm => "input_layernorm",
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::Rotary => "rotary",
            Self::Scores => "scores",
            Self::AttentionOutput => "attention output",
            Self::OProj => "o_proj",
            Self::Residual => "residual",
            Self::PostAttentionLayernorm => "post_attention_layernorm",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
            Self::FinalNorm => "final norm",
            Self::LmHead => "lm_head",
            Self::Unknown => "a part that is not known",
        }
    }

    /// The part that computes the tensor `key` and nothing else before it.
    pub(super) fn behind(key: TensorKey) -> Self {
        match key {
            TensorKey::Embedding => Self::Embedding,
            TensorKey::Norm => Self::FinalNorm,
            TensorKey::Logits => Self::LmHead,
            TensorKey::Layer(_, site) => match site {
                Site::InputLayernorm => Self::InputLayernorm,
                Site::QProj => Self::QProj,
                Site::KProj => Self::KProj,
                Site::VProj => Self::VProj,
                Site::Scores => Self::Scores,
                Site::OProj => Self::OProj,
                Site::PostAttentionLayernorm => Self::PostAttentionLayernorm,
                Site::GateProj => Self::GateProj,
                Site::UpProj => Self::UpProj,
                Site::DownProj => Self::DownProj,
                Site::Output => Self::Residual,
            },
        }
    }
}

/// A tensor three ways: as it ought to be, as the model computes it from the right input, and as the reference computes
/// it from the same input and the model's own file.
pub(super) struct Suspect<'s> {
    pub(super) key: TensorKey,
    pub(super) expected: &'s Expected,
    pub(super) found: &'s Trace,
    pub(super) own: &'s reference::Tensor,
    /// Positions that were computed.
    pub(super) n: usize,
}

impl Suspect<'_> {
    /// The part to blame, and why.
    pub(super) fn judge(&self) -> (Part, Cause) {
        let cause = self.cause();
        let part = match (self.key, cause) {
            // Nothing else that scores depend on is read from the file.
            (TensorKey::Layer(_, Site::Scores), Cause::File) => Part::Rotary,
            (TensorKey::Layer(_, Site::Scores), Cause::Arithmetic) if self.is_right_on_the_diagonal() => {
                Part::Rotary
            }
            (TensorKey::Layer(_, Site::OProj), Cause::Arithmetic) if self.is_right_at_the_start() => {
                Part::AttentionOutput
            }
            (TensorKey::Layer(_, Site::PostAttentionLayernorm), Cause::Arithmetic)
                if !self.is_a_scaling() =>
            {
                Part::Residual
            }
            (key, _) => Part::behind(key),
        };
        (part, cause)
    }

    /// The file is at fault when the model computes what the reference computes from it, and the truth is elsewhere.
    fn cause(&self) -> Cause {
        let all = Expected {
            positions: (0..self.n).collect(),
            shape: self.own.shape.clone(),
            values: self.own.values.clone(),
            ..self.expected.clone()
        };
        let to_model = distance(&all, self.key, &self.found.shape, &self.found.values, self.n);
        let to_truth = distance(self.expected, self.key, &self.own.shape, &self.own.values, self.n);
        if to_model < to_truth { Cause::File } else { Cause::Arithmetic }
    }

    /// Each element's error and whether it is too large, with its index.
    fn out(&self) -> impl Iterator<Item = (usize, usize)> {
        let width = self.found.shape.last().copied().unwrap_or(1).max(1);
        let (tolerance, noise) = (self.expected.tolerance, self.expected.noise);
        // The reference is right here, so it stands for the truth at every position.
        let pairs = self.found.values.iter().zip(&self.own.values).enumerate();
        pairs.filter_map(move |(at, (&found, &own))| {
            let allowed = (tolerance.atol() + tolerance.rtol() * own.abs()).min(4.0 * noise.max(1e-7));
            let is_within = (f64::from(found) - own).abs() <= allowed;
            (!is_within).then_some((at / width, at % width))
        })
    }

    fn is_right_on_the_diagonal(&self) -> bool {
        let positions: Vec<usize> = (0..self.n).collect();
        let mut out = self.out().filter_map(|(_, pair)| pair_at(&positions, pair)).peekable();
        out.peek().is_some() && out.all(|(query, key)| query != key)
    }

    fn is_right_at_the_start(&self) -> bool {
        let mut out = self.out().peekable();
        out.peek().is_some() && out.all(|(position, _)| position > 0)
    }

    /// Whether each value is the right one times a factor of its position times a factor of its column, as it is behind
    /// a wrong norm, whatever its gain and its epsilon. Behind a wrong sum it is not.
    fn is_a_scaling(&self) -> bool {
        let width = self.found.shape.last().copied().unwrap_or(1).max(1);
        let ratio = |row: usize, column: usize| {
            let at = row * width + column;
            f64::from(self.found.values[at]) / self.own.values[at]
        };
        let is_large = |row: usize, column: usize| self.own.values[row * width + column].abs() > 1e-3;
        let Some(anchor) = (0..width).find(|&column| (0..self.n).all(|row| is_large(row, column))) else {
            return true;
        };
        (1..self.n).all(|row| {
            (0..width).filter(|&column| is_large(row, column) && is_large(0, column)).all(|column| {
                let (a, b) = (ratio(row, column) * ratio(0, anchor), ratio(0, column) * ratio(row, anchor));
                (a - b).abs() <= 1e-2 * a.abs().max(b.abs())
            })
        })
    }
}

/// How far two tensors are apart at most; without bound when one is not finite where the other is.
fn distance<A: Copy + Into<f64>>(
    expected: &Expected,
    key: TensorKey,
    shape: &[usize],
    values: &[A],
    n: usize,
) -> f64 {
    match expected.difference_by(key, shape, values, n, NonFinite::SameIsEqual) {
        Ok(Some(difference)) if difference.smallest_atol.is_some() => difference.max_abs,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Tolerance;

    #[test]
    fn stages_and_parts_have_the_names_that_people_look_for() {
        let stages = [Stage::Embedding, Stage::Layer(3), Stage::Head];
        assert_eq!(stages.map(|stage| stage.to_string()), ["the embedding", "layer 3", "the head"]);
        let behind = |key: TensorKey| Part::behind(key).name();
        assert_eq!(behind(TensorKey::Embedding), "embed_tokens");
        assert_eq!(behind(TensorKey::Norm), "final norm");
        assert_eq!(behind(TensorKey::Logits), "lm_head");
        // A site is named after the part that computes it; what a layer puts out is a sum.
        for site in Site::ALL {
            let key = TensorKey::Layer(0, site).to_string();
            let name = if site == Site::Output { "residual" } else { key.rsplit('.').next().unwrap() };
            assert_eq!(behind(TensorKey::Layer(0, site)), name);
        }
        let between = [Part::Rotary, Part::AttentionOutput, Part::Unknown];
        assert_eq!(between.map(Part::name), ["rotary", "attention output", "a part that is not known"]);
    }

    /// What is blamed for the tensor at `site`, two positions of it, where the model computes `found` and both the truth
    /// and the reference say `own`.
    fn blamed(site: Site, shape: [usize; 2], own: &[f64], found: &[f32]) -> (Part, Cause) {
        let expected = Expected {
            tolerance: Tolerance::new(1e-3, 0.0).unwrap(),
            noise: 1e-6,
            positions: vec![0, 1],
            shape: shape.to_vec(),
            values: own.to_vec(),
        };
        let found = Trace { shape: shape.to_vec(), values: found.to_vec() };
        let own = reference::Tensor { shape: shape.to_vec(), values: own.to_vec() };
        let key = TensorKey::Layer(0, site);
        Suspect { key, expected: &expected, found: &found, own: &own, n: 2 }.judge()
    }

    #[test]
    fn a_part_between_two_tensors_is_blamed_only_where_something_speaks_against_it() {
        let check = |site: Site, shape: [usize; 2], own: &[f64], found: &[f32], part: Part| {
            assert_eq!(blamed(site, shape, own, found), (part, Cause::Arithmetic), "{site:?} {found:?}");
        };
        // One head: the pairs (0, 0), (1, 0) and (1, 1).
        check(Site::Scores, [1, 3], &[1., 2., 3.], &[1., 2.5, 3.], Part::Rotary);
        check(Site::Scores, [1, 3], &[1., 2., 3.], &[1., 2.5, 3.5], Part::Scores);
        check(Site::Scores, [1, 3], &[1., 2., 3.], &[1., 2., 3.], Part::Scores);
        check(Site::OProj, [2, 2], &[1., 2., 3., 4.], &[1., 2., 3., 4.5], Part::AttentionOutput);
        check(Site::OProj, [2, 2], &[1., 2., 3., 4.], &[1.5, 2., 3., 4.], Part::OProj);
        check(Site::OProj, [2, 2], &[1., 2., 3., 4.], &[1., 2., 3., 4.], Part::OProj);
        let norm = Site::PostAttentionLayernorm;
        check(norm, [2, 2], &[1., 2., 3., 4.], &[2., 4., 6., 8.], Part::PostAttentionLayernorm);
        check(norm, [2, 2], &[1., 2., 3., 4.], &[2., 4., 6., 9.], Part::Residual);
        // Values near zero have no ratio, which speaks against nothing.
        check(norm, [2, 2], &[0., 2., 3., 0.], &[1., 2., 3., 9.], Part::PostAttentionLayernorm);
    }
}
