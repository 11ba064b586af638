//! What G7 must flag, by how the reply is chosen, and what it must not.

mod branches;
mod constants;
mod draws;
mod innocent;
mod sources;
mod tables;

use super::super::rule::Example;
pub(crate) use innocent::MUST_NOT_FLAG;

/// Every disguise; the first of each family is planted as a fault.
pub(crate) const MUST_FLAG: &[Example] = &[
    branches::BRANCHES[0],
    branches::BRANCHES[1],
    branches::BRANCHES[2],
    branches::BRANCHES[3],
    branches::BRANCHES[4],
    branches::BRANCHES[5],
    branches::BRANCHES[6],
    branches::BRANCHES[7],
    tables::TABLES[0],
    tables::TABLES[1],
    tables::TABLES[2],
    tables::TABLES[3],
    tables::TABLES[4],
    tables::TABLES[5],
    tables::TABLES[6],
    tables::TABLES[7],
    tables::TABLES[8],
    tables::TABLES[9],
    tables::TABLES[10],
    tables::TABLES[11],
    draws::DRAWS[0],
    draws::DRAWS[1],
    draws::DRAWS[2],
    draws::DRAWS[3],
    constants::CONSTANTS[0],
    constants::CONSTANTS[1],
    constants::CONSTANTS[2],
    constants::CONSTANTS[3],
    constants::CONSTANTS[4],
    sources::SOURCES[0],
    sources::SOURCES[1],
];
