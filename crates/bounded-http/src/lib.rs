//! One request over HTTP/1.1 or HTTPS, to whoever a configuration names: bounded in time, in bytes and in redirects.
//!
//! For programs that ask rarely and wait for the answer: a request blocks, has a connection of its own, and trusts the authorities that
//! the system trusts. A proxy is never used, nor anything that the environment says.

mod exchange;
mod url;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::runtime::Builder;

pub use url::{Url, UrlError};

/// Redirects that are followed.
pub const REDIRECTS_MAX: u32 = 3;

/// How much an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From looking the name up to the answer's last byte, redirects included.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub body_bytes: usize,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, whole.
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts name no URL: those may have secrets in them.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The time is over.
    #[error("no answer within {} seconds", .0.as_secs_f64())]
    Time(Duration),
    /// The server can't be reached, or the connection broke.
    #[error("the server can't be reached: {0}")]
    Io(#[from] io::Error),
    /// What it says is no HTTP.
    #[error("the answer can't be read: {0}")]
    Http(#[from] hyper::Error),
    /// The body is longer than it may be, or broke off.
    #[error("the answer's body can't be taken: {0}")]
    Body(String),
    /// A redirect that is not followed.
    #[error("a redirect that is not followed: {0}")]
    Redirect(String),
}

/// Reads what is at a URL. Redirects are followed, [`REDIRECTS_MAX`] of them, but never from HTTPS to HTTP.
///
/// # Errors
/// There is no answer; one of any status is one.
pub fn get(url: &Url, bounds: Bounds) -> Result<Answer, HttpError> {
    within(bounds.time, async {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            match exchange::ask(&at, Method::GET, None, Bytes::new(), bounds.body_bytes).await? {
                exchange::Said::Answer(answer) => return Ok(answer),
                exchange::Said::Redirect(to) => at = at.redirected(&to).map_err(HttpError::Redirect)?,
            }
        }
        Err(HttpError::Redirect(format!("more than {REDIRECTS_MAX}")))
    })
}

/// Sends a body of this content type to a URL. Redirects are errors.
///
/// # Errors
/// There is no answer; one of any other status is one.
pub fn post(url: &Url, content_type: &'static str, body: Vec<u8>, bounds: Bounds) -> Result<Answer, HttpError> {
    within(bounds.time, async {
        match exchange::ask(url, Method::POST, Some(content_type), body.into(), bounds.body_bytes).await? {
            exchange::Said::Answer(answer) => Ok(answer),
            exchange::Said::Redirect(_) => Err(HttpError::Redirect("what is sent is sent to one place".to_owned())),
        }
    })
}

fn within(time: Duration, work: impl Future<Output = Result<Answer, HttpError>>) -> Result<Answer, HttpError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer =
        runtime.block_on(async { tokio::time::timeout(time, work).await.unwrap_or(Err(HttpError::Time(time))) });
    // A name that is still being looked up, by a thread of the system's library, is not waited for.
    runtime.shutdown_background();
    answer
}

#[cfg(test)]
mod tests;
