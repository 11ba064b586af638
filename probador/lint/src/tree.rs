//! A source tree as rules see it: crates with their manifests, and every file parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::attributes::is_test_only;

/// Every crate under a root.
pub(super) struct Tree {
    crates: Vec<Crate>,
    /// What workspaces and packages without sources of their own declare, with the manifest that does.
    other_dependencies: Vec<(String, Dependency)>,
}

/// A package: its manifest and its Rust files.
pub(super) struct Crate {
    /// Its package name.
    pub(super) name: String,
    /// Its folder, relative to the root, `/` between parts; empty for the root itself.
    pub(super) folder: String,
    /// Its manifest, relative to the root.
    pub(super) manifest: String,
    /// What it depends on, whatever for.
    pub(super) dependencies: Vec<Dependency>,
    /// Its Rust files, by path.
    pub(super) files: Vec<SourceFile>,
}

/// A line of a manifest that names another package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    /// What the code calls it.
    pub(super) name: String,
    /// The package.
    pub(super) package: String,
    /// Whether only tests, benches and examples see it.
    pub(super) is_dev: bool,
    /// Line in the manifest, from 1.
    pub(super) line: usize,
}

/// One Rust file.
pub(super) struct SourceFile {
    /// Its path, relative to the root, `/` between parts.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
    /// Its syntax tree.
    pub(super) syntax: syn::File,
    /// What it is compiled into.
    pub(super) role: Role,
}

/// What a file is compiled into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The library.
    Library,
    /// An executable.
    Binary,
    /// Tests, benches, examples and the build script.
    Test,
}

/// Why a tree cannot be linted.
#[derive(Debug, Error)]
pub enum LintError {
    /// A file or folder cannot be read.
    #[error("failed to read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not Rust.
    #[error("{path}:{line}:{column}: this does not parse: {what}")]
    Syntax {
        /// Which.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        what: String,
    },
    /// A manifest cannot be understood.
    #[error("{path}: {what}")]
    Manifest {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// There is nothing to judge: no finding would say nothing.
    #[error("rule {rule}: {what}, so nothing was judged")]
    NothingToJudge {
        /// The rule, or `lint` for all of them.
        rule: &'static str,
        /// What is not there.
        what: String,
    },
    /// A rule that does not exist.
    #[error("there is no rule `{asked}`; the rules are: {known}")]
    UnknownRule {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
}

impl Tree {
    /// Reads every package under `root`, but for `target`, `fixtures` and hidden folders.
    pub(super) fn load(root: &Path) -> Result<Self, LintError> {
        let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
            let name = entry.file_name().to_string_lossy();
            entry.depth() == 0 || !(name == "target" || name == "fixtures" || name.starts_with('.'))
        });
        let mut files = Vec::new();
        for entry in walk {
            let entry = entry.map_err(|error| LintError::Read {
                path: error.path().unwrap_or(root).to_owned(),
                source: error.into(),
            })?;
            let path = entry.path();
            let is_source = path.extension().is_some_and(|extension| extension == "rs");
            if entry.file_type().is_file() && (is_source || entry.file_name() == "Cargo.toml") {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| LintError::Read { path: path.to_owned(), source })?;
                let relative = path.strip_prefix(root).unwrap_or(path);
                let parts: Vec<_> =
                    relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
                files.push((parts.join("/"), text));
            }
        }
        Self::of_files(files)
    }

    /// Makes a tree of files in memory, each a path relative to the root and a text.
    pub(super) fn of_files(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, LintError> {
        let (manifests, sources): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(path, _)| path.rsplit('/').next() == Some("Cargo.toml"));
        let (mut crates, mut other_dependencies) = (Vec::new(), Vec::new());
        for (path, text) in manifests {
            crates.extend(read_manifest(path, &text, &mut other_dependencies)?);
        }
        for (path, text) in sources {
            // The innermost package around a file owns it.
            let owner = crates
                .iter_mut()
                .filter(|krate: &&mut Crate| in_folder(&path, &krate.folder).is_some())
                .max_by_key(|krate| krate.folder.len());
            let Some(owner) = owner else { continue };
            let Some(role) = role_of(in_folder(&path, &owner.folder).unwrap_or_default()) else { continue };
            let syntax = syn::parse_file(&text).map_err(|error| {
                let start = error.span().start();
                LintError::Syntax {
                    path: path.clone(),
                    line: start.line,
                    column: start.column + 1,
                    what: error.to_string(),
                }
            })?;
            owner.files.push(SourceFile { path, text, syntax, role });
        }
        for krate in &mut crates {
            mark_test_modules(krate);
        }
        // A package whose sources are somewhere else (fuzz targets) still declares what it depends on.
        for krate in crates.iter_mut().filter(|krate| krate.files.is_empty()) {
            let declared = std::mem::take(&mut krate.dependencies);
            other_dependencies
                .extend(declared.into_iter().map(|dependency| (krate.manifest.clone(), dependency)));
        }
        crates.retain(|krate| !krate.files.is_empty());
        Ok(Self { crates, other_dependencies })
    }

    /// Every crate.
    pub(super) fn crates(&self) -> &[Crate] {
        &self.crates
    }

    /// What workspaces and packages without sources of their own declare, with the manifest that does.
    pub(super) fn other_dependencies(&self) -> &[(String, Dependency)] {
        &self.other_dependencies
    }

    /// The crates that are under test: all but the engine.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &Crate> {
        self.crates.iter().filter(|krate| krate.folder.split('/').next() != Some("probador"))
    }

    /// Packages that `krate` reaches through ordinary dependencies, itself included.
    pub(super) fn closure<'t>(&'t self, krate: &'t Crate) -> BTreeSet<&'t str> {
        let mut reached = BTreeSet::new();
        let mut ahead = vec![krate.name.as_str()];
        while let Some(name) = ahead.pop() {
            if reached.insert(name)
                && let Some(krate) = self.crates.iter().find(|krate| krate.name == name)
            {
                ahead.extend(krate.dependencies.iter().filter(|d| !d.is_dev).map(|d| d.package.as_str()));
            }
        }
        reached
    }
}

