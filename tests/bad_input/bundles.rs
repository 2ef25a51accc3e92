//! Group 5: bundles, pushed by a client that is no `hg`, at both SSH doors. What a bundle's content may be has more rows in
//! `hg-store/tests/refusals.rs`, its form in the readers' own tests.

use super::pushes::Target;
use crate::support::bundle::{bundle, changegroup, changegroup_with_flags, part, part_of, with_id, with_parameters};
use crate::support::history::{History, hunk};
use crate::support::wire_client::WireClient;
use flate2::write::ZlibEncoder;
use hg_store::prepare::IncomingRevision;
use hg_store::{Marker, Node};
use std::io::Write;
use std::net::TcpListener;

/// Row, bundle, and what stands in the answer.
type Row = (&'static str, Vec<u8>, &'static str);

/// Two changesets that the repository has.
pub fn old() -> History {
    let mut history = History::default();
    history.commit(&[(b"a", b"one\n", ""), (b"b/c", b"two\n", "x")]).commit(&[(b"a", b"1\n", "")]);
    history
}

/// What is new after the old history.
pub fn after(edit: impl FnOnce(&mut History)) -> History {
    let mut history = old();
    edit(&mut history);
    beyond(&old(), history)
}

/// What a history has beyond its beginning.
pub fn beyond(known: &History, mut history: History) -> History {
    history.changesets.drain(..known.changesets.len());
    history.manifests.drain(..known.manifests.len());
    for (path, revisions) in &known.files {
        let place = history.files.iter().position(|(known, _)| known == path).expect("it is there");
        history.files[place].1.drain(..revisions.len());
    }
    history.files.retain(|(_, revisions)| !revisions.is_empty());
    history
}

/// A third changeset, which changes `a` and brings `new`.
fn third(edit: impl FnOnce(&mut History)) -> History {
    after(|history| {
        edit(history);
        history.commit(&[(b"a", b"eins\n", ""), (b"new", b"\x01\ncopy: a\n\x01\nnew\n", "")]);
    })
}

/// A third changeset of which something was changed after it was hashed.
fn forged(change: impl FnOnce(&mut History)) -> Vec<u8> {
    let mut history = third(|_| {});
    change(&mut history);
    bundle(&[changegroup(history.pieces())])
}

fn flagged(flags: u16) -> Vec<u8> {
    let mut history = third(|_| {});
    history.files[0].1[0].flags = flags;
    bundle(&[changegroup_with_flags(history.pieces())])
}

/// A third changeset of which a text was changed before it was hashed.
fn written(edit: impl FnOnce(&mut History)) -> Vec<u8> {
    bundle(&[changegroup(third(edit).pieces())])
}

fn content(text: &[u8]) -> Vec<u8> {
    let history = after(|history| {
        history.commit(&[(b"new", text, "")]);
    });
    bundle(&[changegroup(history.pieces())])
}

fn named(path: &[u8]) -> Vec<u8> {
    bundle(&[changegroup(
        after(|history| {
            history.commit(&[(path, b"x\n", "")]);
        })
        .pieces(),
    )])
}

