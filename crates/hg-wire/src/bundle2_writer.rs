//! Bundle2 streams going out: `getbundle`'s answer and `unbundle`'s reply.
//!
//! ```text
//! "HG20", length of stream parameters (4, BE), parameters, parts, 00000000
//! part:    header length (4, BE), header, payload chunks, 00000000
//! header:  length of name (1), name, id (4, BE), mandatory count (1), advisory count (1),
//!          (key length (1), value length (1)) for each, then the keys and values
//! chunk:   length (4, BE), data; length -1 interrupts the payload with one whole part
//! ```

use std::io::{self, Write};

/// Bytes of payload in one chunk, as stock cuts them.
const CHUNK_BYTES: usize = 32 * 1024;

/// A part's name and parameters. The name is written as it is: one upper-case letter makes the part mandatory.
#[derive(Debug, Clone, Default)]
pub struct PartHeader {
    /// The part's type.
    pub name: &'static str,
    /// Parameters that the receiver must know.
    pub mandatory: Vec<(Vec<u8>, Vec<u8>)>,
    /// Parameters that the receiver may ignore.
    pub advisory: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PartHeader {
    /// Returns a header without parameters.
    pub fn new(name: &'static str) -> PartHeader {
        PartHeader { name, ..PartHeader::default() }
    }

    /// Adds a parameter that the receiver must know.
    pub fn mandatory(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> PartHeader {
        self.mandatory.push((key.into(), value.into()));
        self
    }

    /// Adds a parameter that the receiver may ignore.
    pub fn advisory(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> PartHeader {
        self.advisory.push((key.into(), value.into()));
        self
    }

    /// Returns the header's bytes. Keys and values are cut to 255 bytes each: the format holds no more, and a cut
    /// message is better than a lost reply.
    fn encode(&self, id: u32) -> io::Result<Vec<u8>> {
        let too_many = || io::Error::new(io::ErrorKind::InvalidInput, "more than 255 parameters in a bundle2 part");
        let mut header = Vec::with_capacity(64);
        header.push(u8::try_from(self.name.len()).map_err(|_| too_many())?);
        header.extend_from_slice(self.name.as_bytes());
        header.extend_from_slice(&id.to_be_bytes());
        header.push(u8::try_from(self.mandatory.len()).map_err(|_| too_many())?);
        header.push(u8::try_from(self.advisory.len()).map_err(|_| too_many())?);
        let cut = |bytes: &[u8]| bytes.len().min(255);
        let all = || self.mandatory.iter().chain(&self.advisory);
        for (key, value) in all() {
            header.extend_from_slice(&[cut(key) as u8, cut(value) as u8]);
        }
        for (key, value) in all() {
            header.extend_from_slice(&key[..cut(key)]);
            header.extend_from_slice(&value[..cut(value)]);
        }
        Ok(header)
    }
}

/// Writes a bundle2 stream. Parts are numbered from 0 in the order in which they are begun.
pub struct Bundle2Writer<W: Write> {
    output: W,
    next_id: u32,
}

impl<W: Write> Bundle2Writer<W> {
    /// Writes the magic and an empty list of stream parameters.
    pub fn new(mut output: W) -> io::Result<Bundle2Writer<W>> {
        output.write_all(b"HG20\0\0\0\0")?;
        Ok(Bundle2Writer::behind_head(output))
    }

    /// Goes on where somebody has written magic and stream parameters.
    pub fn behind_head(output: W) -> Bundle2Writer<W> {
        Bundle2Writer { output, next_id: 0 }
    }

    /// Begins a part; its payload is written to what is returned, which must be finished.
    pub fn begin(&mut self, header: &PartHeader) -> io::Result<PartWriter<'_, W>> {
        let encoded = header.encode(self.next_id)?;
        self.output.write_all(&(encoded.len() as u32).to_be_bytes())?;
        self.output.write_all(&encoded)?;
        self.next_id += 1;
        Ok(PartWriter { output: &mut self.output, next_id: &mut self.next_id, chunk: Vec::new() })
    }

    /// Writes a whole part.
    pub fn part(&mut self, header: &PartHeader, payload: &[u8]) -> io::Result<()> {
        let mut part = self.begin(header)?;
        part.write_all(payload)?;
        part.finish()
    }

    /// Ends the stream and returns the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 4])?;
        Ok(self.output)
    }
}

/// Takes a part's payload in any pieces and writes it in chunks.
#[must_use = "a part that is not finished breaks the stream"]
pub struct PartWriter<'a, W: Write> {
    output: &'a mut W,
    next_id: &'a mut u32,
    chunk: Vec<u8>,
}

impl<W: Write> PartWriter<'_, W> {
    fn write_chunk(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.output.write_all(&(self.chunk.len() as u32).to_be_bytes())?;
            self.output.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }

    /// Ends the part.
    pub fn finish(mut self) -> io::Result<()> {
        self.write_chunk()?;
        self.output.write_all(&[0; 4])
    }

    /// Interrupts the payload with an `error:abort` part, which makes the client print `message` and roll back; then
    /// ends the part.
    pub fn abort(mut self, message: &str) -> io::Result<()> {
        self.write_chunk()?;
        self.output.write_all(&(-1i32).to_be_bytes())?;
        let header = PartHeader::new("ERROR:ABORT").mandatory("message", message);
        let encoded = header.encode(*self.next_id)?;
        *self.next_id += 1;
        self.output.write_all(&(encoded.len() as u32).to_be_bytes())?;
        self.output.write_all(&encoded)?;
        self.output.write_all(&[0; 4])?;
        self.output.write_all(&[0; 4])
    }
}

impl<W: Write> Write for PartWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        if self.chunk.is_empty() && taken == CHUNK_BYTES {
            self.output.write_all(&(CHUNK_BYTES as u32).to_be_bytes())?;
            self.output.write_all(&bytes[..CHUNK_BYTES])?;
            return Ok(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.write_chunk()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_chunk()?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_of_a_successful_push_is_as_recorded() {
        let mut writer = Bundle2Writer::new(Vec::new()).expect("memory");
        let header = PartHeader::new("reply:changegroup").advisory("in-reply-to", "3").advisory("return", "1");
        writer.part(&header, b"").expect("memory");
        let stream = writer.finish().expect("memory");
        let expected = b"HG20\0\0\0\0\0\0\0\x2f\x11reply:changegroup\0\0\0\0\0\x02\x0b\x01\x06\x01in-reply-to3return1\0\0\0\0\0\0\0\0";
        assert_eq!(stream, expected);
    }

    #[test]
    fn payload_is_cut_into_chunks_whatever_its_pieces() {
        let payload: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let whole = |pieces: usize| {
            let mut writer = Bundle2Writer::new(Vec::new()).expect("memory");
            let mut part = writer.begin(&PartHeader::new("output")).expect("memory");
            for piece in payload.chunks(pieces) {
                part.write_all(piece).expect("memory");
            }
            part.finish().expect("memory");
            writer.finish().expect("memory")
        };
        assert_eq!(whole(1), whole(100_000));
        assert_eq!(whole(40_000), whole(7));
    }

    #[test]
    fn long_message_is_cut_to_what_the_format_holds() {
        let mut writer = Bundle2Writer::new(Vec::new()).expect("memory");
        writer.part(&PartHeader::new("ERROR:ABORT").mandatory("message", "x".repeat(1000)), b"").expect("memory");
        assert_eq!(writer.finish().expect("memory").iter().filter(|byte| **byte == b'x').count(), 255);
    }
}
