//! The categories of playbooks, how many each must hold, and what a playbook is called.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A folder of `playbooks/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Ordinary journeys.
    HappyPath,
    /// What goes wrong, and how it is said.
    ErrorHandling,
    /// Unusual input.
    EdgeCases,
    /// Speed and memory; run alone.
    Performance,
    /// The WebAssembly build in its runtimes.
    Wasi,
    /// Faults that were fixed.
    Regression,
    /// Keyboard and screen reader, where there is a surface.
    Accessibility,
}

/// How many playbooks there must be, accessibility left out.
pub const REQUIRED_PLAYBOOKS: usize = 50;

impl Category {
    /// Every category, in the specification's order.
    pub const ALL: [Self; 7] = [
        Self::HappyPath,
        Self::ErrorHandling,
        Self::EdgeCases,
        Self::Performance,
        Self::Wasi,
        Self::Regression,
        Self::Accessibility,
    ];

    /// The folder, and the word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HappyPath => "happy-path",
            Self::ErrorHandling => "error-handling",
            Self::EdgeCases => "edge-cases",
            Self::Performance => "performance",
            Self::Wasi => "wasi",
            Self::Regression => "regression",
            Self::Accessibility => "accessibility",
        }
    }

    /// How many playbooks the category must hold.
    pub const fn required(self) -> usize {
        match self {
            Self::HappyPath | Self::ErrorHandling | Self::EdgeCases | Self::Performance => 10,
            Self::Wasi | Self::Regression | Self::Accessibility => 5,
        }
    }
}

/// Playbooks that a claim is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(into = "String")]
#[schemars(with = "String")]
pub enum Playbooks {
    /// All of them.
    All,
    /// Those of a category.
    Of(Category),
}

impl Playbooks {
    /// How many there must be.
    pub const fn required(self) -> usize {
        match self {
            Self::All => REQUIRED_PLAYBOOKS,
            Self::Of(category) => category.required(),
        }
    }

    /// Whether the playbook in `file` is among them.
    pub fn takes(self, file: &str) -> bool {
        self == Self::All || PlaybookId::of_file(file).is_ok_and(|id| self.holds(&id))
    }

    /// Whether `playbook` is among them.
    pub fn holds(self, playbook: &PlaybookId) -> bool {
        match self {
            Self::All => true,
            Self::Of(category) => playbook.category() == Some(category),
        }
    }
}

impl From<Playbooks> for String {
    fn from(playbooks: Playbooks) -> Self {
        match playbooks {
            Playbooks::All => "all".to_owned(),
            Playbooks::Of(category) => category.word().to_owned(),
        }
    }
}

impl FromStr for Playbooks {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word == "all" {
            Ok(Self::All)
        } else {
            word.parse().map(Self::Of).map_err(|error| format!("{error}, all"))
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Category {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|category| category.word() == word).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|category| category.word()).collect();
            format!("`{word}` is no category of playbooks; one of: {}", known.join(", "))
        })
    }
}

/// What a playbook is called: `edge-cases/unicode-prompt`, or the bare name of a file outside `playbooks/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PlaybookId(String);

impl PlaybookId {
    /// The playbook `stem` of `category`.
    pub fn new(category: Option<Category>, stem: &str) -> Self {
        Self(category.map_or_else(|| stem.to_owned(), |category| format!("{category}/{stem}")))
    }

    /// What the playbook in `file` is called: its category when it lies in one's folder, and its name.
    pub fn of_file(file: &str) -> Result<Self, String> {
        let mut parts = file.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name);
        let folder = parts.next().unwrap_or_default();
        let lies_in_playbooks = parts.next() == Some("playbooks");
        let category = folder.parse::<Category>().ok().filter(|_| lies_in_playbooks);
        if category.is_some() && !is_name(stem) {
            return Err(format!("`{stem}` cannot be the name of a playbook: lower-case words joined by `-`"));
        }
        Ok(Self::new(category, stem))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The category, for a playbook that lies in one's folder.
    pub fn category(&self) -> Option<Category> {
        self.0.split_once('/')?.0.parse().ok()
    }

