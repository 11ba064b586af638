//! The verification engine: checklist, playbooks and golden traces to cases, verdicts and one report.

pub mod checklist;
pub mod compare;
pub mod yaml;
