//! A revlog that grows: the old revisions, and the new ones on their way into the change.

use std::borrow::Cow;
use std::fs::File;

use rustc_hash::FxHashMap;

use crate::change::ChangeWriter;
use crate::revlog::chunk;
use crate::revlog::index::FLAG_EXTERNAL;
use crate::{Node, Revision, Revlog, Snapshot, delta};

use super::delta_choice::{Chain, Choice, Given};
use super::error::{PrepareError, Refusal};
use super::external::External;
use super::hash::Log;
use super::index::ENTRY_BYTES;
use super::read_ahead::Arrived;
use super::spool::Spool;
use super::text_cache::Text;
use super::written::{Base, Written, WrittenRevision};

/// An inline revlog is split once its chunks have this many bytes together; as Mercurial does it.
const INLINE_BYTES_MAX: u64 = 131_072;

/// Which deltas a revlog may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deltas {
    /// Full texts only: the changelog.
    None,
    /// Only to the revision before: revlogs without `generaldelta`.
    Previous,
    /// To any revision.
    General {
        /// Whether chains may have intermediate snapshots.
        snapshots: bool,
    },
}

/// A new revision, as its index entry will say.
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) chunk_bytes: u32,
    pub(super) text_bytes: u32,
    /// `None`: the chunk is a full text.
    pub(super) base: Option<u32>,
    /// Whether the text points to what is stored elsewhere.
    pub(super) external: bool,
    pub(super) link: u32,
    pub(super) parents: [Option<u32>; 2],
    pub(super) node: Node,
    pub(super) chain: Chain,
}

/// How the bytes of one file reach it.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Create,
    Append(u64),
    Replace(Option<u64>),
}

impl Call {
    pub(super) fn write(self, writer: &mut ChangeWriter<File>, path: &[u8], bytes: &[u8]) -> Result<(), PrepareError> {
        Ok(match self {
            Call::Create => writer.create(path, bytes),
            Call::Append(old_bytes) => writer.append(path, old_bytes, bytes),
            Call::Replace(old_bytes) => writer.replace(path, old_bytes, bytes),
        }?)
    }
}

/// Where the new chunks are.
pub(super) enum Layout {
    /// In memory, to be written between the index entries.
    Inline(Vec<u8>),
    /// In the change, in the data file.
    Split,
}

/// One revlog that grows.
pub(super) struct Growing<'r> {
    log: Log,
    old: Option<&'r Revlog>,
    pub(super) old_revisions: u32,
    pub(super) deltas: Deltas,
    pub(super) paths: RevlogPaths,
    pub(super) index_call: Call,
    data_call: Call,
    pub(super) entries: Vec<Entry>,
    by_node: FxHashMap<Node, u32>,
    /// Where the objects are to which revisions may point: of files.
    pub(super) objects: Option<&'r Snapshot>,
    /// Bytes of all chunks: the next one's offset.
    end: u64,
    pub(super) old_end: u64,
    pub(super) layout: Layout,
    pub(super) old_chains: FxHashMap<u32, Chain>,
}

/// A revision that was new.
pub(super) struct Received {
    pub(super) revision: u32,
    pub(super) text: Text,
    /// The text to which the delta was; `None`: the empty one.
    pub(super) base: Option<Text>,
    /// What the text stands for, if that is something else.
    pub(super) external: Option<External>,
}

/// The paths of a revlog's files, below `.hg`.
pub(super) struct RevlogPaths {
    pub(super) index: Vec<u8>,
    pub(super) data: Vec<u8>,
}

