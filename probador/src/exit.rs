//! Exit codes: one enum, matched exhaustively.

use std::process::ExitCode;

/// How a run of the engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Nothing failed.
    Pass,
    /// The command line makes no sense.
    Usage,
    /// The checklist, a playbook or a manifest is invalid.
    Invalid,
    /// Something the machine should have is missing or broken.
    Environment,
    /// Nothing was selected, so nothing was shown.
    NothingRan,
    /// Undecided or unproven claims remain, and a gate was asked for.
    Undecided,
    /// A planted fault survived, or an impostor passed.
    FaultSurvived,
    /// The engine contradicts itself.
    Internal,
    /// A claim, playbook, golden tensor or lint failed, or an attestation does not hold.
    Failed,
    /// Ctrl-C, or a request to terminate; nothing that was started is left.
    Interrupted,
}

impl ExitStatus {
    /// Every status, in order of code.
    pub const ALL: [Self; 10] = [
        Self::Pass,
        Self::Usage,
        Self::Invalid,
        Self::Environment,
        Self::NothingRan,
        Self::Undecided,
        Self::FaultSurvived,
        Self::Internal,
        Self::Failed,
        Self::Interrupted,
    ];

    /// The number the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Usage => 1,
            Self::Invalid => 2,
            Self::Environment => 3,
            Self::NothingRan => 4,
            Self::Undecided => 5,
            Self::FaultSurvived => 6,
            Self::Internal => 70,
            Self::Failed => 100,
            Self::Interrupted => 130,
        }
    }

    /// What it means, for `--help`.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Pass => "nothing failed",
            Self::Usage => "the command line is wrong",
            Self::Invalid => "the checklist, a playbook or a manifest is invalid",
            Self::Environment => "something this machine should have is missing",
            Self::NothingRan => "nothing was selected",
            Self::Undecided => "undecided or unproven claims remain (gate)",
            Self::FaultSurvived => "a planted fault survived, or an impostor passed",
            Self::Internal => "internal error",
            Self::Failed => "something failed, or an attestation is refused",
            Self::Interrupted => "interrupted by Ctrl-C",
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
