//! The one way to print: data to stdout, talk to stderr, colour only where it is wanted.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR or CARGO_TERM_COLOR says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// Names and verdicts only, a line each.
    Terse,
    /// One JSON document.
    Json,
}

/// What a piece of text means; decides its colour, never its wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Stands out.
    Strong,
    /// Passed.
    Good,
    /// Failed.
    Bad,
    /// Neither.
    Unsure,
    /// Less important.
    Faint,
}

/// Prints.
#[derive(Debug)]
pub struct Printer {
    colors_data: bool,
    colors_talk: bool,
    quiet: bool,
    /// Shown below the talk while something with a known number of steps goes on, on a terminal only.
    bar: Option<ProgressBar>,
    /// Why data was lost, first of all.
    lost: Option<io::Error>,
}

impl Printer {
    /// A printer that follows `color`, `NO_COLOR` and `CARGO_TERM_COLOR`, in that order.
    pub fn new(color: ColorChoice, quiet: bool) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let decide = |is_terminal: bool| {
            decide_color(
                color,
                variable("NO_COLOR").is_some(),
                variable("CARGO_TERM_COLOR").as_deref(),
                is_terminal,
            )
        };
        Self {
            colors_data: decide(io::stdout().is_terminal()),
            colors_talk: decide(io::stderr().is_terminal()),
            quiet,
            bar: None,
            lost: None,
        }
    }

    /// Prints a line of data.
    pub fn data(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Prints what another program printed, as it is.
    pub fn copy(&mut self, data: &[u8], talk: &[u8]) {
        self.write(data);
        let _ = io::stderr().lock().write_all(talk);
    }

    fn write(&mut self, data: &[u8]) {
        let mut out = io::stdout().lock();
        let written = out.write_all(data).and_then(|()| out.flush());
        // A reader that has gone away wanted no more.
        let lost = written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        self.lost = self.lost.take().or(lost);
    }

    /// Why some of the data did not reach its reader, if it did not.
    pub fn lost(&self) -> Option<&io::Error> {
        self.lost.as_ref()
    }

    /// Prints a line of talk, unless quiet.
    pub fn talk(&mut self, line: &str) {
        if !self.quiet {
            self.error(line);
        }
    }

    /// Prints a line of talk even when quiet.
    pub fn error(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => drop(writeln!(io::stderr().lock(), "{line}")),
        }
    }

    /// Starts a progress bar of `n` steps; elsewhere than on a terminal, lines are all there is.
    pub fn start_progress(&mut self, n: usize) {
        if io::stderr().is_terminal() && !self.quiet {
            let style = ProgressStyle::with_template("{pos:>5}/{len} {wide_bar} {elapsed}").ok();
            let bar = ProgressBar::new(n as u64);
            self.bar = Some(style.map(|style| bar.clone().with_style(style)).unwrap_or(bar));
        }
    }

    /// One step more.
    pub fn advance(&mut self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Takes the progress bar away.
    pub fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// `text` in the colour of `tone`, as stdout wants it.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.colors_data, tone, text)
    }

    /// `text` in the colour of `tone`, as stderr wants it.
    pub fn paint_talk(&self, tone: Tone, text: &str) -> String {
        paint(self.colors_talk, tone, text)
    }
}

fn decide_color(choice: ColorChoice, no_color: bool, cargo: Option<&str>, is_terminal: bool) -> bool {
    match (choice, cargo) {
        (ColorChoice::Always, _) => true,
        (ColorChoice::Never, _) => false,
        (ColorChoice::Auto, _) if no_color => false,
        (ColorChoice::Auto, Some(word)) => word == "always" || (word != "never" && is_terminal),
        (ColorChoice::Auto, None) => is_terminal,
    }
}

fn paint(is_colored: bool, tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Strong => Style::new().bold(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Unsure => AnsiColor::Yellow.on_default(),
        Tone::Faint => Style::new().dimmed(),
    };
    if is_colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_outranks_the_environment_and_no_color_outranks_cargo() {
        assert!(decide_color(ColorChoice::Always, true, Some("never"), false));
        assert!(!decide_color(ColorChoice::Never, false, Some("always"), true));
        assert!(!decide_color(ColorChoice::Auto, true, Some("always"), true));
        assert!(decide_color(ColorChoice::Auto, false, Some("always"), false));
        assert!(!decide_color(ColorChoice::Auto, false, Some("never"), true));
        assert!(decide_color(ColorChoice::Auto, false, None, true));
        assert!(!decide_color(ColorChoice::Auto, false, None, false));
    }

    #[test]
    fn a_tone_is_a_colour_where_there_is_colour_and_the_same_words_where_there_is_none() {
        for (tone, start) in [
            (Tone::Strong, "\u{1b}[1m"),
            (Tone::Good, "\u{1b}[32m"),
            (Tone::Bad, "\u{1b}[1m\u{1b}[31m"),
            (Tone::Unsure, "\u{1b}[33m"),
            (Tone::Faint, "\u{1b}[2m"),
        ] {
            assert_eq!(paint(true, tone, "word"), format!("{start}word\u{1b}[0m"));
            assert_eq!(paint(false, tone, "word"), "word");
        }
        let printer = Printer::new(ColorChoice::Always, false);
        assert_eq!(printer.paint(Tone::Good, "x"), printer.paint_talk(Tone::Good, "x"));
        assert!(printer.lost().is_none());
    }

    #[test]
    fn cargos_other_words_leave_it_to_the_terminal() {
        assert!(decide_color(ColorChoice::Auto, false, Some("auto"), true));
        assert!(!decide_color(ColorChoice::Auto, false, Some("auto"), false));
    }
}
