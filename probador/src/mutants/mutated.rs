//! The crates that mutants are made in: what decides verdicts, and what a reply is computed with.

use anyhow::anyhow;

use crate::members::Member;

/// Their names.
const MUTATED: [&str; 4] = ["probador-core", "apr-format", "apr-qwen2", "apr-tokenizer"];

/// Those of `members` that mutants are made in.
pub fn mutated(members: &[Member]) -> Vec<&Member> {
    members.iter().filter(|member| MUTATED.contains(&member.name.as_str())).collect()
}

/// The crate called `name` among those of `members` that mutants are made in.
pub fn find<'m>(members: &'m [Member], name: &str) -> anyhow::Result<&'m Member> {
    let mutated = mutated(members);
    mutated.into_iter().find(|member| member.name == name).ok_or_else(|| {
        anyhow!("mutants are not made in `{name}`\nhint: they are made in {}", MUTATED.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::members::members;

    #[test]
    fn every_crate_is_there_and_another_is_refused_with_the_known_ones() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = members(root).unwrap();
        assert_eq!(mutated(&members).len(), MUTATED.len());
        assert_eq!(find(&members, "apr-qwen2").unwrap().folder, "subjects/qwen2");
        let error = find(&members, "apr-cli").unwrap_err().to_string();
        assert!(
            error.starts_with("mutants are not made in `apr-cli`\nhint: they are made in probador-core"),
            "{error}"
        );
    }
}
