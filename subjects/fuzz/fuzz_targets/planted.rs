//! A parser with a planted fault, to see the fuzzer find one: it believes the length that the bytes give.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let [b'G', b'G', b'U', b'F', length, rest @ ..] = bytes
        && *length > 0
    {
        let _ = rest[usize::from(*length) - 1];
    }
});
