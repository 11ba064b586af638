//! How to generate: what the flags say, then what the model recommends, then what suits a conversation.

use anyhow::{Context, Result};
use apr_format::{AprFile, Metadata};
use apr_generation::SamplingParams;
use apr_tokenizer::{TokenId, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

/// Sampling flags; what is absent is the model's or ours to choose.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SamplingFlags {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    /// 0 keeps every token.
    pub(crate) top_k: Option<usize>,
    pub(crate) min_p: Option<f32>,
    pub(crate) repetition_penalty: Option<f32>,
    pub(crate) seed: Option<u64>,
}

/// The keys of a `generation_config.json` that sampling knows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Recommended {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// How to sample from `model`. `random_seed` is used when no flag gives a seed.
pub(crate) fn sampling(flags: &SamplingFlags, model: &AprFile, random_seed: u64) -> Result<SamplingParams> {
    let recommended = recommended(model.metadata()).with_context(|| {
        format!(
            "`{}` recommends settings that make no sense\nhint: import the model again",
            model.path().display()
        )
    })?;
    let params = merge(flags, &recommended, random_seed);
    params.check().with_context(|| {
        format!(
            "`{}` recommends a setting out of range\nhint: give that setting a flag",
            model.path().display()
        )
    })?;
    Ok(params)
}

fn recommended(metadata: &Metadata) -> Result<Recommended, serde_json::Error> {
    match &metadata.generation_config {
        Some(config) => Recommended::deserialize(config),
        None => Ok(Recommended::default()),
    }
}

fn merge(flags: &SamplingFlags, recommended: &Recommended, random_seed: u64) -> SamplingParams {
    // A model that asks not to be sampled is asked for its likeliest tokens.
    let temperature = match recommended.do_sample {
        Some(false) => 0.0,
        _ => recommended.temperature.unwrap_or(DEFAULT_TEMPERATURE),
    };
    SamplingParams {
        temperature: flags.temperature.unwrap_or(temperature),
        top_k: flags.top_k.or(recommended.top_k).filter(|&k| k > 0),
        top_p: flags.top_p.or(recommended.top_p).unwrap_or(DEFAULT_TOP_P),
        min_p: flags.min_p.or(recommended.min_p).unwrap_or(0.0),
        repetition_penalty: flags.repetition_penalty.or(recommended.repetition_penalty).unwrap_or(1.0),
        seed: flags.seed.unwrap_or(random_seed),
    }
}

/// Lively without wandering, where neither flag nor model says anything; what Qwen2's own configuration has.
pub(crate) const DEFAULT_TEMPERATURE: f32 = 0.7;
/// The same for nucleus sampling.
pub(crate) const DEFAULT_TOP_P: f32 = 0.8;

/// The tokens that end a reply: every `eos_token_id` of the generation config, and the token that the model names as its
/// end of text.
pub(crate) fn end_of_text(metadata: &Metadata, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let ids = metadata.generation_config.as_ref().and_then(|config| config.get("eos_token_id"));
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).map(TokenId);
    let mut end: Vec<TokenId> = match ids {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    };
    end.extend(metadata.special_tokens.get("eos_token").and_then(|text| tokenizer.token_to_id(text)));
    end.sort_unstable();
    end.dedup();
    end
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(generation_config: Value) -> Metadata {
        Metadata { generation_config: Some(generation_config), ..Metadata::default() }
    }

    #[test]
    fn flag_beats_model_beats_default() {
        let config = json!({"temperature": 0.3, "top_k": 20, "repetition_penalty": 1.1, "eos_token_id": 7});
        let recommended = recommended(&metadata(config)).unwrap();
        let params = merge(&SamplingFlags::default(), &recommended, 9);
        let expected = SamplingParams {
            temperature: 0.3,
            top_k: Some(20),
            top_p: DEFAULT_TOP_P,
            min_p: 0.0,
            repetition_penalty: 1.1,
            seed: 9,
        };
        assert_eq!(params, expected);
        let flags = SamplingFlags {
            temperature: Some(0.0),
            top_k: Some(0),
            top_p: Some(1.0),
            min_p: Some(0.1),
            repetition_penalty: Some(1.0),
            seed: Some(3),
        };
        let expected = SamplingParams {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.1,
            repetition_penalty: 1.0,
            seed: 3,
        };
        assert_eq!(merge(&flags, &recommended, 9), expected);
    }

    #[test]
    fn model_that_asks_for_its_likeliest_tokens_gets_that() {
        let recommended = recommended(&metadata(json!({"do_sample": false, "temperature": 0.7}))).unwrap();
        assert_eq!(merge(&SamplingFlags::default(), &recommended, 0).temperature, 0.0);
    }

    #[test]
    fn recommendation_of_the_wrong_type_is_an_error() {
        assert!(recommended(&metadata(json!({"temperature": "hot"}))).is_err());
        assert!(recommended(&metadata(json!({"top_k": -1}))).is_err());
    }
}
