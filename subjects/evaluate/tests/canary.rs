//! Canaries on the embedded model: what they find, and what they leave alone.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;

use apr_evaluate::{
    CANARY_PROMPTS, CANARY_VERSION, Canary, CanaryError, Case, Speed, TOLERANCE, Verdict, check, record,
};
use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, Logits, ModelError, Probe};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::{TokenId, Tokenizer};
use serde_json::{Value, json};

fn file() -> AprFile {
    AprFile::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/tiny/tiny.apr"))).unwrap()
}

fn model() -> Qwen2 {
    Qwen2::load(&file(), LoadOptions { context_length: Some(128), n_threads: Some(1) }).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(&file().tokenizer_json().unwrap().unwrap()).unwrap()
}

/// The model with its logits changed behind it.
struct Changed<F: FnMut(&mut [f32])>(Qwen2, F);

impl<F: FnMut(&mut [f32])> CausalLm for Changed<F> {
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn context_length(&self) -> usize {
        self.0.context_length()
    }

    fn position(&self) -> usize {
        self.0.position()
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        let mut logits = self.0.prefill(ids, rows, probe)?;
        (self.1)(logits.values_mut());
        Ok(logits)
    }

    fn cache_bytes_per_position(&self) -> u64 {
        self.0.cache_bytes_per_position()
    }

    fn truncate(&mut self, n_positions: usize) {
        self.0.truncate(n_positions);
    }
}

fn prompts() -> Vec<String> {
    CANARY_PROMPTS.lines().map(str::to_owned).collect()
}

fn recorded(model: &mut dyn CausalLm) -> Result<(Vec<Case>, f64), CanaryError> {
    record(model, &tokenizer(), &prompts(), 12, &mut |_, _| true)
}

fn canary() -> Canary {
    let (cases, decode_tokens_per_second) = recorded(&mut model()).unwrap();
    let speed = Speed { decode_tokens_per_second, bytes_per_second: 1e9 };
    Canary { version: CANARY_VERSION, root_hash: "r".to_owned(), tolerance: TOLERANCE, cases, speed }
}

fn held(model: &mut dyn CausalLm, tokenizer: &Tokenizer, canary: &Canary) -> Result<Verdict, CanaryError> {
    check(model, tokenizer, canary, &mut |_, _| true)
}

#[test]
fn a_model_is_what_it_was() {
    let canary = canary();
    assert_eq!(canary.cases.len(), 5);
    let verdict = held(&mut model(), &tokenizer(), &canary).unwrap();
    assert_eq!((verdict.tokenizer, verdict.model), (vec![], vec![]));
    assert_eq!((verdict.n_compared, verdict.greatest_difference), (5 * 12, 0.0));
    assert!(verdict.decode_tokens_per_second > 0.0 && canary.speed.decode_tokens_per_second > 0.0);
    assert_eq!(Canary::from_json(&serde_json::to_vec(&canary).unwrap()).unwrap(), canary);
}

#[test]
fn replies_are_what_the_model_holds_for_likeliest() {
    let case = &canary().cases[0];
    let mut model = model();
    let ids: Vec<TokenId> = case.ids.iter().chain(&case.reply[..11]).copied().map(TokenId).collect();
    let logits = model.prefill(&ids, LogitRows::All, None).unwrap();
    for (index, (&id, &log_probability)) in case.reply.iter().zip(&case.log_probabilities).enumerate() {
        let row = logits.row(case.ids.len() - 1 + index);
        assert!(row.iter().all(|&logit| logit <= row[id as usize]), "token {index}");
        let sum: f64 = row.iter().map(|&logit| f64::from(logit - row[id as usize]).exp()).sum();
        assert!((-sum.ln() - log_probability).abs() < 1e-9, "token {index}");
    }
}

