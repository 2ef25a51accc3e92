//! Compression of streams over HTTP.

use crate::CommandError;
use hg_store::Settings;
use std::io::Write;

/// A compression engine, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `zstd`.
    Zstd,
    /// `zlib`.
    Zlib,
    /// `none`.
    None,
}

impl Engine {
    /// All engines, in the order of this server's preference.
    pub const ALL: [Engine; 3] = [Engine::Zstd, Engine::Zlib, Engine::None];

    /// Returns the engine's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Zstd => "zstd",
            Engine::Zlib => "zlib",
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
                let mut encoder = zstd::stream::write::Encoder::new(output, settings.zstd_level())?;
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
    fn each_engine_gives_back_what_went_in() {
        let plain = compressed(Engine::None);
        assert_eq!(zstd::stream::decode_all(compressed(Engine::Zstd).as_slice()).expect("zstd"), plain);
        let mut inflated = Vec::new();
        flate2::read::ZlibDecoder::new(compressed(Engine::Zlib).as_slice()).read_to_end(&mut inflated).expect("zlib");
        assert_eq!(inflated, plain);
    }
}
