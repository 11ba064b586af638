//! How faults are planted: in a copy of a file, in a copy of the goldens, around the model, around what a program shows, in
//! a small tree.

mod data;
mod fixture;
mod goldens;
mod measured;
mod packed;
mod program;
mod screen;
mod wrap;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apr_tokenizer::{Segment, TokenId, Tokenizer};

pub use program::{Call, NOTHING, misbehave};
pub use screen::Reply;

use crate::checklist::{Claim, Need};
use crate::checks::Model;

/// Faults of a lint that does not see all there is, and the rule or claim whose list lacks it.
const LEFT_OUT: [(&str, &str); 3] =
    [("naive-loop-unseen", "J10"), ("preallocation-unseen", "J22"), ("fast-crate-unseen", "J24")];

/// Puts another model in the place of a model.
pub type Wrap = Arc<dyn Fn(Model) -> Model + Send + Sync>;

/// What is planted in a subject; nothing by default.
#[derive(Default)]
pub struct Planted {
    model: Option<Wrap>,
    apr: Option<PathBuf>,
    encodes_control_text: bool,
    serves_corrupt: bool,
    screen: Option<fn(Reply) -> Reply>,
    source_root: Option<PathBuf>,
    stored_result: Option<PathBuf>,
    source_model: Option<PathBuf>,
    /// How the `apr` that others start misbehaves.
    program: Option<String>,
    goldens: Option<PathBuf>,
    /// The rule whose list lacks its last entry.
    leaves_out: Option<&'static str>,
    /// A folder that lives as long as the fault, for what was planted lies in it.
    folder: Option<tempfile::TempDir>,
}

/// A fault ready to be judged.
pub struct Subject {
    /// The model file, edited where the fault is of that kind.
    pub model: PathBuf,
    /// What is planted around it.
    pub planted: Planted,
}

/// The no-op fault: everything that a fault may touch is replaced by its equal. A claim that turns red under it judges
/// the planting, not the subject.
pub fn plant_nothing(claim: Option<&Claim>, model: &Path) -> anyhow::Result<Subject> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("model.apr");
    // A link to the same bytes under another name where the file system allows it: the release model is large.
    std::fs::hard_link(model, &copy).or_else(|_| std::fs::copy(model, &copy).map(drop))?;
    let mut planted = Planted {
        model: Some(Arc::new(wrap::unharmed)),
        screen: Some(|reply| reply),
        program: Some(NOTHING.to_owned()),
        ..Planted::default()
    };
    let twin = claim.map(|claim| fixture::twin(claim, folder.path())).transpose()?.flatten();
    match twin {
        Some(fixture::Made::Tree(root)) => planted.source_root = Some(root),
        Some(fixture::Made::Result(path)) => planted.stored_result = Some(path),
        None => {}
    }
    if claim.is_some_and(|claim| claim.needs.contains(&Need::Goldens)) {
        planted.goldens = goldens::twin(model, folder.path())?;
    }
    planted.folder = Some(folder);
    Ok(Subject { model: copy, planted })
}

/// Plants the fault called `name` in the model at `model`; `None` when no such fault is known.
pub fn plant(name: &str, model: &Path) -> anyhow::Result<Option<Subject>> {
    let folder = tempfile::tempdir()?;
    if let Some(edited) = data::edited(name, model, folder.path())? {
        if name == "one-weight-changed-in-source" {
            let planted = Planted { source_model: Some(edited), folder: Some(folder), ..Planted::default() };
            return Ok(Some(Subject { model: model.to_owned(), planted }));
        }
        let planted = Planted { folder: Some(folder), ..Planted::default() };
        return Ok(Some(Subject { model: edited, planted }));
    }
    if let Some(goldens) = goldens::edited(name, model, folder.path())? {
        let planted = Planted { goldens: Some(goldens), folder: Some(folder), ..Planted::default() };
        return Ok(Some(Subject { model: model.to_owned(), planted }));
    }
    let model = model.to_owned();
    if let Some(wrap) = wrap::find(name) {
        let planted = Planted { model: Some(Arc::new(wrap)), ..Planted::default() };
        return Ok(Some(Subject { model, planted }));
    }
    if let Some(screen) = screen::find(name) {
        return Ok(Some(Subject { model, planted: Planted { screen: Some(screen), ..Planted::default() } }));
    }
    if program::is_known(name) {
        let planted = Planted { program: Some(name.to_owned()), ..Planted::default() };
        return Ok(Some(Subject { model, planted }));
    }
    if name == "template-injects-user-text" {
        return Ok(Some(Subject {
            model,
            planted: Planted { encodes_control_text: true, ..Planted::default() },
        }));
    }
    if name == "hub-serves-corrupt-bytes" {
        return Ok(Some(Subject { model, planted: Planted { serves_corrupt: true, ..Planted::default() } }));
    }
    if let Some((_, rule)) = LEFT_OUT.iter().find(|(fault, _)| *fault == name) {
        return Ok(Some(Subject {
            model,
            planted: Planted { leaves_out: Some(rule), ..Planted::default() },
        }));
    }
    if let Some(made) = fixture::make(name, folder.path())? {
        let planted = match made {
            fixture::Made::Tree(root) => Planted { source_root: Some(root), ..Planted::default() },
            fixture::Made::Result(path) => Planted { stored_result: Some(path), ..Planted::default() },
        };
        return Ok(Some(Subject { model, planted: Planted { folder: Some(folder), ..planted } }));
    }
    Ok(None)
}

