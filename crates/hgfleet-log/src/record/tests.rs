//! Round trips, damage, and the bytes themselves.

use proptest::prelude::*;

use super::*;
use crate::log::Draft;

const LOG: LogId = LogId::from_bytes([0x11; 16]);

fn seal(body: Body) -> Record {
    let draft = Draft {
        id: RecordId::from_bytes([0x22; 16]),
        epoch: Epoch::new(3).expect("epoch"),
        expected: Sequence::new(41),
        previous: ChainHash::from_bytes([0x33; 32]),
        time_ms: 1_764_000_000_123,
        body,
    };
    draft.seal(LOG).expect("record")
}

fn store() -> StoreRecord {
    StoreRecord {
        repository: RepositoryName::parse("team/first").expect("name"),
        kind: StoreKind::Alter,
        before: Some([0x44; 32]),
        after: Some([0x55; 32]),
        who: "person@example.com".to_owned(),
        source: "ssh:192.0.2.7".to_owned(),
        summary: b"what moved".to_vec(),
        change: ChangePayload { bytes: 1234, digest: [0x66; 32] },
    }
}

fn name(name: &str) -> RepositoryName {
    RepositoryName::parse(name).expect("name")
}

fn renamed(from: RepositoryName) -> StoreRecord {
    StoreRecord { kind: StoreKind::Rename { from }, after: store().before, change: ChangePayload::of(&[]), ..store() }
}

fn samples() -> Vec<Record> {
    let (deleted, none) = (Sequence::new(41).expect("sequence"), ChangePayload::of(&[]));
    let create = StoreRecord { kind: StoreKind::Create, before: None, ..store() };
    let delete = StoreRecord { kind: StoreKind::Delete, after: None, summary: Vec::new(), ..store() };
    let unknown_before = StoreRecord { before: None, ..delete.clone() };
    vec![
        seal(Body::Epoch { holder: "master".to_owned() }),
        seal(Body::Empty),
        seal(Body::Store(store())),
        seal(Body::Store(create)),
        seal(Body::Store(delete)),
        seal(Body::Store(unknown_before)),
        seal(Body::Store(renamed(name("team/second")))),
        seal(Body::Store(StoreRecord { kind: StoreKind::Restore { deleted }, before: None, change: none, ..store() })),
        seal(Body::Store(StoreRecord { kind: StoreKind::Rewrite, ..store() })),
        seal(Body::Purge { deleted }),
    ]
}

#[test]
fn records_read_what_they_wrote() {
    for record in samples() {
        let bytes = record.encode().expect("encoded");
        let read = Record::decode(&bytes).expect("decoded");
        assert_eq!(read, record);
        assert_eq!(read.encode().expect("encoded"), bytes);
        assert_eq!(read.chain_hash().as_bytes(), &bytes[bytes.len() - 32..]);
        assert_eq!(read.chain_hash().as_bytes(), blake3::hash(&bytes[..bytes.len() - 32]).as_bytes());
    }
}

