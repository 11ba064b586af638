//! Running a program to its end: exit status, bounded output, seconds, peak memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::child::{Group, Waited, not_interrupted};

/// Bytes kept of each stream; what comes later is read and dropped, so that the child never blocks.
pub(super) const OUTPUT_LIMIT: usize = 4 << 20;
/// How long streams may stay open after the child ended.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// What of this process's environment a program gets. The last says where an executable that was built to measure coverage
/// leaves its counts, which would otherwise lie beside what it works on.
const PASSED_ON: [&str; 8] = [
    "PATH",
    "HOME",
    "XDG_CACHE_HOME",
    "PROBADOR_CACHE",
    "TMPDIR",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "LLVM_PROFILE_FILE",
];

/// A program to run, with what it gets and how long it may take.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    input: Vec<u8>,
    environment: BTreeMap<OsString, OsString>,
    folder: Option<PathBuf>,
    timeout: Duration,
    memory_limit: Option<u64>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    Exited(i32),
    /// By a signal.
    Signalled,
    /// Not in time; its process group was killed.
    TimedOut,
    /// With more memory than it may hold; its process group was killed.
    OverMemory,
}

/// A program that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The command as it could be typed.
    pub command: String,
    /// How it ended.
    pub ended: Ended,
    /// Standard output, cut at a bound.
    pub stdout: Vec<u8>,
    /// Standard error, cut at a bound.
    pub stderr: Vec<u8>,
    /// Seconds it took.
    pub seconds: f64,
    /// Highest resident memory seen, in bytes; with a limit, of all that it started together.
    pub peak_memory: Option<u64>,
    /// What it had started and not ended when it ended, and what was ended then.
    pub left_behind: Vec<String>,
}

impl Program {
    /// The program at `path`: no input, a minute, a clean environment with `LC_ALL=C`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let mut environment = BTreeMap::new();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                environment.insert(name.into(), value);
            }
        }
        environment.insert("LC_ALL".into(), "C".into());
        environment.insert("HF_HUB_OFFLINE".into(), "1".into());
        Self {
            path: path.into(),
            arguments: Vec::new(),
            input: Vec::new(),
            environment,
            folder: None,
            timeout: Duration::from_mins(1),
            memory_limit: None,
        }
    }

    /// The `cargo` that runs this or, by itself, the one on PATH, with the toolchain it is told to use: half an hour.
    pub fn cargo() -> Self {
        let cargo = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.pass_on(&["CARGO_TARGET_DIR"]).with_toolchain().timeout(Duration::from_mins(30))
    }

    /// Passes on what says where Rust is and which of its toolchains to use.
    #[must_use]
    pub fn with_toolchain(self) -> Self {
        self.pass_on(&["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"])
    }

    /// Passes on these variables of the environment, where they are set.
    #[must_use]
    pub fn pass_on(mut self, names: &[&str]) -> Self {
        for name in names {
            if let Some(value) = std::env::var_os(name) {
                self = self.env(name, value);
            }
        }
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Gives it something to read.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Runs it in `folder`.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Gives it this long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Ends it, and all it started, once they have held more than `bytes` of memory together.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// The command as it could be typed.
    pub fn command_line(&self) -> String {
        let words = [self.path.as_os_str()].into_iter().chain(self.arguments.iter().map(OsString::as_os_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear().envs(&self.environment);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    /// Runs it to its end.
    pub fn run(&self) -> anyhow::Result<Finished> {
        self.run_telling(|_| {})
    }

    /// Runs it to its end, handing over each line of its standard error once it is there.
    pub fn run_telling(&self, mut tell: impl FnMut(&str)) -> anyhow::Result<Finished> {
        let started = Instant::now();
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut group = Group::spawn(&mut command)
            .with_context(|| format!("failed to start `{}`", self.path.display()))?;
        let stdout = collect(group.child().stdout.take(), None);
        let (lines, said) = mpsc::channel::<String>();
        let stderr = collect(group.child().stderr.take(), Some(lines));
        if let Some(mut stdin) = group.child().stdin.take() {
            let input = self.input.clone();
            // A child that does not read all its input closes the pipe; that is its right.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let id = group.id();
        let mut peak: Option<u64> = None;
        let mut together = Together::default();
        let waited = group.wait(started + self.timeout, |group| {
            peak = peak.max(match self.memory_limit {
                None => peak_memory(id),
                Some(_) => Some(together.look(group)),
            });
            for line in said.try_iter() {
                tell(&line);
            }
            self.memory_limit.is_none_or(|limit| peak.is_none_or(|peak| peak <= limit))
        })?;
        let ended = match waited {
            Waited::TimedOut => Ended::TimedOut,
            Waited::Stopped => Ended::OverMemory,
            Waited::Ended(status) => status.code().map_or(Ended::Signalled, Ended::Exited),
        };
        let (stdout, stderr) =
            (stdout.recv_timeout(DRAIN).unwrap_or_default(), stderr.recv_timeout(DRAIN).unwrap_or_default());
        for line in said.try_iter() {
            tell(&line);
        }
        // What a child had done when it was ended is no result.
        not_interrupted()?;
        Ok(Finished {
            command: self.command_line(),
            ended,
            stdout,
            stderr,
            seconds: started.elapsed().as_secs_f64(),
            peak_memory: peak,
            left_behind: group.left_behind().to_vec(),
        })
    }
}

/// The high-water marks of all members of a group together. One that has ended keeps the mark it was last seen with:
/// what it held may have gone back to the system since, so this is a bound from above.
#[derive(Default)]
struct Together {
    marks: BTreeMap<u32, u64>,
    n_looks: usize,
}

impl Together {
    fn look(&mut self, group: &Group) -> u64 {
        // Looking for members reads much of /proc; new ones are found within a few looks.
        if self.n_looks.is_multiple_of(5) {
            for member in group.members() {
                self.marks.entry(member.id).or_default();
            }
        }
        self.n_looks += 1;
        for (&id, mark) in &mut self.marks {
            *mark = (*mark).max(peak_memory(id).unwrap_or(0));
        }
        self.marks.values().sum()
    }
}

/// Reads a stream to its end in the background, and sends on each whole line of what is kept.
pub(super) fn collect(
    stream: Option<impl Read + Send + 'static>,
    lines: Option<mpsc::Sender<String>>,
) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut n_told = 0;
        if let Some(mut stream) = stream {
            let mut buffer = [0; 1 << 14];
            while let Ok(n) = stream.read(&mut buffer) {
                if n == 0 {
                    break;
                }
                let room = OUTPUT_LIMIT.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..n.min(room)]);
                while let Some(lines) = &lines
                    && let Some(end) = kept[n_told..].iter().position(|&byte| byte == b'\n')
                {
                    let line = String::from_utf8_lossy(&kept[n_told..n_told + end]).into_owned();
                    n_told += end + 1;
                    // Nobody listens any more once the program was given up.
                    let _ = lines.send(line);
                }
            }
        }
        let _ = sender.send(kept);
    });
    receiver
}

