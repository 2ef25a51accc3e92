//! Writes the groups of a changegroup: choice of each revision's base, delta, framing.

use crate::CommandError;
use crate::outgoing::Outgoing;
use hg_store::{ChunkReader, Node, Revision, Revlog, Snapshot, StoreError, delta};
use rustc_hash::FxHashSet;
use std::io::Write;
use std::ops::Range;

/// A changegroup's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Each delta's base is the revision before it in the group.
    V01,
    /// Each revision names its base.
    V02,
    /// Each revision has flags, too.
    V03,
}

impl Version {
    /// Returns the version as it is on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V01 => "01",
            Version::V02 => "02",
            Version::V03 => "03",
        }
    }

    /// Returns the version of that name, if it is spoken here.
    pub fn parse(name: &[u8]) -> Option<Version> {
        match name {
            b"01" => Some(Version::V01),
            b"02" => Some(Version::V02),
            b"03" => Some(Version::V03),
            _ => None,
        }
    }
}

/// Flags of a revision under which its raw text is not what its hash is of: censored, stored elsewhere. Deltas from
/// or to such a revision are not sent.
const FLAGS_RAW: u16 = 0x8000 | 0x2000;
/// Flags that are sent: censored, ellipsis, stored elsewhere, copies in side data. The others say how this store
/// keeps a revision.
const FLAGS_SENT: u16 = 0x8000 | 0x4000 | 0x2000 | 0x1000;

/// Bytes of texts that are kept while deltas are computed.
const KEPT_TEXT_BYTES: usize = 16 << 20;

/// Bytes that are written at once, or one revision, where that is more.
const PIECE_BYTES: usize = 128 << 10;

/// Writes groups. The order is the caller's.
pub(super) struct GroupWriter<'a> {
    version: Version,
    snapshot: &'a Snapshot,
    outgoing: &'a Outgoing,
    output: &'a mut dyn Write,
    /// What was made and not written yet.
    piece: Vec<u8>,
    chunks: ChunkReader,
}

/// A revision that is about to be written.
struct Entry<'r> {
    revlog: &'r Revlog,
    revision: Revision,
    /// What its delta is against; `None` is the empty text.
    base: Option<Revision>,
    /// The number of the changeset that it is sent for; one that goes out.
    link: u32,
}

