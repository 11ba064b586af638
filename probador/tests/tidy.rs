//! The house rules that no compiler checks: pages name what exists, layers point one way, jobs are make targets.
//!
//! Each rule is a pure function over text, and beside the test that holds the tree to it stands one that sees it fail.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file that belongs to the project, relative to the checkout: what git tracks or would track, ignored files
/// left out; in a tree without git, what lies there.
fn files() -> Vec<String> {
    from_git().unwrap_or_else(from_disk)
}

fn from_git() -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let output = git.output().ok().filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).unwrap();
    Some(names.lines().filter(|name| root().join(name).is_file()).map(str::to_owned).collect())
}

/// Everything but what commands make (`.gitignore`).
fn from_disk() -> Vec<String> {
    let is_made = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let path = entry.path().strip_prefix(root()).unwrap();
        [".git", "target", "__pycache__"].contains(&&*name)
            || name.ends_with(".new")
            || (path.starts_with("reports") && path.components().count() > 1 && name != "README.md")
    };
    let walk = walkdir::WalkDir::new(root()).into_iter().filter_entry(|entry| !is_made(entry));
    let files = walk.map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(root()).unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn without_git_the_same_files_are_found() {
    let Some(mut expected) = from_git() else { return };
    let mut found = from_disk();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

fn is_rust(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name))
        .unwrap_or_else(|error| panic!("failed to read `{name}`: {error}"))
}

#[track_caller]
fn assert_tidy(faults: &[String]) {
    assert!(faults.is_empty(), "{} untidy places:\n{}", faults.len(), faults.join("\n"));
}

/// Text between backticks, outside fenced blocks.
fn code_spans(page: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (index + 1, span.to_owned())));
        }
    }
    spans
}

/// Commands in fenced blocks and code spans: a line that starts with one of our programs.
fn commands(page: &str) -> Vec<(usize, String)> {
    let mut found = code_spans(page);
    let lines = page.lines().enumerate().map(|(index, line)| (index + 1, line.trim().to_owned()));
    found.extend(lines);
    found
        .into_iter()
        .map(|(line, text)| (line, text.trim_start_matches("$ ").to_owned()))
        .filter(|(_, text)| {
            ["make ", "cargo probador ", "apr "].iter().any(|program| text.starts_with(program))
        })
        .collect()
}

/// Names in a page that look like paths and are none.
fn stale_paths(page_name: &str, page: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let is_path = |span: &str| {
        let name = span.trim_end_matches('/');
        let has_extension = [".rs", ".md", ".yaml", ".yml", ".toml", ".py", ".sh", ".json", ".apr", ".txt"]
            .iter()
            .any(|extension| name.len() > extension.len() && name.ends_with(extension));
        !span.contains([' ', '<', '{', '*', '$', '~', '=', '|', '('])
            && !span.starts_with(['/', '-', '.'])
            && (has_extension || span.ends_with('/'))
    };
    code_spans(page)
        .into_iter()
        .filter(|(_, span)| is_path(span) && !exists(span))
        .map(|(line, span)| format!("{page_name}:{line}: `{span}` does not exist"))
        .collect()
}

/// Commands in a page that name a target or a subcommand there is not.
fn stale_commands(
    page_name: &str,
    page: &str,
    targets: &BTreeSet<String>,
    verbs: impl Fn(&str) -> BTreeSet<String>,
) -> Vec<String> {
    commands(page)
        .into_iter()
        .filter_map(|(line, command)| {
            let words: Vec<&str> = command.split_whitespace().collect();
            let (program, name) = match words.as_slice() {
                ["make", name, ..] => ("make", *name),
                ["cargo", "probador", name, ..] => ("cargo probador", *name),
                ["apr", name, ..] => ("apr", *name),
                _ => return None,
            };
            let name = name.trim_end_matches([',', ';', '.']);
            let is_word = name.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !name.starts_with('-');
            let known = if program == "make" { targets.clone() } else { verbs(program) };
            (is_word && !known.contains(name))
                .then(|| format!("{page_name}:{line}: `{program} {name}` does not exist"))
        })
        .collect()
}

