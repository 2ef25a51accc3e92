//! Watches the bytes of an HTTP/1.1 connection for requests whose length two readers could take
//! for different ones (request smuggling).
//!
//! hyper settles such requests silently, in the way the standard allows. Here they are refused
//! instead, before hyper sees the end of the header: no client of ours sends them, and whoever does
//! is trying something. Only heads are looked at; bodies are counted and skipped.

/// A header line that matters has at most this many bytes; what is kept of any line.
const LINE_KEPT_MAX: usize = 128;
/// A chunk's size line, extensions included, has at most this many bytes.
const CHUNK_LINE_MAX: usize = 256;

/// Where the watcher is in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Between two requests.
    Between,
    /// In a request's head.
    Head,
    /// In a request's body.
    Body,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) &'static str);

/// The watcher: feed it what was read, in order.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The line at hand, up to `LINE_KEPT_MAX`; longer ones are only counted.
    line: Vec<u8>,
    line_bytes: usize,
    lines: usize,
    ends_in_return: bool,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Head,
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    Trailer,
}

impl Framing {
    /// Where the stream is after what was fed so far.
    pub(crate) fn place(&self) -> Place {
        match self.state {
            State::Between => Place::Between,
            State::Head => Place::Head,
            _ => Place::Body,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// Where in `bytes` the refusal became certain, and why. The watcher must not be fed again.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), (usize, Refusal)> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Sized(left) => {
                    let skipped = left.min((bytes.len() - at) as u64);
                    at += skipped as usize;
                    self.state = match left - skipped {
                        0 => State::Between,
                        left => State::Sized(left),
                    };
                }
                State::ChunkData(left) => {
                    // `left` counts the CRLF after the data; hyper checks that it is one.
                    let skipped = left.min((bytes.len() - at) as u64);
                    at += skipped as usize;
                    self.state = match left - skipped {
                        0 => State::ChunkSize,
                        left => State::ChunkData(left),
                    };
                }
                _ => {
                    let line_ended = self.take(bytes[at]).map_err(|refusal| (at, refusal))?;
                    if line_ended {
                        self.end_line().map_err(|refusal| (at, refusal))?;
                    }
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Adds one byte to the line at hand; true when it ends the line.
    fn take(&mut self, byte: u8) -> Result<bool, Refusal> {
        if self.state == State::Between {
            self.state = State::Head;
        }
        match (self.ends_in_return, byte) {
            (true, b'\n') => {
                self.ends_in_return = false;
                return Ok(true);
            }
            (true, _) => return Err(Refusal("a carriage return that ends no line")),
            (false, b'\n') => return Err(Refusal("a line feed without carriage return")),
            (false, b'\r') => {
                self.ends_in_return = true;
                return Ok(false);
            }
            (false, _) => {}
        }
        self.line_bytes += 1;
        if self.state != State::Head && self.line_bytes > CHUNK_LINE_MAX {
            return Err(Refusal("a chunk's line is too long"));
        }
        if self.line.len() < LINE_KEPT_MAX {
            self.line.push(byte);
        }
        Ok(false)
    }

    fn end_line(&mut self) -> Result<(), Refusal> {
        let empty = self.line_bytes == 0;
        match self.state {
            State::Head if empty && self.lines == 0 => self.state = State::Between,
            State::Head if empty => self.end_head(),
            State::Head => {
                if self.lines > 0 {
                    self.header()?;
                }
                self.lines += 1;
            }
            State::ChunkSize => {
                let size = chunk_size(&self.line).ok_or(Refusal("a chunk's size is no number"))?;
                self.state = match size {
                    0 => State::Trailer,
                    size => State::ChunkData(size + 2),
                };
            }
            State::Trailer if empty => self.state = State::Between,
            _ => {}
        }
        self.line.clear();
        self.line_bytes = 0;
        Ok(())
    }

    fn header(&mut self) -> Result<(), Refusal> {
        if self.line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(Refusal("a folded header line"));
        }
        let Some(colon) = self.line.iter().position(|&b| b == b':') else {
            return Ok(()); // hyper refuses it, or the name alone is longer than any that matters
        };
        let (name, value) = (&self.line[..colon], &self.line[colon + 1..]);
        let whole = self.line_bytes == self.line.len();
        let name_matters = |wanted: &str| name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes());
        if name_matters("content-length") {
            if self.length.is_some() {
                return Err(Refusal("more than one Content-Length"));
            }
            let length = number(value.trim_ascii()).filter(|_| whole);
            self.length = Some(length.ok_or(Refusal("Content-Length is no number"))?);
        } else if name_matters("transfer-encoding") {
            if self.chunked {
                return Err(Refusal("more than one Transfer-Encoding"));
            }
            if !whole || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal("a Transfer-Encoding other than `chunked`"));
            }
            self.chunked = true;
        } else {
            return Ok(());
        }
        if name.len() != name.trim_ascii().len() {
            return Err(Refusal("a blank before a header's colon"));
        }
        if self.chunked && self.length.is_some() {
            return Err(Refusal("both Content-Length and Transfer-Encoding"));
        }
        Ok(())
    }

    fn end_head(&mut self) {
        self.state = match (self.chunked, self.length) {
            (true, _) => State::ChunkSize,
            (false, Some(length)) if length > 0 => State::Sized(length),
            _ => State::Between,
        };
        self.lines = 0;
        self.chunked = false;
        self.length = None;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` whole and byte by byte; both must agree. Gives the last place or the refusal.
    fn watch(text: &str) -> Result<Place, &'static str> {
        let mut whole = Framing::default();
        let at_once = whole.feed(text.as_bytes()).map_err(|(_, r)| r.0);
        let mut single = Framing::default();
        let bytewise = text.bytes().try_for_each(|b| single.feed(&[b])).map_err(|(_, r)| r.0);
        assert_eq!(at_once, bytewise, "{text:?}");
        at_once.map(|()| {
            assert_eq!(whole.place(), single.place(), "{text:?}");
            whole.place()
        })
    }

    #[test]
    fn whole_requests_leave_it_between() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nhel\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\na\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\nA: b\r\n\r\n",
        ] {
            assert_eq!(watch(text), Ok(Place::Between), "{text:?}");
        }
    }

    #[test]
    fn place_tells_head_from_body() {
        assert_eq!(watch("GET"), Ok(Place::Head));
        assert_eq!(watch("GET / HTTP/1.1\r\nA: b\r\n"), Ok(Place::Head));
        let sized = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell";
        assert_eq!(watch(sized), Ok(Place::Body));
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
        assert_eq!(watch(chunked), Ok(Place::Body));
    }

    #[test]
    fn requests_of_two_lengths_are_refused() {
        for (headers, why) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", "both Content-Length and Transfer-Encoding"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", "both Content-Length and Transfer-Encoding"),
            ("Content-Length: 5\r\nContent-Length: 5", "more than one Content-Length"),
            ("Content-Length: 5, 5", "Content-Length is no number"),
            ("Content-Length: +5", "Content-Length is no number"),
            ("Content-Length: -5", "Content-Length is no number"),
            ("Content-Length: 1e3", "Content-Length is no number"),
            ("Content-Length: 9223372036854775808", "Content-Length is no number"),
            ("Content-Length:", "Content-Length is no number"),
            ("Transfer-Encoding : chunked", "a blank before a header's colon"),
            ("Transfer-Encoding: chunked, identity", "a Transfer-Encoding other than `chunked`"),
            ("Transfer-Encoding: xchunked", "a Transfer-Encoding other than `chunked`"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "more than one Transfer-Encoding"),
            ("A: b\r\n c", "a folded header line"),
            ("A: b\nC: d", "a line feed without carriage return"),
            ("A: b\rC: d", "a carriage return that ends no line"),
        ] {
            let text = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n");
            assert_eq!(watch(&text), Err(why), "{headers:?}");
        }
    }

    #[test]
    fn a_long_line_can_not_hide_a_length() {
        let padding = " ".repeat(500);
        let text = format!("POST / HTTP/1.1\r\nContent-Length:{padding}5\r\n\r\n");
        assert_eq!(watch(&text), Err("Content-Length is no number"));
        let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding:{padding}chunked\r\n\r\n");
        assert!(watch(&text).is_err());
    }

    #[test]
    fn chunk_sizes_are_plain_hexadecimal() {
        for size in ["0x5", "-5", "+5", "", "5 5", "10000000000000000", "g"] {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n");
            assert_eq!(watch(&text), Err("a chunk's size is no number"), "{size:?}");
        }
        let endless = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;{}", "x".repeat(300));
        assert_eq!(watch(&endless), Err("a chunk's line is too long"));
    }
}
