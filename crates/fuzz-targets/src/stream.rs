//! What comes in a stream: bundles, changegroups, PROXY headers.

use client_address::{Header, encode, parse, read};
use hg_store::prepare::{Incoming, IncomingChangegroup};
use hg_wire::bundle2_reader::{Bundle2Reader, BundleLimits};
use hg_wire::changegroup_reader::{ChangegroupLimits, ChangegroupReader, ChangegroupVersion};

use crate::bundle;
use crate::history::History;
use crate::trees;

/// A bundle2, to its end or to the first error.
pub(crate) fn bundle2(bytes: &[u8]) {
    let Ok(mut bundle) = Bundle2Reader::open(bytes, BundleLimits::default()) else { return };
    while let Ok(Some(mut part)) = bundle.next_part() {
        if part.read_all(1 << 20).is_err() {
            return;
        }
    }
}

/// Two changesets of two files.
pub(crate) fn history() -> History {
    let mut history = History::default();
    history.commit(&[(b"a", b"one\n", ""), (b"b/c", b"two\n", "x")]).commit(&[(b"a", b"1\n", "")]);
    history
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let words = bundle::part("output", &[("in-reply-to", "0")], b"words");
    let mut interrupted = bundle::part_of("check:heads", &[], &[&[0xff; 4][..], &words, &[0; 4]].concat());
    interrupted.extend(&words);
    vec![
        bundle::bundle(&[bundle::changegroup(history().pieces())]),
        bundle::bundle(&[bundle::changegroup_with_trees(trees::history().pieces())]),
        bundle::bundle(&[bundle::part("bookmarks", &[], &[&[7; 20][..], &[0, 1], b"x"].concat()), words]),
        bundle::bundle(&[interrupted]),
        bundle::with_parameters("x=1 Compression=UN", &[]),
        bundle::with_parameters("Compression=GZ", &[])[..22].to_vec(),
    ]
}

/// A changegroup whose version the first byte says, to its end or to the first error.
pub(crate) fn changegroup(bytes: &[u8]) {
    let Some((version, rest)) = bytes.split_first() else { return };
    let version = [ChangegroupVersion::V1, ChangegroupVersion::V2, ChangegroupVersion::V3][usize::from(version % 3)];
    let mut changegroup = ChangegroupReader::new(rest, version, ChangegroupLimits::default());
    while let Ok(piece) = changegroup.next() {
        if piece == Incoming::End {
            return;
        }
    }
}

pub(crate) fn changegroups() -> Vec<Vec<u8>> {
    let of = |version: u8, flags| [&[version][..], &bundle::changegroup_bytes(history().pieces(), flags)].concat();
    let trees = [&[2][..], &bundle::changegroup_bytes(trees::history().pieces(), true)].concat();
    vec![of(1, false), of(2, true), of(0, false), trees]
}

/// A PROXY header, as the balancer reads it on its ports and the master on the balancer's socket.
pub(crate) fn proxy_header(bytes: &[u8]) {
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
}

pub(crate) fn proxy_headers() -> Vec<Vec<u8>> {
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec();
    second.extend([192, 0, 2, 7, 198, 51, 100, 1, 18, 103, 0, 22, 4, 0, 0]);
    vec![
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\nSSH-2.0-x\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 4711 22\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        second,
    ]
}
