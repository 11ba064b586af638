//! Any bytes as an `.apr` file: opening, reading every tensor and validating neither panic nor disagree.
#![no_main]

use std::path::Path;

use apr_format::{AprFile, ValidateOptions, validate_bytes};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (path, data) = (Path::new("fuzz.apr"), Bytes::copy_from_slice(bytes));
    let validation = validate_bytes(path, &data, &ValidateOptions::default()).expect("memory can be read");
    match AprFile::from_bytes(path, data) {
        Ok(file) => {
            for entry in file.entries() {
                if let Some(tensor) = file.tensor(&entry.name) {
                    let _ = tensor.to_f32();
                }
            }
        }
        Err(error) => assert!(!validation.is_valid(), "a file that does not open is valid: {error}"),
    }
});
