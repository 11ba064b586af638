//! Every planted fault as a test: the claim is green without it and red with it, in the words the fault asks for.

use std::process::ExitCode;

fn main() -> ExitCode {
    probador::harness::faults()
}
