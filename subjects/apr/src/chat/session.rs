//! A conversation in progress: the model, what was said, and how the next reply comes about.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use apr_generation::{
    CausalLm, FinishReason, Generation, GenerationParams, Observer, Probe, SamplingParams, Step,
    generate_after, top_candidates,
};
use apr_qwen2::Qwen2;
use apr_tokenizer::{ChatTemplate, Message, TokenId, Tokenizer};

use super::attention::Attention;
use super::inspect::{self, Inspection, Seen, Stats, StepView};
use super::transcript::Transcript;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::printer::{Printer, StdoutError};
use crate::text;

/// Most tokens of a reply when no flag says otherwise: half a minute of a small model's talk.
pub(crate) const DEFAULT_MAX_TOKENS: usize = 512;

/// A conversation with a model.
pub(crate) struct Session {
    pub(crate) model: Qwen2,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// What to call the model.
    pub(crate) name: String,
    pub(crate) sampling: SamplingParams,
    pub(crate) end_of_text: Vec<TokenId>,
    /// What `--max-tokens` says.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) stream: bool,
    pub(crate) system: Option<String>,
    pub(crate) messages: Vec<Message>,
    /// What the model's cache holds, from its start.
    pub(crate) cached: Vec<TokenId>,
}

impl Session {
    /// Says `text` to the model and prints the reply. When that fails, the conversation is as it was.
    pub(crate) fn say(
        &mut self,
        text: &str,
        inspection: Option<&Inspection>,
        interrupt: &Interrupt,
        printer: &mut Printer,
    ) -> Result<FinishReason> {
        self.messages.push(Message { role: "user".to_owned(), content: text.to_owned() });
        match self.reply(inspection, interrupt, printer) {
            Ok(generation) if generation.text.is_empty() && generation.finish == FinishReason::Cancelled => {
                self.messages.pop();
                Ok(generation.finish)
            }
            Ok(generation) => {
                self.messages.push(Message { role: "assistant".to_owned(), content: generation.text });
                Ok(generation.finish)
            }
            Err(error) => {
                self.messages.pop();
                Err(error)
            }
        }
    }

    /// What was said so far, to be saved.
    pub(crate) fn transcript(&self) -> Transcript {
        Transcript {
            model: Some(self.name.clone()),
            system: self.system.clone(),
            messages: self.messages.clone(),
        }
    }

    /// Goes on with another conversation.
    pub(crate) fn restore(&mut self, transcript: Transcript) {
        self.system = transcript.system;
        self.messages = transcript.messages;
    }

    /// The ids the model sees: the conversation in its template, up to where its turn begins.
    fn prompt(&self) -> Result<Vec<TokenId>> {
        let system =
            self.system.iter().map(|text| Message { role: "system".to_owned(), content: text.clone() });
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let segments = self.template.render(&messages, true, &self.tokenizer)?;
        Ok(self.tokenizer.encode_segments(&segments))
    }

    /// Most tokens of the next reply, when the prompt leaves `room` for so many. Where nothing is left, one is asked for,
    /// so that the prompt is refused and not answered with nothing.
    fn max_tokens(&self, room: usize) -> usize {
        match self.max_tokens {
            // What does not fit from the start never will.
            Some(max_tokens) if self.messages.len() == 1 => max_tokens,
            // Later, what the conversation took is gone.
            max_tokens => max_tokens.unwrap_or(DEFAULT_MAX_TOKENS).min(room).max(1),
        }
    }

