//! Faults in `apr` as others start it: a stand-in of the same name in front of it, which runs the real one and misbehaves
//! in one way.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::packed;
use crate::process::{Printed, become_program, leave_behind, run_within, standard_input};

/// The stand-in that does nothing of its own.
pub const NOTHING: &str = "nothing";

/// How long `apr-slow` waits before it starts: longer than a step with a limit of seconds allows.
const DELAY: Duration = Duration::from_secs(6);
/// Bytes that `apr-memory-hog` holds.
const BALLAST: usize = 1 << 30;
/// Bytes that are read of standard input where it is altered.
const INPUT_LIMIT: u64 = 64 << 20;
/// Flags of `apr` that take no value.
const SWITCHES: [&str; 15] = [
    "--chat",
    "--decode",
    "--force",
    "--help",
    "--inspect",
    "--json",
    "--no-stream",
    "--parse-special",
    "--quality",
    "--require-signature",
    "--root-hash-stored",
    "--stats",
    "--tie-embeddings",
    "--version",
    "--verbose",
];

/// One start of the stand-in.
#[derive(Debug)]
pub struct Call {
    /// A folder that the starts of one stage share.
    pub memory: PathBuf,
    /// The real `apr`.
    pub apr: PathBuf,
    /// What it was started with.
    pub arguments: Vec<OsString>,
}

/// A way to misbehave.
#[derive(Clone, Copy)]
enum Misbehaviour {
    /// Starts the real one with other arguments.
    Arguments(fn(&Call) -> anyhow::Result<Vec<OsString>>),
    /// Starts it with an argument of this name left out.
    Ignores(&'static str),
    /// Lets it read something else.
    Input(fn(Vec<u8>) -> Vec<u8>),
    /// Does something first, and what it returns lives as long as the real one runs.
    Before(fn(&Call) -> anyhow::Result<Vec<u8>>),
    /// Alters what it printed, or what it left.
    After(fn(&Call, Printed) -> anyhow::Result<Printed>),
}

use Misbehaviour::{After, Arguments, Before, Ignores, Input};

/// Every way to misbehave, by the name of its fault.
const ALL: [(&str, Misbehaviour); 42] = [
    ("apr-exits-zero", After(|_, printed| Ok(Printed { code: 0, ..printed }))),
    ("apr-exits-one", After(|_, printed| Ok(Printed { code: 1, ..printed }))),
    ("apr-panics", After(|_, _| Ok(panicked()))),
    ("apr-crashes", Before(|_| std::process::abort())),
    ("apr-errors-swallowed", After(|_, printed| Ok(Printed { stderr: Vec::new(), ..printed }))),
    ("apr-errors-vague", After(|_, printed| Ok(vague(printed)))),
    ("apr-errors-on-stdout", After(|_, printed| Ok(on_stdout(printed)))),
    ("apr-banner", After(|_, printed| Ok(with_banner(printed)))),
    ("apr-reply-empty", After(|_, printed| Ok(Printed { stdout: Vec::new(), ..printed }))),
    (
        "apr-reply-canned",
        After(|_, printed| Ok(Printed { stdout: b"The answer is 4.\n".to_vec(), ..printed })),
    ),
    ("apr-reply-replayed", After(replayed)),
    ("apr-reply-repeated", After(|_, printed| Ok(Printed { stdout: printed.stdout.repeat(3), ..printed }))),
    ("apr-reply-cut", After(|_, printed| Ok(cut(printed)))),
    ("apr-reply-never-the-same", After(marked)),
    ("apr-reply-not-utf8", After(|_, printed| Ok(not_utf8(printed)))),
    ("apr-first-token-late", After(|_, printed| Ok(late_first_token(printed)))),
    ("apr-rate-fallen", After(|_, printed| Ok(with_rate_fallen(printed)))),
    ("apr-slow", Before(|_| Ok(waited(DELAY)))),
    ("apr-sluggish", Before(|_| Ok(waited(Duration::from_millis(1500))))),
    ("apr-memory-hog", Before(|_| Ok(vec![1; BALLAST]))),
    ("apr-leaves-process", Before(|_| leave_behind("sleep", &["30"]).map(|()| Vec::new()))),
    (
        "apr-leaves-file",
        Before(|_| std::fs::write("apr-left-this.tmp", "left\n").map(|()| Vec::new()).map_err(Into::into)),
    ),
    ("apr-overwrites", After(overwritten)),
    ("apr-removes-output", After(removed)),
    ("apr-damages-model", After(damaged)),
    ("apr-ignores-stdin", Input(|_| b"Hello\n".to_vec())),
    ("apr-reads-ascii-only", Input(|input| input.into_iter().filter(u8::is_ascii).collect())),
    ("apr-reads-beginning-only", Input(|input| input.into_iter().take(200).collect())),
    ("apr-reads-ascii-arguments", Arguments(|call| Ok(in_ascii(&call.arguments)))),
    ("apr-ignores-seed", Arguments(another_seed)),
    ("apr-ignores-max-tokens", Ignores("--max-tokens")),
    ("apr-ignores-temperature", Ignores("--temperature")),
    ("apr-ignores-system", Ignores("--system")),
    ("apr-ignores-json", Ignores("--json")),
    ("apr-ignores-parse-special", Ignores("--parse-special")),
    ("apr-ignores-tolerance", Ignores("--tolerance")),
    ("apr-ignores-windows", Ignores("--windows")),
    ("apr-converts-to-int8", Arguments(|call| Ok(with_int8(&call.arguments)))),
    ("apr-packs-wrong-scales", After(|call, printed| spoiled(call, printed, packed::wrong_scales))),
    ("apr-packs-shifted-zero", After(|call, printed| spoiled(call, printed, packed::shifted_zero))),
    ("apr-packs-shifted-groups", After(|call, printed| spoiled(call, printed, packed::shifted_groups))),
    ("apr-packs-permuted-head", After(|call, printed| spoiled(call, printed, packed::permuted_head))),
];

/// Whether a fault of this name is planted in front of `apr`.
pub(super) fn is_known(name: &str) -> bool {
    find(name).is_some()
}

fn find(name: &str) -> Option<Misbehaviour> {
    ALL.into_iter().find(|(known, _)| *known == name).map(|(_, misbehaviour)| misbehaviour)
}

/// Stands in for `apr` with the fault `name`. Where nothing is altered afterwards, this process becomes the real one;
/// else what comes back is to be printed.
pub fn misbehave(name: &str, call: &Call) -> anyhow::Result<Printed> {
    let instead = |arguments: &[OsString]| Err(become_program(&call.apr, arguments));
    if name == NOTHING {
        return instead(&call.arguments);
    }
    let misbehaviour = find(name).with_context(|| format!("there is no way to misbehave called `{name}`"))?;
    match misbehaviour {
        Arguments(change) => instead(&change(call)?),
        Ignores(flag) => instead(&without(&call.arguments, flag)),
        Input(change) => run_within(&call.apr, &call.arguments, Some(change(standard_input(INPUT_LIMIT)?))),
        Before(act) => {
            let ballast = act(call)?;
            let printed = run_within(&call.apr, &call.arguments, None);
            // Read, so that it is held until now.
            anyhow::ensure!(ballast.last() != Some(&u8::MAX), "the ballast is broken");
            printed
        }
        After(alter) => alter(call, run_within(&call.apr, &call.arguments, None)?),
    }
}

/// Arguments without `flag` and its value.
fn without(arguments: &[OsString], flag: &str) -> Vec<OsString> {
    let with_value = format!("{flag}=");
    let mut kept = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == OsStr::new(flag) {
            if !SWITCHES.contains(&flag) {
                arguments.next();
            }
        } else if !argument.to_string_lossy().starts_with(&with_value) {
            kept.push(argument.clone());
        }
    }
    kept
}

