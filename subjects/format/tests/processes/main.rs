//! What needs a process of its own: being killed while writing, a limit on file size, another environment, a mapped file
//! that shrinks (`mapped`). This executable starts itself as the child.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod mapped;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, SystemTime};

use apr_format::{AprFile, AprWriter, Metadata, Overwrite, TensorSpec, TrustedKeys, sign};
use apr_tensor::DType;
use libtest_mimic::{Arguments, Failed, Trial};
use support::{Random, small_model};

/// First argument of a child; what follows is the child's name and its path.
const CHILD: &str = "--as-child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == CHILD) {
        return run_child(&arguments[2], Path::new(&arguments[3]));
    }
    let tests: &[(&str, fn())] = &[
        ("a_writer_killed_at_any_time_leaves_the_old_file_or_the_new", killed_writers),
        ("a_writer_that_runs_out_of_space_anywhere_leaves_the_old_file", limited_writers),
        #[cfg(target_os = "linux")]
        ("writing_and_checking_a_model_needs_memory_for_a_buffer", memory),
        ("a_mapped_file_that_shrinks_ends_the_process_with_a_message", mapped::watched),
        ("a_mapping_that_is_gone_makes_room_for_one_that_comes", mapped::watched_after_others),
        #[cfg(unix)]
        ("somebody_elses_mapping_that_shrinks_ends_the_process_as_it_would_anyway", mapped::not_watched),
        #[cfg(target_os = "linux")]
        ("what_is_locked_in_memory_counts_as_locked", mapped::locked),
        ("a_verified_file_is_remembered_until_it_changes", remembered),
        ("a_cache_that_cannot_be_used_is_no_error", unusable_cache),
        ("the_temporary_directory_is_not_used", no_temporary_directory),
        ("a_name_without_a_directory_is_one_in_the_working_directory", bare_name),
        ("trusted_keys_are_found_by_variable_and_in_the_config_directory", trusted_keys),
    ];
    let run = |test: fn()| {
        move || -> Result<(), Failed> {
            test();
            Ok(())
        }
    };
    let trials = tests.iter().map(|&(name, test)| Trial::test(name, run(test))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Does what a child is for.
fn run_child(name: &str, path: &Path) -> ExitCode {
    let outcome = match name {
        "write" => write_forever(path),
        "write-once" => write_big(path, 1),
        "write-limited" => write_limited(path),
        "write-large" => write_large(path),
        "verify" => AprFile::open_verified(path).map(drop).map_err(|error| error.to_string()),
        "shrink" => mapped::shrink(path),
        "shrink-after-others" => mapped::shrink_after_others(path),
        #[cfg(unix)]
        "shrink-other" => mapped::shrink_other(path),
        #[cfg(target_os = "linux")]
        "lock" => mapped::lock(path),
        "verdict" => verdict(path),
        other => Err(format!("there is no child `{other}`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(3)
        }
    }
}

/// This executable as the child `name`.
fn child(name: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CHILD, name]).arg(path).env_remove("APR_TRUSTED_KEYS");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A model of one tensor of 8 MiB whose bytes are all `fill`.
fn write_big(path: &Path, fill: u8) -> Result<(), String> {
    let spec = TensorSpec { name: "a".to_owned(), dtype: DType::F32, shape: vec![2 << 20] };
    let metadata = Metadata { name: Some(format!("fill {fill}")), ..Metadata::default() };
    let mut writer =
        AprWriter::create(path, metadata, vec![spec], Overwrite::Allow).map_err(|e| e.to_string())?;
    let mut tensor = writer.tensor_writer("a").map_err(|e| e.to_string())?;
    for _ in 0..128 {
        tensor.append(&vec![fill; 64 << 10]).map_err(|e| e.to_string())?;
    }
    writer.finish().map(drop).map_err(|e| e.to_string())
}

fn write_forever(path: &Path) -> Result<(), String> {
    for fill in (0..=255).cycle() {
        write_big(path, fill)?;
    }
    Ok(())
}

/// Whether the file is one that `write_big` writes, whole.
fn is_whole(path: &Path) -> bool {
    let file = AprFile::open(path).unwrap();
    file.verify().unwrap();
    let bytes = file.tensor("a").unwrap().bytes().clone();
    let first = bytes[0];
    file.metadata().name == Some(format!("fill {first}")) && bytes.iter().all(|&byte| byte == first)
}

fn killed_writers() {
    let mut random = Random(u64::from(std::process::id()));
    for round in 0..25 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.apr");
        write_big(&path, 7).unwrap();
        let mut child = child("write", &path).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_whole(&path), "round {round}");
        for entry in fs::read_dir(directory.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // Killed between naming and renaming, a complete file may keep its hidden name.
            assert!(
                name == "m.apr" || (name.starts_with('.') && name.split('.').next_back() == Some("tmp")),
                "{name}"
            );
        }
    }
}