impl<'r> Growing<'r> {
    /// `old` is `None` where there is no file. `deltas` is what the repository asks for where the revlog is new; an old one goes on
    /// as it began.
    pub(super) fn new(log: Log, old: Option<&'r Revlog>, paths: RevlogPaths, deltas: Deltas) -> Growing<'r> {
        let extent = old.map(Revlog::extent).unwrap_or_default();
        let mut growing = Growing {
            log,
            old,
            old_revisions: extent.revisions,
            deltas,
            paths,
            index_call: if old.is_some() { Call::Append(extent.index_bytes) } else { Call::Create },
            // A file left from a revlog that was emptied or never finished is no part of this one.
            data_call: if old.is_some() { Call::Replace(None) } else { Call::Create },
            entries: Vec::new(),
            by_node: FxHashMap::default(),
            objects: None,
            end: 0,
            old_end: 0,
            layout: if deltas == Deltas::None { Layout::Split } else { Layout::Inline(Vec::new()) },
            old_chains: FxHashMap::default(),
        };
        if let Some((old, last)) = old.and_then(|old| Some((old, old.tip()?))) {
            growing.end = old.chunk_offset(last) + u64::from(old.chunk_bytes(last));
            growing.old_end = growing.end;
            if !old.is_inline() {
                growing.layout = Layout::Split;
                growing.data_call = Call::Append(extent.data_bytes);
            } else {
                growing.layout = Layout::Inline(Vec::new());
            }
            growing.deltas = match deltas {
                Deltas::General { .. } if !old.is_generaldelta() => Deltas::Previous,
                Deltas::Previous if old.is_generaldelta() => Deltas::General { snapshots: false },
                deltas => deltas,
            };
        }
        growing
    }

    /// The old revlog; asked only for revisions that it has.
    pub(super) fn old(&self) -> &'r Revlog {
        match self.old {
            Some(old) => old,
            None => unreachable!("a revision of a revlog that has none"),
        }
    }

    /// Number of revisions, the new ones included.
    pub(super) fn len(&self) -> u32 {
        self.old_revisions + self.entries.len() as u32
    }

    /// A new revision's entry; `None` for an old one.
    pub(super) fn entry(&self, revision: u32) -> Option<&Entry> {
        self.entries.get(revision.checked_sub(self.old_revisions)? as usize)
    }

    pub(super) fn revision_of(&self, node: &Node) -> Option<u32> {
        match self.by_node.get(node) {
            Some(&revision) => Some(revision),
            None => self.old?.revision_of(node).map(Revision::get),
        }
    }

    pub(super) fn node(&self, revision: u32) -> Node {
        match self.entry(revision) {
            Some(entry) => entry.node,
            None => self.old().node(Revision::new(revision)),
        }
    }

    pub(super) fn parents(&self, revision: u32) -> [Option<u32>; 2] {
        match self.entry(revision) {
            Some(entry) => entry.parents,
            None => self.old().parents(Revision::new(revision)).map(|parent| parent.map(Revision::get)),
        }
    }

    pub(super) fn text_bytes(&self, revision: u32) -> u32 {
        match self.entry(revision) {
            Some(entry) => entry.text_bytes,
            None => self.old().text_bytes(Revision::new(revision)),
        }
    }

    pub(super) fn chunk_bytes(&self, revision: u32) -> u32 {
        match self.entry(revision) {
            Some(entry) => entry.chunk_bytes,
            None => self.old().chunk_bytes(Revision::new(revision)),
        }
    }

    pub(super) fn delta_base(&self, revision: u32) -> Option<u32> {
        match self.entry(revision) {
            Some(entry) => entry.base,
            None => self.old().delta_base(Revision::new(revision)).map(Revision::get),
        }
    }

    /// Whether a revision's text points to what is stored elsewhere.
    pub(super) fn is_external(&self, revision: u32) -> bool {
        match self.entry(revision) {
            Some(entry) => entry.external,
            None => self.old().is_external(Revision::new(revision)),
        }
    }

    pub(super) fn refused(&self, what: Refusal, node: Node) -> PrepareError {
        PrepareError::refused(what, self.log.place(node))
    }

