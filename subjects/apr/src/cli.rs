//! The command line: what a user may type, and nothing about what it does.

use std::ffi::OsString;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Import, look at, check, run and sign language models in the `.apr` format.
#[derive(Debug, Parser)]
#[command(
    name = "apr",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted.\n\n\
                  Examples:\n  apr import model.gguf -o model.apr\n  apr inspect model.apr\n  \
                  apr chat model.apr"
)]
pub(crate) struct Cli {
    /// When to colour the output. By itself `apr` colours what goes to a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: ColorWhen,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to colour the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set or the terminal is dumb.
    #[default]
    Auto,
    /// Always, wherever the output goes.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(commands::import::Args),
    Convert(commands::convert::Args),
    Inspect(commands::inspect::Args),
    Validate(commands::validate::Args),
    Tensors(commands::tensors::Args),
    Tokenize(commands::tokenize::Args),
    Chat(commands::chat::Args),
    Eval(commands::eval::Args),
    Bench(commands::bench::Args),
    Canary(commands::canary::Args),
    Trace(commands::trace::Args),
    Diff(commands::diff::Args),
    TestModel(commands::test_model::Args),
    Probador(commands::probador::Args),
    Keygen(commands::keygen::Args),
    Sign(commands::sign::Args),
    Completions(commands::completions::Args),
    #[command(hide = true)]
    Man(commands::man::Args),
}

/// Parses the command line; help and version come back as errors, as clap has it.
pub(crate) fn parse(args: Vec<OsString>, color: ColorWhen) -> Result<Cli, clap::Error> {
    let mut command = definition(color);
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The definition of the whole command line, for parsing it, for completions and for the manual page.
pub(crate) fn definition(color: ColorWhen) -> clap::Command {
    Cli::command().color(match color {
        ColorWhen::Auto => ColorChoice::Auto,
        ColorWhen::Always => ColorChoice::Always,
        ColorWhen::Never => ColorChoice::Never,
    })
}

/// The `--color` among `args`, before they are parsed: errors of parsing want colours too. What is not a known value is
/// left for the parser to refuse.
pub(crate) fn color_of(args: &[OsString]) -> ColorWhen {
    let mut color = ColorWhen::Auto;
    let mut args = args.iter().skip(1).map_while(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        let value = match arg {
            "--color" => args.next(),
            _ => arg.strip_prefix("--color="),
        };
        if let Some(value) = value.and_then(|value| ColorWhen::from_str(value, false).ok()) {
            color = value;
        }
    }
    color
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command, and those inside commands.
    fn all_commands() -> Vec<clap::Command> {
        fn inside(command: &clap::Command) -> Vec<clap::Command> {
            let own = command.get_subcommands().filter(|command| command.get_name() != "help");
            own.flat_map(|command| [vec![command.clone()], inside(command)].concat()).collect()
        }
        let mut definition = definition(ColorWhen::Never);
        definition.build();
        inside(&definition)
    }

    #[test]
    fn the_definition_is_consistent() {
        definition(ColorWhen::Auto).debug_assert();
    }

    #[test]
    fn help_of_every_command_ends_with_an_example() {
        for mut command in all_commands() {
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                let last = help.trim_end().lines().last().unwrap_or_default();
                assert!(
                    last.starts_with("  apr ") && help.contains("\nExamples:\n"),
                    "`apr {} --help` ends with `{last}`",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn every_flag_says_what_it_does() {
        for command in all_commands() {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn color_is_known_before_parsing() {
        let color = |args: &[&str]| color_of(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(color(&["apr", "inspect", "x"]), ColorWhen::Auto);
        assert_eq!(color(&["apr", "--color", "never", "inspect", "x"]), ColorWhen::Never);
        assert_eq!(color(&["apr", "inspect", "--color=always"]), ColorWhen::Always);
        assert_eq!(color(&["apr", "inspect", "--", "--color=always"]), ColorWhen::Auto);
        assert_eq!(color(&["apr", "--color", "sometimes"]), ColorWhen::Auto);
    }
}
