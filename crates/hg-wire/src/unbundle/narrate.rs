//! The lines that a client reads while its changegroup is taken.

use hg_store::prepare::{Incoming, IncomingChangegroup, IncomingError};
use std::io::Write;

/// A changegroup that says on the client's stderr how far it was read, in stock's words.
pub(super) struct Narrated<'m, S> {
    source: S,
    messages: &'m mut dyn Write,
    revisions: u64,
    files_begun: bool,
}

impl<'m, S: IncomingChangegroup> Narrated<'m, S> {
    pub(super) fn new(source: S, messages: &'m mut dyn Write) -> Self {
        Narrated { source, messages, revisions: 0, files_begun: false }
    }

    /// Revisions read so far.
    pub(super) fn revisions(&self) -> u64 {
        self.revisions
    }

    /// A client that takes no more words still gets its push done, as with stock.
    fn say(&mut self, line: &str) {
        let _ = self.messages.write_all(line.as_bytes());
    }
}

impl<S: IncomingChangegroup> IncomingChangegroup for Narrated<'_, S> {
    fn next(&mut self) -> Result<Incoming, IncomingError> {
        let incoming = self.source.next()?;
        match &incoming {
            Incoming::Changelog => self.say("adding changesets\n"),
            Incoming::Manifest => self.say("adding manifests\n"),
            Incoming::File(_) | Incoming::End if !self.files_begun => {
                self.files_begun = true;
                self.say("adding file changes\n");
            }
            Incoming::Revision(_) => self.revisions += 1,
            Incoming::Tree(_) | Incoming::File(_) | Incoming::EndOfGroup | Incoming::End => {}
        }
        Ok(incoming)
    }
}
