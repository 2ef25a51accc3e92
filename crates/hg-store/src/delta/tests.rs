use proptest::prelude::*;

use super::*;

fn hunk(start: u32, end: u32, bytes: &[u8]) -> Vec<u8> {
    let mut delta = Vec::new();
    for field in [start, end, bytes.len() as u32] {
        delta.extend(field.to_be_bytes());
    }
    delta.extend_from_slice(bytes);
    delta
}

#[test]
fn hunks_out_of_bounds_are_refused() {
    let base = b"0123456789";
    let ok = [hunk(2, 4, b"ab"), hunk(4, 4, b"c"), hunk(9, 10, b"")].concat();
    assert_eq!(apply(base, &ok, 100).as_deref(), Ok(b"01abc45678".as_slice()));
    assert_eq!(apply(base, b"", 10).as_deref(), Ok(base.as_slice()));
    let cases = [
        (hunk(2, 11, b""), DeltaError::PastEnd),
        (hunk(11, 11, b"x"), DeltaError::PastEnd),
        (hunk(4, 2, b""), DeltaError::Order),
        ([hunk(2, 4, b""), hunk(3, 5, b"")].concat(), DeltaError::Order),
        (hunk(0, 0, b"abc")[..14].to_vec(), DeltaError::Cut),
        (hunk(0, 0, b"")[..11].to_vec(), DeltaError::Cut),
        (hunk(0, 0, b"x"), DeltaError::TooLong { bound: 10 }),
        ([[0; 8], [255; 8]].concat()[..12].to_vec(), DeltaError::Cut),
    ];
    for (delta, error) in cases {
        assert_eq!(apply(base, &delta, 10), Err(error.clone()), "{delta:?}");
        // In a chain, behind a delta that changes nothing and one that changes something.
        let same = hunk(0, 1, b"0");
        assert_eq!(apply_chain(base, &[&[], &same, &delta], 10), Err(error), "{delta:?}");
    }
}

#[test]
fn diff_finds_small_changes() {
    let old: String = (0..1000).map(|n| format!("line {}\n", n % 300)).collect();
    let new = old.replacen("line 7\n", "line seven\n", 2).replace("line 250\n", "");
    let delta = diff(old.as_bytes(), new.as_bytes());
    assert_eq!(apply(old.as_bytes(), &delta, new.len()).as_deref(), Ok(new.as_bytes()));
    assert!(delta.len() < 150, "{}", delta.len());
    assert!(diff(old.as_bytes(), old.as_bytes()).is_empty());
}

#[test]
fn diff_gives_up_in_bounded_time() {
    let old: String = (0..60_000_u64).map(|n| format!("{}\n", n * n % 7)).collect();
    let new: String = (0..60_000_u64).map(|n| format!("{}\n", n * n * n % 11)).collect();
    let delta = diff(old.as_bytes(), new.as_bytes());
    assert_eq!(apply(old.as_bytes(), &delta, new.len()).as_deref(), Ok(new.as_bytes()));
}

/// Texts of few kinds of lines, so that they have much in common.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![Just("a\n"), Just("b\n"), Just("\n"), Just("long line\n"), Just("x"), Just("c\n")];
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.concat().into_bytes())
}

proptest! {
    #[test]
    fn diff_then_apply_is_the_new_text(old in text(), new in text()) {
        let delta = diff(&old, &new);
        prop_assert_eq!(apply(&old, &delta, new.len()), Ok(new));
    }

    #[test]
    fn a_chain_does_what_its_deltas_do_in_turn(
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..12),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 60),
    ) {
        // Deltas of several hunks, at any bytes.
        let mut text = texts[0].clone();
        let mut deltas = Vec::new();
        let mut cuts = cuts.iter();
        for bytes in &texts[1..] {
            let mut delta = Vec::new();
            let mut at = 0;
            for part in bytes.chunks(20) {
                let Some((start, end)) = cuts.next() else { break };
                let start = at + start.index(text.len() - at + 1);
                let end = start + end.index((text.len() - start).min(9) + 1);
                delta.extend(hunk(start as u32, end as u32, part));
                at = end;
            }
            text = apply(&text, &delta, 10_000).expect("within bounds");
            deltas.push(delta);
        }
        let deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(apply_chain(&texts[0], &deltas, 10_000), Ok(text));
    }

    #[test]
    fn garbage_never_panics(base in proptest::collection::vec(any::<u8>(), 0..50), delta in proptest::collection::vec(0_u8..4, 0..60)) {
        let one = apply(&base, &delta, 40);
        prop_assert_eq!(apply_chain(&base, &[&delta], 40), one.clone());
        if base.len() <= 40 {
            // Which of several faults is met first may differ.
            prop_assert_eq!(apply_chain(&base, &[&[], &delta, &[]], 40).ok(), one.ok());
        }
    }
}
