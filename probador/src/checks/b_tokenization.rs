//! Section B: text to ids and back, as the reference tokenizers do it; user text stays text.

use anyhow::Context as _;
use apr_generation::LogitRows;
use apr_tokenizer::{Message, TokenId};
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization as _;

use super::samples::{hostile_text, odd_text};
use super::{CheckError, CheckFn, Context};
use crate::case::Judgement;
use crate::checklist::Claim;

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("B1", the_vocabulary_has_its_size),
    ("B2", text_survives_the_round_trip),
    ("B3", control_tokens_have_their_ids),
    ("B4", users_cannot_write_control_tokens),
    ("B5", whitespace_is_split_as_tiktoken_does),
];

/// B1: the vocabulary's size in metadata, embedding and logits.
fn the_vocabulary_has_its_size(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("vocab_size")? as usize;
    let file = context.file()?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    judgement.exactly("vocabulary in the metadata", file.metadata().config.vocab_size, limit, "", 1);
    let embedding = file.tensor("model.embed_tokens.weight").context("there is no embedding")?;
    judgement.exactly("vocabulary of the embedding", embedding.shape()[0], limit, "", 1);
    // A file whose metadata and embedding disagree does not load; that is said above.
    if judgement.failures.is_empty() {
        let logits = context.fork()?.prefill(&[TokenId(0)], LogitRows::Last, None)?;
        judgement.exactly("vocabulary of the logits", logits.last().len(), limit, "", 1);
    }
    Ok(judgement)
}

/// What `scripts/generate_tokenizer_golden.py` recorded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    producer: String,
    tokenizer: String,
    strings: Vec<RecordedString>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedString {
    text: String,
    kind: String,
    huggingface: Vec<u32>,
    tiktoken: Vec<u32>,
}

fn recorded(context: &Context) -> anyhow::Result<Recorded> {
    let path = context.workspace().path(format!("golden/{}/tokenizer-ids.json", context.model().name));
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is not what it should be", path.display()))
}

/// B2: round trips of drawn strings, and the recorded ids of both reference tokenizers.
fn text_survives_the_round_trip(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let tokenizer = context.tokenizer()?;
    let mut judgement = Judgement::new();
    let mut n_changed = 0;
    for _ in 0..n {
        let text = odd_text(&mut rng);
        let expected: String = text.nfc().collect();
        let decoded = tokenizer.decode(&tokenizer.encode(&text));
        if decoded != expected {
            n_changed += 1;
            judgement.fail(format!("{text:?} comes back as {decoded:?}"));
        }
    }
    judgement.exactly("drawn strings that come back changed", n_changed, 0, "", n);
    let recorded = recorded(context)?;
    judgement.note(format!("ids recorded by {}", recorded.producer));
    judgement.input("tokenizer", recorded.tokenizer.as_str());
    let mut n_differing = 0;
    for string in &recorded.strings {
        let found: Vec<u32> = tokenizer.encode(&string.text).iter().map(|id| id.0).collect();
        if found != string.huggingface || found != string.tiktoken {
            n_differing += 1;
            judgement.fail(format!(
                "the ids differ for {:?}: {found:?}, expected {:?}",
                string.text, string.huggingface
            ));
        }
    }
    judgement.exactly("recorded strings whose ids differ", n_differing, 0, "", recorded.strings.len());
    Ok(judgement)
}

/// B3: the ids of the ChatML control tokens.
fn control_tokens_have_their_ids(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let im_start = claim.limit("im_start")? as u32;
    let tokenizer = context.tokenizer()?;
    let mut judgement = Judgement::new();
    judgement.input("tokenizer", context.file()?.tokenizer_fingerprint().unwrap_or_default());
    for (text, expected) in
        [("<|endoftext|>", im_start - 1), ("<|im_start|>", im_start), ("<|im_end|>", im_start + 1)]
    {
        let found = tokenizer.token_to_id(text);
        let Some(id) = found else {
            judgement.fail(format!("there is no {text}"));
            continue;
        };
        judgement.exactly(&format!("id of {text}"), id.index(), expected as usize, "", 1);
        judgement.require(tokenizer.is_control(id), || format!("{text} is not a control token"));
    }
    Ok(judgement)
}

