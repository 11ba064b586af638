//! The report as one self-contained page for whoever decides about a release.

use askama::Template;

use super::{ClaimRow, Report, RunVerdict, Waiting};
use crate::case::{Figure, Measurement, Outcome, Relation, Verdict};
use crate::checklist::{CHECKLIST_POINTS, Date, Section, SectionScore};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'r> {
    report: &'r Report,
    word: &'static str,
    tone: &'static str,
    sentence: String,
    date: String,
    time: String,
    total: u32,
    all: Bar,
    sections: Vec<SectionView<'r>>,
    failures: Vec<FailureView<'r>>,
    waiting: Vec<WaitingView>,
    playbooks: Vec<CaseView<'r>>,
    n_playbooks_passed: usize,
    goldens: Vec<CaseView<'r>>,
    n_goldens_passed: usize,
    n_claims: usize,
    n_passed: usize,
}

/// Shares of a bar, in percent.
struct Bar {
    passed: f64,
    failed: f64,
    score: SectionScore,
}

struct SectionView<'r> {
    letter: char,
    title: &'static str,
    bar: Bar,
    rows: Vec<RowView<'r>>,
}

struct RowView<'r> {
    row: &'r ClaimRow,
    tone: &'static str,
    word: &'static str,
    said: String,
    remedy: String,
    measurements: Vec<MeasurementView>,
    seconds: String,
    is_open: bool,
}

struct MeasurementView {
    what: String,
    value: String,
    relation: &'static str,
    limit: String,
    unit: String,
    n: u64,
    interval: String,
    holds: bool,
}

struct FailureView<'r> {
    outcome: &'r Outcome,
    title: String,
    said: String,
}

struct WaitingView {
    points: u32,
    what: String,
    remedy: String,
    ids: Vec<String>,
}

struct CaseView<'r> {
    outcome: &'r Outcome,
    tone: &'static str,
    measured: String,
}

/// Renders the report.
pub fn to_html(report: &Report) -> anyhow::Result<String> {
    let (word, tone) = match report.verdict {
        RunVerdict::Pass => ("Pass", "pass"),
        RunVerdict::Incomplete => ("Nothing failed", "undecided"),
        RunVerdict::Fail => ("Fail", "fail"),
        RunVerdict::Unbelievable => ("Cannot be believed", "fail"),
    };
    let sections: Vec<_> = Section::ALL.into_iter().map(|section| section_view(report, section)).collect();
    let goldens: Vec<_> = report.goldens.iter().map(case_view).collect();
    let playbooks: Vec<_> = report.playbooks.iter().map(case_view).collect();
    let page = Page {
        report,
        word,
        tone,
        sentence: sentence(report),
        date: Date::of_unix_seconds(report.started).to_string(),
        time: format!("{:02}:{:02} UTC", report.started / 3600 % 24, report.started / 60 % 60),
        total: CHECKLIST_POINTS,
        all: bar(report.score.all),
        failures: report.failures().map(|outcome| failure_view(report, outcome)).collect(),
        waiting: report.waiting().into_iter().map(waiting_view).collect(),
        n_playbooks_passed: playbooks.iter().filter(|playbook| playbook.tone == "pass").count(),
        playbooks,
        n_goldens_passed: goldens.iter().filter(|golden| golden.tone == "pass").count(),
        n_claims: report.claims.iter().filter(|row| row.scored).count(),
        n_passed: report
            .claims
            .iter()
            .filter(|row| {
                row.scored && row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Pass)
            })
            .count(),
        sections,
        goldens,
    };
    Ok(page.render()?)
}

/// The verdict in a sentence.
fn sentence(report: &Report) -> String {
    let all = report.score.all;
    let n_failures = report.failures().count();
    match report.verdict {
        RunVerdict::Pass => "Every scored claim was tried and held.".to_owned(),
        RunVerdict::Incomplete => format!(
            "Every claim that could be decided here held. {} points wait for something that is not here; only what passed scores.",
            all.undecided
        ),
        RunVerdict::Fail => format!(
            "{n_failures} {} what was claimed. Do not release this.",
            if n_failures == 1 { "check contradicts" } else { "checks contradict" }
        ),
        RunVerdict::Unbelievable => {
            "The engine's own accounts do not add up, so nothing below can be relied on.".to_owned()
        }
    }
}

