use super::*;
use proptest::prelude::*;
use std::io::Write;

/// A part to be written by the tests' own encoder: type, id, parameters, payload's chunks.
#[derive(Debug, Clone)]
struct Plain {
    kind: String,
    id: u32,
    parameters: Vec<PartParameter>,
    chunks: Vec<Vec<u8>>,
}

fn encode_part(part: &Plain) -> Vec<u8> {
    let mut header = vec![part.kind.len() as u8];
    header.extend(part.kind.as_bytes());
    header.extend(part.id.to_be_bytes());
    let mandatory = part.parameters.iter().filter(|parameter| parameter.mandatory).count();
    header.extend([mandatory as u8, (part.parameters.len() - mandatory) as u8]);
    for parameter in &part.parameters {
        header.extend([parameter.key.len() as u8, parameter.value.len() as u8]);
    }
    for parameter in &part.parameters {
        header.extend(&parameter.key);
        header.extend(&parameter.value);
    }
    let mut out = (header.len() as u32).to_be_bytes().to_vec();
    out.extend(header);
    for chunk in &part.chunks {
        out.extend((chunk.len() as u32).to_be_bytes());
        out.extend(chunk);
    }
    out.extend([0; 4]);
    out
}

fn encode(stream_parameters: &str, parts: &[Plain]) -> Vec<u8> {
    let mut rest: Vec<u8> = parts.iter().flat_map(encode_part).collect();
    rest.extend([0; 4]);
    if stream_parameters.ends_with("=GZ") {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        rest = encoder.write_all(&rest).and_then(|()| encoder.finish()).expect("packs");
    } else if stream_parameters.ends_with("=ZS") {
        rest = zstd::stream::encode_all(rest.as_slice(), 1).expect("packs");
    }
    let mut out = MAGIC.to_vec();
    out.extend((stream_parameters.len() as u32).to_be_bytes());
    out.extend(stream_parameters.as_bytes());
    out.extend(rest);
    out
}

/// Reads all of it: each part's header and payload.
fn decode(bytes: &[u8]) -> Result<Vec<(PartHeader, Vec<u8>)>, BundleError> {
    let mut reader = Bundle2Reader::open(bytes, BundleLimits::default())?;
    let mut parts = Vec::new();
    while let Some(mut part) = reader.next_part()? {
        let payload = part.read_all(1 << 20)?;
        parts.push((part.header.clone(), payload));
    }
    Ok(parts)
}

