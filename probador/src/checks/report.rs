//! Claim I19: the page that `report` writes, read as text: verdict, score, and every claim of the run it is of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{CheckError, CheckFn, Context};
use crate::case::{
    CaseId, Evidence, Judgement, Machine, Measurement, Outcome, Relation, Subject, Undecided, Verdict,
};
use crate::checklist::{CHECKLIST_POINTS, Checklist, Claim, Date};
use crate::faults::Reply;
use crate::gate::{Gate, decide};
use crate::process::{Ended, Program};
use crate::report::{ImpostorTable, ModelFacts, Report, RunVerdict, TableStanding, write_file};

/// The check of this claim.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[("I19", the_page_says_what_the_run_came_to)];

/// How long writing a page may take.
const REPORT_TIME: Duration = Duration::from_mins(1);

/// Runs of which a page is written, by what becomes of every third claim, and what it then must say.
const RUNS: [(&str, RunVerdict, i32); 3] = [
    ("Pass", RunVerdict::Pass, 0),
    ("Nothing failed", RunVerdict::Incomplete, 0),
    ("Fail", RunVerdict::Fail, 100),
];

/// I19: `report` is run over reports of three kinds, and each page is read as a person reads it, without the markup.
fn the_page_says_what_the_run_came_to(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    judge_pages(context, &engine(context.workspace().program("cargo-probador"))?)
}

fn engine(found: Option<PathBuf>) -> Result<PathBuf, CheckError> {
    found.ok_or_else(|| {
        CheckError::Undecided(Undecided::unverified(
            "the `cargo-probador` executable is not built",
            "cargo build --release -p probador",
        ))
    })
}

/// Judges the pages that `program report` writes.
fn judge_pages(context: &Context, program: &Path) -> Result<Judgement, CheckError> {
    let workspace = context.workspace();
    let checklist = workspace.checklist()?;
    let mut judgement = Judgement::new();
    let (mut n_pages, mut n_claims) = (0, 0);
    for (word, verdict, code) in RUNS {
        let report = made_up(&checklist, verdict);
        let folder = tempfile::tempdir()?;
        let latest = folder.path().join("latest");
        write_file(&latest.join("report.json"), &serde_json::to_vec(&report)?)?;
        let finished = Program::new(program)
            .args(["report", "--format", "terse", "--reports"])
            .arg(folder.path())
            .arg("--root")
            .arg(workspace.root())
            .timeout(REPORT_TIME)
            .run()?;
        let Ended::Exited(exited) = finished.ended else {
            judgement.fail(format!("`report` on a run that is {word:?} {}", finished.describe()));
            continue;
        };
        let page = std::fs::read_to_string(latest.join("report.html")).unwrap_or_default();
        let reply = Reply { command: "report".to_owned(), text: page, code: exited };
        let Reply { text: page, code: exited, .. } = context.planted().show(reply);
        judgement.require(exited == code, || {
            format!("`report` on a run that is {word:?} exits with {exited}, not {code}")
        });
        let (read, claims) = (text_of(&page), claims_of(&page));
        judgement
            .require(read.contains(word), || format!("the page of a run that is {word:?} does not say so"));
        let score = format!("{} of {CHECKLIST_POINTS} points", report.score.all.passed);
        judgement.require(read.contains(&score), || format!("the page lacks the score: `{score}`"));
        for row in &report.claims {
            let shown = claims.get(row.id.to_string().as_str());
            let outcome = row.outcome.as_ref().map_or("undecided", |outcome| outcome.verdict.word());
            let is_shown = shown.is_some_and(|shown| {
                [row.title.as_str(), &row.claim, &row.falsified_when, outcome]
                    .iter()
                    .all(|part| shown.contains(&squeezed(part)))
            });
            judgement
                .require(is_shown, || format!("the page of a run that is {word:?} lacks claim {}", row.id));
            n_claims += usize::from(is_shown);
        }
        n_pages += 1;
    }
    judgement.exactly("pages read", n_pages, RUNS.len(), "", RUNS.len());
    let expected = RUNS.len() * checklist.claims().len();
    judgement.exactly("claims found on them", n_claims, expected, "", expected);
    Ok(judgement)
}

