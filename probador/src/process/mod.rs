//! The only place that starts a process: time-outs that end the whole process group, bounded output, peak memory as the
//! kernel counts it, a clean environment.

mod child;
mod run;
mod terminal;

pub use run::{Ended, Finished, Program, peak_memory, resident_memory};
pub use terminal::{Terminal, plain_text};
