//! The generation loop against a model that follows a script: when it stops, what it keeps, what it shows.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::ops::ControlFlow;
use std::path::Path;

use apr_format::AprFile;
use apr_generation::{
    CausalLm, FinishReason, Generation, GenerationError, GenerationParams, LogitRows, Logits, ModelError,
    Observer, Probe, SamplingParams, Step, generate,
};
use apr_tokenizer::{TokenId, Tokenizer};

/// Says the tokens of its script, one after each call, whatever the prompt; a stand-in for the trait, not for a model.
struct Scripted {
    script: Vec<TokenId>,
    n_said: usize,
    position: usize,
}

impl CausalLm for Scripted {
    fn vocab_size(&self) -> usize {
        4096
    }

    fn context_length(&self) -> usize {
        64
    }

    fn position(&self) -> usize {
        self.position
    }

    fn cache_bytes_per_position(&self) -> u64 {
        8
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        _rows: LogitRows,
        _probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        self.check_room(self.position + ids.len())?;
        self.position += ids.len();
        let mut logits = vec![0.0; 4096];
        logits[self.script[self.n_said % self.script.len()].index()] = 20.0;
        self.n_said += 1;
        Ok(Logits::new(4096, logits))
    }

    fn truncate(&mut self, n_positions: usize) {
        self.position = self.position.min(n_positions);
    }
}

fn tokenizer() -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/tiny/tiny.apr");
    let json = AprFile::open(&path).unwrap().tokenizer_json().unwrap().unwrap();
    Tokenizer::from_json(&json).unwrap()
}

fn params(max_tokens: Option<usize>) -> GenerationParams {
    GenerationParams {
        drafts: 0,
        sampling: SamplingParams::greedy(),
        max_tokens,
        stop: Vec::new(),
        end_of_text: Vec::new(),
    }
}

/// Generates from a model that says `text`, then `last`, and collects what the observer was shown.
fn say(text: &str, last: Option<TokenId>, params: &GenerationParams) -> (Generation, String) {
    let tokenizer = tokenizer();
    let mut script = tokenizer.encode(text);
    script.extend(last);
    let mut model = Scripted { script, n_said: 0, position: 0 };
    let mut shown = String::new();
    let mut observer = |step: &Step<'_>| {
        shown.push_str(step.text);
        ControlFlow::Continue(())
    };
    let prompt = tokenizer.encode("a prompt");
    let generation = generate(&mut model, &tokenizer, &prompt, params, &mut observer).unwrap();
    (generation, shown)
}

#[test]
fn an_end_of_text_token_ends_the_reply_and_is_not_part_of_it() {
    let end = tokenizer().token_to_id("<|im_end|>").unwrap();
    let (generation, shown) = say(
        "Hello \u{1f980} there",
        Some(end),
        &GenerationParams { end_of_text: vec![TokenId(1), end], ..params(None) },
    );
    assert_eq!(generation.finish, FinishReason::EndOfText);
    assert_eq!(
        (generation.text.as_str(), shown.as_str()),
        ("Hello \u{1f980} there", "Hello \u{1f980} there")
    );
    assert!(!generation.ids.contains(&end));
    assert_eq!(generation.n_chosen, generation.ids.len() + 1);
}

#[test]
fn the_maximum_length_is_exact() {
    for n_tokens in [0, 1, 5] {
        let (generation, _) = say("one two three four five six", None, &params(Some(n_tokens)));
        assert_eq!((generation.ids.len(), generation.finish), (n_tokens, FinishReason::Length));
    }
}

#[test]
fn a_stop_string_over_several_tokens_is_cut_off_before_anyone_sees_it() {
    let stop = vec!["three four".to_owned()];
    let (generation, shown) =
        say("one two three four five", None, &GenerationParams { stop, ..params(Some(40)) });
    assert_eq!(generation.finish, FinishReason::Stop);
    assert_eq!((generation.text.as_str(), shown.as_str()), ("one two ", "one two "));
}

#[test]
fn a_character_cut_by_the_maximum_length_becomes_a_replacement_and_nothing_more() {
    let tokenizer = tokenizer();
    let n_tokens = tokenizer.encode("\u{1f980}").len();
    assert!(n_tokens > 1, "the crab takes several tokens");
    let (generation, shown) = say("\u{1f980}", None, &params(Some(n_tokens - 1)));
    assert_eq!(generation.text, shown);
    assert!(generation.text.chars().all(|c| c == char::REPLACEMENT_CHARACTER), "{}", generation.text);
}

#[test]
fn an_observer_that_breaks_cancels_before_the_next_token() {
    let tokenizer = tokenizer();
    let mut model = Scripted { script: tokenizer.encode("one two three"), n_said: 0, position: 0 };
    let mut n_steps = 0;
    let mut observer = |_: &Step<'_>| {
        n_steps += 1;
        if n_steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let generation = generate(&mut model, &tokenizer, &[TokenId(5)], &params(None), &mut observer).unwrap();
    assert_eq!((generation.finish, generation.ids.len(), model.n_said), (FinishReason::Cancelled, 2, 2));
}

#[test]
fn an_observer_can_cancel_while_the_prompt_is_evaluated() {
    struct Impatient;
    impl Observer for Impatient {
        fn on_step(&mut self, _step: &Step<'_>) -> ControlFlow<()> {
            panic!("no token was to be generated")
        }

        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let tokenizer = tokenizer();
    let mut model = Scripted { script: vec![TokenId(7)], n_said: 0, position: 0 };
    let generation =
        generate(&mut model, &tokenizer, &[TokenId(5); 9], &params(None), &mut Impatient).unwrap();
    assert_eq!((generation.finish, model.n_said), (FinishReason::Cancelled, 0));
}

#[test]
fn what_does_not_fit_the_context_is_refused_before_anything_is_computed() {
    let tokenizer = tokenizer();
    let mut model = Scripted { script: vec![TokenId(7)], n_said: 0, position: 0 };
    let mut observer = |_: &Step<'_>| ControlFlow::Continue(());
    let error =
        generate(&mut model, &tokenizer, &[TokenId(5); 60], &params(Some(5)), &mut observer).unwrap_err();
    let expected = ModelError::ContextOverflow { needed: 65, context_length: 64, cache_bytes: 520 };
    assert_eq!(error, GenerationError::Model(expected));
    assert_eq!(model.n_said, 0);
}

#[test]
fn the_perplexity_of_certainty_is_one() {
    let (generation, _) = say("one two three", None, &params(Some(3)));
    let perplexity = generation.perplexity().unwrap();
    // The script's token has logit 20, the other 4,095 have 0.
    let expected = 1.0 + 4095.0 * (-20_f64).exp();
    assert!((perplexity - expected).abs() < 1e-9, "{perplexity} is not {expected}");
}
