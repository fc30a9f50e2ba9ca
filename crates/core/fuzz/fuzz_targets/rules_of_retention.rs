#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenant_guard_fuzz::judge("rules of retention", input));
