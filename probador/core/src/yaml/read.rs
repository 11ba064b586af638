//! Reading a tree into types: every unknown, repeated, missing or wrong key becomes a problem, and reading goes on.

use std::collections::BTreeMap;
use std::fmt;

use super::{Key, Node, Position, Value};

/// One thing that is wrong with a file, printed as `file:line:column: what`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Where in it.
    pub at: Position,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.at.line, self.at.column, self.what)
    }
}

/// The problems found so far in one file.
#[derive(Debug)]
pub struct Problems {
    file: String,
    found: Vec<Problem>,
}

impl Problems {
    /// None yet, in `file`.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, at: Position, what: impl Into<String>) {
        self.found.push(Problem { file: self.file.clone(), at, what: what.into() });
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}

/// A type that can be read from a YAML value; `None` when it was wrong and the problem has been noted.
pub trait FromNode: Sized {
    /// Reads it.
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self>;
}

/// A closed set of words.
pub trait Keyword: Copy + Sized + 'static {
    /// What such a word is called in messages.
    const KIND: &'static str;
    /// Every word, in the order to list them.
    const WORDS: &'static [(&'static str, Self)];

    /// Its word.
    fn word(self) -> &'static str
    where
        Self: PartialEq,
    {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// Reads one of a closed set of words.
pub fn keyword_from<K: Keyword>(node: &Node, problems: &mut Problems) -> Option<K> {
    let word = String::from_node(node, problems)?;
    let found = K::WORDS.iter().find(|(known, _)| *known == word).map(|&(_, value)| value);
    if found.is_none() {
        let known: Vec<_> = K::WORDS.iter().map(|(known, _)| *known).collect();
        problems.add(node.at, format!("unknown {} `{word}`; one of: {}", K::KIND, known.join(", ")));
    }
    found
}

fn mismatch<T>(node: &Node, problems: &mut Problems, expected: &str) -> Option<T> {
    problems.add(node.at, format!("expected {expected}, found {}", node.value.kind()));
    None
}

impl FromNode for String {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Str(text) => Some(text.clone()),
            _ => mismatch(node, problems, "text (quote it if it looks like something else)"),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => mismatch(node, problems, "`true` or `false`"),
        }
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match node.value {
            Value::Int(value) if value >= 0 => Some(value as u64),
            Value::Int(value) => {
                problems.add(node.at, format!("{value} is negative, expected a count"));
                None
            }
            _ => mismatch(node, problems, "a whole number"),
        }
    }
}

impl FromNode for u32 {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let value = u64::from_node(node, problems)?;
        value.try_into().ok().or_else(|| {
            problems.add(node.at, format!("{value} is too large"));
            None
        })
    }
}

impl FromNode for f64 {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match node.value {
            Value::Int(value) => Some(value as Self),
            Value::Float(value) if value.is_finite() => Some(value),
            Value::Float(value) => {
                problems.add(
                    node.at,
                    format!("a threshold of {value} compares with nothing; write a finite number"),
                );
                None
            }
            _ => mismatch(node, problems, "a number"),
        }
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Seq(items) => {
                let read: Vec<_> = items.iter().map(|item| T::from_node(item, problems)).collect();
                read.into_iter().collect()
            }
            _ => mismatch(node, problems, "a list"),
        }
    }
}

impl<T: FromNode> FromNode for BTreeMap<String, T> {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return mismatch(node, problems, "a mapping") };
        let mut map = Self::new();
        let mut is_good = true;
        for (key, value) in entries {
            let Some(value) = T::from_node(value, problems) else {
                is_good = false;
                continue;
            };
            if map.insert(key.name.clone(), value).is_some() {
                problems.add(key.at, format!("`{}` is said twice", key.name));
                is_good = false;
            }
        }
        is_good.then_some(map)
    }
}

/// A mapping being read key by key.
pub struct Fields<'n> {
    kind: &'static str,
    at: Position,
    entries: &'n [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Starts reading `node`, a `kind`; repeated keys are problems.
    pub fn new(node: &'n Node, kind: &'static str, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return mismatch(node, problems, &format!("{kind} (a mapping)"));
        };
        for (index, (key, _)) in entries.iter().enumerate() {
            if let Some((first, _)) = entries[..index].iter().find(|(earlier, _)| earlier.name == key.name) {
                problems
                    .add(key.at, format!("`{}` is said twice, first in line {}", key.name, first.at.line));
            }
        }
        Some(Self { kind, at: node.at, entries, asked: Vec::new() })
    }

    /// Where the mapping starts.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The value at `name`, if it is there.
    pub fn node(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// What `name` says; its absence is a problem.
    pub fn required<T: FromNode>(&mut self, name: &'static str, problems: &mut Problems) -> Option<T> {
        if let Some(node) = self.node(name) {
            T::from_node(node, problems)
        } else {
            problems.add(self.at, format!("{} lacks `{name}`", self.kind));
            None
        }
    }

    /// What `name` says, or `absent` when it is not there.
    pub fn optional<T: FromNode>(
        &mut self,
        name: &'static str,
        absent: T,
        problems: &mut Problems,
    ) -> Option<T> {
        self.node(name).map_or(Some(absent), |node| T::from_node(node, problems))
    }

    /// What `name` says, if it is there.
    pub fn maybe<T: FromNode>(&mut self, name: &'static str, problems: &mut Problems) -> Option<Option<T>> {
        self.node(name).map_or(Some(None), |node| T::from_node(node, problems).map(Some))
    }

    /// Whether `name` is said: to say `false` is to say nothing, and a problem.
    pub fn flag(&mut self, name: &'static str, problems: &mut Problems) -> Option<bool> {
        let Some(node) = self.node(name) else { return Some(false) };
        let is_set = bool::from_node(node, problems)?;
        if !is_set {
            problems.add(node.at, format!("`{name}: false` asks for nothing; leave it out"));
        }
        is_set.then_some(true)
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            if !self.asked.contains(&key.name.as_str()) {
                let hint = nearest(&key.name, &self.asked).map_or_else(
                    || format!("; {} has: {}", self.kind, self.asked.join(", ")),
                    |known| format!("; did you mean `{known}`?"),
                );
                problems.add(key.at, format!("unknown key `{}`{hint}", key.name));
            }
        }
    }
}

