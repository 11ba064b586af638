//! Every playbook as a test.

use std::process::ExitCode;

use probador::case::Subject;

fn main() -> ExitCode {
    probador::harness::main(|subject| matches!(subject, Subject::Playbook(_)))
}