#[cfg(unix)]
fn write_limited(path: &Path) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // With a handler for the signal, a write beyond the limit is an error, as it is on a full disk.
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    signal_hook::flag::register(libc_signal_xfsz(), flag).map_err(|error| error.to_string())?;
    let mut limit: u64 = 0;
    let mut n_refused = 0;
    loop {
        let rlimit = Rlimit { current: Some(limit), maximum: None };
        setrlimit(Resource::Fsize, rlimit).map_err(|error| error.to_string())?;
        match write_big(path, 9) {
            Ok(()) => break,
            Err(error) if error.starts_with("failed to write `") => n_refused += 1,
            Err(error) => return Err(format!("at {limit} bytes: {error}")),
        }
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        if names != ["m.apr"] || fs::read(path).unwrap() != b"old" {
            return Err(format!("at {limit} bytes: the directory holds {names:?}"));
        }
        limit += if limit < 4096 { 97 } else { 400_003 };
    }
    println!("{n_refused}");
    Ok(())
}

#[cfg(not(unix))]
fn write_limited(_: &Path) -> Result<(), String> {
    Err("this system has no limit on file sizes".to_owned())
}

/// SIGXFSZ on Linux and the BSDs.
fn libc_signal_xfsz() -> i32 {
    25
}

fn limited_writers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    fs::write(&path, "old").unwrap();
    let output = child("write-limited", &path).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    let n_refused: usize = stdout(&output).trim().parse().unwrap();
    assert!(n_refused > 50, "{n_refused}");
    assert!(is_whole(&path));
}

/// Writes and checks a model of 256 MiB and prints the most memory that the process held, in KiB.
fn write_large(path: &Path) -> Result<(), String> {
    const PIECE: usize = 1 << 20;
    let spec = TensorSpec { name: "a".to_owned(), dtype: DType::F32, shape: vec![256 * PIECE / 4] };
    let mut writer = AprWriter::create(path, Metadata::default(), vec![spec], Overwrite::Refuse)
        .map_err(|error| error.to_string())?;
    let mut tensor = writer.tensor_writer("a").map_err(|error| error.to_string())?;
    let piece = vec![3; PIECE];
    for _ in 0..256 {
        tensor.append(&piece).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())?;
    AprFile::open(path).and_then(|file| file.verify()).map_err(|error| error.to_string())?;
    println!("{}", kilobytes("VmHWM:")?);
    Ok(())
}

/// What the system says of this process's memory under `field`, in KiB.
fn kilobytes(field: &str) -> Result<String, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let value = value.ok_or_else(|| format!("there is no {field}"))?;
    Ok(value.trim().trim_end_matches(" kB").to_owned())
}

#[cfg(target_os = "linux")]
fn memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    let output = child("write-large", &path).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    let peak: u64 = stdout(&output).trim().parse().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len() >> 20, 256);
    assert!(peak < 32 << 10, "{peak} KiB");
}

/// Runs `open_verified` in a child whose cache is `cache`.
fn verify(path: &Path, cache: &Path) -> Output {
    child("verify", path).env("XDG_CACHE_HOME", cache).output().unwrap()
}