    /// Takes one revision; `None` where it was known.
    ///
    /// Its text is rebuilt and given to the hash check, whose verdict may come later.
    pub(super) fn receive(
        &mut self,
        spool: &mut Spool,
        incoming: &Arrived,
        link: u32,
    ) -> Result<Option<Received>, PrepareError> {
        let node = incoming.node;
        if node.is_null() {
            return Err(self.refused(Refusal::NullNode, node));
        }
        if self.revision_of(&node).is_some() {
            return Ok(None);
        }
        let objects = match (incoming.flags, self.objects) {
            (0, _) => None,
            (FLAG_EXTERNAL, Some(objects)) => Some(objects),
            (flags, _) => return Err(self.refused(Refusal::Flags(flags), node)),
        };
        let mut parents = [None; 2];
        for (parent, name) in parents.iter_mut().zip([incoming.p1, incoming.p2]) {
            if !name.is_null() {
                *parent =
                    Some(self.revision_of(&name).ok_or_else(|| self.refused(Refusal::UnknownParent(name), node))?);
            }
        }
        let base = if incoming.base.is_null() {
            None
        } else {
            Some(
                self.revision_of(&incoming.base)
                    .ok_or_else(|| self.refused(Refusal::UnknownBase(incoming.base), node))?,
            )
        };
        let base_text = base.map(|base| self.text(spool, base)).transpose()?;
        let bound = match self.log {
            Log::Changelog => spool.limits.changeset_bytes,
            _ => spool.limits.text_bytes,
        };
        let mut text = spool.cache.buffer();
        let old_text = base_text.as_ref().map_or(&[][..], |text| text);
        delta::apply_into(old_text, &incoming.delta, bound as usize, &mut text)
            .map_err(|error| self.refused(Refusal::Delta(error), node))?;
        let text = Text::new(text);
        let names = [incoming.p1, incoming.p2];
        let external = match objects {
            None => {
                spool.hashes.add(&self.log, node, names, &text)?;
                None
            }
            Some(objects) => Some(self.check_pointer(objects, node, &names, &text)?),
        };
        if matches!(self.log, Log::File(_)) {
            put_in_order(&mut parents, &text);
        }
        let given = Given { base, delta: &incoming.delta, made: &incoming.made };
        let choice = match external {
            None => self.choose(spool, parents, &text, &given)?,
            Some(_) => self.full(spool, &text, &given)?,
        };
        let revision = self.push(spool, node, parents, link, text.len() as u32, choice)?;
        if let Some(entry) = self.entries.last_mut() {
            entry.external = external.is_some();
        }
        spool.cache.insert(revision, Text::clone(&text));
        Ok(Some(Received { revision, text, base: base_text, external }))
    }

    /// Writes the chosen chunk, and notes the entry.
    fn push(
        &mut self,
        spool: &mut Spool,
        node: Node,
        parents: [Option<u32>; 2],
        link: u32,
        text_bytes: u32,
        choice: Choice,
    ) -> Result<u32, PrepareError> {
        let revision = self.len();
        let chunk_bytes = spool.chunk.len() as u32;
        self.entries.push(Entry {
            offset: self.end,
            chunk_bytes,
            text_bytes,
            base: choice.base,
            external: false,
            link,
            parents,
            node,
            chain: choice.chain,
        });
        self.by_node.insert(node, revision);
        self.end += u64::from(chunk_bytes);
        let Spool { writer, chunk, limits, .. } = spool;
        match &mut self.layout {
            Layout::Inline(chunks) => {
                chunks.extend_from_slice(chunk);
                if self.end >= INLINE_BYTES_MAX {
                    self.split(writer)?;
                }
            }
            Layout::Split => self.data_call.write(writer, &self.paths.data, chunk)?,
        }
        if writer.data_bytes() > limits.change_bytes {
            let limit = Refusal::Limit { limit: limits.change_bytes, unit: "bytes in the store" };
            return Err(self.refused(limit, node));
        }
        Ok(revision)
    }

    /// Begins the data file with all chunks that there are.
    fn split(&mut self, writer: &mut ChangeWriter<File>) -> Result<(), PrepareError> {
        if let Layout::Inline(chunks) = std::mem::replace(&mut self.layout, Layout::Split) {
            for revision in self.old_range() {
                self.data_call.write(writer, &self.paths.data, self.old().raw_chunk(revision))?;
            }
            self.data_call.write(writer, &self.paths.data, &chunks)?;
        }
        Ok(())
    }

    pub(super) fn old_range(&self) -> impl Iterator<Item = Revision> + use<> {
        (0..self.old_revisions).map(Revision::new)
    }

    /// Whether old chunks lie between the entries, and the new ones don't.
    pub(super) fn was_split(&self) -> bool {
        matches!(self.layout, Layout::Split) && self.old_revisions > 0 && self.old().is_inline()
    }

