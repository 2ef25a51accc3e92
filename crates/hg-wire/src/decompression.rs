//! The compressed rest of a bundle, read with caps on what it may grow to.
//!
//! A few kilobytes of zlib or zstd can stand for gigabytes. Both caps are checked as bytes come out, so that no more than one buffer is ever produced past
//! them: one on the total, one on the ratio of bytes out to bytes in (after a free allowance, since short runs compress without bound).

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

/// The largest zstd window that is accepted, as a power of two: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes that may come out before the ratio is looked at.
const RATIO_ALLOWANCE_BYTES: u64 = 64 << 20;
/// Compressed bytes read at a time.
const INPUT_BUFFER_BYTES: usize = 64 << 10;

/// What a bundle's bytes are packed with. The names are those of bundle2's `Compression` stream parameter and of bundle1's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `UN`: not at all.
    None,
    /// `GZ`: a zlib stream.
    Zlib,
    /// `BZ`: a bzip2 stream.
    Bzip2,
    /// `BZ` in bundle1's header, whose two letters are the stream's own first two as well.
    Bzip2AfterMagic,
    /// `ZS`: zstd frames.
    Zstd,
}

impl Compression {
    /// The compression that bundle2's stream parameter `Compression` names; `None` if no such one is known.
    pub fn from_bundle2(name: &[u8]) -> Option<Compression> {
        match name {
            b"UN" => Some(Compression::None),
            b"GZ" => Some(Compression::Zlib),
            b"BZ" => Some(Compression::Bzip2),
            b"ZS" => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// Bounds on what a compressed stream may become.
#[derive(Debug, Clone, Copy)]
pub struct ExpansionLimits {
    /// Bytes that may come out in all.
    pub bytes_max: u64,
    /// Bytes that may come out for each byte that went in.
    pub ratio_max: u64,
}

impl Default for ExpansionLimits {
    /// 16 GiB in all, 1:256.
    fn default() -> Self {
        ExpansionLimits { bytes_max: 16 << 30, ratio_max: 256 }
    }
}

/// Why a compressed stream was given up. It travels inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpansionError {
    /// More came out than [`ExpansionLimits::bytes_max`].
    #[error("the bundle unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// More came out than [`ExpansionLimits::ratio_max`] allows for what went in.
    #[error("the bundle unpacks to more than {0} times its size")]
    TooDense(u64),
}

/// A reader of unpacked bytes over one of packed bytes.
pub struct Decompressor<R: Read> {
    stream: Stream<R>,
    taken: Rc<Cell<u64>>,
    given: u64,
    limits: ExpansionLimits,
}

enum Stream<R: Read> {
    Plain(R),
    Zlib(flate2::bufread::ZlibDecoder<BufReader<Counted<R>>>),
    Bzip2(Box<bzip2::bufread::BzDecoder<BufReader<Counted<R>>>>),
    Bzip2AfterMagic(Box<bzip2::bufread::BzDecoder<BufReader<WithMagic<R>>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Counted<R>>>),
}

/// A bzip2 stream whose first two bytes were read as part of bundle1's header.
type WithMagic<R> = io::Chain<&'static [u8], Counted<R>>;

struct Counted<R> {
    input: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

impl<R: Read> Decompressor<R> {
    /// A reader of what `input` holds, packed with `compression`.
    pub fn new(input: R, compression: Compression, limits: ExpansionLimits) -> io::Result<Self> {
        let taken = Rc::new(Cell::new(0));
        let counted = |input| Counted { input, taken: Rc::clone(&taken) };
        let buffered = |input| BufReader::with_capacity(INPUT_BUFFER_BYTES, counted(input));
        let stream = match compression {
            Compression::None => Stream::Plain(input),
            Compression::Zlib => Stream::Zlib(flate2::bufread::ZlibDecoder::new(buffered(input))),
            Compression::Bzip2 => Stream::Bzip2(Box::new(bzip2::bufread::BzDecoder::new(buffered(input)))),
            Compression::Bzip2AfterMagic => {
                let whole = b"BZ".as_slice().chain(counted(input));
                Stream::Bzip2AfterMagic(Box::new(bzip2::bufread::BzDecoder::new(BufReader::with_capacity(
                    INPUT_BUFFER_BYTES,
                    whole,
                ))))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(input))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Stream::Zstd(decoder)
            }
        };
        Ok(Decompressor { stream, taken, given: 0, limits })
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.stream {
            Stream::Plain(input) => return input.read(buffer),
            Stream::Zlib(input) => input.read(buffer)?,
            Stream::Bzip2(input) => input.read(buffer)?,
            Stream::Bzip2AfterMagic(input) => input.read(buffer)?,
            Stream::Zstd(input) => input.read(buffer)?,
        };
        self.given += read as u64;
        if self.given > self.limits.bytes_max {
            return Err(io::Error::other(ExpansionError::TooLarge(self.limits.bytes_max)));
        }
        let allowed = self.taken.get().saturating_mul(self.limits.ratio_max);
        if self.given.saturating_sub(RATIO_ALLOWANCE_BYTES) > allowed {
            return Err(io::Error::other(ExpansionError::TooDense(self.limits.ratio_max)));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packs")
            }
            Compression::Bzip2 | Compression::Bzip2AfterMagic => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
                let packed = encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packs");
                packed[if compression == Compression::Bzip2 { 0 } else { 2 }..].to_vec()
            }
            Compression::Zstd => zstd::stream::encode_all(bytes, 3).expect("packs"),
        }
    }

    fn unpack(compression: Compression, packed: &[u8], limits: ExpansionLimits) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decompressor::new(packed, compression, limits)?.read_to_end(&mut out)?;
        Ok(out)
    }

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Zlib, Compression::Bzip2, Compression::Bzip2AfterMagic, Compression::Zstd];

    #[test]
    fn what_was_packed_comes_out() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| (n * n).to_be_bytes()).collect();
        for compression in ALL {
            let out = unpack(compression, &pack(compression, &text), ExpansionLimits::default()).expect("unpacks");
            assert_eq!(out, text, "{compression:?}");
        }
    }

    #[test]
    fn a_bomb_is_given_up_by_total_and_by_ratio() {
        let zeros = vec![0; 96 << 20];
        for compression in [Compression::Zlib, Compression::Bzip2, Compression::Zstd] {
            let packed = pack(compression, &zeros);
            let by_total = unpack(compression, &packed, ExpansionLimits { bytes_max: 1 << 20, ratio_max: u64::MAX })
                .expect_err("too large");
            assert!(by_total.to_string().contains("more than 1048576 bytes"), "{by_total}");
            let by_ratio = unpack(compression, &packed, ExpansionLimits::default()).expect_err("too dense");
            assert!(by_ratio.to_string().contains("more than 256 times"), "{by_ratio}");
        }
    }

    #[test]
    fn a_zstd_window_above_the_bound_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("encoder");
        encoder.window_log(28).expect("window");
        encoder.write_all(b"small").expect("packs");
        let packed = encoder.finish().expect("packs");
        assert!(unpack(Compression::Zstd, &packed, ExpansionLimits::default()).is_err());
    }
}
