//! Names of several texts at once.
//!
//! Each step of SHA-1 (FIPS 180-4, section 6.1) waits for the step before. A processor's SHA instructions take several
//! cycles each but can begin one nearly every cycle, so the steps of other texts fit in between: this makes use of it.

use super::Node;

/// A text, and the names of the revision's parents, in either order.
#[derive(Clone, Copy, Debug)]
pub struct Unnamed<'a> {
    /// Both parents.
    pub parents: [Node; 2],
    /// The full text.
    pub text: &'a [u8],
}

impl Node {
    /// The names of these revisions, in their order: less work than [`Node::of`] for each, on processors that have SHA
    /// instructions, and the less the more of them are about as long.
    pub fn of_several(revisions: &[Unnamed<'_>]) -> Vec<Node> {
        let mut names = vec![Node::NULL; revisions.len()];
        let mut by_length: Vec<usize> = (0..revisions.len()).collect();
        by_length.sort_unstable_by_key(|at| revisions[*at].text.len());
        let (fours, rest) = by_length.as_chunks::<4>();
        for four in fours {
            name_each(*four, revisions, &mut names);
        }
        let (twos, rest) = rest.as_chunks::<2>();
        for two in twos {
            name_each(*two, revisions, &mut names);
        }
        for one in rest {
            name_each([*one], revisions, &mut names);
        }
        names
    }
}

fn name_each<const N: usize>(places: [usize; N], revisions: &[Unnamed<'_>], names: &mut [Node]) {
    let chosen = places.map(|at| revisions[at]);
    #[cfg(target_arch = "x86_64")]
    let together = x86_64::names(&chosen);
    #[cfg(not(target_arch = "x86_64"))]
    let together = None;
    let found = together
        .unwrap_or_else(|| chosen.map(|Unnamed { parents: [first, second], text }| Node::of(&first, &second, text)));
    for (at, name) in places.into_iter().zip(found) {
        names[at] = name;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::{Node, Unnamed};

    const BLOCK_BYTES: usize = 64;
    type Block = [u8; BLOCK_BYTES];

    /// `None` if the processor lacks an instruction that is needed.
    pub(super) fn names<const N: usize>(revisions: &[Unnamed<'_>; N]) -> Option<[Node; N]> {
        if !(is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3"))
        {
            return None;
        }
        // SAFETY: the processor was asked for what the function needs.
        Some(unsafe { names_by_sha_instructions(revisions) })
    }

    /// What is hashed for a name, padded: blocks of 64 bytes.
    struct Message<'a> {
        /// The parents and the first bytes of the text, where they fill a block.
        head: Option<Block>,
        body: &'a [Block],
        /// What is left, the padding, and the length.
        tail: [Block; 2],
        tail_blocks: usize,
    }

    impl<'a> Message<'a> {
        fn new(revision: &Unnamed<'a>) -> Message<'a> {
            let Unnamed { parents: [first, second], mut text } = *revision;
            let (lower, higher) = if first < second { (first, second) } else { (second, first) };
            let bits = (2 * 20 + text.len() as u64) * 8;
            let mut head = [0; BLOCK_BYTES];
            head[..20].copy_from_slice(lower.as_bytes());
            head[20..40].copy_from_slice(higher.as_bytes());
            let mut body: &[Block] = &[];
            let mut tail = [0; 2 * BLOCK_BYTES];
            let mut left = 40;
            let head = match text.split_at_checked(BLOCK_BYTES - 40) {
                Some((start, rest)) => {
                    head[40..].copy_from_slice(start);
                    (body, text) = rest.as_chunks();
                    left = 0;
                    Some(head)
                }
                None => {
                    tail[..40].copy_from_slice(&head[..40]);
                    None
                }
            };
            tail[left..left + text.len()].copy_from_slice(text);
            left += text.len();
            tail[left] = 0x80;
            let tail_blocks = if left + 1 + 8 <= BLOCK_BYTES { 1 } else { 2 };
            let end = tail_blocks * BLOCK_BYTES;
            tail[end - 8..end].copy_from_slice(&bits.to_be_bytes());
            let [first, second] = tail.as_chunks().0 else { unreachable!("two blocks") };
            Message { head, body, tail: [*first, *second], tail_blocks }
        }

        fn blocks(&self) -> impl Iterator<Item = &Block> {
            self.head.iter().chain(self.body).chain(&self.tail[..self.tail_blocks])
        }
    }

    #[derive(Clone, Copy)]
    struct State {
        /// `a` in the highest lane.
        abcd: __m128i,
        /// In the highest lane; the others are zero.
        e: __m128i,
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn names_by_sha_instructions<const N: usize>(revisions: &[Unnamed<'_>; N]) -> [Node; N] {
        let start = State {
            abcd: _mm_set_epi32(0x6745_2301, 0xefcd_ab89_u32 as i32, 0x98ba_dcfe_u32 as i32, 0x1032_5476),
            e: _mm_set_epi32(0xc3d2_e1f0_u32 as i32, 0, 0, 0),
        };
        let messages = std::array::from_fn::<_, N, _>(|i| Message::new(&revisions[i]));
        let mut streams = messages.each_ref().map(Message::blocks);
        let mut states = [start; N];
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
        states.map(|state| {
            let mut name = [0; 20];
            let abcd: [u32; 4] = std::array::from_fn(|i| lane(state.abcd, 3 - i));
            for (bytes, word) in name.as_chunks_mut().0.iter_mut().zip(abcd.into_iter().chain([lane(state.e, 3)])) {
                *bytes = word.to_be_bytes();
            }
            Node::new(name)
        })
    }

    #[target_feature(enable = "sse2")]
    fn lane(register: __m128i, lane: usize) -> u32 {
        // SAFETY: both are 16 bytes, and any bytes are words.
        let lanes: [u32; 4] = unsafe { std::mem::transmute(register) };
        lanes[lane]
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(revisions: &[Unnamed<'_>]) -> Vec<Node> {
        revisions.iter().map(|Unnamed { parents: [first, second], text }| Node::of(first, second, text)).collect()
    }

    proptest! {
        #[test]
        fn same_names_as_one_by_one(
            parents in proptest::array::uniform2(proptest::array::uniform20(any::<u8>())),
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..12),
        ) {
            let parents = parents.map(Node::new);
            let revisions: Vec<_> = texts.iter().map(|text| Unnamed { parents, text }).collect();
            prop_assert_eq!(Node::of_several(&revisions), one_by_one(&revisions));
        }
    }

    #[test]
    fn each_length_around_the_ends_of_blocks() {
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(1000).collect();
        let parents = [Node::new([7; 20]), Node::NULL];
        for bytes in 0..text.len() {
            let revisions = [&text[..bytes], &text[bytes..], &text[..bytes / 2]].map(|text| Unnamed { parents, text });
            for count in 1..=revisions.len() {
                let revisions = &revisions[..count];
                assert_eq!(Node::of_several(revisions), one_by_one(revisions), "{bytes} bytes");
            }
        }
    }
}
