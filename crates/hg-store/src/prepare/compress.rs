//! Compressing what a revlog stores.
//!
//! A chunk's first byte says what it is: `28` a zstd frame, `78` a zlib stream, `00` the bytes as they are (the zero is theirs),
//! `75` (`u`) the bytes after it. No bytes: an empty text or delta.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::Requirements;

/// Level and least size as Mercurial has them, so that chunks come out as it would write them.
const ZSTD_LEVEL: i32 = 3;
const ZSTD_BYTES_MIN: usize = 50;
const ZLIB_BYTES_MIN: usize = 44;

enum Method {
    Zstd(zstd::bulk::Compressor<'static>),
    Zlib(Compress),
    None,
}

impl Method {
    fn zstd() -> io::Result<Method> {
        Ok(Method::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?))
    }

    fn zlib() -> Method {
        Method::Zlib(Compress::new(Compression::default(), true))
    }
}

/// Compresses chunks, one after the other, with one context.
pub(super) struct Compressor {
    method: Method,
    compressed: Vec<u8>,
}

impl Compressor {
    /// As the repository's requirements say: zstd only where its reader expects it.
    pub(super) fn new(requirements: &Requirements) -> io::Result<Compressor> {
        let method = match (requirements.zstd(), requirements.uncompressed()) {
            (true, _) => Method::zstd()?,
            (false, true) => Method::None,
            (false, false) => Method::zlib(),
        };
        Ok(Compressor { method, compressed: Vec::new() })
    }

    /// One that makes the same chunks, for another thread.
    pub(super) fn another(&self) -> io::Result<Compressor> {
        let method = match &self.method {
            Method::Zstd(_) => Method::zstd()?,
            Method::Zlib(_) => Method::zlib(),
            Method::None => Method::None,
        };
        Ok(Compressor { method, compressed: Vec::new() })
    }

    /// Puts the chunk for `data` into `chunk`, which loses what it held.
    pub(super) fn compress(&mut self, data: &[u8], chunk: &mut Vec<u8>) -> io::Result<()> {
        chunk.clear();
        if data.is_empty() {
            return Ok(());
        }
        if self.try_compress(data)? {
            chunk.extend_from_slice(&self.compressed);
            return Ok(());
        }
        if data[0] != 0 {
            chunk.push(b'u');
        }
        chunk.extend_from_slice(data);
        Ok(())
    }

    /// As [`Compressor::compress`]; `made` is the chunk if it was made before.
    pub(super) fn compress_unless_made(
        &mut self,
        data: &[u8],
        made: Option<&[u8]>,
        chunk: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Some(made) = made else { return self.compress(data, chunk) };
        chunk.clear();
        chunk.extend_from_slice(made);
        Ok(())
    }

    /// Whether `self.compressed` holds something smaller than `data` now.
    fn try_compress(&mut self, data: &[u8]) -> io::Result<bool> {
        match &mut self.method {
            Method::None => return Ok(false),
            Method::Zstd(zstd) => {
                if data.len() < ZSTD_BYTES_MIN {
                    return Ok(false);
                }
                self.compressed.clear();
                self.compressed.reserve(zstd::zstd_safe::compress_bound(data.len()));
                zstd.compress_to_buffer(data, &mut self.compressed)?;
            }
            Method::Zlib(zlib) => {
                if data.len() < ZLIB_BYTES_MIN {
                    return Ok(false);
                }
                zlib.reset();
                self.compressed.clear();
                // What does not fit is not smaller and is stored as it is.
                self.compressed.reserve(data.len());
                let status = zlib.compress_vec(data, &mut self.compressed, FlushCompress::Finish);
                if !matches!(status, Ok(Status::StreamEnd)) {
                    return Ok(false);
                }
            }
        }
        Ok(self.compressed.len() < data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZSTD: &str = "revlog-compression-zstd";
    const ZLIB: &str = "revlogv1";
    const NONE: &str = "exp-compression-none";

    fn compressor(requirement: &str) -> io::Result<Compressor> {
        Compressor::new(&Requirements::unchecked(requirement.as_bytes()))
    }

    fn chunk(requirement: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"old".to_vec();
        compressor(requirement).and_then(|mut compressor| compressor.compress(data, &mut out)).expect("memory");
        out
    }

    #[test]
    fn first_byte_says_what_a_chunk_is() {
        for method in [ZSTD, ZLIB, NONE] {
            assert_eq!(chunk(method, b""), b"");
            assert_eq!(chunk(method, b"short"), b"ushort");
            assert_eq!(chunk(method, b"\0short"), b"\0short");
            let noise: Vec<u8> = (1..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            assert_eq!(chunk(method, &noise)[1..], noise);
        }
        assert_eq!(chunk(ZSTD, &[b'a'; 1000])[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(chunk(ZLIB, &[b'a'; 1000])[0], 0x78);
        assert_eq!(chunk(NONE, &[b'a'; 1000])[..], [b"u", &[b'a'; 1000][..]].concat());
    }

    #[test]
    fn one_context_serves_many_chunks_alike() {
        let mut compressor = compressor(ZSTD).expect("memory");
        let (mut first, mut other, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let text = b"a line that comes again\n".repeat(40);
        compressor.compress(&text, &mut first).expect("memory");
        compressor.compress(&[7; 5000], &mut other).expect("memory");
        compressor.compress(&text, &mut again).expect("memory");
        assert_eq!(first, again);
    }
}
