//! A program that runs beside others until it is stopped.

use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Program;
use super::child::{Group, Waited};
use super::run::{Ended, OUTPUT_LIMIT};

/// How long the last words of a program that has ended may take to arrive: something that it started may hold
/// its streams open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running program.
pub struct Background {
    group: Group,
    command: String,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a program took being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How it ended.
    pub ended: Ended,
    /// What it had started and not ended.
    pub left_behind: Vec<String>,
}

impl Background {
    /// Starts `program`, with nothing to read.
    pub fn start(program: &Program) -> anyhow::Result<Self> {
        let mut command = program.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command)
            .with_context(|| format!("failed to start `{}`", program.command_line()))?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
        let readers = [keep(stdout, Arc::clone(&output)), keep(stderr, Arc::clone(&output))];
        let readers = readers.into_iter().flatten().collect();
        Ok(Self { group, command: program.command_line(), output, readers })
    }

    /// The command as it could be typed.
    pub fn command_line(&self) -> &str {
        &self.command
    }

    /// What it has printed so far, on either stream.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// How it ended, if it has; then its output is whole, unless what it left running keeps its streams open for longer
    /// than [`LAST_WORDS`].
    pub fn has_ended(&mut self) -> anyhow::Result<Option<Ended>> {
        let Some(status) = self.group.child().try_wait()? else { return Ok(None) };
        let deadline = Instant::now() + LAST_WORDS;
        while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(status.code().map_or(Ended::Signalled, Ended::Exited)))
    }

    /// Asks it to end, and ends it when it has not after `grace`.
    pub fn stop(mut self, grace: Duration) -> anyhow::Result<Stopped> {
        let ended = match self.group.terminate(Instant::now() + grace)? {
            Waited::Ended(status) => status.code().map_or(Ended::Signalled, Ended::Exited),
            Waited::TimedOut | Waited::Stopped => Ended::TimedOut,
        };
        Ok(Stopped { ended, left_behind: self.group.left_behind().to_vec() })
    }
}

/// Keeps what a stream says, up to a bound, in the background.
fn keep(stream: Option<impl Read + Send + 'static>, output: Arc<Mutex<Vec<u8>>>) -> Option<JoinHandle<()>> {
    let mut stream = stream?;
    Some(std::thread::spawn(move || {
        let mut buffer = [0; 1 << 12];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT_LIMIT.saturating_sub(output.len());
            output.extend_from_slice(&buffer[..n.min(room)]);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    fn wait_for(background: &Background, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !background.output().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} never came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_is_read_while_it_runs_and_ends_when_asked() {
        let mut background = Background::start(&shell("echo ready; exec sleep 30")).unwrap();
        wait_for(&background, "ready");
        assert_eq!(background.has_ended().unwrap(), None);
        let stopped = background.stop(Duration::from_secs(5)).unwrap();
        assert_eq!(stopped, Stopped { ended: Ended::Signalled, left_behind: Vec::new() });
    }

    #[test]
    fn the_last_words_of_a_program_that_has_ended_are_there() {
        // Enough that reading it takes longer than noticing the end.
        for _ in 0..20 {
            let mut background = Background::start(&shell("seq 9000; echo over; exit 3")).unwrap();
            while background.has_ended().unwrap().is_none() {}
            assert_eq!(background.has_ended().unwrap(), Some(Ended::Exited(3)));
            assert!(background.output().ends_with("9000\nover\n"), "{:?}", background.output().len());
        }
    }

    #[test]
    fn a_program_that_ended_is_not_waited_for_because_of_what_it_left_behind() {
        let mut background = Background::start(&shell("sleep 30 & echo over")).unwrap();
        wait_for(&background, "over");
        let asked = Instant::now();
        while background.has_ended().unwrap().is_none() {
            assert!(asked.elapsed() < Duration::from_secs(10));
        }
        let stopped = background.stop(Duration::from_secs(5)).unwrap();
        assert_eq!(stopped.ended, Ended::Exited(0));
    }

    #[test]
    fn a_program_that_does_not_listen_is_killed() {
        let background = Background::start(&shell("trap '' TERM; echo ready; sleep 30; sleep 30")).unwrap();
        wait_for(&background, "ready");
        let stopped = background.stop(Duration::from_millis(300)).unwrap();
        assert_eq!(stopped.ended, Ended::TimedOut);
    }
}
