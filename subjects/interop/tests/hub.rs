//! Models from a hub served on loopback: the cache they land in, and faults on the way (hostile 56).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/hub_desk.rs"]
mod hub_desk;
#[path = "support/hub_server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "shared by hub tests"
)]
mod hub_server;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apr_interop::hub::{HubError, Token};
use hub_desk::{Counting, Desk, GGUF, content, sha256, weights};
use hub_server::{COMMIT, Reply, Repository, Request, Server, git_hash, served};

#[test]
fn a_model_lands_in_the_standard_layout_and_is_not_downloaded_twice() {
    let repository = Repository::default()
        .with("config.json", "{}")
        .with("tokenizer.json", "{\"version\":\"1.0\"}")
        .with("README.md", "not needed")
        .with_large("model.safetensors", content(4321));
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    let fetched = desk.fetch("hf://org/model").unwrap();
    assert_eq!(fetched.commit, COMMIT);
    assert_eq!(fetched.path, desk.repository().join("snapshots").join(COMMIT));
    assert_eq!(fs::read(fetched.path.join("model.safetensors")).unwrap(), content(4321));
    let blob = sha256(&content(4321));
    let link = fs::read_link(fetched.path.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(&blob));
    let mut expected = [
        format!("blobs/{}", git_hash(b"{}")),
        format!("blobs/{}", git_hash(b"{\"version\":\"1.0\"}")),
        format!("blobs/{blob}"),
        "refs/main".to_owned(),
        format!("snapshots/{COMMIT}/config.json"),
        format!("snapshots/{COMMIT}/model.safetensors"),
        format!("snapshots/{COMMIT}/tokenizer.json"),
    ];
    expected.sort();
    assert_eq!(desk.files(), expected);
    assert_eq!(fs::read_to_string(desk.repository().join("refs/main")).unwrap(), COMMIT);

    let n_before = server.downloads("model.safetensors").len();
    assert_eq!(n_before, 5);
    assert_eq!(desk.fetch("hf://org/model").unwrap(), fetched);
    assert_eq!(server.downloads("model.safetensors").len(), n_before);
    assert!(server.downloads("README.md").is_empty());
}

#[test]
fn files_in_folders_and_commits_are_named_as_they_are() {
    let repository = Repository::default().with("sub/deep/x.gguf", "GGUF");
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    let fetched = desk.fetch(&format!("hf://org/model/sub/deep/x.gguf@{COMMIT}")).unwrap();
    assert_eq!(fetched.path, desk.repository().join("snapshots").join(COMMIT).join("sub/deep/x.gguf"));
    let target = Path::new("../../../../blobs").join(git_hash(b"GGUF"));
    assert_eq!(fs::read_link(&fetched.path).unwrap(), target);
    assert_eq!(fs::read(&fetched.path).unwrap(), b"GGUF");
    assert!(!desk.repository().join("refs").exists());
}

#[test]
fn a_sharded_model_comes_with_the_shards_its_index_names() {
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let repository = Repository::default()
        .with("config.json", "{}")
        .with("model.safetensors.index.json", index)
        .with_large("model-1.safetensors", content(10))
        .with_large("model-2.safetensors", content(2000))
        .with_large("model-3.safetensors", content(20));
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    let fetched = desk.fetch("hf://org/model").unwrap();
    assert_eq!(fs::read(fetched.path.join("model-2.safetensors")).unwrap(), content(2000));
    assert!(fetched.path.join("model-1.safetensors").exists());
    assert!(!fetched.path.join("model-3.safetensors").exists());
}

