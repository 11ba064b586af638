//! `apr-impostor NAME [--replies FILE] -- APR-ARGUMENTS...`: the fake called NAME in the place of `apr`.

mod program;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use apr_impostor::Impostor;

fn main() -> ExitCode {
    let mut words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let Some(end) = words.iter().position(|word| word == "--") else { return usage() };
    let arguments = words.split_off(end + 1);
    let Some(impostor) = words.first().and_then(|name| Impostor::find(name)) else { return usage() };
    let replies = match &words[1..] {
        [flag, path, _] if flag == "--replies" => Some(PathBuf::from(path)),
        _ => None,
    };
    match program::run(impostor, replies.as_deref(), arguments, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = Impostor::ALL.map(Impostor::name).into();
    say(&format!(
        "usage: apr-impostor NAME [--replies FILE] -- APR-ARGUMENTS...\nNAME is one of: {}",
        names.join(", ")
    ));
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "the edge of the program")]
fn say(text: &str) {
    eprintln!("{text}");
}
