//! The crates of the workspace as measurements know them: what each stands on, and a hash of its contents, so that what
//! has not changed is not measured again.
//!
//! What is measured lies in the crate and is measured by its tests: a change below it can move a result only by making
//! the same tests of the same code take another way, which would first show in whether they pass. Results that followed
//! every change below would be stale the day they were made, and hours of machine time would go into the same numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

/// The crate whose tests start every executable of the workspace, and so depend on all of it.
pub const ENGINE: &str = "probador";

/// A crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its package name.
    pub name: String,
    /// Its folder, from the top of the checkout.
    pub folder: String,
    /// The crates of the workspace that its tests are built from, itself left out.
    pub below: BTreeSet<String>,
    /// Hash of its files.
    pub key: String,
    /// Hash of its code, `src/`: what its tests are changes nothing that others measure of it.
    pub code: String,
}

/// Every crate of the workspace at `root`, each after those it stands on.
pub fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let text = read(&root.join("Cargo.toml"))?;
    let workspace: WorkspaceManifest = toml::from_str(&text).context("`Cargo.toml` is no workspace")?;
    let mut manifests = BTreeMap::new();
    for folder in workspace.workspace.members {
        let path = root.join(&folder).join("Cargo.toml");
        let manifest: Manifest =
            toml::from_str(&read(&path)?).with_context(|| format!("`{}` is no manifest", path.display()))?;
        manifests.insert(manifest.package.name.clone(), (folder, manifest));
    }
    let mut members = Vec::new();
    for (name, (folder, manifest)) in &manifests {
        members.push(Member {
            name: name.clone(),
            folder: folder.clone(),
            below: below(name, manifest, &manifests),
            key: folder_hash(&root.join(folder))?,
            code: folder_hash(&root.join(folder).join("src"))?,
        });
    }
    members.sort_by_key(|member| (member.below.len(), member.name.clone()));
    Ok(members)
}

