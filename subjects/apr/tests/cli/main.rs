//! The `apr` executable as its users meet it: exit codes, standard streams, files.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod bench;
mod canary;
mod chat;
mod faults;
mod flags;
mod help;
mod hostile;
mod import;
mod look;
mod paths;
mod signing;
mod streams;
mod support;
mod terminal;
mod tokenize;
mod trace;
mod verification;
