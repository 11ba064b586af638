//! Dtypes, tensor views, the thread team and the compute kernels.
//!
//! Every matrix product, norm and activation of the stack is computed here, through a [`Compute`] that holds the
//! thread team and the kernel table chosen once at start.

mod buffer;
mod compute;
mod dtype;
mod kernels;
mod team;
mod tensor;

pub use buffer::Buffer;
pub use compute::{AttentionShape, Compute, HeadCache, PositionTerm};
pub use dtype::DType;
pub use team::{MAX_THREADS, Team};
pub use tensor::{Tensor, TensorError};
