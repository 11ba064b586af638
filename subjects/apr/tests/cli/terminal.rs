//! A conversation as a person has it: through a pseudo-terminal.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rexpect::process::{Signal, WaitStatus};
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::{Place, apr};

/// Nothing here takes longer, even beside a build.
const TIMEOUT_MS: u64 = 60_000;

const UP: &str = "\x1b[A";

fn spawn(command: Command) -> PtySession {
    let options = Options::new().timeout_ms(Some(TIMEOUT_MS)).strip_ansi_escape_codes(true);
    spawn_with_options(command, options).unwrap()
}

/// `apr chat model.apr FLAGS` on a terminal, at its first prompt.
fn chat(place: &Place, flags: &[&str]) -> PtySession {
    let mut command = place.command();
    command.env("TERM", "xterm").args(["chat", "model.apr"]).args(flags);
    // The terminal takes the place of all three streams.
    command.stdin(Stdio::inherit());
    let mut session = spawn(command);
    session.exp_string("Type a message, or /help").unwrap();
    session.exp_string("You: ").unwrap();
    session
}

fn code(session: &PtySession) -> Option<i32> {
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => Some(code),
        _ => None,
    }
}

/// Whether the terminal hands over lines, as it does unless a program edits them.
fn is_cooked(session: &PtySession) -> bool {
    let terminal = session.process().get_file_handle().unwrap();
    tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ICANON)
}

#[test]
fn conversation_has_commands_and_ends_with_quit() {
    let place = Place::new();
    let mut session = chat(&place, &["--temperature", "0", "--max-tokens", "8"]);
    session.send_line("Hello").unwrap();
    session.exp_string("Assistant: ").unwrap();
    session.exp_string("You: ").unwrap();
    session.send_line("/help").unwrap();
    session.exp_string("/save [--force] FILE").unwrap();
    session.send_line("/system Be brief.").unwrap();
    session.exp_string("(system prompt set").unwrap();
    session.send_line("/system").unwrap();
    session.exp_string("\r\nBe brief.\r\n").unwrap();
    session.send_line("/save talk.json").unwrap();
    session.exp_string("(saved to `talk.json`)").unwrap();
    let saved: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("talk.json")).unwrap()).unwrap();
    assert_eq!(saved["system"], "Be brief.");
    assert_eq!(saved["messages"][0], serde_json::json!({"role": "user", "content": "Hello"}));
    assert_eq!(saved["messages"].as_array().unwrap().len(), 2);
    session.send_line("/reset").unwrap();
    session.exp_string("(the conversation is forgotten)").unwrap();
    session.send_line("/save empty.json").unwrap();
    session.exp_string("(saved to `empty.json`)").unwrap();
    assert!(fs::read_to_string(place.path("empty.json")).unwrap().contains("\"messages\": []"));
    session.send_line("/load talk.json").unwrap();
    session.exp_string("(loaded 2 messages from `talk.json`)").unwrap();
    session.send_line("").unwrap();
    session.exp_string("(nothing was said").unwrap();
    session.send_line("/nonsense").unwrap();
    session.exp_string("error: there is no command `/nonsense`").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
    assert_eq!(code(&session), Some(0));
    assert!(is_cooked(&session));
}

#[test]
fn inspection_is_switched_on_and_off_while_talking() {
    let place = Place::new();
    let mut session = chat(&place, &["--temperature", "0", "--max-tokens", "4"]);
    session.send_line("/inspect layer=0 head=1 top=2").unwrap();
    session.exp_string("(inspection is on)").unwrap();
    session.send_line("Hello").unwrap();
    session.exp_string("[DEBUG] Tokenized: [").unwrap();
    session.exp_string("[DEBUG] Top-2 Candidates:").unwrap();
    session.exp_string("[DEBUG] Attention: layer 0, head 1;").unwrap();
    session.exp_string("[Stats: ").unwrap();
    session.exp_string("You: ").unwrap();
    session.send_line("/inspect layer=9").unwrap();
    session.exp_string("there is no layer 9").unwrap();
    session.send_line("/inspect").unwrap();
    session.exp_string("(inspection is off)").unwrap();
    session.send_line("Hello").unwrap();
    session.exp_string("Assistant: ").unwrap();
    let reply = session.exp_string("You: ").unwrap();
    assert!(!reply.contains("[DEBUG]"), "{reply}");
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    assert_eq!(code(&session), Some(0));
}

