//! Faults of the file system around a model: targets that are there or are not files, races, links, sources that change.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Barrier;

use apr_format::{
    AprFile, AprWriter, AtomicFile, FormatError, Metadata, Overwrite, TensorSpec, atomic, sign,
};
use apr_tensor::DType;

use crate::support::{names, small_model, small_tensors};

fn create(path: &Path, overwrite: Overwrite) -> Result<AprWriter, FormatError> {
    let spec = TensorSpec { name: "a".to_owned(), dtype: DType::F32, shape: vec![4] };
    AprWriter::create(path, Metadata::default(), vec![spec], overwrite)
}

#[test]
fn an_existing_file_is_replaced_only_when_that_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    fs::write(&path, "old").unwrap();
    let error = create(&path, Overwrite::Refuse).unwrap_err().to_string();
    assert!(error.contains("m.apr` already exists\nhint: pass --force"), "{error}");
    let mut writer = create(&path, Overwrite::Allow).unwrap();
    writer.write_tensor("a", &[1; 16]).unwrap();
    writer.finish().unwrap();
    assert_eq!(AprFile::open(&path).unwrap().tensor("a").unwrap().bytes()[..], [1; 16]);
    assert_eq!(names(directory.path()), ["m.apr"]);
}

#[test]
fn a_file_that_appears_while_writing_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    let mut writer = create(&path, Overwrite::Refuse).unwrap();
    writer.write_tensor("a", &[1; 16]).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    assert!(matches!(writer.finish(), Err(FormatError::AlreadyExists(_))));
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    assert_eq!(names(directory.path()), ["m.apr"]);
}

#[test]
fn of_many_writers_to_one_target_one_wins_and_the_rest_are_told() {
    const N: usize = 8;
    for overwrite in [Overwrite::Refuse, Overwrite::Allow] {
        for round in 0..10 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("m.apr");
            let barrier = Barrier::new(N);
            let outcomes: Vec<Result<(), FormatError>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..N)
                    .map(|i| {
                        let (path, barrier) = (&path, &barrier);
                        scope.spawn(move || {
                            let mut writer = create(path, overwrite).unwrap();
                            writer.write_tensor("a", &[i as u8; 16]).unwrap();
                            barrier.wait();
                            writer.finish().map(drop)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let n_won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(
                n_won,
                if overwrite == Overwrite::Refuse { 1 } else { N },
                "round {round}: {outcomes:?}"
            );
            for error in outcomes.into_iter().filter_map(Result::err) {
                assert!(matches!(error, FormatError::AlreadyExists(_)), "{error}");
            }
            let file = AprFile::open_in_memory(&path).unwrap();
            file.verify().unwrap();
            assert_eq!(names(directory.path()), ["m.apr"]);
        }
    }
}

#[test]
fn a_missing_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("no/m.apr");
    let error = create(&path, Overwrite::Refuse).unwrap_err().to_string();
    assert!(error.starts_with("failed to create a file beside `") && error.contains("no/m.apr"), "{error}");
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "x").unwrap();
    let error = create(&directory.path().join("file/m.apr"), Overwrite::Refuse).unwrap_err().to_string();
    assert!(error.starts_with("failed to look at `") && error.contains("file/m.apr"), "{error}");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_written_to_is_refused() {
        // Not even root may create files in /proc; others may not in a directory of mode 555.
        let directory = tempfile::tempdir().unwrap();
        let read_only = directory.path().join("read-only");
        fs::create_dir(&read_only).unwrap();
        fs::set_permissions(&read_only, fs::Permissions::from_mode(0o555)).unwrap();
        let is_root = fs::metadata(&read_only).unwrap().uid() == 0;
        let targets = [PathBuf::from("/proc/m.apr"), read_only.join("m.apr")];
        for target in &targets[..if is_root { 1 } else { 2 }] {
            let error = create(target, Overwrite::Allow).unwrap_err().to_string();
            assert!(error.contains(&format!("{}", target.display())), "{error}");
        }
    }

    #[test]
    fn what_is_not_a_regular_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("victim"), "victim").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        symlink(at("directory"), at("link-to-directory")).unwrap();
        let before = names(directory.path());
        for (path, expected) in [
            (at("directory"), "it is a directory"),
            (at("new/"), "it is a directory"),
            (at("link"), "it is a symbolic link"),
            (at("dangling"), "it is a symbolic link"),
            (at("link-to-directory"), "it is a symbolic link"),
            (PathBuf::from("/dev/null"), "it is not a regular file"),
            (PathBuf::from("/"), "it is a directory"),
            (at(".."), "it is a directory"),
        ] {
            for overwrite in [Overwrite::Refuse, Overwrite::Allow] {
                let error = create(&path, overwrite).unwrap_err().to_string();
                assert!(error.contains(expected), "{}: {error}", path.display());
            }
        }
        assert_eq!(names(directory.path()), before);
        assert_eq!(fs::read(at("victim")).unwrap(), b"victim");
    }

    #[test]
    fn a_link_that_appears_while_writing_does_not_lead_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("victim"), "victim").unwrap();
        for overwrite in [Overwrite::Refuse, Overwrite::Allow] {
            let mut writer = create(&at("m.apr"), overwrite).unwrap();
            writer.write_tensor("a", &[1; 16]).unwrap();
            symlink(at("victim"), at("m.apr")).unwrap();
            assert!(writer.finish().is_err());
            assert_eq!(fs::read(at("victim")).unwrap(), b"victim");
            fs::remove_file(at("m.apr")).unwrap();
        }
        assert_eq!(names(directory.path()), ["victim"]);
    }

    #[test]
    fn a_directory_reached_through_a_link_gets_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        let mut writer = create(&at("link/m.apr"), Overwrite::Refuse).unwrap();
        writer.write_tensor("a", &[1; 16]).unwrap();
        writer.finish().unwrap();
        assert_eq!(names(&at("real")), ["m.apr"]);
        AprFile::open(&at("real/m.apr")).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_swapped_while_writing_gets_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::create_dir(at("victim")).unwrap();
        let mut writer = create(&at("real/m.apr"), Overwrite::Allow).unwrap();
        writer.write_tensor("a", &[1; 16]).unwrap();
        fs::rename(at("real"), at("moved")).unwrap();
        symlink(at("victim"), at("real")).unwrap();
        let outcome = writer.finish();
        assert_eq!(names(&at("victim")), Vec::<String>::new());
        assert!(outcome.is_ok() == (names(&at("moved")) == ["m.apr"]));
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = AprFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("pipe`: it is not a regular file"), "{error}");
        assert!(matches!(create(&path, Overwrite::Allow), Err(FormatError::NotReplaceable { .. })));
    }

    #[test]
    fn names_that_are_not_text_and_names_of_the_greatest_length_work() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        for name in [&b"\xff\xfe.apr"[..], &[b'n'; 255], b"-x"] {
            let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
            for overwrite in [Overwrite::Refuse, Overwrite::Allow] {
                atomic::write(&path, b"x", overwrite).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), b"x");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_new_file_has_the_mode_that_the_umask_leaves() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, plain) = (directory.path().join("ours"), directory.path().join("plain"));
        atomic::write(&ours, b"x", Overwrite::Refuse).unwrap();
        fs::write(&plain, "x").unwrap();
        assert_eq!(fs::metadata(&ours).unwrap().mode(), fs::metadata(&plain).unwrap().mode());
    }

    #[test]
    fn input_and_output_are_one_file_under_any_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b"), "a").unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        symlink(at("a"), at("soft")).unwrap();
        fs::create_dir(at("d")).unwrap();
        for name in ["a", "hard", "soft", "d/../a"] {
            let outcome = atomic::ensure_distinct(&at(name), [at("b").as_path(), &at("a")]);
            assert!(matches!(outcome, Err(FormatError::SameFile(_))), "{name}");
        }
        for name in ["b", "new", "d/new"] {
            atomic::ensure_distinct(&at(name), [at("a").as_path()]).unwrap();
        }
    }
}

