//! From an idea to a check that is red: the edits that give a pending claim a check, or a claim one more fault. Pure.

use crate::checklist::{Check, Checklist, Claim, ClaimId, FaultKind, SourceText};

/// Where faults are written.
pub const FAULTS: &str = "checklist/faults.yaml";
/// Where sections of checks are registered.
pub const REGISTRY: &str = "probador/src/checks/mod.rs";

/// What a contributor wants to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idea {
    /// The claim.
    pub claim: ClaimId,
    /// A new fault that must turn it red.
    pub fault: String,
    /// How that is planted.
    pub kind: FaultKind,
    /// What it does to the subject.
    pub does: String,
    /// Words that the claim must then say.
    pub says: String,
}

/// A file as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewText {
    /// The file, from the top of the checkout.
    pub file: String,
    /// As it is; nothing when it is not there.
    pub before: String,
    /// As it is to be.
    pub after: String,
}

/// Why an idea cannot be begun with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The fault's name is no name.
    #[error(
        "`{0}` is no name for a fault\nhint: lower-case words joined by hyphens, such as `mask-off-by-one`"
    )]
    Name(String),
    /// There is such a fault.
    #[error(
        "there is a fault `{0}` already\nhint: name it in the claim's `faults`, and the claim in its `caught_by`"
    )]
    Known(String),
    /// A text that is empty or more than a line.
    #[error("{0} is a line of text")]
    Text(&'static str),
    /// Something judges the claim that is not a function.
    #[error("{0} is judged by {1}, whose faults are written where it is")]
    Foreign(ClaimId, &'static str),
    /// A file does not look as expected.
    #[error("`{file}` cannot be edited: {what}\nhint: make the edit by hand, as CONTRIBUTING.md says")]
    Shape {
        /// The file.
        file: String,
        /// What is missing.
        what: String,
    },
}

/// The file that holds the checks of a claim's section.
pub fn check_file(claim: ClaimId) -> String {
    format!("probador/src/checks/{}.rs", claim.section.slug())
}

/// Whether the idea needs a check besides the fault.
pub fn needs_check(claim: &Claim) -> bool {
    claim.check == Check::Pending
}

/// The edits that begin with `idea`. `section`, `faults`, `checks` (where there is such a file) and `registry` are the
/// files as they are. Nothing that is there is replaced but the word `pending` and what the claim waited for.
pub fn begin(
    idea: &Idea,
    checklist: &Checklist,
    claim: &Claim,
    section: &SourceText,
    faults: &SourceText,
    checks: Option<&SourceText>,
    registry: &SourceText,
) -> Result<Vec<NewText>, Obstacle> {
    judge(idea, checklist, claim)?;
    let mut edits = vec![
        edited(section, with_fault(section, claim, &idea.fault)?),
        edited(faults, with_entry(&faults.text, idea)),
    ];
    if needs_check(claim) {
        let name = function_name(claim);
        if let Some(checks) = checks {
            edits.push(edited(checks, with_check(checks, claim, &name)?));
        } else {
            edits.push(NewText {
                file: check_file(claim.id),
                before: String::new(),
                after: new_section(claim, &name),
            });
            edits.push(edited(registry, with_section(registry, claim.id.section.slug())?));
        }
    }
    Ok(edits)
}

fn judge(idea: &Idea, checklist: &Checklist, claim: &Claim) -> Result<(), Obstacle> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if !idea.fault.split('-').all(is_word) {
        return Err(Obstacle::Name(idea.fault.clone()));
    }
    if checklist.faults().contains_key(&idea.fault) {
        return Err(Obstacle::Known(idea.fault.clone()));
    }
    for (what, text) in [("--does", &idea.does), ("--says", &idea.says)] {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(Obstacle::Text(what));
        }
    }
    match claim.check {
        Check::Builtin | Check::Pending => Ok(()),
        Check::Lint(_) => Err(Obstacle::Foreign(claim.id, "a lint")),
        Check::Playbook(_) => Err(Obstacle::Foreign(claim.id, "playbooks")),
        Check::Coverage(_) | Check::Mutation(_) => Err(Obstacle::Foreign(claim.id, "a tool's stored result")),
    }
}

fn edited(source: &SourceText, after: String) -> NewText {
    NewText { file: source.file.clone(), before: source.text.clone(), after }
}

