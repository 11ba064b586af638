//! Where reports lie: `latest`, the one before it, and files written whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Report;
use crate::case::{Outcome, Subject};

/// Writes `bytes` to `path`: beside it first, synchronised, then renamed into place.
pub fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("failed to write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(bytes).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).with_context(failed)?;
    }
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// The folder reports are kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Reports under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The newest report's folder.
    pub fn latest(&self) -> PathBuf {
        self.0.join("latest")
    }

    /// The one before.
    pub fn previous(&self) -> PathBuf {
        self.0.join("previous")
    }

    /// The newest report.
    pub fn read_latest(&self) -> anyhow::Result<Report> {
        let path = self.latest().join("report.json");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("there is no report at `{}`\nhint: run `cargo probador full` first", path.display())
        })?;
        serde_json::from_str(&text).with_context(|| {
            format!(
                "`{}` is not a report of this version\nhint: `cargo probador full` makes one",
                path.display()
            )
        })
    }

    /// Makes the newest report the previous one and opens the next one's outcome log.
    pub fn begin(&self) -> anyhow::Result<OutcomeLog> {
        let (latest, previous) = (self.latest(), self.previous());
        let failed = || format!("failed to prepare `{}`", latest.display());
        if latest.join("outcomes.jsonl").exists() {
            if previous.exists() {
                fs::remove_dir_all(&previous).with_context(failed)?;
            }
            fs::rename(&latest, &previous).with_context(failed)?;
        }
        fs::create_dir_all(latest.join("logs")).with_context(failed)?;
        let file = File::create(latest.join("outcomes.jsonl")).with_context(failed)?;
        Ok(OutcomeLog { file, latest })
    }

    /// Where the impostors' performances are kept.
    pub fn impostors(&self) -> PathBuf {
        self.0.join("impostors.json")
    }

    /// Where the matrix of claims and faults is kept, as a page and as JSON.
    pub fn matrix(&self) -> (PathBuf, PathBuf) {
        (self.0.join("prove.html"), self.0.join("prove.json"))
    }

    /// Writes a finished report in every form, and the statement that binds it to what was judged.
    pub fn write(&self, report: &Report) -> anyhow::Result<()> {
        let latest = self.latest();
        let json = serde_json::to_string_pretty(report)? + "\n";
        write_file(&latest.join("report.json"), json.as_bytes())?;
        let statement = crate::attest::Statement::of(report, json.as_bytes());
        write_file(&latest.join("attestation.json"), statement.to_json()?.as_bytes())?;
        self.write_pages(report)
    }

    /// Writes what people and other tools read of a report.
    pub fn write_pages(&self, report: &Report) -> anyhow::Result<()> {
        let latest = self.latest();
        write_file(&latest.join("report.html"), super::to_html(report)?.as_bytes())?;
        write_file(&latest.join("junit.xml"), super::to_junit(report)?.as_bytes())
    }
}

/// Outcomes as they come, a line each, so that a crash leaves a readable part.
#[derive(Debug)]
pub struct OutcomeLog {
    file: File,
    latest: PathBuf,
}

impl OutcomeLog {
    /// Appends one outcome, which gets a log of its own where [`log_of`] says so.
    pub fn append(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(outcome)?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).context("failed to append to outcomes.jsonl")?;
        if let Some(log) = log_of(outcome) {
            write_file(&self.latest.join(log), serde_json::to_string_pretty(outcome)?.as_bytes())?;
        }
        Ok(())
    }
}

/// The log of an outcome, from the folder of its report. What could not be judged has none, and of the many golden tensors
/// only those that are red have one.
pub fn log_of(outcome: &Outcome) -> Option<String> {
    let is_one_of_many = matches!(outcome.subject, Subject::Golden { .. });
    let has_log = outcome.is_red() || !outcome.known_before && !is_one_of_many;
    has_log.then(|| format!("logs/{}.json", outcome.case.as_str().replace("::", ".")))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::case::Verdict;

    #[test]
    fn a_second_run_keeps_the_first_as_previous() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        folder.begin().unwrap();
        fs::write(folder.latest().join("report.json"), "first").unwrap();
        folder.begin().unwrap();
        assert_eq!(fs::read_to_string(folder.previous().join("report.json")).unwrap(), "first");
        assert!(!folder.latest().join("report.json").exists());
        folder.begin().unwrap();
        assert!(!folder.previous().join("report.json").exists());
    }

    #[test]
    fn a_report_that_is_not_there_is_named_with_a_remedy() {
        let error = Folder::new("/no/such").read_latest().unwrap_err().to_string();
        assert!(error.contains("/no/such/latest/report.json") && error.contains("hint:"), "{error}");
    }
    #[test]
    fn a_report_of_another_version_is_named_with_a_remedy() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let path = folder.latest().join("report.json");
        write_file(&path, b"{\"version\": 1}").unwrap();
        let error = folder.read_latest().unwrap_err().to_string();
        let path = path.display();
        assert_eq!(
            error,
            format!("`{path}` is not a report of this version\nhint: `cargo probador full` makes one")
        );
        let report = sample::eventful();
        folder.write(&report).unwrap();
        assert_eq!(folder.read_latest().unwrap(), report);
    }

    #[test]
    fn every_outcome_is_a_line_and_what_was_judged_a_log_besides() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let mut log = folder.begin().unwrap();
        let (good, bad) =
            (sample::playbook("a", Verdict::Pass), sample::playbook("b", sample::out_of_time()));
        log.append(&good).unwrap();
        log.append(&bad).unwrap();
        let lines = fs::read_to_string(folder.latest().join("outcomes.jsonl")).unwrap();
        let read: Vec<Outcome> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [good.clone(), bad.clone()]);
        for judged in [&good, &bad] {
            let path = folder.latest().join(log_of(judged).unwrap());
            assert_eq!(
                serde_json::from_str::<Outcome>(&fs::read_to_string(&path).unwrap()).unwrap(),
                *judged
            );
        }
        let golden = sample::eventful().goldens.into_iter().find(|golden| !golden.is_red()).unwrap();
        assert_eq!(log_of(&golden), None);
        log.append(&golden).unwrap();
        assert_eq!(fs::read_dir(folder.latest().join("logs")).unwrap().count(), 2);
        let path = folder.latest().join(log_of(&bad).unwrap());
        // Where there is no place for it, the run hears of it.
        fs::remove_dir_all(folder.latest().join("logs")).unwrap();
        fs::write(folder.latest().join("logs"), "").unwrap();
        let error = log.append(&bad).unwrap_err().to_string();
        assert_eq!(error, format!("failed to write `{}`", path.display()));
        log.append(&golden).unwrap();
    }
}
