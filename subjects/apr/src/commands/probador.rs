//! `apr probador`: hands over to the verification engine, the `cargo-probador` executable.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cli::ColorWhen;
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// The executable that the engine is.
const ENGINE: &str = if cfg!(windows) { "cargo-probador.exe" } else { "cargo-probador" };

/// Run the verification engine, `cargo-probador`.
///
/// Everything after `probador` is handed to the `cargo-probador` executable beside `apr`, or else on PATH, and its
/// exit code is the exit code here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr probador full\n  apr probador list --section C\n  \
                        apr probador golden verify")]
pub(crate) struct Args {
    /// The engine's own command line.
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    args: Vec<OsString>,
}

/// A command line for the engine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) args: Vec<OsString>,
}

pub(crate) fn plan(args: Args) -> Plan {
    Plan { args: args.args }
}

/// Becomes the engine; comes back only when that is not possible.
pub(crate) fn run(plan: &Plan, color: ColorWhen, printer: &mut Printer) -> Result<ExitStatus> {
    let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let Some(engine) = find(beside.as_deref(), env::var_os("PATH").as_deref()) else {
        bail!(
            "`{ENGINE}` is neither beside `apr`{} nor on PATH\n\
             hint: build it with `cargo build --release -p probador`, or install it with `cargo install --path probador`",
            beside.map(|folder| format!(" (in `{}`)", folder.display())).unwrap_or_default()
        );
    };
    let mut command = Command::new(&engine);
    command.args(&plan.args);
    match color {
        ColorWhen::Auto => {}
        ColorWhen::Always => drop(command.env("CARGO_TERM_COLOR", "always")),
        ColorWhen::Never => drop(command.env("CARGO_TERM_COLOR", "never")),
    }
    printer.flush()?;
    hand_over(command).with_context(|| format!("failed to run `{}`", engine.display()))
}

/// The engine beside this executable, or the first one on PATH.
fn find(beside: Option<&Path>, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let on_path = path.map(|path| env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    beside
        .map(Path::to_owned)
        .into_iter()
        .chain(on_path.into_iter().filter(|folder| folder.is_absolute()))
        .map(|folder| folder.join(ENGINE))
        .find(|candidate| is_executable(candidate))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// Replaces this process, so that exit code, signals and terminal are the engine's own.
#[cfg(unix)]
fn hand_over(mut command: Command) -> Result<ExitStatus> {
    use std::os::unix::process::CommandExt;
    Err(command.exec().into())
}

#[cfg(not(unix))]
fn hand_over(mut command: Command) -> Result<ExitStatus> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitStatus::Failure, ExitStatus::Delegated))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn engine_in(folder: &Path, mode: u32) -> PathBuf {
        let engine = folder.join(ENGINE);
        fs::write(&engine, "").unwrap();
        fs::set_permissions(&engine, fs::Permissions::from_mode(mode)).unwrap();
        engine
    }

    #[test]
    fn engine_beside_comes_before_the_one_on_path() {
        let (beside, on_path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = env::join_paths([on_path.path()]).unwrap();
        assert_eq!(find(Some(beside.path()), Some(&path)), None);

        let second = engine_in(on_path.path(), 0o755);
        assert_eq!(find(Some(beside.path()), Some(&path)), Some(second));
        let first = engine_in(beside.path(), 0o755);
        assert_eq!(find(Some(beside.path()), Some(&path)), Some(first));
    }

    #[test]
    fn file_that_cannot_be_executed_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        engine_in(folder.path(), 0o644);
        assert_eq!(find(Some(folder.path()), None), None);
    }

    #[test]
    fn relative_folder_on_path_is_never_searched() {
        assert_eq!(find(None, Some(std::ffi::OsStr::new(".:"))), None);
    }
}
