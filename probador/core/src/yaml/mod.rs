//! Strict YAML: text to a tree that knows where everything stands, and typed reading that reports every problem at once.
//!
//! `node.rs` is the only file that knows the YAML crate. `read.rs` turns a tree into types; it never stops at the first
//! problem, so a file with five mistakes takes one round to mend.

mod node;
mod read;

pub use node::{Key, Node, Position, Value, parse};
pub use read::{Fields, FromNode, Keyword, Problem, Problems, keyword_from};
