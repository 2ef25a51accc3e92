//! What a session has used so far: bytes of its client's, and time of the processor.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::protocol::Usage;

/// Counts what goes through the streams that it has wrapped.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    bytes_in: Arc<AtomicU64>,
    bytes_out: Arc<AtomicU64>,
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub(super) struct Counted<T> {
    stream: T,
    bytes: Arc<AtomicU64>,
}

impl Traffic {
    pub(super) fn counted_in<T: Read>(&self, stream: T) -> Counted<T> {
        Counted { stream, bytes: self.bytes_in.clone() }
    }

    pub(super) fn counted_out<T: Write>(&self, stream: T) -> Counted<T> {
        Counted { stream, bytes: self.bytes_out.clone() }
    }

    /// What this process has used since it began.
    pub(super) fn used(&self) -> Usage {
        let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        Usage {
            cpu_microseconds: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(buffer)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