/// The section with the fault among those of the claim, and with its check no longer pending.
fn with_fault(section: &SourceText, claim: &Claim, fault: &str) -> Result<String, Obstacle> {
    let lines: Vec<&str> = section.text.lines().collect();
    let start = (claim.line as usize).saturating_sub(1).min(lines.len());
    let next = lines[start..].iter().skip(1).position(|line| line.starts_with("- "));
    let mut end = next.map_or(lines.len(), |at| start + 1 + at);
    while end > start && (lines[end - 1].trim().is_empty() || lines[end - 1].starts_with('#')) {
        end -= 1;
    }
    let mut row: Vec<String> = Vec::new();
    let mut is_inside_wait = false;
    for line in &lines[start..end] {
        is_inside_wait = line.starts_with("  waits_for:") || (is_inside_wait && line.starts_with("   "));
        if is_inside_wait && needs_check(claim) {
            continue;
        }
        let is_pending = needs_check(claim) && line.trim_end() == "  check: pending";
        row.push(if is_pending { "  check: builtin".to_owned() } else { (*line).to_owned() });
    }
    match row.iter().position(|line| line.starts_with("  faults:")) {
        None => row.push(format!("  faults: [{fault}]")),
        Some(at) => {
            let inline = row[at..].iter().position(|line| line.trim_end().ends_with(']'));
            let is_list = row[at].trim_end() == "  faults:";
            match (is_list, inline) {
                (true, _) => {
                    let n = row[at + 1..].iter().take_while(|line| line.starts_with("    - ")).count();
                    row.insert(at + 1 + n, format!("    - {fault}"));
                }
                (false, Some(last)) => {
                    let line = row[at + last].trim_end().trim_end_matches(']').to_owned();
                    row[at + last] = format!("{line}, {fault}]");
                }
                (false, None) => {
                    let what = format!("the faults of {} are no list", claim.id);
                    return Err(Obstacle::Shape { file: section.file.clone(), what });
                }
            }
        }
    }
    let before = lines[..start].iter().map(|line| (*line).to_owned());
    let after = lines[end..].iter().map(|line| (*line).to_owned());
    Ok(before.chain(row).chain(after).map(|line| line + "\n").collect())
}

/// The faults with the new one at their end.
fn with_entry(faults: &str, idea: &Idea) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let word = match idea.kind {
        FaultKind::Data => "data",
        FaultKind::Wrap => "wrap",
        FaultKind::Source => "source",
        FaultKind::Fixture => "fixture",
    };
    // An edit that applies nowhere: proving says so until it is written.
    let edits = match idea.kind {
        FaultKind::Source => {
            "  edits:\n    - file: subjects/NAME/src/FILE.rs\n      before: what stands there, exactly once\n      after: what takes its place\n"
        }
        FaultKind::Data | FaultKind::Wrap | FaultKind::Fixture => "",
    };
    format!(
        "{}\n\n- name: {}\n  kind: {word}\n  does: {}\n{edits}  caught_by: {{{}: {}}}\n",
        faults.trim_end(),
        idea.fault,
        quoted(&idea.does),
        idea.claim,
        quoted(&idea.says)
    )
}

/// The function of a claim is called as its case is.
fn function_name(claim: &Claim) -> String {
    claim.case_name().rsplit("::").next().unwrap_or_default().to_owned()
}

/// A check that is red until someone writes it.
fn skeleton(claim: &Claim, name: &str) -> String {
    let sentence = claim.claim.replace('\n', " ");
    format!(
        "/// {}: {sentence}.\nfn {name}(_: &Context, _: &Claim) -> Result<Judgement, CheckError> {{\n    \
         let mut judgement = Judgement::new();\n    \
         judgement.fail(\"the check of {} is not written yet\");\n    Ok(judgement)\n}}\n",
        claim.id, claim.id
    )
}

