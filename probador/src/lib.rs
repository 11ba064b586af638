//! the verification engine: checklist, playbooks and golden traces to cases, verdicts and one report
