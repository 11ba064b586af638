//! The forward pass, in the order in which a model reads: embedding, layers (attention, MLP), norm, head.

use std::collections::BTreeMap;
use std::path::Path;

use apr_format::AprFile;
use rayon::prelude::*;

use super::rotary::Rotary;
use super::weights::{self, Stored, find};
use super::{Config, ReferenceError, WeightSource};
use crate::compare;

/// A Qwen2 that is evaluated in float64.
pub struct Reference {
    config: Config,
    weights: Box<dyn WeightSource>,
}

/// A row-major float64 tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f64>,
}

/// Which positions get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Every position.
    All,
    /// The last `n`.
    Last(usize),
}

impl Tensor {
    /// One row of a matrix.
    pub fn row(&self, row: usize) -> &[f64] {
        let width = self.shape.last().copied().unwrap_or(0);
        &self.values[row * width..][..width]
    }
}

/// Sees tensors by key while they are computed.
type Sink<'s> = &'s mut dyn FnMut(&str, &[usize], &[f64]);

/// Tensors by checkpoint key.
pub type Tensors = BTreeMap<String, Tensor>;

impl Reference {
    /// Opens an `.apr` file; its weights stay where they are mapped.
    pub fn open(path: &Path) -> Result<Self, ReferenceError> {
        let (config, file) = weights::open(path)?;
        Ok(Self { config, weights: Box::new(file) })
    }

    /// Uses a file that is already open.
    pub fn of_file(file: &AprFile) -> Result<Self, ReferenceError> {
        Ok(Self { config: weights::config_of(file)?, weights: Box::new(file.clone()) })
    }

    /// Uses weights from anywhere.
    pub fn new(config: Config, weights: Box<dyn WeightSource>) -> Result<Self, ReferenceError> {
        Ok(Self { config: config.check()?, weights })
    }

    /// The dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Logits of every position, `[n_positions, vocab_size]`.
    pub fn logits(&self, ids: &[u32]) -> Result<Tensor, ReferenceError> {
        self.forward(ids, Rows::All, &mut |_, _, _| {})
    }

    /// Logits of the asked rows, `[n_rows, vocab_size]`.
    pub fn logits_of(&self, ids: &[u32], rows: Rows) -> Result<Tensor, ReferenceError> {
        self.forward(ids, rows, &mut |_, _, _| {})
    }

    /// Every tensor of the pass that `wanted` says yes to, by checkpoint key, and the logits under `logits`. Attention
    /// scores are `[n_heads, sum(p + 1)]`, for each position `p` those of keys `0..=p`.
    pub fn trace(
        &self,
        ids: &[u32],
        rows: Rows,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Tensors, ReferenceError> {
        let mut tensors = BTreeMap::new();
        let logits = self.forward(ids, rows, &mut |key, shape, values| {
            if wanted(key) {
                tensors.insert(key.to_owned(), Tensor { shape: shape.to_vec(), values: values.to_vec() });
            }
        })?;
        if wanted("logits") {
            tensors.insert("logits".to_owned(), logits);
        }
        Ok(tensors)
    }

    /// `exp` of the mean negative log-likelihood of `ids[first_scored..]`, each given all before it; `first_scored` is at
    /// least 1, for nothing stands before the first id.
    pub fn perplexity(&self, ids: &[u32], first_scored: usize) -> Result<f64, ReferenceError> {
        let first_scored = first_scored.max(1);
        if ids.len() <= first_scored {
            return Err(ReferenceError::TooFewTokens { found: ids.len(), needed: first_scored + 1 });
        }
        let n_scored = ids.len() - first_scored;
        let logits = self.logits_of(&ids[..ids.len() - 1], Rows::Last(n_scored))?;
        let likelihoods = (0..n_scored)
            .map(|row| compare::negative_log_likelihood(logits.row(row), ids[first_scored + row] as usize));
        // Logits that are not finite have no perplexity: not a number, which is never within a limit.
        let sum = likelihoods.sum::<Result<f64, _>>().unwrap_or(f64::NAN);
        Ok((sum / n_scored as f64).exp())
    }

    /// The embedded tokens, `[n_positions, hidden_size]`: what the first layer is given.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor, ReferenceError> {
        let c = &self.config;
        if ids.is_empty() {
            return Err(ReferenceError::TooFewTokens { found: 0, needed: 1 });
        }
        let embedding = self.embedding()?;
        let mut values = vec![0.0; ids.len() * c.hidden_size];
        for (&id, row) in ids.iter().zip(values.chunks_exact_mut(c.hidden_size)) {
            if id as usize >= c.vocab_size {
                return Err(ReferenceError::UnknownToken { id, vocab_size: c.vocab_size });
            }
            embedding.widen_row(id as usize, row);
        }
        Ok(Tensor { shape: vec![ids.len(), c.hidden_size], values })
    }

