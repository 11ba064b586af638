//! Which conditions ask what a prompt says.
//!
//! How long it is, whether it is empty, whether it begins a command (`/help`, `--verbose`, `quit`), which role said it
//! and which request it came by are not what it says.

use super::value::{Origins, Value};

/// How a text is compared with another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// As a whole.
    Whole,
    /// By its beginning or end.
    Edge,
    /// By anything in it.
    Search,
}

/// Words that say who speaks, or that end a conversation.
const WORDS: [&str; 42] = [
    "user",
    "assistant",
    "system",
    "tool",
    "function",
    "developer",
    "human",
    "ai",
    "bot",
    "model",
    "quit",
    "exit",
    "q",
    "bye",
    "help",
    "clear",
    "reset",
    "history",
    "save",
    "load",
    "stop",
    "end",
    "done",
    "yes",
    "no",
    "on",
    "off",
    "true",
    "false",
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "stream",
    "chatml",
    "auto",
    "none",
    "version",
    "ping",
];

/// Words that people open with and no command line does.
const GREETINGS: [&str; 8] = ["hello", "hi", "hey", "thanks", "hola", "bonjour", "greetings", "howdy"];

/// What comparing a prompt with this literal asks.
pub(super) fn literal_test(text: &str, how: How) -> Origins {
    let trimmed = text.trim();
    let n_said = trimmed.chars().filter(|c| c.is_alphanumeric()).count();
    let is_command = trimmed.starts_with(['/', ':', '-', '<', '\\', '[', '{', '!', '@', '#', '$', '.'])
        || trimmed.ends_with(['/', '>'])
        || ["GET ", "POST ", "HTTP/", "http", "data:", "application/", "text/", "Bearer"]
            .iter()
            .any(|head| trimmed.starts_with(head))
        || WORDS.iter().any(|word| trimmed.trim_end_matches(':').eq_ignore_ascii_case(word));
    if n_said < 2 || is_command {
        return Origins::NONE;
    }
    let is_word = trimmed.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let greets = GREETINGS.iter().any(|word| trimmed.eq_ignore_ascii_case(word));
    if how == How::Search || !is_word || greets { Origins::CHOICE } else { Origins::CHOSEN }
}

/// What searching a text that may be a prompt or a model's own words for this literal asks: a phrase is looked for in
/// what was said, a word or a sign in either.
pub(super) fn phrase_test(of: &Value, text: &str, how: How) -> Origins {
    let is_phrase =
        text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count() >= 2;
    if of.any(Origins::SAID) && is_phrase { literal_test(text, how) } else { Origins::NONE }
}

/// What comparing a prompt with this number asks.
pub(super) fn number_test(of: &Value, number: u128) -> Origins {
    if of.any(Origins::MODEL) {
        Origins::NONE
    } else if of.any(Origins::PROMPT) && number > 9 {
        Origins::CHOICE
    } else if of.any(Origins::SAID) || (of.any(Origins::LENGTH) && number > 1) {
        Origins::CHOSEN
    } else {
        Origins::NONE
    }
}

/// What comparing `a` with `b` asks, where neither is a literal itself.
pub(super) fn compare(a: &Value, b: &Value, how: How) -> Origins {
    let chosen = (a.origins | b.origins) & Origins::CHOICE;
    if a.any(Origins::MODEL) || b.any(Origins::MODEL) {
        return Origins::NONE;
    }
    let (said, other) = if a.any(Origins::SAID) { (a, b) } else { (b, a) };
    if !said.any(Origins::SAID) {
        return chosen;
    }
    let asks = if other.any(Origins::CANNED) {
        if said.any(Origins::PROMPT) { Origins::CHOICE } else { Origins::CHOSEN }
    } else if other.any(Origins::FILE) && !other.any(Origins::SAID) {
        if said.any(Origins::PROMPT) && how != How::Edge { Origins::CHOICE } else { Origins::CHOSEN }
    } else {
        Origins::NONE
    };
    chosen | asks
}

/// What a pattern asks of `value`.
pub(super) fn pattern_test(pattern: &syn::Pat, value: &Value) -> Origins {
    if value.any(Origins::MODEL) {
        return Origins::NONE;
    }
    let mut asks = value.origins & Origins::CHOICE;
    let mut literals = Literals::default();
    syn::visit::Visit::visit_pat(&mut literals, pattern);
    if value.any(Origins::SAID) {
        for text in &literals.texts {
            let test = literal_test(text, How::Whole);
            // A bare word among the arguments is a verb.
            asks |=
                if value.any(Origins::ARGUMENT) && test == Origins::CHOSEN { Origins::NONE } else { test };
        }
        if literals.n_constants > 0 {
            asks |= Origins::CHOSEN;
        }
    }
    for number in literals.numbers {
        asks |= number_test(value, number);
    }
    asks
}

/// Whether a pattern matches whatever comes.
pub(super) fn is_catch_all(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Wild(_) => true,
        syn::Pat::Ident(name) => {
            name.subpat.is_none() && name.ident.to_string().starts_with(char::is_lowercase)
        }
        _ => false,
    }
}

#[derive(Default)]
struct Literals {
    texts: Vec<String>,
    numbers: Vec<u128>,
    n_constants: usize,
}

impl<'ast> syn::visit::Visit<'ast> for Literals {
    fn visit_lit(&mut self, literal: &'ast syn::Lit) {
        match literal {
            syn::Lit::Str(text) => self.texts.push(text.value()),
            syn::Lit::ByteStr(text) => self.texts.push(String::from_utf8_lossy(&text.value()).into_owned()),
            syn::Lit::Int(number) => self.numbers.extend(number.base10_parse::<u128>()),
            _ => {}
        }
    }

