//! The limit on the size of files (`ulimit -f`).

/// Makes a write past the limit an error like any other, not the end of this process; what it starts is not affected.
pub fn survive_size_limit() {
    // That nobody reads the flag does not matter: with a handler, the write fails instead.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), std::sync::Arc::default());
}