    /// Every tensor of layer `layer` by checkpoint key, given `hidden`, `[n_positions, hidden_size]`, from position 0 on.
    pub fn layer_on(&self, layer: usize, hidden: &[f64]) -> Result<Tensors, ReferenceError> {
        let c = &self.config;
        if layer >= c.n_layers || hidden.is_empty() || !hidden.len().is_multiple_of(c.hidden_size) {
            return Err(ReferenceError::NoInput { layer, n_values: hidden.len() });
        }
        let rotary = Rotary::new(hidden.len() / c.hidden_size, c.head_dim, c.rope_theta);
        let mut tensors = Tensors::new();
        self.layer(layer, &rotary, &mut hidden.to_vec(), &mut |key, shape, values| {
            tensors.insert(key.to_owned(), Tensor { shape: shape.to_vec(), values: values.to_vec() });
        })?;
        Ok(tensors)
    }

    /// The final norm's output and the logits of every position, by checkpoint key, given `hidden`.
    pub fn head_on(&self, hidden: &[f64]) -> Result<Tensors, ReferenceError> {
        let c = &self.config;
        if hidden.is_empty() || !hidden.len().is_multiple_of(c.hidden_size) {
            return Err(ReferenceError::NoInput { layer: c.n_layers, n_values: hidden.len() });
        }
        let mut tensors = Tensors::new();
        let logits = self.head(hidden, Rows::All, &mut |key, shape, values| {
            tensors.insert(key.to_owned(), Tensor { shape: shape.to_vec(), values: values.to_vec() });
        })?;
        tensors.insert("logits".to_owned(), logits);
        Ok(tensors)
    }

    fn forward(&self, ids: &[u32], rows: Rows, sink: Sink<'_>) -> Result<Tensor, ReferenceError> {
        let c = &self.config;
        let Tensor { shape, values: mut x } = self.embed(ids)?; // [t, hidden_size]
        sink("model.embed_tokens", &shape, &x);
        let rotary = Rotary::new(ids.len(), c.head_dim, c.rope_theta);
        for layer in 0..c.n_layers {
            self.layer(layer, &rotary, &mut x, sink)?;
        }
        self.head(&x, rows, sink)
    }

    fn layer(
        &self,
        layer: usize,
        rotary: &Rotary,
        x: &mut [f64],
        sink: Sink<'_>,
    ) -> Result<(), ReferenceError> {
        let prefix = format!("model.layers.{layer}");
        self.attention(&prefix, rotary, x, sink)?;
        self.mlp(&prefix, x, sink)?;
        sink(&prefix, &[x.len() / self.config.hidden_size, self.config.hidden_size], x);
        Ok(())
    }

    fn head(&self, x: &[f64], rows: Rows, sink: Sink<'_>) -> Result<Tensor, ReferenceError> {
        let c = &self.config;
        let t = x.len() / c.hidden_size;
        let normed = self.rms_norm("model.norm", x)?;
        sink("model.norm", &[t, c.hidden_size], &normed);
        let head = if c.tie_word_embeddings {
            self.embedding()?
        } else {
            self.stored("lm_head.weight", &[c.vocab_size, c.hidden_size])?
        };
        let n_rows = match rows {
            Rows::All => t,
            Rows::Last(n) => n.min(t),
        };
        let values =
            multiply(&normed[(t - n_rows) * c.hidden_size..], &head, c.vocab_size, c.hidden_size, None);
        Ok(Tensor { shape: vec![n_rows, c.vocab_size], values })
    }