impl Crate {
    /// Whether it has a library.
    pub(super) fn is_library(&self) -> bool {
        self.files.iter().any(|file| file.role == Role::Library)
    }
}

/// What remains of `path` inside `folder`.
fn in_folder<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix('/') }
}

/// What a file is compiled into, by where cargo looks for it; `None` for files that cargo does not look at.
fn role_of(path: &str) -> Option<Role> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["src", "main.rs"] | ["src", "bin", ..] => Some(Role::Binary),
        ["src", ..] => Some(Role::Library),
        ["tests" | "benches" | "examples" | "fuzz", ..] | ["build.rs"] => Some(Role::Test),
        _ => None,
    }
}

/// Marks the files of a crate without `lib.rs` as those of its executable, and the files of `#[cfg(test)] mod name;`.
fn mark_test_modules(krate: &mut Crate) {
    let library_root = format!("{}/src/lib.rs", krate.folder);
    let library_root = library_root.trim_start_matches('/');
    if !krate.files.iter().any(|file| file.path == library_root) {
        for file in krate.files.iter_mut().filter(|file| file.role == Role::Library) {
            file.role = Role::Binary;
        }
    }
    let mut test_files = BTreeSet::new();
    for file in &krate.files {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let stem = name.trim_end_matches(".rs");
        let inner = if matches!(stem, "lib" | "main" | "mod") {
            folder.to_owned()
        } else {
            format!("{folder}/{stem}")
        };
        for item in &file.syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_test_only(&module.attrs)
            {
                let base = format!("{inner}/{}", module.ident);
                test_files.extend([format!("{base}.rs"), format!("{base}/")]);
            }
        }
    }
    for file in &mut krate.files {
        if test_files
            .iter()
            .any(|test| *test == file.path || (test.ends_with('/') && file.path.starts_with(test)))
        {
            file.role = Role::Test;
        }
    }
}

// Positions are lost below a flattened field, so the tables are repeated here.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Manifest {
    package: Option<Package>,
    workspace: Option<DependencyTables>,
    #[serde(default)]
    dependencies: Table,
    #[serde(default)]
    dev_dependencies: Table,
    #[serde(default)]
    build_dependencies: Table,
    #[serde(default)]
    target: BTreeMap<String, DependencyTables>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DependencyTables {
    #[serde(default)]
    dependencies: Table,
    #[serde(default)]
    dev_dependencies: Table,
    #[serde(default)]
    build_dependencies: Table,
}

type Table = BTreeMap<String, Spanned<toml::Value>>;

