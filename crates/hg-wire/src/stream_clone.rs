//! Stream clones: the store's files as they are, instead of what is in them.
//!
//! ```text
//! version 1, the answer to `stream_out`:
//!   "0" LF, count SP bytes LF, files: path NUL length LF, content          or "1" LF: not allowed
//! version 2, the payload of the part `STREAM2`:
//!   files: "s" (store), length of path (LEB128), length (LEB128), path, content
//! version 3, the payload of the part `STREAM3-EXP`:
//!   number of groups (LEB128), groups: number of files (LEB128), files as in version 2
//! ```
//!
//! What may not be sent can't be left out of a file, so that a repository with secret or hidden changesets is not sent so at
//! all. Nor does it say then that it could: a client takes an ordinary clone.

use crate::CommandError;
use crate::bundle2_writer::PartHeader;
use crate::capabilities::BundleCapabilities;
use crate::quoting::quote;
use hg_store::{Snapshot, StoreFile, StoreFiles, path_encoding};
use std::io::{self, Write};
use std::sync::Arc;

/// Requirements that a clone need not share: how a working directory is kept, where the store is, or how names are encoded.
const NOT_STREAMED: [&str; 9] = [
    "dirstate-tracked-key-v1",
    "dirstate-v2",
    "dotencode",
    "fncache",
    "persistent-nodemap",
    "relshared",
    "share-safe",
    "shared",
    "store",
];

/// The answer to `stream_out` where there is none.
pub const FORBIDDEN: &[u8] = b"1\n";

/// Returns whether the repository is sent as a stream: by its settings (`server.uncompressed`), and only where everybody may
/// have every changeset.
pub fn is_allowed(snapshot: &Snapshot) -> bool {
    // What can't be read is no reason against saying the other capabilities.
    snapshot.settings().stream_clones() && snapshot.served().is_ok_and(|served| served.excluded().is_empty())
}

/// Returns what a client must understand, as a comma list.
pub fn requirements(snapshot: &Snapshot) -> String {
    let names = snapshot.repository().requirements().iter().filter(|name| !NOT_STREAMED.contains(name));
    names.collect::<Vec<_>>().join(",")
}

/// A layout of the stream in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V2,
    V3,
}

/// A stream that is ready to be sent in a bundle.
pub struct StreamPart {
    files: StoreFiles,
    version: Version,
    requirements: String,
}

impl StreamPart {
    /// Lists what goes out.
    ///
    /// # Errors
    /// Stream clones are not allowed; no version, or no format of obsolescence markers, is the client's too; a store that is
    /// damaged.
    pub fn new(snapshot: Arc<Snapshot>, client: &BundleCapabilities) -> Result<StreamPart, CommandError> {
        let refused = |text: &str| CommandError::Refused(format!("refused: {text}. Clone without --stream"));
        if !is_allowed(&snapshot) {
            return Err(refused("stream clones are not allowed, of this repository"));
        }
        let understood = client.get("stream").unwrap_or_default();
        let understands = |version: &[u8]| understood.iter().any(|other| other == version);
        let version = match (snapshot.settings().stream_v3() && understands(b"v3-exp"), understands(b"v2")) {
            (true, _) => Version::V3,
            (false, true) => Version::V2,
            (false, false) => return Err(refused("no common version of stream clones, with this client")),
        };
        if let Some(markers) = snapshot.obsstore()?.version() {
            let understood = client.get("obsmarkers").unwrap_or_default();
            if !understood.iter().any(|version| *version == format!("V{markers}").as_bytes()) {
                return Err(refused("the repository has obsolescence markers, which this client does not take"));
            }
        }
        let requirements = requirements(&snapshot);
        Ok(StreamPart { files: StoreFiles::of(snapshot, true)?, version, requirements })
    }

    /// Returns the part's header.
    pub fn header(&self) -> PartHeader {
        let requirements = quote(self.requirements.as_bytes());
        match self.version {
            Version::V2 => PartHeader::new("STREAM2")
                .mandatory("bytecount", self.files.bytes().to_string())
                .mandatory("filecount", self.files.len().to_string())
                .mandatory("requirements", requirements),
            Version::V3 => PartHeader::new("STREAM3-EXP").mandatory("requirements", requirements),
        }
    }

    /// Writes the part's payload.
    ///
    /// # Errors
    /// A file that is not as it was listed; `output` fails.
    pub fn write(&self, output: &mut dyn Write) -> Result<(), CommandError> {
        let mut reader = self.files.reader();
        if self.version == Version::V3 {
            write_number(output, self.files.groups().len() as u64)?;
        }
        for group in self.files.groups() {
            if self.version == Version::V3 {
                write_number(output, group.len() as u64)?;
            }
            for file in group {
                output.write_all(b"s")?;
                write_number(output, file.path.len() as u64)?;
                write_number(output, file.bytes)?;
                output.write_all(&file.path)?;
                reader.write::<CommandError>(file, output)?;
            }
        }
        Ok(())
    }
}

/// Writes the answer to `stream_out`.
///
/// # Errors
/// As for [`StreamPart::write`].
pub fn write_version_1(files: &StoreFiles, output: &mut dyn Write) -> Result<(), CommandError> {
    // Phases and markers have no place in it.
    let is_revlog = |file: &&StoreFile| file.path.ends_with(b".i") || file.path.ends_with(b".d");
    let (count, bytes) = files.iter().filter(is_revlog).fold((0, 0), |(n, sum), file| (n + 1, sum + file.bytes));
    writeln!(output, "0\n{count} {bytes}")?;
    let mut reader = files.reader();
    for file in files.iter().filter(is_revlog) {
        output.write_all(&path_encoding::encode_directories(&file.path))?;
        writeln!(output, "\0{}", file.bytes)?;
        reader.write::<CommandError>(file, output)?;
    }
    Ok(())
}

/// Writes an unsigned LEB128 number.
pub(crate) fn write_number(output: &mut dyn Write, mut number: u64) -> io::Result<()> {
    let mut bytes = [0; 10];
    let mut length = 0;
    loop {
        bytes[length] = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            break;
        }
        bytes[length] |= 0x80;
        length += 1;
    }
    output.write_all(&bytes[..=length])
}

#[cfg(test)]
mod tests {
    use super::write_number;

    #[test]
    fn numbers_are_leb128() {
        for (number, expected) in [
            (0, [0].as_slice()),
            (127, &[0x7f]),
            (137, &[0x89, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut bytes = Vec::new();
            write_number(&mut bytes, number).expect("memory");
            assert_eq!(bytes, expected, "{number}");
        }
    }
}
