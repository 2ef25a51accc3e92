use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// One operation of each kind, with the pieces of two files written in turn.
fn sample() -> Vec<u8> {
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    writer.append(b"store/00changelog.i", 64, b"entry").unwrap();
    writer.replace(b"bookmarks", None, b"0123 name\n").unwrap();
    writer.create(b"store/data/b.i", b"first ").unwrap();
    writer.append(b"store/data/a.i", 7, b"one ").unwrap();
    writer.create(b"store/data/b.i", b"second").unwrap();
    writer.append(b"store/data/a.i", 7, b"two").unwrap();
    writer.remove(b"store/phaseroots", 43).unwrap();
    writer.create(b"store/data/b.d", b"").unwrap();
    writer.replace(b"hgrc", Some(9), b"[phases]\n").unwrap();
    let (file, bytes) = writer.finish().unwrap();
    let change = file.into_inner();
    assert_eq!(bytes, change.len() as u64);
    change
}

#[test]
fn operations_come_back_in_the_order_of_application() {
    let bytes = sample();
    let change = ChangeRef::parse(&bytes).unwrap();
    let found: Vec<String> = change
        .operations()
        .map(|operation| {
            let (kind, old) = match &operation {
                Operation::Create { .. } => ("create", None),
                Operation::Append { old_bytes, .. } => ("append", Some(*old_bytes)),
                Operation::Replace { old_bytes, .. } => ("replace", *old_bytes),
                Operation::Remove { old_bytes, .. } => ("remove", Some(*old_bytes)),
            };
            let content = operation.content();
            assert_eq!(content.len(), content.contiguous().len() as u64);
            format!("{kind} {} {old:?} {}", operation.path().escape_ascii(), content.contiguous().escape_ascii())
        })
        .collect();
    assert_eq!(
        found,
        [
            "create store/data/b.d None ",
            "append store/data/a.i Some(7) one two",
            "create store/data/b.i None first second",
            "remove store/phaseroots Some(43) ",
            "append store/00changelog.i Some(64) entry",
            "replace bookmarks None 0123 name\\n",
            "replace hgrc Some(9) [phases]\\n",
        ]
    );
    assert_eq!(change.len(), 7);
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = sample();
    for cut in 0..bytes.len() {
        assert!(ChangeRef::parse(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            damaged[at] ^= 1 << bit;
            assert!(ChangeRef::parse(&damaged).is_err(), "bit {bit} of byte {at}");
            damaged[at] ^= 1 << bit;
        }
    }
    damaged.push(0);
    assert!(ChangeRef::parse(&damaged).is_err(), "a byte more");
    assert!(ChangeRef::parse(&bytes).is_ok());
}

/// Writes both digests anew over whatever header, data and table say: what a forger who knows the format would do.
fn forge(header: &[u8], data: &[u8], table: &[u8]) -> Vec<u8> {
    let mut change = header[..32].to_vec();
    change.extend_from_slice(blake3::hash(data).as_bytes());
    let digest = super::format::head_digest(&change, table);
    change.extend_from_slice(&digest);
    change.extend_from_slice(data);
    change.extend_from_slice(table);
    change
}

#[test]
fn a_forged_table_with_right_digests_is_still_checked() {
    let bytes = sample();
    let data_bytes = u64::from_be_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let (data, table) = bytes[96..].split_at(data_bytes);
    assert_eq!(forge(&bytes, data, table), bytes);
    // Each byte of header and table set to several values: never a panic, and what is accepted can be walked.
    for (part, len) in [("header", 32), ("table", table.len())] {
        for at in 0..len {
            for value in [0, 1, 0x2e, 0x2f, 0x7f, 0x80, 0xff] {
                let (mut header, mut table) = (bytes[..32].to_vec(), table.to_vec());
                match part {
                    "header" => header[at] = value,
                    _ => table[at] = value,
                }
                if let Ok(change) = ChangeRef::parse(&forge(&header, data, &table)) {
                    let used: u64 = change.operations().map(|operation| operation.content().len()).sum();
                    assert_eq!(used, data.len() as u64);
                    assert_eq!(change.operations().count(), change.len());
                    assert!(change.operations().all(|operation| check_path(operation.path()).is_ok()));
                }
            }
        }
    }
}

#[test]
fn paths_outside_the_store_and_places_that_are_no_state_are_refused() {
    let refused: [&[u8]; 31] = [
        b"",
        b"/store/data/a.i",
        b"store//a.i",
        b"store/",
        b"store/../hgrc",
        b"../x",
        b"store/./a.i",
        b"store/data/a\0.i",
        b"store/data/a\n.i",
        b"store/data/\xc3\xa9.i",
        b"store\\data",
        b"store",
        b"sharedpath",
        b"hgrc-not-shared",
        b"wlock",
        b"store/lock",
        b"store/journal",
        b"store/journal.backupfiles",
        b"store/undo",
        b"undo.desc",
        b"journal.dirstate",
        b"cache/branch2-served",
        b"wcache/checkisexec",
        b"branch",
        b"dirstate",
        b"dirstate.abc",
        b"last-message.txt",
        b"store/data-s/a.i",
        b"store/data/undo.backup.a.i.bck",
        b"data/a.i",
        b"store/lock.break",
    ];
    for path in refused {
        assert!(check_path(path).is_err(), "{}", path.escape_ascii());
        let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
        assert!(matches!(writer.create(path, b"x"), Err(ChangeError::Path(_))), "{}", path.escape_ascii());
    }
    let allowed: [&[u8]; 10] = [
        b"store/data/undo.backup.x.i",
        b"store/data/~2ehgtags.i",
        b"store/dh/aux~20/x.d",
        b"store/fncache",
        b"store/requires",
        b"requires",
        b"hgrc",
        b"bookmarks",
        b"00changelog.i",
        b"store/data/lock",
    ];
    for path in allowed {
        assert!(check_path(path).is_ok(), "{}", path.escape_ascii());
    }
    assert_eq!(check_path(&[b"store/", [b'a'; 256].as_slice()].concat()).unwrap_err().issue, PathIssue::TooLong);
    assert_eq!(check_path(&b"store/a/".repeat(600)).unwrap_err().issue, PathIssue::TooLong);
}

#[test]
fn calls_that_do_not_fit_together_are_refused() {
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    assert!(writer.is_empty());
    writer.append(b"store/data/a.i", 5, b"x").unwrap();
    writer.remove(b"store/data/c.i", 1).unwrap();
    assert!(!writer.is_empty());
    assert!(matches!(writer.append(b"store/data/a.i", 6, b"y"), Err(ChangeError::Conflict { .. })));
    assert!(matches!(writer.create(b"store/data/a.i", b"y"), Err(ChangeError::Conflict { .. })));
    assert!(matches!(writer.remove(b"store/data/c.i", 1), Err(ChangeError::Conflict { .. })));
}

#[test]
fn an_open_operation_is_found_again_where_its_position_says() {
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    assert!(matches!(writer.write(b"x"), Err(ChangeError::NothingOpen)));
    writer.create(b"store/data/b.i", b"waits").unwrap();
    writer.begin_append(b"store/data/a.d", 3).unwrap();
    let first = writer.position() as usize;
    writer.write(b"one ").unwrap();
    writer.append(b"store/data/c.i", 1, b"between").unwrap();
    let second = writer.position() as usize;
    writer.write(b"two").unwrap();
    assert!(matches!(writer.begin_create(b"store/data/x.i"), Err(ChangeError::Conflict { .. })));
    writer.end();
    let bytes = writer.finish().unwrap().0.into_inner();
    assert_eq!((&bytes[first..first + 4], &bytes[second..second + 3]), (&b"one "[..], &b"two"[..]));
    let change = ChangeRef::parse(&bytes).unwrap();
    let first = change.operations().next().unwrap();
    assert_eq!((first.path(), &*first.content().contiguous()), (&b"store/data/a.d"[..], &b"one two"[..]));
}

#[test]
fn another_version_is_named() {
    let mut bytes = sample();
    bytes[9] = 2;
    assert!(matches!(ChangeRef::parse(&bytes), Err(ChangeError::Version(2))));
    assert!(matches!(ChangeRef::parse(b"HG20 and so on"), Err(ChangeError::NotAChange(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Pieces of many files, in turn and of all sizes, come back whole.
    #[test]
    fn pieces_come_back_whole(calls in prop::collection::vec((0usize..6, prop::sample::select(vec![0usize, 1, 900, 70_000, 300_000])), 1..120)) {
        let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
        let mut expected = vec![None::<Vec<u8>>; 6];
        for (number, (file, len)) in calls.iter().enumerate() {
            let piece: Vec<u8> = (0..*len).map(|at| (number * 31 + at) as u8).collect();
            writer.append(format!("store/data/{file}.i").as_bytes(), *file as u64, &piece).unwrap();
            expected[*file].get_or_insert_default().extend_from_slice(&piece);
        }
        let bytes = writer.finish().unwrap().0.into_inner();
        let change = ChangeRef::parse(&bytes).unwrap();
        let found: Vec<Vec<u8>> = change.operations().map(|operation| operation.content().contiguous().into_owned()).collect();
        prop_assert_eq!(found, expected.into_iter().flatten().collect::<Vec<_>>());
    }
}

#[test]
fn bytes_are_read_back_before_and_after_they_are_written_out() {
    let mut writer = ChangeWriter::new(tempfile::tempfile().unwrap()).unwrap();
    let piece = |n: u8| vec![n; 100_000];
    for n in 0..20 {
        writer.append(b"store/00manifest.d", 5, &piece(n)).unwrap();
        writer.create(b"store/data/a.d", b"between").unwrap();
    }
    let mut back = vec![0; 250_000];
    writer.read_back(b"store/00manifest.d", 350_000, &mut back).unwrap();
    assert_eq!(back, [&piece(3)[..50_000], &piece(4), &piece(5)].concat());
    let mut last = [0; 10];
    writer.read_back(b"store/00manifest.d", 1_999_990, &mut last).unwrap();
    assert_eq!(last, [19; 10]);
    assert!(writer.read_back(b"store/00manifest.d", 1_999_991, &mut last).is_err());
    assert!(writer.read_back(b"store/data/b.d", 0, &mut last).is_err());
}

#[test]
fn a_manifest_of_bundles_that_is_too_long_counts_as_absent() {
    let after = |before: Option<&[u8]>, bytes: usize| {
        let mut writer = ChangeWriter::new(std::io::Cursor::new(Vec::new())).unwrap();
        writer.replace(b"clonebundles.manifest", before.map(|before| before.len() as u64), &vec![b'x'; bytes]).unwrap();
        let (file, _) = writer.finish().unwrap();
        let before = crate::SnapshotState { clonebundles: before.map(<[u8]>::to_vec), ..Default::default() };
        ChangeRef::parse(file.get_ref())
            .unwrap()
            .state_after(&before)
            .unwrap()
            .clonebundles
            .map(|content| content.len())
    };
    assert_eq!(after(None, 3), Some(3));
    assert_eq!(after(Some(b"old"), 1 << 20), Some(1 << 20));
    assert_eq!(after(Some(b"old"), (1 << 20) + 1), None);
}