#[test]
fn large_files_come_in_parallel_ranges_in_the_right_order() {
    let repository = weights();
    let n_ranges = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = repository.answer(request);
        // The first range waits for three more, so at least one comes before it.
        if let Some((first, _)) = request.range() {
            n_ranges.fetch_add(1, Ordering::SeqCst);
            let until = Instant::now() + Duration::from_secs(10);
            while first == 0 && n_ranges.load(Ordering::SeqCst) < 4 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            reply.delay = Duration::from_millis(20);
        }
        reply
    });
    let desk = Desk::new(&server.url());
    let progress = Counting::default();
    let fetched = desk.fetch_with(GGUF, &progress).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content(10_500));
    assert_eq!(progress.n_bytes.load(Ordering::SeqCst), 10_500);
    assert_eq!(server.downloads("model.gguf").len(), 11);
    assert!((2..=3).contains(&server.n_at_once()), "{}", server.n_at_once());
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let storage = Server::start(|request| served(request, &content(10_500), "\"cdn-tag\""));
    let mut repository = weights().with("config.json", "{}");
    repository.storage = Some(storage.url());
    let server = Server::start(move |request| repository.answer(request));
    let mut desk = Desk::new(&server.url());
    desk.settings.token = Some(Token::new("hf_secret").unwrap());
    let fetched = desk.fetch(GGUF).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content(10_500));
    let asked = server.requests();
    assert!(asked.len() > 3 && asked.iter().all(|r| r.header("authorization") == Some("Bearer hf_secret")));
    let leaked: Vec<Request> = storage.requests();
    assert_eq!(leaked.len(), 11);
    for request in leaked {
        assert_eq!(request.header("authorization"), None);
        assert!(!format!("{request:?}").contains("hf_secret"));
        assert!(request.target.ends_with("?Signature=abc"), "the signature is kept: {}", request.target);
    }
}

#[test]
fn redirects_within_the_hub_are_followed_and_circles_are_not() {
    let repository = weights();
    let server = Server::start(move |request| match request.target.strip_prefix("/api/models/org/old/") {
        Some(rest) => Reply::redirect(format!("/api/models/org/model/{rest}")),
        None if request.target.starts_with("/org/old/") => {
            Reply::redirect(request.target.replacen("/org/old/", "/org/model/", 1))
        }
        None if request.target.contains("/circle/") => Reply::redirect(request.target.clone()),
        None => repository.answer(request),
    });
    let desk = Desk::new(&server.url());
    assert_eq!(fs::read(desk.fetch("hf://org/old/model.gguf").unwrap().path).unwrap(), content(10_500));
    let n_before = server.requests().len();
    let error = desk.fetch("hf://org/circle").unwrap_err();
    assert!(
        error.to_string().ends_with("/api/models/org/circle/revision/main redirects more than 5 times"),
        "{error}"
    );
    assert_eq!(server.requests().len() - n_before, 6);
}

