//! Reports for tests: one in which everything passed, and one in which a little of everything happened.

use std::collections::BTreeMap;

use super::{
    ClaimRow, ImpostorRow, ImpostorTable, InputFile, ModelFacts, Report, Role, RunVerdict, TableStanding,
    WaiverRow,
};
use crate::case::{
    CaseId, Evidence, Machine, Measurement, Outcome, Reason, Relation, Subject, Undecided, Verdict,
};
use crate::checklist::Date;
use crate::gate::{Gate, decide};
use crate::playbook::{Category, PlaybookId};
use crate::prove::ProofStanding;
use crate::workspace::Workspace;

fn measurement(value: f64, limit: f64) -> Measurement {
    Measurement {
        what: "largest <difference> & more".into(),
        value,
        relation: Relation::AtMost,
        limit,
        unit: "ms".into(),
        n: 32,
        interval: Some((0.0, value)),
    }
}

/// Every claim of the checklist, passed and proven.
pub(crate) fn all_passing() -> Report {
    let checklist = Workspace::find(None).unwrap().checklist().unwrap();
    let outcomes: Vec<Outcome> = checklist
        .claims()
        .iter()
        .map(|claim| Outcome {
            case: CaseId::claim(claim),
            subject: Subject::Claim(claim.id),
            verdict: Verdict::Pass,
            known_before: false,
            evidence: Evidence {
                measurements: vec![measurement(1.0, 2.0)],
                rerun: format!("cargo probador full --exact {}", claim.case_name()),
                ..Evidence::default()
            },
        })
        .collect();
    let proofs = checklist.claims().iter().map(|claim| (claim.id, ProofStanding::Proven)).collect();
    let (claims, score) = Report::tally(&checklist, &outcomes, &[], &proofs);
    let mut report = Report {
        version: Report::VERSION,
        tool: "probador 0.0.0".into(),
        started: 1_780_000_000,
        seconds: 12.5,
        verdict: RunVerdict::Pass,
        gate: Gate::default(),
        score,
        model: ModelFacts {
            name: "tiny".into(),
            path: "golden/tiny/tiny.apr".into(),
            file_size: 1234,
            root_hash: "ab".repeat(32),
            stand_in: true,
        },
        machine: Machine { cpu: "a processor".into(), n_threads: 2, os: "linux x86_64".into() },
        selection: None,
        claims,
        playbooks: Vec::new(),
        goldens: Vec::new(),
        impostors: ImpostorTable::default(),
        matrix: TableStanding::NotRun,
        inputs: vec![InputFile {
            role: Role::Model,
            name: "golden/tiny/tiny.apr".into(),
            sha256: "cd".repeat(32),
        }],
        problems: Vec::new(),
    };
    settle(&mut report);
    report
}

/// A report with a failure, an undecided claim, a waiver, a stale proof, goldens on both sides of their limit and an
/// impostor that was not caught.
pub(crate) fn eventful() -> Report {
    let mut report = all_passing();
    let row = |report: &mut Report, id: &str, change: &dyn Fn(&mut ClaimRow)| {
        change(report.claims.iter_mut().find(|row| row.id.to_string() == id).unwrap());
    };
    row(&mut report, "C4", &|row| {
        let outcome = row.outcome.as_mut().unwrap();
        outcome.verdict = Verdict::Fail { diagnosis: "position 3 sees <position 4>\nand more".into() };
        outcome.evidence.measurements = vec![measurement(3.0, 2.0)];
    });
    row(&mut report, "J16", &|row| {
        let outcome = row.outcome.as_mut().unwrap();
        outcome.verdict = Verdict::Undecided(Undecided::unverified("no energy counters", "run it elsewhere"));
        outcome.known_before = true;
        outcome.evidence.measurements.clear();
        row.waiver = Some(WaiverRow {
            reason: "this machine has no counters".into(),
            granted: Date::new(2026, 1, 1).unwrap(),
            until: Date::new(2099, 1, 1).unwrap(),
            line: 7,
        });
    });
    row(&mut report, "J17", &|row| row.outcome = None);
    row(&mut report, "A1", &|row| row.proof = Some(ProofStanding::Stale));
    let golden = |tensor: &str, share: Option<f64>| Outcome {
        case: CaseId::golden("tiny", "a_prompt", tensor),
        subject: Subject::Golden { model: "tiny".into(), prompt: "a_prompt".into(), tensor: tensor.into() },
        verdict: match share {
            Some(_) => Verdict::Pass,
            None => Verdict::Fail { diagnosis: format!("{tensor}: out of tolerance") },
        },
        known_before: false,
        evidence: Evidence {
            measurements: share.map(|share| measurement(share * 1e-4, 1e-4)).into_iter().collect(),
            ..Evidence::default()
        },
    };
    report.goldens = vec![
        golden("model.embed_tokens", Some(0.0)),
        golden("model.layers.0.self_attn.q_proj", Some(0.01)),
        golden("model.layers.0", Some(0.2)),
        golden("model.layers.1", None),
        golden("logits", Some(0.9)),
    ];
    report.impostors = ImpostorTable {
        standing: TableStanding::Stale,
        rows: vec![ImpostorRow {
            name: "canned-replies".into(),
            does: "replies from a list".into(),
            n_red: 30,
            n_broken: 1,
            n_indifferent: 9,
            fooled: vec!["D3".parse().unwrap()],
        }],
    };
    settle(&mut report);
    report
}

/// How the playbook `edge-cases/STEM` ended.
pub(crate) fn playbook(stem: &str, verdict: Verdict) -> Outcome {
    let id = PlaybookId::new(Some(Category::EdgeCases), stem);
    Outcome {
        case: CaseId::playbook(&id),
        verdict,
        known_before: false,
        evidence: Evidence { rerun: format!("cargo probador run {id}"), ..Evidence::default() },
        subject: Subject::Playbook(id),
    }
}

/// What could not be judged though everything it needs was there.
pub(crate) fn out_of_time() -> Verdict {
    Verdict::Undecided(Undecided {
        reason: Reason::Inconclusive,
        what: "it ran out of time".into(),
        remedy: "run it alone".into(),
    })
}

fn settle(report: &mut Report) {
    let standing: BTreeMap<_, _> = report.claims.iter().map(|row| (row.id, row.standing())).collect();
    let checklist = Workspace::find(None).unwrap().checklist().unwrap();
    report.score = crate::checklist::score(checklist.claims(), |id| standing[&id]);
    report.gate = decide(report, Date::of_unix_seconds(report.started));
    report.verdict = report.judge();
}
