//! Chunks: compressed or not, told by their first byte.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{Cursor, Read};

/// The most bytes that a delta between texts of these lengths can sensibly have: it replaces each byte by a hunk of its own.
pub(super) fn delta_bytes_max(base_bytes: u32, text_bytes: u32) -> usize {
    let hunks = base_bytes as usize + text_bytes as usize + 1;
    (hunks * 12 + text_bytes as usize).min(super::index::TEXT_BYTES_MAX)
}

/// What unpacking needs and would otherwise be made anew for each chunk.
#[derive(Default)]
pub struct ChunkReader {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl ChunkReader {
    /// One for any number of chunks of any revlogs.
    pub fn new() -> ChunkReader {
        ChunkReader::default()
    }

    /// As [`decompress`], behind what `output` has already: nothing is copied that need not be.
    pub(super) fn append(&mut self, chunk: &[u8], bound: usize, output: &mut Vec<u8>) -> Result<(), String> {
        let sized = match chunk.first() {
            Some(0x28) => zstd::zstd_safe::get_frame_content_size(chunk).ok().flatten(),
            _ => None,
        };
        let Some(bytes) = sized.filter(|bytes| *bytes <= bound as u64) else {
            output.extend_from_slice(&decompress(chunk, bound)?);
            return Ok(());
        };
        let start = output.len();
        output.reserve(bytes as usize);
        let mut end = Cursor::new(output);
        end.set_position(start as u64);
        let decompressor = kept(&mut self.decompressor)?;
        let unpacked = decompressor.decompress_to_buffer(chunk, &mut end).map_err(failed)?;
        if unpacked as u64 != bytes {
            return Err("zstd chunk: more than one frame".into());
        }
        Ok(())
    }
}

fn failed(error: std::io::Error) -> String {
    format!("zstd chunk: {error}")
}

/// The decompressor in the slot, made where there is none: making one costs more than unpacking a small chunk.
fn kept<'a>(
    slot: &'a mut Option<zstd::bulk::Decompressor<'static>>,
) -> Result<&'a mut zstd::bulk::Decompressor<'static>, String> {
    match slot {
        Some(decompressor) => Ok(decompressor),
        slot => Ok(slot.insert(zstd::bulk::Decompressor::new().map_err(failed)?)),
    }
}

/// Decompresses a chunk; more than `bound` bytes are an error, told in words.
pub(crate) fn decompress(chunk: &[u8], bound: usize) -> Result<Cow<'_, [u8]>, String> {
    let plain = match chunk.first() {
        None => return Ok(Cow::Borrowed(chunk)),
        Some(0) => chunk,
        Some(b'u') => &chunk[1..],
        Some(b'x') => return inflate(chunk, bound).map(Cow::Owned),
        Some(0x28) => return unpack_zstd(chunk, bound).map(Cow::Owned),
        Some(other) => return Err(format!("chunk of unknown kind {other:#04x}")),
    };
    if plain.len() > bound {
        return Err(too_long(bound));
    }
    Ok(Cow::Borrowed(plain))
}

fn too_long(bound: usize) -> String {
    format!("chunk has more than {bound} bytes")
}

fn inflate(chunk: &[u8], bound: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity((chunk.len() * 4).min(bound));
    flate2::read::ZlibDecoder::new(chunk)
        .take(bound as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("zlib chunk: {error}"))?;
    if plain.len() > bound {
        return Err(too_long(bound));
    }
    Ok(plain)
}

fn unpack_zstd(chunk: &[u8], bound: usize) -> Result<Vec<u8>, String> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    match zstd::zstd_safe::get_frame_content_size(chunk) {
        Ok(Some(bytes)) if bytes > bound as u64 => Err(too_long(bound)),
        Ok(Some(bytes)) => DECOMPRESSOR.with_borrow_mut(|slot| {
            let decompressor = kept(slot)?;
            let mut plain = Vec::with_capacity(bytes as usize);
            decompressor.decompress_to_buffer(chunk, &mut plain).map_err(failed)?;
            Ok(plain)
        }),
        // Large texts are packed without their length.
        Ok(None) => {
            let mut plain = Vec::with_capacity((chunk.len() * 4).min(bound));
            zstd::stream::read::Decoder::with_buffer(chunk)
                .map_err(failed)?
                .take(bound as u64 + 1)
                .read_to_end(&mut plain)
                .map_err(failed)?;
            if plain.len() > bound { Err(too_long(bound)) } else { Ok(plain) }
        }
        Err(_) => Err("zstd chunk: not a frame".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_chunks() {
        let text = b"the same words, the same words, the same words, the same words".as_slice();
        let packed = zstd::bulk::compress(text, 3).expect("packed");
        assert_eq!(decompress(&packed, text.len()).as_deref(), Ok(text));
        assert!(decompress(&packed, text.len() - 1).is_err());
        assert!(decompress(&packed[..packed.len() - 1], text.len()).is_err());
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("made");
        std::io::Write::write_all(&mut encoder, text).expect("packed");
        std::io::Write::flush(&mut encoder).expect("packed");
        let streamed = encoder.finish().expect("packed");
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&streamed).ok(), Some(None));
        assert_eq!(decompress(&streamed, text.len()).as_deref(), Ok(text));
        assert!(decompress(&streamed, text.len() - 1).is_err());
        let mut deflated = Vec::new();
        flate2::read::ZlibEncoder::new(text, flate2::Compression::default())
            .read_to_end(&mut deflated)
            .expect("packed");
        assert_eq!(decompress(&deflated, text.len()).as_deref(), Ok(text));
        assert!(decompress(&deflated, text.len() - 1).is_err());
        assert!(decompress(&deflated[..deflated.len() - 5], text.len()).is_err());
        assert_eq!(decompress(b"uab", 2).as_deref(), Ok(b"ab".as_slice()));
        assert_eq!(decompress(b"\0ab", 3).as_deref(), Ok(b"\0ab".as_slice()));
        assert_eq!(decompress(b"", 0).as_deref(), Ok(b"".as_slice()));
        assert!(decompress(b"\0ab", 2).is_err());
        assert!(decompress(b"zab", 9).is_err());
    }

    #[test]
    fn chunks_are_unpacked_behind_each_other() {
        let text = b"the same words, the same words, the same words, the same words".as_slice();
        let packed = zstd::bulk::compress(text, 3).expect("packed");
        let mut deflated = Vec::new();
        flate2::read::ZlibEncoder::new(text, flate2::Compression::default())
            .read_to_end(&mut deflated)
            .expect("packed");
        let mut reader = ChunkReader::new();
        let mut output = b"head".to_vec();
        for chunk in [packed.as_slice(), b"uab", b"", &deflated, &packed] {
            reader.append(chunk, text.len(), &mut output).expect("good");
        }
        assert_eq!(output, [b"head", text, b"ab", text, text].concat());
        let twice = [packed.as_slice(), &packed].concat();
        for bad in [&packed[..packed.len() - 1], twice.as_slice(), b"zab"] {
            assert!(reader.append(bad, text.len(), &mut output).is_err());
        }
        assert!(reader.append(&packed, text.len() - 1, &mut output).is_err());
    }
}
