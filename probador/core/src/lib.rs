//! The verdict core: what is claimed, what a case is, and how values are compared. It opens nothing and runs nothing, so
//! that its tests can be held to every line and its mutants take seconds.

pub mod case;
pub mod checklist;
pub mod compare;
pub mod generate;
pub mod playbook_id;
pub mod yaml;
