//! Texts to playbooks, or to every problem in them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scenario::Playbook;
use super::{Category, PlaybookId};
use crate::checklist::{Fault, FaultKind, SourceText};
use crate::yaml::{Position, Problem, Problems, parse};

/// A longer file is no scenario.
const LONGEST_FILE: usize = 256 << 10;
/// What the specification allows the first token of a performance playbook.
const FIRST_TOKEN: Duration = Duration::from_secs(2);

/// Reads one playbook; on failure every problem is returned, in order.
pub fn read(source: &SourceText) -> Result<Playbook, Vec<Problem>> {
    let mut problems = Problems::new(&source.file);
    let start = Position { line: 1, column: 1 };
    if source.text.len() > LONGEST_FILE {
        problems.add(start, format!("{} bytes, a playbook has at most {LONGEST_FILE}", source.text.len()));
        return Err(problems.into_vec());
    }
    let id = PlaybookId::of_file(&source.file).unwrap_or_else(|why| {
        problems.add(start, why);
        PlaybookId::new(None, "unnamed")
    });
    let playbook = match parse(&source.file, &source.text) {
        Err(problem) => {
            problems.add(problem.at, problem.what);
            None
        }
        Ok(node) => Playbook::read(&node, id, &source.file, &mut problems),
    };
    if let Some(playbook) =
        playbook.as_ref().filter(|playbook| playbook.category() == Some(Category::Performance))
    {
        judge_first_tokens(playbook, &mut problems);
    }
    let mut problems = problems.into_vec();
    problems.sort();
    problems.dedup();
    match playbook {
        Some(playbook) if problems.is_empty() => Ok(playbook),
        _ => Err(problems),
    }
}

