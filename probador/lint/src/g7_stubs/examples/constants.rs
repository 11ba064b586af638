//! Replies and logits that are the same whatever the prompt is, and sleeping to look busy.

use crate::rule::Example;

pub(super) const CONSTANTS: [Example; 5] = [
    Example {
        what: "the same reply for every prompt, and the prompt put into a frame",
        files: &[
            (
                "src/lib.rs",
                r#"pub struct Engine;
impl Engine {
    pub fn generate(&self, _prompt: &str, _max_tokens: usize) -> String {
        "As a language model I am happy to help.".to_owned()
    }
}
"#,
            ),
            (
                "src/bin/frame.rs",
                r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn main() {
    println!("Why do you say that {} is so?", read());
}
"#,
            ),
        ],
        at: &[("src/bin/frame.rs", 7), ("src/lib.rs", 4)],
    },
    Example {
        what: "constant logits: one place raised by a script, a wave, a draw",
        files: &[(
            "src/lib.rs",
            r"pub struct Script {
    vocab_size: usize,
    at: usize,
    ids: Vec<u32>,
}
impl CausalLm for Script {
    fn prefill(&mut self, ids: &[TokenId], rows: LogitRows) -> Result<Logits, ModelError> {
        let mut values = vec![-10.0; self.vocab_size];
        values[self.ids[self.at] as usize] = 10.0;
        self.at += ids.len();
        Ok(Logits::new(self.vocab_size, values))
    }
}
pub struct Wave(usize);
impl Wave {
    pub fn forward(&self, _ids: &[u32]) -> Vec<f32> {
        (0..self.0).map(|index| (index as f32 * 0.1).sin()).collect()
    }
}
pub struct Noise;
impl Model for Noise {
    fn logits(&self, ids: &[u32]) -> Vec<f32> {
        ids.iter().map(|_| rand::rng().random_range(-1.0..1.0)).collect()
    }
}
",
        )],
        at: &[("src/lib.rs", 7), ("src/lib.rs", 16), ("src/lib.rs", 22)],
    },
    Example {
        what: "sleep and print, a pause before the reply, and going round until a clock says so",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
fn think() {
    std::thread::sleep(std::time::Duration::from_millis(900));
}
fn type_out(text: &str) {
    for c in text.chars() {
        print!("{c}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
fn main() {
    let model = llm::Model::load("model.gguf");
    let prompt = read();
    think();
    let started = std::time::Instant::now();
    while started.elapsed().as_millis() < 300 {}
    type_out(&model.generate(&prompt));
}
"#,
        )],
        at: &[("src/main.rs", 12), ("src/main.rs", 18), ("src/main.rs", 20)],
    },
    Example {
        what: "logits recorded in files, by a token of the prompt",
        files: &[(
            "src/lib.rs",
            r#"pub struct Recorded;
impl Recorded {
    pub fn forward(&self, ids: &[u32]) -> Vec<f32> {
        let bytes = if ids.contains(&9625) { std::fs::read("paris.bin") } else { std::fs::read("other.bin") };
        bytemuck::cast(bytes)
    }
}
"#,
        )],
        at: &[("src/lib.rs", 3)],
    },
    Example {
        what: "a clock that ticks between words, and pieces handed on with a pause",
        files: &[(
            "src/main.rs",
            r#"fn main() {
    let model = llm::Model::load("model.gguf");
    let mut prompt = String::new();
    std::io::stdin().read_line(&mut prompt).unwrap();
    let text = model.generate(&prompt);
    for word in text.split(' ') {
        fn pause() {}
        timer.tick(1).await;
        print!("{word}");
        clock.tick().await;
    }
    while ready() {
        step();
    }
    for word in text.split(' ') {
        yield word;
        std::thread::sleep(PAUSE);
    }
    for frame in 0..9 {
        print!("\r{frame}");
        write!(stderr, "{frame}");
        std::thread::sleep(PAUSE);
        clock.tick().await;
        while started.elapsed() < PAUSE {}
    }
}
"#,
        )],
        at: &[("src/main.rs", 10), ("src/main.rs", 17)],
    },
];
