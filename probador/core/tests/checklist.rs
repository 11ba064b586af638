//! The committed checklist loads and adds up, and every way to spoil it is reported with its place.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};

use probador_core::checklist::{Checklist, Claim, ClaimId, Section, SourceText, load, load_waivers, schemas};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checklist")
}

fn committed() -> (Vec<SourceText>, SourceText) {
    let read = |name: String| SourceText {
        text: std::fs::read_to_string(folder().join(&name)).unwrap(),
        file: name,
    };
    (Section::ALL.map(|section| read(section.file_name())).into(), read("faults.yaml".to_owned()))
}

fn load_committed() -> Checklist {
    let (sections, faults) = committed();
    load(&sections, &faults).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Replaces `before` by `after` once in `file`, and returns what the loader says.
#[track_caller]
fn spoiled(file: &str, before: &str, after: &str) -> Vec<String> {
    let (mut sections, mut faults) = committed();
    let source = sections.iter_mut().chain([&mut faults]).find(|source| source.file == file).unwrap();
    assert!(source.text.contains(before), "{file} does not hold {before:?}");
    source.text = source.text.replacen(before, after, 1);
    load(&sections, &faults)
        .expect_err("the spoiled file was accepted")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[track_caller]
fn check(file: &str, before: &str, after: &str, expected: &str) {
    let problems = spoiled(file, before, after);
    let problem = problems.iter().find(|problem| problem.contains(expected));
    let problem = problem.unwrap_or_else(|| panic!("expected {expected:?} among {problems:#?}"));
    let line = problem.split(':').nth(1).and_then(|line| line.parse::<u64>().ok());
    assert!(line.is_some_and(|line| line > 0), "{problem} has no place");
}

#[test]
fn the_committed_checklist_has_118_rows_and_180_points() {
    let checklist = load_committed();
    assert_eq!(checklist.claims().len(), 118);
    assert_eq!(checklist.claims().iter().filter(|claim| claim.scored).count(), 116);
    assert_eq!(checklist.claims().iter().map(|claim| claim.points).sum::<u32>(), 180);
}

#[test]
fn every_fault_that_a_claim_lists_is_found_by_its_name() {
    let checklist = load_committed();
    assert!(checklist.faults().len() > 100, "{} faults", checklist.faults().len());
    for claim in checklist.claims() {
        for name in &claim.faults {
            assert!(checklist.faults()[name].diagnostic(claim.id).is_some(), "{}: {name}", claim.id);
        }
    }
}

#[test]
fn the_points_are_those_of_the_verification_brief() {
    let worth_more = [
        (6, "C1 D1"),
        (4, "D3 D5 E1 E2 E3"),
        (3, "A6 C2 C3 C4 C5 C6 D2 D4 E4 I4 I14"),
        (2, "A2 A3 B1 B2 B3 B4 B5 C7 C8 G4 G7 G8 G9 G10 I1 I6 I18"),
        (0, "I19 I20"),
    ];
    for claim in load_committed().claims() {
        let id = claim.id.to_string();
        let listed = worth_more.iter().find(|(_, ids)| ids.split(' ').any(|listed| listed == id));
        assert_eq!(claim.points, listed.map_or(1, |(points, _)| *points), "{id}");
    }
}

#[test]
fn case_names_are_permanent() {
    let checklist = load_committed();
    let names: Vec<_> = checklist.claims().iter().map(Claim::case_name).collect();
    insta::assert_snapshot!(names.join("\n"));
}

#[test]
fn an_unknown_key_is_refused() {
    check("c-forward-pass.yaml", "  falsified_when:", "  falsified_wen:", "did you mean `falsified_when`?");
}

#[test]
fn a_repeated_key_is_refused() {
    let twice = "  title: Causal mask\n  title: x";
    check("c-forward-pass.yaml", "  title: Causal mask", twice, "`title` is said twice");
}

#[test]
fn an_unknown_word_is_refused_with_the_known_ones() {
    check(
        "c-forward-pass.yaml",
        "group: model",
        "group: modle",
        "unknown group `modle`; one of: file, model",
    );
    check("c-forward-pass.yaml", "needs: [model, goldens]", "needs: [mdel]", "unknown need `mdel`");
    check("c-forward-pass.yaml", "check: builtin", "check: trust", "unknown check `trust`");
    check("faults.yaml", "kind: data", "kind: magic", "unknown kind of fault `magic`");
}

#[test]
fn a_threshold_that_is_not_a_number_is_refused() {
    check("c-forward-pass.yaml", "logits_atol: 1.0e-4", "logits_atol: .nan", "a threshold of NaN");
    check("c-forward-pass.yaml", "logits_atol: 1.0e-4", "logits_atol: .inf", "a threshold of inf");
}

#[test]
fn a_check_without_a_fault_is_refused() {
    let expected = "C2: a claim with a check names at least one fault";
    check("c-forward-pass.yaml", "  faults: [last-token-only]\n", "", expected);
}

#[test]
fn a_fault_that_is_not_defined_is_refused() {
    let expected = "fault `last-token-onyl` is not in faults.yaml";
    check("c-forward-pass.yaml", "[last-token-only]", "[last-token-onyl]", expected);
}

#[test]
fn a_fault_without_a_diagnostic_for_the_claim_is_refused() {
    let before = "caught_by: {C2: did not change}";
    check("faults.yaml", before, "caught_by: {C4: did not change}", "does not list it");
    check("faults.yaml", before, "caught_by: {C4: did not change}", "does not say what C2 must name");
    check("faults.yaml", before, "caught_by: {C2: ''}", "the diagnostic for C2 is empty");
}

#[test]
fn a_faults_file_that_is_no_yaml_is_the_only_problem_reported() {
    let problems = spoiled("faults.yaml", "  kind: data", "  kind: data: wrap");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("faults.yaml:8:"), "{problems:?}");
}

#[test]
fn a_fault_in_the_sources_consists_of_edits_of_the_subjects() {
    let kinds = "a fault of kind `source` consists of `edits`, and no other kind has any";
    check("faults.yaml", "  kind: source", "  kind: wrap", kinds);
    check("faults.yaml", "  kind: data", "  kind: source", kinds);
    let file = "file: subjects/qwen2/src/model.rs";
    for (elsewhere, expected) in [
        ("file: probador/src/lib.rs", "`probador/src/lib.rs` is no file of the subjects"),
        ("file: subjects/../probador/src/lib.rs", "is no file of the subjects"),
    ] {
        check("faults.yaml", file, elsewhere, expected);
    }
}

/// Whether they are caught is for `cargo probador prove`, which builds; that they can be planted is seen here.
#[test]
fn every_edit_of_a_fault_applies_to_the_sources() {
    let root = folder().parent().unwrap().to_owned();
    for fault in load_committed().faults().values() {
        let mut texts = std::collections::BTreeMap::new();
        for edit in &fault.edits {
            let text = texts
                .entry(&edit.file)
                .or_insert_with(|| std::fs::read_to_string(root.join(&edit.file)).unwrap());
            *text = edit.apply(text).unwrap_or_else(|error| panic!("{}: {error}", fault.name));
        }
    }
}

#[test]
fn totals_other_than_the_specifications_are_refused() {
    check("c-forward-pass.yaml", "points: 6", "points: 7", "section C totals 26 points, it must total 25");
}

#[test]
fn a_claim_that_is_missing_or_repeated_is_refused() {
    check("c-forward-pass.yaml", "- id: C3", "- id: C4", "C4 is claimed twice");
    check("c-forward-pass.yaml", "- id: C3", "- id: C9", "`C9` is not a section");
    check("c-forward-pass.yaml", "- id: C3", "- id: B3", "B3 belongs in b-tokenization.yaml");
}

#[test]
fn a_pending_check_says_what_it_waits_for() {
    let before = "waits_for: '`apr profile`, which does not exist yet'";
    check("j-deep-profiling.yaml", before, "waits_for: ''", "says in `waits_for`");
}

#[test]
fn an_unscored_row_cannot_be_scored() {
    let before = "  points: 0\n  scored: false";
    check("i-deep-testing.yaml", before, "  points: 1", "I19 is shown without points");
}

#[test]
fn every_problem_is_reported_at_once() {
    let (mut sections, faults) = committed();
    let text = sections[2].text.replacen("points: 3", "points: three", 2);
    sections[2].text = text.replacen("group: model", "group: x", 1);
    sections[0].text = "- id: A1\n  titel: x\n".to_owned();
    let problems: Vec<_> = load(&sections, &faults).unwrap_err().iter().map(ToString::to_string).collect();
    let count = |words: &str| problems.iter().filter(|problem| problem.contains(words)).count();
    assert_eq!(count("expected a whole number, found text"), 2, "{problems:#?}");
    assert_eq!(count("unknown group `x`"), 1, "{problems:#?}");
    assert_eq!(count("did you mean `title`?"), 1, "{problems:#?}");
    assert_eq!(count("a claim lacks `points`"), 1, "{problems:#?}");
}

#[test]
fn hostile_yaml_is_refused_without_a_panic() {
    let (sections, faults) = committed();
    for text in
        ["", "{", "- - - -", "42", "- 42", "- id: [C4]", "? [a]\n: b", "- id: C4\n\tx: 1", "\0", "&a [*a]"]
    {
        let mut spoiled = sections.clone();
        spoiled[2].text = text.to_owned();
        let problems = load(&spoiled, &faults).unwrap_err();
        assert!(!problems.is_empty(), "{text:?}");
        assert!(problems.iter().all(|problem| problem.at.line > 0), "{text:?}: {problems:?}");
    }
}

/// The corpus that `scripts/hostile_corpus.py` writes, each file as a section, as the faults and as the waivers.
#[test]
fn the_corpus_of_hostile_yaml_is_refused_with_a_place() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile");
    let mut n_files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (sections, faults) = committed();
        let place = sections.iter().position(|source| source.file == "c-forward-pass.yaml").unwrap();
        let mut spoiled = sections.clone();
        spoiled[place].text.clone_from(&text);
        let by_section = load(&spoiled, &faults).expect_err("accepted as a section");
        let by_faults = load(&sections, &SourceText { text, ..faults }).expect_err("accepted as the faults");
        for problem in by_section.iter().chain(&by_faults) {
            let text = problem.to_string();
            let place: Vec<&str> = text.splitn(4, ':').collect();
            let is_number = |part: &str| part.parse::<u64>().is_ok_and(|number| number > 0);
            assert!(is_number(place[1]) && is_number(place[2]), "{}: {text}", path.display());
        }
        n_files += 1;
    }
    assert!(n_files > 12, "{n_files} files");
}

