//! Names of tensors: choosing some by pattern, and the order in which a forward pass reaches them.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::str::FromStr;

use apr_generation::TensorKey;

/// A pattern as typed: text that a name contains, or, with a `*`, all of the name, `*` standing for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl FromStr for NamePattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl NamePattern {
    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let start = parts.next().unwrap_or_default();
        let Some(end) = parts.next_back() else { return name.contains(start) };
        let Some(mut middle) = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) else {
            return false;
        };
        parts.all(|part| match middle.find(part) {
            Some(at) => {
                middle = &middle[at + part.len()..];
                true
            }
            None => false,
        })
    }

    /// Whether `name` is chosen by `patterns`; without patterns every name is.
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// Checkpoint keys in the order of the forward pass; other names after them, numbers in them by value.
pub fn forward_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<TensorKey>(), b.parse::<TensorKey>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => parts(a).cmp(&parts(b)).then_with(|| a.cmp(b)),
    }
}

/// A name cut into numbers and what stands between them.
fn parts(name: &str) -> Vec<(u64, &str)> {
    let mut rest = name;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let n_other = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (other, digits) = rest.split_at(n_other);
        let n_digits = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        parts.push((0, other));
        parts.push((digits[..n_digits].parse().unwrap_or(u64::MAX), ""));
        rest = &digits[n_digits..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_a_part_or_with_a_star_the_whole() {
        for (pattern, name, expected) in [
            ("q_proj", "model.layers.3.self_attn.q_proj", true),
            ("k_proj", "model.layers.3.self_attn.q_proj", false),
            ("model.layers.*.self_attn.*", "model.layers.3.self_attn.q_proj", true),
            ("*.3.*", "model.layers.3.self_attn.q_proj", true),
            ("model.*", "a.model.norm", false),
            ("*norm", "model.norm", true),
            ("*norm", "model.norm.weight", false),
            ("ab*ba", "aba", false),
            ("a*x*b", "a1x2b", true),
            ("a*x*b", "a1y2b", false),
            ("", "anything", true),
            ("*", "", true),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        }
        assert!(NamePattern::any(&[], "anything"));
    }

    #[test]
    fn names_stand_in_the_order_of_the_forward_pass() {
        let mut names = [
            "logits",
            "model.layers.10",
            "zeta",
            "model.norm",
            "model.layers.2",
            "b.10",
            "model.embed_tokens",
            "b.9",
        ];
        names.sort_by(|a, b| forward_order(a, b));
        let expected = [
            "model.embed_tokens",
            "model.layers.2",
            "model.layers.10",
            "model.norm",
            "logits",
            "b.9",
            "b.10",
            "zeta",
        ];
        assert_eq!(names, expected);
    }
}