#[test]
fn another_model_is_found_and_not_taken_for_another_tokenizer() {
    let canary = canary();
    let mut softer = Changed(model(), |logits| logits.iter_mut().for_each(|logit| *logit *= 0.97));
    let verdict = held(&mut softer, &tokenizer(), &canary).unwrap();
    assert_eq!(verdict.tokenizer, []);
    assert_eq!(verdict.model.iter().map(|change| change.prompt).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(verdict.greatest_difference > TOLERANCE && verdict.model[0].likelier.is_none());
    let generous = Canary { tolerance: 1.0, ..canary };
    assert_eq!(held(&mut softer, &tokenizer(), &generous).unwrap().model, []);
}

#[test]
fn a_reply_that_is_overtaken_is_found_though_its_own_probability_stays() {
    let mut canary = canary();
    let [first, ..] = &mut canary.cases[..] else { panic!("there are five") };
    first.reply.truncate(1);
    first.log_probabilities.truncate(1);
    canary.cases.truncate(1);
    let reply = canary.cases[0].reply[0];
    // Another token becomes twice as likely as the reply, and all others make room for it.
    let other = u32::from(reply == 0);
    let mut overtaken = Changed(model(), move |logits: &mut [f32]| {
        let kept = logits[reply as usize];
        logits[other as usize] = kept + 0.5;
    });
    let verdict = held(&mut overtaken, &tokenizer(), &Canary { tolerance: 0.4, ..canary.clone() }).unwrap();
    assert_eq!(verdict.model[0].likelier, Some(other));
    // As likely within the tolerance is no change.
    let verdict = held(&mut overtaken, &tokenizer(), &Canary { tolerance: 3.0, ..canary }).unwrap();
    assert_eq!(verdict.model, []);
}

#[test]
fn logits_that_are_no_numbers_are_a_change() {
    let mut broken = Changed(model(), |logits| logits.fill(f32::NAN));
    let verdict = held(&mut broken, &tokenizer(), &canary()).unwrap();
    assert_eq!((verdict.model.len(), verdict.greatest_difference), (5, f64::INFINITY));
}

#[test]
fn another_tokenizer_is_found_and_not_taken_for_another_model() {
    let canary = canary();
    let mut json: Value = serde_json::from_slice(&file().tokenizer_json().unwrap().unwrap()).unwrap();
    // Without merges every text is cut into bytes.
    json["model"]["merges"] = json!([]);
    let other = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
    let verdict = held(&mut model(), &other, &canary).unwrap();
    assert_eq!(verdict.model, []);
    assert_eq!(verdict.tokenizer.iter().map(|change| change.prompt).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let change = &verdict.tokenizer[0];
    assert_eq!(change.expected, Some(canary.cases[0].ids[change.token]));
    assert_ne!(change.found, change.expected);
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let said = |prompts: &[&str], n_tokens| {
        let prompts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
        record(&mut model(), &tokenizer(), &prompts, n_tokens, &mut |_, _| true).unwrap_err().to_string()
    };
    assert_eq!(said(&[], 4), "there is no prompt\nhint: write one prompt a line");
    assert!(said(&["a", ""], 4).starts_with("prompt 2 (``) has no token"));
    assert!(said(&["a"], 128).starts_with("failed to evaluate prompt 1: "));
    let stopped = record(&mut model(), &tokenizer(), &prompts(), 4, &mut |done, _| done < 2);
    assert_eq!(stopped.unwrap_err(), CanaryError::Cancelled);
    let stopped = check(&mut model(), &tokenizer(), &canary(), &mut |done, all| done + 1 < all);
    assert_eq!(stopped.unwrap_err(), CanaryError::Cancelled);
}

#[test]
fn a_canary_that_says_what_cannot_be_is_refused() {
    type Change<'c> = &'c dyn Fn(&mut Value);
    let good = serde_json::to_value(canary()).unwrap();
    let said = |change: Change<'_>| {
        let mut json = good.clone();
        change(&mut json);
        let canary = Canary::from_json(json.to_string().as_bytes());
        canary.and_then(|canary| held(&mut model(), &tokenizer(), &canary)).unwrap_err().to_string()
    };
    let cases: [(Change<'_>, &str); 9] = [
        (&|json| json["version"] = json!(2), "it is of version 2, this program knows version 1"),
        (&|json| json["more"] = json!(2), "it is no canary: unknown field `more`"),
        (&|json| json["cases"] = json!([]), "it has no case, so it can find nothing"),
        (&|json| json["tolerance"] = json!(-1.0), "its tolerance is -1"),
        (&|json| json["cases"][1]["ids"] = json!([]), "case 2 has no prompt or no reply"),
        (&|json| json["cases"][1]["reply"] = json!([]), "case 2 has no prompt or no reply"),
        (
            &|json| json["cases"][0]["reply"] = json!([1]),
            "case 1 has 1 tokens in its reply and 12 log-probabilities",
        ),
        (&|json| json["cases"][0]["ids"] = json!([70_000]), "case 1 has token 70000; the model has "),
        (&|json| json["cases"][0]["ids"] = json!(vec![1; 200]), "failed to evaluate prompt 1: "),
    ];
    for (change, expected) in cases {
        let said = said(change);
        assert!(said.starts_with(expected), "{said}");
    }
}