    /// The name of its case, `playbook::edge_cases::unicode_prompt`.
    pub fn case_name(&self) -> String {
        format!("playbook::{}", self.0.replace('/', "::").replace('-', "_"))
    }
}

impl fmt::Display for PlaybookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for PlaybookId {
    type Err = String;

    /// Reads `category/name`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (category, stem) = text
            .split_once('/')
            .ok_or_else(|| format!("`{text}` is not a playbook such as `edge-cases/unicode`"))?;
        let category = category.parse()?;
        if is_name(stem) {
            Ok(Self::new(Some(category), stem))
        } else {
            Err(format!("`{stem}` is not the name of a playbook: lower-case words joined by `-`"))
        }
    }
}

/// Whether a playbook or a tag may be called so: a name becomes part of a permanent case name.
pub fn is_name(stem: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    stem.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_category_and_file_and_give_permanent_case_names() {
        let id: PlaybookId = "edge-cases/unicode-prompt".parse().unwrap();
        assert_eq!(id.category(), Some(Category::EdgeCases));
        assert_eq!(id.case_name(), "playbook::edge_cases::unicode_prompt");
        assert!("edge-cases/Unicode Prompt".parse::<PlaybookId>().is_err());
        assert!("elsewhere/unicode".parse::<PlaybookId>().unwrap_err().contains("no category"));
        assert!("unicode".parse::<PlaybookId>().is_err());
    }

    #[test]
    fn a_file_in_a_folder_of_playbooks_is_of_that_category_and_any_other_of_none() {
        let id = |file: &str| PlaybookId::of_file(file).unwrap();
        for file in ["playbooks/edge-cases/unicode.yaml", "/a/b/playbooks/edge-cases/unicode.yml"] {
            assert_eq!(id(file), PlaybookId::new(Some(Category::EdgeCases), "unicode"), "{file}");
            assert_eq!(id(file).as_str(), "edge-cases/unicode");
        }
        for file in ["scenarios/edge-cases/Two Words.yaml", "Two Words.yaml", "playbooks/mine/Two Words.yaml"]
        {
            assert_eq!((id(file).as_str(), id(file).category()), ("Two Words", None), "{file}");
        }
        let error = PlaybookId::of_file("playbooks/edge-cases/Two Words.yaml").unwrap_err();
        assert!(error.starts_with("`Two Words` cannot be the name of a playbook"), "{error}");
    }

    #[test]
    fn a_name_is_lower_case_words_and_digits_joined_by_hyphens() {
        for name in ["a", "unicode-prompt", "2-plus-2"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a--b", "a-", "A", "a_b", "a b", "\u{e4}"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn all_playbooks_or_those_of_a_category_are_asked_for_by_one_word() {
        let (all, edge): (Playbooks, Playbooks) = ("all".parse().unwrap(), "edge-cases".parse().unwrap());
        assert_eq!((String::from(all), String::from(edge)), ("all".to_owned(), "edge-cases".to_owned()));
        assert_eq!((all.required(), edge.required()), (50, 10));
        let error = "some".parse::<Playbooks>().unwrap_err();
        assert!(error.ends_with("regression, accessibility, all"), "{error}");
        let (unicode, loose) = ("playbooks/edge-cases/unicode.yaml", "unicode.yaml");
        assert!(all.takes(unicode) && all.takes(loose) && edge.takes(unicode) && !edge.takes(loose));
        assert!(!edge.takes("playbooks/edge-cases/Two Words.yaml"));
        let id = PlaybookId::of_file(unicode).unwrap();
        assert!(all.holds(&id) && edge.holds(&id) && !Playbooks::Of(Category::Wasi).holds(&id));
    }

    #[test]
    fn names_fill_the_column_they_are_printed_in() {
        let id: PlaybookId = "wasi/a".parse().unwrap();
        assert_eq!(format!("{id:<8}|{:<6}|", Category::Wasi), "wasi/a  |wasi  |");
    }

    #[test]
    fn the_categories_of_the_specification_hold_fifty_playbooks() {
        let required: usize = Category::ALL
            .into_iter()
            .filter(|&category| category != Category::Accessibility)
            .map(Category::required)
            .sum();
        assert_eq!(required, REQUIRED_PLAYBOOKS);
    }
}
