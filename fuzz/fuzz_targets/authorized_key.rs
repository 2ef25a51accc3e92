//! Reads any bytes as a value of `sshPublicKey`; one that is taken is written anew, and means the same. `cargo +nightly fuzz run authorized_key`
#![no_main]

use hgfleet_directory::AuthorizedKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = AuthorizedKey::parse_line(bytes) {
        assert_eq!(AuthorizedKey::parse_line(key.to_string().as_bytes()), Ok(key));
    }
});
