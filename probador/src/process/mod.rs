//! The only place that starts a process: time-outs that end the whole process group, bounded output, peak memory as the
//! kernel counts it, a clean environment.

mod background;
mod child;
mod members;
mod one_cpu;
mod run;
mod size_limit;
mod stand_in;
mod terminal;

pub use background::{Background, Stopped};
pub use child::{end_children_on_interrupt, is_interrupted, not_interrupted};
pub use one_cpu::on_one_cpu;
pub use run::{Ended, Finished, Program, peak_memory, quoted, resident_memory, write_wrapper};
pub use size_limit::survive_size_limit;
pub use stand_in::{Printed, become_program, leave_behind, run_within, standard_input};
pub use terminal::{Terminal, plain_text};
