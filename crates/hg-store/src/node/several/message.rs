//! What is hashed for a name.

use crate::Unnamed;

/// SHA-1's words before the first block (FIPS 180-4, section 5.3.1).
pub(super) const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
pub(super) const BLOCK_BYTES: usize = 64;
pub(super) type Block = [u8; BLOCK_BYTES];

/// What is hashed for a name, padded: blocks of 64 bytes.
pub(super) struct Message<'a> {
    /// The parents and the first bytes of the text, where they fill a block.
    head: Option<Block>,
    body: &'a [Block],
    /// What is left, the padding, and the length.
    tail: [Block; 2],
    tail_blocks: usize,
}

impl<'a> Message<'a> {
    pub(super) fn new(revision: &Unnamed<'a>) -> Message<'a> {
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

    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.head.iter().chain(self.body).chain(&self.tail[..self.tail_blocks])
    }

    /// Blocks from this one on that lie one behind the other; empty behind the last.
    pub(super) fn run(&self, block: usize) -> &[Block] {
        let body = usize::from(self.head.is_some());
        let tail = body + self.body.len();
        match &self.head {
            Some(head) if block == 0 => std::slice::from_ref(head),
            _ if block < tail => &self.body[block - body..],
            _ => self.tail[..self.tail_blocks].get(block - tail..).unwrap_or_default(),
        }
    }
}
