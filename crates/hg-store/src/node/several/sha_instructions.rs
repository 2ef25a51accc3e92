//! Up to four texts in turns, by the processor's SHA instructions.

use std::arch::x86_64::*;

use crate::{Node, Unnamed};

use super::message::{BLOCK_BYTES, Block, Message, START};

/// Whether the processor has what is needed.
pub(super) fn are_there() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

/// The names of these. To be called only where [`are_there`] says so.
pub(super) fn names<const N: usize>(revisions: &[Unnamed<'_>; N]) -> [Node; N] {
    // SAFETY: the processor was asked for what the function needs.
    unsafe { names_together(revisions) }
}

/// The name of what was hashed up to this state, and of these blocks. To be called only where [`are_there`] says so.
pub(super) fn name_rest<'a>(words: [u32; 5], blocks: impl Iterator<Item = &'a Block>) -> Node {
    let mut state = State::of(words);
    for block in blocks {
        // SAFETY: the processor was asked for what the function needs.
        unsafe { compress([&mut state], [block]) };
    }
    state.name()
}

#[derive(Clone, Copy)]
struct State {
    /// `a` in the highest lane.
    abcd: __m128i,
    /// In the highest lane; the others are zero.
    e: __m128i,
}

impl State {
    fn of([a, b, c, d, e]: [u32; 5]) -> State {
        let register = |words: [u32; 4]| {
            // SAFETY: both are 16 bytes, and any bytes are words.
            unsafe { std::mem::transmute::<[u32; 4], __m128i>(words) }
        };
        State { abcd: register([d, c, b, a]), e: register([0, 0, 0, e]) }
    }

    fn name(self) -> Node {
        let words = |register: __m128i| {
            // SAFETY: as above.
            unsafe { std::mem::transmute::<__m128i, [u32; 4]>(register) }
        };
        let ([d, c, b, a], [.., e]) = (words(self.abcd), words(self.e));
        Node::from_words([a, b, c, d, e])
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn names_together<const N: usize>(revisions: &[Unnamed<'_>; N]) -> [Node; N] {
    let messages = std::array::from_fn::<_, N, _>(|i| Message::new(&revisions[i]));
    let mut streams = messages.each_ref().map(Message::blocks);
    let mut states = [State::of(START); N];
    'together: loop {
        let mut blocks = [&[0; BLOCK_BYTES]; N];
        for i in 0..N {
            match streams[i].next() {
                Some(block) => blocks[i] = block,
                None => {
                    for before in 0..i {
                        compress([&mut states[before]], [blocks[before]]);
                    }
                    break 'together;
                }
            }
        }
        compress(states.each_mut(), blocks);
    }
    for (state, stream) in states.iter_mut().zip(&mut streams) {
        for block in stream {
            compress([state], [block]);
        }
    }
    states.map(State::name)
}

/// Takes a block of each message into its state.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress<const N: usize>(states: [&mut State; N], blocks: [&Block; N]) {
    let reverse = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let zero = _mm_setzero_si128();
    let (mut abcd, mut before, mut words) = ([zero; N], [zero; N], [[zero; 4]; N]);
    // Loops, not closures: those don't become part of a function that needs instructions of its own.
    for i in 0..N {
        abcd[i] = states[i].abcd;
        before[i] = states[i].e;
        for (word, quarter) in words[i].iter_mut().zip(blocks[i].as_chunks::<16>().0) {
            // SAFETY: 16 bytes, which need not be aligned.
            let quarter = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
            *word = _mm_shuffle_epi8(quarter, reverse);
        }
    }
    macro_rules! rounds {
        ($($four:literal)*) => {
            $(four_rounds::<N, $four, { $four / 5 }>(&mut abcd, &mut before, &mut words);)*
        };
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    for i in 0..N {
        states[i].e = _mm_sha1nexte_epu32(before[i], states[i].e);
        states[i].abcd = _mm_add_epi32(abcd[i], states[i].abcd);
    }
}

/// The rounds from 4 × `FOUR` on. `before` holds what `a` was four rounds ago, which is where `e` comes from.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn four_rounds<const N: usize, const FOUR: usize, const FUNCTION: i32>(
    abcd: &mut [__m128i; N],
    before: &mut [__m128i; N],
    words: &mut [[__m128i; 4]; N],
) {
    for i in 0..N {
        let words = &mut words[i];
        if FOUR >= 4 {
            let partial = _mm_sha1msg1_epu32(words[FOUR % 4], words[(FOUR + 1) % 4]);
            let partial = _mm_xor_si128(partial, words[(FOUR + 2) % 4]);
            words[FOUR % 4] = _mm_sha1msg2_epu32(partial, words[(FOUR + 3) % 4]);
        }
        let word = words[FOUR % 4];
        let with_e = if FOUR == 0 { _mm_add_epi32(before[i], word) } else { _mm_sha1nexte_epu32(before[i], word) };
        before[i] = abcd[i];
        abcd[i] = _mm_sha1rnds4_epu32::<FUNCTION>(abcd[i], with_e);
    }
}