#[test]
fn second_turn_sees_the_first_and_evaluates_only_what_is_new() {
    let place = Place::new();
    let mut session = chat(&place, &["--temperature", "0", "--max-tokens", "4", "--inspect"]);
    let mut turn = |text: &str| -> (Vec<String>, usize) {
        session.send_line(text).unwrap();
        session.exp_string("Tokenized: [").unwrap();
        let ids = session.exp_string("]").unwrap();
        session.exp_string("[DEBUG] Prompt: ").unwrap();
        let n_evaluated = session.exp_string(" tokens").unwrap().parse().unwrap();
        session.exp_string("[Stats: ").unwrap();
        session.exp_string("You: ").unwrap();
        (ids.split(", ").map(str::to_owned).collect(), n_evaluated)
    };
    let (first, n_evaluated) = turn("Hello");
    assert_eq!(n_evaluated, first.len());
    // The prompt of the second turn starts with the first one whole, which the cache holds.
    let (second, n_evaluated) = turn("Again");
    assert!(second.len() > first.len() && second[..first.len()] == first[..]);
    assert!(n_evaluated <= second.len() - first.len(), "{n_evaluated} of {} were evaluated", second.len());
}

#[test]
fn cache_kept_from_turn_to_turn_changes_no_reply() {
    let place = Place::new();
    let flags = ["--temperature", "0", "--max-tokens", "12", "--repetition-penalty", "1.3"];
    let mut session = chat(&place, &flags);
    for text in ["Hello", "Again", "And again"] {
        session.send_line(text).unwrap();
        session.exp_string("Assistant: ").unwrap();
        session.exp_string("You: ").unwrap();
    }
    session.send_line("/save talk.json").unwrap();
    session.exp_string("(saved").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
    let talk: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("talk.json")).unwrap()).unwrap();
    let replies = talk["messages"].as_array().unwrap();

    // The same last turn over an empty cache.
    let mut shortened = talk.clone();
    shortened["messages"].as_array_mut().unwrap().truncate(4);
    fs::write(place.path("before.json"), shortened.to_string()).unwrap();
    let mut session = chat(&place, &flags);
    session.send_line("/load before.json").unwrap();
    session.exp_string("(loaded 4 messages").unwrap();
    session.send_line("And again").unwrap();
    session.exp_string("Assistant: ").unwrap();
    session.exp_string("You: ").unwrap();
    session.send_line("/save again.json").unwrap();
    session.exp_string("(saved").unwrap();
    let again: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("again.json")).unwrap()).unwrap();
    assert_eq!(again["messages"][5], replies[5]);
}

#[test]
fn ctrl_c_stops_the_reply_and_not_the_program() {
    let place = Place::endless();
    let mut session = chat(&place, &["--max-tokens", "12000", "--temperature", "1"]);
    session.send_line("Hello").unwrap();
    session.exp_string("Assistant: ").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("(stopped)").unwrap();
    session.exp_string("You: ").unwrap();
    // At the prompt it stops nothing, and says how to leave.
    session.send_control('c').unwrap();
    session.exp_string("(Ctrl-D or /quit leaves)").unwrap();
    // However long the reply was, there is room for another.
    session.send_line("/reset").unwrap();
    session.exp_string("forgotten").unwrap();
    session.send_line("Once more").unwrap();
    session.exp_string("Assistant: ").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("(stopped)").unwrap();
    session.send_line("/save talk.json").unwrap();
    session.exp_string("(saved").unwrap();
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    assert_eq!(code(&session), Some(0));
    // What was said before the stop is part of the conversation.
    let talk: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("talk.json")).unwrap()).unwrap();
    let roles: Vec<&str> = talk["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert!(roles.chunks(2).all(|turn| turn == ["user", "assistant"]), "{roles:?}");
}

