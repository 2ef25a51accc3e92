//! zstd, with threads of its own where an answer is long and cores are free.

use super::workers::Workers;
use std::io::{self, Write};
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::Strategy;

/// Mercurial's own level, where `server.zstdlevel` names no other.
const DEFAULT_LEVEL: i32 = 3;

/// Up to this many bytes an answer is short: threads would cost it more than they bring.
const SHORT_BYTES_MAX: usize = 256 << 10;
/// What a thread compresses at a time. With two workers a stream has up to seven of these in memory: what is being compressed, what
/// waits, and what came out.
const JOB_BYTES: u32 = 4 << 20;
/// What a job sees of the one before it, as a power of two of the window: a quarter. Of more, zstd would take no more into its tables.
const OVERLAP_LOG: u32 = 7;

/// Compresses what is written to it.
pub(super) struct ZstdStream<'a> {
    level: i32,
    state: State<'a>,
}

enum State<'a> {
    /// It is not known yet whether the answer is a long one.
    Short {
        output: &'a mut dyn Write,
        begun: Vec<u8>,
    },
    Long {
        encoder: Encoder<'static, &'a mut dyn Write>,
        _workers: Workers,
    },
    /// What was written can't be compressed.
    Failed,
}

impl<'a> ZstdStream<'a> {
    pub(super) fn new(level: i32, output: &'a mut dyn Write) -> ZstdStream<'a> {
        ZstdStream { level, state: State::Short { output, begun: Vec::new() } }
    }

    /// Writes all that is left, and the end.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.state {
            State::Short { output, begun } => {
                let mut encoder = encoder(self.level, 0, output)?;
                // The tables are as small as that then.
                encoder.set_pledged_src_size(Some(begun.len() as u64))?;
                encoder.write_all(&begun)?;
                encoder.finish().map(drop)
            }
            State::Long { encoder, _workers } => encoder.finish().map(drop),
            State::Failed => Err(failed()),
        }
    }

    fn encoder(&mut self) -> io::Result<&mut Encoder<'static, &'a mut dyn Write>> {
        if let State::Short { .. } = self.state
            && let State::Short { output, begun } = std::mem::replace(&mut self.state, State::Failed)
        {
            let workers = Workers::take();
            let mut encoder = encoder(self.level, workers.count(), output)?;
            if workers.count() > 0 {
                encoder.set_parameter(CParameter::NbWorkers(workers.count()))?;
                encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
                encoder.set_parameter(CParameter::OverlapSizeLog(OVERLAP_LOG))?;
            }
            encoder.write_all(&begun)?;
            self.state = State::Long { encoder, _workers: workers };
        }
        match &mut self.state {
            State::Long { encoder, .. } => Ok(encoder),
            _ => Err(failed()),
        }
    }
}

impl Write for ZstdStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Short { begun, .. } if begun.len() + bytes.len() <= SHORT_BYTES_MAX => {
                begun.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => self.encoder()?.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder()?.flush()
    }
}

fn encoder(level: i32, workers: u32, output: &mut dyn Write) -> io::Result<Encoder<'static, &mut dyn Write>> {
    let mut encoder = Encoder::new(output, level)?;
    let parameters: &[CParameter] = match (level, workers) {
        // Half of the level's own tables: they stay in a core's cache, beside the window.
        (DEFAULT_LEVEL, 0) => &[CParameter::HashLog(16), CParameter::ChainLog(15)],
        // A simpler search, for longer matches, costs a fifth less time. What it misses of the bytes, twice the level's window finds.
        // Without workers it is no faster, and each stream would have that window in memory.
        (DEFAULT_LEVEL, _) => &[
            CParameter::Strategy(Strategy::ZSTD_fast),
            CParameter::MinMatch(7),
            CParameter::HashLog(17),
            CParameter::WindowLog(22),
        ],
        _ => &[],
    };
    for parameter in parameters {
        encoder.set_parameter(*parameter)?;
    }
    Ok(encoder)
}

fn failed() -> io::Error {
    io::Error::other("the stream failed before")
}
