//! Who asks: by which transport, and what it says that it can.

use crate::capabilities::Transport;

/// Words that are kept of what a client says that it can.
const WORDS_MAX: usize = 100;

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// How it is connected.
    pub transport: Transport,
    /// What it says that it can: over HTTP in `X-HgProto-N`, over SSH by `protocaps`.
    words: Vec<u8>,
}

impl Client {
    /// A client that has said nothing yet.
    pub fn new(transport: Transport) -> Client {
        Client { transport, words: Vec::new() }
    }

    /// Takes note of what it says that it can: words with blanks between.
    pub fn says(&mut self, words: &[u8]) {
        let words = words.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        self.words = words.take(WORDS_MAX).collect::<Vec<_>>().join(&b' ');
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.split(|byte| *byte == b' ')
    }

    /// Whether it has said this word.
    pub fn has(&self, word: &[u8]) -> bool {
        self.words().any(|other| other == word)
    }

    /// Whether a pull may be answered with a part of what is asked for.
    pub fn takes_partial_pulls(&self) -> bool {
        self.has(b"partial-pull")
    }

    /// Whether it takes what is compressed so, by the engine's name on the wire.
    pub fn takes(&self, engine: &str) -> bool {
        let known = self.words().find_map(|word| word.strip_prefix(b"comp=")).unwrap_or(b"zlib,none");
        known.split(|byte| *byte == b',').any(|name| name == engine.as_bytes())
    }
}
