//! Whether the tree is open.

use std::path::PathBuf;
use std::time::Duration;

use bounded_http::{Bounds, Url};
use hg_store::observe::{ObservedChangeset, ObservedPush};
use memchr::memmem;
use regex::bytes::Regex;

use super::{Check, Told, Verdict};
use crate::patterns::expression;
use crate::pushed::PushedChangesets;
use crate::shown::shown;
use crate::{Rule, Tree, WhenUnknown};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Seconds that a server may take.
const SECONDS_MAX: u32 = 30;

struct TreeCheck {
    tree: Tree,
    source: Source,
    approval: Regex,
    /// The message of the last changeset so far.
    tip: Option<Vec<u8>>,
}

/// Where the answer is.
enum Source {
    File(PathBuf),
    Server(Url, Bounds),
}

impl Source {
    fn of(tree: &Tree) -> Result<Source, String> {
        match (&tree.file, &tree.url) {
            (Some(file), None) => Ok(Source::File(file.clone())),
            (None, Some(url)) => {
                let url = Url::parse(url).map_err(|error| error.to_string())?;
                if !(1..=SECONDS_MAX).contains(&tree.seconds_max) {
                    return Err(format!("`tree` may take 1 to {SECONDS_MAX} seconds, not {}", tree.seconds_max));
                }
                let time = Duration::from_secs(u64::from(tree.seconds_max));
                Ok(Source::Server(url, Bounds { time, body_bytes: ANSWER_BYTES_MAX as usize }))
            }
            _ => Err("`tree` needs either a `file` or a `url`".to_owned()),
        }
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Source::File(file) => watched_file::read_bounded(file, ANSWER_BYTES_MAX).map_err(|error| error.to_string()),
            Source::Server(url, bounds) => match bounded_http::get(url, *bounds) {
                Ok(answer) if answer.status.is_success() => Ok(answer.body),
                Ok(answer) => Err(format!("the answer's status is {}", answer.status)),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// What the tree is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed { reason: String },
    ApprovalRequired { reason: String },
}

pub(super) fn new(rule: &Rule) -> Result<Option<Box<dyn Check>>, String> {
    let Some(tree) = &rule.tree else { return Ok(None) };
    let approval = expression(&tree.approval)?;
    let source = Source::of(tree)?;
    Ok(Some(Box::new(TreeCheck { tree: tree.clone(), source, approval, tip: None })))
}

impl State {
    /// Reads an answer: the state, and behind a blank why.
    fn parse(answer: &[u8]) -> Option<State> {
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let blank = memchr::memchr(b' ', line).unwrap_or(line.len());
        let reason = shown(line[blank..].trim_ascii());
        match &line[..blank] {
            b"open" => Some(State::Open),
            b"closed" => Some(State::Closed { reason }),
            b"approval" => Some(State::ApprovalRequired { reason }),
            _ => None,
        }
    }
}

impl TreeCheck {
    /// The tree's state; or why nobody knows.
    fn ask(&self) -> Result<State, String> {
        State::parse(&self.source.read()?).ok_or_else(|| "the answer is none of open, closed and approval".to_owned())
    }

    fn is_pardoned(&self, tip: &[u8]) -> bool {
        !self.tree.pardon.is_empty() && memmem::find(tip, self.tree.pardon.as_bytes()).is_some()
    }
}

impl Check for TreeCheck {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        self.tip = Some(new.content.description.clone());
    }

    fn judge(&mut self, _: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        // Bookmarks and phases move in a closed tree too.
        let Some(tip) = &self.tip else { return Ok(()) };
        let why = |reason: &str| if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let remedy = match &self.tree.pardon[..] {
            "" => "Push again when it is open".to_owned(),
            words => format!("Push again when it is open; or say {words:?} in the message of the last changeset"),
        };
        let closed = match self.ask() {
            Ok(State::Open) => return Ok(()),
            Ok(State::ApprovalRequired { .. }) if self.approval.is_match(tip) => return Ok(()),
            Ok(State::ApprovalRequired { reason }) => {
                let what = format!("the tree takes only what was approved{}", why(&reason));
                let remedy =
                    format!("Say who approved it in the message of the last changeset, as {}", self.tree.approval);
                if !self.is_pardoned(tip) {
                    verdict.refuse_push(&what, &remedy);
                    return Ok(());
                }
                what
            }
            Ok(State::Closed { reason }) => format!("the tree is closed{}", why(&reason)),
            Err(error) => {
                tracing::error!(error, repository = verdict.repository, "nobody knows whether the tree is open");
                if self.tree.unknown == WhenUnknown::Take {
                    verdict.remarks.push("nobody knows whether the tree is open; the push goes on".to_owned());
                    return Ok(());
                }
                "nobody knows whether the tree is open".to_owned()
            }
        };
        match self.is_pardoned(tip) {
            true => verdict.remarks.push(format!("{closed}; the push goes on by {:?}", self.tree.pardon)),
            false => verdict.refuse_push(&closed, &remedy),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_state_and_a_reason() {
        assert_eq!(State::parse(b"open\n"), Some(State::Open));
        assert_eq!(
            State::parse(b"closed the build is broken\nmore"),
            Some(State::Closed { reason: "the build is broken".into() })
        );
        assert_eq!(State::parse(b"approval"), Some(State::ApprovalRequired { reason: String::new() }));
        for other in [&b""[..], b"Open", b"opened", b"<html>"] {
            assert_eq!(State::parse(other), None);
        }
    }
}
