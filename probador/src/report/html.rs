//! The report as one self-contained page for whoever decides about a release.

use askama::Template;

use super::goldens::{Stage, by_stage};
use super::model::said;
use super::{ClaimRow, Report, RunVerdict, TableStanding, Waiting, WaiverRow, log_of};
use crate::case::{Figure, Measurement, Outcome, Relation, Subject, Verdict};
use crate::checklist::{CHECKLIST_POINTS, ClaimId, Date, Section, SectionScore, Standing};
use crate::gate::Obstacle;
use crate::playbook::PlaybookId;
use crate::prove::{ProofStanding, TargetName};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'r> {
    report: &'r Report,
    word: &'static str,
    sign: &'static str,
    tone: &'static str,
    sentence: String,
    date: String,
    time: String,
    total: u32,
    all: Bar,
    gate: Vec<ObstacleView>,
    sections: Vec<SectionView<'r>>,
    failures: Vec<FailureView<'r>>,
    waiting: Vec<WaitingView>,
    playbooks: Vec<PlaybookView<'r>>,
    n_playbooks_passed: usize,
    waivers: Vec<WaivedView<'r>>,
    impostors_are_stale: bool,
    has_matrix: bool,
    matrix_is_stale: bool,
    goldens: Vec<CaseView<'r>>,
    goldens_by_stage: Option<(String, Vec<Stage>)>,
    n_goldens_passed: usize,
    n_claims: usize,
    n_passed: usize,
    n_proven: usize,
}

struct ObstacleView {
    sentence: String,
    /// Claims, which the page has a place for.
    ids: Vec<String>,
    others: Vec<String>,
    remedy: &'static str,
}

struct WaivedView<'r> {
    id: ClaimId,
    waiver: &'r WaiverRow,
    state: &'static str,
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
    sign: &'static str,
    word: &'static str,
    /// The first figure with its limit, or what is missing.
    headline: String,
    said: String,
    remedy: String,
    measurements: Vec<MeasurementView>,
    seconds: String,
    is_open: bool,
    is_proven: bool,
    is_waived: bool,
    log: Option<String>,
    /// Playbooks that judge it.
    playbooks: Vec<Place>,
}

/// A place on the page, and what it is of.
struct Place {
    anchor: String,
    name: String,
}

impl Place {
    /// Where a playbook is told of.
    fn of(playbook: &PlaybookId) -> Self {
        Self { anchor: playbook.case_name().replace("::", "."), name: playbook.to_string() }
    }
}

struct PlaybookView<'r> {
    case: CaseView<'r>,
    place: Place,
    /// Claims that it judges.
    claims: Vec<ClaimId>,
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
    id: Option<ClaimId>,
    title: String,
    said: String,
    log: Option<String>,
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
    sign: &'static str,
    word: &'static str,
    measured: String,
    log: Option<String>,
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
    let playbooks: Vec<_> =
        playbooks(report).map(|(outcome, id)| playbook_view(report, outcome, id)).collect();
    let passed = || report.claims.iter().filter(|row| row.scored && row.standing() == Standing::Passed);
    let page = Page {
        report,
        word,
        sign: sign(tone),
        tone,
        gate: report.gate.shut_by.iter().map(|shut| obstacle_view(report, shut)).collect(),
        waivers: report.claims.iter().filter_map(|row| waived_view(report, row)).collect(),
        impostors_are_stale: report.impostors.standing == TableStanding::Stale,
        has_matrix: report.matrix != TableStanding::NotRun,
        matrix_is_stale: report.matrix == TableStanding::Stale,
        goldens_by_stage: by_stage(&report.goldens),
        sentence: sentence(report),
        date: Date::of_unix_seconds(report.started).to_string(),
        time: format!("{:02}:{:02} UTC", report.started / 3600 % 24, report.started / 60 % 60),
        total: CHECKLIST_POINTS,
        all: bar(report.score.all),
        failures: report.failures().map(|outcome| failure_view(report, outcome)).collect(),
        waiting: report.waiting().into_iter().map(waiting_view).collect(),
        n_playbooks_passed: playbooks.iter().filter(|playbook| playbook.case.tone == "pass").count(),
        playbooks,
        n_goldens_passed: goldens.iter().filter(|golden| golden.tone == "pass").count(),
        n_claims: report.claims.iter().filter(|row| row.scored).count(),
        n_passed: passed().count(),
        n_proven: passed().filter(|row| row.proof == Some(ProofStanding::Proven)).count(),
        sections,
        goldens,
    };
    Ok(page.render()?)
}

