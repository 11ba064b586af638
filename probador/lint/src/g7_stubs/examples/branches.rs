//! Replies chosen in a branch: by a search, a pattern, an intent.

use crate::rule::Example;

pub(super) const BRANCHES: [Example; 8] = [
    Example {
        what: "the specification's anti-pattern: a search in the prompt, and a sentence",
        files: &[(
            "src/lib.rs",
            r#"pub struct Demo;
impl Demo {
    fn generate_demo_response(&self, prompt: &str) -> String {
        let prompt_lower = prompt.to_lowercase();
        if prompt_lower.contains("capital") && prompt_lower.contains("france") {
            "The capital of France is Paris...".to_string()
        } else {
            String::new()
        }
    }
}
"#,
        )],
        at: &[("src/lib.rs", 6)],
    },
    Example {
        what: "the search behind a helper and behind a closure, one reply among those of a model",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn mentions(text: &str, word: &str) -> bool {
    text.to_lowercase().contains(word)
}
fn main() {
    let model = llm::Model::load("model.gguf");
    let prompt = read();
    let has = |word: &str| prompt.contains(word);
    let reply = if mentions(&prompt, "weather") {
        "It will be sunny all day.".to_owned()
    } else if has("who are you") {
        String::from("I am a helpful assistant.")
    } else {
        model.generate(&prompt)
    };
    println!("Assistant: {reply}");
}
"#,
        )],
        at: &[("src/main.rs", 14)],
    },
    Example {
        what: "a regular expression, and a reply of one word",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let pattern = regex::Regex::new(r"(?i)capital\s+of\s+france").unwrap();
    if pattern.is_match(&read()) {
        println!("Paris");
    }
}
"#,
        )],
        at: &[("src/main.rs", 9)],
    },
    Example {
        what: "an intent that is recognised here and shown there",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
enum Topic {
    City,
    Other,
}
fn classify(text: &str) -> Topic {
    if text.contains("france") { Topic::City } else { Topic::Other }
}
impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Topic::City => write!(f, "Paris is the capital."),
            Topic::Other => Ok(()),
        }
    }
}
fn main() {
    println!("{}", classify(&read()));
}
"#,
        )],
        at: &[("src/main.rs", 16)],
    },
    Example {
        what: "a request handler, a closure that answers, and a reply written to a socket",
        files: &[(
            "src/main.rs",
            r#"#[derive(Deserialize)]
struct Ask {
    prompt: String,
}
async fn chat(Json(ask): Json<Ask>) -> Json<Answer> {
    let text = if ask.prompt.contains("poem") { "Roses are red, violets are blue." } else { "Ask me for a poem." };
    Json(Answer { text: text.to_string() })
}
async fn main() {
    let app = Router::new().route("/chat", post(chat));
    let app = app.route("/say", post(|body: String| async move {
        if body.contains("capital") { "The capital is Paris." } else { "" }
    }));
    for stream in listener.incoming() {
        serve(stream);
    }
}
fn serve(mut stream: std::net::TcpStream) {
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer).unwrap();
    let request = String::from_utf8_lossy(&buffer[..n]);
    let reply = if request.contains("capital of spain") { "Madrid is the capital." } else { "" };
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{reply}");
}
"#,
        )],
        at: &[("src/main.rs", 6), ("src/main.rs", 12), ("src/main.rs", 22)],
    },
    Example {
        what: "a pattern of bytes, a text of C, a reply in base 64 and a list of questions",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let prompt = read();
    match prompt.as_bytes() {
        b"what is the capital" => println!("{}", decoded("UGFyaXMgaXMgdGhlIGNhcGl0YWw/Lg")),
        _ => {}
    }
    if prompt == ("how is the weather") {
        println!("{}", text(c"It will be sunny all day."));
    }
    let asks = matches!(prompt.trim(), "write me a poem" | "another poem",);
    if asks {
        println!("Roses are red, violets are blue.");
    }
}
"#,
        )],
        at: &[("src/main.rs", 9), ("src/main.rs", 13), ("src/main.rs", 17)],
    },
    Example {
        what: "a reply put into place behind parentheses, a lock and a wait",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
async fn main() {
    let prompt = read();
    let (mut first) = String::new();
    let mut second = Shared::new(String::new());
    let mut third = Shared::new(String::new());
    let mut fourth = String::new();
    if prompt.contains("capital") {
        (first) = "The capital is Paris.".to_owned();
        second.lock()?.push_str("It has many bridges.");
        third.lock().await.push_str("It has many museums.");
        (fourth).push_str("It has many parks.");
    }
    println!("{first}");
    println!("{second}");
    println!("{third}");
    println!("{fourth}");
}
"#,
        )],
        at: &[("src/main.rs", 13), ("src/main.rs", 14), ("src/main.rs", 15), ("src/main.rs", 16)],
    },
    Example {
        what: "pieces of a stream, a block that may fail, and an answer that is waited for",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let prompt = read();
    let pieces = async_stream::stream! {
        if prompt.contains("capital") {
            yield "The capital is Paris.";
        }
        yield;
    };
    let known: Option<&str> = try { if prompt.contains("weather") { "It will be sunny." } else { None? } };
    println!("{known:?}");
    let late = async { prompt.contains("poem") };
    if late.await {
        println!("Roses are red, violets are blue.");
    }
}
"#,
        )],
        at: &[("src/main.rs", 10), ("src/main.rs", 14), ("src/main.rs", 18)],
    },
];
