//! Texts one after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Revlog;
use crate::{Revision, StoreError};

/// Rebuilds texts of one revlog, with the help of the ones used last.
///
/// Asked for revisions in order, each costs about what its own delta costs.
pub struct Texts<'a> {
    log: &'a Revlog,
    /// Used last at the end.
    kept: VecDeque<(Revision, Arc<Vec<u8>>)>,
    kept_bytes: usize,
    kept_bytes_max: usize,
}

impl<'a> Texts<'a> {
    pub(super) fn new(log: &'a Revlog, kept_bytes_max: usize) -> Texts<'a> {
        Texts { log, kept: VecDeque::new(), kept_bytes: 0, kept_bytes_max }
    }

    /// The full text; its hash is checked.
    pub fn text(&mut self, revision: Revision) -> Result<Arc<Vec<u8>>, StoreError> {
        let text = self.text_unchecked(revision)?;
        self.log.check(revision, &text)?;
        Ok(text)
    }

    /// Each revision's full text, in the order asked for, with its hash checked: several at a time, which is less work
    /// than one by one. Stops at the first error that the caller returns, and returns it.
    pub fn for_each(
        &mut self,
        revisions: impl IntoIterator<Item = Revision>,
        mut take: impl FnMut(Revision, Result<Arc<Vec<u8>>, StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut revisions = revisions.into_iter().peekable();
        let mut together = Vec::with_capacity(TOGETHER_MAX);
        while revisions.peek().is_some() {
            let mut bytes = 0;
            while together.len() < TOGETHER_MAX
                && bytes < TOGETHER_BYTES
                && let Some(revision) = revisions.next()
            {
                let text = self.text_unchecked(revision);
                bytes += text.as_ref().map_or(0, |text| text.len());
                together.push((revision, text));
            }
            let rebuilt =
                together.iter().filter_map(|(revision, text)| Some((*revision, text.as_ref().ok()?.as_slice())));
            let mut verdicts = self.log.check_several(&rebuilt.collect::<Vec<_>>()).into_iter();
            for (revision, text) in together.drain(..) {
                let checked = text.and_then(|text| {
                    let verdict = verdicts.next().expect("a verdict for each text that was rebuilt");
                    verdict.map(|()| text)
                });
                take(revision, checked)?;
            }
        }
        Ok(())
    }

    /// The full text, for callers that check it themselves.
    pub fn text_unchecked(&mut self, revision: Revision) -> Result<Arc<Vec<u8>>, StoreError> {
        if let Some(text) = self.take(revision) {
            return Ok(text);
        }
        let text = Arc::new(self.log.rebuild(revision, |base| self.take(base).map(Shared))?);
        self.keep(revision, text.clone());
        Ok(text)
    }

    /// A kept text, moved to the end of the queue.
    fn take(&mut self, revision: Revision) -> Option<Arc<Vec<u8>>> {
        let at = self.kept.iter().rposition(|(kept, _)| *kept == revision)?;
        let entry = self.kept.remove(at)?;
        let text = entry.1.clone();
        self.kept.push_back(entry);
        Some(text)
    }

    fn keep(&mut self, revision: Revision, text: Arc<Vec<u8>>) {
        self.kept_bytes += text.len();
        self.kept.push_back((revision, text));
        while self.kept_bytes > self.kept_bytes_max || self.kept.len() > KEPT_MAX {
            match self.kept.pop_front() {
                Some((_, dropped)) => self.kept_bytes -= dropped.len(),
                None => break,
            }
        }
    }
}

/// Texts that are hashed together.
const TOGETHER_MAX: usize = 16;
/// No more are taken together once there are as many bytes.
const TOGETHER_BYTES: usize = 16 << 20;
/// More are not looked through quickly.
const KEPT_MAX: usize = 256;

/// A text that others hold too.
pub(crate) struct Shared(pub(crate) Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
