//! Dtypes, tensor views, the thread team and the compute kernels.
//!
//! Every matrix product, norm and activation of the stack is computed here, through a [`Compute`] that holds the
//! thread team and the kernel table chosen once at start.

mod buffer;
mod compute;
mod dtype;
mod kernels;
mod packed;
mod team;
mod tensor;

pub use buffer::Buffer;
pub use compute::{
    AttentionShape, Compute, HeadCache, Output, PackedProduct, PositionTerm, RoundedRows, TiledHeadCache,
};
pub use dtype::{DType, Float};
pub use packed::{BLOCK_COLUMNS, BLOCK_ROWS, GROUP, Packing};
pub use team::{MAX_THREADS, Team};
pub use tensor::{Tensor, TensorError};
