//! Each target with what is random and what was good once. What fails is made small and shown; the target itself says the rest.
//!
//! `HGFLEET_FUZZ_SECONDS` says how long each is tried (1).

use std::time::{Duration, Instant};

use fuzz_targets::{TARGETS, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// No input of a few kilobytes takes as long, even where many others run beside it.
const HANGS: Duration = Duration::from_secs(20);

/// How one input becomes another.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Number(Index, u32),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Cut(Index),
    /// The rest of another good one.
    Continue(Index, Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    // Where lengths and counts go over.
    let numbers = prop::sample::select(vec![
        0,
        1,
        0x7f,
        0xff,
        0x100,
        0xffff,
        0x10000,
        i32::MAX as u32,
        1 << 31,
        u32::MAX - 1,
        u32::MAX,
    ]);
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, 1 << bit)),
        3 => (at(), numbers).prop_map(|(at, number)| Edit::Number(at, number)),
        2 => (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        2 => (at(), 1..40_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        1 => (at(), 1..40_usize, 1..60_usize).prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        1 => at().prop_map(Edit::Cut),
        1 => (at(), at(), at()).prop_map(|(at, other, from)| Edit::Continue(at, other, from)),
    ]
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let length = bytes.len();
    let place = |at: &Index| at.index(length + 1);
    match edit {
        Edit::Set(at, byte) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old = *byte),
        Edit::Flip(at, bits) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old ^= bits),
        Edit::Number(at, number) => {
            bytes.iter_mut().skip(place(at)).zip(number.to_be_bytes()).for_each(|(old, new)| *old = new);
        }
        Edit::Insert(at, more) => drop(bytes.splice(place(at)..place(at), more.iter().copied())),
        Edit::Remove(at, count) => drop(bytes.drain(place(at)..length.min(place(at) + count))),
        Edit::Repeat(at, count, times) => {
            let piece = bytes[place(at)..length.min(place(at) + count)].repeat(*times);
            bytes.splice(place(at)..place(at), piece);
        }
        Edit::Cut(at) => bytes.truncate(place(at)),
        Edit::Continue(at, other, from) => {
            let other = other.get(seeds);
            bytes.truncate(place(at));
            bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
    }
}

fn inputs(target: &Target) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds = (target.seeds)();
    let edited = (prop::sample::select(seeds.clone()), vec(edit(), 0..6)).prop_map(move |(mut bytes, edits)| {
        edits.iter().for_each(|edit| apply(edit, &mut bytes, &seeds));
        bytes
    });
    prop_oneof![15 => edited, 1 => vec(any::<u8>(), 0..300)]
}

#[test]
fn no_target_panics_or_hangs_whatever_it_is_given() {
    let seconds = std::env::var("HGFLEET_FUZZ_SECONDS").map_or(1.0, |text| text.parse().expect("a number of seconds"));
    for target in TARGETS {
        (target.seeds)().iter().for_each(|seed| (target.run)(seed));
        let (begun, inputs) = (Instant::now(), inputs(target));
        let mut tried = 0;
        while begun.elapsed().as_secs_f64() < seconds {
            let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
            let outcome = TestRunner::new(config).run(&inputs, |bytes| {
                let started = Instant::now();
                (target.run)(&bytes);
                prop_assert!(started.elapsed() < HANGS, "{:?}", started.elapsed());
                Ok(())
            });
            if let Err(error) = outcome {
                panic!("{}: {error}", target.name);
            }
            tried += 64;
        }
        println!("{}: {tried} inputs", target.name);
    }
}
