//! One self-contained page that shows the lines no test executes.

use std::path::Path;

use anyhow::Context as _;
use askama::Template;

use super::{Coverage, Line, shares};

#[derive(Template)]
#[template(path = "coverage.html")]
struct Page {
    files: Vec<FileView>,
    percent: String,
    n_lines: usize,
}

struct FileView {
    path: String,
    percent: String,
    lines: Vec<LineView>,
}

struct LineView {
    number: u32,
    text: String,
}

/// The page for `coverage` of the checkout at `root`, files with most missed lines first.
pub fn page(root: &Path, coverage: &Coverage) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for (path, file) in coverage.files.iter().filter(|(_, file)| !file.lines.missed.0.is_empty()) {
        let text =
            std::fs::read_to_string(root.join(path)).with_context(|| format!("failed to read `{path}`"))?;
        let source: Vec<&str> = text.lines().collect();
        let lines = file.lines.missed.0.iter().map(|Line(number)| LineView {
            number: *number,
            text: source.get(number.saturating_sub(1) as usize).copied().unwrap_or_default().to_owned(),
        });
        let [share, ..] = shares([file]);
        files.push(FileView {
            path: path.clone(),
            percent: format!("{:.1}", share.percent()),
            lines: lines.collect(),
        });
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.lines.len()));
    let [all, ..] = shares(coverage.files.values());
    let page = Page { files, percent: format!("{:.2}", all.percent()), n_lines: all.total };
    page.render().context("the page cannot be rendered")
}

#[cfg(test)]
mod tests {
    use super::super::{Counts, FileCoverage};
    use super::*;

    #[test]
    fn missed_lines_are_shown_with_their_text_and_nothing_of_it_is_markup() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.rs"), "fn a() {\n    b::<u8>();\n}\n").unwrap();
        let mut coverage = Coverage::default();
        let of = |total, missed: &[u32]| FileCoverage {
            lines: Counts { total, missed: missed.iter().copied().map(Line).collect() },
            ..FileCoverage::default()
        };
        coverage.files.insert("a.rs".to_owned(), of(4, &[2]));
        coverage.files.insert("whole.rs".to_owned(), of(4, &[]));
        let page = page(folder.path(), &coverage).unwrap();
        assert!(page.contains("87.50"), "{page}");
        assert!(page.contains("a.rs") && !page.contains("whole.rs"), "{page}");
        assert!(page.contains("b::") && !page.contains("<u8>"), "{page}");
    }
}
