//! The checklist: claims, the faults that must turn them red, waivers and the baseline; read strictly, accounted for.
//!
//! Nothing here touches the file system: texts are handed in, problems and types are handed back.

mod account;
mod baseline;
mod claim;
mod fault;
mod id;
mod load;
mod schema;
mod waiver;

pub use account::{CHECKLIST_POINTS, Score, SectionScore, Standing, score};
pub use baseline::{Baseline, Regression};
pub use claim::{Check, Claim, CoverageClaim, Group, MutationClaim, Need, Sampling};
pub use fault::{Edit, Fault, FaultKind};
pub use id::{ClaimId, Section, UnknownClaim};
pub use load::{Checklist, SourceText, load};
pub use schema::{SchemaFile, schemas};
pub use waiver::{Date, Waiver, load_waivers};
