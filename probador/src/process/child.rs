//! A child in a process group of its own, which dies with whatever it started when the value is dropped.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often a waiting parent looks.
const POLL: Duration = Duration::from_millis(4);

pub(super) struct Group {
    child: Child,
    has_ended: bool,
}

impl Group {
    /// Starts `command` in a new process group.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        Ok(Self { child: command.spawn()?, has_ended: false })
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `deadline`, calling `look` now and then; `None` when time ran out, and then the group is gone too.
    pub(super) fn wait(
        &mut self,
        deadline: Instant,
        mut look: impl FnMut(),
    ) -> io::Result<Option<ExitStatus>> {
        loop {
            look();
            if let Some(status) = self.child.try_wait()? {
                self.has_ended = true;
                self.kill_group();
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                self.end();
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends the whole group; what the child left behind goes with it.
    fn end(&mut self) {
        self.kill_group();
        if !self.has_ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.has_ended = true;
        }
    }

    fn kill_group(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The group is usually empty by now, which is no error.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
