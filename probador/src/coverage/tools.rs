//! cargo-llvm-cov and what it needs: finding them, or saying how to get them; running the tests of a crate under them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::sources::{Sources, test_files};
use super::{Measured, Run};
use crate::members::{ENGINE, Member};
use crate::process::{Finished, Program, on_one_cpu};

/// How long a build, or the tests of one crate, may take.
const TIME: Duration = Duration::from_hours(2);
/// Where what is built for coverage lies, in the checkout.
const TARGET: &str = "target/llvm-cov";
/// How cargo-llvm-cov is told which crates get counters, names between commas.
const COUNTED: &str = "__CARGO_LLVM_COV_RUSTC_WRAPPER_CRATE_NAMES";
/// The crate of the innermost loops, which take several times as long with counters in them. Its own tests and those of
/// the crates above it see what it does; the engine's, which compute most, are run without.
const KERNELS: &str = "apr-tensor";
/// Variables that say where tests find models.
const DATA: [&str; 2] = ["APR_DATA_DIR", "PROBADOR_MODEL"];

/// What coverage is measured with.
#[derive(Clone, Debug)]
pub struct Tools {
    root: PathBuf,
    /// `nightly` where there is one, since only that counts branches.
    nightly: bool,
    environment: Vec<(String, String)>,
    /// Names and versions, for people.
    version: String,
    test_files: BTreeSet<String>,
}

impl Tools {
    /// Finds them for the checkout at `root`; an error says what is missing and how to get it.
    pub fn find(root: &Path, members: &[Member]) -> anyhow::Result<Self> {
        let mut tools = Self {
            root: root.to_owned(),
            nightly: false,
            environment: Vec::new(),
            version: String::new(),
            test_files: test_files(root, members)?,
        };
        let nightly = Program::new("rustup").args(["run", "nightly", "rustc", "--version"]);
        tools.nightly = tools.with_rust(nightly).run().is_ok_and(|run| run.succeeded());
        let llvm_cov = tools
            .run(&["llvm-cov", "--version"])
            .context("hint: cargo install --locked cargo-llvm-cov")?
            .stdout_text();
        let rustc = tools.with_rust(Program::new("rustc").arg("-vV")).run()?.stdout_text();
        let line = |start: &str| rustc.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
        let major = line("LLVM version:").and_then(|version| version.split('.').next()).unwrap_or_default();
        tools.environment.extend(tools.llvm(line("host:").unwrap_or_default(), major)?);
        let mut show = vec!["llvm-cov", "show-env"];
        show.extend(tools.nightly.then_some("--branch"));
        let shown = tools.run(&show)?.stdout_text();
        tools.environment.extend(assignments(&shown));
        tools.version = format!("{}, {}", llvm_cov.trim(), rustc.lines().next().unwrap_or_default());
        Ok(tools)
    }

    /// Names and versions.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether branches are counted.
    pub fn counts_branches(&self) -> bool {
        self.nightly
    }

    /// Drops what was built before, which would be counted too.
    pub fn prepare(&self) -> anyhow::Result<()> {
        self.run(&["llvm-cov", "clean", "--workspace"]).map(|_| ())
    }

    /// Builds the executables that the engine's tests start, and its kernels without counters.
    fn prepare_engine(&mut self) -> anyhow::Result<()> {
        let kernels = KERNELS.replace('-', "_");
        for (name, value) in &mut self.environment {
            if name == COUNTED {
                let counted: Vec<&str> = value.split(',').filter(|name| *name != kernels).collect();
                *value = counted.join(",");
            }
        }
        // Cargo does not know that they are to be built in another way.
        self.run(&["clean", "--release", "--package", KERNELS])?;
        self.run(&["build", "--release", "--workspace", "--bins", "--quiet"]).map(|_| ())
    }

