//! Any text as a playbook: it is accepted, and says what it needs, or every problem has a place in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use probador::checklist::SourceText;
use probador::playbook::read;

fuzz_target!(|text: &str| {
    let source = SourceText { file: "playbooks/edge-cases/fuzzed.yaml".to_owned(), text: text.to_owned() };
    // At least so many as YAML counts, for which a carriage return and a newline are one end of a line.
    let n_lines = text.split(['\n', '\r']).count() as u64;
    match read(&source) {
        Ok(playbook) => assert!(!playbook.outline().needs.is_empty() || playbook.needs.is_some()),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            for problem in problems {
                assert!((1..=n_lines).contains(&problem.at.line), "{problem}: there are {n_lines} lines");
            }
        }
    }
});
