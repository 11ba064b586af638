//! The only place that prints: data to stdout, talk to stderr, errors as one chain with their hints last.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use thiserror::Error;

use crate::cli::ColorWhen;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupted;
use crate::text;

/// Everything `apr` writes to its standard streams.
pub(crate) struct Printer {
    stdout: BufWriter<io::Stdout>,
    stdout_is_terminal: bool,
    stdout_color: bool,
    stderr_color: bool,
}

/// Standard output could not be written.
#[derive(Debug, Error)]
#[error("failed to write to standard output")]
pub(crate) struct StdoutError(#[from] io::Error);

/// What a piece of text is, which decides how it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Error,
    Warning,
    Good,
    Hint,
    Label,
    Dim,
}

impl Role {
    const fn style(self) -> Style {
        match self {
            Self::Error => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Hint => AnsiColor::Cyan.on_default(),
            Self::Label => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
        }
    }
}

/// Colours pieces of a line, or leaves them alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    color: bool,
}

impl Paint {
    /// `text` in the colours of `role`.
    pub(crate) fn paint(self, role: Role, text: &str) -> String {
        if self.color {
            let style = role.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// A handle to standard error for work that runs beside others.
#[derive(Debug)]
pub(crate) struct Talker {
    stderr: io::Stderr,
}

impl Talker {
    /// Whether a person may watch.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stderr.is_terminal()
    }

    /// A line of talk.
    pub(crate) fn line(&self, line: impl fmt::Display) {
        let _ = writeln!(&self.stderr, "{line}");
    }
}

impl Printer {
    pub(crate) fn new(color: ColorWhen) -> Self {
        let stdout_is_terminal = io::stdout().is_terminal();
        let color = |is_terminal: bool| match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => is_terminal && environment_allows_color(),
        };
        Self {
            stdout: BufWriter::new(io::stdout()),
            stdout_is_terminal,
            stdout_color: color(stdout_is_terminal),
            stderr_color: color(io::stderr().is_terminal()),
        }
    }

    /// Whether a person watches standard output.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        self.stdout_is_terminal
    }

    /// Colours for standard output.
    pub(crate) fn paint(&self) -> Paint {
        Paint { color: self.stdout_color }
    }

    /// Data, as it is.
    pub(crate) fn data(&mut self, data: &[u8]) -> Result<(), StdoutError> {
        Ok(self.stdout.write_all(data)?)
    }

    /// A line of data.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), StdoutError> {
        Ok(writeln!(self.stdout, "{line}")?)
    }

    /// A value as indented JSON. Numbers that JSON cannot spell come out as `null`.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), StdoutError> {
        serde_json::to_writer_pretty(&mut self.stdout, value).map_err(io::Error::from)?;
        Ok(writeln!(self.stdout)?)
    }

    /// A value as JSON on one line: for long lists of numbers.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), StdoutError> {
        serde_json::to_writer(&mut self.stdout, value).map_err(io::Error::from)?;
        Ok(writeln!(self.stdout)?)
    }

    /// Hands over what is still buffered.
    pub(crate) fn flush(&mut self) -> Result<(), StdoutError> {
        Ok(self.stdout.flush()?)
    }

    /// A line for the person at the terminal. That nobody can read it is no reason to fail.
    pub(crate) fn talk(&mut self, line: impl fmt::Display) {
        // stdout first: on a terminal both arrive in the order they were written.
        let _ = self.stdout.flush();
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// A handle for talk from elsewhere, while this printer has nothing to say.
    pub(crate) fn talker(&mut self) -> Talker {
        let _ = self.stdout.flush();
        Talker { stderr: io::stderr() }
    }

    /// A piece of a line for the person at the terminal; nothing when there is none.
    pub(crate) fn label(&mut self, text: &str) {
        let _ = self.stdout.flush();
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "{}", self.talk_paint().paint(Role::Label, text));
        }
    }

    /// A line of talk that says what was decided or may be missing.
    pub(crate) fn warn(&mut self, line: impl fmt::Display) {
        let warning = self.talk_paint().paint(Role::Warning, "warning:");
        self.talk(format_args!("{warning} {line}"));
    }

    /// Prints what clap has to say: help and version are data, mistakes are talk.
    pub(crate) fn usage(&mut self, error: &clap::Error) -> Result<ExitStatus, StdoutError> {
        self.flush()?;
        let printed = error.print();
        if error.use_stderr() {
            return Ok(ExitStatus::Usage);
        }
        printed?;
        Ok(ExitStatus::Success)
    }

    /// Prints an error and says how the run ends. A closed pipe is not an error: whoever read had enough.
    pub(crate) fn failure(&mut self, error: &anyhow::Error) -> ExitStatus {
        if error
            .downcast_ref::<StdoutError>()
            .is_some_and(|error| error.0.kind() == io::ErrorKind::BrokenPipe)
        {
            return ExitStatus::Success;
        }
        let (message, mut hints) = chain(error);
        if hints.is_empty() {
            hints.extend(system_hint(error).map(str::to_owned));
        }
        let paint = self.talk_paint();
        self.talk(format_args!("{} {message}", paint.paint(Role::Error, "error:")));
        for hint in hints {
            self.talk(format_args!("{} {hint}", paint.paint(Role::Hint, "hint:")));
        }
        if error.is::<Interrupted>() { ExitStatus::Interrupted } else { ExitStatus::Failure }
    }

    fn talk_paint(&self) -> Paint {
        Paint { color: self.stderr_color }
    }
}

