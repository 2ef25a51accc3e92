//! Writes the groups of a changegroup: choice of each revision's base, delta, framing.

use crate::CommandError;
use crate::outgoing::Outgoing;
use hg_store::{Node, Revision, Revlog, Snapshot, delta};
use rustc_hash::FxHashSet;
use std::borrow::Cow;
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

/// Writes groups. The order is the caller's.
pub(super) struct GroupWriter<'a> {
    version: Version,
    snapshot: &'a Snapshot,
    outgoing: &'a Outgoing,
    output: &'a mut dyn Write,
    /// Header and hunk header of the revision that is being written.
    head: Vec<u8>,
}

impl<'a> GroupWriter<'a> {
    pub(super) fn new(
        version: Version,
        snapshot: &'a Snapshot,
        outgoing: &'a Outgoing,
        output: &'a mut dyn Write,
    ) -> GroupWriter<'a> {
        GroupWriter { version, snapshot, outgoing, output, head: Vec::with_capacity(128) }
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
        let changelog = self.snapshot.changelog();
        let mut before: Option<Revision> = None;
        for &revision in self.outgoing.missing() {
            let text = match changelog.delta_base(revision) {
                None => changelog.chunk(revision)?,
                Some(_) => Cow::Owned(changelog.text_unchecked(revision)?),
            };
            each(revision, &text)?;
            // Stock stores changesets whole, so the whole text is what costs least to send.
            let base = match self.version {
                Version::V01 => before.or(changelog.parents(revision)[0]),
                Version::V02 | Version::V03 => None,
            };
            let base_bytes = base.map_or(0, |base| changelog.text_bytes(base));
            self.whole(changelog, revision, base, base_bytes, revision.get(), &text)?;
            before = Some(revision);
        }
        Ok(())
    }

    /// Writes revisions of a manifest or of a file, lowest first, each with the number of the changeset that it is sent
    /// for.
    pub(super) fn revlog(&mut self, revlog: &Revlog, revisions: &[(Revision, u32)]) -> Result<(), CommandError> {
        // Where nothing is left out, a stored delta's base is the client's or goes before: it has a lower number.
        let mut sent = self.outgoing.has_others().then(FxHashSet::default);
        let mut before: Option<Revision> = None;
        for &(revision, link) in revisions {
            let stored = revlog.delta_base(revision);
            let raw = |revision: Revision| revlog.flags(revision) & FLAGS_RAW != 0;
            let has = |base: Revision| {
                !raw(base)
                    && sent.as_ref().is_none_or(|sent: &FxHashSet<Revision>| {
                        sent.contains(&base) || self.outgoing.is_common(revlog.link(base))
                    })
            };
            let base = if raw(revision) {
                None
            } else if self.version == Version::V01 {
                before.or(revlog.parents(revision)[0])
            } else {
                match stored {
                    None => None,
                    Some(base) if has(base) => Some(base),
                    Some(_) => revlog.parents(revision).into_iter().flatten().find(|parent| has(*parent)),
                }
            };
            // In version 01 the base is not a matter of choice.
            let fixed = (self.version == Version::V01).then(|| before.or(revlog.parents(revision)[0])).flatten();
            match base {
                Some(base) if stored == Some(base) => {
                    let chunk = revlog.chunk(revision)?;
                    self.revision(revlog, revision, Some(base), link, 0, &chunk)?;
                }
                Some(base) => {
                    let delta = delta::diff(&revlog.text_unchecked(base)?, &revlog.text_unchecked(revision)?);
                    self.revision(revlog, revision, Some(base), link, 0, &delta)?;
                }
                None => {
                    let text = match stored {
                        None => revlog.chunk(revision)?,
                        Some(_) => Cow::Owned(revlog.text_unchecked(revision)?),
                    };
                    let base_bytes = fixed.map_or(0, |base| revlog.text_bytes(base));
                    self.whole(revlog, revision, fixed, base_bytes, link, &text)?;
                }
            }
            before = Some(revision);
            if let Some(sent) = &mut sent {
                sent.insert(revision);
            }
        }
        Ok(())
    }

    /// Writes a revision as one hunk that replaces all of its base.
    fn whole(
        &mut self,
        revlog: &Revlog,
        revision: Revision,
        base: Option<Revision>,
        base_bytes: u32,
        link: u32,
        text: &[u8],
    ) -> Result<(), CommandError> {
        self.head.clear();
        self.head.resize(4 + self.version.header_bytes(), 0);
        let mut hunk = 0;
        if base_bytes > 0 || !text.is_empty() {
            self.head.extend_from_slice(&[0; 4]);
            self.head.extend_from_slice(&base_bytes.to_be_bytes());
            self.head.extend_from_slice(&(text.len() as u32).to_be_bytes());
            hunk = 12;
        }
        self.revision_with_hunk(revlog, revision, base, link, hunk, text)
    }

    /// Writes a revision with a delta.
    fn revision(
        &mut self,
        revlog: &Revlog,
        revision: Revision,
        base: Option<Revision>,
        link: u32,
        hunk: usize,
        delta: &[u8],
    ) -> Result<(), CommandError> {
        self.head.clear();
        self.head.resize(4 + self.version.header_bytes(), 0);
        self.revision_with_hunk(revlog, revision, base, link, hunk, delta)
    }

    /// Fills in the head, which `hunk` bytes of a hunk's header follow already, and writes it with the data.
    fn revision_with_hunk(
        &mut self,
        revlog: &Revlog,
        revision: Revision,
        base: Option<Revision>,
        link: u32,
        hunk: usize,
        data: &[u8],
    ) -> Result<(), CommandError> {
        let node = |revision: Option<Revision>| revision.map_or(Node::NULL, |revision| revlog.node(revision));
        let changelog = self.snapshot.changelog();
        let [p1, p2] = revlog.parents(revision);
        // Every link was looked at before: it is a changeset that goes out.
        let link = changelog.revision(link).map_or(Node::NULL, |link| changelog.node(link));
        let header_bytes = self.version.header_bytes();
        self.head[0..4].copy_from_slice(&chunk_length(header_bytes + hunk + data.len())?);
        let header = &mut self.head[4..];
        header[0..20].copy_from_slice(revlog.node(revision).as_bytes());
        header[20..40].copy_from_slice(node(p1).as_bytes());
        header[40..60].copy_from_slice(node(p2).as_bytes());
        if self.version == Version::V01 {
            header[60..80].copy_from_slice(link.as_bytes());
        } else {
            header[60..80].copy_from_slice(node(base).as_bytes());
            header[80..100].copy_from_slice(link.as_bytes());
        }
        if self.version == Version::V03 {
            header[100..102].copy_from_slice(&(revlog.flags(revision) & FLAGS_SENT).to_be_bytes());
        }
        self.output.write_all(&self.head)?;
        Ok(self.output.write_all(data)?)
    }
}

/// Returns a chunk's length field for that many bytes of data.
fn chunk_length(bytes: usize) -> Result<[u8; 4], CommandError> {
    match i32::try_from(bytes + 4) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(CommandError::Refused("a revision is too large for a changegroup".to_owned())),
    }
}
