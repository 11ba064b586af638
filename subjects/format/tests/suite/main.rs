//! Files written, read, damaged, signed, judged, and the file system around them.
#![allow(clippy::unwrap_used, reason = "a test fails where it is")]

#[path = "../support/mod.rs"]
mod support;

mod file_system;
mod hostile;
mod properties;
mod quality;
mod round_trip;
mod signatures;
mod writing;
