//! Collections of named tensors, an `.apr` file or a folder of `.npy` files, and comparing two of them.

mod collection;
mod diff;
mod names;

pub use collection::{Collection, Numbers, Opened, TensorsError};
pub use diff::{CollectionDiff, Outcome, TensorDiff, diff};
pub use names::{NamePattern, forward_order};
