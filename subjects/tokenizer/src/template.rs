//! Chat templates: a model's own Jinja, run under limits, to a prompt in typed segments.
//!
//! # Why text cannot become a control token
//!
//! Hugging Face renders a template to one string and then looks for control tokens in it, so a message that spells
//! `<|im_end|>` ends its turn. Here the template's own control tokens are told apart before anything is rendered:
//! in the template's text and string constants (and in `bos_token` and its kin) every spelling of a control token is
//! replaced by one private-use character, its mark. The marks of a call are characters that occur nowhere in its
//! messages, nor in the source. Messages are handed over unchanged, so filters, comparisons and slices see what they
//! would see. In the output, marks become [`Segment::Control`] and everything else is [`Segment::Text`], which is
//! encoded as text whatever it spells.
//!
//! A mark is a single character, so nothing a template does with its strings can cut one, and no string operation
//! turns other characters into one: filters rearrange the characters of their inputs, and case mapping, escaping and
//! JSON never produce a private-use character (`%c`, which would, is refused). So each mark in the output was written
//! by the template.
//!
//! A template that puts a control token together from pieces (`'<|' + message.role + '|>'`) would get text where it
//! meant a token. That is noticed, by rendering once more with every message's content replaced by a letter, and is
//! an error rather than a wrong prompt.

mod environment;
mod guard;
mod rewrite;
mod strftime;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use minijinja::{ErrorKind, Value, context};
use thiserror::Error;

use crate::{Message, Segment, TokenId, Tokenizer};

/// Bytes of a template; published ones have up to some 30,000, and the engine counts columns in 16 bits.
const MAX_SOURCE_BYTES: usize = 60_000;
/// Bytes of all messages; far beyond any context.
const MAX_INPUT_BYTES: usize = 4 << 20;
/// Bytes of a rendered prompt.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Candidates for marks: private-use plane 16.
const PRIVATE_USE: std::ops::RangeInclusive<char> = '\u{100000}'..='\u{10FFFD}';

/// Why a chat template gave no prompt.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// More bytes than are accepted.
    #[error("the {what} has {found} bytes, at most {limit} are accepted")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Bytes there are.
        found: usize,
        /// Bytes that are accepted.
        limit: usize,
    },
    /// The template is not Jinja that we understand.
    #[error("chat template does not parse: {0}")]
    Syntax(String),
    /// The template called `raise_exception`.
    #[error("chat template refused the conversation: {0}")]
    Refused(String),
    /// The template did more work, or made more data, than a prompt needs.
    #[error("chat template was stopped: it needs too much time, memory or nesting")]
    OutOfBudget,
    /// The template failed.
    #[error("chat template failed: {0}")]
    Failed(String),
    /// The template builds control tokens at run time; see the module's documentation.
    #[error("chat template puts the control token {0:?} together from pieces, which is not supported")]
    ComposedControl(String),
    /// The messages leave no private-use character for the template's control tokens.
    #[error("the messages use every private-use character of plane 16")]
    NoPrivateUseLeft,
}

/// A model's chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    named_tokens: BTreeMap<String, String>,
    now: Option<SystemTime>,
}

impl ChatTemplate {
    /// A template from its Jinja source.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        limit("chat template", source.len(), MAX_SOURCE_BYTES)?;
        environment::check_syntax(source).map_err(|error| TemplateError::Syntax(error.to_string()))?;
        Ok(Self { source: source.to_owned(), named_tokens: BTreeMap::new(), now: None })
    }

    /// Tokens that the template knows by name, such as `bos_token`, by their spelling.
    #[must_use]
    pub fn with_named_tokens(mut self, tokens: BTreeMap<String, String>) -> Self {
        self.named_tokens = tokens;
        self
    }

    /// The time that the template is told by `strftime_now`, in UTC; without it, the time of rendering.
    #[cfg_attr(any(), probador::allow(I5, reason = "tests render at a fixed time"))]
    #[must_use]
    pub fn with_time(mut self, now: SystemTime) -> Self {
        self.now = Some(now);
        self
    }

    /// Renders a conversation to a prompt; with `add_generation_prompt` it ends where the assistant's turn begins.
    ///
    /// Encoded, the segments equal the ids of transformers' `apply_chat_template` whenever no message spells a
    /// control token.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Segment>, TemplateError> {
        let n_bytes = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        limit("conversation", n_bytes, MAX_INPUT_BYTES)?;
        let mut marks = Marks::new(self, messages);
        let rendered = self.render_marked(messages, add_generation_prompt, tokenizer, &mut marks)?;
        let segments = marks.segments(&rendered);
        if spelled_control(&segments, tokenizer).is_some() {
            self.check_composition(messages, add_generation_prompt, tokenizer)?;
        }
        Ok(segments)
    }

    /// Renders to a string in which control tokens are marks.
    fn render_marked(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
        marks: &mut Marks,
    ) -> Result<String, TemplateError> {
        let mut named: BTreeMap<&str, String> = BTreeMap::new();
        for (name, spelling) in &self.named_tokens {
            named.insert(name.as_str(), marks.mark(spelling, tokenizer)?);
        }
        let conversation = context! {
            messages => messages.iter().map(turn).collect::<Value>(),
            add_generation_prompt => add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
            ..Value::from_pairs(named)
        };
        let n_bytes = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        let budget = environment::Budget::for_input(n_bytes, messages.len());
        let now = self.now.unwrap_or_else(SystemTime::now);
        let mut exhausted = None;
        let mut mark = |text: &str| {
            marks.mark(text, tokenizer).unwrap_or_else(|error| {
                exhausted = Some(error);
                String::new()
            })
        };
        let rendered = environment::render(&self.source, &mut mark, &conversation, budget, now);
        if let Some(error) = exhausted {
            return Err(error);
        }
        let rendered = rendered.map_err(|error| marks.template_error(&error, tokenizer))?;
        limit("rendered prompt", rendered.len(), MAX_OUTPUT_BYTES)?;
        Ok(rendered)
    }

    /// Fails when the template spells a control token with no help from any message.
    fn check_composition(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<(), TemplateError> {
        let stand_ins: Vec<Message> = messages
            .iter()
            .map(|Message { role, .. }| {
                let is_word = role.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                Message { role: if is_word { role } else { "user" }.to_owned(), content: "x".to_owned() }
            })
            .collect();
        let mut marks = Marks::new(self, &stand_ins);
        // A template that refuses the stand-in says nothing about how it writes control tokens.
        let Ok(rendered) = self.render_marked(&stand_ins, add_generation_prompt, tokenizer, &mut marks)
        else {
            return Ok(());
        };
        match spelled_control(&marks.segments(&rendered), tokenizer) {
            Some(spelling) => Err(TemplateError::ComposedControl(spelling)),
            None => Ok(()),
        }
    }
}