fn parameters() -> impl Strategy<Value = Vec<PartParameter>> {
    prop::collection::btree_map("[a-z]{1,8}", (prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..4)
        .prop_map(|map| {
            let mut parameters: Vec<PartParameter> = map
                .into_iter()
                .map(|(key, (value, mandatory))| PartParameter { key: key.into_bytes(), value, mandatory })
                .collect();
            parameters.sort_by_key(|parameter| !parameter.mandatory);
            parameters
        })
}

prop_compose! {
    fn plain()(kind in "[a-zA-Z0-9:_-]{1,20}", id in any::<u32>(), parameters in parameters(),
               chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..4)) -> Plain {
        Plain { kind, id, parameters, chunks }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(mut parts in prop::collection::vec(plain(), 0..4), packed in prop::sample::select(vec!["", "Compression=GZ", "Compression=ZS", "x=1 Compression=UN"])) {
        parts.dedup_by_key(|part| part.id);
        let read = decode(&encode(packed, &parts)).expect("reads");
        prop_assert_eq!(read.len(), parts.len());
        for (part, (header, payload)) in parts.iter().zip(read) {
            prop_assert_eq!(&part.parameters, &header.parameters);
            prop_assert_eq!(part.id, header.id);
            prop_assert_eq!(part.kind.as_bytes(), header.kind.as_slice());
            prop_assert_eq!(part.chunks.concat(), payload);
        }
    }

    #[test]
    fn cut_anywhere_it_is_an_error(parts in prop::collection::vec(plain(), 0..3), packed in prop::sample::select(vec!["", "Compression=GZ"])) {
        let whole = encode(packed, &parts);
        let enough = if packed.is_empty() { whole.len() } else { whole.len() - 6 };
        for length in 0..enough {
            prop_assert!(decode(&whole[..length]).is_err(), "cut at {}", length);
        }
    }

    #[test]
    fn flipped_bytes_never_panic(parts in prop::collection::vec(plain(), 1..3), place in any::<prop::sample::Index>(), with in 1..=255u8,
                                 packed in prop::sample::select(vec!["", "Compression=GZ", "Compression=ZS"])) {
        let mut bytes = encode(packed, &parts);
        let place = place.index(bytes.len());
        bytes[place] ^= with;
        let _ = decode(&bytes);
    }
}

fn one(kind: &str, chunks: &[&[u8]]) -> Plain {
    Plain { kind: kind.into(), id: 0, parameters: vec![], chunks: chunks.iter().map(|chunk| chunk.to_vec()).collect() }
}

/// A stream whose one part has `inside` between the chunks `ab` and `cd`.
fn interrupted(inside: &[u8]) -> Vec<u8> {
    let mut bytes = encode("", &[one("CHANGEGROUP", &[b"ab", b"cd"])]);
    let place = bytes.len() - 4 - 4 - 6;
    bytes.splice(place..place, [&[0xff; 4], inside].concat());
    bytes
}

#[test]
fn a_payload_goes_on_after_an_interruption() {
    let read = decode(&interrupted(&encode_part(&one("output", &[b"words"])))).expect("reads");
    assert_eq!(read[0].1, b"abcd");
    let read = decode(&interrupted(&[0; 4])).expect("an interruption without a part is nothing");
    assert_eq!(read[0].1, b"abcd");
}

#[test]
fn a_sender_that_gives_up_is_quoted() {
    let mut part = one("error:abort", &[]);
    part.parameters.push(PartParameter { key: b"message".to_vec(), value: b"disk on fire".to_vec(), mandatory: true });
    match decode(&interrupted(&encode_part(&part))) {
        Err(BundleError::SenderGaveUp { message, hint: None }) => assert_eq!(message, "disk on fire"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn interruptions_have_a_depth_of_one_and_must_be_known() {
    let inner = encode_part(&one("output", &[]));
    let mut nested = encode_part(&one("output", &[]));
    let end = nested.len() - 4;
    nested.splice(end..end, [&[0xff; 4], inner.as_slice()].concat());
    assert!(matches!(decode(&interrupted(&nested)), Err(BundleError::Malformed(_))));
    assert!(matches!(
        decode(&interrupted(&encode_part(&one("SOMETHING", &[])))),
        Err(BundleError::UnknownInterruption(_))
    ));
}

#[test]
fn sizes_are_refused_before_anything_is_allocated() {
    for (size, expected) in [(0x7fff_ffff_u32, "too large"), (0xffff_fff0, "negative bundle param size")] {
        let bytes = [MAGIC.as_slice(), &size.to_be_bytes()].concat();
        let error = decode(&bytes).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (size, expected) in [(0x7fff_ffff_u32, "too large"), (0xffff_fff0, "negative part header size")] {
        let bytes = [MAGIC.as_slice(), &[0; 4], &size.to_be_bytes()].concat();
        let error = decode(&bytes).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut bytes = encode("", &[one("output", &[b"ab"])]);
    let place = bytes.len() - 4 - 4 - 6;
    bytes[place..place + 4].copy_from_slice(&(-2i32).to_be_bytes());
    assert!(decode(&bytes).expect_err("refused").to_string().contains("negative payload chunk size: -2"));
}

#[test]
fn too_many_parts_and_too_long_payloads_are_refused() {
    let parts: Vec<Plain> = (0..20).map(|id| Plain { id, ..one("output", &[]) }).collect();
    let limits = BundleLimits { parts_max: 10, ..BundleLimits::default() };
    let bytes = encode("", &parts);
    let mut reader = Bundle2Reader::open(bytes.as_slice(), limits).expect("opens");
    let refused = loop {
        match reader.next_part() {
            Ok(part) => assert!(part.is_some(), "the stream ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, BundleError::Limit(_)));

    let bytes = encode("", &[one("bookmarks", &[&[7; 100]])]);
    let mut reader = Bundle2Reader::open(bytes.as_slice(), BundleLimits::default()).expect("opens");
    let mut part = reader.next_part().expect("reads").expect("a part");
    assert!(matches!(part.read_all(99), Err(BundleError::Limit(_))));
}

#[test]
fn stream_parameters_are_ignored_or_refused_by_their_first_letter() {
    assert!(decode(&encode("later=yes", &[])).is_ok());
    assert!(
        matches!(decode(&encode("Later=yes", &[])), Err(BundleError::UnknownStreamParameter(name)) if name == "Later")
    );
    assert!(matches!(decode(&encode("Compression=XX", &[])), Err(BundleError::UnknownStreamParameter(_))));
    assert!(matches!(decode(&encode("9=yes", &[])), Err(BundleError::Malformed(_))));
    assert!(matches!(decode(&encode(" ", &[])), Err(BundleError::Malformed(_))));
}

#[test]
fn a_part_dropped_early_is_read_past() {
    let second = Plain { id: 1, ..one("second", &[b"x"]) };
    let bytes = encode("", &[one("first", &[&[1; 50_000]]), second]);
    let mut reader = Bundle2Reader::open(bytes.as_slice(), BundleLimits::default()).expect("opens");
    let mut part = reader.next_part().expect("reads").expect("a part");
    let mut few = [0; 3];
    part.read_exact(&mut few).expect("reads");
    let mut part = reader.next_part().expect("reads").expect("a part");
    assert_eq!(part.header.name(), "second");
    assert_eq!(part.read_all(10).expect("reads"), b"x");
    assert!(reader.next_part().expect("reads").is_none());
    assert!(reader.next_part().expect("reads").is_none());
}

#[test]
fn two_parts_have_two_ids() {
    let error = decode(&encode("", &[one("first", &[]), one("second", &[])])).expect_err("refused");
    assert_eq!(error.to_string(), "malformed bundle: two parts have the id 0");
}
