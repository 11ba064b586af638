//! Dtypes, tensor views, the thread team and the compute kernels.
//!
//! Every matrix product, norm and activation of the stack is computed here, through a [`Compute`] that holds the
//! thread team and the kernel table chosen once at start.

mod dtype;
mod tensor;

pub use dtype::DType;
pub use tensor::{Tensor, TensorError};