    fn embedding(&self) -> Result<Stored, ReferenceError> {
        self.stored("model.embed_tokens.weight", &[self.config.vocab_size, self.config.hidden_size])
    }

    /// `x += O(softmax(Q K^T / sqrt(head_dim)) V)`, causal, with the residual.
    fn attention(
        &self,
        prefix: &str,
        rotary: &Rotary,
        x: &mut [f64],
        sink: Sink<'_>,
    ) -> Result<(), ReferenceError> {
        let c = &self.config;
        let t = x.len() / c.hidden_size;
        let (d, group) = (c.head_dim, c.n_heads / c.n_kv_heads);
        let normed = self.rms_norm(&format!("{prefix}.input_layernorm"), x)?;
        sink(&format!("{prefix}.input_layernorm"), &[t, c.hidden_size], &normed);
        let mut q =
            self.linear(&format!("{prefix}.self_attn.q_proj"), &normed, c.query_width(), true, sink)?;
        let mut k = self.linear(&format!("{prefix}.self_attn.k_proj"), &normed, c.kv_width(), true, sink)?;
        let v = self.linear(&format!("{prefix}.self_attn.v_proj"), &normed, c.kv_width(), true, sink)?;
        for (vectors, width) in [(&mut q, c.query_width()), (&mut k, c.kv_width())] {
            for (position, row) in vectors.chunks_exact_mut(width).enumerate() {
                row.chunks_exact_mut(d).for_each(|head| rotary.turn(position, head));
            }
        }
        let scale = 1.0 / (d as f64).sqrt();
        // One head at a time: its scores [sum(p + 1)] and its output [t, head_dim].
        let heads: Vec<(Vec<f64>, Vec<f64>)> = (0..c.n_heads)
            .into_par_iter()
            .map(|head| {
                let key_at = |at: usize| &k[at * c.kv_width() + head / group * d..][..d];
                let value_at = |at: usize| &v[at * c.kv_width() + head / group * d..][..d];
                let mut scores = Vec::with_capacity(t * (t + 1) / 2);
                let mut outputs = vec![0.0; t * d];
                for (position, output) in outputs.chunks_exact_mut(d).enumerate() {
                    let query = &q[position * c.query_width() + head * d..][..d];
                    let row: Vec<f64> = (0..=position).map(|at| dot(query, key_at(at)) * scale).collect();
                    for (at, weight) in softmax(&row).into_iter().enumerate() {
                        for (sum, value) in output.iter_mut().zip(value_at(at)) {
                            *sum += weight * value;
                        }
                    }
                    scores.extend(row);
                }
                (scores, outputs)
            })
            .collect();
        let scores: Vec<f64> = heads.iter().flat_map(|(scores, _)| scores.iter().copied()).collect();
        sink(&format!("{prefix}.self_attn.scores"), &[c.n_heads, t * (t + 1) / 2], &scores);
        let mut joined = vec![0.0; t * c.query_width()];
        for (position, row) in joined.chunks_exact_mut(c.query_width()).enumerate() {
            for ((_, outputs), out) in heads.iter().zip(row.chunks_exact_mut(d)) {
                out.copy_from_slice(&outputs[position * d..][..d]);
            }
        }
        let out = self.linear(&format!("{prefix}.self_attn.o_proj"), &joined, c.hidden_size, false, sink)?;
        x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
        Ok(())
    }

    /// `x += Down(SiLU(Gate(n)) * Up(n))` for the normed `n`, with the residual.
    fn mlp(&self, prefix: &str, x: &mut [f64], sink: Sink<'_>) -> Result<(), ReferenceError> {
        let c = &self.config;
        let t = x.len() / c.hidden_size;
        let normed = self.rms_norm(&format!("{prefix}.post_attention_layernorm"), x)?;
        sink(&format!("{prefix}.post_attention_layernorm"), &[t, c.hidden_size], &normed);
        let gate =
            self.linear(&format!("{prefix}.mlp.gate_proj"), &normed, c.intermediate_size, false, sink)?;
        let up = self.linear(&format!("{prefix}.mlp.up_proj"), &normed, c.intermediate_size, false, sink)?;
        let inner: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        let down = self.linear(&format!("{prefix}.mlp.down_proj"), &inner, c.hidden_size, false, sink)?;
        x.iter_mut().zip(down).for_each(|(x, down)| *x += down);
        Ok(())
    }

