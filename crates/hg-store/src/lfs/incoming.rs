//! An object that comes in, piece by piece: written as the change that stores it, and hashed.

use std::fs::File;

use sha2::{Digest, Sha256};

use super::LfsOid;
use crate::change::{ChangeError, ChangeWriter};

/// An object that is being written.
#[derive(Debug)]
pub struct IncomingObject {
    oid: LfsOid,
    writer: ChangeWriter<File>,
    hash: Sha256,
}

impl IncomingObject {
    /// Begins the change in a file, which is empty. The object must not be in the store by the time the change is applied.
    ///
    /// # Errors
    /// A failing file.
    pub fn new(file: File, oid: LfsOid) -> Result<IncomingObject, ChangeError> {
        let mut writer = ChangeWriter::new(file)?;
        // By rename: whoever asks for it meanwhile gets all of it or nothing.
        writer.begin_replace(&oid.path(), None)?;
        Ok(IncomingObject { oid, writer, hash: Sha256::new() })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// Too much for a change; a failing file.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ChangeError> {
        self.hash.update(bytes);
        self.writer.write(bytes)
    }

    /// Completes the change; `None` where the bytes are not what the object's name is the hash of.
    ///
    /// # Errors
    /// A failing file.
    pub fn finish(mut self) -> Result<Option<File>, ChangeError> {
        if LfsOid::new(self.hash.finalize().into()) != self.oid {
            return Ok(None);
        }
        self.writer.end();
        self.writer.finish().map(|(file, _)| Some(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ChangeRef;
    use std::io::{Read, Seek};

    fn written(oid: LfsOid, pieces: &[&[u8]]) -> Option<File> {
        let mut incoming = IncomingObject::new(tempfile::tempfile().expect("a file"), oid).expect("begun");
        pieces.iter().for_each(|piece| incoming.write(piece).expect("written"));
        incoming.finish().expect("finished")
    }

    #[test]
    fn only_what_the_name_is_the_hash_of_becomes_a_change() {
        for pieces in [&[&b"one "[..], b"", b"two"][..], &[], &[&[7; 600_000]]] {
            let oid = LfsOid::of(&pieces.concat());
            let mut file = written(oid, pieces).expect("right");
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read");
            let change = ChangeRef::parse(&bytes).expect("a change");
            assert_eq!(
                change.operations().map(|operation| operation.path().to_vec()).collect::<Vec<_>>(),
                [oid.path()]
            );
            assert!(written(oid, &[&pieces.concat(), b"more"]).is_none());
        }
    }
}
