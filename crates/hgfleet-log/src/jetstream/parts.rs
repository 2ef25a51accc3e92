//! Records and changes that don't fit into one message: stored in parts before the record that names them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::task::spawn_blocking;

use super::JetStreamLog;
use super::link::Trouble;
use crate::ids::{Epoch, RecordId, Sequence};
use crate::log::LogError;

/// Most parts that are on their way at once.
const AT_ONCE: usize = 4;

/// Bytes that are to be stored in parts: some in memory, and behind them those of a file.
pub(super) struct Source {
    pub head: Bytes,
    pub file: Option<Arc<File>>,
    pub file_bytes: u64,
}

impl Source {
    fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.file_bytes
    }

    /// Returns the bytes from `from` on, `length` of them.
    async fn part(&self, from: u64, length: usize) -> std::io::Result<Bytes> {
        let head = self.head.len() as u64;
        if from + length as u64 <= head {
            return Ok(self.head.slice(from as usize..from as usize + length));
        }
        let mut part = BytesMut::with_capacity(length);
        if from < head {
            part.extend_from_slice(&self.head[from as usize..]);
        }
        let at = (from + part.len() as u64) - head;
        let file = self.file.clone();
        let read = spawn_blocking(move || {
            let begun = part.len();
            part.resize(length, 0);
            match file {
                Some(file) => file.read_exact_at(&mut part[begun..], at)?,
                None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
            Ok(part.freeze())
        });
        read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
}

/// Why parts were not stored. The record that would name them was not sent.
pub(super) enum NotStored {
    /// The source can't be read.
    Source(std::io::Error),
    /// A part's publish came to nothing, or nobody knows.
    Log(Trouble),
}

impl JetStreamLog {
    /// Stores these bytes as the parts of the record with this id. `look` gets each part, in order, before it is sent.
    pub(super) async fn store_parts(
        &self,
        epoch: Epoch,
        id: &RecordId,
        part_bytes: usize,
        source: &Source,
        mut look: impl FnMut(&[u8]),
    ) -> Result<(), NotStored> {
        let subject = self.streams.parts_of(self.log, epoch, id);
        let total = source.bytes();
        let mut at = 0;
        let mut number = 0u64;
        while at < total {
            let mut sending = Vec::with_capacity(AT_ONCE);
            while at < total && sending.len() < AT_ONCE {
                let length = (total - at).min(part_bytes as u64) as usize;
                let part = source.part(at, length).await.map_err(NotStored::Source)?;
                look(&part);
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Expected-Stream", self.streams.parts.as_str());
                sending.push(self.link.publish(format!("{subject}.{number}"), headers, part));
                at += length as u64;
                number += 1;
            }
            futures_util::future::try_join_all(sending).await.map_err(NotStored::Log)?;
        }
        Ok(())
    }

    /// Returns these bytes of what lies in parts, in order.
    pub(super) fn parts(
        &self,
        sequence: Sequence,
        epoch: Epoch,
        id: RecordId,
        part_bytes: u32,
        bytes: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, LogError>> + Send + '_ {
        let part = u64::from(part_bytes);
        let numbers = if bytes.is_empty() { 0..0 } else { bytes.start / part..bytes.end.div_ceil(part) };
        let subject = self.streams.parts_of(self.log, epoch, &id);
        let one = move |number: u64| {
            let subject = format!("{subject}.{number}");
            let begin = number * part;
            let (skip, due) = (bytes.start.saturating_sub(begin) as usize, (bytes.end - begin).min(part) as usize);
            async move {
                let wrong = |why: String| LogError::Payload { sequence, why };
                let message = match self.last_on(&self.streams.parts, subject).await {
                    Ok(message) => message,
                    Err(Trouble::Absent) => return Err(wrong(format!("part {number} is missing in the log"))),
                    Err(error) => return Err(Trouble::of("reading a part")(error)),
                };
                let length = message.payload.len();
                if length < due || length as u64 > part {
                    return Err(wrong(format!("part {number} has {length} bytes")));
                }
                Ok(message.payload.slice(skip..due))
            }
        };
        stream::iter(numbers).map(one).buffered(AT_ONCE)
    }
}