    /// `weight * x / sqrt(mean(x^2) + eps)`, row by row (Zhang and Sennrich 2019, equation 4).
    fn rms_norm(&self, name: &str, x: &[f64]) -> Result<Vec<f64>, ReferenceError> {
        let c = &self.config;
        let mut weight = vec![0.0; c.hidden_size];
        self.stored(&format!("{name}.weight"), &[c.hidden_size])?.widen_row(0, &mut weight);
        let normed = x.chunks_exact(c.hidden_size).flat_map(|row| {
            let mean_square = row.iter().map(|x| x * x).sum::<f64>() / c.hidden_size as f64;
            let scale = 1.0 / (mean_square + c.rms_norm_eps).sqrt();
            row.iter().zip(&weight).map(move |(x, weight)| weight * (x * scale))
        });
        Ok(normed.collect())
    }

    /// `y[t, n] = x[t, k] w[n, k]^T + bias[n]`, handed to the sink under `name`.
    fn linear(
        &self,
        name: &str,
        x: &[f64],
        n: usize,
        has_bias: bool,
        sink: Sink<'_>,
    ) -> Result<Vec<f64>, ReferenceError> {
        let k = match name.rsplit('.').next() {
            Some("o_proj") => self.config.query_width(),
            Some("down_proj") => self.config.intermediate_size,
            _ => self.config.hidden_size,
        };
        let weight = self.stored(&format!("{name}.weight"), &[n, k])?;
        let bias = if has_bias {
            let mut bias = vec![0.0; n];
            self.stored(&format!("{name}.bias"), &[n])?.widen_row(0, &mut bias);
            Some(bias)
        } else {
            None
        };
        let y = multiply(x, &weight, n, k, bias.as_deref());
        sink(name, &[x.len() / k, n], &y);
        Ok(y)
    }

    fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored, ReferenceError> {
        find(self.weights.as_ref(), name, shape)
    }
}