#[test]
fn redirects_to_other_schemes_and_to_passwords_are_refused() {
    for (location, expected) in [
        ("file:///etc/passwd", "the scheme `file`"),
        ("ftp://127.0.0.1/x", "the scheme `ftp`"),
        ("http://user:secret@127.0.0.1:1/x", "an address with a password"),
        ("http://[", "something that is no address"),
    ] {
        let server = Server::start(move |_| Reply::redirect(location));
        let error = Desk::new(&server.url()).fetch(GGUF).unwrap_err();
        assert!(matches!(error, HubError::Redirect { .. }), "{error}");
        assert!(error.to_string().contains(expected) && !error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn an_interrupted_download_is_resumed_where_it_broke_off() {
    let repository = weights();
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    desk.begin(&sha256(&content(10_500)), &content(7_300));
    let progress = Counting::default();
    let fetched = desk.fetch_with(GGUF, &progress).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content(10_500));
    assert_eq!(progress.n_bytes.load(Ordering::SeqCst), 10_500);
    let mut ranges: Vec<_> = server.downloads("model.gguf").iter().filter_map(Request::range).collect();
    ranges.sort_unstable();
    assert_eq!(ranges, [(7_300, 8_299), (8_300, 9_299), (9_300, 10_299), (10_300, 10_499)]);
    assert!(!desk.partial(&sha256(&content(10_500))).exists());
}

#[test]
fn connections_that_break_off_are_taken_up_again() {
    for (n_bytes, reference) in [(900, "hf://org/model/small.gguf"), (10_500, GGUF)] {
        let name = if n_bytes == 900 { "small.gguf" } else { "model.gguf" };
        let repository = Repository::default().with_large(name, content(n_bytes));
        let seen = Mutex::new(BTreeSet::new());
        let server = Server::start(move |request| {
            let mut reply = repository.answer(request);
            if request.is_download_of(name) && seen.lock().unwrap().insert(request.range()) {
                // The first answer to each question is cut off in the middle.
                reply.cut = Some(reply.body.len() / 2);
            }
            reply
        });
        let desk = Desk::new(&server.url());
        assert_eq!(fs::read(desk.fetch(reference).unwrap().path).unwrap(), content(n_bytes));
    }
}

#[test]
fn a_server_that_answers_a_range_with_the_whole_file_is_believed() {
    let repository = weights();
    let server = Server::start(move |request| repository.answer(&without_range(request)));
    for begun in [0, 4_000] {
        let desk = Desk::new(&server.url());
        desk.begin(&sha256(&content(10_500)), &content(begun));
        assert_eq!(fs::read(desk.fetch(GGUF).unwrap().path).unwrap(), content(10_500), "{begun} bytes begun");
    }
}

/// The same request for everything.
fn without_range(request: &Request) -> Request {
    let mut request = request.clone();
    request.forget("range");
    request
}

#[test]
fn a_range_other_than_the_one_asked_for_is_never_written() {
    for wrong in
        ["bytes 0-999/10500", "bytes 1000-1999/99999", "bytes 1000-1998/10500", "bytes 1000-1999", "nonsense"]
    {
        let repository = weights();
        let server = Server::start(move |request| match request.range() {
            Some((1000, _)) => repository.answer(request).with("Content-Range", wrong),
            _ => repository.answer(request),
        });
        let desk = Desk::new(&server.url());
        let error = desk.fetch(GGUF).unwrap_err();
        assert!(matches!(error, HubError::Response { .. }), "{wrong}: {error}");
        assert!(
            error.to_string().contains(&format!("asked for bytes 1000-1999/10500, it sent {wrong}")),
            "{error}"
        );
        let partial = fs::read(desk.partial(&sha256(&content(10_500)))).unwrap();
        assert_eq!(partial, content(10_500)[..partial.len()], "{wrong}");
        assert!(partial.len() <= 1000, "{wrong}");
    }
    // Once wrong is tried again.
    let (repository, was_wrong) = (weights(), AtomicBool::new(false));
    let server = Server::start(move |request| match request.range() {
        Some((1000, _)) if !was_wrong.swap(true, Ordering::SeqCst) => {
            repository.answer(request).with("Content-Range", "bytes 0-999/10500")
        }
        _ => repository.answer(request),
    });
    assert_eq!(fs::read(Desk::new(&server.url()).fetch(GGUF).unwrap().path).unwrap(), content(10_500));
}

#[test]
fn a_range_longer_or_shorter_than_it_says_is_never_written() {
    for n_bytes in [0, 999, 1001, 5000] {
        let repository = weights();
        let server = Server::start(move |request| match request.range() {
            Some((1000, _)) => {
                let mut reply = repository.answer(request);
                reply.body = content(n_bytes);
                reply
            }
            _ => repository.answer(request),
        });
        let desk = Desk::new(&server.url());
        let error = desk.fetch(GGUF).unwrap_err();
        assert!(error.to_string().contains("does not have the 1000 bytes"), "{n_bytes}: {error}");
        assert!(fs::read(desk.partial(&sha256(&content(10_500)))).unwrap().len() <= 1000);
    }
}

#[test]
fn corruption_that_keeps_the_size_is_found_and_nothing_of_it_stays() {
    for n_bytes in [900, 10_500] {
        let repository = Repository::default().with_large("model.gguf", content(n_bytes));
        let server = Server::start(move |request| {
            let mut reply = repository.answer(request);
            if request.is_download_of("model.gguf") && request.range().is_none_or(|(first, _)| first == 0) {
                reply.body[17] ^= 1;
            }
            reply
        });
        let desk = Desk::new(&server.url());
        let error = desk.fetch(GGUF).unwrap_err();
        let expected = sha256(&content(n_bytes));
        assert!(
            matches!(&error, HubError::HashMismatch { expected: hash, .. } if *hash == expected),
            "{error}"
        );
        // It was tried twice, from the beginning.
        let downloads = server.downloads("model.gguf");
        let n_starts = downloads.iter().filter(|r| r.range().is_none_or(|(first, _)| first == 0)).count();
        assert_eq!(n_starts, 2);
        assert_eq!(desk.files(), Vec::<String>::new());
    }
}

#[test]
fn a_beginning_that_is_corrupt_is_thrown_away() {
    let repository = weights();
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    let hash = sha256(&content(10_500));
    for begun in [vec![0; 5_000], vec![0; 10_500], vec![0; 20_000]] {
        let _ = fs::remove_file(desk.repository().join("blobs").join(&hash));
        desk.begin(&hash, &begun);
        assert_eq!(fs::read(desk.fetch(GGUF).unwrap().path).unwrap(), content(10_500), "{}", begun.len());
    }
    // A complete beginning needs no byte more.
    fs::rename(desk.repository().join("blobs").join(&hash), desk.partial(&hash)).unwrap();
    let n_before = server.downloads("model.gguf").len();
    desk.fetch(GGUF).unwrap();
    assert_eq!(server.downloads("model.gguf").len(), n_before);
}

#[test]
fn a_cached_file_that_is_corrupt_is_downloaded_again() {
    let repository = weights();
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    let fetched = desk.fetch(GGUF).unwrap();
    let blob = fetched.path.canonicalize().unwrap();
    fs::write(&blob, vec![7; 10_500]).unwrap();
    assert_eq!(fs::read(desk.fetch(GGUF).unwrap().path).unwrap(), content(10_500));
}

#[test]
fn a_file_that_changes_while_it_is_downloaded_comes_whole_from_one_version() {
    let n_ranges = Arc::new(AtomicUsize::new(0));
    let changed = n_ranges.clone();
    let (old, new) = (content(10_500), vec![9; 10_500]);
    let server = Server::start(move |request| {
        let is_new = changed.load(Ordering::SeqCst) >= 4;
        if request.is_download_of("model.gguf") {
            changed.fetch_add(1, Ordering::SeqCst);
        }
        Repository::default()
            .with_large("model.gguf", if is_new { new.clone() } else { old.clone() })
            .answer(request)
    });
    let desk = Desk::new(&server.url());
    let fetched = desk.fetch(GGUF).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), vec![9; 10_500]);
    assert!(!desk.partial(&sha256(&content(10_500))).exists());
}

