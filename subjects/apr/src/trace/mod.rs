//! Exporting the tensors of a forward pass: which ones, to what files, and the folder that appears only when complete.

pub(crate) mod export;
pub(crate) mod folder;
pub(crate) mod keys;
pub(crate) mod npy;
