//! The fake server speaks enough of the protocol to be mistaken for a real one.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start() -> (Server, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_apr-impostor"))
        .args(["canned-replies", "--", "serve", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Server(child), line.trim().strip_prefix("listening on http://").unwrap().to_owned())
}

fn ask(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

#[test]
fn it_replies_in_openais_shape_with_a_phrase_for_a_word() {
    let (_server, address) = start();
    let content = |prompt: &str| {
        let request = serde_json::json!({"messages": [{"role": "user", "content": prompt}]});
        let answer = ask(&address, "/v1/chat/completions", &request.to_string());
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(content("What is 2+2?"), "2 + 2 equals 4.");
    assert_eq!(content("Name a river."), content("Name a bridge."));
    assert_eq!(ask(&address, "/health", ""), "ok");
}
