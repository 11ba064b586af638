//! Prompts that come in by a command line, the environment, a reader or a request.

use crate::rule::Example;

pub(super) const SOURCES: [Example; 2] = [
    Example {
        what: "a parsed command line, a variable of the environment, an awaited input and a reader that is handed in",
        files: &[
            (
                "src/main.rs",
                r#"#[derive(Parser)]
struct Args {
    prompt: String,
    level: u8,
}
fn main() {
    let args = Args::parse();
    if args.prompt.contains("capital") && args.level > 3 {
        println!("The capital is Paris.");
    }
    let asked = std::env::var("CHAT_PROMPT").unwrap();
    if asked.contains("weather") {
        println!("It will be sunny all day.");
    }
    let mut piped = String::new();
    tokio::stdin().read_to_string(&mut piped).await;
    if piped.contains("poem") {
        writeln!(io::stdout(), "Roses are red, violets are blue.");
    }
}
"#,
            ),
            (
                "src/lib.rs",
                r#"pub fn serve(input: impl BufRead, mut out: impl Write) {
    for line in input.lines() {
        if line.unwrap().contains("capital") {
            writeln!(out, "The capital is Paris.");
        }
    }
}
"#,
            ),
        ],
        at: &[("src/lib.rs", 4), ("src/main.rs", 9), ("src/main.rs", 13), ("src/main.rs", 18)],
    },
    Example {
        what: "handlers that an attribute names, with a typed and an untyped body",
        files: &[(
            "src/main.rs",
            r#"#[derive(Deserialize)]
struct Ask {
    text: String,
}
#[post("/chat")]
async fn chat(ask: Ask) -> String {
    if ask.text.contains("capital") { "The capital is Paris.".to_owned() } else { String::new() }
}
#[post("/raw")]
async fn raw(body: Value) -> String {
    if body["prompt"].contains("weather") { "It will be sunny all day.".to_owned() } else { String::new() }
}
struct App {
    name: String,
}
#[get("/status")]
async fn status(n: u8, app: App) -> &'static str {
    if app.name.contains("demo") { "This is the demo of it." } else { "" }
}
fn main() {}
"#,
        )],
        at: &[("src/main.rs", 7), ("src/main.rs", 11)],
    },
];