/// The section's checks with a skeleton among them.
fn with_check(checks: &SourceText, claim: &Claim, name: &str) -> Result<String, Obstacle> {
    let shape = |what: &str| Obstacle::Shape { file: checks.file.clone(), what: what.to_owned() };
    let text = &checks.text;
    let list = text.find("const CHECKS: ").ok_or_else(|| shape("it has no list `CHECKS`"))?;
    let end = list + text[list..].find("];").ok_or_else(|| shape("its list `CHECKS` has no end"))?;
    let (head, tail) = text.split_at(end);
    let separator = if head.trim_end().ends_with([',', '[']) { "" } else { ", " };
    let entry = format!("{separator}(\"{}\", {name}),\n", claim.id);
    let (body, tests) = match tail.find("#[cfg(test)]") {
        Some(at) => tail.split_at(at),
        None => (tail, ""),
    };
    let gap = if tests.is_empty() { "" } else { "\n" };
    Ok(format!("{head}{entry}{}\n\n{}{gap}{tests}", body.trim_end(), skeleton(claim, name)))
}

/// A new file of checks.
fn new_section(claim: &Claim, name: &str) -> String {
    let section = claim.id.section;
    format!(
        "//! Section {section}: {}.\n\nuse crate::case::Judgement;\nuse crate::checklist::Claim;\n\
         use crate::checks::{{CheckError, CheckFn, Context}};\n\n/// The checks of this section.\n\
         pub(super) const CHECKS: &[(&str, CheckFn)] = &[(\"{}\", {name})];\n\n{}",
        section.title().to_lowercase(),
        claim.id,
        skeleton(claim, name)
    )
}

