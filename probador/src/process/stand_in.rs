//! A program in the place of this one: whoever started this process sees and ends that one, in the same process group.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::run::{DRAIN, collect};

/// What a program in our place printed, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Standard output, cut at a bound.
    pub stdout: Vec<u8>,
    /// Standard error, cut at a bound.
    pub stderr: Vec<u8>,
    /// Its exit code; what a shell would say for a signal.
    pub code: i32,
}

/// Becomes the program at `path`; comes back only when that is not possible.
pub fn become_program(path: &Path, arguments: &[OsString]) -> anyhow::Error {
    use std::os::unix::process::CommandExt as _;
    let error = Command::new(path).args(arguments).exec();
    anyhow::Error::new(error).context(format!("failed to run `{}`", path.display()))
}

/// Runs the program at `path` to its end and hands over what it printed. It reads `input`, or what this process would.
pub fn run_within(path: &Path, arguments: &[OsString], input: Option<Vec<u8>>) -> anyhow::Result<Printed> {
    use std::os::unix::process::ExitStatusExt as _;
    let mut command = Command::new(path);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::inherit() });
    let mut child = command.spawn().with_context(|| format!("failed to run `{}`", path.display()))?;
    let stdout = collect(child.stdout.take(), None);
    let stderr = collect(child.stderr.take(), None);
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A child that does not read all its input closes the pipe; that is its right.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let status = child.wait()?;
    Ok(Printed {
        stdout: stdout.recv_timeout(DRAIN).unwrap_or_default(),
        stderr: stderr.recv_timeout(DRAIN).unwrap_or_default(),
        code: status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1),
    })
}

/// Starts a program that outlives this one, with nothing to read or print to.
pub fn leave_behind(path: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("failed to run `{path}`"))?;
    Ok(())
}

/// What this process can read on standard input, up to `limit` bytes.
pub fn standard_input(limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut input = Vec::new();
    std::io::stdin().take(limit).read_to_end(&mut input)?;
    Ok(input)
}