impl Planted {
    /// A whole subject in the place of the real one: what stands in for the model, the program that stands in for `apr`,
    /// and the sources of both, in a folder that lives as long as this.
    pub fn impostor(model: Wrap, apr: PathBuf, sources: PathBuf, folder: tempfile::TempDir) -> Self {
        Self {
            model: Some(model),
            apr: Some(apr),
            source_root: Some(sources),
            folder: Some(folder),
            ..Self::default()
        }
    }

    /// The program that stands in for `apr`.
    pub fn apr(&self) -> Option<&Path> {
        self.apr.as_deref()
    }

    /// The model with the fault around it.
    pub fn wrap_model(&self, model: Model) -> Model {
        match &self.model {
            Some(wrap) => wrap(model),
            None => model,
        }
    }

    /// A rendered prompt as ids; with the fault, what users wrote can become control tokens.
    pub fn encode_prompt(&self, tokenizer: &Tokenizer, segments: &[Segment]) -> Vec<TokenId> {
        if !self.encodes_control_text {
            return tokenizer.encode_segments(segments);
        }
        let text: String = segments
            .iter()
            .map(|segment| match segment {
                Segment::Control(id) => tokenizer.decode(&[*id]),
                Segment::Text(text) => text.clone(),
            })
            .collect();
        tokenizer.encode_with_control(&text)
    }

    /// Whether the hub that models are imported from changes a byte on the way.
    pub fn serves_corrupt(&self) -> bool {
        self.serves_corrupt
    }

    /// What a program showed, with the fault in it.
    pub fn show(&self, reply: Reply) -> Reply {
        match self.screen {
            Some(screen) => screen(reply),
            None => reply,
        }
    }

    /// How the `apr` that others start misbehaves.
    pub fn program(&self) -> Option<&str> {
        self.program.as_deref()
    }

    /// What `rule` lists; with the fault, without the last.
    pub fn show_listed<T: Ord>(&self, rule: &str, mut entries: BTreeSet<T>) -> BTreeSet<T> {
        if self.leaves_out == Some(rule) {
            entries.pop_last();
        }
        entries
    }

    /// The planted source tree.
    pub fn source_root(&self) -> Option<&Path> {
        self.source_root.as_deref()
    }

    /// The planted model that other formats are written from.
    pub fn source_model(&self) -> Option<&Path> {
        self.source_model.as_deref()
    }

    /// The planted folder of goldens.
    pub fn goldens(&self) -> Option<&Path> {
        self.goldens.as_deref()
    }

    /// The planted tool result.
    pub fn stored_result(&self) -> Option<&Path> {
        self.stored_result.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::choose;
    use crate::workspace::Workspace;

    fn tiny() -> PathBuf {
        choose(None, &Workspace::find(None).unwrap()).unwrap().path
    }

    fn nothing(id: &str) -> Planted {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let claim = checklist.claim(id.parse().unwrap()).unwrap();
        plant_nothing(Some(claim), &tiny()).unwrap().planted
    }

    #[test]
    fn a_fault_that_nothing_plants_is_none() {
        assert!(plant("unheard-of", &tiny()).unwrap().is_none());
    }

    #[test]
    fn nothing_at_all_replaces_all_that_the_claims_faults_touch() {
        let (lint, goldens, other) = (nothing("G2"), nothing("I15"), nothing("C1"));
        assert!(lint.source_root().unwrap().join("Cargo.toml").is_file());
        assert!(lint.goldens().is_none());
        let golden = goldens.goldens().unwrap();
        assert!(golden.join("tiny/manifest.yaml").is_file() && golden.join("golden-trace.yaml").is_file());
        assert!(goldens.source_root().is_none());
        assert!(other.source_root().is_none() && other.stored_result().is_none());
        assert!(nothing("G3").stored_result().unwrap().ends_with("clippy.json"));
        for planted in [&lint, &goldens, &other] {
            assert_eq!(planted.program(), Some(NOTHING));
        }
    }

    #[test]
    fn each_kind_of_fault_is_planted_where_it_belongs() {
        let planted = |name: &str| plant(name, &tiny()).unwrap().unwrap();
        assert_ne!(planted("one-weight-changed").model, tiny());
        let source = planted("one-weight-changed-in-source");
        assert!(source.model == tiny() && source.planted.source_model().is_some());
        assert!(planted("golden-tensor-missing").planted.goldens().is_some());
        assert_eq!(planted("apr-exits-one").planted.program(), Some("apr-exits-one"));
        assert!(planted("hub-serves-corrupt-bytes").planted.serves_corrupt());
        assert!(planted("unsafe-without-reason").planted.source_root().is_some());
        assert!(planted("mutants-survive").planted.stored_result().is_some());
        let blind = planted("preallocation-unseen").planted;
        assert_eq!(blind.show_listed("J22", [1, 2, 3].into()), [1, 2].into());
        assert_eq!(blind.show_listed("J24", [1, 2, 3].into()), [1, 2, 3].into());
        assert_eq!(Planted::default().show_listed("J22", [1, 2, 3].into()), [1, 2, 3].into());
        let reply = Reply { command: "chat".to_owned(), text: "4".to_owned(), code: 0 };
        assert_eq!(planted("reply-empty").planted.show(reply.clone()).text, "\n");
        assert_eq!(Planted::default().show(reply).text, "4");
    }
}
