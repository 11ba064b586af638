//! What a line typed into a conversation means: something to say, or a command.

use std::path::PathBuf;

use thiserror::Error;

/// A line of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing but white space.
    Nothing,
    /// A message for the model.
    Say(String),
    /// A command for the program.
    Command(Slash),
}

/// A command inside a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slash {
    Reset,
    /// A new system prompt, or a look at the present one.
    System(Option<String>),
    Save {
        path: PathBuf,
        overwrite: bool,
    },
    Load(PathBuf),
    Inspect(InspectChange),
    Help,
    Quit,
}

/// What `/inspect` asks for; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InspectChange {
    /// `on` or `off`; without any argument, the other one.
    pub(crate) on: Option<bool>,
    pub(crate) layer: Option<usize>,
    pub(crate) head: Option<usize>,
    pub(crate) top: Option<usize>,
}

/// Why a command was not understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum SlashError {
    #[error(
        "there is no command `/{0}`\nhint: /help lists them; start with `//` to say something that begins with a slash"
    )]
    Unknown(String),
    #[error("`/{command}` needs {what}\nhint: {usage}")]
    Missing { command: &'static str, what: &'static str, usage: &'static str },
    #[error("`/{command}` does not understand `{argument}`\nhint: {usage}")]
    Argument { command: &'static str, argument: String, usage: &'static str },
}

/// What `/help` prints.
pub(crate) const HELP: &str = "\
/reset               forget the conversation, keep the system prompt
/system [TEXT]       set the system prompt; without TEXT, show it
/save [--force] FILE write the conversation to FILE
/load FILE           go on with a conversation from FILE
/inspect [on|off] [layer=L] [head=H] [top=K]
                     show what the model sees while it answers
/help                this list
/quit                leave (so does Ctrl-D); Ctrl-C stops a reply
//TEXT               say something that begins with a slash";

const SAVE_USAGE: &str = "/save [--force] FILE";
const LOAD_USAGE: &str = "/load FILE";
const INSPECT_USAGE: &str = "/inspect [on|off] [layer=L] [head=H] [top=K]";

/// Reads one line of input.
pub(crate) fn parse(line: &str) -> Result<Input, SlashError> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Input::Nothing);
    }
    let Some(command) = line.strip_prefix('/') else {
        return Ok(Input::Say(line.to_owned()));
    };
    if command.starts_with('/') {
        return Ok(Input::Say(command.to_owned()));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    Ok(Input::Command(match name {
        "reset" => without_arguments("reset", rest, "/reset", Slash::Reset)?,
        "help" => without_arguments("help", rest, "/help", Slash::Help)?,
        "quit" | "exit" => without_arguments("quit", rest, "/quit", Slash::Quit)?,
        "system" => Slash::System((!rest.is_empty()).then(|| rest.to_owned())),
        "save" => {
            let (overwrite, path) = match rest.strip_prefix("--force") {
                Some(path) if path.is_empty() || path.starts_with(char::is_whitespace) => (true, path.trim()),
                _ => (false, rest),
            };
            Slash::Save { path: path_argument("save", path, SAVE_USAGE)?, overwrite }
        }
        "load" => Slash::Load(path_argument("load", rest, LOAD_USAGE)?),
        "inspect" => Slash::Inspect(inspect(rest)?),
        _ => return Err(SlashError::Unknown(name.to_owned())),
    }))
}

fn without_arguments(
    command: &'static str,
    rest: &str,
    usage: &'static str,
    slash: Slash,
) -> Result<Slash, SlashError> {
    if rest.is_empty() {
        Ok(slash)
    } else {
        Err(SlashError::Argument { command, argument: rest.to_owned(), usage })
    }
}

fn path_argument(command: &'static str, path: &str, usage: &'static str) -> Result<PathBuf, SlashError> {
    if path.is_empty() {
        Err(SlashError::Missing { command, what: "a file", usage })
    } else {
        Ok(path.into())
    }
}

fn inspect(rest: &str) -> Result<InspectChange, SlashError> {
    let mut change = InspectChange::default();
    for word in rest.split_whitespace() {
        let not_understood =
            || SlashError::Argument { command: "inspect", argument: word.to_owned(), usage: INSPECT_USAGE };
        match word.split_once('=') {
            None if word == "on" => change.on = Some(true),
            None if word == "off" => change.on = Some(false),
            None => return Err(not_understood()),
            Some((name, value)) => {
                let value = value.parse().map_err(|_| not_understood())?;
                match name {
                    "layer" => change.layer = Some(value),
                    "head" => change.head = Some(value),
                    "top" if value > 0 => change.top = Some(value),
                    _ => return Err(not_understood()),
                }
            }
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &Result<Input, &str>) {
        let found =
            parse(line).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned());
        assert_eq!(found, expected.clone().map_err(str::to_owned), "{line:?}");
    }

    #[test]
    fn lines_are_messages_or_commands() {
        let say = |text: &str| Ok(Input::Say(text.to_owned()));
        let command = |slash| Ok(Input::Command(slash));
        check("", &Ok(Input::Nothing));
        check(" \t ", &Ok(Input::Nothing));
        check(" What is 2+2? ", &say("What is 2+2?"));
        check("1/2", &say("1/2"));
        check("//etc/passwd", &say("/etc/passwd"));
        check("/reset", &command(Slash::Reset));
        check("/exit", &command(Slash::Quit));
        check("/system", &command(Slash::System(None)));
        check("/system  Be brief. ", &command(Slash::System(Some("Be brief.".to_owned()))));
        check("/save a b.json", &command(Slash::Save { path: "a b.json".into(), overwrite: false }));
        check("/save --force x", &command(Slash::Save { path: "x".into(), overwrite: true }));
        check("/save --forced", &command(Slash::Save { path: "--forced".into(), overwrite: false }));
        check("/load x", &command(Slash::Load("x".into())));
        check("/inspect", &command(Slash::Inspect(InspectChange::default())));
        let change = InspectChange { on: Some(true), layer: Some(3), head: Some(0), top: Some(10) };
        check("/inspect on layer=3 head=0 top=10", &command(Slash::Inspect(change)));
    }

    #[test]
    fn what_is_no_command_is_refused_by_name() {
        check("/rest", &Err("there is no command `/rest`"));
        check("/", &Err("there is no command `/`"));
        check("/quit now", &Err("`/quit` does not understand `now`"));
        check("/save", &Err("`/save` needs a file"));
        check("/save --force", &Err("`/save` needs a file"));
        check("/inspect layer=-1", &Err("`/inspect` does not understand `layer=-1`"));
        check("/inspect top=0", &Err("`/inspect` does not understand `top=0`"));
        check("/inspect maybe", &Err("`/inspect` does not understand `maybe`"));
    }

    #[test]
    fn help_names_every_command() {
        for name in ["reset", "system", "save", "load", "inspect", "help", "quit"] {
            assert!(HELP.contains(&format!("/{name}")), "{name}");
            assert_ne!(parse(&format!("/{name}")), Err(SlashError::Unknown(name.to_owned())));
        }
    }
}
