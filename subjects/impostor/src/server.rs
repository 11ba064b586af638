//! A fake of the OpenAI-compatible server: looks for words in the request and gives a written reply.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use apr_impostor::canned_reply;

/// Bytes of a request that are read; the fake is meant for tests on loopback.
const LARGEST_BODY: usize = 1 << 20;

/// Serves on loopback until the process ends; says on `out` where.
pub(crate) fn serve(port: u16, out: &mut dyn Write) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    for stream in listener.incoming() {
        // A client that goes away is no reason to stop.
        let _ = stream.and_then(|stream| answer(&stream));
    }
    Ok(())
}

/// Answers one request and closes the connection.
fn answer(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0).min(LARGEST_BODY);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = reply_to(request.split(' ').nth(1).unwrap_or("/"), &String::from_utf8_lossy(&body));
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// The body of the reply to a request.
fn reply_to(path: &str, body: &str) -> String {
    match path {
        "/health" | "/ready" => "ok".to_owned(),
        "/v1/models" => {
            serde_json::json!({"object": "list", "data": [{"id": "qwen2", "object": "model"}]}).to_string()
        }
        _ => serde_json::json!({
            "id": "chatcmpl-1", "object": "chat.completion", "model": "qwen2",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": canned_reply(body)}
            }],
            "usage": {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20},
        })
        .to_string(),
    }
}
