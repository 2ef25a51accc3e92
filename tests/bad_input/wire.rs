//! Group 4 over SSH, at both doors, and of group 5 what is told on sight; the parsers' own tests (`crates/hg-wire`) cut and forge more.

use super::NAME;
use crate::support::two_doors::TwoDoors;
use crate::support::wire_client::WireClient;

/// What the session does after a row.
enum Then {
    /// It answers `heads`.
    Answers,
    /// It ends: what follows can't be told from arguments.
    Ends,
}

use Then::{Answers, Ends};

fn unbundle(payload: &[u8]) -> Vec<u8> {
    let mut input = format!("unbundle\nheads 10\n666f726365{}\n", payload.len()).into_bytes();
    input.extend_from_slice(payload);
    input.extend_from_slice(if payload.is_empty() { b"" } else { b"0\n" });
    input
}

fn batch(commands: &str) -> Vec<u8> {
    format!("batch\n* 0\ncmds {}\n{commands}", commands.len()).into_bytes()
}

fn getbundle(arguments: &[(&str, &str)]) -> Vec<u8> {
    let mut input = format!("getbundle\n* {}\n", arguments.len());
    for (name, value) in arguments {
        input += &format!("{name} {}\n{value}", value.len());
    }
    input.into_bytes()
}

pub(super) fn pushkey(namespace: &str, key: &str, old: &str, new: &str) -> Vec<u8> {
    let pair = |name: &str, value: &str| format!("{name} {}\n{value}", value.len());
    let pairs = [pair("namespace", namespace), pair("key", key), pair("old", old), pair("new", new)];
    format!("pushkey\n{}", pairs.concat()).into_bytes()
}