/// A shape beside each word, for whoever sees no colours.
fn sign(tone: &str) -> &'static str {
    match tone {
        "pass" => "✓",
        "fail" => "✕",
        _ => "?",
    }
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
        RunVerdict::Fail if n_failures == 0 => {
            "A claim passes although a waiver says that it cannot be decided: the waiver must go.".to_owned()
        }
        RunVerdict::Fail => {
            let n_false = report.failures().filter(|outcome| outcome.verdict.word() == "fail").count();
            let false_ones = match n_false {
                0 => String::new(),
                1 => "1 check contradicts what was claimed. ".to_owned(),
                n => format!("{n} checks contradict what was claimed. "),
            };
            let broken = match n_failures - n_false {
                0 => String::new(),
                n => format!("{n} could not be judged though all they need is there. "),
            };
            format!("{false_ones}{broken}Do not release this.")
        }
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
        rows: report.section(section).map(|row| row_view(report, row)).collect(),
    }
}

fn row_view<'r>(report: &Report, row: &'r ClaimRow) -> RowView<'r> {
    let (tone, word, said, remedy) = match row.outcome.as_ref().map(|outcome| (&outcome.verdict, outcome)) {
        Some((Verdict::Pass, _)) => ("pass", "pass", String::new(), String::new()),
        Some((Verdict::Fail { diagnosis }, _)) => ("fail", "fail", diagnosis.clone(), String::new()),
        Some((Verdict::Undecided(_), outcome)) if !outcome.known_before => {
            let what = row.undecided().map(|undecided| undecided.what).unwrap_or_default();
            ("fail", "undecided", what, String::new())
        }
        Some((Verdict::Undecided(_), _)) | None => {
            let (what, remedy) =
                row.undecided().map(|undecided| (undecided.what, undecided.remedy)).unwrap_or_default();
            ("undecided", "undecided", what, remedy)
        }
    };
    let evidence = row.outcome.as_ref().map(|outcome| &outcome.evidence);
    let first = evidence.and_then(|evidence| evidence.measurements.first());
    let headline = match first {
        Some(first) if tone == "pass" => first.to_string(),
        _ => said.lines().next().unwrap_or_default().to_owned(),
    };
    RowView {
        row,
        tone,
        sign: sign(tone),
        word,
        headline,
        said,
        remedy,
        measurements: evidence
            .iter()
            .flat_map(|evidence| &evidence.measurements)
            .map(measurement_view)
            .collect(),
        seconds: evidence.map(|evidence| format!("{:.2} s", evidence.seconds)).unwrap_or_default(),
        is_open: tone == "fail",
        is_proven: row.proof == Some(ProofStanding::Proven),
        is_waived: row.waiver.is_some(),
        log: row.outcome.as_ref().and_then(log_of),
        playbooks: playbooks(report)
            .filter(|(_, id)| row.is_judged_by(id))
            .map(|(_, id)| Place::of(id))
            .collect(),
    }
}

/// The playbooks of the report, by their names.
fn playbooks(report: &Report) -> impl Iterator<Item = (&Outcome, &PlaybookId)> {
    report.playbooks.iter().filter_map(|outcome| match &outcome.subject {
        Subject::Playbook(id) => Some((outcome, id)),
        Subject::Claim(_) | Subject::Golden { .. } | Subject::Canary => None,
    })
}

fn playbook_view<'r>(report: &Report, outcome: &'r Outcome, id: &PlaybookId) -> PlaybookView<'r> {
    let claims = report.claims.iter().filter(|row| row.is_judged_by(id)).map(|row| row.id);
    PlaybookView { case: case_view(outcome), place: Place::of(id), claims: claims.collect() }
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
        id: row.map(|row| row.id),
        log: log_of(outcome),
        title: row.map_or_else(|| outcome.case.to_string(), |row| format!("{} {}", row.id, row.title)),
        said: said(&outcome.verdict),
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
    let tone = match outcome.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail { .. } => "fail",
        Verdict::Undecided(_) => "undecided",
    };
    let first = outcome.evidence.measurements.first().map(ToString::to_string);
    CaseView {
        outcome,
        tone,
        sign: sign(tone),
        word: tone,
        measured: first.unwrap_or_else(|| said(&outcome.verdict)),
        log: log_of(outcome),
    }
}

