//! A model hub on loopback: serves a folder the way the Hugging Face hub does, counts who calls, and can lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The one commit it serves.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The one repository it serves.
pub(super) const REPOSITORY: &str = "probador/model";
/// Bytes of a request's head.
const MAX_HEAD: u64 = 16 << 10;

/// A running hub; stops when dropped.
pub(super) struct Hub {
    port: u16,
    n_connections: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

struct Served {
    path: PathBuf,
    size: u64,
    sha256: String,
}

impl Hub {
    /// Serves every file of `folder`; with `corrupts`, one byte of each weight file is changed on the way.
    pub(super) fn serve(folder: &Path, corrupts: bool) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let (mut hasher, mut size) = (Sha256::new(), 0);
            let mut file = std::fs::File::open(&path)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, Served { path, size, sha256: hex::encode(hasher.finalize()) });
        }
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let (n_connections, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over, files) = (Arc::clone(&n_connections), Arc::clone(&is_over), Arc::new(files));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let files = Arc::clone(&files);
                // A client that goes away is its own business.
                std::thread::spawn(move || drop(answer(stream, &files, corrupts)));
            }
        });
        Ok(Self { port, n_connections, is_over })
    }

    /// Its address.
    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often it was called.
    pub(super) fn n_connections(&self) -> usize {
        self.n_connections.load(Ordering::Relaxed)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Answers one request and closes.
fn answer(stream: TcpStream, files: &BTreeMap<String, Served>, corrupts: bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream.take(MAX_HEAD));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut range = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("range") {
            let value = value.trim().strip_prefix("bytes=").and_then(|value| value.split_once('-'));
            range = value.map(|(from, to)| (from.parse::<u64>(), to.parse::<u64>()));
        }
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let has_body = method == "GET";
    if target == format!("/api/models/{REPOSITORY}/revision/main") {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        return respond(&mut out, "200 OK", &head, if has_body { body.as_bytes() } else { &[] });
    }
    let name = target.strip_prefix(&format!("/{REPOSITORY}/resolve/{COMMIT}/"));
    let Some((name, file)) = name.and_then(|name| Some((name, files.get(name)?))) else {
        let head = "X-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n";
        return respond(&mut out, "404 Not Found", head, &[]);
    };
    let mut head = format!(
        "ETag: \"{}\"\r\nX-Linked-ETag: \"{}\"\r\nX-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\nAccept-Ranges: bytes\r\n",
        file.sha256, file.sha256, file.size
    );
    if !has_body {
        // Writing to a string cannot fail.
        let _ = write!(head, "Content-Length: {}\r\n", file.size);
        return respond(&mut out, "200 OK", &head, &[]);
    }
    let (status, from, to) = match range {
        Some((Ok(from), to)) if from < file.size => {
            let to = to.unwrap_or(file.size - 1).min(file.size - 1);
            let _ = write!(head, "Content-Range: bytes {from}-{to}/{}\r\n", file.size);
            ("206 Partial Content", from, to + 1)
        }
        _ => ("200 OK", 0, file.size),
    };
    let mut source = std::fs::File::open(&file.path)?;
    source.seek(SeekFrom::Start(from))?;
    let mut body = Vec::new();
    source.take(to - from).read_to_end(&mut body)?;
    let near_the_end = file.size.saturating_sub(9);
    if corrupts && name.ends_with(".safetensors") && (from..to).contains(&near_the_end) {
        body[(near_the_end - from) as usize] ^= 0x40;
    }
    let _ = write!(head, "Content-Length: {}\r\n", body.len());
    respond(&mut out, status, &head, &body)
}

fn respond(out: &mut TcpStream, status: &str, head: &str, body: &[u8]) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n")?;
    out.write_all(body)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(hub: &Hub, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", hub.port)).unwrap();
        write!(stream, "{request}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_lists_and_serves_ranges_and_counts_its_callers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "0123456789").unwrap();
        let hub = Hub::serve(folder.path(), false).unwrap();
        let list = get(&hub, "GET /api/models/probador/model/revision/main HTTP/1.1");
        assert!(list.starts_with("HTTP/1.1 200") && list.contains("config.json"), "{list}");
        let file = format!("/probador/model/resolve/{COMMIT}/config.json");
        let part = get(&hub, &format!("GET {file} HTTP/1.1\r\nRange: bytes=2-4"));
        assert!(
            part.contains("206") && part.contains("bytes 2-4/10") && part.ends_with("\r\n\r\n234"),
            "{part}"
        );
        assert!(get(&hub, "GET /probador/model/resolve/x HTTP/1.1").starts_with("HTTP/1.1 404"));
        assert_eq!(hub.n_connections(), 3);
    }

    /// A hub that serves twenty digits as weights, changed on the way where it `corrupts`, and where they lie.
    fn weights(corrupts: bool) -> (tempfile::TempDir, Hub, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.safetensors"), "01234567890123456789").unwrap();
        let hub = Hub::serve(folder.path(), corrupts).unwrap();
        (folder, hub, format!("/probador/model/resolve/{COMMIT}/model.safetensors"))
    }

    #[test]
    fn only_the_part_that_holds_the_changed_byte_is_corrupted() {
        let (_folder, hub, file) = weights(true);
        let part = |range: &str| get(&hub, &format!("GET {file} HTTP/1.1\r\nRange: bytes={range}"));
        assert!(part("0-10").ends_with("\r\n\r\n01234567890"), "{}", part("0-10"));
        assert!(part("12-").ends_with("\r\n\r\n23456789"), "{}", part("12-"));
        assert!(part("10-").ends_with("\r\n\r\n0q23456789"), "{}", part("10-"));
        assert!(get(&hub, &format!("GET {file} HTTP/1.1")).ends_with("01234567890q23456789"));
    }

    #[test]
    fn a_range_that_is_none_or_beyond_the_end_gets_the_whole() {
        let (_folder, hub, file) = weights(false);
        for head in ["Range: bytes=x-4", "Range: bytes=20-", "Range: lines=1-2", "no header at all"] {
            let whole = get(&hub, &format!("GET {file} HTTP/1.1\r\n{head}"));
            assert!(whole.starts_with("HTTP/1.1 200 OK") && whole.ends_with("\r\n\r\n01234567890123456789"));
            assert!(!whole.contains("Content-Range"), "{whole}");
        }
    }

    #[test]
    fn heads_come_without_bodies_and_a_request_may_end_early() {
        let (_folder, hub, file) = weights(false);
        let head = get(&hub, &format!("HEAD {file} HTTP/1.1"));
        assert!(head.contains("Content-Length: 20\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let list = get(&hub, "HEAD /api/models/probador/model/revision/main HTTP/1.1");
        assert!(list.contains("application/json") && list.ends_with("\r\n\r\n"), "{list}");
        let mut stream = TcpStream::connect(("127.0.0.1", hub.port)).unwrap();
        write!(stream, "GET {file} HTTP/1.1\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\n01234567890123456789"), "{answer}");
    }
}
