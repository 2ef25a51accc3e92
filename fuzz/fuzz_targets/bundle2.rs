//! Reads any bytes as a bundle2, to its end or to the first error. `cargo +nightly fuzz run bundle2`
#![no_main]

use hg_wire::bundle2_reader::{Bundle2Reader, BundleLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut bundle) = Bundle2Reader::open(bytes, BundleLimits::default()) else { return };
    while let Ok(Some(mut part)) = bundle.next_part() {
        if part.read_all(1 << 20).is_err() {
            return;
        }
    }
});
