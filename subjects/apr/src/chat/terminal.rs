//! Leaves the terminal as it was found, also when the program is told to terminate while a line is being edited.

use std::io;
use std::thread;

use rustix::termios::{self, OptionalActions};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::ExitStatus;

/// From now on, SIGTERM and SIGHUP give the terminal back its settings of this moment and end the program.
pub(crate) fn restore_when_terminated() -> io::Result<()> {
    let settings = termios::tcgetattr(io::stdin())?;
    let mut signals = Signals::new([SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            // A terminal that is gone needs no settings.
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &settings);
            std::process::exit(ExitStatus::Interrupted.code().into());
        }
    })?;
    Ok(())
}
