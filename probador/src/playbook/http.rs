//! HTTP steps: one request to a server on this machine, its answer, and the events of a stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use ureq::http::{Request, Uri};

use super::observed::Observed;

/// Bytes of an answer; a longer one is an error.
const LONGEST_ANSWER: u64 = 16 << 20;

/// A request.
pub(super) struct Question<'q> {
    pub(super) method: &'q str,
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
    pub(super) timeout: Duration,
}

/// Asks, and reads the answer to its end. No answer is an error; any status is an answer.
pub(super) fn ask(question: &Question<'_>) -> anyhow::Result<Observed> {
    let uri: Uri = question.url.parse().with_context(|| format!("`{}` is no address", question.url))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    ensure!(
        uri.scheme_str() == Some("http") && ["127.0.0.1", "localhost", "::1"].contains(&host),
        "`{}` is not on this machine\nhint: playbooks ask http://127.0.0.1 only; start what they need under `services`",
        question.url
    );
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(question.timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .build()
        .into();
    let mut builder = Request::builder().method(question.method).uri(&question.url);
    for (name, value) in &question.headers {
        builder = builder.header(name, value);
    }
    let says_type = question.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    if question.body.is_some() && !says_type {
        builder = builder.header("content-type", "application/json");
    }
    let started = Instant::now();
    let failed = || format!("no answer from {}", question.url);
    let mut response = match &question.body {
        Some(body) => agent.run(builder.body(body.as_str()).with_context(failed)?),
        None => agent.run(builder.body(()).with_context(failed)?),
    }
    .with_context(failed)?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let status = response.status().as_u16();
    let output = response
        .body_mut()
        .with_config()
        .limit(LONGEST_ANSWER)
        .read_to_vec()
        .with_context(|| format!("the answer from {} breaks off", question.url))?;
    Ok(Observed {
        text: String::from_utf8_lossy(&output).into_owned(),
        output,
        status: Some(status),
        headers,
        seconds: started.elapsed().as_secs_f64(),
        ..Observed::default()
    })
}

/// The data of each event of a stream (WHATWG HTML, section 9.2.6); lines of one event's data are joined.
pub(super) fn events(stream: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut data: Option<String> = None;
    for line in stream.lines() {
        if line.is_empty() {
            events.extend(data.take());
        } else if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => data.extend(["\n", value]),
                None => data = Some(value.to_owned()),
            }
        }
    }
    // An event that its empty line does not end was cut off, and is none.
    events
}

/// The pieces of text that events bring, together.
pub(super) fn joined(events: &[String], at: &str) -> String {
    let documents = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    documents.filter_map(|document| Some(document.pointer(at)?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;

    use super::*;

    #[test]
    fn events_are_read_as_the_standard_says() {
        let stream = ": comment\ndata: {\"t\": \"a\"}\n\nevent: x\ndata:{\"t\":\ndata: \"b\"}\n\ndata: [DONE]\n\ndata: cut off";
        let events = events(stream);
        assert_eq!(events, ["{\"t\": \"a\"}", "{\"t\":\n\"b\"}", "[DONE]"]);
        assert_eq!(joined(&events, "/t"), "ab");
    }

    /// The answer to a request for which a server sends what `send` writes, and closes.
    fn answer(send: impl FnOnce(TcpStream) + Send + 'static) -> anyhow::Result<Observed> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The request is short, and is there whole.
            let _ = stream.read(&mut [0; 4096]).unwrap();
            send(stream);
        });
        let asked = ask(&Question {
            method: "GET",
            url: format!("http://{address}/"),
            headers: BTreeMap::new(),
            body: None,
            timeout: Duration::from_secs(20),
        });
        server.join().unwrap();
        asked
    }

    /// The corpus that `scripts/hostile_corpus.py` writes.
    #[test]
    fn hostile_answers_are_read_or_refused_and_nothing_else_happens() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile-answers");
        let mut n_files = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            let asked = answer(move |mut stream| {
                // Whoever has seen enough hangs up.
                let _ = stream.write_all(&bytes);
            });
            match asked {
                Ok(observed) => {
                    assert!(name.starts_with("read-"), "{name} is read as {observed:?}");
                    // What was cut off is no event.
                    let is_whole = |data: &String| serde_json::from_str::<Value>(data).is_ok();
                    assert!(events(&observed.text).iter().all(is_whole), "{name}: {}", observed.text);
                }
                Err(error) => {
                    assert!(name.starts_with("refused-"), "{name} is refused: {error:#}");
                    assert!(error.to_string().contains("http://127.0.0.1:"), "{name}: {error:#}");
                }
            }
            n_files += 1;
        }
        assert!(n_files > 15, "{n_files} files");
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        let asked = answer(|mut stream| {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while sent.is_ok() {
                sent = stream.write_all(&[b'x'; 1 << 13]);
            }
        });
        let error = format!("{:#}", asked.unwrap_err());
        assert!(error.contains("breaks off"), "{error}");
    }

    #[test]
    fn servers_elsewhere_are_never_asked() {
        for url in [
            "http://example.org/",
            "https://127.0.0.1/",
            "http://127.0.0.1.example.org/",
            "ftp://localhost/",
            "/x",
        ] {
            let question = Question {
                method: "GET",
                url: url.to_owned(),
                headers: BTreeMap::new(),
                body: None,
                timeout: Duration::from_secs(1),
            };
            let error = format!("{:#}", ask(&question).unwrap_err());
            assert!(error.contains("is not on this machine"), "{url}: {error}");
        }
    }
}
