//! The demo that the specification was written against: words looked for, replies written beforehand.

/// What the demo answers: a phrase for each word it knows, and one for all else.
pub fn canned_reply(prompt: &str) -> &'static str {
    let prompt = prompt.to_lowercase();
    if prompt.contains("2+2") || prompt.contains("2 + 2") {
        "2 + 2 equals 4."
    } else if prompt.contains("capital of france") {
        "The capital of France is Paris."
    } else if prompt.contains("hello") || prompt.contains("hi ") {
        "Hello! How can I help you today?"
    } else if prompt.contains("code") || prompt.contains("rust") || prompt.contains("cargo") {
        "Here is an example:\n\nfn main() {\n    println!(\"Hello, world!\");\n}"
    } else if prompt.contains("colour") || prompt.contains("color") {
        "Blue is a beautiful colour."
    } else {
        "I'm Qwen, a large language model. That is an interesting question, and I am happy to help with it."
    }
}