/// A Makefile's targets with their recipes.
fn targets(makefile: &str) -> Vec<(String, Vec<String>)> {
    let mut targets: Vec<(String, Vec<String>)> = Vec::new();
    for line in makefile.lines() {
        if let Some(command) = line.strip_prefix('\t') {
            if let Some((_, recipe)) = targets.last_mut() {
                recipe.push(command.to_owned());
            }
        } else if let Some((name, _)) = line.split_once(':')
            && !line.starts_with(['.', '#'])
        {
            targets.push((name.to_owned(), Vec::new()));
        }
    }
    targets
}

/// Targets that do nothing, or only print, or take more than a line.
fn idle_targets(makefile: &str) -> Vec<String> {
    targets(makefile)
        .into_iter()
        .filter_map(|(name, recipe)| {
            let [command] = recipe.as_slice() else {
                return Some(format!("Makefile: `{name}` has {} lines, a target has one", recipe.len()));
            };
            let prints = |part: &str| {
                let part = part.trim().trim_start_matches(['@', '-']);
                ["echo", "printf", "true", ":", "exit"]
                    .iter()
                    .any(|word| part.split(' ').next() == Some(word))
            };
            command
                .split("&&")
                .all(prints)
                .then(|| format!("Makefile: `{name}` only prints; a target comes with its command"))
        })
        .collect()
}

/// Steps of a workflow that run something other than a make target.
fn foreign_steps(name: &str, workflow: &str, targets: &BTreeSet<String>) -> Vec<String> {
    workflow
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let command = line.trim_start_matches([' ', '-']).strip_prefix("run:")?.trim();
            let words: Vec<&str> = command.split_whitespace().collect();
            let is_target = words.first() == Some(&"make")
                && words.get(1).is_some_and(|target| targets.contains(*target))
                && words[2..].iter().all(|word| word.contains('='));
            (!is_target).then(|| format!("{name}:{}: `{command}` is not one make target", index + 1))
        })
        .collect()
}

/// The crates a manifest of this workspace depends on, tests left out.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// What each crate of ours may depend on, of our crates. Whatever is not listed points the wrong way.
const LAYERS: [(&str, &[&str]); 12] = [
    ("probador-core", &[]),
    ("probador-lint", &[]),
    ("apr-tensor", &[]),
    ("apr-tokenizer", &[]),
    ("apr-format", &["apr-tensor"]),
    ("apr-generation", &["apr-tokenizer"]),
    ("apr-qwen2", &["apr-format", "apr-generation", "apr-tensor", "apr-tokenizer"]),
    ("apr-evaluate", &["apr-generation", "apr-tokenizer"]),
    ("apr-quantize", &["apr-format", "apr-generation", "apr-qwen2", "apr-tensor", "apr-tokenizer"]),
    ("apr-interop", &["apr-format", "apr-tensor", "apr-tokenizer"]),
    // The fakes stand beside the command, and nothing stands on them but the engine.
    ("apr-impostor", &["apr-format", "apr-generation", "apr-qwen2", "apr-tokenizer"]),
    (
        "apr-cli",
        &[
            "apr-evaluate",
            "apr-format",
            "apr-generation",
            "apr-interop",
            "apr-quantize",
            "apr-qwen2",
            "apr-tensor",
            "apr-tokenizer",
        ],
    ),
];

/// Dependencies that point the wrong way.
fn wrong_dependencies(package: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package}: not in LAYERS; say there what it may depend on")];
    };
    dependencies(manifest)
        .into_iter()
        .filter(|name| name.starts_with("apr-") || name.starts_with("probador"))
        .filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{package} depends on {name}, which lies above it"))
        .collect()
}

/// Source files that do not say in their first line what they are for, or have grown past six hundred lines.
fn unintroduced(name: &str, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.starts_with("//! ") {
        faults.push(format!("{name}:1: does not open with a sentence of `//!`"));
    }
    let n_lines = source.lines().count();
    if n_lines > 600 {
        faults.push(format!("{name}: {n_lines} lines; split what has two purposes"));
    }
    faults
}