/// The registry with a new section in it.
fn with_section(registry: &SourceText, section: &str) -> Result<String, Obstacle> {
    let with = |text: &str, prefix: &str, line: String| {
        let place = text.lines().position(|found| {
            found.strip_prefix(prefix).is_some_and(|name| name > section && !name.starts_with("use "))
        });
        let at = place.ok_or_else(|| Obstacle::Shape {
            file: registry.file.clone(),
            what: format!("there is no place for `{}`", line.trim()),
        })?;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.insert(at, &line);
        Ok(lines.join("\n") + "\n")
    };
    let declared = with(&registry.text, "mod ", format!("mod {section};"))?;
    let (head, list) = declared.split_at(declared.find("    [\n").ok_or_else(|| Obstacle::Shape {
        file: registry.file.clone(),
        what: "there is no list of sections".to_owned(),
    })?);
    let list = with(list, "        ", format!("        {section}::CHECKS,"))?;
    Ok(format!("{head}{list}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::{Section, load};
    use crate::workspace::Workspace;

    struct World {
        workspace: Workspace,
        checklist: Checklist,
    }

    fn world() -> World {
        let workspace = Workspace::find(None).unwrap();
        let checklist = workspace.checklist().unwrap();
        World { workspace, checklist }
    }

    fn idea(claim: &str, kind: FaultKind) -> Idea {
        Idea {
            claim: claim.parse().unwrap(),
            fault: "newly-thought-of".into(),
            kind,
            does: "does what it shouldn't: {everything}".into(),
            says: "it's red".into(),
        }
    }

    impl World {
        fn source(&self, file: &str) -> SourceText {
            self.workspace.source(file).unwrap()
        }

        fn begin(&self, idea: &Idea) -> Result<Vec<NewText>, Obstacle> {
            let claim = self.checklist.claim(idea.claim).unwrap();
            let section = self.source(&claim.file);
            let file = check_file(claim.id);
            let checks = self.workspace.path(&file).is_file().then(|| self.source(&file));
            let (faults, registry) = (self.source(FAULTS), self.source(REGISTRY));
            begin(idea, &self.checklist, claim, &section, &faults, checks.as_ref(), &registry)
        }

        /// The checklist as the loader reads it after `edits`.
        fn after(&self, edits: &[NewText]) -> Checklist {
            let text = |file: &str| {
                let edited = edits.iter().find(|edit| edit.file == file);
                edited.map_or_else(
                    || self.source(file),
                    |edit| SourceText { file: file.to_owned(), text: edit.after.clone() },
                )
            };
            let sections: Vec<_> =
                Section::ALL.map(|section| text(&format!("checklist/{}", section.file_name()))).into();
            load(&sections, &text(FAULTS)).unwrap_or_else(|problems| panic!("{problems:?}"))
        }
    }

    /// A claim that waits, and one that has a check, of each section that has such.
    fn claims(world: &World) -> Vec<&Claim> {
        let is_ours = |claim: &&Claim| matches!(claim.check, Check::Builtin | Check::Pending);
        world.checklist.claims().iter().filter(is_ours).collect()
    }

    #[test]
    fn every_claim_can_be_begun_with_and_the_checklist_stays_valid() {
        let world = world();
        for claim in claims(&world) {
            let idea = idea(&claim.id.to_string(), FaultKind::Wrap);
            let edits = world.begin(&idea).unwrap();
            let after = world.after(&edits);
            let begun = after.claim(claim.id).unwrap();
            assert_eq!(begun.check, Check::Builtin, "{}", claim.id);
            assert_eq!(begun.waits_for, None, "{}", claim.id);
            assert!(begun.faults.contains(&idea.fault), "{}", claim.id);
            assert_eq!(begun.faults.len(), claim.faults.len() + 1, "{}", claim.id);
            let fault = &after.faults()[&idea.fault];
            assert_eq!((fault.does.as_str(), fault.diagnostic(claim.id)), (&*idea.does, Some("it's red")));
            // Everything else is as it was.
            let others = |checklist: &Checklist| {
                let others = checklist.claims().iter().filter(|other| other.id != claim.id).cloned();
                others.map(|other| Claim { line: 0, ..other }).collect::<Vec<_>>()
            };
            assert_eq!(others(&after), others(&world.checklist), "{}", claim.id);
        }
    }

    #[test]
    fn a_pending_claim_gets_a_registered_check_that_says_it_is_not_written() {
        let world = world();
        let mut n_pending = 0;
        for claim in claims(&world).into_iter().filter(|claim| needs_check(claim)) {
            let edits = world.begin(&idea(&claim.id.to_string(), FaultKind::Data)).unwrap();
            let checks = edits.iter().find(|edit| edit.file == check_file(claim.id)).unwrap();
            let name = function_name(claim);
            assert!(checks.after.contains(&format!("(\"{}\", {name})", claim.id)), "{}", checks.after);
            let said = format!("the check of {} is not written yet", claim.id);
            assert!(checks.after.contains(&said), "{}", checks.after);
            // It reads as Rust, and names only what the file imports.
            syn::parse_file(&checks.after).unwrap_or_else(|error| panic!("{}: {error}", claim.id));
            for import in ["Judgement", "Claim", "CheckError", "Context"] {
                let imports = checks.after.split("/// The checks of this section").next().unwrap();
                assert!(imports.contains(import), "{} does not import {import}", checks.file);
            }
            if checks.before.is_empty() {
                let registry = edits.iter().find(|edit| edit.file == REGISTRY).unwrap();
                let slug = claim.id.section.slug();
                assert!(registry.after.contains(&format!("mod {slug};")), "{}", registry.after);
                assert!(registry.after.contains(&format!("{slug}::CHECKS,")), "{}", registry.after);
                syn::parse_file(&registry.after).unwrap();
            }
            n_pending += 1;
        }
        assert!(n_pending > 0, "every claim has a check: this test has nothing left to show");
    }

    #[test]
    fn a_fault_in_the_sources_applies_nowhere_until_its_edit_is_written() {
        let world = world();
        let idea = idea("C4", FaultKind::Source);
        let after = world.after(&world.begin(&idea).unwrap());
        let edit = &after.faults()[&idea.fault].edits[0];
        assert!(edit.apply("fn main() {}").unwrap_err().contains("0 times"));
    }

    #[test]
    fn nothing_that_is_there_is_replaced() {
        let world = world();
        let refused = |change: &dyn Fn(&mut Idea)| {
            let mut idea = idea("C4", FaultKind::Wrap);
            change(&mut idea);
            world.begin(&idea).unwrap_err().to_string()
        };
        let known = refused(&|idea| idea.fault = "mask-off-by-one".into());
        assert!(known.starts_with("there is a fault `mask-off-by-one` already"), "{known}");
        for name in ["", "Mask", "mask off", "-mask", "mask--off", "../mask"] {
            let said = refused(&|idea| idea.fault = name.into());
            assert!(said.contains("is no name for a fault"), "{said}");
        }
        assert_eq!(refused(&|idea| idea.says = " ".into()), "--says is a line of text");
        assert_eq!(refused(&|idea| idea.does = "a\nb".into()), "--does is a line of text");
        assert!(refused(&|idea| idea.claim = "G2".parse().unwrap()).contains("is judged by a lint"));
    }

    #[test]
    fn what_is_judged_elsewhere_is_no_function_to_begin() {
        let world = world();
        for (claim, judge) in [
            ("G2", "a lint"),
            ("I7", "playbooks"),
            ("G1", "a tool's stored result"),
            ("I4", "a tool's stored result"),
        ] {
            let said = world.begin(&idea(claim, FaultKind::Wrap)).unwrap_err().to_string();
            assert_eq!(said, format!("{claim} is judged by {judge}, whose faults are written where it is"));
        }
    }

    #[test]
    fn each_kind_of_fault_is_written_as_its_word() {
        let world = world();
        for (kind, word) in [
            (FaultKind::Data, "data"),
            (FaultKind::Wrap, "wrap"),
            (FaultKind::Source, "source"),
            (FaultKind::Fixture, "fixture"),
        ] {
            let entry = with_entry("- name: before\n\n", &idea("C4", kind));
            let head = format!("- name: before\n\n- name: newly-thought-of\n  kind: {word}\n");
            assert!(entry.starts_with(&head), "{entry}");
            assert_eq!(entry.contains("  edits:\n"), kind == FaultKind::Source, "{entry}");
            let edits = world.begin(&idea("C4", kind)).unwrap();
            assert_eq!(world.after(&edits).faults()["newly-thought-of"].kind, kind);
        }
    }

    /// A file of the checkout with this text.
    fn text(text: &str) -> SourceText {
        SourceText { file: "some.yaml".into(), text: text.into() }
    }

    #[test]
    fn a_row_keeps_its_comments_and_gets_the_fault_wherever_its_list_stands() {
        let world = world();
        let claim =
            |id: &str| Claim { line: 1, ..world.checklist.claim(id.parse().unwrap()).unwrap().clone() };
        let with = |row: &str| with_fault(&text(row), &claim("C4"), "new");
        assert_eq!(
            with("- id: C4\n  faults: [a,\n    b]\n").unwrap(),
            "- id: C4\n  faults: [a,\n    b, new]\n"
        );
        assert_eq!(
            with("- id: C4\n  faults:\n    - a\n  group: model\n").unwrap(),
            "- id: C4\n  faults:\n    - a\n    - new\n  group: model\n"
        );
        // What stands between two rows belongs to the next; a claim that waits no longer keeps its line.
        assert_eq!(
            with("- id: C4\n  waits_for: nobody\n\n# The next one.\n- id: C5\n").unwrap(),
            "- id: C4\n  waits_for: nobody\n  faults: [new]\n\n# The next one.\n- id: C5\n"
        );
        assert_eq!(
            with("- id: C4\n  faults: none\n").unwrap_err().to_string(),
            "`some.yaml` cannot be edited: the faults of C4 are no list\n\
             hint: make the edit by hand, as CONTRIBUTING.md says"
        );
        let pending = claim("J1");
        assert!(needs_check(&pending));
        let row =
            "- id: J1\n  check: pending\n  waits_for: >-\n    a profiler\n    and time\n  group: perf\n";
        let begun = with_fault(&text(row), &pending, "new").unwrap();
        assert_eq!(begun, "- id: J1\n  check: builtin\n  group: perf\n  faults: [new]\n");
    }

    #[test]
    fn a_file_of_another_shape_is_left_for_hands() {
        let world = world();
        let claim = world.checklist.claim("C4".parse().unwrap()).unwrap();
        let what = |obstacle: Obstacle| match obstacle {
            Obstacle::Shape { what, .. } => what,
            other => panic!("{other}"),
        };
        let checks = |code: &str| with_check(&text(code), claim, "c4").map_err(what);
        assert_eq!(checks("fn a() {}"), Err("it has no list `CHECKS`".to_owned()));
        assert_eq!(checks("const CHECKS: &[] = &["), Err("its list `CHECKS` has no end".to_owned()));
        let section = |code: &str| with_section(&text(code), "zz_last").map_err(what);
        assert_eq!(section("mod a;\n"), Err("there is no place for `mod zz_last;`".to_owned()));
        assert_eq!(section("mod zzz;\n"), Err("there is no list of sections".to_owned()));
        assert_eq!(
            section("mod zzz;\n    [\n        a::CHECKS,\n"),
            Err("there is no place for `zz_last::CHECKS,`".to_owned())
        );
    }
}
