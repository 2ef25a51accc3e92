//! Which delta of a revision to store, or its full text.
//!
//! The bounds are those of Mercurial's sparse-revlog, so that what is written here is as quick to read, and as small, as what
//! Mercurial writes, whatever a client sends: a delta is stored if its chunk is no longer than the text, the chunks of its chain
//! no longer than twice the text, and the chain no longer than 1,000 deltas. A *snapshot* is a full text, or a delta to a snapshot
//! that isn't the revision's parent; at depth `d` its chunk may have the `d`-th half of the text's bytes, and no more than its base's.
//! The incoming delta is tried first, then the parents, then the snapshots in the parents' chains, the revision before, and
//! the full text is what is left.

use smallvec::SmallVec;

use super::error::PrepareError;
use super::growing::{Deltas, Growing};
use super::made::Made;
use super::spool::Spool;
use super::text_cache::Text;
use crate::{Revision, delta};

const CHAIN_DELTAS_MAX: u32 = 1000;
const CHAIN_BYTES_PER_TEXT_BYTE: u64 = 2;
/// An incoming delta longer than so many eighths of the text is compared with one made here.
const SUSPECT_EIGHTHS: usize = 7;
/// A base so much smaller than the text won't help.
const TEXT_BYTES_PER_BASE_BYTE: u64 = 500;

/// What matters of a revision's delta chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Revisions from the full text to this one.
    pub(super) revisions: u32,
    /// Bytes of their chunks.
    pub(super) bytes: u64,
    /// Whether this revision is a snapshot; its depth then is `revisions - 1`.
    pub(super) snapshot: bool,
}

/// What was chosen; the chunk is in the spool.
pub(super) struct Choice {
    pub(super) base: Option<u32>,
    pub(super) chain: Chain,
}

/// How a revision came.
pub(super) struct Given<'a> {
    /// To whose text the delta is; `None`: to the empty one.
    pub(super) base: Option<u32>,
    pub(super) delta: &'a [u8],
    pub(super) made: &'a Made,
}

/// A delta that came, and the chunk that stores it if that was made already.
type GivenDelta<'a> = (&'a [u8], Option<&'a [u8]>);

type Tried = SmallVec<[u32; 8]>;

/// The attempt with the smallest chunk so far.
#[derive(Default)]
struct Smallest(Option<(Choice, Vec<u8>)>);

impl Smallest {
    /// Keeps an attempt whose chunk is in `spool.chunk` if that is smaller than the one kept; returns whether it was.
    fn keep(&mut self, spool: &mut Spool, choice: Choice) -> bool {
        let smaller = self.0.as_ref().is_none_or(|(_, chunk)| spool.chunk.len() < chunk.len());
        if smaller {
            self.0 = Some((choice, std::mem::take(&mut spool.chunk)));
        }
        smaller
    }

    /// The choice that was kept; its chunk is in `spool.chunk` again.
    fn take(self, spool: &mut Spool) -> Option<Choice> {
        let (choice, chunk) = self.0?;
        spool.chunk = chunk;
        Some(choice)
    }
}

