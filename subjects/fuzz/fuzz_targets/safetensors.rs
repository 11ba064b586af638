//! Any bytes as a safetensors file: what the parser accepts must lie inside the file, each tensor in its own place.
#![no_main]

use apr_interop::safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut tensors) = safetensors::parse(bytes) else { return };
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.size));
    let mut end = 0;
    for tensor in &tensors {
        assert!(tensor.offset >= end, "`{}` overlaps its neighbour", tensor.name);
        end = tensor.offset.checked_add(tensor.size).expect("no wrap-around");
    }
    assert!(end <= bytes.len() as u64, "a tensor lies outside the file");
});