#[test]
fn only_hardware_can_be_waived() {
    let checklist = load_committed();
    let check = |text: &str| {
        load_waivers(&SourceText { file: "waivers.yaml".into(), text: text.into() }, &checklist)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let good = check("- {claim: J16, reason: no counters, granted: 2026-11-22, until: 2027-11-22}").unwrap();
    assert_eq!(good[0].claim, "J16".parse::<ClaimId>().unwrap());
    let error = check("- {claim: C1, reason: hard, granted: 2026-11-22, until: 2027-11-22}").unwrap_err();
    assert!(error[0].contains("C1 cannot be waived"), "{error:?}");
    let error =
        check("- {claim: J16, reason: '', granted: 2026-13-01, until: 2026-02-29, because: x}").unwrap_err();
    assert_eq!(error.len(), 3, "{error:?}");
}

#[test]
fn a_waiver_gives_a_reason_and_ends_after_it_begins() {
    let checklist = load_committed();
    let check = |text: &str| {
        load_waivers(&SourceText { file: "waivers.yaml".into(), text: text.into() }, &checklist)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let row = "- {claim: J16, reason: no counters, granted: 2026-11-22, until: 2027-11-22}\n";
    assert_eq!(check("# none\n").unwrap(), []);
    for (text, expected) in [
        (row.replace("no counters", "' '"), "waivers.yaml:1:3: the waiver of J16 gives no reason"),
        (row.replace("2027", "2025"), "waivers.yaml:1:3: the waiver of J16 ends before it was granted"),
        (format!("{row}{row}"), "waivers.yaml:2:3: J16 is waived twice"),
        ("a: 1".to_owned(), "waivers.yaml:1:1: expected a list of waivers, found a mapping"),
        ("- [".to_owned(), "waivers.yaml:"),
        ("- 3".to_owned(), "expected a waiver (a mapping), found a whole number"),
    ] {
        let said = check(&text).unwrap_err();
        assert!(said.contains(expected), "{text}: {said}");
    }
    assert_eq!(check(&row.replace("2027-11-22", "2026-11-22")).unwrap().len(), 1, "a day is long enough");
}

#[test]
fn a_row_that_is_not_there_is_named() {
    let (mut sections, faults) = committed();
    let text = &sections[9].text;
    let (from, to) = (text.find("- id: J1\n").unwrap(), text.find("- id: J2\n").unwrap());
    sections[9].text = format!("{}{}", &text[..from], &text[to..]);
    let problems: Vec<_> = load(&sections, &faults).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "j-deep-profiling.yaml:1:1: claim J1 is missing",
            "j-deep-profiling.yaml:1:1: section J totals 24 points, it must total 25"
        ]
    );
}

#[test]
fn a_scored_row_cannot_be_shown_without_points() {
    let (before, after) = ("  points: 6\n", "  points: 0\n  scored: false\n");
    check("c-forward-pass.yaml", before, after, "C1 is scored in the specification");
}

#[test]
fn a_fault_that_is_defined_twice_is_refused() {
    let before = "- name: byte-flipped-in-header\n";
    let problems = spoiled("faults.yaml", before, "- name: truncated-file\n");
    let twice = "fault `truncated-file` is defined twice, first in line 7";
    assert!(problems.iter().any(|problem| problem.contains(twice)), "{problems:#?}");
}

#[test]
fn everything_that_people_write_has_a_schema() {
    let names: Vec<&str> = schemas().iter().map(|schema| schema.name).collect();
    assert_eq!(names, ["schema.json", "faults.schema.json", "waivers.schema.json"]);
}

#[test]
fn the_checked_in_schemas_are_current() {
    for schema in schemas() {
        let stored = std::fs::read_to_string(folder().join(schema.name)).unwrap_or_default();
        assert!(stored == schema.text, "{} is stale\nhint: run `cargo probador schema`", schema.name);
    }
}