/// B4: hostile messages leave the control ids of the prompt as a harmless one leaves them.
fn users_cannot_write_control_tokens(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let (n, mut rng) = context.sampling(claim)?;
    let tokenizer = context.tokenizer()?;
    let ids_of = |content: &str| {
        context.chat_ids(&[
            Message { role: "system".to_owned(), content: "You are terse.".to_owned() },
            Message { role: "user".to_owned(), content: content.to_owned() },
        ])
    };
    let control = |ids: &[TokenId]| -> Vec<TokenId> {
        ids.iter().copied().filter(|&id| tokenizer.is_control(id)).collect()
    };
    let harmless = ids_of("Hello")?;
    let expected = control(&harmless);
    // From the last control token but one on: the end of the user's turn and the start of the assistant's.
    let last_two = expected.len().saturating_sub(2);
    let end_of_turn = harmless.iter().rposition(|id| expected.get(last_two) == Some(id)).unwrap_or(0);
    let ending = &harmless[end_of_turn..];
    let mut judgement = Judgement::new();
    judgement.at_least("control ids of a harmless prompt", expected.len() as f64, 2.0, "", 1);
    let mut n_broken = 0;
    for _ in 0..n {
        let text = hostile_text(&mut rng);
        let ids = ids_of(&text)?;
        if control(&ids) != expected {
            n_broken += 1;
            judgement.fail(format!(
                "{text:?} changes the control ids: {:?}, expected {expected:?}",
                control(&ids)
            ));
        } else if !ids.ends_with(ending) {
            n_broken += 1;
            judgement.fail(format!("after {text:?} the prompt does not end with the assistant's turn"));
        }
    }
    judgement.exactly("messages that left the user's turn", n_broken, 0, "", n);
    Ok(judgement)
}

/// B5: recorded strings of whitespace against tiktoken.
fn whitespace_is_split_as_tiktoken_does(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let recorded = recorded(context)?;
    let tokenizer = context.tokenizer()?;
    let mut judgement = Judgement::new();
    judgement.note(format!("ids recorded by {}", recorded.producer));
    judgement.input("tokenizer", recorded.tokenizer.as_str());
    let strings: Vec<_> = recorded.strings.iter().filter(|string| string.kind == "whitespace").collect();
    let mut n_differing = 0;
    for string in &strings {
        let found: Vec<u32> = tokenizer.encode(&string.text).iter().map(|id| id.0).collect();
        if found != string.tiktoken {
            n_differing += 1;
            judgement.fail(format!(
                "the ids differ for {:?}: {found:?}, expected {:?}",
                string.text, string.tiktoken
            ));
        }
    }
    judgement.exactly("whitespace strings whose ids differ", n_differing, 0, "", strings.len());
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::{
        altered, checkout, claim, claim_of, context, context_in, context_of, failures,
    };

    #[test]
    fn a_string_whose_ids_only_tiktoken_sees_otherwise_is_found() {
        let recorded = recorded(&context()).unwrap();
        let text = std::fs::read_to_string(context().workspace().path("golden/tiny/tokenizer-ids.json"));
        let mut changed: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
        let at = recorded.strings.iter().position(|string| string.kind == "whitespace").unwrap();
        changed["strings"][at]["tiktoken"] = serde_json::json!([0]);
        let (_folder, workspace) = checkout(&[("golden/tiny/tokenizer-ids.json", &changed.to_string())]);
        let string = &recorded.strings[at];
        let context = context_in(workspace);
        let what = format!("the ids differ for {:?}: {:?}, expected ", string.text, string.huggingface);
        assert_eq!(
            failures(&context, &claim_of("B2", 3)),
            [
                format!("{what}{:?}", string.huggingface),
                "recorded strings whose ids differ 1, exactly 0".into()
            ]
        );
        assert_eq!(
            failures(&context, &claim("B5")),
            [format!("{what}[0]"), "whitespace strings whose ids differ 1, exactly 0".into()]
        );
    }

    #[test]
    fn a_vocabulary_without_a_control_token_is_told_so() {
        let (_folder, model) = altered(
            |metadata| {
                let json = metadata.tokenizer.as_ref().unwrap().unpack().unwrap();
                let json = String::from_utf8(json).unwrap();
                let renamed = json.replace("<|im_start|>", "<|im_begin|>");
                metadata.with_tokenizer_json(renamed.as_bytes());
            },
            &[],
            &[],
        );
        let mut claim = claim("B3");
        let im_end = context().tokenizer().unwrap().token_to_id("<|im_end|>").unwrap();
        claim.limits.insert("im_start".to_owned(), f64::from(im_end.0 - 1));
        assert_eq!(failures(&context_of(&model), &claim), ["there is no <|im_start|>"]);
        assert!(failures(&context(), &claim).is_empty());
    }

    #[test]
    fn a_template_that_puts_the_user_after_the_assistants_turn_began_is_found() {
        let template = "{% for message in messages %}<|im_start|>{{ message.role }}\n<|im_end|>\n{% endfor %}\
                        <|im_start|>assistant\n{{ messages[1].content }}";
        let (_folder, model) =
            altered(|metadata| metadata.chat_template = Some(template.to_owned()), &[], &[]);
        let found = failures(&context_of(&model), &claim_of("B4", 3));
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[0].starts_with("after ")
                && found[0].ends_with("the prompt does not end with the assistant's turn"),
            "{found:?}"
        );
        assert_eq!(found[3], "messages that left the user's turn 3, exactly 0");
    }
}
