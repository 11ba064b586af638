//! Section G: what the sources and the tools say.

use crate::case::{Judgement, Undecided};
use crate::checklist::Claim;
use crate::checks::{CheckError, CheckFn, Context};
use crate::stored::{CLIPPY, ToolResult, tree_hash};

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[("G3", clippy_has_nothing_to_say)];

/// G3: judges the stored result of clippy, if it is of this very tree.
fn clippy_has_nothing_to_say(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let stored = ToolResult::read(&context.stored_result(CLIPPY))?;
    let tree = tree_hash(context.source_root())?;
    if stored.tree != tree {
        return Err(CheckError::Undecided(Undecided::unverified(
            "the stored result of clippy is of another state of the tree",
            "cargo probador lint --clippy",
        )));
    }
    let mut judgement = Judgement::new();
    judgement.input("tree", tree);
    judgement.note(format!("{} ({})", stored.command, stored.tool));
    judgement.exactly("clippy warnings", stored.findings.len(), 0, "", stored.n_packages);
    for finding in stored.findings.iter().take(5) {
        judgement.fail(format!("clippy warning: {finding}"));
    }
    Ok(judgement)
}

/// G2, G4, G5, G6: no finding of the lint `rule` in the workspace.
pub fn lint(_context: &Context, rule: &str) -> Result<Judgement, CheckError> {
    Err(anyhow::anyhow!("no lint is called `{rule}`").into())
}
