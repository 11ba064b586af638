//! What `apr` tells whoever started it: the one list of exit codes.

use std::process::ExitCode;

/// How a run ended. The numbers are documented in `apr --help` and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// The command did what it was asked, or whoever read its output had enough and closed the pipe.
    Success,
    /// The operation failed or was refused: a bad file, a taken path, an invalid model.
    Failure,
    /// The command line made no sense.
    Usage,
    /// Ctrl-C, or a request to terminate; nothing half-written was left behind.
    Interrupted,
    /// Another program did the work, and this is its exit code. (Unix replaces the process instead.)
    #[cfg(not(unix))]
    Delegated(u8),
}

impl ExitStatus {
    /// The number the parent process sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
            #[cfg(not(unix))]
            Self::Delegated(code) => code,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let statuses = [ExitStatus::Success, ExitStatus::Failure, ExitStatus::Usage, ExitStatus::Interrupted];
        assert_eq!(statuses.map(ExitStatus::code), [0, 1, 2, 130]);
    }
}
