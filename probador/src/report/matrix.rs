//! The matrix of claims and faults, as it is kept and as a page with one accessible table.

use std::path::Path;

use askama::Template;
use serde::{Deserialize, Serialize};

use super::TableStanding;
use crate::checklist::{Checklist, ClaimId};
use crate::prove::Matrix;

/// Which claims were red under which faults, and the hash of all that depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMatrix {
    /// The model that it was made with.
    pub model: String,
    /// Hash of claims, faults, the code that judges and plants, and the subject.
    pub key: String,
    /// The faults that were tried.
    pub faults: Vec<String>,
    /// The matrix.
    pub matrix: Matrix,
}

/// Whether the matrix kept at `path` is of `model` with everything as `key` says. One that cannot be read is none.
pub fn matrix_standing(path: &Path, model: &str, key: &str) -> TableStanding {
    let stored =
        std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<StoredMatrix>(&bytes).ok());
    match stored {
        Some(stored) if stored.model != model => TableStanding::NotRun,
        Some(stored) if stored.key == key => TableStanding::Fresh,
        Some(_) => TableStanding::Stale,
        None => TableStanding::NotRun,
    }
}

#[derive(Template)]
#[template(path = "prove.html")]
struct Page<'p> {
    model: &'p str,
    claims: Vec<ClaimHead<'p>>,
    rows: Vec<FaultRow<'p>>,
    redundant: Vec<String>,
    uncaught: Vec<&'p str>,
    n_missed: usize,
}

struct ClaimHead<'p> {
    id: ClaimId,
    title: &'p str,
}

struct FaultRow<'p> {
    name: &'p str,
    does: &'p str,
    cells: Vec<Cell>,
}

/// How a claim took a fault: a sign for the eye and words for whoever hears the page.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell {
    tone: &'static str,
    sign: &'static str,
    words: &'static str,
}

const CAUGHT: Cell = Cell { tone: "pass", sign: "■", words: "red, as it must be" };
const MISSED: Cell = Cell { tone: "fail", sign: "✕", words: "not red, though it must be" };
const ALSO: Cell = Cell { tone: "soft", sign: "□", words: "red too" };
const GREEN: Cell = Cell { tone: "soft", sign: "", words: "" };

/// Renders the matrix.
pub fn to_matrix_html(stored: &StoredMatrix, checklist: &Checklist) -> anyhow::Result<String> {
    let matrix = &stored.matrix;
    let judged: Vec<_> =
        checklist.claims().iter().filter(|claim| matrix.red.contains_key(&claim.id)).collect();
    let rows: Vec<FaultRow<'_>> = checklist
        .faults()
        .values()
        .filter(|fault| stored.faults.contains(&fault.name))
        .map(|fault| {
            let cells = judged.iter().map(|claim| {
                let is_red = matrix.red[&claim.id].contains(&fault.name);
                match (is_red, claim.faults.contains(&fault.name)) {
                    (true, true) => CAUGHT,
                    (true, false) => ALSO,
                    (false, true) => MISSED,
                    (false, false) => GREEN,
                }
            });
            FaultRow { name: &fault.name, does: &fault.does, cells: cells.collect() }
        })
        .collect();
    let page = Page {
        model: &stored.model,
        claims: judged.iter().map(|claim| ClaimHead { id: claim.id, title: &claim.title }).collect(),
        n_missed: rows.iter().flat_map(|row| &row.cells).filter(|cell| **cell == MISSED).count(),
        rows,
        redundant: matrix
            .redundant()
            .iter()
            .map(|claims| claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            .collect(),
        uncaught: matrix.uncaught(stored.faults.iter().map(String::as_str)),
    };
    Ok(page.render()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    fn stored() -> (StoredMatrix, Checklist) {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let ids: Vec<ClaimId> = ["A1", "A3", "C4"].map(|id| id.parse().unwrap()).into();
        let mut matrix = Matrix::of(ids.iter().copied());
        matrix.note_red(ids[0], "truncated-file");
        matrix.note_red(ids[1], "truncated-file");
        let faults = checklist.faults().keys().cloned().collect();
        (StoredMatrix { model: "tiny".into(), key: "k".into(), faults, matrix }, checklist)
    }

    #[test]
    fn a_cell_says_whether_a_claim_had_to_be_red_and_was() {
        let (stored, checklist) = stored();
        let page = to_matrix_html(&stored, &checklist).unwrap();
        let row = page.split("<tr>").find(|row| row.contains("truncated-file")).unwrap();
        assert_eq!(row.matches(CAUGHT.words).count(), 1, "{row}");
        assert_eq!(row.matches(ALSO.words).count(), 1, "{row}");
        let missed = page.split("<tr>").find(|row| row.contains(">byte-flipped-in-tensor<")).unwrap();
        assert_eq!(missed.matches(MISSED.words).count(), 2, "{missed}");
        assert!(page.contains("<li>A1, A3</li>"), "red under the same faults");
    }

    #[test]
    fn a_fault_that_was_not_tried_has_no_row() {
        let (mut stored, checklist) = stored();
        stored.faults.retain(|fault| fault == "truncated-file");
        let page = to_matrix_html(&stored, &checklist).unwrap();
        assert!(page.contains(">truncated-file<") && !page.contains(">byte-flipped-in-tensor<"));
    }

    #[test]
    fn a_kept_matrix_is_fresh_stale_or_of_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prove.json");
        assert_eq!(matrix_standing(&path, "tiny", "k"), TableStanding::NotRun);
        std::fs::write(&path, serde_json::to_vec(&stored().0).unwrap()).unwrap();
        assert_eq!(matrix_standing(&path, "tiny", "k"), TableStanding::Fresh);
        assert_eq!(matrix_standing(&path, "tiny", "l"), TableStanding::Stale);
        assert_eq!(matrix_standing(&path, "release", "k"), TableStanding::NotRun);
    }
}
