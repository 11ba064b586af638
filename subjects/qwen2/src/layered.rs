//! Running layers and the head by themselves, on hidden states that are handed in.

use std::ops::Range;

use apr_generation::{CausalLm, Layered, LogitRows, Logits, ModelError, Probe};

use crate::Qwen2;
use crate::forward::Pass;
use crate::model::{BLOCK, Shared};

impl Layered for Qwen2 {
    fn n_layers(&self) -> usize {
        self.shared.config.num_layers
    }

    fn hidden_size(&self) -> usize {
        self.shared.config.hidden_size
    }

    fn run_layers(
        &mut self,
        layers: Range<usize>,
        hidden: &mut [f64],
        mut probe: Option<&mut dyn Probe>,
    ) -> Result<(), ModelError> {
        let n_layers = self.n_layers();
        if layers.start > layers.end || layers.end > n_layers {
            return Err(ModelError::UnknownLayer { first: layers.start, end: layers.end, n_layers });
        }
        self.check_room(self.check_hidden(hidden)?)?;
        self.reset();
        let Shared { config, weights, compute, .. } = &*self.shared;
        let sequence = &mut self.sequence;
        for block in hidden.chunks_mut(BLOCK * config.hidden_size) {
            let n = block.len() / config.hidden_size;
            // A reborrow that ends with this block.
            let probe = probe.as_mut().map(|probe| &mut **probe as &mut dyn Probe);
            let mut pass = Pass { compute, config, start: sequence.len(), n, probe };
            sequence.set_hidden(config, n, block.iter().copied());
            for index in layers.clone() {
                sequence.run_layer(&mut pass, weights, index);
            }
            sequence.copy_hidden(block);
            sequence.advance(n);
        }
        // The layers that did not run hold no keys of these positions.
        self.reset();
        Ok(())
    }

    fn run_head(
        &mut self,
        hidden: &[f64],
        rows: LogitRows,
        mut probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        self.check_hidden(hidden)?;
        let Shared { config, weights, compute, .. } = &*self.shared;
        let mut logits = Vec::new();
        for block in hidden.chunks(BLOCK * config.hidden_size) {
            if rows == LogitRows::Last {
                logits.clear();
            }
            let n = block.len() / config.hidden_size;
            let probe = probe.as_mut().map(|probe| &mut **probe as &mut dyn Probe);
            let mut pass = Pass { compute, config, start: 0, n, probe };
            self.sequence.set_hidden(config, n, block.iter().copied());
            self.sequence.run_head(&mut pass, weights, rows, &mut logits);
        }
        Ok(Logits::new(config.vocab_size, logits))
    }
}