fn bar(score: SectionScore) -> Bar {
    let share = |points: u32| 100.0 * f64::from(points) / f64::from(score.total().max(1));
    Bar { passed: share(score.passed), failed: share(score.failed), score }
}

fn section_view(report: &Report, section: Section) -> SectionView<'_> {
    SectionView {
        letter: section.letter(),
        title: section.title(),
        bar: bar(report.score.sections.get(&section.letter()).copied().unwrap_or_default()),
        rows: report.section(section).map(row_view).collect(),
    }
}

fn row_view(row: &ClaimRow) -> RowView<'_> {
    let (tone, word, said, remedy) = match row.outcome.as_ref().map(|outcome| (&outcome.verdict, outcome)) {
        Some((Verdict::Pass, _)) => ("pass", "pass", String::new(), String::new()),
        Some((Verdict::Fail { diagnosis }, _)) => ("fail", "fail", diagnosis.clone(), String::new()),
        Some((Verdict::Undecided(_), outcome)) if !outcome.known_before => {
            let undecided = row.undecided();
            (
                "fail",
                "undecided",
                undecided.map(|undecided| undecided.what).unwrap_or_default(),
                String::new(),
            )
        }
        Some((Verdict::Undecided(_), _)) | None => {
            let (what, remedy) =
                row.undecided().map(|undecided| (undecided.what, undecided.remedy)).unwrap_or_default();
            ("undecided", "undecided", what, remedy)
        }
    };
    let evidence = row.outcome.as_ref().map(|outcome| &outcome.evidence);
    RowView {
        row,
        tone,
        word,
        said,
        remedy,
        measurements: evidence
            .iter()
            .flat_map(|evidence| &evidence.measurements)
            .map(measurement_view)
            .collect(),
        seconds: evidence.map(|evidence| format!("{:.2} s", evidence.seconds)).unwrap_or_default(),
        is_open: tone == "fail",
    }
}

fn measurement_view(measurement: &Measurement) -> MeasurementView {
    MeasurementView {
        what: measurement.what.clone(),
        value: Figure(measurement.value).to_string(),
        relation: match measurement.relation {
            Relation::AtMost => "at most",
            Relation::AtLeast => "at least",
            Relation::Equal => "exactly",
        },
        limit: Figure(measurement.limit).to_string(),
        unit: measurement.unit.clone(),
        n: measurement.n,
        interval: measurement
            .interval
            .map(|(low, high)| format!("{} to {}", Figure(low), Figure(high)))
            .unwrap_or_default(),
        holds: measurement.holds(),
    }
}

fn failure_view<'r>(report: &Report, outcome: &'r Outcome) -> FailureView<'r> {
    let row = report.claims.iter().find(|row| row.case == outcome.case.as_str());
    FailureView {
        outcome,
        title: row.map_or_else(|| outcome.case.to_string(), |row| format!("{} {}", row.id, row.title)),
        said: match &outcome.verdict {
            Verdict::Pass => String::new(),
            Verdict::Fail { diagnosis } => diagnosis.clone(),
            Verdict::Undecided(undecided) => undecided.to_string(),
        },
    }
}

fn waiting_view(waiting: Waiting) -> WaitingView {
    WaitingView {
        points: waiting.points,
        what: waiting.what.strip_prefix("waits for ").unwrap_or(&waiting.what).to_owned(),
        remedy: waiting.remedy,
        ids: waiting.claims.iter().map(ToString::to_string).collect(),
    }
}

fn case_view(outcome: &Outcome) -> CaseView<'_> {
    CaseView {
        outcome,
        tone: match outcome.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail { .. } => "fail",
            Verdict::Undecided(_) => "undecided",
        },
        measured: outcome.evidence.measurements.first().map(ToString::to_string).unwrap_or_default(),
    }
}
