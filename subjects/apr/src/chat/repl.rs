//! A conversation at a terminal: a line edited, a reply printed, until one of the two has enough.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use apr_format::Overwrite;
use apr_generation::FinishReason;
use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::inspect::Inspection;
use super::session::Session;
use super::slash::{self, Input, InspectChange, Slash};
use super::terminal;
use super::transcript::Transcript;
use crate::interrupt::Interrupt;
use crate::printer::{Printer, StdoutError};
use crate::text;

/// A conversation at a terminal.
pub(crate) struct Repl<'a> {
    pub(crate) session: Session,
    /// What is shown while `inspecting`.
    pub(crate) inspection: Inspection,
    pub(crate) inspecting: bool,
    pub(crate) interrupt: &'a Interrupt,
}

/// Whether to go on after a line.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

impl Repl<'_> {
    /// Reads lines until the end of input or `/quit`.
    pub(crate) fn run(mut self, printer: &mut Printer) -> Result<()> {
        terminal::restore_when_terminated().context("failed to prepare the terminal")?;
        // Where replies go to a file or a pipe, the line being edited still belongs on the terminal.
        let behavior = if io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder().behavior(behavior).auto_add_history(true).build();
        let mut editor: Editor<(), MemHistory> =
            Editor::with_history(config, MemHistory::new()).context("failed to prepare the terminal")?;
        printer.talk("Type a message, or /help. Ctrl-C stops a reply, Ctrl-D leaves.");
        loop {
            printer.flush()?;
            let line = match editor.readline("You: ") {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    printer.talk("(Ctrl-D or /quit leaves)");
                    continue;
                }
                Err(ReadlineError::Signal(_)) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error).context("failed to read a line from the terminal"),
            };
            match self.line(&line, printer) {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => return Ok(()),
                Err(error) if error.is::<StdoutError>() => return Err(error),
                Err(error) => drop(printer.failure(&error)),
            }
        }
    }

    fn line(&mut self, line: &str, printer: &mut Printer) -> Result<Next> {
        match slash::parse(line)? {
            Input::Nothing => printer.talk("(nothing was said; type a message, or /help)"),
            Input::Say(text) => self.say(&text, printer)?,
            Input::Command(Slash::Quit) => return Ok(Next::Leave),
            Input::Command(Slash::Help) => printer.talk(slash::HELP),
            Input::Command(Slash::Reset) => {
                self.session.messages.clear();
                printer.talk("(the conversation is forgotten)");
            }
            Input::Command(Slash::System(text)) => self.system(text, printer),
            Input::Command(Slash::Save { path, overwrite }) => {
                let overwrite = if overwrite { Overwrite::Allow } else { Overwrite::Refuse };
                self.session.transcript().save(&path, overwrite)?;
                printer.talk(format_args!("(saved to `{}`)", path.display()));
            }
            Input::Command(Slash::Load(path)) => {
                let transcript = Transcript::load(&path)?;
                let n_messages = transcript.messages.len();
                self.session.restore(transcript);
                printer.talk(format_args!("(loaded {n_messages} messages from `{}`)", path.display()));
            }
            Input::Command(Slash::Inspect(change)) => self.inspect(&change, printer)?,
        }
        Ok(Next::Line)
    }

    fn say(&mut self, text: &str, printer: &mut Printer) -> Result<()> {
        // A Ctrl-C from before the reply is no wish to stop it.
        self.interrupt.take();
        let inspection = self.inspecting.then_some(&self.inspection);
        let finish = self.session.say(text, inspection, self.interrupt, printer)?;
        self.interrupt.take();
        if finish == FinishReason::Cancelled {
            printer.talk("(stopped)");
        }
        Ok(())
    }

    fn system(&mut self, text: Option<String>, printer: &mut Printer) {
        match (text, &self.session.system) {
            (Some(text), _) => {
                self.session.system = Some(text);
                printer.talk("(system prompt set; it counts from the start of the conversation)");
            }
            (None, Some(text)) => printer.talk(text::printable_lines(text)),
            (None, None) => printer.talk("(no system prompt is set; the model's template may have its own)"),
        }
    }

    fn inspect(&mut self, change: &InspectChange, printer: &mut Printer) -> Result<()> {
        let config = self.session.model.config();
        self.inspection = self.inspection.changed(change, config.num_layers, config.num_heads)?;
        self.inspecting = match change {
            InspectChange { on: Some(on), .. } => *on,
            change if *change == InspectChange::default() => !self.inspecting,
            _ => true,
        };
        printer.talk(if self.inspecting { "(inspection is on)" } else { "(inspection is off)" });
        Ok(())
    }
}
