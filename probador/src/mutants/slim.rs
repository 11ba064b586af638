//! The checkout cut down to what the tests of a room are built from: a mutant of a few files then takes seconds to build
//! and not a minute, and what is not there cannot decide.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};

/// The engine's package and its sources, from the top of the checkout.
const PACKAGE: &str = "probador";
/// Files that are copied as they are.
const SETTINGS: [&str; 2] = ["Cargo.lock", "rust-toolchain.toml"];
/// What tests read besides: the checklist, and the sources that its faults edit.
const READ: [&str; 3] = ["checklist", "probador/tests/snapshots", "subjects"];
/// Kinds of file that are copied of what tests read.
const KINDS: [&str; 4] = ["rs", "yaml", "json", "snap"];

/// Makes the tree of `uses`, folders and files from the top of the checkout at `root`, in `folder`, and returns its modules.
pub(super) fn make(root: &Path, uses: &[&str], folder: &Path) -> anyhow::Result<Vec<String>> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let mut sources = String::new();
    let mut modules = Vec::new();
    for part in uses {
        sources.push_str(&copy(root, part, folder)?);
        if let Some(module) = part.strip_prefix("probador/src/") {
            modules.push(module.trim_end_matches(".rs").to_owned());
        }
    }
    for part in READ.iter().filter(|part| root.join(part).exists()) {
        copy(root, part, folder)?;
    }
    for name in SETTINGS {
        std::fs::copy(root.join(name), folder.join(name))
            .with_context(|| format!("failed to copy `{name}`"))?;
    }
    let mut library = "//! What a room's tests are built from.\n".to_owned();
    for module in &modules {
        writeln!(library, "pub mod {module};")?;
    }
    write(&folder.join(PACKAGE).join("src/lib.rs"), &library)?;
    write(&folder.join("Cargo.toml"), &workspace(&read(&root.join("Cargo.toml"))?)?)?;
    let manifest = read(&root.join(PACKAGE).join("Cargo.toml"))?;
    write(&folder.join(PACKAGE).join("Cargo.toml"), &package(&manifest, &sources))?;
    Ok(modules)
}

/// Copies `part` and returns the text of its Rust files.
fn copy(root: &Path, part: &str, folder: &Path) -> anyhow::Result<String> {
    let mut sources = String::new();
    for entry in walkdir::WalkDir::new(root.join(part)).sort_by_file_name() {
        let entry = entry.with_context(|| format!("failed to read `{part}`"))?;
        let extension = entry.path().extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !entry.file_type().is_file() || !KINDS.contains(&extension) {
            continue;
        }
        let text = read(entry.path())?;
        write(&folder.join(entry.path().strip_prefix(root)?), &text)?;
        if extension == "rs" {
            sources.push_str(&text);
        }
    }
    Ok(sources)
}

/// The workspace's manifest with the engine as its only member.
fn workspace(manifest: &str) -> anyhow::Result<String> {
    let wrong = || anyhow!("`Cargo.toml` has no list of members");
    let from = manifest.find("members = [").ok_or_else(wrong)?;
    let to = from + manifest[from..].find(']').ok_or_else(wrong)? + 1;
    Ok(format!("{}members = [\"{PACKAGE}\"]{}", &manifest[..from], &manifest[to..]))
}

/// The engine's manifest with only the dependencies that `sources` name.
fn package(manifest: &str, sources: &str) -> String {
    let mut kept =
        format!("[package]\nname = \"{PACKAGE}\"\nversion.workspace = true\nedition.workspace = true\n");
    let mut inside = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line;
            if line.ends_with("dependencies]") {
                kept.extend(["\n", line, "\n"]);
            }
        } else if inside.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
            && sources.contains(&format!("{}::", name.replace('-', "_")))
        {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("failed to write `{}`", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(failed)?;
    }
    std::fs::write(path, text).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slim_tree_holds_what_is_used_and_no_other_member() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let uses =
            ["probador/src/generate.rs", "probador/src/case", "probador/src/checklist", "probador/src/yaml"];
        assert_eq!(make(root, &uses, &tree).unwrap(), ["generate", "case", "checklist", "yaml"]);
        let library = read(&tree.join("probador/src/lib.rs")).unwrap();
        assert!(
            library.ends_with("pub mod generate;\npub mod case;\npub mod checklist;\npub mod yaml;\n"),
            "{library}"
        );
        assert!(tree.join("checklist/faults.yaml").is_file() && !tree.join("probador/src/compare").exists());
        let workspace = read(&tree.join("Cargo.toml")).unwrap();
        assert!(workspace.contains("\nmembers = [\"probador\"]\n"), "{workspace}");
        let package = read(&tree.join("probador/Cargo.toml")).unwrap();
        assert!(package.contains("\nserde-saphyr.workspace = true\n"), "{package}");
        assert!(!package.contains("apr-") && !package.contains("askama"), "{package}");
        make(root, &uses, &tree).unwrap();
    }

    #[test]
    fn dependencies_are_kept_for_what_the_sources_name() {
        let manifest = "[package]\nname = \"p\"\n[dependencies]\nserde.workspace = true\nserde-saphyr = \"1\"\nother = \"1\"\n\
                        [dev-dependencies]\ninsta = \"1\"\n";
        let kept = package(manifest, "use serde::Serialize; insta::assert_snapshot!(x);");
        assert!(
            kept.ends_with("\n[dependencies]\nserde.workspace = true\n\n[dev-dependencies]\ninsta = \"1\"\n"),
            "{kept}"
        );
        assert!(workspace("[workspace]\n").is_err());
    }
}
