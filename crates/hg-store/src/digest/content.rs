//! The hash of a file's content: a tree over chunks, so that bytes at the end cost their own hashing and that of the
//! last chunk.

use super::hash;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: u64 = 64 << 10;

const CHUNK: &[u8; 32] = b"hgfleet store digest 1, chunk   ";
const PAIR: &[u8; 32] = b"hgfleet store digest 1, pair    ";
const CONTENT: &[u8; 32] = b"hgfleet store digest 1, content ";

/// What is kept of a file: its length and the roots of the perfect trees over its whole chunks, largest first. There is
/// one for each bit that is set in the number of chunks (a Merkle mountain range).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Peaks {
    /// The file's length, in bytes.
    pub(super) bytes: u64,
    hashes: Vec<[u8; 32]>,
}

impl Peaks {
    /// Returns where the last chunk begins that is not whole, in bytes: what has to be read to go on.
    pub(super) fn tail_at(&self) -> u64 {
        self.bytes - self.bytes % CHUNK_BYTES
    }

    /// Returns the form in which it is kept.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_be_bytes().to_vec();
        self.hashes.iter().for_each(|hash| bytes.extend_from_slice(hash));
        bytes
    }

    /// Reads that form; `None` where it is none.
    pub(super) fn decode(encoded: &[u8]) -> Option<Self> {
        let (bytes, hashes) = encoded.split_first_chunk::<8>()?;
        let bytes = u64::from_be_bytes(*bytes);
        let (hashes, rest) = hashes.as_chunks::<32>();
        let whole = rest.is_empty() && hashes.len() == (bytes / CHUNK_BYTES).count_ones() as usize;
        whole.then(|| Self { bytes, hashes: hashes.to_vec() })
    }
}

/// Hashes a content from its beginning, or from where a file of known peaks ends.
#[derive(Debug, Clone)]
pub(super) struct ContentHasher {
    peaks: Peaks,
    /// Over the chunk that is not whole yet.
    chunk: blake3::Hasher,
}

impl ContentHasher {
    pub(super) fn new() -> Self {
        Self::resume(Peaks::default())
    }

    /// Goes on at [`Peaks::tail_at`]; the bytes from there to the file's end must come first.
    pub(super) fn resume(peaks: Peaks) -> Self {
        let bytes = peaks.tail_at();
        Self { peaks: Peaks { bytes, ..peaks }, chunk: blake3::Hasher::new_keyed(CHUNK) }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CHUNK_BYTES - self.peaks.bytes % CHUNK_BYTES;
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.chunk.update(now);
            self.peaks.bytes += now.len() as u64;
            if now.len() as u64 == room {
                let chunk = self.chunk.finalize().into();
                self.chunk.reset();
                self.add_chunk(chunk);
            }
            bytes = later;
        }
    }

    /// Adds a whole chunk: equal trees are joined, as a carry goes through the bits of a number.
    fn add_chunk(&mut self, mut chunk: [u8; 32]) {
        let mut before = self.peaks.bytes / CHUNK_BYTES - 1;
        while before & 1 == 1 {
            if let Some(left) = self.peaks.hashes.pop() {
                chunk = hash(PAIR, &[&left, &chunk]);
            }
            before >>= 1;
        }
        self.peaks.hashes.push(chunk);
    }

    /// Returns the content's hash and the peaks to keep.
    pub(super) fn finish(self) -> ([u8; 32], Peaks) {
        let length = self.peaks.bytes.to_be_bytes();
        let tail: [u8; 32] = self.chunk.finalize().into();
        let mut parts: Vec<&[u8]> = vec![&length];
        parts.extend(self.peaks.hashes.iter().map(|hash| hash.as_slice()));
        if !self.peaks.bytes.is_multiple_of(CHUNK_BYTES) {
            parts.push(&tail);
        }
        (hash(CONTENT, &parts), self.peaks)
    }
}