/// A word as a shell would take it back.
pub fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Writes an executable that becomes the program that `words` start with, its own arguments after theirs.
pub fn write_wrapper(path: &Path, words: &[&OsStr]) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let words: Vec<String> = words.iter().copied().map(quoted).collect();
    let failed = || format!("failed to write `{}`", path.display());
    let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path);
    let mut file = options.with_context(failed)?;
    file.write_all(format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")).as_bytes()).with_context(failed)
}

impl Finished {
    /// Whether it exited with zero.
    pub fn succeeded(&self) -> bool {
        self.ended == Ended::Exited(0)
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What happened, for a message: the command, how it ended and the end of what it said.
    pub fn describe(&self) -> String {
        const SHOWN: usize = 600;
        let ended = match self.ended {
            Ended::Exited(code) => format!("exits with {code}"),
            Ended::Signalled => "was killed by a signal".to_owned(),
            Ended::TimedOut => format!("did not end in {:.0} s", self.seconds),
            Ended::OverMemory => "held more memory than it may".to_owned(),
        };
        let said = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let said = String::from_utf8_lossy(said);
        let from = said.char_indices().rev().nth(SHOWN).map_or(0, |(index, _)| index);
        format!("`{}` {ended}: {}", self.command, said[from..].trim())
    }
}

/// The highest resident memory the kernel has counted for a process, in bytes.
pub fn peak_memory(id: u32) -> Option<u64> {
    memory(id, "VmHWM:")
}

/// The resident memory of a process now, in bytes.
pub fn resident_memory(id: u32) -> Option<u64> {
    memory(id, "VmRSS:")
}

fn memory(id: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn output_exit_code_and_peak_memory_are_kept() {
        let finished = shell("cat; echo talk >&2; sleep 0.05; exit 7").input("data").run().unwrap();
        assert_eq!(finished.ended, Ended::Exited(7));
        assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (&b"data"[..], &b"talk\n"[..]));
        assert!(finished.peak_memory.unwrap() > 100_000);
        assert!(finished.describe().contains("exits with 7"), "{}", finished.describe());
    }