/// The known word that takes at most two edits to reach.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|&candidate| (edit_distance(word, candidate), candidate));
    scored.min().filter(|&(distance, _)| distance <= 2).map(|(_, candidate)| candidate)
}

/// Insertions, deletions and substitutions between two words (Wagner and Fischer 1974).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a_char) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b_char) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a_char != *b_char);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn problems_of<T: FromNode>(text: &str) -> Vec<String> {
        let node = parse("f.yaml", text).unwrap();
        let mut problems = Problems::new("f.yaml");
        T::from_node(&node, &mut problems);
        problems.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_wrong_items_of_a_list_are_reported() {
        assert_eq!(
            problems_of::<Vec<u64>>("[1, x, -2, 4]"),
            [
                "f.yaml:1:5: expected a whole number, found text",
                "f.yaml:1:8: -2 is negative, expected a count"
            ]
        );
    }

    #[test]
    fn a_value_of_another_kind_is_refused_by_both_names() {
        assert_eq!(
            problems_of::<bool>("7"),
            ["f.yaml:1:1: expected `true` or `false`, found a whole number"]
        );
        assert_eq!(problems_of::<f64>("x"), ["f.yaml:1:1: expected a number, found text"]);
        assert_eq!(problems_of::<Vec<u64>>("7"), ["f.yaml:1:1: expected a list, found a whole number"]);
        assert_eq!(
            problems_of::<BTreeMap<String, u64>>("7"),
            ["f.yaml:1:1: expected a mapping, found a whole number"]
        );
        assert_eq!(problems_of::<u32>("4294967296"), ["f.yaml:1:1: 4294967296 is too large"]);
        assert_eq!(problems_of::<u32>("4294967295"), [""; 0]);
    }

    #[test]
    fn a_key_that_a_mapping_repeats_is_refused() {
        assert_eq!(
            problems_of::<BTreeMap<String, u64>>("{a: 1, b: 2, a: 3}"),
            ["f.yaml:1:14: `a` is said twice"]
        );
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Size {
        Small,
        Large,
    }

    impl Keyword for Size {
        const KIND: &'static str = "size";
        const WORDS: &'static [(&'static str, Self)] = &[("small", Self::Small), ("large", Self::Large)];
    }

    #[test]
    fn a_keyword_is_read_and_written_as_its_word() {
        let mut problems = Problems::new("f.yaml");
        let read = keyword_from::<Size>(&parse("f.yaml", "large").unwrap(), &mut problems);
        assert_eq!((read, Size::Large.word(), Size::Small.word()), (Some(Size::Large), "large", "small"));
        assert_eq!(keyword_from::<Size>(&parse("f.yaml", "huge").unwrap(), &mut problems), None);
        let found: Vec<_> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["f.yaml:1:1: unknown size `huge`; one of: small, large"]);
    }

    #[test]
    fn what_may_be_left_out_is_nothing_and_a_flag_that_says_no_is_a_problem() {
        let node = parse("f.yaml", "n: 7\non: true\noff: false\nodd: 1\n").unwrap();
        let mut problems = Problems::new("f.yaml");
        let mut fields = Fields::new(&node, "a thing", &mut problems).unwrap();
        assert_eq!(fields.maybe::<u64>("n", &mut problems), Some(Some(7)));
        assert_eq!(fields.maybe::<u64>("m", &mut problems), Some(None));
        assert_eq!(fields.flag("on", &mut problems), Some(true));
        assert_eq!(fields.flag("absent", &mut problems), Some(false));
        assert_eq!((fields.flag("off", &mut problems), fields.flag("odd", &mut problems)), (None, None));
        fields.finish(&mut problems);
        let found: Vec<_> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "f.yaml:3:6: `off: false` asks for nothing; leave it out",
                "f.yaml:4:6: expected `true` or `false`, found a whole number"
            ]
        );
    }

    #[test]
    fn thresholds_that_compare_with_nothing_are_refused() {
        let problems = problems_of::<BTreeMap<String, f64>>("{a: .nan, b: 1, c: -.inf}");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("f.yaml:1:5: a threshold of NaN"), "{problems:?}");
    }

    #[test]
    fn unknown_and_repeated_keys_are_reported_with_a_suggestion() {
        let node = parse("f.yaml", "pionts: 3\nid: a\nid: b\nzebra: 1\n").unwrap();
        let mut problems = Problems::new("f.yaml");
        let mut fields = Fields::new(&node, "a claim", &mut problems).unwrap();
        let _: Option<String> = fields.required("id", &mut problems);
        let _: Option<u64> = fields.required("points", &mut problems);
        fields.finish(&mut problems);
        let found: Vec<_> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "f.yaml:3:1: `id` is said twice, first in line 2",
                "f.yaml:1:1: a claim lacks `points`",
                "f.yaml:1:1: unknown key `pionts`; did you mean `points`?",
                "f.yaml:4:1: unknown key `zebra`; a claim has: id, points",
            ]
        );
    }

    #[test]
    fn edit_distance_counts_edits() {
        assert_eq!(edit_distance("points", "points"), 0);
        assert_eq!(edit_distance("pionts", "points"), 2);
        assert_eq!(edit_distance("", "abc"), 3);
    }
}
