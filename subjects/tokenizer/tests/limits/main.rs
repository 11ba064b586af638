//! What takes little time and memory however it is meant (hostile 23, 25). An executable of its own: the memory is the
//! process's.
#![allow(clippy::unwrap_used, reason = "a test fails where it is")]

#[path = "../support/mod.rs"]
mod support;

mod million;
mod templates;

/// Checks the most memory the process has had, where the system tells. Measured: 213 MB beyond the start for a text of four
/// million bytes, some fifty times the text.
#[track_caller]
fn little_memory_was_needed() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 600 << 10, "{kilobytes} kB of memory");
}