#[test]
fn full_context_cuts_a_reply_then_refuses_and_reset_makes_room() {
    let place = Place::endless();
    let mut session = chat(&place, &["--context", "300", "--max-tokens", "100", "--temperature", "0"]);
    session.send_line("Hello").unwrap();
    session.exp_string("(cut after 100 tokens; --max-tokens sets the limit)").unwrap();
    session.send_line("Again").unwrap();
    session.exp_string("tokens: the context of 300 is full; /reset").unwrap();
    session.send_line("And again").unwrap();
    session.exp_string("error: failed to generate a reply: the sequence needs").unwrap();
    session.send_line("/reset").unwrap();
    session.exp_string("forgotten").unwrap();
    session.send_line("Hello").unwrap();
    session.exp_string("(cut after 100 tokens; --max-tokens sets the limit)").unwrap();
}

#[test]
fn request_to_terminate_gives_the_terminal_back() {
    let place = Place::new();
    let mut session = chat(&place, &[]);
    assert!(!is_cooked(&session), "the line is not being edited");
    session.process_mut().signal(Signal::SIGTERM).unwrap();
    assert_eq!(code(&session), Some(130));
    assert!(is_cooked(&session));
}

#[test]
fn lines_are_edited_and_remembered() {
    let place = Place::new();
    let mut session = chat(&place, &[]);
    // Typed in the wrong order and put right: to the start of the line, and the command before its argument.
    session.send("One").unwrap();
    session.send_control('a').unwrap();
    session.send_line("/system ").unwrap();
    session.exp_string("(system prompt set").unwrap();
    session.exp_string("You: ").unwrap();
    session.send_line("/system").unwrap();
    session.exp_string("\r\nOne\r\n").unwrap();
    session.exp_string("You: ").unwrap();
    // The line before the last one, again.
    session.send(UP).unwrap();
    session.send_line(UP).unwrap();
    session.exp_string("(system prompt set").unwrap();
}

#[test]
fn replies_go_to_a_file_while_the_conversation_is_on_the_terminal() {
    let place = Place::new();
    let mut command = Command::new("sh");
    let script = "exec \"$0\" chat model.apr --temperature 0 --max-tokens 8 > replies";
    command
        .args(["-c", script])
        .arg(apr())
        .current_dir(place.path("."))
        .env("TERM", "xterm")
        .env("HOME", place.path("."));
    let mut session = spawn(command);
    session.exp_string("You: ").unwrap();
    session.send_line("Hello").unwrap();
    session.exp_string("You: ").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
    let mut piped = place.apr();
    piped.args(["chat", "model.apr", "--temperature", "0", "--max-tokens", "8"]).write_stdin("Hello");
    let piped = piped.output().unwrap().stdout;
    assert_eq!(fs::read(place.path("replies")).unwrap(), piped);
}

#[test]
fn conversation_that_cannot_be_saved_or_loaded_goes_on() {
    let place = Place::new();
    fs::write(place.path("mine.json"), "years of work").unwrap();
    let mut session = chat(&place, &["--max-tokens", "4"]);
    session.send_line("/save mine.json").unwrap();
    session.exp_string("error: `mine.json` already exists").unwrap();
    session.send_line("/save gone/talk.json").unwrap();
    session.exp_string("error: ").unwrap();
    session.send_line("/load gone.json").unwrap();
    session.exp_string("error: failed to open conversation `gone.json`").unwrap();
    session.send_line("/load mine.json").unwrap();
    session.exp_string("error: `mine.json` is not a saved conversation").unwrap();
    session.send_line("/save --force mine.json").unwrap();
    session.exp_string("(saved to `mine.json`)").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
    assert_eq!(place.names(), ["mine.json", "model.apr"]);
    assert!(fs::read_to_string(place.path("mine.json")).unwrap().contains("messages"));
}

#[test]
fn disk_that_is_full_while_saving_keeps_the_old_conversation() {
    let place = Place::new();
    fs::write(place.path("talk.json"), "{\"messages\": []}").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 0; exec \"$0\" chat model.apr"]).arg(apr());
    command.current_dir(place.path(".")).env("TERM", "xterm").env("HOME", Path::new("/nonexistent"));
    let mut session = spawn(command);
    session.exp_string("You: ").unwrap();
    session.send_line("/save --force talk.json").unwrap();
    session.exp_string("error: failed to save the conversation to `talk.json`").unwrap();
    session.send_line("/load talk.json").unwrap();
    session.exp_string("(loaded 0 messages").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
    assert_eq!(place.names(), ["model.apr", "talk.json"]);
}
