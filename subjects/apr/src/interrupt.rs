//! Ctrl-C and requests to terminate, as a flag that work looks at between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use thiserror::Error;

use crate::exit::ExitStatus;

/// Whether someone asked this process to stop what it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

/// The work stopped because it was asked to.
#[derive(Debug, Error)]
#[error("interrupted; nothing was written")]
pub(crate) struct Interrupted;

impl Interrupt {
    /// For work that writes: Ctrl-C, SIGTERM and SIGHUP ask it to stop and clean up. Asking a second time ends the
    /// process at once.
    pub(crate) fn on_any_request() -> Result<Self> {
        Self::on(&[SIGINT, SIGTERM, SIGHUP])
    }

    /// For a conversation: Ctrl-C stops the reply, and a second one that arrives before the first was answered ends the
    /// program.
    pub(crate) fn on_ctrl_c() -> Result<Self> {
        Self::on(&[SIGINT])
    }

    fn on(signals: &[i32]) -> Result<Self> {
        let interrupt = Self::default();
        for &signal in signals {
            // The order matters: the first signal must not see the flag it sets.
            flag::register_conditional_shutdown(
                signal,
                ExitStatus::Interrupted.code().into(),
                Arc::clone(&interrupt.0),
            )
            .and_then(|_| flag::register(signal, Arc::clone(&interrupt.0)))
            .context("failed to listen for Ctrl-C")?;
        }
        Ok(interrupt)
    }

    /// Whether to stop.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether to stop; the request counts as answered.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    /// An error when there was a request to stop.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        if self.is_requested() { Err(Interrupted) } else { Ok(()) }
    }
}

/// Makes a write past the file size limit (`ulimit -f`) an error like any other, not the end of the process.
pub(crate) fn survive_size_limit() {
    // That nobody reads the flag does not matter: with a handler, the write fails instead.
    let _ = flag::register(rustix::process::Signal::XFSZ.as_raw(), Arc::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_seen_until_it_is_answered() {
        let interrupt = Interrupt::default();
        assert!(interrupt.check().is_ok() && !interrupt.take());
        interrupt.0.store(true, Ordering::SeqCst);
        assert!(interrupt.is_requested() && interrupt.check().is_err());
        assert!(interrupt.take());
        assert!(!interrupt.is_requested());
    }
}
