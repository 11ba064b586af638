//! Any bytes as a `tokenizer.json`: one that is accepted encodes and decodes without a panic.
#![no_main]

use apr_tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_json(bytes) else { return };
    let ids = tokenizer.encode("The cafe\u{301} costs 12 \u{20ac}.\n\t<|im_end|> \u{1f468}\u{200d}\u{1f469}");
    assert!(ids.iter().all(|id| id.index() < tokenizer.vocab_size()), "an id outside the vocabulary");
    let _ = tokenizer.decode(&ids);
});
