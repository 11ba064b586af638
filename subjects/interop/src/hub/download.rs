//! Downloads one file: resumed where it broke off, in parallel ranges, and checked against its hash.
//!
//! Ranges are fetched several at a time but written in order, so that what is on disk is always the beginning of the
//! file: any later run, and `huggingface_hub` too, resumes from its length. What a range answer says about itself is
//! compared with what was asked; the hash of the whole has the last word.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use ureq::http::StatusCode;
use url::Url;

use super::cache::{RepositoryCache, parent};
use super::digest::BlobHash;
use super::http::{Answer, Ask, Client};
use super::reference::is_inside;
use super::repository::refusal;
use super::{HubError, HubRef, Tuning};
use crate::progress::Progress;

/// Times that a download starts over, because the file changed or its hash was wrong.
const MAX_STARTS: usize = 3;

/// Downloads files of one repository.
pub(super) struct Downloader<'d> {
    pub(super) client: &'d Client,
    pub(super) cache: &'d RepositoryCache,
    pub(super) reference: &'d HubRef,
    pub(super) progress: &'d dyn Progress,
    pub(super) tuning: &'d Tuning,
}

/// What the hub says a file is.
struct Metadata {
    hash: BlobHash,
    size: u64,
    /// The ETag that ranges will have, when they come from the endpoint itself.
    etag: Option<String>,
}

/// Why a download did not go on.
enum Stop {
    /// It cannot.
    Failed(HubError),
    /// It may when tried again.
    Again(HubError),
    /// The file is not what it was when the download began.
    Changed,
    /// The server sends whole files only.
    NoRanges,
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Network { may_pass: true, .. } => Self::Again(error),
            HubError::Status { status, .. } if status == 429 || status >= 500 => Self::Again(error),
            _ => Self::Failed(error),
        }
    }
}

impl Downloader<'_> {
    /// The file `name` of a commit, from the cache or the hub; a link in the snapshot.
    pub(super) fn file(&self, commit: &str, name: &str) -> Result<PathBuf, HubError> {
        if !is_inside(name) {
            let name = name.chars().take(256).collect();
            return Err(HubError::FileName { reference: self.reference.to_string(), name });
        }
        let repository = self.reference.repository();
        let mut segments: Vec<&str> = repository.split('/').collect();
        segments.extend(["resolve", commit]);
        segments.extend(name.split('/'));
        let url = self.client.url(&segments);
        let mut starts = 0..MAX_STARTS;
        let mut wrong = None;
        while starts.next().is_some() {
            let metadata = self.metadata(&url)?;
            let _lock = self.cache.lock(&metadata.hash, self.progress)?;
            if !self.cache.has(&metadata.hash, self.progress)? {
                match self.download(&url, name, &metadata)? {
                    Outcome::Complete => {}
                    Outcome::Changed => continue,
                    Outcome::WrongHash(_) if starts.len() > 1 => {
                        // Whether what lay here or what came is wrong: the next start has nothing to resume.
                        self.progress.note("the download has the wrong hash; starting over");
                        starts.next();
                        continue;
                    }
                    Outcome::WrongHash(found) => {
                        wrong = Some((metadata.hash, found));
                        break;
                    }
                }
            }
            return self.cache.link(commit, name, &metadata.hash);
        }
        let (reference, file) = (self.reference.to_string(), name.to_owned());
        Err(match wrong {
            Some((expected, found)) => HubError::HashMismatch {
                reference,
                file,
                expected: expected.as_str().to_owned(),
                found: found.as_str().to_owned(),
            },
            None => HubError::KeepsChanging { reference, file },
        })
    }

    fn metadata(&self, url: &Url) -> Result<Metadata, HubError> {
        self.retrying(|| {
            let mut answer = self.client.send(url, Ask::Metadata)?;
            // Mirrors may not know HEAD; one byte tells as much.
            if matches!(answer.status(), 405 | 501) {
                answer = self.client.send(url, Ask::Range { first: 0, last: 0, etag: None })?;
            }
            let is_redirect = answer.is_redirect();
            if !is_redirect && !matches!(answer.status(), 200 | 206 | 416) {
                return Err(refusal(self.reference, &answer));
            }
            let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
            let hash = etag.and_then(BlobHash::from_etag);
            let number = |text: &str| text.trim().parse().ok();
            let size = answer.header("x-linked-size").and_then(number).or_else(|| match answer.status() {
                200 => answer.length(),
                206 | 416 => {
                    answer.header("content-range").and_then(|range| number(range.rsplit_once('/')?.1))
                }
                _ => None,
            });
            match (hash, size) {
                (Some(hash), Some(size)) => {
                    let etag = answer.strong_etag().filter(|_| !is_redirect).map(str::to_owned);
                    Ok(Metadata { hash, size, etag })
                }
                (None, _) => Err(answer.unusable("it has no hash that the file could be checked against")),
                (_, None) => Err(answer.unusable("it does not say how large the file is")),
            }
        })
    }

    /// Tries `work` until it succeeds, fails for good, or has been tried often enough.
    pub(super) fn retrying<T>(&self, work: impl Fn() -> Result<T, HubError>) -> Result<T, HubError> {
        self.retrying_stop(&AtomicBool::new(false), || work().map_err(Stop::from)).map_err(
            |stop| match stop {
                Stop::Failed(error) | Stop::Again(error) => error,
                // An error becomes neither.
                Stop::Changed | Stop::NoRanges => HubError::Cancelled,
            },
        )
    }

    /// The same, leaving what stopped it to the caller, and giving up early when `is_over`.
    fn retrying_stop<T>(&self, is_over: &AtomicBool, work: impl Fn() -> Result<T, Stop>) -> Result<T, Stop> {
        let mut pause = self.tuning.first_pause;
        for _ in 0..self.tuning.n_retries {
            match work() {
                Err(Stop::Again(_)) => self.sleep(pause, is_over)?,
                other => return other,
            }
            pause = pause.saturating_mul(2);
        }
        work()
    }

    /// Pauses, but not when the user asks to stop.
    fn sleep(&self, pause: Duration, is_over: &AtomicBool) -> Result<(), Stop> {
        let mut left = pause;
        while !left.is_zero() {
            if self.progress.is_cancelled() || is_over.load(Ordering::Relaxed) {
                return Err(Stop::Failed(HubError::Cancelled));
            }
            let step = left.min(Duration::from_millis(50));
            std::thread::sleep(step);
            left -= step;
        }
        Ok(())
    }

    fn download(&self, url: &Url, name: &str, metadata: &Metadata) -> Result<Outcome, HubError> {
        let path = self.cache.partial(&metadata.hash);
        parent(&path)?;
        let mut part = Part::open(&path)?;
        if part.length > metadata.size {
            part.restart()?;
        }
        self.progress.start(&format!("downloading {name}"), Some(metadata.size));
        self.progress.advance(part.length);
        let transfer = Transfer { downloader: self, url, metadata, seen: Mutex::new(metadata.etag.clone()) };
        match transfer.run(&mut part) {
            Ok(()) => {}
            Err(Stop::Failed(error) | Stop::Again(error)) => return Err(error),
            Err(Stop::Changed | Stop::NoRanges) => {
                part.remove()?;
                return Ok(Outcome::Changed);
            }
        }
        part.file.sync_all().map_err(HubError::io("write", &path))?;
        let found = metadata.hash.of_same_kind(&path, self.progress).map_err(HubError::io("read", &path))?;
        let found = found.ok_or(HubError::Cancelled)?;
        if found != metadata.hash {
            part.remove()?;
            return Ok(Outcome::WrongHash(found));
        }
        let blob = self.cache.blob(&metadata.hash);
        std::fs::rename(&path, &blob).map_err(HubError::io("rename", &path))?;
        self.progress.end();
        Ok(Outcome::Complete)
    }
}

