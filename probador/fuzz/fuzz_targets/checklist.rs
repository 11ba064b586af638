//! Any text as a section of the checklist, as its faults, as its waivers and as the list of equivalent mutants: it is
//! accepted or every problem has a place in it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use probador::checklist::{Checklist, SourceText, load, load_waivers};
use probador::mutants::load_equivalent;
use probador::workspace::Workspace;
use probador::yaml::Problem;

fn source(file: &str, text: &str) -> SourceText {
    SourceText { file: file.to_owned(), text: text.to_owned() }
}

fuzz_target!(|text: &str| {
    static CHECKLIST: OnceLock<Checklist> = OnceLock::new();
    let checklist = CHECKLIST.get_or_init(|| {
        let workspace = Workspace::find(None).expect("the fuzzer runs in a checkout");
        workspace.checklist().expect("the committed checklist is sound")
    });
    // At least so many as YAML counts, for which a carriage return and a newline are one end of a line.
    let n_lines = text.split(['\n', '\r']).count() as u64;
    let judge = |problems: Vec<Problem>| {
        assert!(!problems.is_empty(), "refused without a problem");
        for problem in problems.iter().filter(|problem| problem.file == "fuzzed.yaml") {
            assert!((1..=n_lines).contains(&problem.at.line), "{problem}: there are {n_lines} lines");
        }
    };
    let fuzzed = source("fuzzed.yaml", text);
    let none = source("none.yaml", "[]");
    judge(load(&[fuzzed.clone()], &none).expect_err("one file is no checklist"));
    judge(load(&[none], &fuzzed).expect_err("faults are no checklist"));
    let _ = load_waivers(&fuzzed, checklist).map_err(judge);
    let _ = load_equivalent(&fuzzed).map_err(judge);
});
