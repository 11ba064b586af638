//! `schema`: writes the JSON schemas beside the files they describe, or checks that they are current.

use super::workspace;
use crate::checklist::schemas;
use crate::cli::{Global, SchemaArgs};
use crate::exit::ExitStatus;
use crate::playbook;
use crate::printer::Printer;
use crate::report::{schema as report_schema, write_file};

/// Writes or checks every schema.
pub(super) fn run(args: &SchemaArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let mut status = ExitStatus::Pass;
    let of_checklist = schemas().into_iter().chain([report_schema()]);
    let files = of_checklist.map(|schema| (format!("checklist/{}", schema.name), schema.text));
    for (name, text) in files.chain([("playbooks/schema.json".to_owned(), playbook::schema())]) {
        let path = workspace.path(&name);
        let is_current = std::fs::read_to_string(&path).is_ok_and(|stored| stored == text);
        let word = if is_current {
            "current"
        } else if args.check {
            status = ExitStatus::Failed;
            "stale"
        } else {
            write_file(&path, text.as_bytes())?;
            "written"
        };
        printer.data(&format!("{word} {name}"));
    }
    Ok(status)
}