#[test]
fn a_source_that_shrinks_is_an_error_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, output) = (directory.path().join("m.apr"), directory.path().join("out.apr"));
    let file = small_model(2);
    let key = sign::generate_key().unwrap();
    for size in [0, 10, 64, 1000, file.len() / 2, file.len() - 1] {
        fs::write(&path, &file).unwrap();
        let opened = AprFile::open(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size as u64).unwrap();
        let error = opened.verify().unwrap_err().to_string();
        assert!(
            error.starts_with("failed to read `") && error.contains("m.apr`: it became shorter"),
            "{error}"
        );
        let error = opened.check_unchanged().unwrap_err().to_string();
        assert!(error.contains(&format!("it had {} bytes and has {size}", file.len())), "{error}");
        assert!(sign::sign(&path, &output, &key, Overwrite::Refuse).is_err());
        assert!(AprFile::open(&path).is_err());
    }
    assert_eq!(names(directory.path()), ["m.apr"]);
}

#[test]
fn a_source_that_is_written_to_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    fs::write(&path, small_model(1)).unwrap();
    let opened = AprFile::open(&path).unwrap();
    opened.check_unchanged().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(b"APR\0").unwrap();
    let error = opened.check_unchanged().unwrap_err().to_string();
    assert!(error.contains("m.apr` changed while it was in use: it was written to"), "{error}");
    assert_eq!(opened.to_memory().unwrap_err().to_string(), error, "a copy would be of something else");
}

#[test]
fn a_file_replaced_by_our_writer_stays_as_it_was_for_who_has_it_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    fs::write(&path, small_model(2)).unwrap();
    let opened = AprFile::open(&path).unwrap();
    let mut writer = create(&path, Overwrite::Allow).unwrap();
    writer.write_tensor("a", &[1; 16]).unwrap();
    writer.finish().unwrap();
    opened.check_unchanged().unwrap();
    opened.verify().unwrap();
    for (spec, bytes) in small_tensors(2) {
        assert_eq!(opened.tensor(&spec.name).unwrap().bytes(), &bytes);
    }
}

#[test]
fn what_was_written_can_be_read_back_before_it_is_committed() {
    use std::io::Read;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let mut file = AtomicFile::create(&path, Overwrite::Refuse).unwrap();
    file.write_all(b"0123456789").unwrap();
    file.seek(SeekFrom::Start(2)).unwrap();
    file.write_all(b"xy").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "01xy456789");
    file.commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
