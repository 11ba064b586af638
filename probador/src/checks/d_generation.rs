//! Section D, and I16: what the model writes: good, varied, ended where it should end, and fast enough.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use anyhow::Context as _;
use apr_generation::{
    CausalLm, FinishReason, Generation, GenerationParams, LogitRows, Logits, ModelError, Probe,
    SamplingParams, Step, generate,
};
use apr_tokenizer::{Message, TokenId, Tokenizer};
use rand::Rng;

use super::perplexity::{Perplexity, require_text};
use super::samples::{self, PASSAGE};
use super::speed::{Round, median};
use super::subject::require_model;
use super::{CheckError, CheckFn, Context, Model};
use crate::case::Judgement;
use crate::checklist::Claim;

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("D1", text_is_predicted),
    ("D2", seeds_make_a_difference),
    ("D3", end_of_text_ends),
    ("D4", replies_do_not_loop),
    ("D5", decoding_is_fast_enough),
    ("I16", perplexity_is_the_references),
];

/// D1: perplexity on the model's evaluation text, window by window.
fn text_is_predicted(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (perplexity, mut judgement) = measured(context, claim)?;
    let facts = &context.known()?.perplexity;
    judgement.at_most("perplexity", perplexity.value, facts.ceiling, "", perplexity.n_scored);
    judgement.with_interval(perplexity.interval);
    judgement.note(format!(
        "the reference gives {} ({}), token frequencies alone {}; the specification's ceiling of 20 is written for \
         Qwen2-0.5B-Instruct",
        facts.reference, facts.reference_by, facts.unigram
    ));
    Ok(judgement)
}

/// I16: perplexity against the reference's on the same windows.
fn perplexity_is_the_references(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (perplexity, mut judgement) = measured(context, claim)?;
    let facts = &context.known()?.perplexity;
    let off = 100.0 * (perplexity.value / facts.reference - 1.0).abs();
    let what = "difference of the perplexity from the reference's";
    judgement.at_most(what, off, claim.limit("percent")?, "%", perplexity.n_scored);
    judgement.note(format!(
        "perplexity {:.4}, the reference gives {} ({})",
        perplexity.value, facts.reference, facts.reference_by
    ));
    Ok(judgement)
}

/// The perplexity of the model under test, over as many windows as the claim and the facts ask for.
fn measured(context: &Context, claim: &Claim) -> Result<(Perplexity, Judgement), CheckError> {
    let text = require_text(context)?;
    let n = claim.sampling.map_or(text.n_windows(), |sampling| sampling.n as usize);
    let mut judgement = Judgement::new();
    judgement.input("evaluation text", &text.hash);
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let surprises = context.surprises(&text)?;
    Ok((Perplexity::of(&surprises[..n.min(surprises.len())], text.n_scored()), judgement))
}

fn chat_prompt(context: &Context, content: &str) -> anyhow::Result<Vec<TokenId>> {
    context.chat_ids(&[Message { role: "user".to_owned(), content: content.to_owned() }])
}

fn sampled(seed: u64, temperature: f32, n_tokens: usize, end_of_text: Vec<TokenId>) -> GenerationParams {
    let sampling = SamplingParams { temperature, seed, ..SamplingParams::greedy() };
    GenerationParams { sampling, max_tokens: Some(n_tokens), stop: Vec::new(), end_of_text, drafts: 0 }
}

