//! `make fuzz`: any bytes are decoded to the same by the fast path and by the general parser.

#![no_main]
#![forbid(unsafe_code)]

#[path = "judge.rs"]
mod judge;

libfuzzer_sys::fuzz_target!(|message: &[u8]| judge::check(message));
