//! `impostors`: lets whole fakes stand in for the stack, and says which claims they get away with.

use std::sync::Arc;

use apr_impostor::Impostor;

use super::full::{IMPOSTORS, build, folder};
use super::workspace;
use crate::cli::{Global, ImpostorsArgs};
use crate::engine::{Engine, Options};
use crate::exit::ExitStatus;
use crate::impostors::{Cast, Performance, Reception};
use crate::printer::{Format, Printer, Tone};
use crate::process::not_interrupted;
use crate::prove::Keys;
use crate::report::Performances;

/// Judges the impostors that were asked for.
pub(super) fn run(
    args: &ImpostorsArgs,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    if !args.no_build {
        build(&["apr-cli", "apr-impostor"], &workspace, printer)?;
    }
    let options = Options { model: args.subject.model.clone(), seed: args.subject.seed };
    let engine = Arc::new(Engine::open(workspace, &options)?);
    let cast = Cast::new(Arc::clone(&engine), &[])?;
    let impostors: &[Impostor] = if args.names.is_empty() { &Impostor::ALL } else { &args.names };
    if args.format == Format::Human {
        printer.start_progress(impostors.len());
    }
    let mut performances = Vec::new();
    for &impostor in impostors {
        performances.push(cast.perform(impostor)?);
        not_interrupted()?;
        printer.advance();
    }
    printer.end_progress();
    keep(args, &engine, &performances)?;
    for line in shown(&performances, args.format, printer)? {
        printer.data(&line);
    }
    Ok(status(&performances))
}

/// What is printed of the impostors.
fn shown(performances: &[Performance], format: Format, printer: &Printer) -> anyhow::Result<Vec<String>> {
    Ok(match format {
        Format::Human => performances.iter().flat_map(|done| lines(done, printer)).collect(),
        Format::Terse => {
            let rows = performances.iter().flat_map(|done| done.rows.iter().map(move |row| (done, row)));
            rows.map(|(done, row)| format!("{} {} {}", word(row.reception), done.impostor.name(), row.target))
                .collect()
        }
        Format::Json => vec![serde_json::to_string_pretty(performances)?],
    })
}

fn status(performances: &[Performance]) -> ExitStatus {
    let fooled = performances.iter().any(|done| done.with(Reception::Fooled).next().is_some());
    if fooled { ExitStatus::FaultSurvived } else { ExitStatus::Pass }
}

/// Keeps what was seen for the next report. Samples of another seed are not what a report is of.
fn keep(args: &ImpostorsArgs, engine: &Engine, performances: &[Performance]) -> anyhow::Result<()> {
    if args.subject.seed.is_some() {
        return Ok(());
    }
    let (workspace, model) = (engine.context().workspace(), engine.context().model());
    let path = folder(args.reports.as_deref(), workspace).impostors();
    let key = Keys::new(workspace, model)?.of_all(engine.checklist(), &[&workspace.path(IMPOSTORS)])?;
    let mut kept = Performances::read(&path)?;
    kept.keep(&model.name, &key, performances);
    kept.write(&path)
}

/// What a person reads of one impostor: first what it got away with.
fn lines(done: &Performance, printer: &Printer) -> Vec<String> {
    let count = |reception| done.with(reception).count();
    let names = |reception| done.with(reception).map(|row| row.target.to_string()).collect::<Vec<_>>();
    let fooled = names(Reception::Fooled);
    let head = if fooled.is_empty() {
        printer.paint(Tone::Good, " caught ")
    } else {
        printer.paint(Tone::Bad, "PASSES ")
    };
    let mut lines = vec![format!(
        "{head} {:<16} {}; {} claims and playbooks are red, {} cannot judge it, {} may be green",
        done.impostor.name(),
        done.does,
        count(Reception::Red),
        count(Reception::Broken),
        count(Reception::Indifferent)
    )];
    if !fooled.is_empty() {
        lines.push(format!("        it gets away with: {}", fooled.join(" ")));
    }
    let indifferent = names(Reception::Indifferent);
    if !indifferent.is_empty() {
        lines.push(format!("        which say why a fake may pass: {}", indifferent.join(" ")));
    }
    lines
}

fn word(reception: Reception) -> &'static str {
    match reception {
        Reception::Red => "red",
        Reception::Broken => "broken",
        Reception::Indifferent => "indifferent",
        Reception::Fooled => "fooled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::impostors::Row;
    use crate::printer::ColorChoice;

    fn performance(rows: &[(&str, Reception)]) -> Performance {
        let row = |&(target, reception): &(&str, Reception)| Row {
            target: target.parse().unwrap(),
            reception,
            said: "so it was".to_owned(),
        };
        Performance {
            impostor: Impostor::RandomWeights,
            does: "computes with noise".to_owned(),
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn what_an_impostor_gets_away_with_is_said_first_and_has_an_exit_code_of_its_own() {
        let printer = Printer::new(ColorChoice::Never, true);
        let caught = [("A1", Reception::Indifferent), ("C1", Reception::Red), ("C2", Reception::Broken)];
        let fooled =
            [&caught[..], &[("D2", Reception::Fooled), ("edge-cases/unicode", Reception::Fooled)]].concat();
        let (caught, fooled) = ([performance(&caught)], [performance(&fooled)]);
        let shown = |performances: &[Performance], format| shown(performances, format, &printer).unwrap();
        let counts = "random-weights   computes with noise; 1 claims and playbooks are red, 1 cannot judge it, 1 may be green";
        let indifferent = "        which say why a fake may pass: A1";
        assert_eq!(shown(&caught, Format::Human), [format!(" caught  {counts}"), indifferent.to_owned()]);
        assert_eq!(
            shown(&fooled, Format::Human),
            [
                format!("PASSES  {counts}"),
                "        it gets away with: D2 edge-cases/unicode".to_owned(),
                indifferent.to_owned()
            ]
        );
        assert_eq!((status(&caught), status(&fooled)), (ExitStatus::Pass, ExitStatus::FaultSurvived));
        assert_eq!(
            shown(&fooled, Format::Terse),
            [
                "indifferent random-weights A1",
                "red random-weights C1",
                "broken random-weights C2",
                "fooled random-weights D2",
                "fooled random-weights edge-cases/unicode",
            ]
        );
        let json: Vec<Performance> = serde_json::from_str(&shown(&fooled, Format::Json)[0]).unwrap();
        assert_eq!(json, fooled);
    }
}