    /// Runs the tests of `member` and reads what they executed, tests themselves left out. What they print goes to `log`.
    /// The engine comes last.
    pub fn measure(&mut self, member: &Member, log: &Path) -> anyhow::Result<Measured> {
        if member.name == ENGINE {
            self.prepare_engine()?;
        }
        let target = self.root.join(TARGET);
        for entry in walkdir::WalkDir::new(&target) {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "profraw") {
                std::fs::remove_file(entry.path())?;
            }
        }
        let test = ["test", "--release", "--package", &member.name];
        self.run(&[&test[..], &["--no-run", "--quiet"]].concat())?;
        // Counters are shared by all threads: two that run the same kernel on two processors wait for each other's
        // cache line most of the time.
        let tests = on_one_cpu(|| self.program(&[&test[..], &["--no-fail-fast"]].concat()).run())?;
        crate::report::write_file(log, &[tests.stdout.as_slice(), &tests.stderr].concat())?;
        if !tests.succeeded() {
            let stdout = tests.stdout_text();
            let failed: Vec<&str> = stdout.lines().filter(|line| line.ends_with("FAILED")).take(5).collect();
            bail!(
                "the tests of {} fail, so what they execute shows nothing:\n{}\nhint: see `{}`",
                member.name,
                failed.join("\n"),
                log.display()
            );
        }
        let export = |form: &str, name: &str| -> anyhow::Result<String> {
            let path = target.join(name);
            let file = path.to_string_lossy().into_owned();
            // A process that a test killed leaves counts that cannot be read; without any that can, this fails.
            let lenient = ["--failure-mode", "all"];
            let report = ["llvm-cov", "report", "--release", form, "--output-path", &file];
            self.run(&[&report[..], &lenient].concat())?;
            std::fs::read_to_string(&path).with_context(|| format!("failed to read `{file}`"))
        };
        let mut measured =
            Measured::read(&self.root, &export("--lcov", "lcov.info")?, &export("--json", "export.json")?)?;
        self.leave_tests_out(&mut measured)?;
        Ok(measured)
    }

    /// The run of `member`, as it is stored.
    pub fn run_of(
        &self,
        member: &Member,
        all: &[Member],
        measured: &Measured,
        known: &super::Coverage,
    ) -> Run {
        Run::new(member, all, measured, &known.files, self.version.clone(), self.nightly)
    }

    fn leave_tests_out(&self, measured: &mut Measured) -> anyhow::Result<()> {
        measured.files.retain(|path, _| path.contains("/src/") && !self.test_files.contains(path));
        for (path, file) in &mut measured.files {
            let sources = Sources::read(&self.root.join(path))?;
            file.retain(|line| !sources.is_test(line));
            if let Some(feature) = sources.feature.filter(|feature| !feature.is_here()) {
                measured.left_out.insert(path.clone(), feature.name().to_owned());
            }
        }
        measured.files.retain(|path, _| !measured.left_out.contains_key(path));
        Ok(())
    }

    /// The LLVM tools where the compiler does not bring them: those of the system, if they are of its LLVM.
    fn llvm(&self, host: &str, major: &str) -> anyhow::Result<Vec<(String, String)>> {
        let given =
            ["LLVM_COV", "LLVM_PROFDATA"].map(|name| std::env::var(name).ok().map(|v| (name.to_owned(), v)));
        if let [Some(cov), Some(profdata)] = given {
            return Ok(vec![cov, profdata]);
        }
        let sysroot = self.with_rust(Program::new("rustc").args(["--print", "sysroot"])).run()?.stdout_text();
        if Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/llvm-cov").is_file() {
            return Ok(Vec::new());
        }
        let found = ["llvm-cov", "llvm-profdata"].map(|tool| format!("{tool}-{major}"));
        for tool in &found {
            if !self.with_rust(Program::new(tool).arg("--version")).run().is_ok_and(|run| run.succeeded()) {
                bail!(
                    "the LLVM tools are missing\nhint: rustup component add llvm-tools{}, or install LLVM {major}, which has `{tool}`",
                    if self.nightly { " --toolchain nightly" } else { "" }
                );
            }
        }
        let [cov, profdata] = found;
        Ok(vec![("LLVM_COV".to_owned(), cov), ("LLVM_PROFDATA".to_owned(), profdata)])
    }

    fn program(&self, arguments: &[&str]) -> Program {
        self.with_rust(Program::new("cargo").args(arguments))
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let run = self.program(arguments).run()?;
        if run.succeeded() { Ok(run) } else { Err(anyhow!("{}", run.describe())) }
    }

    fn with_rust(&self, mut program: Program) -> Program {
        program = program.with_toolchain().pass_on(&DATA);
        if self.nightly {
            program = program.env("RUSTUP_TOOLCHAIN", "nightly");
        }
        program = program
            .env("CARGO_TARGET_DIR", self.root.join(TARGET))
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        for (name, value) in &self.environment {
            program = program.env(name, value);
        }
        program.folder(&self.root).timeout(TIME)
    }
}

/// Variables as a shell would set them, `NAME='VALUE'` or `NAME=VALUE` a line.
fn assignments(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            (name.to_owned(), quoted.unwrap_or(value).replace(r"'\''", "'"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_a_shell_would() {
        let text = "A=b\nLLVM_PROFILE_FILE='/x y/main-%p.profraw'\nQ='it'\\''s'\nnothing\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            assignments(text),
            [pair("A", "b"), pair("LLVM_PROFILE_FILE", "/x y/main-%p.profraw"), pair("Q", "it's")]
        );
    }
}