/// A report of every claim, every third of which brings `verdict` about.
fn made_up(checklist: &Checklist, verdict: RunVerdict) -> Report {
    let measurement = Measurement {
        what: "figures".to_owned(),
        value: 1.0,
        relation: Relation::AtMost,
        limit: 2.0,
        unit: String::new(),
        n: 1,
        interval: None,
    };
    let outcomes: Vec<Outcome> = checklist
        .claims()
        .iter()
        .enumerate()
        .map(|(index, claim)| {
            let verdict = match verdict {
                RunVerdict::Incomplete if index % 3 == 0 => {
                    Verdict::Undecided(Undecided::unverified("it was left out", ""))
                }
                RunVerdict::Fail if index % 3 == 0 => {
                    Verdict::Fail { diagnosis: "it was falsified".to_owned() }
                }
                _ => Verdict::Pass,
            };
            Outcome {
                case: CaseId::claim(claim),
                subject: Subject::Claim(claim.id),
                known_before: matches!(verdict, Verdict::Undecided(_)),
                verdict,
                evidence: Evidence { measurements: vec![measurement.clone()], ..Evidence::default() },
            }
        })
        .collect();
    let (claims, score) = Report::tally(checklist, &outcomes, &[], &BTreeMap::new());
    let mut report = Report {
        version: Report::VERSION,
        tool: "probador".to_owned(),
        started: 0,
        seconds: 0.0,
        verdict,
        gate: Gate::default(),
        score,
        model: ModelFacts::default(),
        machine: Machine::default(),
        selection: None,
        claims,
        playbooks: Vec::new(),
        goldens: Vec::new(),
        impostors: ImpostorTable::default(),
        matrix: TableStanding::NotRun,
        inputs: Vec::new(),
        problems: Vec::new(),
    };
    report.gate = decide(&report, Date::of_unix_seconds(0));
    report.verdict = report.judge();
    report
}

/// What stands in the place of each claim, by id.
fn claims_of(page: &str) -> BTreeMap<&str, String> {
    let blocks = page.split("<details").skip(1).filter_map(|rest| rest.split("</details>").next());
    blocks
        .filter_map(|block| {
            let (_, rest) = block.split_once("id=\"")?;
            let (id, _) = rest.split_once('"')?;
            Some((id, text_of(&format!("<details{block}"))))
        })
        .collect()
}

/// A page without its markup, words apart by one space.
fn text_of(page: &str) -> String {
    let body = page.split_once("<body").map_or(page, |(_, body)| body);
    let pieces = body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    let text: Vec<&str> = pieces.collect();
    let mut text = text.join(" ");
    for (entity, sign) in [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")] {
        text = text.replace(entity, sign);
    }
    squeezed(&text)
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::context;
    use crate::process::write_wrapper;

    #[test]
    fn a_page_is_read_without_its_markup() {
        let page =
            "<head>x</head><body class=\"a\"><p>1<small> of 2</small>\n &#60;b&#62; &#38; c</p></body>";
        assert_eq!(text_of(page), "1 of 2 <b> & c");
        let page = "<details><summary>A1 <b>loads</b></summary><div id=\"A1\">well</div></details><details>none</details>";
        assert_eq!(claims_of(page), [("A1", "A1 loads well".to_owned())].into());
    }

    #[test]
    fn an_engine_that_is_not_built_decides_nothing() {
        let found = engine(None);
        let Err(CheckError::Undecided(undecided)) = found else { panic!("{found:?}") };
        assert_eq!(undecided.what, "the `cargo-probador` executable is not built");
        assert_eq!(undecided.remedy, "cargo build --release -p probador");
        assert_eq!(engine(Some("x".into())).unwrap(), Path::new("x"));
    }

    #[test]
    fn a_report_that_is_killed_has_written_no_page() {
        let folder = tempfile::tempdir().unwrap();
        let (script, program) = (folder.path().join("script"), folder.path().join("engine"));
        std::fs::write(&script, "kill -9 $$").unwrap();
        write_wrapper(&program, &["sh".as_ref(), script.as_os_str()]).unwrap();
        let found = judge_pages(&context(), &program).unwrap().failures;
        assert_eq!(found.len(), 5, "{found:#?}");
        for (what, word) in found.iter().zip(["Pass", "Nothing failed", "Fail"]) {
            assert!(what.starts_with(&format!("`report` on a run that is {word:?} ")), "{what}");
            assert!(what.contains("was killed by a signal"), "{what}");
        }
        assert_eq!(found[3], "pages read 0, exactly 3");
    }
}