    #[test]
    fn a_time_out_ends_everything_the_child_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("(sleep 1; touch {}) & sleep 30", mark.display());
        let finished = shell(&script).timeout(Duration::from_millis(200)).run().unwrap();
        assert_eq!(finished.ended, Ended::TimedOut);
        assert!(finished.seconds < 5.0, "{}", finished.seconds);
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!mark.exists(), "the grandchild lived on");
    }

    #[test]
    fn what_a_child_leaves_behind_is_named_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        // One stays in the group, one moves to a session of its own.
        for start in ["", "setsid "] {
            let script = format!("{start}sh -c 'sleep 1; touch {}' >/dev/null 2>&1 &", mark.display());
            let finished = shell(&script).run().unwrap();
            assert!(finished.succeeded());
            assert!(finished.left_behind.iter().any(|left| left.contains("touch")), "{finished:?}");
        }
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!mark.exists(), "what was left behind lived on");
        assert_eq!(shell("sleep 0.05 & wait").run().unwrap().left_behind, Vec::<String>::new());
    }

    #[test]
    fn more_memory_than_allowed_ends_the_whole_group() {
        // `tail` keeps the last line of what it reads: all of it.
        let hungry = || shell("head -c 200000000 /dev/zero | tail | wc -c");
        let finished = hungry().memory_limit(60_000_000).run().unwrap();
        assert_eq!(finished.ended, Ended::OverMemory, "{}", finished.describe());
        assert!(finished.peak_memory.unwrap() > 60_000_000);
        let finished = hungry().memory_limit(2_000_000_000).run().unwrap();
        assert!(finished.succeeded() && finished.peak_memory.unwrap() > 150_000_000, "{finished:?}");
    }

    #[test]
    fn endless_output_is_bounded() {
        let finished = shell("head -c 20000000 /dev/zero").run().unwrap();
        assert_eq!(finished.stdout.len(), OUTPUT_LIMIT);
        assert!(finished.succeeded());
    }

    #[test]
    fn the_environment_is_clean() {
        let finished = shell("env").run().unwrap();
        let text = finished.stdout_text();
        assert!(text.contains("LC_ALL=C") && !text.contains("CARGO_MANIFEST_DIR"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = format!("{:#}", Program::new("/no/such/program").run().unwrap_err());
        assert!(error.contains("failed to start `/no/such/program`"), "{error}");
    }

    #[test]
    fn command_lines_can_be_typed_again() {
        assert_eq!(Program::new("apr").args(["chat", "it's"]).command_line(), r"apr chat 'it'\''s'");
    }
    #[test]
    fn variables_are_passed_on_only_by_name_and_where_they_are_set() {
        // Whoever runs the tests sets this one; the clean environment has none of Cargo's.
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let passed = |names: &[&str]| {
            let finished = Program::new("env").pass_on(names).run().unwrap();
            let text = finished.stdout_text();
            text.lines()
                .filter(|line| line.contains("CARGO") || line.contains("NOT_SET"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(passed(&[]), [""; 0]);
        let names = ["PROBADOR_NOT_SET", "CARGO_MANIFEST_DIR"];
        assert_eq!(passed(&names), [format!("CARGO_MANIFEST_DIR={folder}")]);
    }

    #[test]
    fn cargo_is_the_one_that_runs_this_and_may_take_half_an_hour() {
        let cargo = Program::cargo();
        assert_eq!(cargo.path, PathBuf::from(std::env::var_os("CARGO").unwrap()));
        assert_eq!(cargo.timeout, Duration::from_mins(30));
        for name in ["CARGO_TARGET_DIR", "RUSTUP_HOME"] {
            assert_eq!(cargo.environment.get(OsStr::new(name)), std::env::var_os(name).as_ref(), "{name}");
        }
    }

    #[test]
    fn a_message_says_how_a_program_ended_and_the_end_of_what_it_said() {
        let check = |ended: Ended, stdout: &str, stderr: &str, expected: &str| {
            let finished = Finished {
                command: "apr chat".to_owned(),
                ended,
                stdout: stdout.into(),
                stderr: stderr.into(),
                seconds: 2.4,
                peak_memory: None,
                left_behind: Vec::new(),
            };
            assert_eq!(finished.describe(), format!("`apr chat` {expected}"));
        };
        check(Ended::Exited(3), "data", " talk\n", "exits with 3: talk");
        check(Ended::Signalled, " data\n", "", "was killed by a signal: data");
        check(Ended::TimedOut, "", "", "did not end in 2 s: ");
        let long = format!("a{}", "é".repeat(601));
        let kept = format!("held more memory than it may: {}", "é".repeat(601));
        check(Ended::OverMemory, "", &long, &kept);
    }

    /// Gives what it has, and then an error.
    struct Broken(&'static [u8]);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("it broke")),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn what_came_of_a_stream_before_it_broke_is_kept() {
        let (sender, lines) = mpsc::channel();
        let kept = collect(Some(Broken(b"one\ntwo")), Some(sender));
        assert_eq!(kept.recv_timeout(DRAIN).unwrap(), b"one\ntwo");
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["one"]);
        assert_eq!(collect(None::<Broken>, None).recv_timeout(DRAIN).unwrap(), b"");
    }
}
