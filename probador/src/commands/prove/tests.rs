//! What `prove` tries, keeps, prints and ends with, on trials made by hand.

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};
use crate::printer::ColorChoice;
use crate::prove::FaultTrial;
use crate::workspace::Workspace;

fn args(words: &[&str]) -> ProveArgs {
    let typed = [&["cargo-probador", "prove"], words].concat();
    let Command::Prove(args) = Cli::try_parse_from(typed).unwrap().command else { panic!("{words:?}") };
    args
}

fn engine() -> Engine {
    let options = Options { model: Some("tiny".to_owned()), seed: None };
    Engine::open(Workspace::find(None).unwrap(), &options).unwrap()
}

fn trial(standing: Standing, faults: &[(&str, Option<Doubt>)]) -> TargetTrial {
    let fault = |(name, doubt): &(&str, Option<Doubt>)| FaultTrial {
        fault: (*name).to_owned(),
        doubt: doubt.clone(),
    };
    TargetTrial {
        target: "A4".parse().unwrap(),
        title: "Metadata correct".to_owned(),
        standing,
        n_named: 2,
        faults: faults.iter().map(fault).collect(),
    }
}

#[test]
fn a_person_reads_where_a_target_stands_and_why() {
    let printer = Printer::new(ColorChoice::Never, true);
    let why = || "no apr".to_owned();
    let broken = || Some(Doubt::Broken("no disk".to_owned()));
    for (trial, expected, brief, status_of_it) in [
        (
            trial(Standing::Proven, &[("a", None), ("b", None)]),
            &["  proven A4 Metadata correct  red under 2 of 2 faults"][..],
            "proven A4",
            ExitStatus::Pass,
        ),
        (
            trial(Standing::Known, &[("a", None), ("b", None)]),
            &["  proven A4 Metadata correct  red under 2 of 2 faults, as before"],
            "proven A4",
            ExitStatus::Pass,
        ),
        (
            trial(Standing::Unfinished, &[("a", None)]),
            &["    OPEN A4 Metadata correct  red under 1 of 2 faults, the others were not tried"],
            "open A4",
            ExitStatus::Undecided,
        ),
        (
            trial(Standing::Survived, &[("a", None), ("b", Some(Doubt::Survived))]),
            &[
                "SURVIVED A4 Metadata correct  red under 1 of 2 faults",
                "         b: the fault survives: it stays green",
            ],
            "survived A4",
            ExitStatus::FaultSurvived,
        ),
        (
            // What could not be tried is not shown to survive.
            trial(Standing::Survived, &[("a", None), ("b", broken())]),
            &[
                "SURVIVED A4 Metadata correct  red under 1 of 2 faults",
                "         b: nothing was shown: no disk",
            ],
            "survived A4",
            ExitStatus::Undecided,
        ),
        (
            trial(Standing::Doubtful { why: why() }, &[]),
            &["DOUBTFUL A4 Metadata correct  no apr"],
            "doubtful A4",
            ExitStatus::Undecided,
        ),
        (
            trial(Standing::Waiting { why: why() }, &[]),
            &[" waiting A4 Metadata correct  no apr"],
            "waiting A4",
            ExitStatus::Pass,
        ),
    ] {
        assert_eq!(lines(&trial, &printer), expected);
        assert_eq!(terse(&trial), brief);
        assert_eq!(status(std::slice::from_ref(&trial)), status_of_it, "{brief}");
    }
}

