//! Why a push is not taken, in the forms that clients know.

use super::receive::no_room;
use crate::bundle2_reader::BundleError;
use crate::error::CommandError;
use crate::host::HostError;
use hg_store::StoreError;
use hg_store::prepare::{IncomingError, PrepareError};
use std::fmt::Display;

/// Why a push is not taken. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushFailure {
    /// `error:abort`.
    #[error("{message}")]
    Abort {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// `error:pushraced`: the repository is not as the client saw it; pushing again helps.
    #[error("{0}")]
    Raced(String),
    /// `error:unsupportedcontent`: something must be understood that isn't.
    #[error("missing support for {part}")]
    Unsupported {
        /// The part's type, lower case, or `Stream Parameter`-like words.
        part: String,
        /// Its parameters in question, if it is about them.
        parameters: Vec<String>,
    },
    /// `error:pushkey`: a part `pushkey` that had to work didn't.
    #[error("failed to update value for \"{namespace}/{key}\"")]
    Pushkey {
        /// The part's id.
        part: u32,
        /// Its parameters.
        namespace: String,
        /// The key in it.
        key: String,
        /// The value that the client saw.
        old: String,
        /// The value that it wanted.
        new: String,
    },
}

/// What a client is told to do about a push that no client should send.
pub(super) const BROKEN: &str = "Push again; if it comes to the same, update Mercurial or tell the administrators";

impl PushFailure {
    /// An `error:abort` of ours: what is wrong, on what (with its preposition), what to do.
    pub(super) fn refused(what: impl Display, place: impl Display, advice: impl Display) -> PushFailure {
        PushFailure::abort(format!("refused: {what}, {place}. {advice}"))
    }

    /// The line that clients of bundle1 and `pushkey` read. Stock's word before a refusal is left out where ours stands.
    pub(super) fn line(&self) -> String {
        let text = self.to_string();
        let text = text.trim_end();
        if text.starts_with("refused: ") { text.to_owned() } else { format!("abort: {text}") }
    }

    /// All that the client is told, for who asks afterwards.
    pub(super) fn whole(&self) -> String {
        match self {
            PushFailure::Abort { message, hint: Some(hint) } => format!("{message}\n({hint})"),
            other => other.to_string(),
        }
    }

    /// An `error:abort` without a hint.
    pub fn abort(message: impl Into<String>) -> PushFailure {
        PushFailure::Abort { message: message.into(), hint: None }
    }

    /// The repository can't be read.
    pub(super) fn store(error: StoreError) -> PushFailure {
        PushFailure::command(CommandError::from(error))
    }

    fn command(error: CommandError) -> PushFailure {
        if error.is_ours() {
            tracing::error!("a push failed: {error}");
        }
        PushFailure::abort(error.client_text())
    }

    /// The race that stock reports when its checks of heads fail; `detail` follows in parentheses.
    pub(super) fn raced(detail: Option<String>) -> PushFailure {
        let text = "remote repository changed while pushing - please try again";
        PushFailure::Raced(match detail {
            Some(detail) => format!("{text} ({detail})"),
            None => text.to_owned(),
        })
    }
}

impl From<BundleError> for PushFailure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::UnknownStreamParameter(name) => {
                PushFailure::Unsupported { part: "Stream Parameter".into(), parameters: vec![name] }
            }
            BundleError::UnknownInterruption(part) => PushFailure::Unsupported { part, parameters: vec![] },
            BundleError::SenderGaveUp { message, hint } => PushFailure::Abort { message, hint },
            other @ BundleError::Limit(_) => PushFailure::refused(other, "in the push", "Push it in smaller pieces"),
            other => PushFailure::refused(other, "in the bundle", BROKEN),
        }
    }
}

impl From<PrepareError> for PushFailure {
    /// What the client sent wrongly is named; what failed here is logged, and named without paths of this machine.
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Refused { .. } => PushFailure::abort(format!("refused: {error}")),
            PrepareError::Incoming(IncomingError::Malformed(text)) => {
                PushFailure::refused(text, "in the changegroup", BROKEN)
            }
            PrepareError::Incoming(IncomingError::Io(error)) => BundleError::from(error).into(),
            PrepareError::Store(error) => PushFailure::store(error),
            PrepareError::Spool(error) => PushFailure::abort(no_room(&error)),
        }
    }
}

impl From<HostError> for PushFailure {
    fn from(error: HostError) -> Self {
        PushFailure::command(CommandError::from(error))
    }
}