/// How a download ended.
enum Outcome {
    Complete,
    Changed,
    WrongHash(BlobHash),
}

/// The beginning of a file on disk.
struct Part {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Part {
    fn open(path: &Path) -> Result<Self, HubError> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(HubError::io("open", path))?;
        let length = file.metadata().map_err(HubError::io("open", path))?.len();
        Ok(Self { file, path: path.to_owned(), length })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::io("write", &self.path))?;
        self.length = 0;
        Ok(())
    }

    fn remove(self) -> Result<(), HubError> {
        std::fs::remove_file(&self.path).map_err(HubError::io("remove", &self.path))
    }
}

/// One file on its way.
struct Transfer<'t> {
    downloader: &'t Downloader<'t>,
    url: &'t Url,
    metadata: &'t Metadata,
    /// The ETag that the bytes so far came with.
    seen: Mutex<Option<String>>,
}

impl Transfer<'_> {
    fn run(&self, part: &mut Part) -> Result<(), Stop> {
        let (size, tuning) = (self.metadata.size, self.downloader.tuning);
        // A small file comes whole; should it break off, the rest comes by range.
        if part.length == 0 && size <= tuning.chunk_bytes {
            match self.whole(part) {
                Err(Stop::Again(_)) => {}
                done => return done,
            }
        }
        match self.ranges(part) {
            Err(Stop::NoRanges) => {
                if part.length > 0 {
                    self.downloader.progress.note("the server cannot resume; starting over");
                    part.restart()?;
                }
                self.whole_retrying(part)
            }
            done => done,
        }
    }

    /// The whole file in one answer, tried again from its start.
    fn whole_retrying(&self, part: &mut Part) -> Result<(), Stop> {
        let part = Mutex::new(part);
        self.downloader.retrying_stop(&AtomicBool::new(false), || {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.restart()?;
            self.whole(&mut part)
        })
    }

    /// The whole file in one answer; what came stays when it breaks off.
    fn whole(&self, part: &mut Part) -> Result<(), Stop> {
        let (size, progress) = (self.metadata.size, self.downloader.progress);
        if size == 0 {
            return Ok(());
        }
        let answer = self.downloader.client.send(self.url, Ask::All)?;
        if !answer.is(StatusCode::OK) {
            return Err(refusal(self.downloader.reference, &answer).into());
        }
        self.check_etag(&answer)?;
        if answer.length().is_some_and(|length| length != size) {
            return Err(Stop::Changed);
        }
        let (too_long, too_short) = (
            answer.unusable(format!("it has more than the {size} bytes it should have")),
            HubError::Network {
                url: self.url.to_string(),
                fault: "the file broke off before its end".to_owned(),
                may_pass: true,
            },
        );
        let mut too_long = Some(too_long);
        answer.read_pieces(|bytes| {
            if progress.is_cancelled() {
                return Err(HubError::Cancelled);
            }
            if part.length + bytes.len() as u64 > size {
                return Err(too_long.take().unwrap_or(HubError::Cancelled));
            }
            progress.advance(bytes.len() as u64);
            part.append(bytes)
        })?;
        if part.length < size { Err(Stop::Again(too_short)) } else { Ok(()) }
    }

    /// What is missing of the file, in ranges fetched side by side and written in order.
    fn ranges(&self, part: &mut Part) -> Result<(), Stop> {
        let (size, tuning) = (self.metadata.size, self.downloader.tuning);
        let chunk = tuning.chunk_bytes.max(1);
        let start = part.length;
        let n_chunks = (size - start).div_ceil(chunk);
        let n_workers = (tuning.n_connections.max(1) as u64).min(n_chunks);
        let next = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        let n_written = AtomicU64::new(0);
        let (to_writer, chunks) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..n_workers {
                let to_writer = to_writer.clone();
                let (next, is_over, n_written) = (&next, &is_over, &n_written);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= n_chunks {
                            break;
                        }
                        // Chunks that wait for an earlier one are held in memory: two for each connection.
                        while index >= n_written.load(Ordering::Relaxed) + 2 * n_workers {
                            if is_over.load(Ordering::Relaxed) {
                                return;
                            }
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        let first = start + index * chunk;
                        let last = (first + chunk).min(size) - 1;
                        let fetched = self.downloader.retrying_stop(is_over, || self.range(first, last));
                        if to_writer.send((index, fetched)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(to_writer);
            // Ends when every worker has ended, or at the first error.
            let done = self.write_in_order(part, &chunks, &n_written);
            is_over.store(true, Ordering::Relaxed);
            done
        })
    }

    fn write_in_order(
        &self,
        part: &mut Part,
        chunks: &mpsc::Receiver<(u64, Result<Vec<u8>, Stop>)>,
        n_written: &AtomicU64,
    ) -> Result<(), Stop> {
        let mut early = BTreeMap::new();
        for (index, fetched) in chunks {
            early.insert(index, fetched?);
            while let Some(bytes) = early.remove(&n_written.load(Ordering::Relaxed)) {
                if self.downloader.progress.is_cancelled() {
                    return Err(Stop::Failed(HubError::Cancelled));
                }
                part.append(&bytes)?;
                self.downloader.progress.advance(bytes.len() as u64);
                n_written.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Bytes `first` to `last`.
    fn range(&self, first: u64, last: u64) -> Result<Vec<u8>, Stop> {
        if self.downloader.progress.is_cancelled() {
            return Err(Stop::Failed(HubError::Cancelled));
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ask = Ask::Range { first, last, etag: seen.as_deref() };
        let answer = self.downloader.client.send(self.url, ask)?;
        match answer.status() {
            206 => {}
            200 if self.etag_differs(&answer) => return Err(Stop::Changed),
            200 => return Err(Stop::NoRanges),
            416 => return Err(Stop::Changed),
            _ => return Err(refusal(self.downloader.reference, &answer).into()),
        }
        self.check_etag(&answer)?;
        let expected = format!("bytes {first}-{last}/{}", self.metadata.size);
        let found = answer.header("content-range").unwrap_or("no range");
        if found != expected {
            let found: String = found.chars().take(64).collect();
            let error = answer.unusable(format!("asked for {expected}, it sent {found}"));
            return Err(Stop::Again(error));
        }
        let n_bytes = last - first + 1;
        let wrong_length = answer.unusable(format!("it does not have the {n_bytes} bytes it announced"));
        match answer.bytes(n_bytes) {
            Ok(bytes) if bytes.len() as u64 == n_bytes => Ok(bytes),
            Ok(_) | Err(HubError::Response { .. }) => Err(Stop::Again(wrong_length)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the bytes of `answer` are of another version than those so far.
    fn etag_differs(&self, answer: &Answer) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        matches!((seen.as_deref(), answer.strong_etag()), (Some(seen), Some(found)) if seen != found)
    }

    /// Remembers the first ETag and compares the others with it.
    fn check_etag(&self, answer: &Answer) -> Result<(), Stop> {
        if self.etag_differs(answer) {
            return Err(Stop::Changed);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none() {
            *seen = answer.strong_etag().map(str::to_owned);
        }
        Ok(())
    }
}