#[test]
fn the_end_counts_targets_and_names_what_no_claim_catches() {
    let engine = engine();
    let trials = [
        trial(Standing::Proven, &[]),
        trial(Standing::Known, &[]),
        trial(Standing::Survived, &[("a", Some(Doubt::Survived)), ("b", None)]),
        trial(Standing::Doubtful { why: String::new() }, &[]),
        trial(Standing::Unfinished, &[]),
        trial(Standing::Waiting { why: String::new() }, &[]),
    ];
    let counts = "2 claims and playbooks proven on tiny, 3 not, 1 wait; 1 faults survived";
    let without = summary(&args(&[]), &engine, "tiny", &trials, None);
    assert_eq!(without, ["", counts]);

    let id = |text: &str| text.parse::<ClaimId>().unwrap();
    let mut matrix = Matrix::of(["A1", "A3", "A4"].into_iter().map(id));
    for claim in ["A1", "A3"] {
        matrix.note_red(id(claim), "truncated-file");
    }
    let rows = ["", "red under every fault of:", "A1   truncated-file", "A3   truncated-file", "A4   -"];
    assert_eq!(table(&matrix), rows);
    let of = |words: &[&str], matrix: &Matrix| summary(&args(words), &engine, "tiny", &trials, Some(matrix));
    let lines = of(&["--kind", "data"], &matrix);
    assert_eq!(lines[..3], ["", counts, "red under the same faults: A1 A3"]);
    let uncaught = lines[3].strip_prefix("caught by no claim on tiny: ").unwrap();
    let names = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let is_there = |line: &str, name: &str| names(line).iter().any(|found| found == name);
    assert!(is_there(uncaught, "byte-flipped-in-header") && !is_there(uncaught, "truncated-file"));
    assert!(!is_there(uncaught, "mask-off-by-one-in-attention"), "of another kind");
    assert!(is_there(&of(&[], &matrix)[3], "mask-off-by-one-in-attention"));
    // Of chosen claims nobody expects that they catch everything.
    assert_eq!(of(&["A1", "--kind", "data"], &matrix).len(), 3);
    for name in names(uncaught) {
        matrix.note_red(id("A4"), &name);
    }
    assert_eq!(of(&["--kind", "data"], &matrix).len(), 3, "nothing is left to name");
}

#[test]
fn every_target_is_a_job_with_the_faults_of_the_kind_that_nobody_has_seen_it_red_under() {
    let engine = engine();
    let mut keeper = Keeper { proofs: Proofs::default(), path: PathBuf::new(), is_kept: true };
    let names = |job: &Job<'_>| job.faults.iter().map(|fault| fault.name.clone()).collect::<Vec<_>>();
    let of_c4 = |words: &[&str], keeper: &Keeper| {
        let jobs = jobs(&engine, &args(words), keeper).unwrap();
        let n = jobs.len();
        let job = jobs.into_iter().find(|job| job.target.name().to_string() == "C4").unwrap();
        (n, names(&job), job.known, job.key)
    };
    let all = ["mask-off-by-one", "peeks-ahead", "mask-off-by-one-in-attention"].map(str::to_owned);
    let (n, faults, known, key) = of_c4(&[], &keeper);
    assert_eq!((n, &faults[..], known.len()), (targets(&engine).count(), &all[..], 0));
    assert_eq!(of_c4(&["--kind", "source"], &keeper).1, all[2..]);
    assert_eq!(of_c4(&["C4", "edge-cases/unicode"], &keeper).0, 2);
    keeper.proofs.set("tiny", "C4", Some(Proof { key, faults: all[..2].to_vec() }));
    let (_, faults, known, _) = of_c4(&["C4"], &keeper);
    assert_eq!((&faults[..], &known[..]), (&all[2..], &all[..2]));
    assert_eq!(of_c4(&["C4", "--fresh"], &keeper).1, all);
    keeper.is_kept = false;
    assert_eq!(of_c4(&["C4"], &keeper).1, all);
}

#[test]
fn a_proof_is_kept_of_what_was_caught_and_dropped_when_it_is_in_doubt() {
    let engine = engine();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proofs.json");
    let mut keeper = Keeper { proofs: Proofs::default(), path: path.clone(), is_kept: true };
    let jobs = jobs(&engine, &args(&["A4"]), &keeper).unwrap();
    let mut kept = |trial: &TargetTrial| {
        keeper.keep("tiny", &jobs[0], trial).unwrap();
        Proofs::read(&path).unwrap().get("tiny", "A4").map(|proof| proof.faults.join(" "))
    };
    let caught = trial(Standing::Survived, &[("a", None), ("b", Some(Doubt::Survived))]);
    assert_eq!(kept(&caught).as_deref(), Some("a"));
    let waiting = trial(Standing::Waiting { why: "no apr".to_owned() }, &[]);
    assert_eq!(kept(&waiting).as_deref(), Some("a"), "what was not tried changes nothing");
    assert_eq!(kept(&trial(Standing::Survived, &[("b", Some(Doubt::Survived))])), None);
    assert_eq!(kept(&caught).as_deref(), Some("a"));
    let doubtful = Standing::Doubtful { why: "red".to_owned() };
    assert_eq!(kept(&trial(doubtful, &[("a", None)])), None);
}
