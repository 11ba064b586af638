//! Where things are: the checkout, its checklist, the cache, the data, the `apr` executable.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use crate::checklist::{Checklist, Section, SourceText, Waiver, load, load_waivers};
use crate::mutants::{EQUIVALENT, Equivalent, load_equivalent};
use crate::playbook::{Category, Playbook, judge_faults, read_all};
use crate::yaml::{Position, Problem};

/// A checkout of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
}

/// Why the checklist could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is not there or cannot be read.
    #[error(transparent)]
    Environment(#[from] anyhow::Error),
    /// The files are there and wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

impl Workspace {
    /// The checkout at `explicit`, else around the working directory, else the one this program was built from.
    pub fn find(explicit: Option<&Path>) -> anyhow::Result<Self> {
        let is_root = |folder: &Path| folder.join("checklist").join(Section::A.file_name()).is_file();
        if let Some(root) = explicit {
            let root = std::path::absolute(root)?;
            return if is_root(&root) {
                Ok(Self { root })
            } else {
                Err(anyhow!("`{}` holds no checklist/{}", root.display(), Section::A.file_name()))
            };
        }
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let current = std::env::current_dir().context("cannot tell the working directory")?;
        Self::around(&current, built_from, is_root)
    }

    fn around(
        current: &Path,
        built_from: Option<&Path>,
        is_root: impl Fn(&Path) -> bool,
    ) -> anyhow::Result<Self> {
        let root = current.ancestors().chain(built_from).find(|folder| is_root(folder)).ok_or_else(|| {
            anyhow!(
                "no checklist in `{}` or any folder around it\nhint: run it in a checkout, or pass --root DIR",
                current.display()
            )
        })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The checkout's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the checkout.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Reads a file of the checkout for the strict loaders.
    pub fn source(&self, relative: &str) -> anyhow::Result<SourceText> {
        let path = self.path(relative);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Ok(SourceText { file: relative.to_owned(), text })
    }

    /// Reads the checklist; every problem of every file at once.
    pub fn checklist(&self) -> Result<Checklist, LoadError> {
        let sections = Section::ALL.map(|section| self.source(&format!("checklist/{}", section.file_name())));
        let sections = sections.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        load(&sections, &self.source("checklist/faults.yaml")?).map_err(LoadError::Invalid)
    }

    /// Reads the waivers; none when there is no such file.
    pub fn waivers(&self, checklist: &Checklist) -> Result<Vec<Waiver>, LoadError> {
        const FILE: &str = "checklist/waivers.yaml";
        if !self.path(FILE).exists() {
            return Ok(Vec::new());
        }
        load_waivers(&self.source(FILE)?, checklist).map_err(LoadError::Invalid)
    }

    /// The files of `playbooks/`, in order of name; none when there is no such folder.
    pub fn playbook_sources(&self) -> anyhow::Result<Vec<SourceText>> {
        const FOLDER: &str = "playbooks";
        let root = self.path(FOLDER);
        if !root.is_dir() {
            return Ok(Vec::new());
        }
        let mut sources = Vec::new();
        for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
            let entry = entry.with_context(|| format!("failed to list `{}`", root.display()))?;
            let is_yaml =
                entry.path().extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if entry.file_type().is_file() && is_yaml {
                let inside = entry.path().strip_prefix(&root)?;
                let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
                sources.push(self.source(&format!("{FOLDER}/{}", parts.join("/")))?);
            }
        }
        Ok(sources)
    }

    /// Reads every playbook and holds it to the faults of `checklist`; every problem of every file at once.
    pub fn playbooks(&self, checklist: &Checklist) -> Result<Vec<Playbook>, LoadError> {
        let playbooks = read_all(&self.playbook_sources()?).map_err(LoadError::Invalid)?;
        let mut problems = judge_faults(&playbooks, checklist.faults(), "checklist/faults.yaml");
        problems.extend(playbooks.iter().filter(|playbook| playbook.category().is_none()).map(|playbook| {
            let known: Vec<_> = Category::ALL.iter().map(|category| category.word()).collect();
            Problem {
                file: playbook.file.clone(),
                at: Position { line: 1, column: 1 },
                what: format!("it lies in no category's folder; one of: {}", known.join(", ")),
            }
        }));
        if problems.is_empty() { Ok(playbooks) } else { Err(LoadError::Invalid(problems)) }
    }

    /// Reads the list of mutants that mean the same as the code; none when there is no such file.
    pub fn equivalent_mutants(&self) -> Result<Vec<Equivalent>, LoadError> {
        if !self.path(EQUIVALENT).exists() {
            return Ok(Vec::new());
        }
        load_equivalent(&self.source(EQUIVALENT)?).map_err(LoadError::Invalid)
    }

    /// Where models and other large files are kept between checkouts.
    pub fn cache() -> PathBuf {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("PROBADOR_CACHE").unwrap_or_else(|| {
            let base = set("XDG_CACHE_HOME")
                .or_else(|| set("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(std::env::temp_dir);
            base.join("probador")
        })
    }

    /// A data file: in `APR_DATA_DIR`, beside the checkout, or in the cache.
    pub fn data_file(&self, name: &str) -> Option<PathBuf> {
        let folders = [
            std::env::var_os("APR_DATA_DIR").map(PathBuf::from),
            Some(self.path("../shared/data")),
            Some(Self::cache().join("data")),
        ];
        folders.into_iter().flatten().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// The `apr` executable.
    pub fn apr(&self) -> Option<PathBuf> {
        self.program("apr")
    }

    /// An executable of the workspace: beside this one, in the checkout's build folder, or on PATH.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let beside = std::env::current_exe().ok();
        let near =
            beside.iter().flat_map(|exe| exe.ancestors().skip(1).take(2)).map(|folder| folder.join(&name));
        let built = [self.path("target/release").join(&name)];
        let on_path = std::env::var_os("PATH");
        let on_path = on_path.iter().flat_map(std::env::split_paths).map(|folder| folder.join(&name));
        near.chain(built).chain(on_path).find(|path| path.is_file())
    }
}

/// Checkouts for tests.
#[cfg(test)]
pub(crate) mod sample {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::Workspace;

    /// A checkout with checklist and playbooks of its own, without executables and results; everything else is the
    /// repository's.
    pub(crate) struct Checkout {
        folder: tempfile::TempDir,
    }

    impl Checkout {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
            let top = folder.path().join("top");
            for own in ["checklist", "playbooks"] {
                for entry in walkdir::WalkDir::new(repository.join(own)) {
                    let entry = entry.unwrap();
                    let to = top.join(entry.path().strip_prefix(repository).unwrap());
                    if entry.file_type().is_dir() {
                        fs::create_dir_all(to).unwrap();
                    } else {
                        fs::copy(entry.path(), to).unwrap();
                    }
                }
            }
            for shared in ["golden", "subjects", "scripts", "probador", "Cargo.toml", "Cargo.lock"] {
                symlink(repository.join(shared), top.join(shared)).unwrap();
            }
            Self { folder }
        }

        pub(crate) fn path(&self) -> PathBuf {
            self.folder.path().join("top")
        }

        pub(crate) fn workspace(&self) -> Workspace {
            Workspace::find(Some(&self.path())).unwrap()
        }

        /// Makes a file of the checkout, in a folder that is its own.
        pub(crate) fn write(&self, file: &str, text: &str) {
            let path = self.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(crate) fn remove(&self, file: &str) {
            fs::remove_file(self.path().join(file)).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::Checkout;
    use super::*;
    use crate::playbook::template;

    #[test]
    fn a_checkout_is_found_around_the_folder_or_where_this_was_built_or_not_at_all() {
        let is_root = |folder: &Path| folder == Path::new("/a/b") || folder == Path::new("/built");
        let around = |current: &str, built: Option<&str>| {
            let found = Workspace::around(Path::new(current), built.map(Path::new), is_root);
            found.map(|workspace| workspace.root).map_err(|error| error.to_string())
        };
        assert_eq!(around("/a/b/c/d", Some("/built")), Ok(PathBuf::from("/a/b")));
        assert_eq!(around("/c", Some("/built")), Ok(PathBuf::from("/built")));
        let nowhere =
            "no checklist in `/c` or any folder around it\nhint: run it in a checkout, or pass --root DIR";
        assert_eq!(around("/c", None), Err(nowhere.to_owned()));
        let error = Workspace::find(Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert_eq!(error, "`/nowhere` holds no checklist/a-model-loading.yaml");
    }

    #[test]
    fn what_may_be_missing_is_read_as_nothing() {
        let checkout = Checkout::new();
        let workspace = checkout.workspace();
        let checklist = workspace.checklist().unwrap();
        std::fs::remove_dir_all(workspace.path("playbooks")).unwrap();
        for file in ["checklist/waivers.yaml", EQUIVALENT] {
            let _ = std::fs::remove_file(workspace.path(file));
        }
        assert_eq!(workspace.playbook_sources().unwrap(), []);
        assert_eq!(workspace.waivers(&checklist).unwrap(), []);
        assert_eq!(workspace.equivalent_mutants().unwrap(), []);
        checkout.write(EQUIVALENT, "what: this\n");
        let error = workspace.equivalent_mutants().unwrap_err();
        assert!(matches!(error, LoadError::Invalid(_)), "{error}");
    }

    #[test]
    fn a_playbook_in_no_categorys_folder_is_a_problem_of_its_file() {
        let checkout = Checkout::new();
        let workspace = checkout.workspace();
        let checklist = workspace.checklist().unwrap();
        let text = template(Category::EdgeCases, "stray");
        let before = workspace.playbooks(&checklist).unwrap().len();
        checkout.write("playbooks/edge-cases/good.yml", &text);
        checkout.write("playbooks/edge-cases/notes.md", "no playbook");
        assert_eq!(workspace.playbooks(&checklist).unwrap().len(), before + 1);
        checkout.write("playbooks/stray.yaml", &text);
        let error = workspace.playbooks(&checklist).unwrap_err();
        assert!(matches!(error, LoadError::Invalid(_)), "{error}");
        let words: Vec<_> = Category::ALL.iter().map(|category| category.word()).collect();
        let expected = format!(
            "playbooks/stray.yaml:1:1: it lies in no category's folder; one of: {}",
            words.join(", ")
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn data_lies_beside_the_checkout() {
        let checkout = Checkout::new();
        let workspace = checkout.workspace();
        assert_eq!(workspace.data_file("a-text-nobody-has.txt"), None);
        let data = workspace.path("../shared/data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("a-text-nobody-has.txt"), "text").unwrap();
        assert_eq!(workspace.data_file("a-text-nobody-has.txt"), Some(data.join("a-text-nobody-has.txt")));
    }

    #[test]
    fn a_program_is_found_in_the_build_folder() {
        let checkout = Checkout::new();
        let workspace = checkout.workspace();
        assert_eq!(workspace.program("a-program-nobody-has"), None);
        checkout.write("target/release/a-program-nobody-has", "");
        let path = workspace.path("target/release/a-program-nobody-has");
        assert_eq!(workspace.program("a-program-nobody-has"), Some(path));
    }
}