/// File names that say nothing of what is inside.
fn vague_names(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter(|name| {
            let stem = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
            ["misc", "util", "utils", "helper", "helpers", "common"].contains(&stem.as_str())
        })
        .map(|name| format!("{name}: say what is inside"))
        .collect()
}

/// Use of a library whose one file is another.
fn foreign_imports(
    names: &[String],
    library: &str,
    home: &str,
    read: impl Fn(&str) -> String,
) -> Vec<String> {
    names
        .iter()
        .filter(|name| {
            name.starts_with("probador/") && name.contains("src/") && is_rust(name) && !name.starts_with(home)
        })
        .filter(|name| read(name).contains(&format!("{library}::")))
        .map(|name| format!("{name}: only {home} imports {library}"))
        .collect()
}

fn make_targets() -> BTreeSet<String> {
    targets(&read("Makefile")).into_iter().map(|(name, _)| name).collect()
}

/// Subcommands of one of our programs, read off its command files.
fn verbs(program: &str) -> BTreeSet<String> {
    let folder = if program == "apr" { "subjects/apr/src/commands/" } else { "probador/src/commands/" };
    let mut verbs: BTreeSet<String> = files()
        .iter()
        .filter_map(|name| name.strip_prefix(folder)?.strip_suffix(".rs"))
        .map(|stem| stem.replace('_', "-"))
        .collect();
    verbs.extend(["diff", "probador", "test-model"].map(str::to_owned));
    verbs
}

/// Folders that commands make.
const GENERATED: [&str; 2] = ["reports", "target"];

const PAGES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

#[test]
fn pages_name_files_and_commands_that_exist() {
    let exists = |span: &str| {
        let span = span.trim_end_matches('/');
        // What git keeps, not what happens to lie about. A page speaks of a crate's files from inside the crate too.
        GENERATED.iter().any(|folder| span == *folder || span.starts_with(&format!("{folder}/")))
            || files()
                .iter()
                .map(|name| format!("/{name}"))
                .any(|name| name.ends_with(&format!("/{span}")) || name.contains(&format!("/{span}/")))
    };
    let mut faults = Vec::new();
    for page_name in PAGES {
        let page = read(page_name);
        faults.extend(stale_paths(page_name, &page, exists));
        faults.extend(stale_commands(page_name, &page, &make_targets(), verbs));
    }
    assert_tidy(&faults);
}