/// `y[t, n] = x[t, k] w[n, k]^T + bias[n]`: each row of `w` is widened once and meets every row of `x`.
fn multiply(x: &[f64], w: &Stored, n: usize, k: usize, bias: Option<&[f64]>) -> Vec<f64> {
    let t = x.len() / k;
    let columns: Vec<f64> = (0..n) // [n, t]
        .into_par_iter()
        .map_init(
            || vec![0.0; k],
            |row, column| {
                w.widen_row(column, row);
                let start = bias.map_or(0.0, |bias| bias[column]);
                x.chunks_exact(k).map(|x| dot(x, row) + start).collect::<Vec<f64>>()
            },
        )
        .flatten_iter()
        .collect();
    let mut y = vec![0.0; t * n];
    for (position, row) in y.chunks_exact_mut(n).enumerate() {
        for (column, value) in row.iter_mut().enumerate() {
            *value = columns[column * t + position];
        }
    }
    y
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// Four partial sums, so that the compiler may vectorise; always the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 4];
    for (a, b) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + tail
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::reference::Element;

    /// Weights made up from a seed.
    #[derive(Clone, Default)]
    struct MadeUp(BTreeMap<String, Stored>);

    impl WeightSource for MadeUp {
        fn stored(&self, name: &str) -> Option<Stored> {
            self.0.get(name).cloned()
        }
    }

    impl MadeUp {
        fn set(&mut self, name: &str, shape: &[usize], values: &[f32]) {
            let bytes = Bytes::from(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
            self.0.insert(name.to_owned(), Stored { element: Element::F32, shape: shape.to_vec(), bytes });
        }

        fn values(&self, name: &str) -> Vec<f32> {
            let bytes = &self.0[name].bytes;
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
    }

    fn config(n_kv_heads: usize) -> Config {
        Config {
            hidden_size: 8,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads,
            head_dim: 4,
            intermediate_size: 12,
            vocab_size: 10,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: true,
        }
    }

    fn made_up(c: &Config) -> MadeUp {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut weights = MadeUp::default();
        let mut draw = |name: String, shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random::<f32>() - 0.5).collect();
            weights.set(&name, shape, &values);
        };
        draw("model.embed_tokens.weight".into(), &[c.vocab_size, c.hidden_size]);
        draw("model.norm.weight".into(), &[c.hidden_size]);
        for layer in 0..c.n_layers {
            let prefix = format!("model.layers.{layer}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                draw(format!("{prefix}.{norm}.weight"), &[c.hidden_size]);
            }
            for (site, n) in [("q_proj", c.query_width()), ("k_proj", c.kv_width()), ("v_proj", c.kv_width())]
            {
                draw(format!("{prefix}.self_attn.{site}.weight"), &[n, c.hidden_size]);
                draw(format!("{prefix}.self_attn.{site}.bias"), &[n]);
            }
            draw(format!("{prefix}.self_attn.o_proj.weight"), &[c.hidden_size, c.query_width()]);
            draw(format!("{prefix}.mlp.gate_proj.weight"), &[c.intermediate_size, c.hidden_size]);
            draw(format!("{prefix}.mlp.up_proj.weight"), &[c.intermediate_size, c.hidden_size]);
            draw(format!("{prefix}.mlp.down_proj.weight"), &[c.hidden_size, c.intermediate_size]);
        }
        weights
    }

    fn reference(config: Config, weights: MadeUp) -> Reference {
        Reference::new(config, Box::new(weights)).unwrap()
    }

    #[test]
    fn a_later_token_changes_nothing_before_it() {
        let model = reference(config(2), made_up(&config(2)));
        let (a, b) = (model.logits(&[1, 2, 3, 4]).unwrap(), model.logits(&[1, 2, 3, 9]).unwrap());
        assert_eq!(a.values[..30], b.values[..30]);
        assert_ne!(a.row(3), b.row(3));
        assert_ne!(a.row(3), model.logits(&[1, 5, 3, 4]).unwrap().row(3));
    }

    #[test]
    fn the_last_rows_are_the_same_as_among_all() {
        let model = reference(config(2), made_up(&config(2)));
        let all = model.logits(&[1, 2, 3, 4, 5]).unwrap();
        let last = model.logits_of(&[1, 2, 3, 4, 5], Rows::Last(2)).unwrap();
        assert_eq!((last.shape.as_slice(), last.values.as_slice()), ([2, 10].as_slice(), &all.values[30..]));
    }

    #[test]
    fn grouped_heads_are_repeated_heads() {
        let grouped = made_up(&config(2));
        let mut repeated = grouped.clone();
        for layer in 0..2 {
            for (site, columns) in
                [("k_proj.weight", 8), ("v_proj.weight", 8), ("k_proj.bias", 1), ("v_proj.bias", 1)]
            {
                let name = format!("model.layers.{layer}.self_attn.{site}");
                let values = grouped.values(&name);
                let heads = values.chunks_exact(4 * columns).flat_map(|head| [head, head].concat());
                let shape = if columns == 1 { vec![16] } else { vec![16, columns] };
                repeated.set(&name, &shape, &heads.collect::<Vec<f32>>());
            }
        }
        let ids = [3, 1, 4, 1, 5];
        let (a, b) =
            (reference(config(2), grouped).logits(&ids), reference(config(4), repeated).logits(&ids));
        assert_eq!(a.unwrap(), b.unwrap());
    }

    #[test]
    fn an_untied_head_that_repeats_the_embedding_gives_the_tied_logits() {
        let tied = made_up(&config(2));
        let mut untied = tied.clone();
        untied.set("lm_head.weight", &[10, 8], &tied.values("model.embed_tokens.weight"));
        let untied_config = Config { tie_word_embeddings: false, ..config(2) };
        let logits = reference(config(2), tied.clone()).logits(&[7, 8]).unwrap();
        assert_eq!(reference(untied_config.clone(), untied).logits(&[7, 8]).unwrap(), logits);
        let error = reference(untied_config, tied).logits(&[7, 8]).unwrap_err();
        assert_eq!(error.to_string(), "the model has no tensor `lm_head.weight`");
    }

    #[test]
    fn perplexity_is_that_of_the_logits() {
        let model = reference(config(2), made_up(&config(2)));
        let ids = [1, 2, 3];
        let logits = model.logits(&ids).unwrap();
        let likelihood = |row: usize, id: usize| {
            logits.row(row)[id] - logits.row(row).iter().map(|l| l.exp()).sum::<f64>().ln()
        };
        let expected = (-f64::midpoint(likelihood(0, 2), likelihood(1, 3))).exp();
        assert!((model.perplexity(&ids, 1).unwrap() - expected).abs() < 1e-12);
        assert!((model.perplexity(&ids, 2).unwrap() - (-likelihood(1, 3)).exp()).abs() < 1e-12);
        assert!(model.perplexity(&ids, 3).is_err());
    }

    #[test]
    fn weights_that_are_not_finite_leave_no_perplexity() {
        let mut weights = made_up(&config(2));
        weights.set("model.norm.weight", &[8], &[f32::NAN; 8]);
        assert!(reference(config(2), weights).perplexity(&[1, 2], 1).unwrap().is_nan());
    }

    #[test]
    fn a_trace_holds_every_checkpoint_key_under_its_shape() {
        let c = config(2);
        let trace = reference(c.clone(), made_up(&c)).trace(&[1, 2, 3], Rows::All, |_| true).unwrap();
        assert_eq!(trace.len(), 3 + 2 * 11);
        assert_eq!(trace["model.layers.1.self_attn.scores"].shape, [4, 6]);
        assert_eq!(trace["model.layers.0.mlp.gate_proj"].shape, [3, 12]);
        for (key, tensor) in &trace {
            key.parse::<apr_generation::TensorKey>().unwrap();
            assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>(), "{key}");
        }
    }

    #[test]
    fn a_layer_by_itself_computes_what_it_computes_among_the_others() {
        let c = config(2);
        let model = reference(c.clone(), made_up(&c));
        let ids = [1, 2, 3];
        let trace = model.trace(&ids, Rows::All, |_| true).unwrap();
        let mut input = model.embed(&ids).unwrap().values;
        for layer in 0..c.n_layers {
            let tensors = model.layer_on(layer, &input).unwrap();
            assert_eq!(tensors.len(), 11);
            assert!(tensors.iter().all(|(key, tensor)| *tensor == trace[key]), "layer {layer}");
            input.clone_from(&tensors[&format!("model.layers.{layer}")].values);
        }
        let head = model.head_on(&input).unwrap();
        assert!(head.len() == 2 && head.iter().all(|(key, tensor)| *tensor == trace[key]));
        for (layer, n_values) in [(2, 8), (0, 0), (0, 9)] {
            let error = model.layer_on(layer, &vec![0.0; n_values]).unwrap_err();
            assert!(error.to_string().contains("no input of layer"), "{error}");
        }
    }

    #[test]
    fn what_the_model_cannot_take_is_refused() {
        let c = config(2);
        let model = reference(c.clone(), made_up(&c));
        assert_eq!(model.logits(&[]).unwrap_err().to_string(), "0 token ids are too few: 1 are needed");
        assert_eq!(
            model.logits(&[1, 10]).unwrap_err().to_string(),
            "token id 10 is outside the vocabulary of 10"
        );
        let mut weights = made_up(&c);
        weights.set("model.norm.weight", &[4], &[1.0; 4]);
        let error = reference(c, weights).logits(&[1]).unwrap_err();
        assert_eq!(error.to_string(), "tensor `model.norm.weight`: expected shape [8], found [4]");
        for n_values in [0, 9] {
            let error = model.head_on(&vec![0.0; n_values]).unwrap_err();
            let what = format!("{n_values} values are no input of layer 2 of this model");
            assert_eq!(error.to_string(), what);
        }
    }
}