/// Reads a set of playbooks, in order of name.
pub fn read_all(sources: &[SourceText]) -> Result<Vec<Playbook>, Vec<Problem>> {
    let mut playbooks: BTreeMap<PlaybookId, Playbook> = BTreeMap::new();
    let mut problems = Vec::new();
    for source in sources {
        match read(source) {
            Err(found) => problems.extend(found),
            Ok(playbook) => {
                let id = playbook.id.clone();
                if let Some(earlier) = playbooks.insert(id.clone(), playbook) {
                    problems.push(Problem {
                        file: source.file.clone(),
                        at: Position { line: 1, column: 1 },
                        what: format!("`{id}` is told in `{}` too", earlier.file),
                    });
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(playbooks.into_values().collect())
    } else {
        problems.sort();
        Err(problems)
    }
}

/// Holds playbooks and faults to each other: every fault that a playbook names is there, and every playbook that a
/// fault names is there and names it back, in the same words.
pub fn judge_faults(
    playbooks: &[Playbook],
    faults: &BTreeMap<String, Fault>,
    faults_file: &str,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for playbook in playbooks {
        for fault in &playbook.faults {
            let what = match faults.get(&fault.name).map(|known| known.kind) {
                None => format!("fault `{}` is not in {faults_file}", fault.name),
                Some(FaultKind::Source | FaultKind::Fixture) => {
                    format!(
                        "fault `{}` is for claims: playbooks catch faults of the model file and of `apr`",
                        fault.name
                    )
                }
                Some(FaultKind::Data | FaultKind::Wrap) => continue,
            };
            problems.push(Problem { file: playbook.file.clone(), at: fault.at, what });
        }
    }
    for fault in faults.values() {
        let is_listed =
            playbooks.iter().any(|playbook| playbook.faults.iter().any(|caught| caught.name == fault.name));
        if fault.caught_by.is_empty() && !is_listed {
            problems.push(Problem {
                file: faults_file.to_owned(),
                at: Position { line: fault.line, column: 1 },
                what: format!(
                    "fault `{}` is to be caught by no claim and listed by no playbook: it shows nothing",
                    fault.name
                ),
            });
        }
        for (name, words) in &fault.caught_by {
            let Ok(id) = name.parse::<PlaybookId>() else { continue };
            let playbook = playbooks.iter().find(|playbook| playbook.id == id);
            let listed =
                playbook.map(|playbook| playbook.faults.iter().find(|caught| caught.name == fault.name));
            let what = match listed {
                None => format!(
                    "fault `{}` is to be caught by the playbook `{id}`, which there is not",
                    fault.name
                ),
                Some(None) => {
                    format!("fault `{}` is to be caught by `{id}`, which does not list it", fault.name)
                }
                Some(Some(caught)) if caught.says != *words => {
                    format!(
                        "fault `{}` and the playbook `{id}` disagree on what it says: {words:?} and {:?}",
                        fault.name, caught.says
                    )
                }
                Some(Some(_)) => continue,
            };
            problems.push(Problem {
                file: faults_file.to_owned(),
                at: Position { line: fault.line, column: 1 },
                what,
            });
        }
    }
    problems.sort();
    problems
}

/// No performance playbook may accept a first token later than the specification does.
fn judge_first_tokens(playbook: &Playbook, problems: &mut Problems) {
    for step in &playbook.steps {
        for (name, _, limit) in step.first_token.iter().flat_map(super::expect::Limits::set) {
            if limit.0 > FIRST_TOKEN {
                problems.add(
                    step.at,
                    format!("first_token {name}: {limit} is more than the 2 s that the first token may take"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::Need;

    const STEPS: &str = "steps:\n  - {action: run, command: 'true', expect_exit: 0}\n";

    fn source(file: &str, more: &str) -> SourceText {
        SourceText { file: file.to_owned(), text: format!("name: x\n{more}{STEPS}") }
    }

    #[test]
    fn playbooks_come_in_order_of_name_and_a_name_is_taken_once() {
        let [first, second] = ["b.yaml", "a.yaml"].map(|file| source(file, ""));
        let names: Vec<String> =
            read_all(&[first, second]).unwrap().iter().map(|playbook| playbook.id.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
        let files = ["here/a.yaml", "there/a.yaml", "there/b.yaml"].map(|file| source(file, ""));
        let problems = read_all(&files).unwrap_err();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, ["there/a.yaml:1:1: `a` is told in `here/a.yaml` too"]);
        // Whatever else is wrong with others is said as well.
        let broken = source("there/b.yaml", "tag: x\n");
        let problems = read_all(&[files[1].clone(), broken, files[0].clone()]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].to_string().starts_with("here/a.yaml:1:1: `a` is told in `there/a.yaml` too"));
        assert!(problems[1].to_string().starts_with("there/b.yaml:2:1: unknown key `tag`"), "{problems:?}");
    }

    #[test]
    fn a_playbook_needs_what_its_runner_does_unless_it_says_otherwise() {
        let needs = |text: &str| {
            let source = SourceText { file: "a.yaml".to_owned(), text: text.to_owned() };
            read(&source).unwrap().needs()
        };
        let wasm = "name: x\nrunner: wasm\ncomponent: a\ncases: [{name: a, input: b, golden: c}]\n";
        assert_eq!(needs(wasm), [Need::Model, Need::Wasm]);
        assert_eq!(needs(&format!("name: x\n{STEPS}")), [Need::Model, Need::Apr]);
        assert_eq!(needs(&format!("{wasm}needs: []\n")), []);
    }

    /// The fault `f` with what it is to be caught by, and what is wrong with it beside a playbook with these keys.
    fn judged(kind: FaultKind, caught_by: &[(&str, &str)], playbook: &str) -> Vec<String> {
        let fault = Fault {
            name: "f".to_owned(),
            kind,
            does: "something".to_owned(),
            edits: Vec::new(),
            caught_by: caught_by.iter().map(|&(by, says)| (by.to_owned(), says.to_owned())).collect(),
            line: 7,
        };
        let playbook = read(&source("playbooks/edge-cases/a.yaml", playbook)).unwrap();
        let faults = BTreeMap::from([("f".to_owned(), fault)]);
        judge_faults(&[playbook], &faults, "faults.yaml").iter().map(ToString::to_string).collect()
    }

    const LISTED: &str = "faults: [{name: f, says: words}]\n";

    #[test]
    fn playbooks_and_faults_that_name_each_other_agree() {
        for kind in [FaultKind::Data, FaultKind::Wrap] {
            assert_eq!(judged(kind, &[], LISTED), [""; 0]);
            assert_eq!(judged(kind, &[("edge-cases/a", "words")], LISTED), [""; 0]);
            // Whether a claim catches it is not for playbooks to say.
            assert_eq!(judged(kind, &[("C4", "other words")], ""), [""; 0]);
        }
    }

    #[test]
    fn whatever_playbooks_and_faults_disagree_on_is_a_problem_with_its_place() {
        let check = |kind: FaultKind, caught_by: &[(&str, &str)], playbook: &str, expected: &[&str]| {
            assert_eq!(judged(kind, caught_by, playbook), expected, "{kind:?} {caught_by:?} {playbook:?}");
        };
        check(
            FaultKind::Wrap,
            &[],
            "faults: [{name: f, says: words}, {name: g, says: words}]\n",
            &["playbooks/edge-cases/a.yaml:2:34: fault `g` is not in faults.yaml"],
        );
        for kind in [FaultKind::Source, FaultKind::Fixture] {
            let what = "fault `f` is for claims: playbooks catch faults of the model file and of `apr`";
            check(kind, &[], LISTED, &[&format!("playbooks/edge-cases/a.yaml:2:10: {what}")]);
        }
        check(
            FaultKind::Data,
            &[],
            "",
            &[
                "faults.yaml:7:1: fault `f` is to be caught by no claim and listed by no playbook: it shows nothing",
            ],
        );
        check(
            FaultKind::Data,
            &[("edge-cases/b", "words")],
            LISTED,
            &[
                "faults.yaml:7:1: fault `f` is to be caught by the playbook `edge-cases/b`, which there is not",
            ],
        );
        check(
            FaultKind::Data,
            &[("edge-cases/a", "words")],
            "",
            &["faults.yaml:7:1: fault `f` is to be caught by `edge-cases/a`, which does not list it"],
        );
        let what =
            "fault `f` and the playbook `edge-cases/a` disagree on what it says: \"other\" and \"words\"";
        check(FaultKind::Data, &[("edge-cases/a", "other")], LISTED, &[&format!("faults.yaml:7:1: {what}")]);
    }
}
