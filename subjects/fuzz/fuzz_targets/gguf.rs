//! Any bytes as a GGUF file: what the parser accepts must lie inside the file, and its tensors must dequantize.
#![no_main]

use apr_interop::{dequantize, gguf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = gguf::parse(bytes) else { return };
    for tensor in &file.tensors {
        let end = tensor.offset.checked_add(tensor.size).expect("no wrap-around");
        let blocks = &bytes[usize::try_from(tensor.offset).unwrap()..usize::try_from(end).unwrap()];
        let n_elements: usize = tensor.shape.iter().product();
        dequantize(tensor.encoding, blocks, &mut vec![0.0; n_elements]);
    }
});