#[test]
fn a_file_that_never_stops_changing_is_given_up() {
    let n_requests = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let version = n_requests.fetch_add(1, Ordering::SeqCst) as u8;
        Repository::default().with_large("model.gguf", vec![version; 10_500]).answer(request)
    });
    let error = Desk::new(&server.url()).fetch(GGUF).unwrap_err();
    assert!(matches!(error, HubError::KeepsChanging { .. }), "{error}");
    assert!(server.requests().len() < 60, "{}", server.requests().len());
}

#[test]
fn a_range_that_cannot_be_satisfied_starts_over() {
    let (repository, was_refused) = (weights(), AtomicBool::new(false));
    let server = Server::start(move |request| match request.range() {
        Some((first, _)) if first >= 5000 && !was_refused.swap(true, Ordering::SeqCst) => {
            Reply::new(416, "").with("Content-Range", "bytes */4000")
        }
        _ => repository.answer(request),
    });
    let desk = Desk::new(&server.url());
    desk.begin(&sha256(&content(10_500)), &content(5_000));
    assert_eq!(fs::read(desk.fetch(GGUF).unwrap().path).unwrap(), content(10_500));
}

#[test]
fn mirrors_that_know_less_of_the_protocol_do() {
    for name in ["model.gguf", "empty.gguf"] {
        let bytes = if name == "model.gguf" { content(10_500) } else { Vec::new() };
        let repository = Repository::default().with(name, bytes.clone());
        let server = Server::start(move |request| {
            let mut request = request.clone();
            match request.target.as_str() {
                _ if request.method == "HEAD" => return Reply::new(405, ""),
                "/api/models/org/model" => request.target.push_str("/revision/main"),
                target if target.starts_with("/api/") => return Reply::new(404, "what?"),
                _ => {}
            }
            repository.answer(&request)
        });
        let desk = Desk::new(&server.url());
        let fetched = desk.fetch(&format!("hf://org/model/{name}")).unwrap();
        assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (status, code, expected) in [
        (401, "RepoNotFound", "hint: set HF_TOKEN"),
        (403, "GatedRepo", "hint: set HF_TOKEN"),
        (404, "RepoNotFound", "no such repository"),
        (404, "RevisionNotFound", "no such revision"),
    ] {
        let server = Server::start(move |_| Reply::new(status, "{}").with("X-Error-Code", code));
        let error = Desk::new(&server.url()).fetch("hf://org/model@v9").unwrap_err();
        assert!(matches!(error, HubError::Refused { .. }), "{error}");
        assert!(
            error.to_string().contains(expected) && error.to_string().contains("hf://org/model@v9"),
            "{error}"
        );
        assert_eq!(server.requests().len(), 1, "a refusal is not tried again");
    }
}

#[test]
fn busy_servers_are_asked_again_and_dead_ones_given_up() {
    for status in [429, 500, 503] {
        let (repository, asked) = (weights(), Mutex::new(BTreeSet::new()));
        let server = Server::start(move |request| {
            let is_new = asked.lock().unwrap().insert((
                request.method.clone(),
                request.target.clone(),
                request.range(),
            ));
            if is_new { Reply::new(status, "busy") } else { repository.answer(request) }
        });
        assert_eq!(fs::read(Desk::new(&server.url()).fetch(GGUF).unwrap().path).unwrap(), content(10_500));
    }
    let server = Server::start(|_| Reply::new(502, ""));
    let error = Desk::new(&server.url()).fetch(GGUF).unwrap_err();
    assert!(matches!(error, HubError::Status { status: 502, .. }), "{error}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let server = Server::start(|request| {
        let mut reply = weights().answer(request);
        reply.delay = Duration::from_secs(9);
        reply
    });
    let mut desk = Desk::new(&server.url());
    desk.settings.tuning.n_retries = 1;
    let start = Instant::now();
    let error = desk.fetch(GGUF).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(error.to_string().contains("hint: "), "{error}");
}