impl Growing<'_> {
    /// Chooses what to store for the next revision, and leaves the chunk in `spool.chunk`.
    pub(super) fn choose(
        &mut self,
        spool: &mut Spool,
        parents: [Option<u32>; 2],
        text: &Text,
        given: &Given<'_>,
    ) -> Result<Choice, PrepareError> {
        if text.is_empty() {
            return self.full(spool, text, given);
        }
        match self.deltas {
            Deltas::None => self.full(spool, text, given),
            Deltas::Previous => self.choose_previous(spool, text, given),
            Deltas::General { snapshots } => self.choose_general(spool, parents, text, given, snapshots),
        }
    }

    /// Chooses the text itself.
    pub(super) fn full(&mut self, spool: &mut Spool, text: &[u8], given: &Given<'_>) -> Result<Choice, PrepareError> {
        spool.compressor.compress_unless_made(text, given.made.of_text(text), &mut spool.chunk)?;
        Ok(Choice { base: None, chain: Chain { revisions: 1, bytes: spool.chunk.len() as u64, snapshot: true } })
    }

    fn choose_previous(&mut self, spool: &mut Spool, text: &Text, given: &Given<'_>) -> Result<Choice, PrepareError> {
        let Some(previous) = self.len().checked_sub(1) else {
            return self.full(spool, text, given);
        };
        let mut tried = Tried::new();
        let delta = (given.base == Some(previous)).then_some((given.delta, given.made.of_delta()));
        match self.attempt(spool, previous, false, text, delta, &mut tried)? {
            Some(choice) => Ok(choice),
            None => self.full(spool, text, given),
        }
    }

    fn choose_general(
        &mut self,
        spool: &mut Spool,
        parents: [Option<u32>; 2],
        text: &Text,
        given: &Given<'_>,
        snapshots: bool,
    ) -> Result<Choice, PrepareError> {
        let mut tried = Tried::new();
        let parents: SmallVec<[u32; 2]> =
            parents.into_iter().flatten().filter_map(|parent| self.with_content(parent)).collect();
        if let Some(base) = given.base.and_then(|base| self.with_content(base)) {
            let delta = (given.delta, given.made.of_delta());
            let as_snapshot = snapshots && !parents.contains(&base) && self.chain(base).snapshot;
            if let Some(choice) = self.attempt(spool, base, as_snapshot, text, Some(delta), &mut tried)? {
                return Ok(choice);
            }
        }
        if let Some(choice) = self.smallest(spool, &parents, text, &mut tried)? {
            return Ok(choice);
        }
        if snapshots && let Some(choice) = self.new_snapshot(spool, &parents, text, &mut tried)? {
            return Ok(choice);
        }
        if let Some(previous) = self.len().checked_sub(1).and_then(|previous| self.with_content(previous)) {
            // Stored as a plain delta, unless its base makes it a snapshot; then a snapshot's bounds hold.
            let as_snapshot = snapshots && !parents.contains(&previous) && self.chain(previous).snapshot;
            if let Some(choice) = self.attempt(spool, previous, as_snapshot, text, None, &mut tried)? {
                return Ok(choice);
            }
        }
        self.full(spool, text, given)
    }

    /// The parent whose delta is the smallest.
    fn smallest(
        &mut self,
        spool: &mut Spool,
        parents: &[u32],
        text: &Text,
        tried: &mut Tried,
    ) -> Result<Option<Choice>, PrepareError> {
        let mut best = Smallest::default();
        for &parent in parents {
            if let Some(choice) = self.attempt(spool, parent, false, text, None, tried)? {
                best.keep(spool, choice);
            }
        }
        Ok(best.take(spool))
    }

    /// A new intermediate snapshot, on the deepest snapshot of the parents' chains that will do, or on one below it if that is better.
    fn new_snapshot(
        &mut self,
        spool: &mut Spool,
        parents: &[u32],
        text: &Text,
        tried: &mut Tried,
    ) -> Result<Option<Choice>, PrepareError> {
        let mut candidates: Vec<(u32, u32)> = Vec::new();
        for &parent in parents {
            let mut at = Some(parent);
            while let Some(revision) = at {
                let chain = self.chain(revision);
                if chain.snapshot {
                    candidates.push((chain.revisions, revision));
                }
                at = self.delta_base(revision);
            }
        }
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates.dedup();
        let mut best = Smallest::default();
        for (depth, candidate) in candidates {
            if let Some((found, _)) = &best.0
                && found.chain.revisions == depth + 1
            {
                continue;
            }
            let better = match self.attempt(spool, candidate, true, text, None, tried)? {
                Some(choice) => best.keep(spool, choice),
                None => false,
            };
            if !better && best.0.is_some() {
                break;
            }
        }
        Ok(best.take(spool))
    }

    /// Tries one base; its chunk is in `spool.chunk` if it will do.
    fn attempt(
        &mut self,
        spool: &mut Spool,
        base: u32,
        as_snapshot: bool,
        text: &Text,
        delta: Option<GivenDelta<'_>>,
        tried: &mut Tried,
    ) -> Result<Option<Choice>, PrepareError> {
        if tried.contains(&base) {
            return Ok(None);
        }
        tried.push(base);
        // Nor does Mercurial: another clone may have the content there in the pointer's place.
        if self.is_external(base) {
            return Ok(None);
        }
        let below = self.chain(base);
        let text_bytes = text.len() as u64;
        let base_chunk_bytes = u64::from(self.chunk_bytes(base));
        if below.revisions > CHAIN_DELTAS_MAX
            || below.bytes > CHAIN_BYTES_PER_TEXT_BYTE * text_bytes
            || u64::from(self.text_bytes(base)) < text_bytes / TEXT_BYTES_PER_BASE_BYTE
        {
            return Ok(None);
        }
        let good = |chunk: &[u8]| {
            let chunk_bytes = chunk.len() as u64;
            let snapshot_bytes_max = text_bytes.checked_shr(below.revisions).unwrap_or(0).min(base_chunk_bytes);
            chunk_bytes <= text_bytes
                && below.bytes + chunk_bytes <= CHAIN_BYTES_PER_TEXT_BYTE * text_bytes
                && (!as_snapshot || chunk_bytes <= snapshot_bytes_max)
        };
        match delta {
            Some((delta, made)) => {
                spool.compressor.compress_unless_made(delta, made, &mut spool.trial)?;
                if !good(&spool.trial) {
                    return Ok(None);
                }
                // A client may replace more than has changed, up to the whole text. A snapshot is left alone: its bounds are
                // narrow, and one that is smaller than need be makes the snapshots on it fail theirs.
                if !as_snapshot && delta.len() > text.len() / 8 * SUSPECT_EIGHTHS {
                    let ours = delta::diff(&self.text(spool, base)?, text);
                    spool.compressor.compress(&ours, &mut spool.other)?;
                    if spool.other.len() < spool.trial.len() {
                        std::mem::swap(&mut spool.trial, &mut spool.other);
                    }
                }
            }
            None => {
                let ours = delta::diff(&self.text(spool, base)?, text);
                spool.compressor.compress(&ours, &mut spool.trial)?;
                if !good(&spool.trial) {
                    return Ok(None);
                }
            }
        }
        let chunk_bytes = spool.trial.len() as u64;
        std::mem::swap(&mut spool.chunk, &mut spool.trial);
        Ok(Some(Choice {
            base: Some(base),
            chain: Chain { revisions: below.revisions + 1, bytes: below.bytes + chunk_bytes, snapshot: as_snapshot },
        }))
    }

    /// The nearest revision in the chain with the same text whose chunk isn't empty: to build on. `None` for an empty text.
    fn with_content(&self, mut revision: u32) -> Option<u32> {
        while self.chunk_bytes(revision) == 0 {
            revision = self.delta_base(revision)?;
        }
        Some(revision)
    }

    /// What matters of a revision's chain; old ones are walked once.
    pub(super) fn chain(&mut self, revision: u32) -> Chain {
        if let Some(entry) = self.entry(revision) {
            return entry.chain;
        }
        let mut above = Vec::new();
        let mut at = revision;
        let mut chain = loop {
            if let Some(&chain) = self.old_chains.get(&at) {
                break chain;
            }
            match self.old().delta_base(Revision::new(at)) {
                Some(base) => {
                    above.push(at);
                    at = base.get();
                }
                None => {
                    let chain = Chain { revisions: 1, bytes: self.chunk_bytes(at).into(), snapshot: true };
                    self.old_chains.insert(at, chain);
                    break chain;
                }
            }
        };
        for at in above.into_iter().rev() {
            let base = self.delta_base(at);
            let parents = self.parents(at);
            let on_parent = parents.into_iter().flatten().any(|parent| self.with_content(parent) == base);
            chain = Chain {
                revisions: chain.revisions + 1,
                bytes: chain.bytes + u64::from(self.chunk_bytes(at)),
                snapshot: chain.snapshot && !on_parent,
            };
            self.old_chains.insert(at, chain);
        }
        chain
    }
}