fn obstacle_view(report: &Report, obstacle: &Obstacle) -> ObstacleView {
    let is_claim = |name: &&String| report.claims.iter().any(|row| row.id.to_string() == **name);
    let (ids, others): (Vec<&String>, Vec<&String>) = obstacle.what.iter().partition(is_claim);
    let owned = |names: Vec<&String>| names.into_iter().cloned().collect();
    ObstacleView {
        sentence: obstacle.sentence(),
        ids: owned(ids),
        others: owned(others),
        remedy: obstacle.reason.remedy(),
    }
}

fn waived_view<'r>(report: &Report, row: &'r ClaimRow) -> Option<WaivedView<'r>> {
    let waiver = row.waiver.as_ref()?;
    let today = Date::of_unix_seconds(report.started);
    let state = match row.standing() {
        Standing::Passed => "not needed: the claim passes",
        Standing::Failed => "excuses no failure",
        Standing::Undecided if today < waiver.granted => "not in force yet",
        Standing::Undecided if today > waiver.until => "expired",
        Standing::Undecided => "in force",
    };
    Some(WaivedView { id: row.id, waiver, state })
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_names_verdict_score_gate_and_every_claim() {
        for (report, word) in [(sample::all_passing(), "Pass"), (sample::eventful(), "Fail")] {
            let page = to_html(&report).unwrap();
            assert!(page.contains(&format!("</span> {word}</strong>")), "{word}");
            assert!(page.contains(&format!("{}<small> of 180 points", report.score.all.passed)));
            for row in &report.claims {
                assert!(page.contains(&format!("id=\"{}\"", row.id)), "{} has no place", row.id);
            }
            assert_eq!(page.contains("</span> open</span></h2>"), report.gate.is_open());
        }
    }

    #[test]
    fn what_was_observed_is_text_and_never_markup() {
        let page = to_html(&sample::eventful()).unwrap();
        assert!(!page.contains("<position 4>") && !page.contains("largest <difference>"));
        assert!(page.contains("position 4"));
    }

    #[test]
    fn waivers_impostors_and_goldens_say_how_they_stand() {
        let page = to_html(&sample::eventful()).unwrap();
        for said in
            ["in force", "this machine has no counters", "</span> stale</span>", "</span> passes</td>"]
        {
            assert!(page.contains(said), "{said}");
        }
        assert!(page.contains("<svg class=\"plot\"") && page.contains("out of tolerance"));
        let page = to_html(&sample::all_passing()).unwrap();
        assert!(page.contains("</span> not run</span>"));
    }

    #[test]
    fn every_link_inside_the_page_has_its_place() {
        let page = to_html(&sample::eventful()).unwrap();
        let targets: Vec<&str> =
            page.split("href=\"#").skip(1).map(|part| part.split('"').next().unwrap()).collect();
        assert!(targets.len() > 15, "{targets:?}");
        for target in targets {
            assert!(page.contains(&format!("id=\"{target}\"")), "nothing is at #{target}");
        }
    }
    #[test]
    fn the_verdict_is_told_in_a_sentence() {
        let check = |report: &Report, verdict: RunVerdict, expected: &str| {
            assert_eq!(sentence(&Report { verdict, ..report.clone() }), expected, "{verdict:?}");
        };
        let (good, mut bad) = (sample::all_passing(), sample::eventful());
        check(&good, RunVerdict::Pass, "Every scored claim was tried and held.");
        check(
            &good,
            RunVerdict::Incomplete,
            "Every claim that could be decided here held. 0 points wait for something that is not here; only what passed scores.",
        );
        check(
            &good,
            RunVerdict::Fail,
            "A claim passes although a waiver says that it cannot be decided: the waiver must go.",
        );
        check(
            &good,
            RunVerdict::Unbelievable,
            "The engine's own accounts do not add up, so nothing below can be relied on.",
        );
        check(&bad, RunVerdict::Fail, "2 checks contradict what was claimed. Do not release this.");
        bad.goldens.clear();
        check(&bad, RunVerdict::Fail, "1 check contradicts what was claimed. Do not release this.");
        let broken = vec![sample::playbook("a", sample::out_of_time())];
        let told = "1 could not be judged though all they need is there. Do not release this.";
        check(&Report { playbooks: broken.clone(), ..good }, RunVerdict::Fail, told);
        bad.playbooks = broken;
        check(&bad, RunVerdict::Fail, &format!("1 check contradicts what was claimed. {told}"));
    }

    #[test]
    fn what_could_not_be_judged_is_open_like_a_failure_and_says_why() {
        let (mut report, none) = (sample::all_passing(), sample::all_passing());
        let row = &mut report.claims[0];
        let outcome = row.outcome.as_mut().unwrap();
        outcome.verdict = sample::out_of_time();
        let view = row_view(&none, row);
        assert_eq!((view.tone, view.word, view.is_open), ("fail", "undecided", true));
        assert_eq!((view.headline.as_str(), view.remedy.as_str()), ("it ran out of time", ""));
        assert!(view.log.unwrap().starts_with("logs/checklist."));
        row.outcome.as_mut().unwrap().known_before = true;
        let view = row_view(&none, row);
        assert_eq!((view.tone, view.word, view.is_open), ("undecided", "undecided", false));
        assert_eq!((view.headline.as_str(), view.remedy.as_str()), ("it ran out of time", "run it alone"));
        assert_eq!(view.log, None);

        report.playbooks = vec![
            sample::playbook("a", Verdict::Pass),
            sample::playbook("b", sample::out_of_time()),
            sample::playbook("c", Verdict::Fail { diagnosis: "exits with 1".into() }),
        ];
        report.verdict = RunVerdict::Unbelievable;
        let views: Vec<_> = report.playbooks.iter().map(case_view).collect();
        let told: Vec<_> = views.iter().map(|view| (view.word, view.sign, view.measured.as_str())).collect();
        let why = "inconclusive: it ran out of time; run it alone";
        assert_eq!(told, [("pass", "✓", ""), ("undecided", "?", why), ("fail", "✕", "exits with 1")]);
        let page = to_html(&report).unwrap();
        assert!(
            page.contains("</span> Cannot be believed</strong>") && page.contains("1 of 3 playbooks pass")
        );
        // From the claim to the playbooks that judge it, and back.
        assert!(page.contains("<a href=\"#playbook.edge_cases.b\">edge-cases/b</a>"));
        assert!(
            page.contains("<tr id=\"playbook.edge_cases.b\">") && page.contains("<a href=\"#I9\">I9</a>")
        );
        assert!(page.contains("logs/playbook.edge_cases.a.json"), "what passes has a log, too");
    }

    #[test]
    fn a_measurement_says_how_it_must_stand_to_its_limit() {
        let view = |relation: Relation| {
            let row = &sample::all_passing().claims[0];
            let measurement = &row.outcome.as_ref().unwrap().evidence.measurements[0];
            let view = measurement_view(&Measurement { relation, ..measurement.clone() });
            (view.relation, view.holds)
        };
        // 1 against a limit of 2.
        assert_eq!(view(Relation::AtMost), ("at most", true));
        assert_eq!(view(Relation::AtLeast), ("at least", false));
        assert_eq!(view(Relation::Equal), ("exactly", false));
    }

    #[test]
    fn a_waiver_says_whether_it_is_in_force() {
        let report = sample::all_passing();
        assert_eq!(Date::of_unix_seconds(report.started), Date::new(2026, 5, 28).unwrap());
        let check = |verdict: Option<Verdict>, granted: (u8, u8), until: (u8, u8), expected: &str| {
            let mut row = report.claims[0].clone();
            match verdict {
                Some(verdict) => row.outcome.as_mut().unwrap().verdict = verdict,
                None => row.outcome = None,
            }
            let day = |(month, day): (u8, u8)| Date::new(2026, month, day).unwrap();
            let reason = "no counters".into();
            row.waiver = Some(WaiverRow { reason, granted: day(granted), until: day(until), line: 7 });
            assert_eq!(waived_view(&report, &row).unwrap().state, expected);
        };
        let fail = Verdict::Fail { diagnosis: "x".into() };
        check(Some(Verdict::Pass), (5, 1), (6, 1), "not needed: the claim passes");
        check(Some(fail), (5, 1), (6, 1), "excuses no failure");
        check(Some(sample::out_of_time()), (5, 1), (6, 1), "in force");
        check(None, (5, 28), (5, 28), "in force");
        check(None, (5, 29), (6, 1), "not in force yet");
        check(None, (5, 1), (5, 27), "expired");
    }
}
