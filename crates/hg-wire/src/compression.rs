//! Compression of streams over HTTP.

mod workers;
mod zstd_stream;

use crate::CommandError;
use hg_store::Settings;
use std::io::Write;
use zstd_stream::ZstdStream;

/// A compression engine, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `zstd`.
    Zstd,
    /// `zlib`.
    Zlib,
    /// `bzip2`.
    Bzip2,
    /// `none`.
    None,
}

impl Engine {
    /// Returns the engines of a repository's answers, the preferred one first: `server.compressionengines`, else zstd and zlib. Names
    /// that no engine has are passed over.
    pub fn served(settings: &Settings) -> Vec<Engine> {
        let named = settings.compression_engines();
        let of = |name: &[u8]| match name {
            // The engine's own name, which is not that on the wire.
            b"bz2" => Some(Engine::Bzip2),
            b"zstd" => Some(Engine::Zstd),
            b"zlib" => Some(Engine::Zlib),
            b"none" => Some(Engine::None),
            _ => None,
        };
        let mut engines: Vec<Engine> = named.filter_map(of).collect();
        if engines.is_empty() {
            engines = vec![Engine::Zstd, Engine::Zlib];
        }
        engines
    }

    /// Returns the engine's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Zstd => "zstd",
            Engine::Zlib => "zlib",
            Engine::Bzip2 => "bzip2",
            Engine::None => "none",
        }
    }

    /// Compresses what `body` writes.
    pub fn compress(
        self,
        settings: &Settings,
        output: &mut dyn Write,
        body: impl FnOnce(&mut dyn Write) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        match self {
            Engine::Zstd => {
                let mut encoder = ZstdStream::new(settings.zstd_level(), output);
                body(&mut encoder)?;
                encoder.finish()?;
            }
            Engine::Zlib => {
                let level = match u32::try_from(settings.zlib_level()) {
                    Ok(level) => flate2::Compression::new(level.min(9)),
                    Err(_) => flate2::Compression::default(),
                };
                let mut encoder = flate2::write::ZlibEncoder::new(output, level);
                body(&mut encoder)?;
                encoder.finish()?;
            }
            Engine::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(output, bzip2::Compression::best());
                body(&mut encoder)?;
                encoder.finish()?;
            }
            Engine::None => body(output)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn compressed(engine: Engine) -> Vec<u8> {
        let mut output = Vec::new();
        engine
            .compress(&Settings::default(), &mut output, |out| {
                for _ in 0..1000 {
                    out.write_all(b"the same words again ")?;
                }
                Ok(())
            })
            .expect("memory");
        output
    }

    #[test]
    fn long_answer_is_one_frame_that_gives_back_what_went_in() {
        let mut lines = Vec::new();
        for n in 0..300_000_u64 {
            lines.extend_from_slice(format!("{n} {}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes());
        }
        let several = |count: usize| {
            let streams: Vec<_> = (0..count)
                .map(|_| {
                    let lines = lines.clone();
                    std::thread::spawn(move || {
                        let mut output = Vec::new();
                        let write = |out: &mut dyn Write| lines.chunks(777).try_for_each(|piece| out.write_all(piece));
                        Engine::Zstd
                            .compress(&Settings::default(), &mut output, |out| Ok(write(out)?))
                            .expect("memory");
                        output
                    })
                })
                .collect();
            streams.into_iter().map(|stream| stream.join().expect("no panic")).collect::<Vec<_>>()
        };
        // Those that come late find no worker left.
        for packed in several(8) {
            let frame = zstd::zstd_safe::find_frame_compressed_size(&packed).expect("a frame");
            assert_eq!(frame, packed.len(), "clients read one frame");
            let mut decoder = zstd::stream::read::Decoder::new(packed.as_slice()).expect("memory");
            decoder.window_log_max(22).expect("a parameter");
            let mut plain = Vec::new();
            decoder.read_to_end(&mut plain).expect("zstd, in no more memory than a client is to need");
            assert!(plain == lines);
        }
    }

    #[test]
    fn each_engine_gives_back_what_went_in() {
        let plain = compressed(Engine::None);
        assert_eq!(zstd::stream::decode_all(compressed(Engine::Zstd).as_slice()).expect("zstd"), plain);
        let mut inflated = Vec::new();
        flate2::read::ZlibDecoder::new(compressed(Engine::Zlib).as_slice()).read_to_end(&mut inflated).expect("zlib");
        assert_eq!(inflated, plain);
        let mut unpacked = Vec::new();
        bzip2::read::BzDecoder::new(compressed(Engine::Bzip2).as_slice()).read_to_end(&mut unpacked).expect("bzip2");
        assert_eq!(unpacked, plain);
    }
}