/// A reply sampled with `seed`; no token ends it.
pub(super) fn sampled_reply(
    model: &mut dyn CausalLm,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    seed: u64,
    temperature: f32,
    n_tokens: usize,
) -> anyhow::Result<Generation> {
    let params = sampled(seed, temperature, n_tokens, Vec::new());
    Ok(generate(model, tokenizer, prompt, &params, &mut |_: &Step<'_>| ControlFlow::Continue(()))?)
}

/// Half of the probability: with it the tail is drawn from every other time where nothing keeps it out.
const NUCLEUS: f32 = 0.5;

/// D2: different seeds give different replies at temperature 1, and a nucleus keeps out the tail.
fn seeds_make_a_difference(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let (mut model, tokenizer) = (context.fork()?, context.tokenizer()?);
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let mut n_same = 0;
    for _ in 0..n {
        let prompt = tokenizer.encode(&samples::prompt(&mut rng));
        let seed: u64 = rng.random();
        let mut reply = |seed: u64| sampled_reply(model.as_mut(), tokenizer, &prompt, seed, 1.0, 24);
        let (first, second) = (reply(seed)?, reply(seed ^ 1)?);
        if first.ids == second.ids {
            n_same += 1;
            judgement.fail(format!("seeds {seed} and {} give identical replies: {:?}", seed ^ 1, first.text));
        }
    }
    judgement.exactly("pairs of seeds with one reply", n_same, 0, "", n);
    let (mut outside, mut n_chosen) = (Vec::new(), 0);
    for _ in 0..n {
        let prompt = tokenizer.encode(&samples::prompt(&mut rng));
        let mut params = sampled(rng.random(), 1.0, 24, Vec::new());
        params.sampling.top_p = NUCLEUS;
        generate(model.as_mut(), tokenizer, &prompt, &params, &mut |step: &Step<'_>| {
            n_chosen += 1;
            outside.extend(outside_nucleus(step.logits, step.id));
            ControlFlow::Continue(())
        })?;
    }
    let n_outside = outside.len();
    judgement.failures.extend(outside);
    judgement.exactly("tokens outside the nucleus", n_outside, 0, "", n_chosen);
    Ok(judgement)
}

/// What is wrong with the choice of `id`, where tokens likelier than it fill the nucleus by themselves.
fn outside_nucleus(logits: &[f32], id: TokenId) -> Option<String> {
    let likelier = mass_of_likelier(logits, id);
    // Equals may come in any order, and the last of the nucleus begins below its limit.
    (likelier >= f64::from(NUCLEUS) + 1e-6).then(|| {
        format!(
            "token {} lies outside the nucleus: likelier ones hold {likelier:.3}, top-p is {NUCLEUS}",
            id.0
        )
    })
}

/// The probability of all tokens with a higher logit than `id`, in double precision.
fn mass_of_likelier(logits: &[f32], id: TokenId) -> f64 {
    let chosen = logits[id.index()];
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - max).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let likelier: f64 = logits.iter().filter(|&&logit| logit > chosen).map(|&logit| weight(logit)).sum();
    likelier / total
}

/// A model that, after `n_before` decoded tokens, is certain that `token` comes next; all else is the model's own.
struct Forced<'m> {
    inner: &'m mut Model,
    n_before: usize,
    token: TokenId,
    n_logits: usize,
    /// Tokens evaluated after the forced one was to be chosen.
    n_after: usize,
}

impl CausalLm for Forced<'_> {
    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn context_length(&self) -> usize {
        self.inner.context_length()
    }

    fn position(&self) -> usize {
        self.inner.position()
    }

    fn cache_bytes_per_position(&self) -> u64 {
        self.inner.cache_bytes_per_position()
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        let mut logits = self.inner.prefill(ids, rows, probe)?;
        if self.n_logits == self.n_before {
            let row = logits.n_rows() - 1;
            let vocab_size = self.vocab_size();
            logits.values_mut()[row * vocab_size + self.token.index()] = 1e4;
        } else if self.n_logits > self.n_before {
            self.n_after += 1;
        }
        self.n_logits += 1;
        Ok(logits)
    }

    fn truncate(&mut self, n_positions: usize) {
        self.inner.truncate(n_positions);
    }
}

