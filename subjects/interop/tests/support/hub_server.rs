//! A hub on loopback: real HTTP over real sockets, with faults where a test wants them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// The commit that every repository here is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First and last byte asked for.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().unwrap_or(usize::MAX)))
    }

    pub fn forget(&mut self, header: &str) {
        self.headers.remove(header);
    }

    pub fn is_download_of(&self, name: &str) -> bool {
        self.method == "GET" && self.target.split('?').next().is_some_and(|path| path.ends_with(name))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after this many bytes of the body.
    pub cut: Option<usize>,
    /// Wait so long before answering.
    pub delay: Duration,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, delay: Duration::ZERO }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(302, "").with("Location", to)
    }
}

/// A server, stopped when dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    n_at_once: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers every request by `answer`.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let n_at_once = Arc::new(AtomicUsize::new(0));
        let n_open = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (requests, is_over, most) = (requests.clone(), is_over.clone(), n_at_once.clone());
            let answer = Arc::new(answer);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    let (requests, answer) = (requests.clone(), answer.clone());
                    let (n_open, most) = (n_open.clone(), most.clone());
                    std::thread::spawn(move || {
                        most.fetch_max(n_open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let mut is_open = true;
                        // Counted before the client can know that it has its reply, and open the next connection.
                        let mut before_reply = || {
                            if std::mem::take(&mut is_open) {
                                n_open.fetch_sub(1, Ordering::SeqCst);
                            }
                        };
                        if let Ok(stream) = stream {
                            let _ = serve(stream, &requests, &*answer, &mut before_reply);
                        }
                        before_reply();
                    });
                }
            })
        };
        Self { address, requests, n_at_once, is_over, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Downloads of `name` so far.
    pub fn downloads(&self, name: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is_download_of(name)).collect()
    }

    /// The most connections that waited for their reply at a time.
    pub fn n_at_once(&self) -> usize {
        self.n_at_once.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Reply + Send + Sync),
    before_reply: &mut dyn FnMut(),
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).take(64 << 10).lines();
    let Some(Ok(first)) = lines.next() else { return Ok(()) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let request = Request { method, target, headers };
    requests.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    std::thread::sleep(reply.delay);
    before_reply();
    let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let n = reply.cut.unwrap_or(usize::MAX).min(reply.body.len());
        stream.write_all(&reply.body[..n])?;
    }
    stream.flush()
}

/// A repository `org/model` that answers as the hub does.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    files: BTreeMap<String, Vec<u8>>,
    /// Large files, which are kept elsewhere and named by SHA-256.
    large: BTreeMap<String, Vec<u8>>,
    /// Where large files are: another server.
    pub storage: Option<String>,
}

impl Repository {
    pub fn with(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), content.into());
        self
    }

    pub fn with_large(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.large.insert(name.to_owned(), content.into());
        self
    }

    /// What the hub answers.
    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap_or_default();
        if path == "/api/models/org/model/revision/main"
            || path == format!("/api/models/org/model/revision/{COMMIT}")
        {
            let names = self.files.keys().chain(self.large.keys());
            let siblings: Vec<_> = names.map(|name| serde_json::json!({"rfilename": name})).collect();
            let info = serde_json::json!({"id": "org/model", "sha": COMMIT, "siblings": siblings});
            return Reply::new(200, info.to_string());
        }
        if let Some(revision) = path.strip_prefix("/api/models/org/model/revision/") {
            return Reply::new(404, format!("no {revision}")).with("X-Error-Code", "RevisionNotFound");
        }
        let name = path.strip_prefix(&format!("/org/model/resolve/{COMMIT}/")).unwrap_or_default();
        if let Some(content) = self.files.get(name) {
            return served(request, content, &format!("\"{}\"", git_hash(content)))
                .with("X-Repo-Commit", COMMIT);
        }
        let Some(content) = self.large.get(name) else {
            return Reply::new(404, "nothing").with("X-Error-Code", "EntryNotFound");
        };
        let hash = hex::encode(Sha256::digest(content));
        let reply = match &self.storage {
            Some(storage) => Reply::redirect(format!("{storage}/{hash}/{name}?Signature=abc")),
            None => served(request, content, &format!("\"{hash}\"")),
        };
        reply
            .with("X-Linked-Etag", format!("\"{hash}\""))
            .with("X-Linked-Size", content.len().to_string())
            .with("X-Repo-Commit", COMMIT)
    }
}

/// `content`, or the range that was asked for, with `etag`.
pub fn served(request: &Request, content: &[u8], etag: &str) -> Reply {
    let is_current = request.header("if-range").is_none_or(|wanted| wanted == etag);
    match request.range().filter(|_| is_current) {
        Some((first, _)) if first >= content.len() => {
            let range = format!("bytes */{}", content.len());
            Reply::new(416, "").with("Content-Range", range).with("ETag", etag)
        }
        Some((first, last)) => {
            let last = last.min(content.len() - 1);
            Reply::new(206, &content[first..=last])
                .with("Content-Range", format!("bytes {first}-{last}/{}", content.len()))
                .with("ETag", etag)
        }
        None => Reply::new(200, content).with("ETag", etag),
    }
}

/// What git calls a file with this content.
pub fn git_hash(content: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hasher.update(content);
    hex::encode(hasher.finalize())
}
