//! A changegroup of version 01, 02 or 03, read revision by revision.
//!
//! The format is Mercurial's (`mercurial/changegroup.py`, `help internals.changegroups`): chunks, each 4 bytes of length that count themselves, a length of 0 ending a group. Groups:
//! the changelog's; the manifest's; in 03 those of tree manifests, each after a chunk with its directory, ended by an empty one; those of files, each after a chunk with
//! its path, ended by an empty one. A revision's chunk is a header and a delta:
//!
//! | version | header |
//! | --- | --- |
//! | 01 | node, p1, p2, link: 20 bytes each. The base is the revision before in the group, p1 for the first |
//! | 02 | node, p1, p2, base, link: 20 bytes each |
//! | 03 | as 02, and 2 bytes of flags |

use hg_store::Node;
use hg_store::prepare::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};
use std::io::{self, Read};

/// The version of a changegroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangegroupVersion {
    /// Without delta bases of its own; what bundle1 holds.
    V1,
    /// With delta bases.
    V2,
    /// With flags and a section for tree manifests.
    V3,
}

impl ChangegroupVersion {
    /// The version that a part's parameter `version` names; none if it isn't known here.
    pub fn from_name(name: &[u8]) -> Option<ChangegroupVersion> {
        match name {
            b"01" => Some(ChangegroupVersion::V1),
            b"02" => Some(ChangegroupVersion::V2),
            b"03" => Some(ChangegroupVersion::V3),
            _ => None,
        }
    }

    const fn header_bytes(self) -> usize {
        match self {
            ChangegroupVersion::V1 => 80,
            ChangegroupVersion::V2 => 100,
            ChangegroupVersion::V3 => 102,
        }
    }
}

/// Bounds on single chunks. The number of chunks is bounded by the bundle's size alone.
#[derive(Debug, Clone, Copy)]
pub struct ChangegroupLimits {
    /// Bytes of one revision's delta.
    pub delta_bytes_max: u32,
    /// Bytes of one file's or folder's path.
    pub path_bytes_max: u32,
}

impl Default for ChangegroupLimits {
    /// 1 GiB and 64 KiB.
    fn default() -> Self {
        ChangegroupLimits { delta_bytes_max: 1 << 30, path_bytes_max: 64 << 10 }
    }
}

/// Reads a changegroup from `R`, which should be buffered.
pub struct ChangegroupReader<R: Read> {
    input: R,
    version: ChangegroupVersion,
    limits: ChangegroupLimits,
    place: Place,
    /// The node before in the group, version 01's delta base.
    previous: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    InChangelog,
    AfterChangelog,
    InManifest,
    /// Behind the manifest's group, or that of a folder's manifests.
    AfterManifest,
    InTree,
    InFile,
    BetweenFiles,
    Ended,
    Failed,
}

impl<R: Read> ChangegroupReader<R> {
    /// A reader of the changegroup that `input` begins with.
    pub fn new(input: R, version: ChangegroupVersion, limits: ChangegroupLimits) -> Self {
        ChangegroupReader { input, version, limits, place: Place::Start, previous: None }
    }

    fn step(&mut self, place: Place) -> Result<Incoming, IncomingError> {
        match place {
            Place::Start => self.begin(Place::InChangelog, Incoming::Changelog),
            Place::AfterChangelog => self.begin(Place::InManifest, Incoming::Manifest),
            Place::InChangelog => self.revision(place, Place::AfterChangelog),
            Place::InManifest => self.revision(place, Place::AfterManifest),
            Place::InFile => self.revision(place, Place::BetweenFiles),
            Place::InTree => self.revision(place, Place::AfterManifest),
            Place::AfterManifest if self.version == ChangegroupVersion::V3 => match self.path()? {
                Some(folder) => self.begin(Place::InTree, Incoming::Tree(folder)),
                None => self.file(),
            },
            Place::AfterManifest => self.file(),
            Place::BetweenFiles => self.file(),
            Place::Ended => {
                self.place = Place::Ended;
                Ok(Incoming::End)
            }
            Place::Failed => Err(IncomingError::Malformed("nothing can be read after an error".into())),
        }
    }

    fn begin(&mut self, place: Place, incoming: Incoming) -> Result<Incoming, IncomingError> {
        self.place = place;
        self.previous = None;
        Ok(incoming)
    }

