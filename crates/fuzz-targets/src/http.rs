//! What an HTTP client says.

use hgfleet_tokens::{LastUsed, Tokens, basic, has_token};

/// A request's head: the target in the first line, a header in each other one.
pub(crate) fn request(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut request = http::Request::builder().uri(lines.next().unwrap_or_default());
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        request = request.header(name, value.strip_prefix(b":").unwrap_or_default());
    }
    if let Ok(request) = request.body(()) {
        let _ = hg_wire::http::parse(&request.into_parts().0);
    }
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let headers = "/r?cmd=getbundle\nx-hgarg-1:heads=00%2B&common=\nx-hgarg-2:&bundlecaps=HG20\nx-hgproto-1:0.1 0.2 comp=zstd,none";
    ["/r?cmd=batch&cmds=heads+%3Bknown+nodes%3D", headers, "/r?cmd=known\nx-hgargs-post:12", "/r?x=y"]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

/// Credentials as a stranger may send them, and documents of tokens as a damaged log may have them.
pub(crate) fn tokens(bytes: &[u8]) {
    let _ = basic::parse(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        has_token(text);
    }
    if let Ok(tokens) = Tokens::parse(bytes) {
        let again = tokens.to_bytes().expect("written");
        assert_eq!(Tokens::parse(&again).expect("read back"), tokens);
    }
    let _ = LastUsed::parse(bytes);
}

pub(crate) fn credentials() -> Vec<Vec<u8>> {
    let empty = Tokens::default().to_bytes().expect("written");
    vec![b"Basic YW5uQHg6aGdmbGVldF94".to_vec(), empty, b"hgfleet_abcdefghijklmnopqrstuvwxyz0123456789".to_vec()]
}
