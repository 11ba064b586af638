//! Progress: a bar on a terminal, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use apr_interop::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::Interrupt;
use crate::printer::Talker;
use crate::text;

/// A piece of work whose size is known.
const KNOWN_SIZE: &str =
    "{wide_msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
/// A piece of work whose size is not known.
const UNKNOWN_SIZE: &str = "{spinner} {wide_msg} {decimal_bytes} {decimal_bytes_per_sec}";

/// Work in steps.
const STEPS: &str = "{prefix} [{bar:30}] {pos}/{len} {eta} {wide_msg}";
/// Time between lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress, and passes on the wish to stop.
pub(crate) struct Bar {
    interrupt: Interrupt,
    talker: Talker,
    current: Mutex<Option<ProgressBar>>,
}

impl Bar {
    pub(crate) fn new(interrupt: Interrupt, talker: Talker) -> Self {
        Self { interrupt, talker, current: Mutex::new(None) }
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, bar: Option<ProgressBar>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *current, bar) {
            old.finish_and_clear();
        }
    }

    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total_bytes: Option<u64>) {
        let what = text::printable(what).into_owned();
        if !self.talker.is_terminal() {
            let size = total_bytes.map(|bytes| format!(" ({})", text::bytes(bytes))).unwrap_or_default();
            self.talker.line(format_args!("{what}{size}"));
            return;
        }
        let (bar, template) = match total_bytes {
            Some(bytes) => (ProgressBar::new(bytes), KNOWN_SIZE),
            None => (ProgressBar::new_spinner(), UNKNOWN_SIZE),
        };
        // Both templates parse, says the test below.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        self.replace(Some(bar));
    }

    fn advance(&self, n_bytes: u64) {
        self.with(|bar| bar.inc(n_bytes));
    }

    fn end(&self) {
        self.clear();
    }

    fn note(&self, text: &str) {
        let note = format!("note: {}", text::printable(text));
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(bar) => bar.suspend(|| self.talker.line(note)),
            None => self.talker.line(note),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.interrupt.is_requested()
    }
}

/// Work in steps, each of which takes long enough to be told.
pub(crate) struct Steps {
    bar: Option<ProgressBar>,
    talker: Talker,
    what: &'static str,
    total: usize,
    last_told: Instant,
}

impl Steps {
    /// `total` of `what` are about to be done.
    pub(crate) fn new(talker: Talker, what: &'static str, total: usize) -> Self {
        let bar = talker.is_terminal().then(|| {
            let style = ProgressStyle::with_template(STEPS).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total as u64).with_style(style.progress_chars("=> "));
            bar.set_prefix(what);
            bar
        });
        Self { bar, talker, what, total, last_told: Instant::now() }
    }

    /// `done` of the steps are done; `note` says what came of it so far.
    pub(crate) fn done(&mut self, done: usize, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(note.to_owned());
            bar.set_position(done as u64);
        } else if done == self.total || self.last_told.elapsed() >= PLAIN_INTERVAL {
            self.last_told = Instant::now();
            let note = if note.is_empty() { String::new() } else { format!(", {note}") };
            self.talker.line(format_args!("{}: {done} of {}{note}", self.what, self.total));
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_the_bars_parse() {
        for template in [KNOWN_SIZE, UNKNOWN_SIZE, STEPS] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