/// A message as templates see it.
fn turn(message: &Message) -> Value {
    Value::from_pairs([("role", message.role.as_str()), ("content", &message.content)])
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), TemplateError> {
    if found > limit { Err(TemplateError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// The first control token that a text segment spells.
fn spelled_control(segments: &[Segment], tokenizer: &Tokenizer) -> Option<String> {
    segments.iter().find_map(|segment| match segment {
        Segment::Control(_) => None,
        Segment::Text(text) => {
            let id = tokenizer.split_at_control(text).find_map(|(_, id)| id)?;
            Some(tokenizer.token_text(id))
        }
    })
}

/// The private-use characters that stand for control tokens during one rendering.
struct Marks {
    /// Private-use characters that messages or source bring along.
    taken: BTreeSet<char>,
    chars: BTreeMap<TokenId, char>,
    ids: BTreeMap<char, TokenId>,
}

impl Marks {
    fn new(template: &ChatTemplate, messages: &[Message]) -> Self {
        let named = template.named_tokens.iter().flat_map(|(name, spelling)| [name.as_str(), spelling]);
        let said = messages.iter().flat_map(|message| [message.role.as_str(), &message.content]);
        let texts = std::iter::once(template.source.as_str()).chain(named).chain(said);
        let taken = texts.flat_map(str::chars).filter(|c| PRIVATE_USE.contains(c)).collect();
        Self { taken, chars: BTreeMap::new(), ids: BTreeMap::new() }
    }

    /// `text` with a mark for each control token it spells.
    fn mark(&mut self, text: &str, tokenizer: &Tokenizer) -> Result<String, TemplateError> {
        let mut marked = String::with_capacity(text.len());
        for (stretch, control) in tokenizer.split_at_control(text) {
            marked.push_str(stretch);
            if let Some(id) = control {
                marked.push(self.char_of(id)?);
            }
        }
        Ok(marked)
    }

    fn char_of(&mut self, id: TokenId) -> Result<char, TemplateError> {
        if let Some(mark) = self.chars.get(&id) {
            return Ok(*mark);
        }
        let mut free = PRIVATE_USE.filter(|c| !self.taken.contains(c));
        let mark = free.next().ok_or(TemplateError::NoPrivateUseLeft)?;
        self.taken.insert(mark);
        self.chars.insert(id, mark);
        self.ids.insert(mark, id);
        Ok(mark)
    }

    /// Cuts rendered text at its marks.
    fn segments(&self, rendered: &str) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut rest = rendered;
        while let Some(at) = rest.find(|c| self.ids.contains_key(&c)) {
            let (text, tail) = rest.split_at(at);
            if !text.is_empty() {
                segments.push(Segment::Text(text.to_owned()));
            }
            let mut tail = tail.chars();
            segments.extend(tail.next().and_then(|mark| self.ids.get(&mark)).map(|id| Segment::Control(*id)));
            rest = tail.as_str();
        }
        if !rest.is_empty() {
            segments.push(Segment::Text(rest.to_owned()));
        }
        segments
    }

    /// An error of the engine, in which people read tokens where there are marks.
    fn template_error(&self, error: &minijinja::Error, tokenizer: &Tokenizer) -> TemplateError {
        let unmark = |text: &str| {
            let mut unmarked = String::new();
            for c in text.chars() {
                match self.ids.get(&c) {
                    Some(id) => unmarked.push_str(&tokenizer.token_text(*id)),
                    None => unmarked.push(c),
                }
            }
            unmarked
        };
        if environment::is_out_of_budget(error) {
            TemplateError::OutOfBudget
        } else if let Some(reason) = environment::raised(error) {
            TemplateError::Refused(unmark(reason))
        } else if error.kind() == ErrorKind::SyntaxError {
            TemplateError::Syntax(unmark(&error.to_string()))
        } else {
            TemplateError::Failed(unmark(&error.to_string()))
        }
    }
}