    fn reply(
        &mut self,
        inspection: Option<&Inspection>,
        interrupt: &Interrupt,
        printer: &mut Printer,
    ) -> Result<Generation> {
        let prompt = self.prompt()?;
        if inspection.is_some() {
            printer.line(inspect::tokenized(&prompt, printer.paint()))?;
            printer.line("")?;
            printer.data(b"Assistant: ")?;
        } else {
            printer.label("Assistant: ");
        }
        printer.flush()?;

        let room = self.model.context_length().saturating_sub(prompt.len());
        let params = GenerationParams {
            sampling: SamplingParams {
                // Another draw for each turn, and the same ones for the same conversation.
                seed: self.sampling.seed.wrapping_add(self.messages.len() as u64 / 2),
                ..self.sampling.clone()
            },
            max_tokens: Some(self.max_tokens(room)),
            stop: Vec::new(),
            end_of_text: self.end_of_text.clone(),
            drafts: self.model.cheap_drafts(),
        };
        // What is in the cache stays there; one token at least is evaluated for its logits.
        let n_same = prompt.iter().zip(&self.cached).take_while(|(new, old)| new == old).count();
        let n_kept = n_same.min(prompt.len().saturating_sub(1));
        self.cached.truncate(n_kept);
        let mut turn = Turn {
            printer,
            interrupt,
            stream: self.stream,
            n_candidates: inspection.map(|inspection| inspection.n_candidates),
            attention: inspection.map(|inspection| Attention::new(inspection.lens, n_kept)),
            steps: Vec::new(),
            started: Instant::now(),
            first_token: None,
            last_token: Duration::ZERO,
            error: None,
        };
        let outcome = generate_after(n_kept, &mut self.model, &self.tokenizer, &prompt, &params, &mut turn);
        let Turn { attention, steps, first_token, last_token, error, .. } = turn;
        if let Ok(generation) = &outcome {
            self.cached = prompt.iter().chain(&generation.ids).copied().take(self.model.position()).collect();
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        let generation = outcome.context(
            "failed to generate a reply\nhint: --max-tokens asks for less, --context makes room for more (if the \
             model was made for it), /reset forgets the conversation",
        )?;
        if !self.stream {
            print(printer, &generation.text)?;
        }
        printer.line("")?;

        if let (Some(inspection), Some(attention)) = (inspection, attention) {
            let n_prompt = prompt.len();
            let mut ids = prompt;
            ids.extend(&generation.ids);
            let first_token = first_token.unwrap_or_default();
            let stats = Stats {
                n_prompt_tokens: n_prompt - n_kept,
                n_chosen: generation.n_chosen,
                first_token,
                decoding: last_token.saturating_sub(first_token),
                perplexity: generation.perplexity(),
                resident_bytes: memory::resident_bytes(),
            };
            let seen = Seen { ids, n_prompt, steps, attention, stats };
            printer.line("")?;
            for line in inspect::report(inspection, &seen, &self.tokenizer, printer.paint()) {
                printer.line(line)?;
            }
        }
        printer.flush()?;
        if generation.finish == FinishReason::Length {
            let n = generation.ids.len();
            if n < self.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS) {
                let context = self.model.context_length();
                printer.talk(format_args!(
                    "(cut after {n} tokens: the context of {context} is full; /reset forgets the conversation)"
                ));
            } else {
                printer.talk(format_args!("(cut after {n} tokens; --max-tokens sets the limit)"));
            }
        }
        Ok(generation)
    }
}

/// One reply while it is generated.
struct Turn<'a> {
    printer: &'a mut Printer,
    interrupt: &'a Interrupt,
    stream: bool,
    n_candidates: Option<usize>,
    attention: Option<Attention>,
    steps: Vec<StepView>,
    started: Instant,
    first_token: Option<Duration>,
    last_token: Duration,
    /// What kept the reply from being printed.
    error: Option<StdoutError>,
}

impl Observer for Turn<'_> {
    fn on_step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        self.last_token = self.started.elapsed();
        self.first_token.get_or_insert(self.last_token);
        if let Some(n_candidates) = self.n_candidates {
            let candidates = top_candidates(step.logits, n_candidates);
            self.steps.push(StepView { id: step.id, candidates });
        }
        if self.stream
            && !step.text.is_empty()
            && let Err(error) = print(self.printer, step.text).and_then(|()| self.printer.flush())
        {
            self.error = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn probe(&mut self) -> Option<&mut dyn Probe> {
        self.attention.as_mut().map(|attention| attention as &mut dyn Probe)
    }

    fn is_cancelled(&self) -> bool {
        self.interrupt.is_requested()
    }
}

/// Prints a piece of a reply: as it is for a program, without what could steer it for a terminal.
fn print(printer: &mut Printer, reply: &str) -> Result<(), StdoutError> {
    if printer.stdout_is_terminal() {
        printer.data(text::printable_lines(reply).as_bytes())
    } else {
        printer.data(reply.as_bytes())
    }
}

/// The prompt on a standard input that is no terminal: all of it, without the line end that `echo` adds.
pub(crate) fn piped_prompt(input: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(input).map_err(|error| {
        anyhow::anyhow!(
            "the prompt on standard input is not UTF-8: byte {} begins no character",
            error.valid_up_to()
        )
    })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        bail!(
            "the prompt is empty\nhint: write it to standard input, as in `echo 'What is 2+2?' | apr chat MODEL`"
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_prompt_is_all_of_the_input_but_its_last_line_end() {
        let cases = [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" /quit\nb", " /quit\nb")];
        for (input, expected) in cases {
            assert_eq!(piped_prompt(input.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn empty_or_undecodable_prompt_is_refused() {
        for input in ["", "\n", " \t\r\n"] {
            assert!(
                piped_prompt(input.as_bytes()).unwrap_err().to_string().starts_with("the prompt is empty")
            );
        }
        let error = piped_prompt(b"ab\xff").unwrap_err().to_string();
        assert_eq!(error, "the prompt on standard input is not UTF-8: byte 2 begins no character");
    }
}
