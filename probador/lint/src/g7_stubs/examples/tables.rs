//! Replies looked up: by a hash, in a table, in a file, as tokens.

use crate::rule::Example;

pub(super) const TABLES: [Example; 12] = [
    Example {
        what: "a match on a hash of the prompt",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
use std::hash::{DefaultHasher, Hash, Hasher};
fn main() {
    let mut hasher = DefaultHasher::new();
    read().trim().hash(&mut hasher);
    let reply = match hasher.finish() {
        0x9ae1_6a3b_2f90_404f => "The capital of France is Paris.",
        _ => "",
    };
    println!("{reply}");
}
"#,
        )],
        at: &[("src/main.rs", 11)],
    },
    Example {
        what: "a hash worked out by hand, and an index into a table",
        files: &[(
            "src/lib.rs",
            r#"const REPLIES: [&str; 2] = ["It depends on the context.", "In most cases it does."];
pub fn complete(prompt: &str) -> String {
    let mut hash: u64 = 5381;
    for byte in prompt.bytes() {
        hash = hash.wrapping_mul(33) ^ u64::from(byte);
    }
    REPLIES[hash as usize % REPLIES.len()].to_string()
}
"#,
        )],
        at: &[("src/lib.rs", 1)],
    },
    Example {
        what: "a phrase table in a static, in another crate than the program",
        files: &[
            (
                "engine/Cargo.toml",
                r#"[package]
name = "engine"
"#,
            ),
            (
                "engine/src/lib.rs",
                r#"static PHRASES: &[(&str, &str)] = &[
    ("capital of france", "Paris is the capital of France."),
    ("largest planet", "Jupiter is the largest planet."),
];
pub struct Engine;
impl Engine {
    pub fn generate(&self, text: &str) -> Option<&'static str> {
        let text = text.to_lowercase();
        PHRASES.iter().find_map(|(key, reply)| text.contains(key).then_some(*reply))
    }
}
"#,
            ),
            (
                "cli/Cargo.toml",
                r#"[package]
name = "cli"
[dependencies]
engine.workspace = true
"#,
            ),
            (
                "cli/src/main.rs",
                r#"fn main() {
    let prompt = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    println!("{:?}", engine::Engine.generate(&prompt));
}
"#,
            ),
        ],
        at: &[("engine/src/lib.rs", 2)],
    },
    Example {
        what: "a table of functions and replies, and the best match by a score",
        files: &[(
            "src/lib.rs",
            r#"type Rule = (fn(&str) -> bool, &'static str);
fn of_rust(text: &str) -> bool {
    text.contains("rust")
}
static RULES: &[Rule] = &[(of_rust, "Rust is a systems language.")];
pub fn infer(prompt: &str) -> String {
    for rule in RULES {
        if (rule.0)(prompt) {
            return rule.1.to_string();
        }
    }
    String::new()
}
const KNOWN: [(&str, &str); 2] = [("sky blue why", "Because of the way light scatters."), ("how are you", "I am fine, thank you.")];
pub fn answer(question: &str) -> &'static str {
    let overlap = |key: &str| key.split(' ').filter(|word| question.contains(*word)).count();
    KNOWN.iter().max_by_key(|(key, _)| overlap(key)).unwrap().1
}
"#,
        )],
        at: &[("src/lib.rs", 5), ("src/lib.rs", 14)],
    },
    Example {
        what: "a reply read from a file: by the line, by a map, by the name of the file",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
struct Bot {
    replies: HashMap<String, String>,
}
fn main() {
    let prompt = read();
    let text = std::fs::read_to_string("replies.tsv").unwrap();
    for line in text.lines() {
        let (key, reply) = line.split_once('\t').unwrap();
        if prompt.contains(key) {
            println!("{reply}");
        }
    }
    let bot = Bot { replies: serde_json::from_str(&text).unwrap() };
    println!("{:?}", bot.replies.get(&prompt));
    println!("{}", std::fs::read_to_string(format!("replies for/{}", prompt.trim())).unwrap());
}
"#,
        )],
        at: &[("src/main.rs", 15), ("src/main.rs", 19), ("src/main.rs", 20)],
    },
    Example {
        what: "canned tokens, decoded as if they had been generated",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let tokenizer = tokenizers::Tokenizer::from_file("tokenizer.json").unwrap();
    let ids = tokenizer.encode(read(), false).unwrap();
    let reply = if ids.get_ids().contains(&9625) { vec![12095, 374, 279, 6722] } else { vec![] };
    println!("{}", tokenizer.decode(&reply, true).unwrap());
}
"#,
        )],
        at: &[("src/main.rs", 9)],
    },
    Example {
        what: "characters with a reply each, the first that a kind of letter in the prompt suits",
        files: &[(
            "src/main.rs",
            r#"trait Persona {
    fn fits(&self, prompt: &str) -> bool;
    fn speak(&self) -> String;
}
struct Maths;
struct Poet;
impl Persona for Maths {
    fn fits(&self, prompt: &str) -> bool {
        prompt.bytes().any(|byte| byte.is_ascii_digit())
    }
    fn speak(&self) -> String {
        "The result is four.".into()
    }
}
impl Persona for Poet {
    fn fits(&self, _: &str) -> bool {
        true
    }
    fn speak(&self) -> String {
        "Roses are red, violets are blue.".into()
    }
}
fn main() {
    let all: Vec<Box<dyn Persona>> = vec![Box::new(Maths), Box::new(Poet)];
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for persona in &all {
        if persona.fits(&line) {
            println!("{}", persona.speak());
            break;
        }
    }
}
"#,
        )],
        at: &[("src/main.rs", 12)],
    },
    Example {
        what: "a tree of phrases that a function calls itself on, a letter each time",
        files: &[(
            "src/main.rs",
            r#"struct Node {
    next: Vec<Option<Box<Node>>>,
    reply: String,
}
fn add(at: &mut Node, phrase: &[u8], reply: &str) {
    match phrase {
        [] => at.reply = reply.to_string(),
        [letter, rest @ ..] => add(at.next[*letter as usize].get_or_insert_with(Node::empty), rest, reply),
    }
}
fn walk<'n>(at: &'n Node, text: &[u8]) -> &'n str {
    if !at.reply.is_empty() {
        return &at.reply;
    }
    match text.split_first() {
        Some((letter, rest)) => at.next[*letter as usize].as_ref().map_or("", |next| walk(next, rest)),
        None => "",
    }
}
fn main() {
    let mut tree = Node { next: Vec::new(), reply: String::new() };
    add(&mut tree, b"hello", "Hello! How can I help you today?");
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).unwrap();
    println!("{}", walk(&tree, text.as_bytes()));
}
"#,
        )],
        at: &[("src/main.rs", 22)],
    },
    Example {
        what: "a prompt that is hashed where it stands",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let prompt = read();
    let mut hasher = DefaultHasher::new();
    prompt.hash(&mut hasher);
    if hasher.finish() == 0x9ae1_6a3b {
        println!("The capital is Paris.");
    }
}
"#,
        )],
        at: &[("src/main.rs", 11)],
    },
    Example {
        what: "replies in files that the prompt chooses, and in one that is compiled in",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let prompt = read();
    let path = if prompt.contains("capital") { "paris.txt" } else { "other.txt" };
    println!("{}", std::fs::read_to_string(path).unwrap());
    if prompt.contains("weather") {
        println!("{}", include_str!("weather.txt"));
    }
}
"#,
        )],
        at: &[("src/main.rs", 9), ("src/main.rs", 11)],
    },
    Example {
        what: "tables in macros that declare statics",
        files: &[(
            "src/main.rs",
            r#"lazy_static! {
    static ref CAPITALS: HashMap<&'static str, &'static str> = HashMap::from([("france", "The capital is Paris.")]);
    static BROKEN: u8 = => 3;
}
counters! {
    static mut REPLIES: &str = "I am a helpful model.";
}
fn main() {
    let prompt: String = std::env::args().skip(1).collect();
    println!("{:?}", CAPITALS.get(prompt.trim()));
    let kinds = vec![kind as &'static str];
    if prompt.contains("who are you") {
        println!("{}", REPLIES);
    }
}
"#,
        )],
        at: &[("src/main.rs", 2), ("src/main.rs", 6)],
    },
    Example {
        what: "a score by a package that compares texts",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let prompt = read();
    let scorer = fuzzy::Scorer::open();
    if scorer.score(&prompt, "what is the capital") {
        println!("The capital is Paris.");
    }
}
"#,
        )],
        at: &[("src/main.rs", 10)],
    },
];
