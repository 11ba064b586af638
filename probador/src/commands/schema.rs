//! `schema`: writes the JSON schemas beside the checklist, or checks that they are current.

use super::workspace;
use crate::checklist::schemas;
use crate::cli::{Global, SchemaArgs};
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::report::write_file;

/// Writes or checks every schema.
pub(super) fn run(args: &SchemaArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let mut status = ExitStatus::Pass;
    for schema in schemas() {
        let path = workspace.path("checklist").join(schema.name);
        let is_current = std::fs::read_to_string(&path).is_ok_and(|stored| stored == schema.text);
        let word = if is_current {
            "current"
        } else if args.check {
            status = ExitStatus::Failed;
            "stale"
        } else {
            write_file(&path, schema.text.as_bytes())?;
            "written"
        };
        printer.data(&format!("{word} checklist/{}", schema.name));
    }
    Ok(status)
}