/// D3: once the model chooses `<|im_end|>` or `<|endoftext|>`, the reply is over and does not show it.
fn end_of_text_ends(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let (mut model, tokenizer) = (context.fork()?, context.tokenizer()?);
    let declared = context.end_of_text()?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let (mut n_continued, mut n_ended) = (0, 0);
    for sample in 0..n {
        let text = if sample % 2 == 0 { "<|im_end|>" } else { "<|endoftext|>" };
        let token = tokenizer.token_to_id(text).with_context(|| format!("there is no {text}"))?;
        let prompt = chat_prompt(context, &samples::prompt(&mut rng))?;
        let n_before = rng.random_range(0..6);
        let mut forced = Forced { inner: &mut model, n_before, token, n_logits: 0, n_after: 0 };
        let params = sampled(rng.random(), 1.0, 16, declared.clone());
        let reply =
            generate(
                &mut forced,
                tokenizer,
                &prompt,
                &params,
                &mut |_: &Step<'_>| ControlFlow::Continue(()),
            )?;
        // The model may end by itself before it is made to, which is an end as good as the other.
        n_ended += usize::from(reply.finish != FinishReason::EndOfText || reply.ids.len() >= n_before);
        if !is_over(&reply, (text, token), forced.n_after) {
            n_continued += 1;
            judgement.fail(format!(
                "the reply goes on after the end-of-text token {text}: {} tokens more, {:?}",
                forced.n_after, reply.text
            ));
        }
    }
    judgement.exactly("replies that went on after the end of text", n_continued, 0, "", n_ended);
    Ok(judgement)
}

/// Whether a reply ended by a token that ends text, does not show the one that was forced, and nothing was evaluated after it.
fn is_over(reply: &Generation, (text, token): (&str, TokenId), n_after: usize) -> bool {
    let is_shown = reply.text.contains(text) || reply.ids.contains(&token);
    reply.finish == FinishReason::EndOfText && n_after == 0 && !is_shown
}

/// D4: the share of 4-grams in sampled replies that an earlier one of the same reply repeats.
fn replies_do_not_loop(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let (mut model, tokenizer) = (context.fork()?, context.tokenizer()?);
    let (mut n_repeated, mut n_grams) = (0, 0);
    for _ in 0..n {
        let prompt = chat_prompt(context, &samples::prompt(&mut rng))?;
        let mut params = sampled(rng.random(), 0.8, 64, Vec::new());
        params.sampling.top_p = 0.95;
        let reply = generate(model.as_mut(), tokenizer, &prompt, &params, &mut |_: &Step<'_>| {
            ControlFlow::Continue(())
        })?;
        let grams: Vec<&[TokenId]> = reply.ids.windows(4).collect();
        let distinct: BTreeSet<&[TokenId]> = grams.iter().copied().collect();
        n_repeated += grams.len() - distinct.len();
        n_grams += grams.len();
    }
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    let share = n_repeated as f64 / n_grams.max(1) as f64;
    judgement.at_most("share of 4-grams that repeat", share, claim.limit("repeated_share")?, "", n_grams);
    Ok(judgement)
}

