//! Where values come from: an interpreter over the syntax trees that runs every function with what its callers hand
//! it, and keeps of each value only its origins.
//!
//! Types are followed as far as declarations tell, calls into other packages by what kind of work they do. Each call
//! is run with its own arguments, so that a helper given a prompt here and a file name there is not confused. What the
//! rule wants to know, it asks of what leaves: text that is printed, sent or returned.

mod assign;
mod calls;
mod closures;
mod conditions;
mod expressions;
mod interpreter;
mod known;
mod macros;
mod methods;
mod outside;
mod program;
mod value;

pub(super) use assign::holds_text;
pub(super) use interpreter::{Emission, Interpreter, Leaves};
pub(super) use program::{Macros, Program, TypeInfo};
pub(super) use value::{Origins, Value};