fn environment_allows_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// What to do about an error of the operating system, where that can be said in general.
fn system_hint(error: &anyhow::Error) -> Option<&'static str> {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>())?.kind();
    match kind {
        io::ErrorKind::NotFound => Some("check the path"),
        io::ErrorKind::PermissionDenied => Some("check the permissions, or choose another place"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some("make room, or choose another place")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("choose another place"),
        _ => None,
    }
}

/// The chain of causes as one line, and the hints found on the way, each once.
fn chain(error: &anyhow::Error) -> (String, Vec<String>) {
    let mut message = String::new();
    let mut hints: Vec<String> = Vec::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let mut said = Vec::new();
        for line in cause.lines() {
            match line.trim_start().strip_prefix("hint: ") {
                Some(hint) => {
                    let hint = text::printable(hint).into_owned();
                    if !hints.contains(&hint) {
                        hints.push(hint);
                    }
                }
                None => said.push(text::printable(line)),
            }
        }
        let said = said.join("\n");
        // A library may spell its cause out in its own message.
        if message.ends_with(&said) {
            continue;
        }
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&said);
    }
    (message, hints)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn error_chain_is_one_line_with_the_hints_last() {
        let error = Err::<(), _>(anyhow!("it has 3 bytes, a header takes 64\nhint: download it again"))
            .context("failed to open `x.apr`\nhint: check the path")
            .unwrap_err();
        let (message, hints) = chain(&error);
        assert_eq!(message, "failed to open `x.apr`: it has 3 bytes, a header takes 64");
        assert_eq!(hints, ["check the path", "download it again"]);
    }

    #[test]
    fn cause_that_the_message_already_spells_out_is_not_repeated() {
        let error = anyhow!("no such file").context("failed to open `x.apr`: no such file");
        assert_eq!(chain(&error).0, "failed to open `x.apr`: no such file");
    }

    #[test]
    fn error_cannot_steer_the_terminal() {
        let (message, hints) = chain(&anyhow!("tensor `a\u{1b}]0;x\u{7}`\nhint: \u{1b}[2J"));
        assert_eq!(message, "tensor `a\\u{1b}]0;x\\u{7}`");
        assert_eq!(hints, ["\\u{1b}[2J"]);
    }

    #[test]
    fn closed_pipe_is_a_quiet_success_and_a_full_disk_is_not() {
        let mut printer = Printer::new(ColorWhen::Never);
        let error = |kind: io::ErrorKind| StdoutError(io::Error::from(kind)).into();
        assert_eq!(printer.failure(&error(io::ErrorKind::BrokenPipe)), ExitStatus::Success);
        assert_eq!(printer.failure(&error(io::ErrorKind::StorageFull)), ExitStatus::Failure);
    }
}
