//! How many threads a command works with, where it does more than run a model.

use std::thread;

use anyhow::{Context, Result};

/// Sizes the pool that scoring and quantization share out their work over, and returns the number: `n_threads`, or every
/// processor. To be called once, before any of that work.
pub(crate) fn limit(n_threads: Option<u8>) -> Result<usize> {
    let every = || thread::available_parallelism().map_or(1, usize::from);
    let n_threads = n_threads.map_or_else(every, usize::from);
    rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .thread_name(|index| format!("pool-{index}"))
        .build_global()
        .context("failed to start the threads to work with")?;
    Ok(n_threads)
}