fn replaced(text: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(text).expect("ASCII");
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

/// A node that is nowhere.
const NOWHERE: Node = Node::new([9; 20]);

/// B1 to B7: the stream and its parts.
fn forms(beacon: &str) -> Vec<Row> {
    let words = part("output", &[], b"words");
    let interrupted = |inside: &[u8]| {
        let chunks = [&[0, 0, 0, 2][..], b"ab", &[0xff; 4], inside, &[0; 4]].concat();
        bundle(&[part_of("output", &[], &chunks)])
    };
    let nested = part_of("output", &[], &[&[0xff; 4][..], &words, &[0; 4]].concat());
    let remote = |url: &str| bundle(&[part("REMOTE-CHANGEGROUP", &[("URL", url), ("SIZE", "1")], b"")]);
    let only = |name: &str, parameters: &[(&str, &str)]| bundle(&[part(name, parameters, b"")]);
    let headed = |header: &[u8]| [b"HG20\0\0\0\0", &(header.len() as u32).to_be_bytes()[..], header, &[0; 8]].concat();
    vec![
        ("B1", b"HG10".to_vec(), "refused: unknown compression type , in the push."),
        ("B1", b"HG10UN".to_vec(), "refused: stream ended unexpectedly"),
        ("B1", b"HG30\0\0\0\0".to_vec(), "refused: stream: unknown bundle version 30, in the push."),
        (
            "B2",
            b"HG20\xff\xff\xff\xff".to_vec(),
            "refused: malformed bundle: negative bundle param size: -1, in the bundle.",
        ),
        ("B3", with_parameters("Later=1", &[]), "ERROR:UNSUPPORTEDCONTENT"),
        ("B3", with_parameters("9=1", &[]), "refused: malformed bundle: non letter first character: 9"),
        ("B3", only("CHANGEGROUP", &[("VERSION", "02"), ("LATER", "1")]), "ERROR:UNSUPPORTEDCONTENT"),
        ("B4", headed(b"\x09short"), "refused: malformed bundle: "),
        ("B4", headed(b"\x01a\0\0\0\0\xff\0"), "refused: malformed bundle: "),
        ("B4", bundle(&[with_id(&words, 1), with_id(&words, 1)]), "refused: malformed bundle: two parts have the id 1"),
        ("B5", bundle(&[part_of("output", &[], b"\xff\xff\xff\xfe")]), "negative payload chunk size: -2"),
        ("B5", interrupted(&nested), "refused: malformed bundle: "),
        ("B5", interrupted(&part("LATER", &[], b"")), "ERROR:UNSUPPORTEDCONTENT"),
        ("B5", interrupted(&words)[..40].to_vec(), "refused: stream ended unexpectedly"),
        // Nobody asks there: the test listens.
        ("B6", remote(beacon), "ERROR:UNSUPPORTEDCONTENT"),
        ("B6", remote("file:///etc/passwd"), "ERROR:UNSUPPORTEDCONTENT"),
        ("B7", bundle(&[part("ERROR:ABORT", &[("MESSAGE", "disk on fire")], b"")]), "disk on fire"),
        ("B7", bundle(&[part("error:pushraced", &[("MESSAGE", "too late")], b"")]), "too late"),
        ("B7", bundle(&[part("CHECK:HEADS", &[], &[7; 19])]), "refused: bad check:heads stream, in the bundle."),
        ("B7", bundle(&[part("CHECK:HEADS", &[], &[7; 20])]), "ERROR:PUSHRACED"),
        ("B7", bundle(&[part("CHECK:PHASES", &[], &[0; 23])]), "refused: bad phase-heads stream, in the bundle."),
    ]
}

/// B8 and B9: what unpacks to more than it says, or can't be unpacked.
fn packed() -> Vec<Row> {
    let packed = |method: &str, bytes: &[u8]| {
        [&with_parameters(&format!("Compression={method}"), &[])[..8 + 12 + method.len()], bytes].concat()
    };
    let mut zeros = ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let part = part_of("output", &[], &[]);
    zeros.write_all(&[&part[..], &(1_u32 << 30).to_be_bytes()].concat()).expect("memory");
    for _ in 0..112 {
        zeros.write_all(&[0; 1 << 20]).expect("memory");
    }
    let zeros = zeros.finish().expect("memory");
    let frame = |bytes: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd], bytes].concat();
    vec![
        ("B8", packed("GZ", &zeros), "the bundle unpacks to more than 256 times its size"),
        ("B8", packed("XX", b""), "ERROR:UNSUPPORTEDCONTENT"),
        ("B8", packed("GZ", b"no zlib"), "corrupt deflate stream, in the bundle."),
        ("B8", packed("BZ", b"h9no bzip2"), "bz2 header missing, in the bundle."),
        // A window of 2 GiB; a dictionary; a frame to be passed over, and nothing behind it.
        ("B9", packed("ZS", &frame(&[0x00, 0xa8, 0x01, 0, 0])), "Frame requires too much memory"),
        ("B9", packed("ZS", &frame(&[0x01, 0x08, 0x07, 0x01, 0, 0])), "Dictionary mismatch"),
        ("B9", packed("ZS", &[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7]), "stream ended unexpectedly"),
    ]
}

