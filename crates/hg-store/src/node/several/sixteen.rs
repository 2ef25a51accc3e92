//! Sixteen texts in step: each has a lane of 32 bits in registers of AVX-512.
//!
//! A lane whose text is over takes the next one. Each register holds one of SHA-1's words (FIPS 180-4, section 6.1) of all sixteen.

use std::arch::x86_64::*;

use crate::{Node, Unnamed};

use super::message::{Block, Message, START};
use super::sha_instructions;

/// Texts that are hashed at once.
pub(super) const LANES: usize = 16;
/// Where fewer lanes have something to do, SHA instructions are faster.
pub(super) const BUSY_LANES_MIN: usize = 6;
/// A text up to so many bytes is copied, so that its blocks follow each other.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// SHA-1's five words, of each lane.
type States = [[u32; LANES]; 5];

/// Whether the processor has what is needed.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// What one lane hashes.
struct Lane<'a> {
    /// Among the revisions.
    place: usize,
    message: Message<'a>,
    /// All blocks, of a short text.
    copied: Vec<Block>,
    /// Blocks that were hashed.
    done: usize,
}

impl<'a> Lane<'a> {
    fn begin(place: usize, revision: &Unnamed<'a>, mut copied: Vec<Block>) -> Lane<'a> {
        let message = Message::new(revision);
        copied.clear();
        if revision.text.len() <= COPIED_BYTES_MAX {
            copied.extend(message.blocks());
        }
        Lane { place, message, copied, done: 0 }
    }

    /// Blocks to hash next, one behind the other; empty when the text is over.
    fn ahead(&self) -> &[Block] {
        if self.copied.is_empty() { self.message.run(self.done) } else { &self.copied[self.done..] }
    }
}

/// Names the revisions at these places. To be called only where [`is_there`] says so.
pub(super) fn name(revisions: &[Unnamed<'_>], places: &[usize], names: &mut [Node]) {
    let mut places = places.iter().copied();
    let mut lanes: [Option<Lane<'_>>; LANES] = std::array::from_fn(|_| None);
    let mut states: States = START.map(|word| [word; LANES]);
    for lane in &mut lanes {
        *lane = places.next().map(|place| Lane::begin(place, &revisions[place], Vec::new()));
    }
    loop {
        let busy = lanes.iter().flatten().count();
        if busy == 0 {
            return;
        }
        if busy < BUSY_LANES_MIN && sha_instructions::are_there() {
            for (number, lane) in lanes.iter().enumerate() {
                let Some(lane) = lane else { continue };
                let rest = lane.message.blocks().skip(lane.done);
                names[lane.place] = sha_instructions::name_rest(states.map(|word| word[number]), rest);
            }
            return;
        }
        // A lane without a text does what another does.
        let mut ahead: [&[Block]; LANES] = [&[]; LANES];
        let any = lanes.iter().flatten().next().map(Lane::ahead).unwrap_or_default();
        for (ahead, lane) in ahead.iter_mut().zip(&lanes) {
            *ahead = lane.as_ref().map_or(any, Lane::ahead);
        }
        let steps = ahead.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        let ahead = ahead.map(|blocks| &blocks[..steps]);
        // SAFETY: the processor was asked for what the function needs.
        unsafe { compress(&mut states, ahead) };
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Some(running) = lane else { continue };
            running.done += steps;
            if running.ahead().is_empty() {
                names[running.place] = Node::from_words(states.map(|word| word[number]));
                let copied = std::mem::take(&mut running.copied);
                *lane = places.next().map(|place| Lane::begin(place, &revisions[place], copied));
                states.iter_mut().zip(START).for_each(|(word, start)| word[number] = start);
            }
        }
    }
}

/// Takes these blocks of each lane, as many of each, into its state.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(states: &mut States, blocks: [&[Block]; LANES]) {
    // SAFETY: each array is 64 bytes, which need not be aligned; here and where they are stored.
    let mut state = states.each_ref().map(|words| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) });
    for step in 0..blocks[0].len() {
        let mut words = words(&blocks, step);
        let before = state;
        macro_rules! rounds {
            ($($round:literal)*) => {
                $(round::<$round, { $round / 20 }>(&mut state, &mut words);)*
            };
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        rounds!(20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
        rounds!(40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
        rounds!(60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
        for (word, before) in state.iter_mut().zip(before) {
            *word = _mm512_add_epi32(*word, before);
        }
    }
    for (words, state) in states.iter_mut().zip(state) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), state) };
    }
}

/// One round of all lanes. The five words change their names with each round, not their places.
#[inline]
#[target_feature(enable = "avx512f")]
fn round<const ROUND: usize, const PART: usize>(state: &mut [__m512i; 5], words: &mut [__m512i; 16]) {
    const CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
    if ROUND >= 16 {
        let word = |back: usize| words[(ROUND - back) % 16];
        // Truth table of the exclusive or of three.
        let mixed = _mm512_ternarylogic_epi32::<0x96>(word(3), word(8), word(14));
        words[ROUND % 16] = _mm512_rol_epi32::<1>(_mm512_xor_si512(mixed, word(16)));
    }
    let place = |name: usize| (80 + name - ROUND) % 5;
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(place);
    let mixed = match PART {
        // Of the second where the first has a one, else of the third.
        0 => _mm512_ternarylogic_epi32::<0xca>(state[b], state[c], state[d]),
        // Of most of them.
        2 => _mm512_ternarylogic_epi32::<0xe8>(state[b], state[c], state[d]),
        _ => _mm512_ternarylogic_epi32::<0x96>(state[b], state[c], state[d]),
    };
    let constant = _mm512_set1_epi32(CONSTANTS[PART] as i32);
    let added = _mm512_add_epi32(_mm512_add_epi32(words[ROUND % 16], constant), state[e]);
    state[e] = _mm512_add_epi32(_mm512_add_epi32(mixed, added), _mm512_rol_epi32::<5>(state[a]));
    state[b] = _mm512_rol_epi32::<30>(state[b]);
}

/// The sixteen words of a block, each of all lanes: the blocks, turned on their side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn words(blocks: &[&[Block]; LANES], step: usize) -> [__m512i; 16] {
    let reverse = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    let zero = _mm512_setzero_si512();
    let mut rows = [zero; LANES];
    for (row, blocks) in rows.iter_mut().zip(blocks) {
        // SAFETY: a block is 64 bytes, which need not be aligned.
        *row = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(blocks[step].as_ptr().cast()) }, reverse);
    }
    // Four rows give four registers; in each quarter of these one word of the four rows.
    let mut quarters = [[zero; 4]; 4];
    for (quarter, four) in quarters.iter_mut().zip(rows.as_chunks::<4>().0) {
        let low = [_mm512_unpacklo_epi32(four[0], four[1]), _mm512_unpacklo_epi32(four[2], four[3])];
        let high = [_mm512_unpackhi_epi32(four[0], four[1]), _mm512_unpackhi_epi32(four[2], four[3])];
        *quarter = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    let mut words = [zero; 16];
    for word in 0..4 {
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|four| quarters[four][word]);
        // Quarters 0 and 2 of two registers, and 1 and 3.
        let even = [_mm512_shuffle_i32x4::<0x88>(first, second), _mm512_shuffle_i32x4::<0x88>(third, fourth)];
        let odd = [_mm512_shuffle_i32x4::<0xdd>(first, second), _mm512_shuffle_i32x4::<0xdd>(third, fourth)];
        words[word] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        words[4 + word] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        words[8 + word] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        words[12 + word] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    words
}
