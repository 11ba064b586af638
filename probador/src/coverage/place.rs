//! Places in a file that can be executed: lines, starts of functions, sides of branches; and sets of them as short text.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line(pub u32);

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One side of a branch: whether its condition held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// Where the condition starts.
    pub at: Point,
    /// Whether it held.
    pub held: bool,
}

/// Something that is executed or not.
pub trait Place: Copy + Ord + fmt::Display + FromStr {
    /// What such places are called.
    const KIND: &'static str;

    /// The line it is in.
    fn line(self) -> u32;
}

/// A set of places; as text, places with spaces between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places<P>(pub BTreeSet<P>);

/// Lines as people write them: `3-5 9`.
pub fn ranges(lines: impl IntoIterator<Item = u32>) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match spans.last_mut() {
            Some((_, end)) if *end + 1 == line => *end = line,
            _ => spans.push((line, line)),
        }
    }
    let shown = spans
        .into_iter()
        .map(|(start, end)| if start == end { start.to_string() } else { format!("{start}-{end}") });
    shown.collect::<Vec<_>>().join(" ")
}

impl Place for Line {
    const KIND: &'static str = "lines";

    fn line(self) -> u32 {
        self.0
    }
}

impl Place for Point {
    const KIND: &'static str = "functions";

    fn line(self) -> u32 {
        self.line
    }
}

impl Place for Side {
    const KIND: &'static str = "branches";

    fn line(self) -> u32 {
        self.at.line
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.at, if self.held { '+' } else { '-' })
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().map(Self).map_err(drop)
    }
}

impl FromStr for Point {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (line, column) = text.split_once(':').ok_or(())?;
        Ok(Self { line: line.parse().map_err(drop)?, column: column.parse().map_err(drop)? })
    }
}

impl FromStr for Side {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let held = text.ends_with('+');
        let at = text.strip_suffix(['+', '-']).ok_or(())?;
        Ok(Self { at: at.parse()?, held })
    }
}

impl<P> Default for Places<P> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<P: Place> FromIterator<P> for Places<P> {
    fn from_iter<I: IntoIterator<Item = P>>(places: I) -> Self {
        Self(places.into_iter().collect())
    }
}

impl<P: Place> Serialize for Places<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        serializer.serialize_str(&words.join(" "))
    }
}

impl<'de, P: Place> Deserialize<'de> for Places<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = |word: &str| {
            word.parse().map_err(|_| de::Error::custom(format!("`{word}` is no place among {}", P::KIND)))
        };
        text.split_whitespace().map(read).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_being_written() {
        let at = Point { line: 7, column: 12 };
        let sides: Places<Side> = [Side { at, held: true }, Side { at, held: false }].into_iter().collect();
        let text = serde_json::to_string(&sides).unwrap();
        assert_eq!(text, r#""7:12- 7:12+""#);
        assert_eq!(serde_json::from_str::<Places<Side>>(&text).unwrap(), sides);
        assert_eq!(serde_json::from_str::<Places<Line>>(r#""3 9""#).unwrap().0, [Line(3), Line(9)].into());
        assert_eq!((sides.0.first().unwrap().line(), at.line(), Line(3).line()), (7, 7, 3));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["7:12", "7+", "x:1+", "7:12*"] {
            assert_eq!(text.parse::<Side>(), Err(()), "{text}");
        }
        let error = serde_json::from_str::<Places<Point>>(r#""7""#).unwrap_err().to_string();
        assert!(error.starts_with("`7` is no place among functions"), "{error}");
    }

    #[test]
    fn neighbouring_lines_are_shown_as_one_range() {
        assert_eq!(ranges([3, 4, 5, 9, 11, 12]), "3-5 9 11-12");
        assert_eq!(ranges([]), "");
    }
}
