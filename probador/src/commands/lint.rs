//! `lint`: the project's own rules; and clippy's result, kept for claim G3 with the hash of the tree it saw.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::workspace;
use crate::cli::{Global, LintArgs, LintFormat};
use crate::exit::ExitStatus;
use crate::lint::{self, Finding, Kind, Linted, RULES, Rule};
use crate::printer::Printer;
use crate::process::Program;
use crate::stored::{CLIPPY, ToolResult, tree_hash};
use crate::workspace::Workspace;

/// Runs what was asked for.
pub(super) fn run(args: &LintArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    if !args.clippy {
        // The rules judge any tree of crates; one that is named needs no checklist.
        let root = match &global.root {
            Some(root) => std::path::absolute(root)?,
            None => workspace(global)?.root().to_owned(),
        };
        return own_rules(args, &root, printer);
    }
    let workspace = workspace(global)?;
    let result = clippy(&workspace)?;
    result.write(&workspace.path(CLIPPY))?;
    for finding in &result.findings {
        printer.data(finding);
    }
    printer.talk(&format!(
        "{}: {} findings in {} packages",
        result.tool,
        result.findings.len(),
        result.n_packages
    ));
    Ok(if result.findings.is_empty() { ExitStatus::Pass } else { ExitStatus::Failed })
}

/// Applies the project's own rules.
fn own_rules(args: &LintArgs, root: &Path, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let rules: Vec<&Rule> = if args.rules.is_empty() {
        RULES.to_vec()
    } else {
        args.rules.iter().map(|id| lint::find(id)).collect::<Result<_, _>>()?
    };
    let linted = lint::run(root, &rules)?;
    match args.format {
        LintFormat::Human => print_human(&linted, !args.rules.is_empty(), printer),
        LintFormat::Json => printer.data(&serde_json::to_string_pretty(&linted)?),
        LintFormat::Sarif => printer.data(&serde_json::to_string_pretty(&lint::sarif(&linted))?),
    }
    let inventories = rules.iter().filter(|rule| rule.kind == Kind::Inventory).map(|rule| {
        let n = linted.inventory.iter().filter(|entry| entry.rule == rule.id).count();
        format!(", {n} entries of {}", rule.id)
    });
    printer.talk(&format!(
        "{}: {} findings, {} excused{} in {} files of {} crates",
        linted.rules.join(" "),
        linted.findings.len(),
        linted.suppressed.len(),
        inventories.collect::<String>(),
        linted.n_files,
        linted.n_crates
    ));
    Ok(if linted.findings.is_empty() { ExitStatus::Pass } else { ExitStatus::Failed })
}

/// Findings, what is excused and why; and the entries of inventories when they were asked for by name.
fn print_human(linted: &Linted, lists_entries: bool, printer: &mut Printer) {
    let mut print = |finding: &Finding| printer.data(&finding.to_string());
    linted.findings.iter().for_each(&mut print);
    if lists_entries {
        linted.inventory.iter().for_each(&mut print);
    }
    for suppressed in &linted.suppressed {
        let what = suppressed.finding.to_string();
        let what = what.lines().next().unwrap_or_default();
        printer.data(&format!("{what}\nexcused at {}: {}", suppressed.by, suppressed.reason));
    }
}

/// Runs clippy over every target of the workspace and collects what it says.
fn clippy(workspace: &Workspace) -> anyhow::Result<ToolResult> {
    let tree = tree_hash(workspace.root())?;
    let cargo = || Program::cargo().folder(workspace.root());
    let version = cargo().args(["clippy", "--version"]).run()?;
    let run = cargo()
        .args(["clippy", "--release", "--workspace", "--all-targets", "--message-format=json"])
        .run()?;
    let mut findings = BTreeSet::new();
    let mut packages = BTreeSet::new();
    for line in run.stdout_text().lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        match message["reason"].as_str() {
            Some("compiler-artifact")
                if message["manifest_path"]
                    .as_str()
                    .is_some_and(|path| Path::new(path).starts_with(workspace.root())) =>
            {
                packages.insert(message["package_id"].to_string());
            }
            Some("compiler-message") => {
                let rendered = message["message"]["rendered"].as_str().unwrap_or("a message without text");
                let is_summary = message["message"]["spans"].as_array().is_none_or(Vec::is_empty);
                let level = message["message"]["level"].as_str().unwrap_or_default();
                if !is_summary && matches!(level, "warning" | "error") {
                    findings.insert(rendered.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    if !run.succeeded() && findings.is_empty() {
        return Err(anyhow::anyhow!("{}", run.describe())).context("clippy did not run");
    }
    Ok(ToolResult {
        tool: version.stdout_text().trim().to_owned(),
        command: "cargo clippy --release --workspace --all-targets".to_owned(),
        tree,
        n_packages: packages.len(),
        findings: findings.into_iter().collect(),
    })
}