fn markers(cache: &Path) -> Vec<PathBuf> {
    let verified = cache.join("probador/verified");
    fs::read_dir(verified).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

fn remembered() {
    let directory = tempfile::tempdir().unwrap();
    let (path, cache) = (directory.path().join("m.apr"), directory.path().join("cache"));
    fs::write(&path, small_model(1)).unwrap();
    // A file that was just written is not remembered: it may be written to again within its times' resolution. That of one
    // that is dated tomorrow has not passed when it is verified, however slow this machine is.
    let date = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    date(SystemTime::now() + Duration::from_hours(24));
    assert!(verify(&path, &cache).status.success());
    assert!(markers(&cache).is_empty(), "{:?}", markers(&cache));
    // One from before the clock began has a time, too.
    date(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    std::thread::sleep(Duration::from_millis(150));
    assert!(verify(&path, &cache).status.success());
    let [marker] = &markers(&cache)[..] else { panic!("{:?}", markers(&cache)) };
    let noted = fs::read_to_string(marker).unwrap();
    assert!(noted.contains("\nmtime_ns -1000000000\n"), "{noted}");
    fs::remove_file(marker).unwrap();
    date(SystemTime::now());
    std::thread::sleep(Duration::from_millis(150));
    assert!(verify(&path, &cache).status.success());
    assert_eq!(markers(&cache).len(), 1);

    // Changed, it is checked again, and refused again and again.
    let mut file = fs::read(&path).unwrap();
    let last = file.len() - 100;
    file[last] ^= 1;
    fs::write(&path, &file).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    for _ in 0..2 {
        let output = verify(&path, &cache);
        assert_eq!(output.status.code(), Some(3));
        assert!(stdout(&output).contains("BLAKE3"), "{}", stdout(&output));
    }
    assert_eq!(markers(&cache).len(), 1);

    // That the memory is used, and not written only: with a marker forged for the changed file, it opens.
    let metadata = fs::metadata(&path).unwrap();
    let opened = AprFile::open(&path).unwrap();
    let (mtime, ctime) = times(&metadata);
    let text = format!(
        "probador verified 1\npath {}\nsize {}\nmtime_ns {mtime}\nctime_ns {ctime}\nroot {}\n",
        path.canonicalize().unwrap().display(),
        metadata.len(),
        opened.root_hash()
    );
    let marker = cache.join("probador/verified").join(blake3::hash(text.as_bytes()).to_hex().as_str());
    fs::write(&marker, &text[..text.len() - 1]).unwrap();
    assert_eq!(verify(&path, &cache).status.code(), Some(3), "a marker with another content counts");
    fs::write(&marker, format!("{text}x")).unwrap();
    assert_eq!(verify(&path, &cache).status.code(), Some(3), "a marker that says more counts");
    fs::write(&marker, text).unwrap();
    assert!(verify(&path, &cache).status.success());
}

#[cfg(unix)]
fn times(metadata: &fs::Metadata) -> (i128, i128) {
    use std::os::unix::fs::MetadataExt;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    (nanos(metadata.mtime(), metadata.mtime_nsec()), nanos(metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn times(metadata: &fs::Metadata) -> (i128, i128) {
    let since = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    (since.as_nanos() as i128, 0)
}

fn unusable_cache() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    fs::write(&path, small_model(1)).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    // A file where the directory should be; a directory nobody may write to; a relative path; no home.
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for cache in [file.as_path(), Path::new("/proc"), Path::new("relative")] {
        let output = verify(&path, cache);
        assert!(output.status.success(), "{}: {}", cache.display(), stdout(&output));
    }
    let mut command = child("verify", &path);
    assert!(command.env_remove("XDG_CACHE_HOME").env_remove("HOME").status().unwrap().success());
    // And checking is not skipped for want of a place to remember it.
    let mut bytes = small_model(1);
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(verify(&path, &file).status.code(), Some(3));
}

fn no_temporary_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    let mut child =
        child("write", &path).env("TMPDIR", "/nonexistent").stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(20));
        if path.exists() {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_whole(&path));
}

fn bare_name() {
    let directory = tempfile::tempdir().unwrap();
    let output = child("write-once", Path::new("m.apr")).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(is_whole(&directory.path().join("m.apr")));
}

fn verdict(path: &Path) -> Result<(), String> {
    let trusted = TrustedKeys::of_user().map_err(|error| error.to_string())?;
    let file = AprFile::open(path).map_err(|error| error.to_string())?;
    println!("{}", if file.signature_verdict(&trusted).is_trusted() { "trusted" } else { "not trusted" });
    Ok(())
}

fn trusted_keys() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("plain.apr"), small_model(1)).unwrap();
    let key = sign::generate_key().unwrap();
    sign::sign(&at("plain.apr"), &at("m.apr"), &key, Overwrite::Refuse).unwrap();
    let list = format!("{} somebody\n", key.public_key());
    let said = |home: &str, config: Option<&str>, variable: Option<&str>| {
        let mut command = child("verdict", &at("m.apr"));
        command.env("HOME", at(home)).env_remove("XDG_CONFIG_HOME");
        config.map(|config| command.env("XDG_CONFIG_HOME", at(config)));
        variable.map(|variable| command.env("APR_TRUSTED_KEYS", at(variable)));
        let output = command.output().unwrap();
        (output.status.code(), stdout(&output).trim().to_owned())
    };
    fs::create_dir_all(at("home/.config/probador")).unwrap();
    fs::write(at("home/.config/probador/trusted_keys"), &list).unwrap();
    fs::create_dir_all(at("config/probador")).unwrap();
    fs::write(at("config/probador/trusted_keys"), &list).unwrap();
    fs::write(at("list"), &list).unwrap();
    fs::write(at("empty"), "").unwrap();
    let trusted = (Some(0), "trusted".to_owned());
    let untrusted = (Some(0), "not trusted".to_owned());
    assert_eq!(said("home", None, None), trusted);
    assert_eq!(said("nobody", None, None), untrusted);
    assert_eq!(said("nobody", Some("config"), None), trusted);
    assert_eq!(said("nobody", None, Some("list")), trusted);
    assert_eq!(said("home", None, Some("empty")), untrusted, "the variable does not take precedence");
    let (code, message) = said("home", None, Some("missing"));
    assert!(
        code == Some(3) && message.contains("failed to open `") && message.contains("missing"),
        "{message}"
    );
}