/// BLAKE3 over the names and contents of the files under `root`, but for what builds and tests leave there.
pub fn folder_hash(root: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in files(root) {
        let (name, contents) = file?;
        hasher.update(format!("{name}\0{}\0", contents.len()).as_bytes());
        hasher.update(&contents);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The names and contents of the files under `root` in order of name, but for what builds and tests leave there.
pub fn files(root: &Path) -> impl Iterator<Item = anyhow::Result<(String, Vec<u8>)>> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        let is_left = ["target", "mutants.out"].contains(&&*name)
            || [".new", ".profraw"].iter().any(|end| name.ends_with(end));
        entry.depth() == 0 || !(is_left || name.starts_with('.'))
    });
    walk.filter(|entry| entry.as_ref().map_or(true, |entry| entry.file_type().is_file())).map(move |entry| {
        let entry = entry.with_context(|| format!("failed to read `{}`", root.display()))?;
        let name = entry.path().strip_prefix(root)?.to_string_lossy().into_owned();
        let contents = std::fs::read(entry.path())
            .with_context(|| format!("failed to read `{}`", entry.path().display()))?;
        Ok((name, contents))
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

/// The crates that the tests of `name` are built from: what it names for any purpose, and what those name to be built.
fn below(
    name: &str,
    manifest: &Manifest,
    manifests: &BTreeMap<String, (String, Manifest)>,
) -> BTreeSet<String> {
    if name == ENGINE {
        return manifests.keys().filter(|other| *other != name).cloned().collect();
    }
    let mut ahead: Vec<&String> =
        manifest.dependencies.keys().chain(manifest.dev_dependencies.keys()).collect();
    let mut below = BTreeSet::new();
    while let Some(next) = ahead.pop() {
        if let Some((_, manifest)) = manifests.get(next)
            && next != name
            && below.insert(next.clone())
        {
            ahead.extend(manifest.dependencies.keys());
        }
    }
    below
}

#[derive(Deserialize)]
struct WorkspaceManifest {
    workspace: WorkspaceTable,
}

#[derive(Deserialize)]
struct WorkspaceTable {
    members: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Manifest {
    package: Package,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

/// The member called `name`.
pub fn find<'m>(members: &'m [Member], name: &str) -> anyhow::Result<&'m Member> {
    members.iter().find(|member| member.name == name).ok_or_else(|| {
        let known: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        anyhow!("there is no crate `{name}` in the workspace; there are: {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of three crates: `top` stands on `middle`, `middle` on `ground`.
    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let manifest = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
        write(&folder, "Cargo.toml", "[workspace]\nmembers = [\"ground\", \"middle\", \"top\"]\n");
        write(&folder, "ground/Cargo.toml", &manifest("ground", "[dependencies]\n"));
        write(&folder, "middle/Cargo.toml", &manifest("middle", "[dependencies]\nground.workspace = true\n"));
        write(&folder, "top/Cargo.toml", &manifest("top", "[dev-dependencies]\nmiddle.workspace = true\n"));
        for name in ["ground", "middle", "top"] {
            write(&folder, &format!("{name}/src/lib.rs"), "");
        }
        folder
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn keys(folder: &tempfile::TempDir) -> Vec<String> {
        members(folder.path()).unwrap().into_iter().map(|member| member.key).collect()
    }

    /// Which crates have another key in `after`.
    fn changed(before: &[String], after: &[String]) -> Vec<&'static str> {
        let names = ["ground", "middle", "top"];
        let differs = |index: &usize| before[*index] != after[*index];
        (0..3).filter(differs).map(|index| names[index]).collect()
    }

    #[test]
    fn every_crate_comes_after_those_it_stands_on() {
        let folder = workspace();
        let members = members(folder.path()).unwrap();
        let shown: Vec<(&str, Vec<&str>)> = members
            .iter()
            .map(|member| (member.name.as_str(), member.below.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            shown,
            [("ground", vec![]), ("middle", vec!["ground"]), ("top", vec!["ground", "middle"])]
        );
        assert_eq!(find(&members, "middle").unwrap().folder, "middle");
        let error = find(&members, "bottom").unwrap_err().to_string();
        assert_eq!(error, "there is no crate `bottom` in the workspace; there are: ground, middle, top");
    }

    #[test]
    fn a_crate_does_not_stand_on_itself_though_its_tests_use_what_stands_on_it() {
        let folder = workspace();
        let manifest = "[package]\nname = \"ground\"\n[dev-dependencies]\nmiddle.workspace = true\n";
        write(&folder, "ground/Cargo.toml", manifest);
        let members = members(folder.path()).unwrap();
        assert_eq!(find(&members, "ground").unwrap().below, ["middle".to_owned()].into());
    }

    #[test]
    fn a_change_reaches_its_own_crate_and_no_other() {
        let folder = workspace();
        let before = keys(&folder);
        write(&folder, "middle/tests/new.rs", "");
        let after = keys(&folder);
        assert_eq!(changed(&before, &after), ["middle"]);
        let code =
            || members(folder.path()).unwrap().into_iter().map(|member| member.code).collect::<Vec<_>>();
        let tested = code();
        write(&folder, "middle/tests/newer.rs", "");
        assert_eq!(code(), tested, "tests are no code");
        write(&folder, "middle/src/lib.rs", "fn b() {}");
        assert_eq!(changed(&tested, &code()), ["middle"]);
        let after = keys(&folder);
        write(&folder, "ground/src/lib.rs", "fn a() {}");
        assert_eq!(changed(&after, &keys(&folder)), ["ground"]);
    }

    #[test]
    fn what_builds_and_tests_leave_behind_changes_nothing() {
        let folder = workspace();
        let before = keys(&folder);
        for name in ["target/a.rs", ".hidden", "snap.new", "default.profraw"] {
            write(&folder, &format!("ground/{name}"), "x");
        }
        assert_eq!(keys(&folder), before);
    }

    #[test]
    fn the_engine_stands_on_every_crate_of_our_own_workspace() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = members(root).unwrap();
        let engine = find(&members, ENGINE).unwrap();
        assert_eq!(engine.below.len() + 1, members.len());
        assert!(engine.below.contains("apr-cli"), "{:?}", engine.below);
        let tensor = find(&members, "apr-tensor").unwrap();
        assert!(tensor.below.is_empty(), "{:?}", tensor.below);
    }
}