#[test]
fn every_bit_that_flips_is_noticed() {
    for record in samples() {
        let bytes = record.encode().expect("encoded");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_cut_and_every_byte_too_many_is_noticed() {
    for record in samples() {
        let bytes = record.encode().expect("encoded");
        for cut in 0..bytes.len() {
            let error = Record::decode(&bytes[..cut]).expect_err("cut");
            assert!(matches!(error, RecordError::Short { have, .. } if have == cut), "cut at {cut}: {error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Record::decode(&longer), Err(RecordError::Trailing(1)));
    }
}

/// Makes the digest right again after a change, as a forger or a newer version would.
fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    bytes.truncate(bytes.len() - 32);
    change(&mut bytes);
    let length = (bytes.len() + 32) as u32;
    bytes[12..16].copy_from_slice(&length.to_be_bytes());
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

fn forged(record: &Record, change: impl FnOnce(&mut Vec<u8>)) -> Result<Record, RecordError> {
    Record::decode(&resealed(record.encode().expect("encoded"), change))
}

#[test]
fn unknown_versions_and_kinds_are_named_and_never_guessed() {
    for record in samples() {
        assert_eq!(forged(&record, |bytes| bytes[9] = 2), Err(RecordError::Version(2)));
        assert_eq!(forged(&record, |bytes| bytes[8] = 1), Err(RecordError::Version(257)));
        assert_eq!(forged(&record, |bytes| bytes[11] = 6), Err(RecordError::Kind(6)));
        assert_eq!(forged(&record, |bytes| bytes[11] = 0), Err(RecordError::Kind(0)));
        assert_eq!(forged(&record, |bytes| bytes[0] = b'H'), Err(RecordError::Magic));
    }
}

#[test]
fn values_that_no_writer_writes_are_refused_though_the_digest_is_right() {
    let record = seal(Body::Store(store()));
    let body = 104;
    let repository = body + 108;
    type Forge = Box<dyn FnOnce(&mut Vec<u8>)>;
    let refused: Vec<(&str, Forge)> = vec![
        ("sequence 0", Box::new(|bytes| bytes[32..40].fill(0))),
        ("sequence 2^64-1", Box::new(|bytes| bytes[32..40].fill(0xff))),
        ("epoch 0", Box::new(|bytes| bytes[40..48].fill(0))),
        ("kind of change", Box::new(move |bytes| bytes[body] = 9)),
        ("unknown flag", Box::new(move |bytes| bytes[body + 1] |= 4)),
        ("reserved", Box::new(move |bytes| bytes[body + 3] = 1)),
        (
            "alter without digest before",
            Box::new(move |bytes| {
                bytes[body + 1] = 2;
                bytes[body + 4..body + 36].fill(0);
            }),
        ),
        (
            "absent digest that is not zero",
            Box::new(move |bytes| {
                bytes[body] = 1;
                bytes[body + 1] = 2;
            }),
        ),
        ("change longer than allowed", Box::new(move |bytes| bytes[body + 68] = 0xff)),
        ("repository's length beyond the end", Box::new(move |bytes| bytes[repository] = 1)),
        (
            "repository ../x",
            Box::new(move |bytes| bytes[repository + 2..repository + 12].copy_from_slice(b"../../abcd")),
        ),
        ("repository with a slash at its end", Box::new(move |bytes| bytes[repository + 11] = b'/')),
        ("control character", Box::new(move |bytes| bytes[repository + 14] = 0x1b)),
        ("not UTF-8", Box::new(move |bytes| bytes[repository + 14] = 0xff)),
        ("a byte too many in the body", Box::new(|bytes| bytes.push(0))),
        (
            "summary's length beyond the end",
            Box::new(|bytes| {
                let at = bytes.len() - 14;
                bytes[at..at + 4].copy_from_slice(&1_000_000u32.to_be_bytes());
            }),
        ),
        (
            "summary longer than allowed",
            Box::new(|bytes| {
                let at = bytes.len() - 14;
                bytes[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
            }),
        ),
    ];
    for (what, change) in refused {
        assert!(forged(&record, change).is_err(), "{what}");
    }
    let epoch = seal(Body::Epoch { holder: "master".to_owned() });
    assert!(forged(&epoch, |bytes| bytes[105] = 0xff).is_err(), "holder's length");
    assert!(forged(&seal(Body::Empty), |bytes| bytes.push(0)).is_err(), "an empty record has no body");
}

#[test]
fn lengths_are_bounded_when_a_record_is_made() {
    let too_large = |store: StoreRecord| {
        let draft = Draft::following(None, Epoch::FIRST, RecordId::from_bytes([1; 16]), 0, Body::Store(store));
        assert!(matches!(draft.seal(LOG), Err(RecordError::TooLarge { .. })));
    };
    too_large(StoreRecord { who: "x".repeat(limits::WHO_BYTES_MAX + 1), ..store() });
    too_large(StoreRecord { source: "x".repeat(limits::SOURCE_BYTES_MAX + 1), ..store() });
    too_large(StoreRecord { summary: vec![0; limits::SUMMARY_BYTES_MAX + 1], ..store() });
    too_large(StoreRecord {
        change: ChangePayload { bytes: limits::CHANGE_BYTES_MAX + 1, digest: [0; 32] },
        ..store()
    });
    let largest = StoreRecord { summary: vec![0; limits::SUMMARY_BYTES_MAX], ..store() };
    assert!(seal(Body::Store(largest)).encode().expect("encoded").len() <= limits::RECORD_BYTES_MAX);
    let beyond = vec![0; limits::RECORD_BYTES_MAX + 1];
    assert!(matches!(Record::decode(&beyond), Err(RecordError::TooLarge { .. })));
}

/// The bytes of one record, so that the format can't change unnoticed. `docs/formats/record.md` explains them.
#[test]
fn the_bytes_are_those_of_the_documentation() {
    let bytes = seal(Body::Store(store())).encode().expect("encoded");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let fields = [
        "6867666c74726563",                         // magic
        "0001",                                     // version
        "0003",                                     // kind
        "00000131",                                 // length
        "11111111111111111111111111111111",         // log
        "000000000000002a",                         // sequence
        "0000000000000003",                         // epoch
        &"33".repeat(32),                           // previous
        "22222222222222222222222222222222",         // id
        "0000019ab697e87b",                         // time
        "02",                                       // kind of change
        "03",                                       // flags
        "0000",                                     // reserved
        &"44".repeat(32),                           // digest before
        &"55".repeat(32),                           // digest after
        "00000000000004d2",                         // change's length
        &"66".repeat(32),                           // change's digest
        "000a7465616d2f6669727374",                 // repository
        "0012706572736f6e406578616d706c652e636f6d", // who
        "000d7373683a3139322e302e322e37",           // source
        "0000000a77686174206d6f766564",             // summary
    ];
    let (covered, digest) = hex.split_at(hex.len() - 64);
    assert_eq!(covered, fields.concat());
    assert_eq!(digest, blake3::hash(&bytes[..bytes.len() - 32]).to_hex().as_str());
}

fn text(max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::char::range(' ', '\u{2000}'), 0..max / 4)
        .prop_map(|chars| chars.into_iter().filter(|char| !char.is_control()).collect())
}

fn body() -> impl Strategy<Value = Body> {
    let name = "[a-z0-9][a-zA-Z0-9_-]{0,20}(/[a-z0-9][a-zA-Z0-9_-]{0,20}){0,3}";
    let name = name.prop_filter_map("a name", |name| RepositoryName::parse(name).ok());
    let kind = prop_oneof![Just(StoreKind::Create), Just(StoreKind::Alter), Just(StoreKind::Delete)];
    let digests = (any::<[u8; 32]>(), any::<[u8; 32]>());
    let change =
        (0..=limits::CHANGE_BYTES_MAX, any::<[u8; 32]>()).prop_map(|(bytes, digest)| ChangePayload { bytes, digest });
    let summary = prop::collection::vec(any::<u8>(), 0..2000);
    let store = (name, kind, digests, text(limits::WHO_BYTES_MAX), text(limits::SOURCE_BYTES_MAX), summary, change)
        .prop_map(|(repository, kind, digests, who, source, summary, change)| {
            let before = (kind != StoreKind::Create).then_some(digests.0);
            let after = (kind != StoreKind::Delete).then_some(digests.1);
            Body::Store(StoreRecord { repository, kind, before, after, who, source, summary, change })
        });
    prop_oneof![
        1 => text(limits::HOLDER_BYTES_MAX).prop_map(|holder| Body::Epoch { holder }),
        1 => Just(Body::Empty),
        4 => store,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_reads_what_it_wrote(
        body in body(),
        log: [u8; 16], id: [u8; 16], previous: [u8; 32], time_ms: u64,
        expected in prop::option::of(1..i64::MAX as u64), epoch in 1..=i64::MAX as u64,
    ) {
        let draft = Draft {
            id: RecordId::from_bytes(id),
            epoch: Epoch::new(epoch).expect("epoch"),
            expected: expected.and_then(Sequence::new),
            previous: ChainHash::from_bytes(previous),
            time_ms,
            body,
        };
        let record = draft.seal(LogId::from_bytes(log)).expect("record");
        let bytes = record.encode().expect("encoded");
        prop_assert_eq!(Record::decode(&bytes).expect("decoded"), record);
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Record::decode(&bytes);
        let mut body = seal(Body::Empty).encode().expect("encoded");
        body.truncate(body.len() - 32);
        body[11] = 3;
        body.extend_from_slice(&bytes);
        body.extend_from_slice(&[0; 32]);
        let _ = Record::decode(&resealed(body, |_| ()));
    }
}

#[test]
fn what_a_move_may_not_say_is_refused_both_ways() {
    let draft = |body| Draft {
        id: RecordId::from_bytes([0x22; 16]),
        epoch: Epoch::FIRST,
        expected: Sequence::new(41),
        previous: ChainHash::NONE,
        time_ms: 0,
        body,
    };
    let itself = Sequence::new(42).expect("sequence");
    let bodies = [
        Body::Store(renamed(name("team/first"))),
        Body::Store(StoreRecord { after: Some([0; 32]), ..renamed(name("a")) }),
        Body::Store(StoreRecord { change: store().change, ..renamed(name("a")) }),
        Body::Purge { deleted: itself },
    ];
    for body in bodies {
        assert!(draft(body.clone()).seal(LOG).is_err(), "{body:?}");
    }
    let renamed = seal(Body::Store(renamed(name("team/second"))));
    // The same bytes in the place of what has no such name, and of another move.
    assert!(forged(&renamed, |bytes| bytes[11] = 3).is_err());
    assert!(forged(&renamed, |bytes| bytes[104] = 3).is_err());
    assert!(forged(&renamed, |bytes| bytes[104] = 4).is_err());
    let purge = seal(Body::Purge { deleted: Sequence::FIRST });
    assert!(forged(&purge, |bytes| bytes[111] = 42).is_err());
    assert!(forged(&purge, |bytes| bytes[111] = 0).is_err());
}
