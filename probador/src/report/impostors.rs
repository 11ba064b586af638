//! What the impostors got away with when they were last let loose, and whether that still stands.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::impostors::{Performance, Reception};
use crate::prove::TargetName;
use crate::stored::{read_kept, write};

/// The impostors as a report shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImpostorTable {
    /// Whether it is of what was judged.
    pub standing: TableStanding,
    /// One by one; none when they were not run.
    pub rows: Vec<ImpostorRow>,
}

/// Whether a table is of what was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TableStanding {
    /// Made with everything as it is now.
    Fresh,
    /// Something that it depends on has changed since.
    Stale,
    /// There is none for this model.
    #[default]
    NotRun,
}

/// How the checklist and the playbooks took one impostor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImpostorRow {
    /// Its name.
    pub name: String,
    /// What it does instead of what it should.
    pub does: String,
    /// Claims and playbooks that were red on it.
    pub n_red: usize,
    /// Those that could not judge it, which is no pass.
    pub n_broken: usize,
    /// Those that it may pass.
    pub n_indifferent: usize,
    /// Those about behaviour that it got away with.
    pub fooled: Vec<TargetName>,
}

/// The file that performances are kept in, by model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Performances {
    models: BTreeMap<String, Kept>,
}

/// Performances with one model, and the hash of all they depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    key: String,
    performances: Vec<Performance>,
}

impl Performances {
    /// Reads what is kept at `path`; nothing when there is no file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read_kept(path, "does not hold performances of impostors", "impostors")
    }

    /// Writes them, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, self)
    }

    /// Keeps `performances` with `model`, beside others made with the same `key`, in the place of any made with another.
    pub fn keep(&mut self, model: &str, key: &str, performances: &[Performance]) {
        let kept = self.models.entry(model.to_owned()).or_default();
        if kept.key != key {
            *kept = Kept { key: key.to_owned(), performances: Vec::new() };
        }
        kept.performances.retain(|old| performances.iter().all(|new| new.impostor != old.impostor));
        kept.performances.extend_from_slice(performances);
        kept.performances.sort_by_key(|done| done.impostor.name());
    }

    /// What a report on `model` shows when everything is as `key` says.
    pub fn table(&self, model: &str, key: &str) -> ImpostorTable {
        let Some(kept) = self.models.get(model).filter(|kept| !kept.performances.is_empty()) else {
            return ImpostorTable::default();
        };
        let standing = if kept.key == key { TableStanding::Fresh } else { TableStanding::Stale };
        ImpostorTable { standing, rows: kept.performances.iter().map(row).collect() }
    }
}

fn row(done: &Performance) -> ImpostorRow {
    let count = |reception| done.with(reception).count();
    ImpostorRow {
        name: done.impostor.name().to_owned(),
        does: done.does.clone(),
        n_red: count(Reception::Red),
        n_broken: count(Reception::Broken),
        n_indifferent: count(Reception::Indifferent),
        fooled: done.with(Reception::Fooled).map(|row| row.target.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use apr_impostor::Impostor;

    use super::*;
    use crate::impostors::Row;

    fn performance(impostor: Impostor, reception: Reception) -> Performance {
        let row = Row { target: "C4".parse().unwrap(), reception, said: String::new() };
        Performance { impostor, does: "fakes".into(), rows: vec![row] }
    }

    #[test]
    fn a_table_is_fresh_with_its_key_stale_with_another_and_absent_for_another_model() {
        let mut kept = Performances::default();
        assert_eq!(kept.table("tiny", "k").standing, TableStanding::NotRun);
        kept.keep("tiny", "k", &[performance(Impostor::ALL[0], Reception::Fooled)]);
        let table = kept.table("tiny", "k");
        assert_eq!(table.standing, TableStanding::Fresh);
        assert_eq!(table.rows[0].fooled, ["C4".parse().unwrap()]);
        assert_eq!(kept.table("tiny", "l").standing, TableStanding::Stale);
        assert_eq!(kept.table("release", "k"), ImpostorTable::default());
    }

    #[test]
    fn performances_of_one_key_add_up_and_those_of_another_are_dropped() {
        let [first, second, ..] = Impostor::ALL;
        let mut kept = Performances::default();
        kept.keep("tiny", "k", &[performance(first, Reception::Red)]);
        kept.keep("tiny", "k", &[performance(second, Reception::Red)]);
        kept.keep("tiny", "k", &[performance(first, Reception::Fooled)]);
        let table = kept.table("tiny", "k");
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows.iter().filter(|row| row.fooled.len() == 1).count(), 1);
        kept.keep("tiny", "l", &[performance(second, Reception::Red)]);
        assert_eq!(kept.table("tiny", "l").rows.len(), 1);
    }

    #[test]
    fn a_table_of_claims_alone_is_read_and_stale() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("impostors.json");
        let row = r#"{"claim": "C4", "reception": "red", "said": "off"}"#;
        let performance = format!(r#"{{"impostor": "nan-logits", "does": "fakes", "rows": [{row}]}}"#);
        let kept = format!(r#"{{"models": {{"tiny": {{"key": "k", "performances": [{performance}]}}}}}}"#);
        std::fs::write(&path, kept).unwrap();
        let table = Performances::read(&path).unwrap().table("tiny", "l");
        assert_eq!((table.standing, table.rows[0].n_red), (TableStanding::Stale, 1));
    }

    #[test]
    fn what_is_kept_survives_being_written_and_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("impostors.json");
        let mut kept = Performances::default();
        kept.keep("tiny", "k", &[performance(Impostor::ALL[0], Reception::Red)]);
        kept.write(&path).unwrap();
        assert_eq!(Performances::read(&path).unwrap(), kept);
        std::fs::write(&path, "[]").unwrap();
        assert!(Performances::read(&path).unwrap_err().to_string().contains("hint: delete it"));
    }
}
