//! A program on a pseudo-terminal: typed at, and read as a person would see it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Program;
use super::child::Group;

/// Bytes kept of what the screen got.
const SCREEN_LIMIT: usize = 4 << 20;

/// A running program whose terminal is ours.
pub struct Terminal {
    group: Group,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    deadline: Instant,
}

impl Terminal {
    /// Starts `program` on a terminal of 200 columns and 50 rows; it may take `timeout` in all.
    pub fn start(program: &Program, timeout: Duration) -> anyhow::Result<Self> {
        let leader =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("no pseudo-terminal to be had")?;
        grantpt(&leader)?;
        unlockpt(&leader)?;
        tcsetwinsize(&leader, Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 })?;
        let name = ptsname(&leader, Vec::new())?;
        let follower: OwnedFd =
            rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        let mut command = program.clone().env("TERM", "xterm-256color").command();
        let same = || follower.as_fd().try_clone_to_owned().map(Stdio::from);
        command.stdin(same()?).stdout(same()?).stderr(same()?);
        let group = Group::spawn(&mut command)
            .with_context(|| format!("failed to start `{}`", program.command_line()))?;
        drop(command);
        drop(follower);

        let keyboard = File::from(leader);
        let mut reader = keyboard.try_clone()?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 1 << 12];
            // Reading fails once the last process with the terminal open has ended.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() + n <= SCREEN_LIMIT {
                    kept.extend_from_slice(&buffer[..n]);
                }
            }
        });
        Ok(Self { group, keyboard, screen, deadline: Instant::now() + timeout })
    }

    /// Types `keys`.
    pub fn send(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("the terminal was closed")
    }

    /// Everything shown so far, as plain text.
    pub fn shown(&self) -> String {
        plain_text(&String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits until what is shown after the first `from` characters satisfies `found`, and returns all that is shown.
    pub fn wait_for(&mut self, from: usize, found: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        loop {
            let shown = self.shown();
            if shown.get(from..).is_some_and(&found) {
                return Ok(shown);
            }
            if let Some(status) = self.group.child().try_wait()? {
                // What it wrote last may still be on its way.
                std::thread::sleep(Duration::from_millis(50));
                let shown = self.shown();
                return if shown.get(from..).is_some_and(&found) {
                    Ok(shown)
                } else {
                    Err(anyhow!("the program ended ({status}) after showing:\n{}", tail(&shown)))
                };
            }
            if Instant::now() >= self.deadline {
                return Err(anyhow!("time ran out; the terminal shows:\n{}", tail(&shown)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The program's process id.
    pub fn id(&self) -> u32 {
        self.group.id()
    }
}

fn tail(shown: &str) -> &str {
    let from = shown.char_indices().rev().nth(1500).map_or(0, |(index, _)| index);
    &shown[from..]
}

/// Text without escape sequences and carriage returns.
pub fn plain_text(screen: &str) -> String {
    let mut plain = String::with_capacity(screen.len());
    let mut chars = screen.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                // Control sequence: parameters, then one final byte.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // Operating-system command: up to BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\r' => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_a_terminal_and_what_is_typed() {
        let program = Program::new("/bin/sh").args(["-c", "test -t 0 && test -t 1 && read x && echo got-$x"]);
        let mut terminal = Terminal::start(&program, Duration::from_secs(10)).unwrap();
        terminal.send("hello\n").unwrap();
        let shown = terminal.wait_for(0, |shown| shown.contains("got-hello")).unwrap();
        assert!(shown.contains("got-hello"));
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_screen() {
        let program = Program::new("/bin/sh").args(["-c", "echo so-long; exit 3"]);
        let mut terminal = Terminal::start(&program, Duration::from_secs(10)).unwrap();
        let error = terminal.wait_for(0, |shown| shown.contains("never")).unwrap_err().to_string();
        assert!(error.contains("so-long"), "{error}");
    }

    #[test]
    fn escape_sequences_are_not_text() {
        assert_eq!(plain_text("\x1b[1;32mgreen\x1b[0m\r\n\x1b]0;title\x07x"), "green\nx");
        // A title may end in ESC \ too, and an ESC before anything else does not end it.
        assert_eq!(plain_text("\x1b]0;ti\x1btle\x1b\\x\x1b]0;cut off"), "x");
        assert_eq!(plain_text("a\x1b7b\x1b"), "ab");
    }
    #[test]
    fn a_program_that_takes_too_long_is_reported_with_its_screen() {
        let program = Program::new("/bin/sh").args(["-c", "echo so-far; exec sleep 30"]);
        let mut terminal = Terminal::start(&program, Duration::from_secs(10)).unwrap();
        let shown = terminal.wait_for(0, |shown| shown.contains("so-far\n")).unwrap();
        terminal.deadline = Instant::now();
        let error = terminal.wait_for(shown.len(), |shown| shown.contains("so-far")).unwrap_err().to_string();
        assert_eq!(error, "time ran out; the terminal shows:\nso-far\n");
    }

    #[test]
    fn what_was_shown_last_counts_though_the_program_has_ended() {
        let program = Program::new("/bin/sh").args(["-c", "echo last-words"]);
        let mut terminal = Terminal::start(&program, Duration::from_secs(10)).unwrap();
        while terminal.group.child().try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // As if it had not been there at the first look.
        let n_looks = std::cell::Cell::new(0);
        let found = |shown: &str| {
            n_looks.set(n_looks.get() + 1);
            n_looks.get() > 1 && shown.contains("last-words")
        };
        assert_eq!(terminal.wait_for(0, found).unwrap(), "last-words\n");
        assert_eq!(n_looks.get(), 2);
    }

    #[test]
    fn an_endless_screen_is_bounded() {
        let program =
            Program::new("/bin/sh").args(["-c", "yes | head -c 9000000 | tr -d '\\n'; echo; echo end"]);
        let mut terminal = Terminal::start(&program, Duration::from_secs(30)).unwrap();
        let error = terminal.wait_for(0, |_| false).unwrap_err().to_string();
        assert!(error.starts_with("the program ended (exit status: 0) after showing:\nyyy"), "{error}");
        let n_bytes = terminal.screen.lock().unwrap().len();
        assert!((SCREEN_LIMIT - (1 << 12)..=SCREEN_LIMIT).contains(&n_bytes), "{n_bytes} bytes");
    }
}
