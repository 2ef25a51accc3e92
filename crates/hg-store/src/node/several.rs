//! Names of several texts at once.
//!
//! Each step of SHA-1 (FIPS 180-4, section 6.1) waits for the step before, so a processor that hashes one text waits too. Where it has
//! AVX-512 sixteen texts go in step, a lane each; SHA instructions, which take several cycles each but begin more often, take up to four
//! texts in turns.

mod message;
#[cfg(target_arch = "x86_64")]
mod sha_instructions;
#[cfg(target_arch = "x86_64")]
mod sixteen;

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
    /// How many revisions [`of_several`](Self::of_several) makes most of, and multiples of it.
    pub(crate) const SEVERAL: usize = 16;

    /// The names of these revisions, in their order: less work than [`Node::of`] for each, on processors that have AVX-512 or SHA
    /// instructions, and the less the more of them there are.
    pub fn of_several(revisions: &[Unnamed<'_>]) -> Vec<Node> {
        let mut names = vec![Node::NULL; revisions.len()];
        let mut by_length: Vec<usize> = (0..revisions.len()).collect();
        // The longest first: the last lanes are busy for a short time.
        by_length.sort_unstable_by_key(|at| std::cmp::Reverse(revisions[*at].text.len()));
        #[cfg(target_arch = "x86_64")]
        if by_length.len() >= sixteen::BUSY_LANES_MIN && sixteen::is_there() {
            sixteen::name(revisions, &by_length, &mut names);
            return names;
        }
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

    #[cfg(target_arch = "x86_64")]
    fn from_words(words: [u32; 5]) -> Node {
        let mut name = [0; 20];
        for (bytes, word) in name.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
        Node(name)
    }
}

fn name_each<const N: usize>(places: [usize; N], revisions: &[Unnamed<'_>], names: &mut [Node]) {
    let chosen = places.map(|at| revisions[at]);
    #[cfg(target_arch = "x86_64")]
    let together = sha_instructions::are_there().then(|| sha_instructions::names(&chosen));
    #[cfg(not(target_arch = "x86_64"))]
    let together = None;
    let found = together
        .unwrap_or_else(|| chosen.map(|Unnamed { parents: [first, second], text }| Node::of(&first, &second, text)));
    for (at, name) in places.into_iter().zip(found) {
        names[at] = name;
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
            noise in any::<u64>(),
            lengths in proptest::collection::vec(prop_oneof![4 => 0..400usize, 1 => 8_000..8_500usize, 1 => 0..30_000usize], 0..50),
        ) {
            let parents = parents.map(Node::new);
            let bytes = (0..30_000).map(|at: u64| (noise.wrapping_mul(2 * at + 1) >> 32) as u8).collect::<Vec<_>>();
            let texts = lengths.iter().enumerate().map(|(at, length)| &bytes[at.min(*length)..*length]);
            let revisions: Vec<_> = texts.map(|text| Unnamed { parents, text }).collect();
            prop_assert_eq!(Node::of_several(&revisions), one_by_one(&revisions));
        }
    }

    #[test]
    fn each_number_of_texts() {
        let text = vec![b'x'; 20_000];
        let parents = [Node::NULL, Node::new([9; 20])];
        for count in 0..40 {
            let revisions: Vec<_> = (0..count).map(|at| Unnamed { parents, text: &text[at * 300..] }).collect();
            assert_eq!(Node::of_several(&revisions), one_by_one(&revisions), "{count} texts");
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
