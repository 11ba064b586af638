//! Replies picked by nothing that a model computed.

use crate::rule::Example;

pub(super) const DRAWS: [Example; 4] = [
    Example {
        what: "a random pick, a pick by the clock and a pick by turns",
        files: &[(
            "src/main.rs",
            r#"fn read() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}
const REPLIES: [&str; 2] = ["That is a great question!", "Let me think about that."];
struct Bot {
    turn: usize,
}
impl Bot {
    fn next(&mut self, _prompt: &str) -> &'static str {
        self.turn += 1;
        ["Please go on with it.", "I see what you mean."][self.turn % 2]
    }
}
fn main() {
    let prompt = read();
    println!("{}", REPLIES.choose(&mut rand::rng()).unwrap());
    let now = std::time::SystemTime::now().elapsed().unwrap().subsec_nanos() as usize;
    println!("{}", ["Certainly, here it is.", "I would rather not say."][now % 2]);
    println!("{}", Bot { turn: 0 }.next(&prompt));
}
"#,
        )],
        at: &[("src/main.rs", 6), ("src/main.rs", 13), ("src/main.rs", 20)],
    },
    Example {
        what: "a pick by the length of the prompt",
        files: &[(
            "src/lib.rs",
            r#"pub fn reply(prompt: &str) -> &'static str {
    match prompt.len() % 2 {
        0 => "Yes, I think that is right.",
        _ => "No, I do not think so.",
    }
}
"#,
        )],
        at: &[("src/lib.rs", 3)],
    },
    Example {
        what: "a draw by another package, from a table alone and with the prompt",
        files: &[(
            "src/main.rs",
            r#"const REPLIES: [&str; 2] = ["That is a great question!", "Let me think about that."];
const OTHERS: [&str; 2] = ["It depends on the context.", "In most cases it does."];
fn main() {
    let mut prompt = String::new();
    std::io::stdin().read_line(&mut prompt).unwrap();
    println!("{}", fastrand::choice(REPLIES).unwrap());
    println!("{}", seeded::choose(OTHERS, &prompt).unwrap());
}
"#,
        )],
        at: &[("src/main.rs", 1), ("src/main.rs", 2)],
    },
    Example {
        what: "a pick that a library prints",
        files: &[(
            "src/lib.rs",
            r#"const REPLIES: [&str; 2] = ["That is a great question!", "Let me think about that."];
pub fn say(prompt: &str) {
    println!("{}", REPLIES[now() % 2]);
}
"#,
        )],
        at: &[("src/lib.rs", 1)],
    },
];
