//! A child in a process group of its own, which dies with whatever it started when the value is dropped.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::members::{Member, members};

/// How often a waiting parent looks.
const POLL: Duration = Duration::from_millis(4);

/// How long what a child started may take to notice that it has ended.
const FAREWELL: Duration = Duration::from_millis(250);
/// The variable by which whatever a child started is known, whichever process group it moved to.
const MARK: &str = "PROBADOR_PROCESS";

/// Groups that are alive, for whoever interrupts this process.
static ALIVE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);
static N_STARTED: AtomicU64 = AtomicU64::new(0);

/// From now on Ctrl-C ends every child with all it started, and starts no other; whoever waits for one goes on and can
/// clean up. Without a child, and at a second Ctrl-C, this process ends at once.
pub fn end_children_on_interrupt() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        let was_interrupted = IS_INTERRUPTED.swap(true, Ordering::SeqCst);
        let alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
        if was_interrupted || alive.is_empty() {
            std::process::exit(i32::from(crate::exit::ExitStatus::Interrupted.code()));
        }
        alive.iter().for_each(|&id| signal_group(id, Signal::KILL));
    })
    .context("cannot listen for Ctrl-C")
}

/// An error once Ctrl-C was pressed: what was being done is not whole.
pub fn not_interrupted() -> anyhow::Result<()> {
    anyhow::ensure!(!is_interrupted(), "interrupted");
    Ok(())
}

/// Whether Ctrl-C was pressed.
pub fn is_interrupted() -> bool {
    IS_INTERRUPTED.load(Ordering::SeqCst)
}

pub(super) struct Group {
    child: Child,
    mark: String,
    has_ended: bool,
    left_behind: Vec<String>,
}

/// How waiting for a child came out.
pub(super) enum Waited {
    /// It ended by itself.
    Ended(ExitStatus),
    /// Time ran out, and it was killed with its group.
    TimedOut,
    /// It was asked to be ended, and was killed with its group.
    Stopped,
}

impl Group {
    /// Starts `command` in a new process group.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mark = format!("{}-{}", std::process::id(), N_STARTED.fetch_add(1, Ordering::Relaxed));
        command.env(MARK, &mark);
        // Held while the child starts, so that an interrupt either keeps it from starting or ends it.
        let mut alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
        if is_interrupted() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        }
        let child = command.spawn()?;
        alive.insert(child.id());
        Ok(Self { child, mark, has_ended: false, left_behind: Vec::new() })
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the child had started and not ended when it ended; all of it is gone by now.
    pub(super) fn left_behind(&self) -> &[String] {
        &self.left_behind
    }

    /// Everything of this group, and whatever else the child started.
    pub(super) fn members(&self) -> Vec<Member> {
        members(self.child.id(), &format!("{MARK}={}", self.mark))
    }

    /// Waits until `deadline`, calling `look` now and then, which may ask for the end.
    pub(super) fn wait(
        &mut self,
        deadline: Instant,
        mut look: impl FnMut(&Self) -> bool,
    ) -> io::Result<Waited> {
        loop {
            let goes_on = look(self);
            if let Some(status) = self.child.try_wait()? {
                self.has_ended = true;
                self.clear();
                return Ok(Waited::Ended(status));
            }
            if !goes_on {
                self.end();
                return Ok(Waited::Stopped);
            }
            if Instant::now() >= deadline {
                self.end();
                return Ok(Waited::TimedOut);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the child to end, and waits for it until `deadline`.
    pub(super) fn terminate(&mut self, deadline: Instant) -> io::Result<Waited> {
        signal_group(self.child.id(), Signal::TERM);
        self.wait(deadline, |_| true)
    }

    /// After the child has ended: notes what it left behind, and ends that.
    fn clear(&mut self) {
        let noticed = Instant::now() + FAREWELL;
        let mut left = self.members();
        while !left.is_empty() && Instant::now() < noticed {
            std::thread::sleep(POLL);
            left = self.members();
        }
        self.left_behind = left.iter().map(|member| member.command.clone()).collect();
        self.kill(&left);
    }

    fn kill(&self, members: &[Member]) {
        self.kill_group();
        for member in members {
            if let Some(pid) = i32::try_from(member.id).ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile, which is no error.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Ends the whole group; what the child left behind goes with it.
    fn end(&mut self) {
        if self.has_ended {
            return;
        }
        let members = self.members();
        self.kill(&members);
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.has_ended = true;
    }

    fn kill_group(&self) {
        signal_group(self.child.id(), Signal::KILL);
    }
}

fn signal_group(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // The group is usually empty by now, which is no error.
        let _ = kill_process_group(pid, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
        ALIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child.id());
    }
}
