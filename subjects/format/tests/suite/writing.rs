//! Faults while writing a model: a sink that fails, short writes, tensors that are not as announced. Each is an error that
//! names the file, and leaves nothing behind.

use std::fs;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

use apr_format::{AprWriter, FormatError, Metadata, Overwrite, TensorSpec, WriteFault};
use apr_tensor::DType;

use crate::support::{names, small_metadata, small_model, small_tensors};

/// A sink that fails at its Nth call, or hands back what it is given in small and interrupted pieces.
struct Faulty {
    inner: Cursor<Vec<u8>>,
    n_calls: usize,
    fails_at: usize,
    error: io::ErrorKind,
    stutters: bool,
}

impl Faulty {
    fn new(fails_at: usize, error: io::ErrorKind, stutters: bool) -> Self {
        Self { inner: Cursor::new(Vec::new()), n_calls: 0, fails_at, error, stutters }
    }

    fn call(&mut self) -> io::Result<()> {
        self.n_calls += 1;
        if self.n_calls == self.fails_at { Err(self.error.into()) } else { Ok(()) }
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call()?;
        if !self.stutters {
            return self.inner.write(bytes);
        }
        if self.n_calls.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.inner.write(&bytes[..bytes.len().min(1 + self.n_calls % 97)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for Faulty {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.call()?;
        self.inner.seek(position)
    }
}

/// Writes the small model in reverse order, so that every tensor needs a seek.
fn write_small(sink: Faulty) -> Result<Faulty, FormatError> {
    let mut tensors = small_tensors(1);
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = AprWriter::with_sink(sink, Path::new("m.apr"), small_metadata(1), specs)?;
    tensors.sort_by(|a, b| b.0.name.cmp(&a.0.name));
    for (spec, bytes) in &tensors {
        writer.write_tensor(&spec.name, bytes)?;
    }
    Ok(writer.finish_sink()?.0)
}

#[test]
fn a_failure_of_any_write_or_seek_is_an_error_that_names_the_file() {
    let n_calls = write_small(Faulty::new(0, io::ErrorKind::Other, false)).unwrap().n_calls;
    assert!(n_calls > 30, "{n_calls}");
    for fails_at in 1..=n_calls {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::WriteZero] {
            let error = write_small(Faulty::new(fails_at, kind, false)).err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.starts_with("failed to write `m.apr`")),
                "{fails_at}: {error:?}"
            );
        }
    }
}

#[test]
fn a_writer_that_failed_once_does_not_finish() {
    for fails_at in 1..20 {
        let tensors = small_tensors(1);
        let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let sink = Faulty::new(fails_at, io::ErrorKind::StorageFull, false);
        let mut writer = AprWriter::with_sink(sink, Path::new("m.apr"), small_metadata(1), specs).unwrap();
        let mut n_failed = 0;
        for (spec, bytes) in tensors.iter().rev() {
            // Somebody who goes on after an error.
            n_failed += usize::from(writer.write_tensor(&spec.name, bytes).is_err());
        }
        assert!(writer.finish_sink().is_err() || n_failed == 0, "{fails_at}");
    }
}

#[test]
fn a_tensor_that_lost_a_piece_does_not_count_as_written() {
    // Pieces larger than the writer's buffer go to the sink one by one.
    const PIECE: usize = 2 << 20;
    let mut n_refused = 0;
    for fails_at in 1..10 {
        let sink = Faulty::new(fails_at, io::ErrorKind::StorageFull, false);
        let specs = vec![spec("a", 3 * PIECE / 4)];
        let mut writer = AprWriter::with_sink(sink, Path::new("m.apr"), Metadata::default(), specs).unwrap();
        let mut n_failed = 0;
        if let Ok(mut tensor) = writer.tensor_writer("a") {
            for _ in 0..3 {
                n_failed += usize::from(tensor.append(&vec![1; PIECE]).is_err());
            }
        } else {
            n_failed += 1;
        }
        let finished = writer.finish_sink().is_ok();
        assert!(!finished || n_failed == 0, "{fails_at}: a file without one of its pieces was finished");
        n_refused += n_failed;
    }
    assert!(n_refused >= 4, "{n_refused}");
}

#[test]
fn short_and_interrupted_writes_give_the_same_file() {
    let sink = write_small(Faulty::new(0, io::ErrorKind::Other, true)).unwrap();
    assert!(sink.n_calls > 100);
    assert_eq!(sink.inner.into_inner(), small_model(1));
}