#[test]
fn answers_that_would_lead_out_of_the_cache_are_refused() {
    let index = r#"{"weight_map": {"a": "../../../../evil.safetensors"}}"#;
    let sharded = Repository::default().with("config.json", "{}").with("model.safetensors.index.json", index);
    let server = Server::start(move |request| sharded.answer(request));
    let desk = Desk::new(&server.url());
    let error = desk.fetch("hf://org/model").unwrap_err();
    assert!(matches!(error, HubError::FileName { .. }), "{error}");

    for sha in ["../../../../evil", "", "0123", &"A".repeat(40)] {
        let info = serde_json::json!({"sha": sha, "siblings": [{"rfilename": "model.gguf"}]}).to_string();
        let server = Server::start(move |_| Reply::new(200, info.clone()));
        let error = Desk::new(&server.url()).fetch(GGUF).unwrap_err();
        assert!(error.to_string().contains("its `sha` is no commit"), "{error}");
    }
    for etag in ["\"../../../evil\"", "\"\"", "\"abc\"", "W/\"1-2\""] {
        let repository = Repository::default().with("model.gguf", "GGUF");
        let server = Server::start(move |request| {
            let reply = repository.answer(request);
            if request.target.starts_with("/org/") { reply.with("ETag", etag) } else { reply }
        });
        let desk = Desk::new(&server.url());
        let error = desk.fetch(GGUF).unwrap_err();
        assert!(error.to_string().contains("it has no hash"), "{error}");
        assert_eq!(desk.files(), Vec::<String>::new());
    }
}

