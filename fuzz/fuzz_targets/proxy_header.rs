//! Reads any bytes as a PROXY header, as the balancer does on its ports and the master on the balancer's socket. `cargo +nightly fuzz run proxy_header`
#![no_main]

use client_address::{Header, encode, parse, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut rest = bytes;
    let Ok(header) = runtime.block_on(read(&mut rest)) else { return };
    // What was read is a header by itself, and says the same.
    assert_eq!(parse(&bytes[..bytes.len() - rest.len()]).expect("a header"), header);
    if let Header::Client(client) = header {
        // And the balancer hands it on as it is.
        let line = encode(client, ([127, 0, 0, 1], 22).into());
        assert_eq!(parse(line.as_bytes()).expect("a header"), header);
    }
});
