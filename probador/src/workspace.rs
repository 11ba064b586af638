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
