//! Mapped files, each in a process of its own: watched while they are mapped and no longer, apart from what others map,
//! locked in memory where that is asked for. This executable starts itself as the child.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, unsafe_code)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use apr_format::{AprFile, AprWriter, Metadata, Overwrite, TensorSpec};
use apr_tensor::DType;
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

/// First argument of a child; what follows is the child's name and its path.
const CHILD: &str = "--as-child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == CHILD) {
        let path = Path::new(&arguments[3]);
        match arguments[2].as_str() {
            "shrink-after-others" => shrink_after_others(path),
            "shrink-other" => shrink_other(path),
            "lock" => lock(path),
            other => panic!("there is no child `{other}`"),
        }
        return ExitCode::SUCCESS;
    }
    let tests: &[(&str, fn())] = &[
        ("who_is_gone_makes_room_for_who_comes", watched_after_others),
        ("somebody_elses_mapping_that_shrinks_ends_the_process_as_it_would_anyway", not_watched),
        #[cfg(target_os = "linux")]
        ("what_is_locked_counts_as_locked", locked),
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

/// A model of one tensor of 8 MiB.
fn model() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    let specs = vec![TensorSpec { name: "a".into(), dtype: DType::F32, shape: vec![2 << 20] }];
    let mut writer = AprWriter::create(&path, Metadata::default(), specs, Overwrite::Refuse).unwrap();
    writer.write_tensor("a", &vec![7; 8 << 20]).unwrap();
    writer.finish().unwrap();
    (directory, path)
}

/// What this executable does as the child `name`, and what it printed.
fn child(name: &str, path: &Path) -> (Output, String, String) {
    let output =
        Command::new(std::env::current_exe().unwrap()).args([CHILD, name]).arg(path).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// Cuts off all that is mapped, and reads it.
fn cut_and_read(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    println!("the missing bytes were read as {sum}");
}

/// Maps the model after more mappings than are watched at once.
fn shrink_after_others(path: &Path) {
    for _ in 0..100 {
        AprFile::open(path).unwrap();
    }
    let file = AprFile::open(path).unwrap();
    cut_and_read(path, file.tensor("a").unwrap().bytes());
}

fn watched_after_others() {
    let (_directory, path) = model();
    let (output, stdout, stderr) = child("shrink-after-others", &path);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with(&format!("error: `{}` was cut short", path.display())), "{stderr}");
}

/// Reads a mapping of its own that was cut short, beside a model that is whole.
fn shrink_other(path: &Path) {
    let _whole = AprFile::open(path).unwrap();
    let other = path.with_extension("other");
    fs::write(&other, vec![1; 1 << 16]).unwrap();
    // SAFETY: nobody changes what is read: what is cut off cannot be read at all, which is what is tested.
    let mapping = unsafe { memmap2::Mmap::map(&fs::File::open(&other).unwrap()) }.unwrap();
    cut_and_read(&other, &mapping[4096..]);
}

fn not_watched() {
    let (_directory, path) = model();
    let (output, stdout, stderr) = child("shrink-other", &path);
    assert_eq!((output.status.signal(), stdout.as_str()), (Some(libc::SIGBUS), ""), "{stderr}");
    assert!(!stderr.contains("cut short"), "{stderr}");
}

/// Locks the model, unless it may not, and says so; and how many KiB of this process are locked.
fn lock(path: &Path) {
    let file = AprFile::open(path).unwrap();
    let is_locked = file.lock_in_memory().is_ok();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    println!("{is_locked} {}", locked.trim().trim_end_matches(" kB"));
}

#[cfg(target_os = "linux")]
fn locked() {
    let (_directory, path) = model();
    let (_, stdout, stderr) = child("lock", &path);
    let (is_locked, kilobytes) = stdout.trim().split_once(' ').unwrap_or_else(|| panic!("{stderr}"));
    // Whoever may not lock is told.
    assert_eq!(is_locked == "true", kilobytes.parse::<u64>().unwrap() >= 8192, "{stdout}");
}