fn read_manifest(
    path: String,
    text: &str,
    of_workspace: &mut Vec<(String, Dependency)>,
) -> Result<Option<Crate>, LintError> {
    let manifest: Manifest = toml::from_str(text)
        .map_err(|error| LintError::Manifest { path: path.clone(), what: error.message().to_owned() })?;
    let dependency = |name: &String, value: &Spanned<toml::Value>, is_dev| {
        let package = value.get_ref().get("package").and_then(toml::Value::as_str).unwrap_or(name);
        // A table of its own (`[dependencies.name]`) spans from its header or its first key.
        let line = 1 + text[..value.span().start].matches('\n').count();
        Dependency { name: name.clone(), package: package.to_owned(), is_dev, line }
    };
    if let Some(workspace) = &manifest.workspace {
        let declared = workspace.dependencies.iter();
        of_workspace.extend(declared.map(|(name, value)| (path.clone(), dependency(name, value, false))));
    }
    let Some(package) = manifest.package else { return Ok(None) };
    let mut dependencies = Vec::new();
    let top = DependencyTables {
        dependencies: manifest.dependencies,
        dev_dependencies: manifest.dev_dependencies,
        build_dependencies: manifest.build_dependencies,
    };
    for tables in [&top].into_iter().chain(manifest.target.values()) {
        let listed = [
            (&tables.dependencies, false),
            (&tables.build_dependencies, false),
            (&tables.dev_dependencies, true),
        ];
        for (table, is_dev) in listed {
            dependencies.extend(table.iter().map(|(name, value)| dependency(name, value, is_dev)));
        }
    }
    dependencies.sort_by_key(|dependency| dependency.line);
    let folder = path.strip_suffix("Cargo.toml").unwrap_or_default().trim_end_matches('/').to_owned();
    Ok(Some(Crate { name: package.name, folder, manifest: path, dependencies, files: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Result<Tree, LintError> {
        Tree::of_files(files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())))
    }

    #[test]
    fn files_belong_to_the_innermost_package_and_know_their_role() {
        let tree = tree(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
            ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("a/src/lib.rs", "#[cfg(test)]\nmod checks;\nmod other;"),
            ("a/src/other.rs", ""),
            ("a/src/checks.rs", ""),
            ("a/src/bin/tool.rs", ""),
            ("a/tests/it.rs", ""),
            ("a/data/notes.rs", "not rust {"),
            ("a/inner/Cargo.toml", "[package]\nname = \"inner\"\n"),
            ("a/inner/src/main.rs", ""),
            ("a/inner/src/part.rs", ""),
        ])
        .unwrap();
        let roles: Vec<_> = tree
            .crates()
            .iter()
            .flat_map(|krate| {
                krate.files.iter().map(|file| (krate.name.as_str(), file.path.as_str(), file.role))
            })
            .collect();
        assert_eq!(
            roles,
            [
                ("a", "a/src/lib.rs", Role::Library),
                ("a", "a/src/other.rs", Role::Library),
                ("a", "a/src/checks.rs", Role::Test),
                ("a", "a/src/bin/tool.rs", Role::Binary),
                ("a", "a/tests/it.rs", Role::Test),
                ("inner", "a/inner/src/main.rs", Role::Binary),
                ("inner", "a/inner/src/part.rs", Role::Binary),
            ]
        );
    }

    #[test]
    fn dependencies_are_known_by_package_and_line() {
        let tree = tree(&[
            (
                "Cargo.toml",
                "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nst = { package = \"safetensors\", version = \"1\" }\n\
                 [dev-dependencies]\nc = \"1\"\n[target.'cfg(unix)'.dependencies]\nd = \"1\"\n",
            ),
            ("src/lib.rs", ""),
        ])
        .unwrap();
        let dependencies: Vec<_> = tree.crates()[0]
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.package.as_str(), d.is_dev, d.line))
            .collect();
        assert_eq!(
            dependencies,
            [
                ("b", "b", false, 4),
                ("st", "safetensors", false, 5),
                ("c", "c", true, 7),
                ("d", "d", false, 9)
            ]
        );
        assert_eq!(
            tree.closure(&tree.crates()[0]).into_iter().collect::<Vec<_>>(),
            ["a", "b", "d", "safetensors"]
        );
    }

    #[test]
    fn what_does_not_parse_is_an_error_with_its_place() {
        let error = tree(&[("Cargo.toml", "[package]\nname = \"a\"\n"), ("src/lib.rs", "fn a() {}\nfn {")]);
        let Err(error) = error else { panic!("accepted") };
        assert!(error.to_string().starts_with("src/lib.rs:2:4: this does not parse"), "{error}");
        assert!(matches!(tree(&[("Cargo.toml", "package = 3")]), Err(LintError::Manifest { .. })));
    }
    #[test]
    fn a_folder_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nowhere");
        let Err(error) = Tree::load(&missing) else { panic!("read") };
        let expected = format!("failed to read `{}`: ", missing.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[test]
    fn a_file_outside_of_every_package_is_not_read() {
        let tree = tree(&[
            ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("a/src/lib.rs", ""),
            ("loose.rs", "not rust {"),
            ("ab/src/lib.rs", "not rust {"),
        ])
        .unwrap();
        let files: Vec<_> = tree.crates().iter().flat_map(|krate| &krate.files).collect();
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a/src/lib.rs"]);
    }
}
