//! A matrix seen from afar: the mean magnitude in each cell of a coarse grid, as shades of text or as inline SVG.

use std::fmt::Write as _;

use serde::Serialize;

use super::escaped;

/// From nothing to the largest.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Shades of the SVG.
const LEVELS: usize = 8;
const CELL: usize = 5;

/// A coarse grid over a matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// Rows of the grid.
    pub n_rows: usize,
    /// Columns of the grid.
    pub n_columns: usize,
    /// Mean magnitude of the finite values in each cell, row by row; `null` in JSON where a cell has none.
    pub cells: Vec<f64>,
}

impl Grid {
    /// Lays at most `max_rows` by `max_columns` cells over the matrix of `shape` whose values `values` yields row by row;
    /// `None` for what is no matrix, has no element or other than the shape says.
    pub fn of(
        shape: &[usize],
        (max_rows, max_columns): (usize, usize),
        values: impl Iterator<Item = f32>,
    ) -> Option<Self> {
        let &[height, width] = shape else { return None };
        let (n_rows, n_columns) = (height.min(max_rows), width.min(max_columns));
        if n_rows == 0 || n_columns == 0 {
            return None;
        }
        let (mut sums, mut counts) = (vec![0.0; n_rows * n_columns], vec![0_u64; n_rows * n_columns]);
        let mut n_values = 0;
        for (at, value) in values.enumerate() {
            n_values += 1;
            let (row, column) = (at / width, at % width);
            if row < height && value.is_finite() {
                let cell = row * n_rows / height * n_columns + column * n_columns / width;
                sums[cell] += f64::from(value.abs());
                counts[cell] += 1;
            }
        }
        if n_values != height.checked_mul(width)? {
            return None;
        }
        let cells = sums.iter().zip(&counts).map(|(sum, &count)| sum / count as f64).collect();
        Some(Self { n_rows, n_columns, cells })
    }

    /// The largest mean magnitude; 0 when no cell has a value.
    pub fn largest(&self) -> f64 {
        self.cells.iter().copied().filter(|cell| cell.is_finite()).fold(0.0, f64::max)
    }

    /// One line a row, one character a cell; `?` where no value is finite.
    pub fn shades(&self) -> Vec<String> {
        let largest = self.largest();
        let shade = |&cell: &f64| match level(cell, largest, SHADES.len()) {
            None => '?',
            Some(level) => SHADES[level],
        };
        self.cells.chunks(self.n_columns).map(|row| row.iter().map(shade).collect()).collect()
    }

    /// Inline SVG: the darker a cell against the page, the larger its mean magnitude. `what` names the tensor.
    pub fn svg(&self, what: &str) -> String {
        let largest = self.largest();
        let (width, height) = (self.n_columns * CELL, self.n_rows * CELL);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" style=\"max-width:100%;height:auto;outline:1px solid\" \
             fill=\"currentColor\"><title>{}: mean magnitude in {} by {} cells, from 0 to {largest:.3e}</title>",
            escaped(what),
            self.n_rows,
            self.n_columns,
        );
        // One path a shade: a cell costs a few bytes.
        for wanted in 1..LEVELS {
            let mut path = String::new();
            for (at, &cell) in self.cells.iter().enumerate() {
                if level(cell, largest, LEVELS) == Some(wanted) {
                    let (x, y) = (at % self.n_columns * CELL, at / self.n_columns * CELL);
                    let _ = write!(path, "M{x} {y}h{CELL}v{CELL}h-{CELL}z");
                }
            }
            if !path.is_empty() {
                let opacity = wanted as f64 / (LEVELS - 1) as f64;
                let _ = write!(svg, "<path opacity=\"{opacity:.2}\" d=\"{path}\"/>");
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

/// Which of `n` shades a cell has; `None` when it has no value.
fn level(cell: f64, largest: f64, n: usize) -> Option<usize> {
    if !cell.is_finite() {
        return None;
    }
    let share = if largest > 0.0 { cell / largest } else { 0.0 };
    Some(((share * (n - 1) as f64).round() as usize).min(n - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_hold_the_mean_magnitude_of_their_part() {
        let values = [1.0, -3.0, 0.0, 0.0, 5.0, 3.0, f32::NAN, 8.0];
        let grid = Grid::of(&[2, 4], (2, 2), values.into_iter()).unwrap();
        let expected = [2.0, 0.0, 4.0, 8.0];
        assert!(grid.cells.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12));
        assert_eq!(grid.shades(), ["░ ", "▒█"]);
        assert_eq!(
            Grid::of(&[2, 4], (9, 9), values.into_iter()).unwrap().shades()[1].chars().nth(2),
            Some('?')
        );
    }

    #[test]
    fn what_is_no_matrix_has_no_picture() {
        for (shape, n) in
            [(&[4][..], 4), (&[0, 4], 0), (&[4, 0], 0), (&[2, 2], 3), (&[2, 2], 5), (&[usize::MAX, 4], 4)]
        {
            assert_eq!(Grid::of(shape, (4, 4), std::iter::repeat_n(1.0, n)), None, "{shape:?}");
        }
        let empty = Grid::of(&[1, 2], (4, 4), [f32::NAN; 2].into_iter()).unwrap();
        assert!(empty.largest().abs() < 1e-12 && empty.shades() == ["??"]);
    }

    #[test]
    fn the_largest_cells_are_opaque_and_zeros_are_not_drawn() {
        let grid = Grid { n_rows: 1, n_columns: 3, cells: vec![0.0, 2.0, 4.0] };
        let svg = grid.svg("w");
        assert_eq!(svg.matches("<path").count(), 2, "{svg}");
        assert!(svg.contains("opacity=\"1.00\" d=\"M10 0h5"), "{svg}");
    }

    #[test]
    fn a_matrix_of_zeros_is_blank() {
        let grid = Grid::of(&[2, 2], (4, 4), [0.0; 4].into_iter()).unwrap();
        assert_eq!((grid.largest(), grid.shades()), (0.0, vec!["  ".to_owned(); 2]));
        assert!(!grid.svg("w").contains("<path"), "{}", grid.svg("w"));
    }
}
