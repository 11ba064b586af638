//! `hf://org/repo[/file][@revision]`.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// A model on the hub: a repository, perhaps one file of it, perhaps a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRef {
    organization: String,
    repository: String,
    file: Option<String>,
    revision: Option<String>,
}

/// The scheme of these addresses.
const SCHEME: &str = "hf://";
/// What a reference without a revision means.
pub(super) const DEFAULT_REVISION: &str = "main";

impl HubRef {
    /// Whether `text` is meant to be a reference, right or wrong.
    pub fn is_reference(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// `org/repo`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.organization, self.repository)
    }

    /// The file, when one is named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The branch, tag or commit: `main` unless one is named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// The folder of the cache that holds the repository.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.organization, self.repository)
    }
}

impl FromStr for HubRef {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let refuse = |fault| HubError::Reference { text: text.to_owned(), fault };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| refuse("it does not start with hf://"))?;
        let (path, revision) = match rest.rsplit_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (rest, None),
        };
        if revision.is_some_and(|revision| !is_inside(revision)) {
            return Err(refuse("its revision is not the name of a branch, tag or commit"));
        }
        let mut parts = path.splitn(3, '/');
        let (Some(organization), Some(repository)) = (parts.next(), parts.next()) else {
            return Err(refuse("it names no repository"));
        };
        if !is_name(organization) || !is_name(repository) {
            return Err(refuse("organization and repository are letters, digits, `-`, `_` and `.`"));
        }
        // `hf://org/repo/` is the repository too.
        let file = parts.next().filter(|file| !file.is_empty());
        if file.is_some_and(|file| !is_inside(file)) {
            return Err(refuse("its file is not a path inside a repository"));
        }
        Ok(Self {
            organization: organization.to_owned(),
            repository: repository.to_owned(),
            file: file.map(str::to_owned),
            revision: revision.map(str::to_owned),
        })
    }
}

impl fmt::Display for HubRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.organization, self.repository)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        Ok(())
    }
}

/// The hub's rule for names; `--` separates the parts of a folder's name in the cache.
fn is_name(name: &str) -> bool {
    (1..=96).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.contains("--")
        && !name.contains("..")
}

/// Whether `path` stays inside of whatever it is joined to, on any system.
pub(super) fn is_inside(path: &str) -> bool {
    path.len() <= 1024
        && !path
            .chars()
            .any(|c| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|'))
        && path.split('/').all(|part| {
            (1..=250).contains(&part.len()) && part != "." && part != ".." && !part.ends_with(['.', ' '])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, repository: &str, file: Option<&str>, revision: &str) {
        let reference: HubRef = text.parse().unwrap();
        assert_eq!(
            (reference.repository().as_str(), reference.file(), reference.revision()),
            (repository, file, revision)
        );
        assert_eq!(reference.to_string().parse::<HubRef>().unwrap(), reference);
    }

    #[test]
    fn references_have_a_repository_and_perhaps_a_file_and_a_revision() {
        check("hf://Qwen/Qwen2-0.5B-Instruct", "Qwen/Qwen2-0.5B-Instruct", None, "main");
        check("hf://a/b/", "a/b", None, "main");
        check("hf://a/b@v1.0", "a/b", None, "v1.0");
        check("hf://a/b/c.gguf", "a/b", Some("c.gguf"), "main");
        check("hf://a/b/sub/c.gguf@refs/pr/1", "a/b", Some("sub/c.gguf"), "refs/pr/1");
    }

    #[test]
    fn references_that_would_leave_the_cache_or_the_hub_are_refused() {
        for text in [
            "a/b",
            "hf://",
            "hf://a",
            "hf://a/",
            "hf:///b",
            "hf://../b",
            "hf://a/..",
            "hf://a--b/c",
            "hf://.a/b",
            "hf://a/b/../c",
            "hf://a/b//c",
            "hf://a/b/./c",
            "hf://a/b/c\\d",
            "hf://a/b/c\0",
            "hf://a/b@",
            "hf://a/b@../../x",
            "hf://a/b@x\ny",
            "hf://a/b/C:evil",
            "hf://a b/c",
            "hf://a/b%2f..",
            "hf://user:x/b",
            "hf://é/b",
        ] {
            assert!(matches!(text.parse::<HubRef>(), Err(HubError::Reference { .. })), "{text}");
        }
    }
}
