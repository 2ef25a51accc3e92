//! A request's body as a blocking reader.

use super::BODY_BYTES_PER_SECOND_MIN;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Pieces that may wait to be read.
const PIECES_MAX: usize = 4;
/// A body that is slower than the floor is given this time on top.
const GRACE: Duration = Duration::from_secs(30);

/// Reads a body on a thread that may block. It ends with an error when the client sends too slowly or breaks off.
pub(super) struct RequestBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl RequestBody {
    /// Takes a body; what comes is handed over by a task that ends with the body or with this reader.
    pub(super) fn new(mut body: Incoming) -> RequestBody {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            let mut waited = Duration::ZERO;
            let mut received = 0u64;
            loop {
                let allowed = GRACE + Duration::from_secs(received / BODY_BYTES_PER_SECOND_MIN);
                let began = Instant::now();
                // Only the time that the client takes counts, not that of whoever reads here.
                let frame = tokio::time::timeout(allowed.saturating_sub(waited), body.frame()).await;
                waited += began.elapsed();
                let piece = match frame {
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                    Ok(None) => return,
                    Ok(Some(Err(error))) => Err(io::Error::other(error)),
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        // Trailers mean nothing here.
                        Err(_) => continue,
                    },
                };
                received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                let ends = piece.is_err();
                if sender.send(piece).await.is_err() || ends {
                    return;
                }
            }
        });
        RequestBody { pieces, piece: Bytes::new() }
    }
}

impl Read for RequestBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let bytes = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}
