//! Writes the groups of a changegroup: choice of each revision's base, delta, framing.

use crate::CommandError;
use crate::outgoing::Outgoing;
use hg_store::{ChunkReader, Node, Revision, Revlog, Snapshot, delta};
use rustc_hash::FxHashSet;
use std::io::Write;

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

    /// Length of a revision's header, in bytes.
    fn header_bytes(self) -> usize {
        match self {
            Version::V01 => 80,
            Version::V02 => 100,
            Version::V03 => 102,
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

/// Writes groups. The order is the caller's.
pub(super) struct GroupWriter<'a> {
    version: Version,
    snapshot: &'a Snapshot,
    outgoing: &'a Outgoing,
    output: &'a mut dyn Write,
    /// Header and hunk header of the revision that is being written.
    head: Vec<u8>,
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
        let (head, chunks) = (Vec::with_capacity(128), ChunkReader::new());
        GroupWriter { version, snapshot, outgoing, output, head, chunks }
    }

    /// Ends a group, or the list of files.
    pub(super) fn end_of_group(&mut self) -> Result<(), CommandError> {
        Ok(self.output.write_all(&[0; 4])?)
    }

    /// Begins a file's group.
    pub(super) fn path(&mut self, path: &[u8]) -> Result<(), CommandError> {
        self.output.write_all(&chunk_length(path.len())?)?;
        Ok(self.output.write_all(path)?)
    }

    /// Writes the changelog's group; `each` sees every changeset's text.
    pub(super) fn changelog(
        &mut self,
        mut each: impl FnMut(Revision, &[u8]) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let revlog = self.snapshot.changelog();
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut before: Option<Revision> = None;
        for &revision in self.outgoing.missing() {
            let rebuilt;
            let text = if revlog.delta_base(revision).is_none() {
                revlog.chunk_with(revision, &mut chunks)?
            } else {
                rebuilt = revlog.text_unchecked(revision)?;
                &rebuilt
            };
            each(revision, text)?;
            // Stock stores changesets whole, so the whole text is what costs least to send.
            let base = match self.version {
                Version::V01 => before.or(revlog.parents(revision)[0]),
                Version::V02 | Version::V03 => None,
            };
            self.whole(&Entry { revlog, revision, base, link: revision.get() }, text)?;
            before = Some(revision);
        }
        self.chunks = chunks;
        Ok(())
    }

    /// Writes revisions of a manifest or of a file, lowest first, each with the number of the changeset that it is sent
    /// for.
    pub(super) fn revlog(&mut self, revlog: &Revlog, revisions: &[(Revision, u32)]) -> Result<(), CommandError> {
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut texts = revlog.texts(KEPT_TEXT_BYTES);
        let mut sent = self.outgoing.has_others().then(FxHashSet::default);
        let mut before: Option<Revision> = None;
        for &(revision, link) in revisions {
            let stored = revlog.delta_base(revision);
            let base = match self.version {
                Version::V01 => before.or(revlog.parents(revision)[0]),
                Version::V02 | Version::V03 => self.base(revlog, revision, sent.as_ref()),
            };
            let entry = Entry { revlog, revision, base, link };
            let is_raw = |revision: Revision| revlog.flags(revision) & FLAGS_RAW != 0;
            match base {
                _ if base == stored && base.is_some() => {
                    self.delta(&entry, revlog.chunk_with(revision, &mut chunks)?)?;
                }
                Some(base) if !is_raw(base) && !is_raw(revision) => {
                    let delta = delta::diff(&texts.text_unchecked(base)?, &texts.text_unchecked(revision)?);
                    self.delta(&entry, &delta)?;
                }
                _ if stored.is_none() => self.whole(&entry, revlog.chunk_with(revision, &mut chunks)?)?,
                _ => self.whole(&entry, &texts.text_unchecked(revision)?)?,
            }
            before = Some(revision);
            if let Some(sent) = &mut sent {
                sent.insert(revision);
            }
        }
        self.chunks = chunks;
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

    /// Writes a revision as one hunk that replaces all of its base.
    fn whole(&mut self, entry: &Entry<'_>, text: &[u8]) -> Result<(), CommandError> {
        let base_bytes = entry.base.map_or(0, |base| entry.revlog.text_bytes(base));
        // Nothing instead of nothing takes no hunk.
        let hunk_bytes = if base_bytes == 0 && text.is_empty() { 0 } else { 12 };
        self.begin(entry, hunk_bytes + text.len())?;
        if hunk_bytes > 0 {
            self.head.extend_from_slice(&[0; 4]);
            self.head.extend_from_slice(&base_bytes.to_be_bytes());
            self.head.extend_from_slice(&(text.len() as u32).to_be_bytes());
        }
        self.output.write_all(&self.head)?;
        Ok(self.output.write_all(text)?)
    }

    /// Writes a revision with a delta.
    fn delta(&mut self, entry: &Entry<'_>, delta: &[u8]) -> Result<(), CommandError> {
        self.begin(entry, delta.len())?;
        self.output.write_all(&self.head)?;
        Ok(self.output.write_all(delta)?)
    }

    /// Makes the head of a revision that `delta_bytes` follow.
    fn begin(&mut self, entry: &Entry<'_>, delta_bytes: usize) -> Result<(), CommandError> {
        let Entry { revlog, revision, base, link } = *entry;
        let changelog = self.snapshot.changelog();
        let node = |revision: Option<Revision>| revision.map_or(Node::NULL, |revision| revlog.node(revision));
        let [p1, p2] = revlog.parents(revision);
        let link = changelog.revision(link).map_or(Node::NULL, |link| changelog.node(link));
        let header_bytes = self.version.header_bytes();
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(&chunk_length(header_bytes + delta_bytes)?);
        head.extend_from_slice(revlog.node(revision).as_bytes());
        head.extend_from_slice(node(p1).as_bytes());
        head.extend_from_slice(node(p2).as_bytes());
        if self.version != Version::V01 {
            head.extend_from_slice(node(base).as_bytes());
        }
        head.extend_from_slice(link.as_bytes());
        if self.version == Version::V03 {
            head.extend_from_slice(&(revlog.flags(revision) & FLAGS_SENT).to_be_bytes());
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