impl<'a> GroupWriter<'a> {
    pub(super) fn new(
        version: Version,
        snapshot: &'a Snapshot,
        outgoing: &'a Outgoing,
        output: &'a mut dyn Write,
    ) -> GroupWriter<'a> {
        let (piece, chunks) = (Vec::with_capacity(PIECE_BYTES * 2), ChunkReader::new());
        GroupWriter { version, snapshot, outgoing, output, piece, chunks }
    }

    /// Ends a group, or the list of files.
    pub(super) fn end_of_group(&mut self) {
        self.piece.extend_from_slice(&[0; 4]);
    }

    /// Begins a file's group.
    pub(super) fn path(&mut self, path: &[u8]) -> Result<(), CommandError> {
        self.piece.extend_from_slice(&chunk_length(path.len())?);
        self.piece.extend_from_slice(path);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> Result<(), CommandError> {
        Ok(self.output.write_all(&self.piece)?)
    }

    /// Writes the changelog's group; `each` sees every changeset's text.
    pub(super) fn changelog(
        &mut self,
        mut each: impl FnMut(Revision, &[u8]) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let revlog = self.snapshot.changelog();
        let mut before: Option<Revision> = None;
        for &revision in self.outgoing.missing() {
            // Stock stores changesets whole, so the whole text is what costs least to send.
            let base = match self.version {
                Version::V01 => before.or(revlog.parents(revision)[0]),
                Version::V02 | Version::V03 => None,
            };
            let entry = Entry { revlog, revision, base, link: revision.get() };
            let text = match revlog.delta_base(revision) {
                None => self.whole(&entry, |chunks, piece| Ok(revlog.append_chunk(revision, chunks, piece)?))?,
                Some(_) => {
                    let rebuilt = revlog.text_unchecked(revision)?;
                    self.whole(&entry, |_, piece| {
                        piece.extend_from_slice(&rebuilt);
                        Ok(())
                    })?
                }
            };
            each(revision, &self.piece[text])?;
            self.write_full_piece()?;
            before = Some(revision);
        }
        Ok(())
    }

    /// Writes revisions of a manifest or of a file, lowest first, each with the number of the changeset that it is sent
    /// for.
    pub(super) fn revlog(&mut self, revlog: &Revlog, revisions: &[(Revision, u32)]) -> Result<(), CommandError> {
        let mut texts = revlog.texts(KEPT_TEXT_BYTES);
        let mut sent = self.outgoing.has_others().then(FxHashSet::default);
        let mut before: Option<Revision> = None;
        for &(revision, link) in revisions {
            if self.version != Version::V03 && revlog.is_external(revision) {
                // Without its flag a pointer would be taken for what the file holds.
                return Err(CommandError::Store(StoreError::Corrupt {
                    path: revlog.path().to_owned(),
                    what: format!(
                        "revision {revision} points to an LFS object, in a repository without requirement 'lfs'"
                    ),
                }));
            }
            let stored = revlog.delta_base(revision);
            let base = match self.version {
                Version::V01 => before.or(revlog.parents(revision)[0]),
                Version::V02 | Version::V03 => self.base(revlog, revision, sent.as_ref()),
            };
            let entry = Entry { revlog, revision, base, link };
            let is_raw = |revision: Revision| revlog.flags(revision) & FLAGS_RAW != 0;
            match base {
                _ if base == stored && base.is_some() => {
                    let start = self.begin(&entry);
                    revlog.append_chunk(revision, &mut self.chunks, &mut self.piece)?;
                    self.end(start)?;
                }
                Some(base) if !is_raw(base) && !is_raw(revision) => {
                    let delta = delta::diff(&texts.text_unchecked(base)?, &texts.text_unchecked(revision)?);
                    let start = self.begin(&entry);
                    self.piece.extend_from_slice(&delta);
                    self.end(start)?;
                }
                _ if stored.is_none() => {
                    self.whole(&entry, |chunks, piece| Ok(revlog.append_chunk(revision, chunks, piece)?))?;
                }
                _ => {
                    let text = texts.text_unchecked(revision)?;
                    self.whole(&entry, |_, piece| {
                        piece.extend_from_slice(&text);
                        Ok(())
                    })?;
                }
            }
            self.write_full_piece()?;
            before = Some(revision);
            if let Some(sent) = &mut sent {
                sent.insert(revision);
            }
        }
        Ok(())
    }

    /// Chooses the base of a revision's delta: the one that is stored, if the client has it or got it, else a parent,
    /// else none. `sent` is what went before in the group; `None`: nothing is left out, so that a base, which has a
    /// lower number, is the client's or went before.
    fn base(&self, revlog: &Revlog, revision: Revision, sent: Option<&FxHashSet<Revision>>) -> Option<Revision> {
        let is_raw = |revision: Revision| revlog.flags(revision) & FLAGS_RAW != 0;
        let has = |base: &Revision| {
            !is_raw(*base) && sent.is_none_or(|sent| sent.contains(base) || self.outgoing.is_common(revlog.link(*base)))
        };
        let stored = revlog.delta_base(revision).filter(|_| !is_raw(revision))?;
        Some(stored).into_iter().chain(revlog.parents(revision).into_iter().flatten()).find(has)
    }

    /// Makes a revision that is one hunk, which replaces all of its base; `text` appends what it is replaced by.
    /// Returns where in the piece that is.
    fn whole(
        &mut self,
        entry: &Entry<'_>,
        text: impl FnOnce(&mut ChunkReader, &mut Vec<u8>) -> Result<(), CommandError>,
    ) -> Result<Range<usize>, CommandError> {
        let base_bytes = entry.base.map_or(0, |base| entry.revlog.text_bytes(base));
        let start = self.begin(entry);
        let hunk = self.piece.len();
        self.piece.extend_from_slice(&[0; 4]);
        self.piece.extend_from_slice(&base_bytes.to_be_bytes());
        self.piece.extend_from_slice(&[0; 4]);
        let mut text_start = self.piece.len();
        text(&mut self.chunks, &mut self.piece)?;
        let text_bytes = self.piece.len() - text_start;
        if base_bytes == 0 && text_bytes == 0 {
            // Nothing instead of nothing takes no hunk.
            self.piece.truncate(hunk);
            text_start = hunk;
        } else {
            self.piece[text_start - 4..text_start].copy_from_slice(&(text_bytes as u32).to_be_bytes());
        }
        self.end(start)?;
        Ok(text_start..self.piece.len())
    }

    /// Makes the head of a revision, but for its length; its delta follows. Returns where it begins.
    fn begin(&mut self, entry: &Entry<'_>) -> usize {
        let Entry { revlog, revision, base, link } = *entry;
        let changelog = self.snapshot.changelog();
        let node = |revision: Option<Revision>| revision.map_or(Node::NULL, |revision| revlog.node(revision));
        let [p1, p2] = revlog.parents(revision);
        let link = changelog.revision(link).map_or(Node::NULL, |link| changelog.node(link));
        let piece = &mut self.piece;
        let start = piece.len();
        piece.extend_from_slice(&[0; 4]);
        piece.extend_from_slice(revlog.node(revision).as_bytes());
        piece.extend_from_slice(node(p1).as_bytes());
        piece.extend_from_slice(node(p2).as_bytes());
        if self.version != Version::V01 {
            piece.extend_from_slice(node(base).as_bytes());
        }
        piece.extend_from_slice(link.as_bytes());
        if self.version == Version::V03 {
            piece.extend_from_slice(&(revlog.flags(revision) & FLAGS_SENT).to_be_bytes());
        }
        start
    }

    /// Ends a revision: says how long it is.
    fn end(&mut self, start: usize) -> Result<(), CommandError> {
        let length = chunk_length(self.piece.len() - start - 4)?;
        self.piece[start..start + 4].copy_from_slice(&length);
        Ok(())
    }

    /// Writes the piece once it is long enough.
    fn write_full_piece(&mut self) -> Result<(), CommandError> {
        if self.piece.len() >= PIECE_BYTES {
            self.output.write_all(&self.piece)?;
            self.piece.clear();
            self.piece.shrink_to(PIECE_BYTES * 2);
        }
        Ok(())
    }
}

/// Returns a chunk's length field for that many bytes of data.
fn chunk_length(bytes: usize) -> Result<[u8; 4], CommandError> {
    match i32::try_from(bytes + 4) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(CommandError::Refused("a revision is too large for a changegroup".to_owned())),
    }
}
