//! Choosing tensors by their checkpoint keys.

use apr_generation::{Site, TensorKey};
use thiserror::Error;

/// Keys chosen by patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFilter {
    keys: Vec<TensorKey>,
}

/// A pattern that chooses nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "no tensor matches `{pattern}`\nhint: keys look like `{example}`; `*` stands for anything, and a pattern without \
     `*` matches anywhere in the key"
)]
pub(crate) struct NoSuchKey {
    pattern: String,
    example: String,
}

impl KeyFilter {
    /// The keys of a model of `n_layers` that match one of `patterns`, or all of them when there is no pattern.
    pub(crate) fn new(patterns: &[String], n_layers: usize) -> Result<Self, NoSuchKey> {
        let all: Vec<TensorKey> = all_keys(n_layers).collect();
        if patterns.is_empty() {
            return Ok(Self { keys: all });
        }
        let mut keys = Vec::new();
        for pattern in patterns {
            let n_before = keys.len();
            keys.extend(all.iter().copied().filter(|key| matches(pattern, &key.to_string())));
            // The logits are exported whatever the patterns: one that asks for them alone asks for nothing more.
            if keys.len() == n_before && !matches(pattern, &TensorKey::Logits.to_string()) {
                let example = TensorKey::Layer(0, Site::QProj).to_string();
                return Err(NoSuchKey { pattern: pattern.clone(), example });
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(Self { keys })
    }

    pub(crate) fn wants(&self, key: TensorKey) -> bool {
        self.keys.binary_search(&key).is_ok()
    }

    pub(crate) fn keys(&self) -> &[TensorKey] {
        &self.keys
    }
}

/// Every tensor of a forward pass but the logits, which are always exported; sorted.
fn all_keys(n_layers: usize) -> impl Iterator<Item = TensorKey> {
    let mut sites = Site::ALL;
    sites.sort_unstable();
    let layers = (0..n_layers).flat_map(move |layer| sites.map(|site| TensorKey::Layer(layer, site)));
    std::iter::once(TensorKey::Embedding).chain(layers).chain(std::iter::once(TensorKey::Norm))
}

/// Whether `key` contains `pattern`, or, when `pattern` has a `*`, is all of it.
fn matches(pattern: &str, key: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return key.contains(pattern);
    };
    let Some(mut key) = key.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return key.ends_with(part);
        }
        let Some(index) = key.find(part) else { return false };
        key = &key[index + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(patterns: &[&str], n_layers: usize) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        KeyFilter::new(&patterns, n_layers).unwrap().keys().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_pattern_every_tensor_is_chosen_once() {
        let keys = chosen(&[], 3);
        assert_eq!(keys.len(), 2 + 3 * Site::ALL.len());
        let filter = KeyFilter::new(&[], 3).unwrap();
        assert!(filter.keys().is_sorted() && filter.keys().iter().all(|&key| filter.wants(key)));
        assert!(!filter.wants(TensorKey::Layer(3, Site::QProj)) && !filter.wants(TensorKey::Logits));
    }

    #[test]
    fn patterns_match_anywhere_or_as_a_whole() {
        assert_eq!(
            chosen(&["q_proj"], 2),
            ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]
        );
        assert_eq!(chosen(&["model.layers.*.q_proj"], 2), chosen(&["q_proj"], 2));
        assert_eq!(chosen(&["*.1.*scores"], 3), ["model.layers.1.self_attn.scores"]);
        assert_eq!(chosen(&["model.norm", "norm"], 0), ["model.norm"]);
        assert_eq!(chosen(&["logits"], 1), [""; 0], "they are exported anyway");
    }

    #[test]
    fn pattern_that_matches_nothing_is_refused() {
        let error = KeyFilter::new(&["q_proj".to_owned(), "layers.7.".to_owned()], 2).unwrap_err();
        assert!(
            error.to_string().starts_with("no tensor matches `layers.7.`\nhint: keys look like"),
            "{error}"
        );
    }

    #[test]
    fn stars_match_as_in_a_shell() {
        let cases = [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("*bc*c", "abc", false),
            ("**", "", true),
            ("b*", "abc", false),
            ("*.q", "x.qq", false),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