    fn file(&mut self) -> Result<Incoming, IncomingError> {
        match self.path()? {
            Some(path) => self.begin(Place::InFile, Incoming::File(path)),
            None => {
                self.place = Place::Ended;
                Ok(Incoming::End)
            }
        }
    }

    /// The path of a file or a folder whose group follows; none for the chunk that ends their list.
    fn path(&mut self) -> Result<Option<Vec<u8>>, IncomingError> {
        let Some(bytes) = self.chunk_bytes()? else { return Ok(None) };
        if bytes > self.limits.path_bytes_max {
            return Err(IncomingError::Malformed(format!(
                "a path of {bytes} bytes, {} are allowed",
                self.limits.path_bytes_max
            )));
        }
        self.bytes(bytes).map(Some)
    }

    /// The next revision of the group at `here`, or the group's end, after which the reader is at `after`.
    fn revision(&mut self, here: Place, after: Place) -> Result<Incoming, IncomingError> {
        let Some(bytes) = self.chunk_bytes()? else {
            self.place = after;
            return Ok(Incoming::EndOfGroup);
        };
        let header_bytes = self.version.header_bytes();
        let delta_bytes = bytes.checked_sub(header_bytes as u32).ok_or_else(|| {
            IncomingError::Malformed(format!("a revision's chunk of {bytes} bytes is shorter than its header"))
        })?;
        if delta_bytes > self.limits.delta_bytes_max {
            return Err(IncomingError::Malformed(format!(
                "a delta of {delta_bytes} bytes, {} are allowed",
                self.limits.delta_bytes_max
            )));
        }
        let mut header = [0; 102];
        self.exactly(header_bytes, &mut header)?;
        let node = |number: usize| {
            let mut bytes = [0; 20];
            bytes.copy_from_slice(&header[number * 20..][..20]);
            Node::new(bytes)
        };
        let (base, link) = match self.version {
            ChangegroupVersion::V1 => (self.previous.unwrap_or_else(|| node(1)), node(3)),
            ChangegroupVersion::V2 | ChangegroupVersion::V3 => (node(3), node(4)),
        };
        let flags =
            if self.version == ChangegroupVersion::V3 { u16::from_be_bytes([header[100], header[101]]) } else { 0 };
        let delta = self.bytes(delta_bytes)?;
        self.previous = Some(node(0));
        self.place = here;
        Ok(Incoming::Revision(IncomingRevision { node: node(0), p1: node(1), p2: node(2), link, base, flags, delta }))
    }

    /// Bytes of the next chunk, without those of its length; none for the chunk that ends something.
    fn chunk_bytes(&mut self) -> Result<Option<u32>, IncomingError> {
        let mut length = [0; 102];
        self.exactly(4, &mut length)?;
        match i32::from_be_bytes([length[0], length[1], length[2], length[3]]) {
            0 => Ok(None),
            length if length <= 4 => Err(IncomingError::Malformed(format!("invalid chunk length {length}"))),
            length => Ok(Some(length as u32 - 4)),
        }
    }

    fn exactly(&mut self, bytes: usize, into: &mut [u8; 102]) -> Result<(), IncomingError> {
        let mut got = 0;
        while got < bytes {
            match self.input.read(&mut into[got..bytes]) {
                Ok(0) => return Err(cut(got as u64, bytes as u64)),
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(IncomingError::Io(error)),
            }
        }
        Ok(())
    }

    /// So many bytes. Memory grows with what has come, not with what was announced.
    fn bytes(&mut self, bytes: u32) -> Result<Vec<u8>, IncomingError> {
        const AT_ONCE_MAX: u32 = 1 << 20;
        let mut taken = Vec::with_capacity(bytes.min(AT_ONCE_MAX) as usize);
        self.input.by_ref().take(u64::from(bytes)).read_to_end(&mut taken).map_err(IncomingError::Io)?;
        if taken.len() < bytes as usize {
            return Err(cut(taken.len() as u64, u64::from(bytes)));
        }
        Ok(taken)
    }
}

impl<R: Read> IncomingChangegroup for ChangegroupReader<R> {
    fn next(&mut self) -> Result<Incoming, IncomingError> {
        // Whatever fails, nothing is read after it.
        let place = std::mem::replace(&mut self.place, Place::Failed);
        self.step(place)
    }
}

/// Stock's words for a stream that ends too early.
fn cut(got: u64, expected: u64) -> IncomingError {
    IncomingError::Malformed(format!("stream ended unexpectedly (got {got} bytes, expected {expected})"))
}

#[cfg(test)]
mod tests;
