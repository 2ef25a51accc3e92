use super::*;
use proptest::prelude::*;

/// A changegroup to be written by the tests' own encoder.
#[derive(Debug, Clone)]
struct Plain {
    changelog: Vec<IncomingRevision>,
    manifest: Vec<IncomingRevision>,
    /// Written in version 03 alone.
    trees: Vec<(Vec<u8>, Vec<IncomingRevision>)>,
    files: Vec<(Vec<u8>, Vec<IncomingRevision>)>,
}

fn encode_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32 + 4).to_be_bytes());
    out.extend(bytes);
}

fn encode_group(out: &mut Vec<u8>, version: ChangegroupVersion, revisions: &[IncomingRevision]) {
    for revision in revisions {
        let mut chunk = Vec::new();
        for node in [revision.node, revision.p1, revision.p2] {
            chunk.extend(node.as_bytes());
        }
        if version != ChangegroupVersion::V1 {
            chunk.extend(revision.base.as_bytes());
        }
        chunk.extend(revision.link.as_bytes());
        if version == ChangegroupVersion::V3 {
            chunk.extend(revision.flags.to_be_bytes());
        }
        chunk.extend(&revision.delta);
        encode_chunk(out, &chunk);
    }
    out.extend([0; 4]);
}

fn encode(version: ChangegroupVersion, plain: &Plain) -> Vec<u8> {
    let mut out = Vec::new();
    encode_group(&mut out, version, &plain.changelog);
    encode_group(&mut out, version, &plain.manifest);
    if version == ChangegroupVersion::V3 {
        for (folder, revisions) in &plain.trees {
            encode_chunk(&mut out, folder);
            encode_group(&mut out, version, revisions);
        }
        out.extend([0; 4]);
    }
    for (path, revisions) in &plain.files {
        encode_chunk(&mut out, path);
        encode_group(&mut out, version, revisions);
    }
    out.extend([0; 4]);
    out
}

fn decode(version: ChangegroupVersion, bytes: &[u8]) -> Result<Vec<Incoming>, IncomingError> {
    let mut reader = ChangegroupReader::new(bytes, version, ChangegroupLimits::default());
    let mut pieces = Vec::new();
    loop {
        let piece = reader.next()?;
        let end = piece == Incoming::End;
        pieces.push(piece);
        if end {
            return Ok(pieces);
        }
    }
}

/// What the reader should give for `plain`: what a version can't say is filled in as the version defines it.
fn expected(version: ChangegroupVersion, plain: &Plain) -> Vec<Incoming> {
    let group = |revisions: &[IncomingRevision]| {
        let mut previous = None;
        let mut pieces = Vec::new();
        for revision in revisions {
            let mut revision = revision.clone();
            if version == ChangegroupVersion::V1 {
                revision.base = previous.unwrap_or(revision.p1);
            }
            if version != ChangegroupVersion::V3 {
                revision.flags = 0;
            }
            previous = Some(revision.node);
            pieces.push(Incoming::Revision(revision));
        }
        pieces.push(Incoming::EndOfGroup);
        pieces
    };
    let mut pieces = vec![Incoming::Changelog];
    pieces.extend(group(&plain.changelog));
    pieces.push(Incoming::Manifest);
    pieces.extend(group(&plain.manifest));
    for (folder, revisions) in plain.trees.iter().filter(|_| version == ChangegroupVersion::V3) {
        pieces.push(Incoming::Tree(folder.clone()));
        pieces.extend(group(revisions));
    }
    for (path, revisions) in &plain.files {
        pieces.push(Incoming::File(path.clone()));
        pieces.extend(group(revisions));
    }
    pieces.push(Incoming::End);
    pieces
}

const VERSIONS: [ChangegroupVersion; 3] = [ChangegroupVersion::V1, ChangegroupVersion::V2, ChangegroupVersion::V3];

prop_compose! {
    fn node()(bytes in any::<[u8; 20]>()) -> Node { Node::new(bytes) }
}
prop_compose! {
    fn revision()(node in node(), p1 in node(), p2 in node(), link in node(), base in node(), flags in any::<u16>(),
                  delta in prop::collection::vec(any::<u8>(), 0..30)) -> IncomingRevision {
        IncomingRevision { node, p1, p2, link, base, flags, delta }
    }
}
prop_compose! {
    fn group()(path in prop::collection::vec(any::<u8>(), 1..20), revisions in prop::collection::vec(revision(), 0..3))
        -> (Vec<u8>, Vec<IncomingRevision>) {
        (path, revisions)
    }
}
prop_compose! {
    fn plain()(changelog in prop::collection::vec(revision(), 0..3), manifest in prop::collection::vec(revision(), 0..3),
               trees in prop::collection::vec(group(), 0..3), files in prop::collection::vec(group(), 0..3)) -> Plain {
        Plain { changelog, manifest, trees, files }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(plain in plain()) {
        for version in VERSIONS {
            prop_assert_eq!(decode(version, &encode(version, &plain)).expect("reads"), expected(version, &plain));
        }
    }

    #[test]
    fn cut_anywhere_it_is_an_error(plain in plain()) {
        for version in VERSIONS {
            let whole = encode(version, &plain);
            for length in 0..whole.len() {
                prop_assert!(decode(version, &whole[..length]).is_err());
            }
        }
    }

    #[test]
    fn flipped_bytes_never_panic(plain in plain(), place in any::<prop::sample::Index>(), with in 1..=255u8) {
        for version in VERSIONS {
            let mut bytes = encode(version, &plain);
            let place = place.index(bytes.len());
            bytes[place] ^= with;
            let _ = decode(version, &bytes);
        }
    }
}

fn refusal(version: ChangegroupVersion, bytes: &[u8]) -> String {
    decode(version, bytes).expect_err("refused").to_string()
}

#[test]
fn chunk_lengths_that_are_none_are_refused_in_stocks_words() {
    for length in [1, 4, -1, i32::MIN] {
        assert_eq!(
            refusal(ChangegroupVersion::V2, &i32::to_be_bytes(length)),
            format!("invalid chunk length {length}")
        );
    }
    assert!(refusal(ChangegroupVersion::V2, &[0, 0, 0, 103, 0]).contains("shorter than its header"));
}

#[test]
fn lengths_are_refused_before_anything_is_allocated() {
    let header = [0; 102];
    let bytes = [&i32::MAX.to_be_bytes(), header.as_slice()].concat();
    assert!(refusal(ChangegroupVersion::V3, &bytes).contains("are allowed"));
    for groups in [&[0; 8][..], &[0; 12]] {
        let bytes = [groups, i32::MAX.to_be_bytes().as_slice()].concat();
        assert!(refusal(ChangegroupVersion::V3, &bytes).contains("a path of"));
    }
}

#[test]
fn nothing_is_read_after_an_error() {
    let mut reader = ChangegroupReader::new(
        [0, 0, 0, 1, 0, 0, 0, 0].as_slice(),
        ChangegroupVersion::V2,
        ChangegroupLimits::default(),
    );
    assert_eq!(reader.next().expect("begins"), Incoming::Changelog);
    assert!(reader.next().is_err());
    assert!(reader.next().is_err());
}
