//! Full texts that may be needed again.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// A full text; the hasher may hold it as well.
pub(crate) type Text = Arc<Vec<u8>>;

/// Texts that were used last, up to a number of bytes: those of one revlog, or by other keys.
pub(crate) struct TextCache<K = u32> {
    texts: FxHashMap<K, (Text, u64)>,
    /// Uses in order; a use that is not its text's last is passed over.
    uses: VecDeque<(K, u64)>,
    clock: u64,
    bytes: usize,
    bytes_max: usize,
    /// Buffers of texts that were dropped, to be filled again.
    spare: Vec<Vec<u8>>,
}

impl<K: Copy + Eq + Hash> TextCache<K> {
    pub(crate) fn new(bytes_max: usize) -> TextCache<K> {
        TextCache {
            texts: FxHashMap::default(),
            uses: VecDeque::new(),
            clock: 0,
            bytes: 0,
            bytes_max,
            spare: Vec::new(),
        }
    }

    /// An empty buffer, with room where one is at hand.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    #[cfg(test)]
    fn contains(&self, revision: K) -> bool {
        self.texts.contains_key(&revision)
    }

    pub(crate) fn get(&mut self, revision: K) -> Option<Text> {
        self.clock += 1;
        let (text, used) = self.texts.get_mut(&revision)?;
        *used = self.clock;
        let text = Arc::clone(text);
        self.uses.push_back((revision, self.clock));
        if self.uses.len() > 64 + 8 * self.texts.len() {
            let texts = &self.texts;
            self.uses.retain(|(revision, used)| texts.get(revision).is_some_and(|(_, last)| last == used));
        }
        Some(text)
    }

    /// Keeps a text; the longest unused ones go. One text is always kept, however large.
    pub(crate) fn insert(&mut self, revision: K, text: Text) {
        self.clock += 1;
        self.bytes += text.len();
        self.uses.push_back((revision, self.clock));
        if let Some((old, _)) = self.texts.insert(revision, (text, self.clock)) {
            self.bytes -= old.len();
        }
        while self.bytes > self.bytes_max && self.texts.len() > 1 {
            let Some((oldest, used)) = self.uses.pop_front() else {
                break;
            };
            if self.texts.get(&oldest).is_none_or(|(_, last)| *last != used) {
                continue;
            }
            if let Some((text, _)) = self.texts.remove(&oldest) {
                self.bytes -= text.len();
                self.recycle(text);
            }
        }
    }

    /// Forgets everything but the buffers: the next revlog begins.
    pub(super) fn clear(&mut self) {
        let texts: Vec<Text> = self.texts.drain().map(|(_, (text, _))| text).collect();
        texts.into_iter().for_each(|text| self.recycle(text));
        self.uses.clear();
        self.bytes = 0;
    }

    fn recycle(&mut self, text: Text) {
        if self.spare.len() < 16
            && let Ok(buffer) = Arc::try_unwrap(text)
            && buffer.capacity() <= 1 << 20
        {
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_used_last() {
        let mut cache = TextCache::new(100);
        for revision in 0..10 {
            cache.insert(revision, Arc::new(vec![revision as u8; 10]));
        }
        assert!(cache.get(0).is_some());
        cache.insert(10, Arc::new(vec![1; 15]));
        assert!(cache.get(0).is_some());
        assert!(!cache.contains(1) && !cache.contains(2) && cache.contains(3));
        cache.insert(11, Arc::new(vec![1; 1000]));
        assert!(cache.get(11).is_some() && cache.get(10).is_none());
        for _ in 0..1000 {
            cache.get(11);
        }
        assert!(cache.uses.len() < 100);
        cache.clear();
        assert!(cache.get(11).is_none());
    }
}