    /// The full text of any revision, old or new; not checked.
    pub(super) fn text(&self, spool: &mut Spool, revision: u32) -> Result<Text, PrepareError> {
        if let Some(text) = spool.cache.get(revision) {
            return Ok(text);
        }
        // From the nearest text at hand: one in the cache, an old revision's, or a full one.
        let mut deltas = Vec::new();
        let mut at = revision;
        let mut text = loop {
            if at != revision
                && let Some(text) = spool.cache.get(at)
            {
                break text.to_vec();
            }
            if at < self.old_revisions {
                break self.old().text_unchecked(Revision::new(at))?;
            }
            let chunk = self.new_chunk(spool, at)?;
            match self.delta_base(at) {
                None => break chunk,
                Some(base) => {
                    deltas.push(chunk);
                    at = base;
                }
            }
        };
        if !deltas.is_empty() {
            let deltas: Vec<&[u8]> = deltas.iter().rev().map(Vec::as_slice).collect();
            text = delta::apply_chain(&text, &deltas, spool.limits.text_bytes as usize).map_err(damaged_spool)?;
        }
        let text = Text::new(text);
        spool.cache.insert(revision, Text::clone(&text));
        Ok(text)
    }

    /// The stored delta or full text of a new revision, decompressed.
    pub(super) fn new_chunk(&self, spool: &mut Spool, revision: u32) -> Result<Vec<u8>, PrepareError> {
        let Some(entry) = self.entry(revision) else {
            return Ok(Vec::new());
        };
        let mut stored = vec![0; entry.chunk_bytes as usize];
        match &self.layout {
            Layout::Inline(chunks) => {
                let start = (entry.offset - self.old_end) as usize;
                stored.copy_from_slice(&chunks[start..start + entry.chunk_bytes as usize]);
            }
            Layout::Split => {
                spool.writer.read_back(&self.paths.data, entry.offset - self.data_begins(), &mut stored)?;
            }
        }
        // It was in memory when it was written.
        let bound = u32::MAX as usize;
        chunk::decompress(&stored, bound).map(Cow::into_owned).map_err(damaged_spool)
    }

    /// The offset of the first chunk that the change has in the data file.
    fn data_begins(&self) -> u64 {
        match self.data_call {
            Call::Append(_) => self.old_end,
            Call::Create | Call::Replace(_) => 0,
        }
    }

    /// What is needed to read the new revisions again, once the index is written.
    pub(super) fn into_written(self) -> Written {
        let is_inline = matches!(self.layout, Layout::Inline(_));
        let place = |number: usize, entry: &Entry| match is_inline {
            // Each chunk lies behind its entry.
            true => (number as u64 + 1) * ENTRY_BYTES as u64 + (entry.offset - self.old_end),
            false => entry.offset - self.data_begins(),
        };
        let base = |base: Option<u32>| match base {
            None => Base::None,
            Some(base) => match base.checked_sub(self.old_revisions) {
                Some(new) => Base::New(new),
                None => Base::Old(self.node(base)),
            },
        };
        let revisions = self.entries.iter().enumerate().map(|(number, entry)| WrittenRevision {
            node: entry.node,
            at: place(number, entry),
            bytes: entry.chunk_bytes,
            base: base(entry.base),
        });
        let revisions = revisions.collect();
        let mut by_node = self.by_node;
        by_node.values_mut().for_each(|revision| *revision -= self.old_revisions);
        Written { path: if is_inline { self.paths.index } else { self.paths.data }, revisions, by_node }
    }

    /// Whether the push brings the data file, or brings new revisions to a revlog without a file.
    pub(super) fn new_files(&self) -> (bool, bool) {
        let new = !self.entries.is_empty();
        let data = matches!(self.layout, Layout::Split) && !matches!(self.data_call, Call::Append(_));
        (new && self.old_revisions == 0, new && data)
    }
}

/// What was written can't be read again.
pub(super) fn damaged_spool(error: impl std::fmt::Display) -> PrepareError {
    PrepareError::Spool(std::io::Error::other(format!("the spool gave back other bytes than were written: {error}")))
}

/// Puts the parents of a file revision in the order in which Mercurial keeps them: after a copy the first one is null, else never.
fn put_in_order(parents: &mut [Option<u32>; 2], text: &[u8]) {
    let copied = text.starts_with(b"\x01\n");
    if (copied && parents[0].is_some() && parents[1].is_none())
        || (!copied && parents[0].is_none() && parents[1].is_some())
    {
        parents.swap(0, 1);
    }
}