#[test]
fn a_page_that_names_what_is_gone_is_found() {
    let page =
        "See `src/gone.rs` and `kept.rs`.\n```\n$ make gone\ncargo probador vanish --now\n```\n`apr lost X`";
    let faults = stale_paths("PAGE", page, |span| span == "kept.rs");
    assert_eq!(faults, ["PAGE:1: `src/gone.rs` does not exist"]);
    let targets = BTreeSet::from(["test".to_owned()]);
    let faults = stale_commands("PAGE", page, &targets, |_| BTreeSet::from(["full".to_owned()]));
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn make_targets_are_one_line_that_does_something() {
    assert_tidy(&idle_targets(&read("Makefile")));
}

#[test]
fn a_target_that_only_prints_is_found() {
    let makefile = "ok:\n\tcargo test\nidle: ## does\n\t@echo done && true\nempty:\nlong:\n\tone\n\ttwo\n";
    assert_eq!(idle_targets(makefile).len(), 3);
}

#[test]
fn every_workflow_step_is_a_make_target() {
    let workflows: Vec<String> =
        files().into_iter().filter(|name| name.starts_with(".github/workflows/")).collect();
    assert!(workflows.len() >= 4, "ci, golden-trace, performance and weekly: {workflows:?}");
    let faults: Vec<String> =
        workflows.iter().flat_map(|name| foreign_steps(name, &read(name), &make_targets())).collect();
    assert_tidy(&faults);
}

#[test]
fn a_workflow_step_that_is_no_make_target_is_found() {
    let targets = BTreeSet::from(["test".to_owned()]);
    let workflow = "steps:\n  - run: make test\n  - run: cargo test\n  - run: make nothing\n  - run: make test && rm x\n";
    assert_eq!(foreign_steps("W", workflow, &targets).len(), 3);
    assert!(foreign_steps("W", "  - run: make test MODEL=release", &targets).is_empty());
}

#[test]
fn dependencies_point_downwards() {
    let manifests: Vec<String> = files()
        .into_iter()
        .filter(|name| {
            name.ends_with("/Cargo.toml") && name != "probador/Cargo.toml" && !name.contains("/fuzz/")
        })
        .collect();
    assert_eq!(manifests.len(), LAYERS.len(), "{manifests:?}");
    let mut faults = Vec::new();
    for name in &manifests {
        let manifest = read(name);
        let package = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
        faults.extend(wrong_dependencies(package.trim_end_matches('"'), &manifest));
    }
    assert_tidy(&faults);
}

#[test]
fn a_dependency_that_points_upwards_is_found() {
    let manifest = "[dependencies]\nprobador.workspace = true\napr-tensor.workspace = true\nserde = \"1\"\n[dev-dependencies]\napr-qwen2 = \"1\"\n";
    assert_eq!(
        wrong_dependencies("apr-format", manifest),
        ["apr-format depends on probador, which lies above it"]
    );
    assert_eq!(wrong_dependencies("unheard-of", manifest).len(), 1);
}

/// Packages of `built` that have other features in `tested`: each is compiled twice, and so is everything above it.
fn compiled_twice(built: &str, tested: &str) -> Vec<String> {
    let tested: BTreeSet<&str> = tested.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let built: BTreeSet<&str> = built.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    built.difference(&tested).map(|package| (*package).to_owned()).collect()
}

#[test]
fn the_build_and_its_tests_share_their_dependencies() {
    let tree = |of: &[&str], edges: &str| {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--prefix", "none", "--format", "{p} {f}", "--edges", edges])
            .args(of)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        String::from_utf8(tree.stdout).unwrap()
    };
    let built = tree(&["--workspace"], "normal,build");
    assert_tidy(&compiled_twice(&built, &tree(&["--workspace"], "normal,build,dev")));
    // What `cargo probador` builds.
    assert_tidy(&compiled_twice(&tree(&["--package", "probador"], "normal,build"), &built));
}

#[test]
fn a_dependency_with_other_features_in_tests_is_found() {
    let built = "a v1 std\nb v1 \nb v1  (*)\n";
    assert_eq!(compiled_twice(built, "a v1 std\nb v1 \nc v1\n"), Vec::<String>::new());
    assert_eq!(compiled_twice(built, "a v1 default,std\nb v1 \n"), ["a v1 std"]);
}

#[test]
fn every_source_file_says_what_it_is_for_and_stays_small() {
    let faults: Vec<String> = files()
        .iter()
        .filter(|name| is_rust(name))
        .flat_map(|name| unintroduced(name, &read(name)))
        .collect();
    assert_tidy(&faults);
    assert_tidy(&vague_names(&files()));
}

#[test]
fn a_file_without_introduction_or_with_too_much_in_it_is_found() {
    let long = format!("//! One sentence.\n{}", "// line\n".repeat(600));
    assert_eq!(unintroduced("a.rs", "fn main() {}").len(), 1);
    assert_eq!(unintroduced("b.rs", &long).len(), 1);
    assert_eq!(vague_names(&["src/utils.rs".to_owned(), "src/rotary.rs".to_owned()]).len(), 1);
}

#[test]
fn each_third_party_interface_has_one_home() {
    let names = files();
    let mut faults = foreign_imports(&names, "libtest_mimic", "probador/src/harness.rs", read);
    faults.extend(foreign_imports(&names, "serde_saphyr", "probador/core/src/yaml/", read));
    assert_tidy(&faults);
}

#[test]
fn a_library_used_away_from_its_home_is_found() {
    let names = ["probador/src/harness.rs".to_owned(), "probador/src/runner.rs".to_owned()];
    let faults = foreign_imports(&names, "libtest_mimic", "probador/src/harness.rs", |_| {
        "use libtest_mimic::run;".into()
    });
    assert_eq!(faults, ["probador/src/runner.rs: only probador/src/harness.rs imports libtest_mimic"]);
}