/// D5: tokens decoded a second, median of rounds.
fn decoding_is_fast_enough(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    const N_TOKENS: usize = 24;
    let (n, _) = context.sampling(claim)?;
    let mut model = context.fork()?;
    let mut prompt = context.tokenizer()?.encode(PASSAGE);
    prompt.truncate(32);
    let mut rates = Vec::new();
    // The first round warms caches and is not counted.
    for round in 0..=n {
        let rate = Round::of(model.as_mut(), &prompt, N_TOKENS)?.decode;
        if round > 0 {
            rates.push(rate);
        }
    }
    let median = median(&mut rates);
    let mut judgement = Judgement::new();
    judgement.input("root hash", context.file()?.root_hash());
    require_model(context, &mut judgement)?;
    judgement.at_least("tokens a second", median, claim.limit("tokens_per_second")?, "", n);
    if let (Some(&slowest), Some(&fastest)) = (rates.first(), rates.last()) {
        judgement.with_interval((slowest, fastest));
        judgement
            .note(format!("the interval is the slowest and the fastest of {n} rounds of {N_TOKENS} tokens"));
    }
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::{claim, claim_of, context, failures, undecided};
    use crate::models::choose;
    use crate::workspace::Workspace;

    #[test]
    fn another_text_than_was_measured_decides_nothing() {
        let workspace = Workspace::find(None).unwrap();
        let mut model = choose(None, &workspace).unwrap();
        model.known.as_mut().unwrap().perplexity.text_hash = "blake3:00".to_owned();
        let (what, remedy) = undecided(&Context::new(workspace, model, None, []), &claim("D1"));
        assert!(what.contains("held-out.txt` is not the text that was measured: blake3:"), "{what}");
        assert!(what.ends_with(", not blake3:00"), "{what}");
        assert_eq!(remedy, "put the right text there");
    }

    #[test]
    fn a_token_is_outside_once_likelier_ones_fill_the_nucleus() {
        // Shares of 0.4, 0.3, 0.2 and 0.1.
        let logits = [4_f32, 3.0, 2.0, 1.0].map(f32::ln);
        assert_eq!(outside_nucleus(&logits, TokenId(0)), None);
        assert_eq!(outside_nucleus(&logits, TokenId(1)), None, "it begins below the limit");
        for (id, held) in [(2, "0.700"), (3, "0.900")] {
            let what =
                format!("token {id} lies outside the nucleus: likelier ones hold {held}, top-p is 0.5");
            assert_eq!(outside_nucleus(&logits, TokenId(id)), Some(what));
        }
        assert_eq!(outside_nucleus(&[0.0; 4], TokenId(3)), None, "among equals each may be chosen");
    }

    #[test]
    fn a_reply_is_over_where_it_ended_showed_no_end_and_nothing_came_after() {
        #[track_caller]
        fn check(finish: FinishReason, ids: &[u32], text: &str, n_after: usize, expected: bool) {
            let ids = ids.iter().copied().map(TokenId).collect();
            let reply = Generation { ids, text: text.to_owned(), finish, log_probability: -1.0, n_chosen: 2 };
            assert_eq!(is_over(&reply, ("<|im_end|>", TokenId(9)), n_after), expected);
        }
        check(FinishReason::EndOfText, &[1, 2], "well", 0, true);
        check(FinishReason::Length, &[1, 2], "well", 0, false);
        check(FinishReason::EndOfText, &[1, 2], "well", 1, false);
        check(FinishReason::EndOfText, &[1, 9], "well", 0, false);
        check(FinishReason::EndOfText, &[1, 2], "well<|im_end|>", 0, false);
    }

    #[test]
    fn a_model_that_is_made_to_choose_is_itself_in_all_else() {
        let mut model = context().fork().unwrap();
        let (size, length) = (model.cache_bytes_per_position(), model.context_length());
        let ids = [TokenId(5), TokenId(6)];
        let own = model.prefill(&ids, LogitRows::Last, None).unwrap();
        model.reset();
        let mut forced =
            Forced { inner: &mut model, n_before: 1, token: TokenId(3), n_logits: 0, n_after: 0 };
        assert_eq!((forced.cache_bytes_per_position(), forced.context_length()), (size, length));
        assert_eq!(forced.prefill(&ids, LogitRows::Last, None).unwrap(), own);
        let certain = forced.decode(TokenId(7)).unwrap();
        assert_eq!(apr_generation::top_candidates(certain.last(), 1)[0].id, TokenId(3));
        assert_eq!((forced.position(), forced.n_after), (3, 0));
        forced.decode(TokenId(3)).unwrap();
        assert_eq!((forced.position(), forced.n_after), (4, 1));
        forced.truncate(2);
        assert_eq!(forced.position(), 2);
    }

    #[test]
    fn a_rate_of_no_round_reaches_no_limit() {
        let context = context().undoubted();
        assert_eq!(failures(&context, &claim_of("D5", 0)), ["tokens a second NaN, at least 10"]);
    }
}
