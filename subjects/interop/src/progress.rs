//! How long-running work tells whoever started it what it is doing, and learns that it should stop.

/// Receives the progress of a download or an import. Work may call it from several threads.
///
/// A piece of work is announced with [`Progress::start`], moved with [`Progress::advance`] and closed with
/// [`Progress::end`]; pieces follow one another and do not nest. When the work fails, `end` is not called.
pub trait Progress: Sync {
    /// A new piece of work: what it is (`downloading model.safetensors`) and its bytes, when they are known.
    fn start(&self, what: &str, total_bytes: Option<u64>);

    /// `n_bytes` more of the current piece are done. A resumed download advances by what was already there.
    fn advance(&self, n_bytes: u64);

    /// The current piece is complete.
    fn end(&self) {}

    /// Something worth telling a person, such as a choice that was made on their behalf.
    fn note(&self, _text: &str) {}

    /// Whether the user asked to stop. Work looks between tensors and between chunks of a download, leaves nothing
    /// half-written at its final path, and returns its own `Cancelled` error.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total_bytes: Option<u64>) {}

    fn advance(&self, _n_bytes: u64) {}
}
