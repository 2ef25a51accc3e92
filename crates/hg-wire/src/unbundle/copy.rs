//! What a push brings, written down as a bundle that any Mercurial reads, while it is prepared.
//!
//! What the client sent is no such file: it holds other parts, may be compressed, and without a header or in a version that an older Mercurial does not know. The
//! copy has one part, a changegroup of the very revisions that were prepared, of version 02, or 03 where folders have manifests or revisions may have flags: whoever
//! reads it sees what will be stored, however differently it reads bundles.

use super::{PushFailure, receive};
use crate::bundle2_writer::{Bundle2Writer, PartHeader, PartWriter};
use hg_store::prepare::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// Bytes written at a time.
const WRITE_BYTES: usize = 128 << 10;
/// Bytes of a chunk before its delta: its length, five nodes; and in version 03 flags.
const HEAD_BYTES: usize = 104;
const FLAGS_BYTES: usize = 2;

/// What only version 03 has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extras {
    /// Manifests are in trees.
    pub(super) trees: bool,
    /// Revisions may have flags.
    pub(super) flags: bool,
}

impl Extras {
    fn any(self) -> bool {
        self.trees || self.flags
    }
}

/// A bundle that is being written.
pub(super) struct BundleCopy {
    writer: Bundle2Writer<BufWriter<File>>,
    extras: Extras,
}

impl BundleCopy {
    /// A bundle in this file.
    pub(super) fn new(file: File, extras: Extras) -> io::Result<BundleCopy> {
        let writer = Bundle2Writer::new(BufWriter::with_capacity(WRITE_BYTES, file))?;
        Ok(BundleCopy { writer, extras })
    }

    /// Reads a changegroup through the copy. Whoever prepares a push refuses a second one, which stock would not read in a bundle.
    pub(super) fn begin<'c>(&'c mut self, source: &'c mut dyn IncomingChangegroup) -> Result<Copied<'c>, PushFailure> {
        let is_third = self.extras.any();
        let mut header = PartHeader::new("CHANGEGROUP").mandatory("version", if is_third { "03" } else { "02" });
        if self.extras.trees {
            header = header.mandatory("treemanifest", "1");
        }
        let part = self.writer.begin(&header).map_err(|error| failed(&error))?;
        Ok(Copied { source, part, in_trees: is_third, has_flags: is_third, written: Ok(()) })
    }

    /// Ends the bundle.
    pub(super) fn finish(self) -> Result<(), PushFailure> {
        let flushed = self.writer.finish().and_then(|mut output| output.flush());
        flushed.map_err(|error| failed(&error))
    }
}

/// A changegroup that is copied while it is read.
pub(super) struct Copied<'c> {
    source: &'c mut dyn IncomingChangegroup,
    part: PartWriter<'c, BufWriter<File>>,
    /// Whether the list of folders has not ended yet.
    in_trees: bool,
    has_flags: bool,
    written: io::Result<()>,
}

impl Copied<'_> {
    /// The changegroup was read.
    pub(super) fn finish(self) -> Result<(), PushFailure> {
        self.written.and_then(|()| self.part.finish()).map_err(|error| failed(&error))
    }

    fn write(&mut self, incoming: &Incoming) -> io::Result<()> {
        if self.in_trees && matches!(incoming, Incoming::File(_) | Incoming::End) {
            self.in_trees = false;
            self.part.write_all(&[0; 4])?;
        }
        match incoming {
            Incoming::Changelog | Incoming::Manifest => Ok(()),
            Incoming::EndOfGroup | Incoming::End => self.part.write_all(&[0; 4]),
            Incoming::Tree(path) | Incoming::File(path) => {
                self.part.write_all(&chunk_length(path.len() + 4)?)?;
                self.part.write_all(path)
            }
            Incoming::Revision(revision) => self.revision(revision),
        }
    }

    fn revision(&mut self, revision: &IncomingRevision) -> io::Result<()> {
        let IncomingRevision { node, p1, p2, link, base, flags, delta } = revision;
        let flags = flags.to_be_bytes();
        let flags = if self.has_flags { &flags[..] } else { &[] };
        let mut head = Vec::with_capacity(HEAD_BYTES + FLAGS_BYTES);
        head.extend_from_slice(&chunk_length(HEAD_BYTES + flags.len() + delta.len())?);
        for node in [node, p1, p2, base, link] {
            head.extend_from_slice(node.as_bytes());
        }
        head.extend_from_slice(flags);
        self.part.write_all(&head)?;
        self.part.write_all(delta)
    }
}

