//! What looks like a canned reply and is none.

use crate::rule::Example;

pub(crate) const MUST_NOT_FLAG: &[Example] = &[
    Example {
        what: "a chat over a model of its own: slash commands, an empty line, leaving, a stop string, a seeded draw",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
struct Model {
    weights: Vec<f32>,
}
impl Model {
    fn load(path: &str) -> Self {
        let bytes = std::fs::read(path).unwrap();
        Self { weights: bytes.chunks(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect() }
    }
    fn forward(&self, ids: &[u32]) -> Vec<f32> {
        let mut logits = vec![0.0; 256];
        for (row, logit) in logits.iter_mut().enumerate() {
            for (column, id) in ids.iter().enumerate() {
                *logit += self.weights[row * 8 + column % 8] * *id as f32;
            }
        }
        logits
    }
}
fn main() {
    let model = Model::load("model.bin");
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    loop {
        let line = read();
        let line = line.trim();
        if line.is_empty() {
            println!("Please type a message first.");
            continue;
        }
        match line {
            "/help" => println!("These are the commands: /help, /quit"),
            "/quit" | "exit" => {
                println!("Goodbye and see you soon!");
                break;
            }
            _ if line.starts_with('/') => println!("There is no such command."),
            prompt => {
                let mut ids: Vec<u32> = prompt.bytes().map(u32::from).collect();
                let mut text = String::new();
                while !text.ends_with("</s>") && !text.contains("\nUser:") {
                    let logits = model.forward(&ids);
                    let id = sample(&logits, rng.random());
                    ids.push(id);
                    text.push(id as u8 as char);
                }
                println!("Assistant: {text}");
            }
        }
    }
}
fn sample(logits: &[f32], draw: f32) -> u32 {
    let mut rest = draw * logits.iter().map(|logit| logit.exp()).sum::<f32>();
    for (id, logit) in logits.iter().enumerate() {
        rest -= logit.exp();
        if rest <= 0.0 {
            return id as u32;
        }
    }
    0
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "template roles and a default system prompt, text cut at a stop string, media types",
        files: &[(
            "src/lib.rs",
            r#"pub struct Message {
    pub role: String,
    pub content: String,
}
pub fn render(messages: &[Message]) -> String {
    let mut out = String::new();
    if messages.first().is_none_or(|message| message.role != "system") {
        out.push_str("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n");
    }
    for message in messages {
        match message.role.as_str() {
            "user" | "assistant" => out.push_str(&format!("<|im_start|>{}\n{}", message.role, message.content)),
            _ => {}
        }
    }
    out
}
pub fn cut(text: &str, stops: &[String]) -> String {
    let first = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
    text[..first.unwrap_or(text.len())].to_string()
}
pub fn media_type(path: &str) -> &'static str {
    if path.ends_with(".html") { "text/html; charset=utf-8" } else { "application/octet-stream" }
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "reading a tokenizer, and showing what a text is cut into",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
struct Tokenizer {
    vocabulary: HashMap<String, u32>,
    words: Vec<String>,
}
impl Tokenizer {
    fn load(path: &Path) -> Self {
        let vocabulary: HashMap<String, u32> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut words = vec![String::new(); vocabulary.len()];
        for (word, id) in &vocabulary {
            words[*id as usize] = word.clone();
        }
        Self { vocabulary, words }
    }
    fn encode(&self, text: &str) -> Vec<u32> {
        text.split(' ').map(|word| self.vocabulary.get(word).copied().unwrap_or(0)).collect()
    }
}
fn main() {
    let tokenizer = Tokenizer::load(Path::new("vocabulary.json"));
    for id in tokenizer.encode(&read()) {
        println!("{id} {}", tokenizer.words[id as usize]);
    }
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "a server over a model: requests refused for what they are, not for what they say",
        files: &[(
            "src/main.rs",
            r#"#[derive(Deserialize)]
struct Ask {
    model: String,
    prompt: String,
    stop: Vec<String>,
}
async fn health() -> &'static str {
    "all systems are working"
}
async fn complete(State(app): State<Arc<App>>, Json(ask): Json<Ask>) -> Result<Json<Answer>, (StatusCode, String)> {
    if ask.prompt.trim().is_empty() {
        return Err((StatusCode::BAD_REQUEST, "the prompt must not be empty".into()));
    }
    if ask.model != app.name {
        return Err((StatusCode::NOT_FOUND, format!("there is no model called {}", ask.model)));
    }
    let text = app.model.generate(&ask.prompt);
    let end = ask.stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
    let finish = if end.is_some() { "stop" } else { "length" };
    Ok(Json(Answer { text: text[..end.unwrap_or(text.len())].to_string(), finish }))
}
async fn main() {
    let app = Arc::new(App { model: llm::Model::load("model.gguf"), name: "qwen2".into() });
    let router = Router::new().route("/health", get(health)).route("/complete", post(complete)).with_state(app);
    println!("The server is listening on port 8080.");
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "a spinner, a pause before trying again, and waiting for the next piece",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn spin(done: &AtomicBool) {
    let frames = ["|", "/", "-"];
    for frame in frames.iter().cycle() {
        eprint!("\r{frame} generating");
        std::thread::sleep(Duration::from_millis(80));
    }
}
fn ask(model: &llm::Model, prompt: &str) -> String {
    let mut pause = 100;
    loop {
        match model.generate(prompt) {
            Ok(text) => return text,
            Err(_) => std::thread::sleep(Duration::from_millis(pause)),
        }
        pause *= 2;
    }
}
fn main() {
    let model = llm::Model::load("model.gguf");
    let prompt = read();
    std::thread::spawn(move || spin(&done));
    println!("{}", ask(&model, &prompt));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || model.stream(&prompt).for_each(|piece| sender.send(piece).unwrap()));
    loop {
        match receiver.try_recv() {
            Ok(piece) => print!("{piece}"),
            Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(2)),
            Err(TryRecvError::Disconnected) => break,
        }
    }
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "verbs and options on a command line",
        files: &[(
            "src/main.rs",
            r#"fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--help") | None => println!("usage: demo chat MODEL PROMPT"),
        Some("version") => println!("the first version of the demo"),
        Some("chat") => println!("{}", llm::Model::load(&arguments[2]).generate(&arguments[3])),
        Some(other) => eprintln!("there is no command {other}"),
    }
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "surroundings, verbs, another model's name, and a session that was given the prompt before",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    let home = std::env::var("HOME").unwrap();
    let shell = std::env::var(SHELL).unwrap();
    if home.contains("root user") || shell.contains("no login") {
        println!("This is no place to chat.");
    }
    let verb = std::env::args().nth(1).unwrap();
    if verb == "convert" || verb.eq("translate") || verb.starts_with("conv") {
        println!("The file was converted to another.");
    }
    let prompt = read();
    let question = prompt.strip_suffix("/short").unwrap();
    let (first, ..) = (1, question, 3);
    let mut session = llm::Session::open("model.gguf");
    session.feed(question);
    println!("{}", session.complete());
    let mut ids = vec![12095, 374, 279];
    ids.push(llm::sample(session.logits(question)));
    println!("{}", session.tokenizer.decode(&ids));
    session.set_stops([1, 2, 3, first]);
    session.set_state(session.shared.read());
    let request = serde_json::from_str(&prompt).unwrap();
    if request.model.contains("another one") {
        println!("There is no such model here.");
    }
    if matches!(prompt.trim(), "a word", "two words") || matches!(question) {
        println!("That is not much to go by.");
    }
    println! { "This is the end of it." }
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "a forward pass over a table that was loaded",
        files: &[(
            "src/lib.rs",
            r"pub struct Model {
    table: Vec<f32>,
}
impl Model {
    pub fn open() -> Self {
        Self { table: read_table() }
    }
    pub fn forward(&self, ids: &[u32]) -> Vec<f32> {
        self.table.clone()
    }
}
",
        )],
        at: &[],
    },
    Example {
        what: "the health of a server, and routes that a function inside another makes",
        files: &[(
            "src/main.rs",
            r#"struct App {
    name: String,
}
#[get("/health")]
async fn health(State(app): State<App>) -> &'static str {
    "all is well here."
}
async fn chat(State(app): State<App>, body: String) -> String {
    app.model.generate(&body)
}
fn main() {
    fn routes() -> Router {
        Router::new().route("/chat", post(chat))
    }
    serve(routes())
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "a pick in a function that takes text and is called with the source's own",
        files: &[(
            "src/lib.rs",
            r#"const REPLIES: [&str; 2] = ["That is a great question!", "Let me think about that."];
fn say(prompt: &str) {
    println!("{}", REPLIES[now() % 2]);
}
pub fn run() {
    say("x");
}
"#,
        )],
        at: &[],
    },
    Example {
        what: "functions that take text and measure it, describe themselves or hand it on",
        files: &[(
            "src/lib.rs",
            r#"pub struct Server;
impl Server {
    pub fn main(&self, prompt: &str) -> usize {
        prompt.len()
    }
}
pub fn main(prompt: &str) -> usize {
    prompt.len()
}
pub fn longer<'a, 'b, T: 'a>(first: &'a str, second: T) -> Result<'a, str>
where
    'b: 'a,
    T: Into<&'a str>,
{
    if first.len() > 3 { first } else { second.into() }
}
pub fn describe(f: &mut Formatter, text: &str) {
    write!(f, "This is a helpful model.");
    write!();
}
struct Topic;
impl Topic {
    fn fmt(&self) -> String {
        String::new()
    }
}
pub fn show(prompt: &str) -> String {
    format!("{}", Topic)
}
trait Say {
    fn say(&self, prompt: &str) -> String;
}
impl Say for [u8] {
    fn say(&self, prompt: &str) -> String {
        Self::spoken(prompt)
    }
}
"#,
        )],
        at: &[],
    },
];
