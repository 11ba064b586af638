//! The packed layouts of quantized matrices, the same on disk and for every instruction set.
//!
//! A matrix `[rows, columns]` is cut into blocks of 16 rows by 64 columns, those of the same 16 rows one after the other.
//! A block begins with the scales of its first 32 columns, one f16 for each row, then those of the other 32; its
//! values follow, in vectors of 64 bytes that hold four neighbouring columns of every row:
//!
//! * int8: byte `4 r + i` of vector `j` is row `r`, column `4 j + i`; 1,088 bytes, 8.5 bits a weight.
//! * int4: byte `4 r + i` of vector `4 g + j` holds row `r`, column `32 g + 4 j + i` in its low half and column
//!   `32 g + 16 + 4 j + i` in its high half, each plus 8; 576 bytes, 4.5 bits a weight.
//!
//! A weight is its value times the scale of its row and group of 32 columns.

use half::f16;

use crate::DType;

/// Rows of a block.
pub const BLOCK_ROWS: usize = 16;
/// Columns of a block.
pub const BLOCK_COLUMNS: usize = 64;
/// Columns that share a scale.
pub const GROUP: usize = 32;
/// Groups of a block.
pub(crate) const BLOCK_GROUPS: usize = BLOCK_COLUMNS / GROUP;
/// Bytes of a block's scales.
pub(crate) const SCALES_BYTES: usize = BLOCK_GROUPS * BLOCK_ROWS * 2;
/// Bytes of a vector: four columns of sixteen rows.
pub(crate) const VECTOR: usize = 4 * BLOCK_ROWS;

/// How a packed matrix stores its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// -127 to 127, a byte each.
    Int8,
    /// -8 to 7, half a byte each.
    Int4,
}

impl Packing {
    /// The packing of a dtype, `None` for one whose elements stand alone.
    pub const fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::Int8 => Some(Self::Int8),
            DType::Int4 => Some(Self::Int4),
            DType::F32 | DType::F16 | DType::Bf16 => None,
        }
    }

    /// The dtype of a matrix that is packed so.
    pub const fn dtype(self) -> DType {
        match self {
            Self::Int8 => DType::Int8,
            Self::Int4 => DType::Int4,
        }
    }

    /// The smallest and the largest value.
    pub const fn range(self) -> (i8, i8) {
        match self {
            Self::Int8 => (-127, 127),
            Self::Int4 => (-8, 7),
        }
    }

    /// Bytes of a block, scales included.
    pub const fn block_bytes(self) -> usize {
        SCALES_BYTES
            + match self {
                Self::Int8 => BLOCK_ROWS * BLOCK_COLUMNS,
                Self::Int4 => BLOCK_ROWS * BLOCK_COLUMNS / 2,
            }
    }

    /// Whether a matrix of this shape can be packed: rows in sixteens, columns in sixty-fours.
    pub fn fits(shape: &[usize]) -> bool {
        matches!(shape, &[rows, columns]
            if rows.is_multiple_of(BLOCK_ROWS) && columns.is_multiple_of(BLOCK_COLUMNS))
    }

    /// Bytes of a matrix, `None` when it cannot be packed or takes more than a `usize` says.
    pub fn n_bytes(self, shape: &[usize]) -> Option<usize> {
        if !Self::fits(shape) {
            return None;
        }
        (shape[0] / BLOCK_ROWS).checked_mul(shape[1] / BLOCK_COLUMNS)?.checked_mul(self.block_bytes())
    }

    /// Writes sixteen rows: `values`, `[16, columns]`, each in [`Packing::range`], and `scales`,
    /// `[16, columns / 32]`, to `target`, which holds their blocks.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn pack_rows(self, values: &[i8], scales: &[f16], target: &mut [u8]) {
        let columns = values.len() / BLOCK_ROWS;
        let n_groups = columns / GROUP;
        assert!(columns.is_multiple_of(BLOCK_COLUMNS) && values.len() == BLOCK_ROWS * columns, "values");
        assert_eq!(scales.len(), BLOCK_ROWS * n_groups, "a scale for each group");
        assert_eq!(target.len(), columns / BLOCK_COLUMNS * self.block_bytes(), "bytes of sixteen rows");
        target.fill(0);
        for (block, target) in target.chunks_exact_mut(self.block_bytes()).enumerate() {
            for row in 0..BLOCK_ROWS {
                for group in 0..BLOCK_GROUPS {
                    let scale = scales[row * n_groups + block * BLOCK_GROUPS + group];
                    let at = (group * BLOCK_ROWS + row) * 2;
                    target[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
                for column in 0..BLOCK_COLUMNS {
                    let value = values[row * columns + block * BLOCK_COLUMNS + column];
                    let (at, shift) = self.place(row, column);
                    match self {
                        Self::Int8 => target[at] = value as u8,
                        Self::Int4 => target[at] |= ((value + 8) as u8 & 0xf) << shift,
                    }
                }
            }
        }
    }

    /// Row `row` of a matrix of `columns` columns in `bytes`: each value, and the scale of its group.
    ///
    /// # Panics
    /// When the row is not in `bytes`.
    pub fn row(self, bytes: &[u8], columns: usize, row: usize) -> impl Iterator<Item = (i8, f16)> {
        let tile_bytes = columns / BLOCK_COLUMNS * self.block_bytes();
        let strip = &bytes[row / BLOCK_ROWS * tile_bytes..][..tile_bytes];
        let row = row % BLOCK_ROWS;
        strip.chunks_exact(self.block_bytes()).flat_map(move |block| {
            (0..BLOCK_COLUMNS).map(move |column| {
                let at = (column / GROUP * BLOCK_ROWS + row) * 2;
                let scale = f16::from_le_bytes([block[at], block[at + 1]]);
                let (at, shift) = self.place(row, column);
                let value = match self {
                    Self::Int8 => block[at] as i8,
                    Self::Int4 => (block[at] >> shift & 0xf) as i8 - 8,
                };
                (value, scale)
            })
        })
    }

    /// The byte of a block that holds a value, and by how many bits it is shifted there.
    const fn place(self, row: usize, column: usize) -> (usize, usize) {
        match self {
            Self::Int8 => (SCALES_BYTES + column / 4 * VECTOR + 4 * row + column % 4, 0),
            Self::Int4 => {
                let (group, column) = (column / GROUP, column % GROUP);
                let vector = group * 4 + column % 16 / 4;
                (SCALES_BYTES + vector * VECTOR + 4 * row + column % 4, if column < 16 { 0 } else { 4 })
            }
        }
    }
}