/// Row, what is sent, what stands in standard output or standard error, and whether the session goes on.
fn rows(head: &str) -> Vec<(&'static str, Vec<u8>, &'static str, Then)> {
    let f = "f".repeat(40);
    let text = |text: &str| text.as_bytes().to_vec();
    let known = |nodes: &str| format!("known\nnodes {}\n{nodes}* 0\n", nodes.len()).into_bytes();
    let raced = "61\nrepository changed while preparing changes - please try again";
    let hg20 = ("bundlecaps", "HG20,bundle2=HG20%0Achangegroup%3D01%2C02%2C03");
    vec![
        ("W1", text("nosuch\n"), "0\n", Answers),
        ("W2", text("lookup\nkey 9999999999\nx"), "refused: not an argument: 'key 9999999999', in the request.", Ends),
        ("W2", text("lookup\nkey -5\n"), "refused: not an argument: 'key -5', in the request.", Ends),
        ("W2", text("lookup\nkey xyz\n"), "refused: not an argument: 'key xyz', in the request.", Ends),
        ("W2", text("lookup\nkey 99999999\nx"), "refused: an argument of 99999999 bytes, in the request.", Ends),
        ("W2", vec![b'x'; 1 << 20], "refused: a line of more than", Ends),
        ("W3", text("lookup\nnode 1\nx"), "refused: unexpected parameter 'node', in the request.", Ends),
        ("W3", text("known\n* 0\n* 0\n"), "refused: unexpected parameter '*', in the request.", Ends),
        ("W3", text("getbundle\n* 1000000\n"), "refused: 1000000 arguments, in the request.", Ends),
        ("W4", known("xyz"), "refused: not a changeset hash: 'xyz', in the request.", Answers),
        ("W4", known(&f[1..]), "refused: not a changeset hash: 'fff", Answers),
        ("W4", known(&format!("{f}0")), "refused: not a changeset hash: 'fff", Answers),
        ("W4", text("between\npairs 3\nxyz"), "refused: not a pair of hashes: 'xyz', in the request.", Answers),
        ("W5", text("lookup\nkey 2\n::"), "0 unknown revision '::'", Answers),
        ("W5", text("lookup\nkey 18\nfile('re:(a+)+$')."), "0 unknown revision 'file(", Answers),
        ("W7", getbundle(&[("heads", &f), hg20]), "unknown revision 'ffff", Answers),
        (
            "W9",
            getbundle(&[("bundlecaps", "HG99,bundle2=%ZZ,changegroup=99"), ("heads", &f)]),
            "unknown revision",
            Ends,
        ),
        (
            "W9",
            getbundle(&[("bundlecaps", "HG20,bundle2=HG20%0Achangegroup%3D99")]),
            "refused: no common changegroup version, with this client. Update Mercurial",
            Answers,
        ),
        ("W10", getbundle(&[("cg", "yes"), hg20]), "argument 'cg' is neither 0 nor 1: 'yes', in the request.", Answers),
        ("W11", batch(&"heads ;".repeat(60_000)), "commands in a batch, in one request. Ask for less", Answers),
        ("W12", batch("nosuch "), "refused: not a command of a batch: 'nosuch", Answers),
        ("W12", batch("unbundle heads=666f726365"), "refused: 'unbundle' can't be part of a batch", Answers),
        ("W12", batch("batch cmds="), "refused: 'batch' can't be part of a batch", Answers),
        ("W12", batch("heads ;"), "refused: not a command of a batch: ''", Answers),
        (
            "W13",
            pushkey("bookmarks", "a\nb", "", head),
            "refused: name with control characters, bookmark a\\nb. Choose",
            Answers,
        ),
        ("W13", pushkey("bookmarks", "x", &f, head), "2\n0\n", Answers),
        ("W13", pushkey("bookmarks", "x", "", &f), "2\n0\n", Answers),
        ("W13", pushkey("phases", head, "0", "1"), "2\n0\n", Answers),
        (
            "W13",
            pushkey("phases", "zz", "1", "0"),
            "refused: unknown revision 'zz', in the phases of the push. Pull",
            Answers,
        ),
        ("W13", pushkey("nosuch", "x", "", "y"), "2\n0\n", Answers),
        ("W14", text("unbundle\nheads 2\nzz"), "refused: not hexadecimal, in the argument heads.", Answers),
        ("W14", format!("unbundle\nheads 53\n686173686564 {f}").into_bytes(), raced, Answers),
        ("W16", text("stream_out\n"), "0\n", Answers),
        ("W22", text("debugwireargs\n"), "0\n", Answers),
        ("B1", unbundle(b"XXXX"), "refused: stream: not a Mercurial bundle, in the push. Push again", Answers),
        ("B1", unbundle(b""), "refused: stream ended unexpectedly (got 0 bytes, expected 4), in the push.", Answers),
        (
            "B1",
            unbundle(b"HG20\0\0"),
            "refused: stream ended unexpectedly (got 2 bytes, expected 4), in the bundle.",
            Answers,
        ),
        (
            "B2",
            unbundle(b"HG20\x7f\xff\xff\xff"),
            "refused: the bundle is too large: 2147483647 bytes of stream",
            Answers,
        ),
        (
            "B4",
            unbundle(b"HG20\0\0\0\0\x7f\xff\xff\xff"),
            "refused: the bundle is too large: a part's header has",
            Answers,
        ),
        ("B3", unbundle(b"HG20\0\0\0\0\0\0\0\x0a\x03FOO\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "UNSUPPORTEDCONTENT", Answers),
        ("W2", text("unbundle\nheads 10\n666f726365-1\n"), "refused: a chunk without a length, within a push.", Ends),
        ("W2", text("unbundle\nheads 10\n6666"), "", Ends),
    ]
}

pub fn check(two: &TwoDoors, head: &str) {
    for (door, clients) in two.doors() {
        let mut client = WireClient::begin(&clients, "id_ed25519", NAME);
        for (row, input, answer, then) in rows(head) {
            let what = format!("{door} {row} {:?}", String::from_utf8_lossy(&input[..input.len().min(60)]));
            match then {
                // All in one session: none of them ends it.
                Answers => {
                    let said = client.ask(&what, &input, answer);
                    assert!(said.contains(&format!("41\n{head}\n")), "{what}: {said}");
                }
                Ends => {
                    let mut own = WireClient::begin(&clients, "id_ed25519", NAME);
                    own.send(&input);
                    let said = own.end();
                    assert!(said.out.contains(answer) || said.err.contains(answer), "{what}: {said:?}");
                    assert_eq!(said.status, 1, "{what}: {said:?}");
                    assert!(!said.err.contains("panicked") && !said.err.contains("/repos/"), "{what}: {said:?}");
                }
            }
        }
        assert_eq!(client.end().status, 0, "{door}");
    }
}
