//! The user's directories, by the XDG rules.

use std::path::PathBuf;

/// Where what can be made or fetched again is kept, `$XDG_CACHE_HOME/probador` or `~/.cache/probador`; `None` without a home.
pub fn cache_directory() -> Option<PathBuf> {
    under("XDG_CACHE_HOME", ".cache")
}

/// `$VARIABLE/probador` when the variable holds an absolute path, else `~/FALLBACK/probador`; `None` without a home.
pub(crate) fn under(variable: &str, fallback: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match set {
        Some(base) => base,
        None => PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(fallback),
    };
    Some(base.join("probador"))
}