/// B10 to B18, B22: what a changegroup holds.
fn contents() -> Vec<Row> {
    let each = |words: &'static str, row: &'static str, change: fn(&mut IncomingRevision)| -> Vec<Row> {
        let in_changelog = forged(|push| change(&mut push.changesets[0]));
        let in_manifest = forged(|push| change(&mut push.manifests[0]));
        let in_file = forged(|push| change(&mut push.files[0].1[0]));
        vec![(row, in_changelog, words), (row, in_manifest, words), (row, in_file, words)]
    };
    let mut rows = vec![
        ("B10", forged(|push| push.changesets[0].p1 = push.changesets[0].node), "unknown parent"),
        ("B10", forged(|push| push.changesets[0].node = Node::NULL), "refused: "),
        ("B10", forged(|push| push.manifests[0].link = NOWHERE), "unknown changeset 0909"),
        ("B10", forged(|push| push.files.clear()), "is missing, file "),
        ("B12", forged(|push| push.files[0].1[0].delta = hunk(0, 1 << 31, b"x")), "hunk that ends past its base"),
        ("B14", written(|push| push.edit_manifest = Some(|text| [&text[..], &text].concat())), "out of order"),
        (
            "B14",
            written(|push| push.edit_manifest = Some(|text| text[..text.len() - 1].to_vec())),
            "no newline at the end",
        ),
        ("B14", written(|push| push.edit_manifest = Some(|text| replaced(text, "x\n", "z\n"))), "unknown flag"),
        (
            "B14",
            written(|push| push.edit_manifest = Some(|text| [b"\0", &[b'1'; 40][..], b"\n", &text].concat())),
            "empty name",
        ),
        ("B15", written(|push| push.edit_changeset = Some(|text| text[..30].to_vec())), "refused: "),
        (
            "B15",
            written(|push| push.edit_changeset = Some(|text| replaced(text, "1700000000 0", "-9223372036854775809 0"))),
            "refused: ",
        ),
        (
            "B15",
            written(|push| push.edit_changeset = Some(|text| replaced(text, "1700000000 0", "1 0 extra"))),
            "refused: ",
        ),
        ("B16", content(b"\x01\ncopy: a\nnever closed\n"), "malformed metadata: without an end, file new revision "),
        (
            "B16",
            content(b"\x01\ncopy: a\ncopyrev: xyz\n\x01\n"),
            "malformed metadata: copyrev that is no hash, file new revision ",
        ),
        ("B17", flagged(0x8000), "revision flags 0x8000 are not supported"),
        ("B17", flagged(0x4000), "revision flags 0x4000 are not supported"),
        ("B17", flagged(0x2000), "points to an LFS object, and this repository takes none"),
        ("B17", flagged(0x0001), "revision flags 0x0001 are not supported"),
        ("B18", bundle(&[part("CHANGEGROUP", &[("VERSION", "04")], b"")]), "changegroup version 04 is not supported"),
        (
            "B18",
            bundle(&[part("CHANGEGROUP", &[("VERSION", "02"), ("TREEMANIFEST", "1")], b"")]),
            "refused: bundle contains tree manifests, but the repository does not use tree manifests, in the changegroup.",
        ),
        ("B22", named("x".repeat(70_000).as_bytes()), "refused: "),
        ("B22", named(["d"; 500].join("/").as_bytes()), "refused: "),
        ("B22", named(b"a\nb"), "refused: "),
        ("B22", named(b"../x"), "refused: "),
        ("N1", named(b".hg/hgrc"), "refused: "),
        ("N3", named(b"a/below-a-file"), "refused: "),
    ];
    rows.extend(each("unknown parent 0909", "B10", |revision| revision.p2 = NOWHERE));
    rows.extend(each("text does not match its hash", "B10", |revision| revision.p2 = revision.p1));
    rows.extend(each("unknown delta base 0909", "B11", |revision| revision.base = NOWHERE));
    rows.extend(each("unknown delta base", "B11", |revision| revision.base = revision.node));
    rows.extend(each("hunks out of order", "B12", |revision| revision.delta = hunk(1, 0, b"x")));
    rows.extend(each("ends within a hunk", "B12", |revision| revision.delta.truncate(11)));
    rows.extend(each("ends within a hunk", "B13", |revision| {
        revision.delta[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    }));
    rows
}

/// B19 to B21: phases, markers, bookmarks.
fn small_parts(head: &str) -> Vec<Row> {
    let node = *Node::from_hex(head.as_bytes()).expect("a node").as_bytes();
    let phase =
        |number: u32, node: [u8; 20]| bundle(&[part("phase-heads", &[], &[&number.to_be_bytes()[..], &node].concat())]);
    let bookmark = |node: [u8; 20], length: u16, name: &[u8]| {
        bundle(&[part("bookmarks", &[], &[&node[..], &length.to_be_bytes(), name].concat())])
    };
    let markers = |bytes: &[u8]| bundle(&[part("OBSMARKERS", &[], bytes)]);
    vec![
        ("B19", phase(0, [9; 20]), "refused: unknown revision '0909"),
        ("B19", phase(99, node), "refused: unknown phase 99, in the bundle."),
        ("B19", phase(1 << 31, node), "refused: unknown phase 2147483648, in the bundle."),
        ("B19", bundle(&[part("phase-heads", &[], &[0; 25])]), "refused: bad phase-heads stream, in the bundle."),
        ("B20", markers(b"\x09"), "refused: "),
        ("B20", markers(b"\x01\0\0\0\xff\0"), "refused: "),
        ("B20", markers(&[&b"\x01\xff\xff\xff\xff"[..], &[0; 40]].concat()), "refused: "),
        ("B21", bookmark(node, 500, b"short"), "refused: bad bookmark stream, in the bundle."),
        ("B21", bookmark([9; 20], 1, b"x"), "refused: unknown revision 0909"),
        ("B21", bookmark(node, 3, b"a\nb"), "refused: name with control characters, bookmark a\\nb."),
        ("B21", bundle(&[part("bookmarks", &[], &[0; 21])]), "refused: bad bookmark stream, in the bundle."),
        (
            "B21",
            bundle(&[part("PUSHKEY", &[("NAMESPACE", "bookmarks"), ("KEY", "x")], b"")]),
            "refused: no old, in a part pushkey.",
        ),
    ]
}

/// A good push: long metadata is content (B16); what comes twice is taken once, as stock does (B10).
fn good(number: usize) -> Vec<u8> {
    let content = [&b"\x01\ncopy: a\nlater: "[..], &[b'x'; 50_000], b"\n\x01\ntext\n"].concat();
    let mut history = after(|history| {
        history.commit(&[(format!("good-{number}").as_bytes(), &content, "")]);
    });
    history.changesets.push(history.changesets[0].clone());
    bundle(&[changegroup(history.pieces())])
}

/// Markers that hide nothing: what is replaced by what replaced it, and a public changeset that is none any more (B20).
fn harmless_markers(head: &str) -> Vec<u8> {
    let marker = |predecessor: Node, successors: &[Node]| Marker {
        predecessor,
        successors: successors.to_vec(),
        flags: 0,
        metadata: Vec::new(),
        time: 0.0,
        offset: 0,
        parents: None,
    };
    let [a, b] = [1, 2].map(|byte| Node::new([byte; 20]));
    let head = Node::from_hex(head.as_bytes()).expect("a node");
    let mut bytes = vec![1];
    for marker in [marker(a, &[b]), marker(b, &[a]), marker(head, &[])] {
        marker.encode_v1(&mut bytes).expect("it fits");
    }
    bundle(&[part("OBSMARKERS", &[], &bytes)])
}

pub fn check(target: &Target<'_>, name: &str) {
    let head = target.start(name, &bundle(&[changegroup(old().pieces())]));
    target.two.fleet.hgfleet(&["repo", "config", name, "--set", "experimental.evolution=all"]).ok();
    let beacon = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    beacon.set_nonblocking(true).expect("set");
    let url = format!("http://127.0.0.1:{}/", beacon.local_addr().expect("bound").port());
    let rows: Vec<Row> = [forms(&url), packed(), contents(), small_parts(&head)].concat();
    let cut = forged(|_| {});
    for (number, (door, clients)) in target.two.doors().iter().enumerate() {
        let before = target.state(name);
        let mut client = WireClient::begin(clients, "id_ed25519", name);
        for (row, bytes, expected) in &rows {
            let said = client.push(&format!("{door} {row}"), bytes, expected);
            assert!(said.len() < 2_000, "{door} {row}: {said}");
            target.assert_untouched(name, &before, &format!("{door} {row} {expected}"));
        }
        // B1: at each byte of the start and of the end; at the second door at some.
        let step = if number == 0 { 1 } else { 23 };
        for length in (1..cut.len()).filter(|length| *length < 200 || *length > cut.len() - 20).step_by(step) {
            client.push(&format!("{door} cut after {length} bytes"), &cut[..length], "stream ended unexpectedly");
        }
        target.assert_untouched(name, &before, &format!("{door} cut"));
        assert_eq!(client.end().status, 0, "{door}");
        target.assert_log_untouched(&before);
        let mut client = WireClient::begin(clients, "id_ed25519", name);
        client.push(&format!("{door}: a good push"), &good(number), "stored as");
    }
    let mut client = WireClient::begin(&target.two.doors()[1].1, "id_ed25519", name);
    client.push("markers", &harmless_markers(&head), "stored as");
    let known = format!("known\nnodes 40\n{head}* 0\n");
    client.ask("a public changeset stays", known.as_bytes(), "1\n1");
    assert!(beacon.accept().is_err(), "a server asked where a client told it to");
    target.two.fleet.assert_one_store(name);
}
