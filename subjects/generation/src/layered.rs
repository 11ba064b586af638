//! Models that can be run a part at a time, on hidden states from anywhere.

use std::ops::Range;

use crate::{CausalLm, LogitRows, Logits, ModelError, Probe};

/// A decoder whose layers and head can be run by themselves: to ask what one layer does to a given input, to replace
/// what a layer computed by something else and see what comes of it, to leave a layer out.
///
/// A whole pass is the embedding, then every layer, then the head: running all layers on the embedded tokens and the head
/// on what comes out gives the bits that [`CausalLm::prefill`] gives.
pub trait Layered: CausalLm {
    /// Number of layers.
    fn n_layers(&self) -> usize;

    /// Values that the residual stream has at each position.
    fn hidden_size(&self) -> usize;

    /// Evaluates `layers`, one after the other, on the residual stream of positions `0..n`: `hidden`, `[n, hidden_size]`,
    /// which becomes what the last of them puts out. A `probe` sees the tensors of these layers.
    ///
    /// The sequence that the model held is forgotten, and afterwards it holds none. On an error `hidden` is unchanged.
    fn run_layers(
        &mut self,
        layers: Range<usize>,
        hidden: &mut [f64],
        probe: Option<&mut dyn Probe>,
    ) -> Result<(), ModelError>;

    /// Evaluates the final norm and the output head on `hidden`, `[n, hidden_size]`, and returns the logits that `rows`
    /// asks for. A `probe` sees the norm's output and the logits. The sequence that the model holds is untouched.
    fn run_head(
        &mut self,
        hidden: &[f64],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError>;

    /// How many positions `hidden` is the residual stream of, if it is one.
    fn check_hidden(&self, hidden: &[f64]) -> Result<usize, ModelError> {
        if hidden.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let (n_values, hidden_size) = (hidden.len(), self.hidden_size());
        if !n_values.is_multiple_of(hidden_size) {
            return Err(ModelError::NoHiddenStates { n_values, hidden_size });
        }
        Ok(n_values / hidden_size)
    }
}