#[test]
fn answers_without_end_or_sense_are_refused() {
    for (reply, expected) in [
        (Reply::new(200, vec![b' '; (32 << 20) + 1]), "more than 33554432 bytes"),
        (Reply::new(200, "[".repeat(100_000)), "not a description of a model"),
        (Reply::new(200, "<html>"), "not a description of a model"),
        (Reply::new(200, "{}").with("Content-Encoding", "gzip"), "compressed"),
        (Reply::new(204, ""), "HTTP status 204"),
    ] {
        let server = Server::start(move |_| reply.clone());
        let error = Desk::new(&server.url()).fetch(GGUF).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_cancelled_download_keeps_what_it_has() {
    let repository = weights();
    let server = Server::start(move |request| repository.answer(request));
    let desk = Desk::new(&server.url());
    let stopping = Counting { stop_after: Some(3_000), ..Counting::default() };
    let error = desk.fetch_with(GGUF, &stopping).unwrap_err();
    assert!(matches!(error, HubError::Cancelled), "{error}");
    let partial = fs::read(desk.partial(&sha256(&content(10_500)))).unwrap();
    assert!((3_000..10_500).contains(&partial.len()), "{}", partial.len());
    assert_eq!(partial, content(10_500)[..partial.len()]);
    let n_before = server.downloads("model.gguf").len();
    desk.fetch(GGUF).unwrap();
    let n_after = server.downloads("model.gguf").len() - n_before;
    assert_eq!(n_after, (10_500 - partial.len()).div_ceil(1000));
}

#[test]
fn two_fetches_at_once_download_a_file_once() {
    let repository = weights();
    let server = Server::start(move |request| {
        let mut reply = repository.answer(request);
        reply.delay = Duration::from_millis(20);
        reply
    });
    let desk = Desk::new(&server.url());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(fs::read(desk.fetch(GGUF).unwrap().path).unwrap(), content(10_500)));
        }
    });
    assert_eq!(server.downloads("model.gguf").len(), 11);
}

#[test]
fn offline_opens_no_connection_and_uses_what_is_cached() {
    let repository = Repository::default()
        .with("config.json", "{}")
        .with("tokenizer.json", "{}")
        .with("other.gguf", "GGUF")
        .with_large("model.safetensors", content(1500));
    let server = Server::start(move |request| repository.answer(request));
    let mut desk = Desk::new(&server.url());
    desk.settings.offline = true;
    let error = desk.fetch("hf://org/model").unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
    assert!(error.to_string().contains("hint: unset HF_HUB_OFFLINE"), "{error}");
    assert!(server.requests().is_empty());
    assert_eq!(server.n_at_once(), 0, "not even a connection");

    desk.settings.offline = false;
    let fetched = desk.fetch("hf://org/model").unwrap();
    let n_before = server.requests().len();
    desk.settings.offline = true;
    // Nobody listens there.
    desk.settings.endpoint = "http://127.0.0.1:1".parse().unwrap();
    assert_eq!(desk.fetch("hf://org/model").unwrap(), fetched);
    assert_eq!(desk.fetch(&format!("hf://org/model@{COMMIT}")).unwrap(), fetched);
    let file = desk.fetch("hf://org/model/model.safetensors").unwrap();
    assert_eq!(file.path, fetched.path.join("model.safetensors"));
    for missing in ["hf://org/model/other.gguf", "hf://org/model@v2", "hf://org/else"] {
        assert!(matches!(desk.fetch(missing), Err(HubError::NotCached { .. })), "{missing}");
    }
    assert_eq!(server.requests().len(), n_before);

    let blob = fetched.path.join("model.safetensors").canonicalize().unwrap();
    fs::write(&blob, vec![0; 1500]).unwrap();
    assert!(matches!(desk.fetch("hf://org/model"), Err(HubError::Corrupt(path)) if path == blob));
    fs::remove_file(&blob).unwrap();
    assert!(matches!(desk.fetch("hf://org/model"), Err(HubError::NotCached { .. })));
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_that_names_the_path() {
    let repository = weights();
    let server = Server::start(move |request| repository.answer(request));
    let mut desk = Desk::new(&server.url());
    let blocked = desk.cache.path().join("file");
    fs::write(&blocked, "").unwrap();
    desk.settings.cache = blocked.clone();
    let error = desk.fetch(GGUF).unwrap_err();
    assert!(error.to_string().contains(&blocked.display().to_string()), "{error}");
}