fn spec(name: &str, n: usize) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype: DType::F32, shape: vec![n] }
}

fn create(path: &Path, overwrite: Overwrite) -> Result<AprWriter, FormatError> {
    AprWriter::create(path, Metadata::default(), vec![spec("a", 4)], overwrite)
}

#[test]
fn an_unfinished_file_leaves_the_directory_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    fs::write(&path, "old").unwrap();
    let mut writer = create(&path, Overwrite::Allow).unwrap();
    writer.write_tensor("a", &[1; 16]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    drop(writer);
    assert_eq!(
        (names(directory.path()), fs::read(&path).unwrap()),
        (vec!["m.apr".to_owned()], b"old".to_vec())
    );
}

#[test]
fn a_request_that_cannot_be_met_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    let long = "n".repeat(257);
    for (specs, expected) in [
        (vec![spec("a", 1), spec("a", 2)], "tensor `a`: it is announced twice"),
        (vec![spec("", 1)], "its name is empty"),
        (vec![spec(&long, 1)], "its name has 257 bytes, the limit is 256"),
        (vec![spec("a\0", 1)], "has a control character"),
        (vec![spec("a", usize::MAX)], "more bytes than this machine can address"),
        (vec![TensorSpec { shape: vec![1; 9], ..spec("a", 1) }], "9 dimensions, the limit is 8"),
        (
            (0..5).map(|i| spec(&format!("{i}"), isize::MAX as usize / 16)).collect(),
            "the file would be too large",
        ),
    ] {
        let error =
            AprWriter::create(&path, Metadata::default(), specs, Overwrite::Refuse).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("m.apr"), "{error}");
    }
    let mut metadata = Metadata::default();
    metadata.config.rope_theta = f64::NAN;
    let error = AprWriter::create(&path, metadata, vec![], Overwrite::Refuse).unwrap_err().to_string();
    assert!(error.contains("it would read back differently"), "{error}");
    let mut metadata = Metadata::default();
    metadata.extra.insert("name".to_owned(), "x".into());
    metadata.name = Some("y".to_owned());
    let error = AprWriter::create(&path, metadata, vec![], Overwrite::Refuse).unwrap_err().to_string();
    assert!(error.contains("key `name` is given twice"), "{error}");
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[track_caller]
fn check<T>(outcome: Result<T, FormatError>, expected: &WriteFault) {
    match outcome.err() {
        Some(FormatError::Unwritable { fault, .. }) => assert_eq!(&fault, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tensors_that_are_not_as_announced_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    let wrong_size = |found| WriteFault::WrongSize {
        name: "a".to_owned(),
        dtype: DType::F32,
        shape: vec![4],
        expected: 16,
        found,
    };
    let writer = || create(&path, Overwrite::Refuse).unwrap();
    check(writer().write_tensor("b", &[]), &WriteFault::UnknownTensor("b".to_owned()));
    check(writer().write_tensor("a", &[0; 15]), &wrong_size(15));
    check(writer().write_tensor("a", &[0; 17]), &wrong_size(17));
    let mut twice = writer();
    twice.write_tensor("a", &[0; 16]).unwrap();
    check(twice.write_tensor("a", &[0; 16]), &WriteFault::TensorTwice("a".to_owned()));
    twice.finish().unwrap();
    fs::remove_file(&path).unwrap();

    let missing = WriteFault::Missing { n_missing: 1, first: "a".to_owned() };
    check(writer().finish(), &missing);
    let mut short = writer();
    short.tensor_writer("a").unwrap().write_all(&[0; 15]).unwrap();
    check(short.finish(), &missing);
    let mut long = writer();
    let error = long.tensor_writer("a").unwrap().write_all(&[0; 17]).unwrap_err().to_string();
    assert!(error.contains("takes 16 bytes, 17 were written"), "{error}");
    assert!(long.finish().is_err());
    let mut then_more = writer();
    let mut tensor = then_more.tensor_writer("a").unwrap();
    tensor.write_all(&[0; 16]).unwrap();
    assert!(tensor.write_all(&[0; 1]).is_err());
    assert!(then_more.finish().is_err());
    assert_eq!(names(directory.path()), Vec::<String>::new());
}
