//! Help, version, usage errors, completions and the manual page.

use crate::support::Place;

/// Every command that `apr --help` lists, and those that their own help lists.
pub(crate) fn commands(place: &Place) -> Vec<String> {
    let mut commands = Vec::new();
    for command in listed(&place.stdout(["--help"])) {
        let help = place.stdout([command.as_str(), "--help"]);
        let inside = listed(&help).into_iter().map(|verb| format!("{command} {verb}"));
        commands.extend(inside);
        commands.push(command);
    }
    commands
}

fn listed(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let list = list.split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.filter(|name| !name.starts_with('-') && *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_specification_is_there() {
    let commands = commands(&Place::new());
    for name in [
        "import",
        "inspect",
        "validate",
        "tensors",
        "tokenize",
        "trace",
        "chat",
        "convert",
        "eval",
        "bench",
        "canary",
        "canary create",
        "canary check",
        "sign",
        "keygen",
        "probador",
        "diff",
        "test-model",
        "completions",
    ] {
        assert!(commands.contains(&name.to_owned()), "{name} is missing in {commands:?}");
    }
}

#[test]
fn help_of_every_command_succeeds_and_ends_with_an_example() {
    let place = Place::new();
    for name in commands(&place) {
        let help = place.stdout(name.split(' ').chain(["--help"]));
        let last = help.trim_end().lines().last().unwrap();
        assert!(last.starts_with("  apr "), "`apr {name} --help` ends with `{last}`");
        assert!(help.contains("Usage: apr "), "{help}");
    }
}

#[test]
fn version_is_the_crates() {
    assert_eq!(Place::new().stdout(["--version"]), format!("apr {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_2_and_says_nothing_on_stdout() {
    let place = Place::new();
    let cases: [&[&str]; 8] = [
        &[],
        &["imprt"],
        &["inspect"],
        &["inspect", "model.apr", "--jsn"],
        &["chat", "model.apr", "--temperature", "hot"],
        &["chat", "model.apr", "--top", "3"],
        &["tokenize", "model.apr"],
        &["--color", "sometimes", "inspect", "model.apr"],
    ];
    for args in cases {
        let output = place.apr().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.stdout(["completions", shell]);
        assert!(script.contains("tokenize") && script.contains("max-tokens"), "{shell}");
    }
    assert!(place.stdout(["man"]).contains("apr\\-tokenize"), "{}", place.stdout(["man"]));
    assert!(place.stdout(["man", "chat"]).contains("max\\-tokens"));
    insta::assert_snapshot!(place.run(["man", "chats"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: there is no command `chats`
    hint: `apr --help` lists them
    ");
}
