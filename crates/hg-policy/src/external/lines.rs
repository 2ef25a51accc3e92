//! What an external check says to the client: lines, bounded and made harmless.

use std::io::Write;

use crate::shown::shown_up_to;

/// Lines that are passed on.
const LINES_MAX: usize = 200;
/// Bytes of a line that are.
const LINE_BYTES_MAX: usize = 500;

/// Passes lines on as they come, each after the check's name.
pub(super) struct Lines<'m> {
    name: &'m str,
    messages: &'m mut dyn Write,
    /// The line that has not ended yet.
    begun: Vec<u8>,
    told: usize,
}

impl<'m> Lines<'m> {
    pub(super) fn new(name: &'m str, messages: &'m mut dyn Write) -> Lines<'m> {
        Lines { name, messages, begun: Vec::new(), told: 0 }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        self.extend(pieces.next().unwrap_or_default());
        for piece in pieces {
            self.end_line();
            self.extend(piece);
        }
    }

    /// All was said.
    pub(super) fn finish(mut self) {
        if !self.begun.is_empty() {
            self.end_line();
        }
    }

    /// One byte more than is shown tells that there was more.
    fn extend(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX + 1 - self.begun.len();
        self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        self.told += 1;
        // A client that has gone changes nothing for the check.
        let _ = match self.told {
            told if told <= LINES_MAX => {
                let line: Vec<u8> =
                    line.trim_ascii_end().iter().map(|byte| if *byte == b'\t' { b' ' } else { *byte }).collect();
                writeln!(self.messages, "{}: {}", self.name, shown_up_to(&line, LINE_BYTES_MAX))
            }
            told if told == LINES_MAX + 1 => writeln!(self.messages, "{}: and more", self.name),
            _ => Ok(()),
        };
        let _ = self.messages.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_bounded_and_without_control_characters() {
        let mut told = Vec::new();
        let mut lines = Lines::new("licences", &mut told);
        lines.add(b"a\tb\r\n\x1b[2J");
        lines.add(b"c\n\nd");
        lines.finish();
        assert_eq!(String::from_utf8_lossy(&told), "licences: a b\nlicences: \\u{1b}[2Jc\nlicences: \nlicences: d\n");

        let mut told = Vec::new();
        let mut lines = Lines::new("x", &mut told);
        lines.add(&[b'y'; 10_000]);
        lines.add(&[b'\n'; 1000]);
        lines.finish();
        let told = String::from_utf8_lossy(&told);
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(told[0], format!("x: {}...", "y".repeat(500)));
        assert_eq!((told.len(), told[200]), (201, "x: and more"));
    }
}