impl IncomingChangegroup for Copied<'_> {
    fn next(&mut self) -> Result<Incoming, IncomingError> {
        let incoming = self.source.next()?;
        // Where there is no room for flags, a revision with some is refused by whoever prepares it, so that leaving them out changes nothing.
        if self.written.is_ok() {
            self.written = self.write(&incoming);
        }
        Ok(incoming)
    }
}

/// The length of a chunk, which counts itself.
fn chunk_length(bytes: usize) -> io::Result<[u8; 4]> {
    i32::try_from(bytes).map(i32::to_be_bytes).map_err(io::Error::other)
}

fn failed(error: &io::Error) -> PushFailure {
    PushFailure::abort(receive::no_room(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle2_reader::{Bundle2Reader, BundleLimits};
    use crate::changegroup_reader::{ChangegroupLimits, ChangegroupReader, ChangegroupVersion};
    use hg_store::Node;
    use std::io::Seek;

    /// Pieces of a changegroup, one after the other.
    struct Pieces(std::vec::IntoIter<Incoming>);

    impl IncomingChangegroup for Pieces {
        fn next(&mut self) -> Result<Incoming, IncomingError> {
            Ok(self.0.next().unwrap_or(Incoming::End))
        }
    }

    fn pieces(extras: Extras) -> Vec<Incoming> {
        let node = |byte| Node::new([byte; 20]);
        let revision = |byte, delta: &[u8]| {
            let (p1, p2) = (node(byte + 1), Node::NULL);
            let (link, base) = (node(byte + 2), node(byte + 3));
            let flags = if extras.flags { 0x2000 } else { 0 };
            Incoming::Revision(IncomingRevision { node: node(byte), p1, p2, link, base, flags, delta: delta.to_vec() })
        };
        let mut pieces = vec![
            Incoming::Changelog,
            revision(1, b"a"),
            revision(11, b""),
            Incoming::EndOfGroup,
            Incoming::Manifest,
            revision(21, &[7; 100_000]),
            Incoming::EndOfGroup,
            Incoming::File(b"a/b".to_vec()),
            revision(31, b"c"),
            Incoming::EndOfGroup,
            Incoming::End,
        ];
        if extras.trees {
            let tree = [Incoming::Tree(b"a/".to_vec()), revision(41, b"b"), Incoming::EndOfGroup];
            pieces.splice(7..7, tree);
        }
        pieces
    }

    fn read_all(source: &mut dyn IncomingChangegroup) -> Vec<Incoming> {
        let mut read = Vec::new();
        while read.last() != Some(&Incoming::End) {
            read.push(source.next().expect("reads"));
        }
        read
    }

    #[test]
    fn what_was_read_through_the_copy_is_what_the_copy_says() {
        for (trees, flags) in [(false, false), (true, false), (false, true), (true, true)] {
            let extras = Extras { trees, flags };
            let (name, version) = match extras.any() {
                false => (b"02", ChangegroupVersion::V2),
                true => (b"03", ChangegroupVersion::V3),
            };
            let mut file = tempfile::tempfile().expect("a file");
            let mut copy = BundleCopy::new(file.try_clone().expect("the same"), extras).expect("written");
            let mut source = Pieces(pieces(extras).into_iter());
            let mut copied = copy.begin(&mut source).expect("the first");
            assert_eq!(read_all(&mut copied), pieces(extras));
            copied.finish().expect("written");
            copy.finish().expect("written");

            file.rewind().expect("rewound");
            let mut bundle = Bundle2Reader::open(file, BundleLimits::default()).expect("a bundle");
            let part = bundle.next_part().expect("reads").expect("a part");
            assert_eq!(part.header.parameter("version"), Some(&name[..]));
            assert_eq!(part.header.parameter("treemanifest").is_some(), trees);
            let mut reader = ChangegroupReader::new(part, version, ChangegroupLimits::default());
            assert_eq!(read_all(&mut reader), pieces(extras));
            drop(reader);
            assert!(bundle.next_part().expect("reads").is_none());
        }
    }
}