    fn visit_expr_range(&mut self, _: &'ast syn::ExprRange) {
        // A range of lengths or characters.
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let name = path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let is_constant =
            name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        self.n_constants += usize::from(is_constant);
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        let name = pattern.ident.to_string();
        let is_constant =
            name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        self.n_constants += usize::from(is_constant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_roles_and_control_tokens_are_not_what_a_prompt_says() {
        for text in [
            "/help",
            ":q",
            "--json",
            "quit",
            "assistant",
            "<|im_end|>",
            "GET /v1/models",
            "\n",
            "?",
            "User:",
            "models/",
        ] {
            assert_eq!(literal_test(text, How::Search), Origins::NONE, "{text}");
        }
    }

    #[test]
    fn a_search_for_words_is_sure_and_a_single_word_may_be_a_verb() {
        assert_eq!(literal_test("capital", How::Search), Origins::CHOICE);
        assert_eq!(literal_test("What is 2+2?", How::Whole), Origins::CHOICE);
        assert_eq!(literal_test("2+2", How::Whole), Origins::CHOICE);
        assert_eq!(literal_test("hello", How::Whole), Origins::CHOICE);
        assert_eq!(literal_test("convert", How::Whole), Origins::CHOSEN);
    }
    #[test]
    fn a_number_asks_what_a_prompt_says_where_it_is_no_small_length() {
        let cases = [
            (Origins::PROMPT, 9625, Origins::CHOICE),
            (Origins::PROMPT, 9, Origins::CHOSEN),
            (Origins::PIECE, 9625, Origins::CHOSEN),
            (Origins::LENGTH, 2, Origins::CHOSEN),
            (Origins::LENGTH, 1, Origins::NONE),
            (Origins::FILE, 9625, Origins::NONE),
            (Origins::PROMPT | Origins::MODEL, 9625, Origins::NONE),
        ];
        for (of, number, expected) in cases {
            assert_eq!(number_test(&Value::of(of), number), expected, "{of:?} with {number}");
        }
    }

    #[test]
    fn comparing_a_prompt_with_what_is_kept_asks_what_it_says() {
        let cases = [
            (Origins::PROMPT, Origins::LITERAL, How::Whole, Origins::CHOICE),
            (Origins::LITERAL, Origins::PROMPT, How::Whole, Origins::CHOICE),
            (Origins::PIECE, Origins::LITERAL, How::Whole, Origins::CHOSEN),
            (Origins::PROMPT, Origins::FILE, How::Search, Origins::CHOICE),
            (Origins::PROMPT, Origins::FILE, How::Edge, Origins::CHOSEN),
            (Origins::PIECE, Origins::FILE, How::Search, Origins::CHOSEN),
            (Origins::PROMPT, Origins::FILE | Origins::PROMPT, How::Search, Origins::NONE),
            (Origins::PROMPT, Origins::OPAQUE, How::Search, Origins::NONE),
            (Origins::PROMPT, Origins::LITERAL | Origins::MODEL, How::Search, Origins::NONE),
            (Origins::MODEL, Origins::LITERAL, How::Search, Origins::NONE),
            (Origins::FILE, Origins::LITERAL, How::Search, Origins::NONE),
            (Origins::FILE | Origins::CHOSEN, Origins::LITERAL, How::Search, Origins::CHOSEN),
        ];
        for (a, b, how, expected) in cases {
            assert_eq!(compare(&Value::of(a), &Value::of(b), how), expected, "{a:?} with {b:?}, {how:?}");
        }
    }

    fn pattern(text: &str) -> syn::Pat {
        syn::parse::Parser::parse_str(syn::Pat::parse_multi, text).unwrap()
    }

    #[test]
    fn a_pattern_asks_by_its_texts_constants_and_numbers() {
        let cases = [
            ("\"what is the capital\"", Origins::PROMPT, Origins::CHOICE),
            ("b\"what is the capital\"", Origins::PROMPT, Origins::CHOICE),
            ("\"what is the capital\"", Origins::FILE, Origins::NONE),
            ("\"what is the capital\"", Origins::PROMPT | Origins::MODEL, Origins::NONE),
            ("\"convert\"", Origins::PROMPT, Origins::CHOSEN),
            ("\"convert\"", Origins::PROMPT | Origins::ARGUMENT, Origins::NONE),
            ("CAPITAL", Origins::PROMPT, Origins::CHOSEN),
            ("words::CAPITAL", Origins::PROMPT, Origins::CHOSEN),
            ("Some(name)", Origins::PROMPT, Origins::NONE),
            ("N", Origins::PROMPT, Origins::NONE),
            ("sizes::N", Origins::PROMPT, Origins::NONE),
            ("CAPITAL", Origins::FILE, Origins::NONE),
            ("9625", Origins::PROMPT, Origins::CHOICE),
            ("3 | 4", Origins::LENGTH, Origins::CHOSEN),
            ("'a'..='z'", Origins::PROMPT, Origins::NONE),
            ("true", Origins::PROMPT | Origins::CHOSEN, Origins::CHOSEN),
        ];
        for (text, of, expected) in cases {
            assert_eq!(pattern_test(&pattern(text), &Value::of(of)), expected, "{text} on {of:?}");
        }
    }

    #[test]
    fn only_a_bare_name_or_an_underscore_catches_all() {
        for (text, expected) in [
            ("_", true),
            ("other", true),
            ("other @ 3", false),
            ("NONE", false),
            ("Some(_)", false),
            ("\"other\"", false),
        ] {
            assert_eq!(is_catch_all(&pattern(text)), expected, "{text}");
        }
    }
}