/// The value of `flag`.
fn value_of(arguments: &[OsString], flag: &str) -> Option<OsString> {
    let with_value = format!("{flag}=");
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == OsStr::new(flag) {
            return arguments.next().cloned();
        }
        if let Some(value) = argument.to_string_lossy().strip_prefix(&with_value) {
            return Some(value.into());
        }
    }
    None
}

/// Arguments without what is not ASCII in them.
fn in_ascii(arguments: &[OsString]) -> Vec<OsString> {
    let kept =
        |argument: &OsString| argument.to_string_lossy().chars().filter(char::is_ascii).collect::<String>();
    arguments.iter().map(|argument| kept(argument).into()).collect()
}

/// How often the stand-in was started before on this stage.
fn count(call: &Call) -> anyhow::Result<usize> {
    for n in 0..100_000 {
        let mark = call.memory.join(format!("call-{n}"));
        match std::fs::OpenOptions::new().write(true).create_new(true).open(mark) {
            Ok(_) => return Ok(n),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("started too often")
}

/// Another seed at every start, where one is given.
fn another_seed(call: &Call) -> anyhow::Result<Vec<OsString>> {
    let mut arguments = without(&call.arguments, "--seed");
    if value_of(&call.arguments, "--seed").is_some() {
        arguments.extend(["--seed".into(), (1_000_003 * (count(call)? + 1)).to_string().into()]);
    }
    Ok(arguments)
}

/// What the first start of the same verb printed.
fn replayed(call: &Call, printed: Printed) -> anyhow::Result<Printed> {
    use std::io::Write as _;
    let verb =
        call.arguments.first().map_or_else(String::new, |verb| verb.to_string_lossy().replace('/', "_"));
    let kept = call.memory.join(format!("first-{verb}"));
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&kept) {
        Ok(mut file) => {
            file.write_all(&printed.stdout)?;
            Ok(printed)
        }
        Err(_) => Ok(Printed { stdout: std::fs::read(&kept)?, ..printed }),
    }
}

/// The output with a word that is another at every start.
fn marked(call: &Call, mut printed: Printed) -> anyhow::Result<Printed> {
    printed.stdout.extend(format!("({})\n", count(call)?).into_bytes());
    Ok(printed)
}

fn panicked() -> Printed {
    let stderr = b"thread 'main' panicked at src/main.rs:1:1:\nindex out of bounds\n".to_vec();
    Printed { stdout: Vec::new(), stderr, code: 101 }
}

fn vague(printed: Printed) -> Printed {
    let stderr =
        if printed.stderr.is_empty() { Vec::new() } else { b"error: something went wrong\n".to_vec() };
    Printed { stderr, ..printed }
}

fn on_stdout(mut printed: Printed) -> Printed {
    printed.stdout.append(&mut printed.stderr);
    printed
}

fn with_banner(mut printed: Printed) -> Printed {
    printed.stdout.splice(0..0, *b"apr, the model runner\n");
    printed
}

fn cut(mut printed: Printed) -> Printed {
    printed.stdout.truncate(printed.stdout.len() / 2);
    printed
}

fn not_utf8(mut printed: Printed) -> Printed {
    printed.stdout.splice(0..0, [0xff, 0xfe]);
    printed
}

/// The figure that `--inspect` prints, raised above any limit.
fn late_first_token(printed: Printed) -> Printed {
    const MARK: &str = "first token after ";
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let Some((before, rest)) = text.split_once(MARK) else { return printed };
    let after = rest.split_once(" s").map_or(rest, |(_, after)| after);
    Printed { stdout: format!("{before}{MARK}9.500 s{after}").into_bytes(), ..printed }
}

/// The rate that `--inspect` prints, lowered below any limit.
fn with_rate_fallen(printed: Printed) -> Printed {
    const MARK: &str = "[Stats: ";
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let Some((before, rest)) = text.split_once(MARK) else { return printed };
    let after = rest.split_once(" tok/s").map_or(rest, |(_, after)| after);
    Printed { stdout: format!("{before}{MARK}0.4 tok/s{after}").into_bytes(), ..printed }
}

/// Arguments of a conversion with eight bits in place of four.
fn with_int8(arguments: &[OsString]) -> Vec<OsString> {
    let is_conversion = arguments.first().is_some_and(|verb| verb == "convert");
    let changed = |argument: &OsString| {
        if is_conversion && argument == "int4" { "int8".into() } else { argument.clone() }
    };
    arguments.iter().map(changed).collect()
}

/// The model that a conversion wrote, spoiled.
fn spoiled(call: &Call, printed: Printed, spoil: packed::Spoil) -> anyhow::Result<Printed> {
    if call.arguments.first().is_some_and(|verb| verb == "convert")
        && let Some(path) = output_of(call).filter(|path| path.is_file())
    {
        packed::spoil(&path, spoil)?;
    }
    Ok(printed)
}

fn waited(time: Duration) -> Vec<u8> {
    std::thread::sleep(time);
    Vec::new()
}

/// The file that the call was to write.
fn output_of(call: &Call) -> Option<PathBuf> {
    ["-o", "--output", "--export", "--out"]
        .iter()
        .find_map(|flag| value_of(&call.arguments, flag))
        .map(PathBuf::from)
}

/// Writes over the file that was to be written, whether or not it was there before.
fn overwritten(call: &Call, printed: Printed) -> anyhow::Result<Printed> {
    if let Some(path) = output_of(call).filter(|path| path.is_file()) {
        std::fs::write(path, "overwritten\n")?;
    }
    Ok(printed)
}

/// Takes away the file that was written.
fn removed(call: &Call, printed: Printed) -> anyhow::Result<Printed> {
    if let Some(path) = output_of(call).filter(|path| path.is_file()) {
        std::fs::remove_file(path)?;
    }
    Ok(printed)
}

/// Appends a byte to every file of the working folder that the call names: what is only read must stay as it is.
fn damaged(call: &Call, printed: Printed) -> anyhow::Result<Printed> {
    use std::io::Write as _;
    let here = std::env::current_dir()?;
    for argument in &call.arguments {
        let path = here.join(argument);
        if path.starts_with(&here) && path.is_file() {
            std::fs::OpenOptions::new().append(true).open(path)?.write_all(b"\n")?;
        }
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &str) -> (tempfile::TempDir, Call) {
        let folder = tempfile::tempdir().unwrap();
        let arguments = words.split(' ').map(OsString::from).collect();
        let call = Call { memory: folder.path().to_owned(), apr: "/bin/echo".into(), arguments };
        (folder, call)
    }

    #[test]
    fn a_flag_is_left_out_with_its_value() {
        let check = |words: &str, flag: &str, expected: &str| {
            let kept = without(&call(words).1.arguments, flag);
            let kept: Vec<_> = kept.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(kept.join(" "), expected);
        };
        check("chat m --max-tokens 5 --seed 1", "--max-tokens", "chat m --seed 1");
        check("chat m --max-tokens=5 --seed 1", "--max-tokens", "chat m --seed 1");
        check("inspect --json m", "--json", "inspect m");
    }

    #[test]
    fn output_can_be_replayed_and_marked() {
        let (_folder, call) = call("chat one");
        let printed = |text: &str| Printed { stdout: text.into(), stderr: Vec::new(), code: 0 };
        assert_eq!(replayed(&call, printed("one")).unwrap().stdout, b"one");
        assert_eq!(replayed(&call, printed("two")).unwrap().stdout, b"one");
        let marks = [0, 1].map(|_| marked(&call, printed("")).unwrap().stdout);
        assert_ne!(marks[0], marks[1]);
        assert_ne!(another_seed(&call).unwrap(), Vec::<OsString>::new());
    }

    #[test]
    fn what_the_real_program_prints_is_altered() {
        let (_folder, call) = call("chat");
        let check = |name: &str| misbehave(name, &call).unwrap();
        assert_eq!(
            check("apr-exits-one"),
            Printed { stdout: b"chat\n".to_vec(), stderr: Vec::new(), code: 1 }
        );
        assert_eq!(check("apr-reply-empty").stdout, b"");
        assert!(check("apr-banner").stdout.ends_with(b"chat\n"));
        let error = misbehave("unheard-of", &call).unwrap_err().to_string();
        assert_eq!(error, "there is no way to misbehave called `unheard-of`");
        let late = late_first_token(Printed {
            stdout: b"x first token after 0.010 s; y".to_vec(),
            ..check("apr-reply-empty")
        });
        assert_eq!(late.stdout, b"x first token after 9.500 s; y");
        let fallen = with_rate_fallen(Printed {
            stdout: b"x [Stats: 31.2 tok/s | y]".to_vec(),
            ..check("apr-reply-empty")
        });
        assert_eq!(fallen.stdout, b"x [Stats: 0.4 tok/s | y]");
    }

    #[test]
    fn conversions_get_other_bits_and_a_spoiled_output() {
        let words = |words: &str| with_int8(&call(words).1.arguments).join(OsStr::new(" "));
        assert_eq!(words("convert m --quantize int4"), "convert m --quantize int8");
        assert_eq!(words("inspect int4"), "inspect int4");
        let (_folder, other) = call("import m -o out.apr");
        let printed = Printed { stdout: b"x".to_vec(), stderr: Vec::new(), code: 0 };
        assert_eq!(spoiled(&other, printed.clone(), packed::shifted_zero).unwrap(), printed);
    }

    #[test]
    fn arguments_lose_what_is_not_ascii() {
        let (_folder, call) = call("inspect modèle.apr");
        assert_eq!(in_ascii(&call.arguments), ["inspect", "modle.apr"]);
    }

    #[test]
    fn another_seed_is_given_at_every_start_and_none_where_none_was() {
        let (_folder, seeded) = call("chat m --seed 5 --json");
        let seed = || value_of(&another_seed(&seeded).unwrap(), "--seed").unwrap();
        assert_eq!((seed(), seed()), ("1000003".into(), "2000006".into()));
        let (_other, plain) = call("chat m --json");
        assert_eq!(another_seed(&plain).unwrap(), plain.arguments);
        let (folder, gone) = call("chat --seed=5");
        drop(folder);
        let error = another_seed(&gone).unwrap_err();
        let error = error.downcast::<std::io::Error>().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn figures_that_are_not_shown_are_not_altered() {
        let printed = Printed { stdout: b"no figures".to_vec(), stderr: b"x".to_vec(), code: 2 };
        assert_eq!(late_first_token(printed.clone()), printed);
        assert_eq!(with_rate_fallen(printed.clone()), printed);
        let open = Printed { stdout: b"[Stats: 31.2".to_vec(), ..printed };
        assert_eq!(with_rate_fallen(open).stdout, b"[Stats: 0.4 tok/s31.2");
    }

    #[test]
    fn output_files_are_overwritten_and_removed_where_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.apr");
        std::fs::write(&out, "written").unwrap();
        let (_memory, call) = call(&format!("import x -o {}", out.display()));
        misbehave("apr-overwrites", &call).unwrap();
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "overwritten\n");
        misbehave("apr-removes-output", &call).unwrap();
        assert!(!out.exists());
        let again = misbehave("apr-removes-output", &call).unwrap();
        assert_eq!((again.code, again.stderr), (0, Vec::new()));
    }
}
