//! Checks by others: programs of this machine and servers, asked once a push has passed all checks of its rule.
//!
//! They get the push as JSON ([`Description`]), and a program gets the incoming changesets as a bundle too. Nothing that the push says, names or holds is
//! in a command line, an environment, or a URL. The first one that refuses ends it; the others are not asked.

mod description;
mod lines;
mod program;
mod webhook;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bounded_http::Url;

use crate::{External, Rule, WhenUnknown};

pub(crate) use description::DescribingCheck;
use description::Description;

/// Name of the bundle in a program's folder.
pub const BUNDLE: &str = "incoming.hg";
/// External checks of one rule.
const CHECKS_MAX: usize = 20;
/// Seconds that one may take; another push waits for the lock meanwhile.
const SECONDS_MAX: u32 = 600;
/// Seconds that all of one rule may take; a push holds its lock for an hour at most.
const SECONDS_MAX_IN_ALL: u32 = 1800;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// Words of a command line.
const WORDS_MAX: usize = 100;

/// The external checks of one rule, for one push.
#[derive(Debug)]
pub struct ExternalChecks {
    repository: String,
    checks: Vec<ExternalCheck>,
    described: Arc<OnceLock<Description>>,
}

/// Where a program finds what it checks.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// A folder of its own, with the bundle in it ([`BUNDLE`]); it goes when the check is over.
    pub folder: &'p Path,
    /// The repository that the push is to, without the push.
    pub store: &'p Path,
}

#[derive(Debug)]
struct ExternalCheck {
    name: String,
    kind: Kind,
    time: Duration,
    unknown: WhenUnknown,
}

#[derive(Debug)]
enum Kind {
    Program(PathBuf, Vec<String>),
    Webhook(Url),
}

/// What an external check says.
enum Said {
    Yes,
    No,
}

impl ExternalChecks {
    /// Reads what a rule says of them; `None` where it says nothing.
    ///
    /// # Errors
    /// What can't be, for whoever wrote the rule.
    pub(crate) fn of(
        rule: &Rule,
        repository: &str,
        described: Arc<OnceLock<Description>>,
    ) -> Result<Option<ExternalChecks>, String> {
        if rule.external.is_empty() {
            return Ok(None);
        }
        if rule.external.len() > CHECKS_MAX {
            return Err(format!("{} external checks; {CHECKS_MAX} are allowed", rule.external.len()));
        }
        let checks = rule.external.iter().map(ExternalCheck::of).collect::<Result<_, _>>()?;
        let seconds: u32 = rule.external.iter().map(|check| check.seconds_max).sum();
        if seconds > SECONDS_MAX_IN_ALL {
            return Err(format!("external checks may take {seconds} seconds in all; {SECONDS_MAX_IN_ALL} are allowed"));
        }
        Ok(Some(ExternalChecks { repository: repository.to_owned(), checks, described }))
    }

    /// Whether there is a program among them, which needs a [`Place`].
    pub fn need_place(&self) -> bool {
        self.checks.iter().any(|check| matches!(check.kind, Kind::Program(..)))
    }

    /// Asks them, one after the other, once the push was judged. What they say goes to `messages`, line by line. Blocks.
    ///
    /// # Errors
    /// Why the push is not taken: text for the client.
    pub fn ask(&self, place: Option<Place<'_>>, messages: &mut dyn Write) -> Result<(), String> {
        let Some(description) = self.described.get() else {
            tracing::error!(repository = self.repository, "external checks were asked before the others");
            return Err(self.refusal("the push is not checked yet", "Push again, and tell the administrators"));
        };
        for check in &self.checks {
            let said = match (&check.kind, place) {
                (Kind::Program(program, arguments), Some(place)) => {
                    program::ask(program, arguments, check, description, place, messages)
                }
                (Kind::Program(..), None) => Err("there is no place for it".to_owned()),
                (Kind::Webhook(url), _) => webhook::ask(url, check, description, messages),
            };
            match said {
                Ok(Said::Yes) => {}
                Ok(Said::No) => {
                    let what = format!("the check {} does not take it", check.name);
                    return Err(self.refusal(&what, "Do what it says above, and push again"));
                }
                Err(why) => {
                    tracing::error!(
                        check = check.name,
                        repository = self.repository,
                        why,
                        "an external check gave no answer"
                    );
                    if check.unknown == WhenUnknown::Refuse {
                        let what = format!("the check {} gave no answer", check.name);
                        return Err(self.refusal(&what, "Push again later, and tell the administrators if it stays so"));
                    }
                    // Who has gone needs no remark.
                    let _ = writeln!(messages, "the check {} gave no answer; the push goes on", check.name);
                }
            }
        }
        Ok(())
    }

    fn refusal(&self, what: &str, remedy: &str) -> String {
        format!("refused: {what}, on {}. {remedy}", self.repository)
    }
}

impl ExternalCheck {
    fn of(rule: &External) -> Result<ExternalCheck, String> {
        let External { name, program, url, seconds_max, unknown } = rule;
        let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "-_. ".contains(letter);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_fine) {
            return Err(format!(
                "{name:?} is no name of an external check: letters, digits, blanks, `-`, `_` and `.` are allowed, {NAME_BYTES_MAX} at most"
            ));
        }
        if !(1..=SECONDS_MAX).contains(seconds_max) {
            return Err(format!("the check {name} may take 1 to {SECONDS_MAX} seconds, not {seconds_max}"));
        }
        let kind = match (&program[..], url) {
            ([program, arguments @ ..], None) => {
                if !Path::new(program).is_absolute() {
                    return Err(format!("the program {program:?} of the check {name} needs its whole path"));
                }
                if arguments.len() > WORDS_MAX {
                    return Err(format!("the check {name} has {} arguments; {WORDS_MAX} are allowed", arguments.len()));
                }
                Kind::Program(program.into(), arguments.to_vec())
            }
            ([], Some(url)) => Kind::Webhook(Url::parse(url).map_err(|error| format!("{error}, of the check {name}"))?),
            _ => return Err(format!("the check {name} needs either a `program` or a `url`")),
        };
        let time = Duration::from_secs(u64::from(*seconds_max));
        Ok(ExternalCheck { name: name.clone(), kind, time, unknown: *unknown })
    }
}

#[cfg(test)]
mod tests;
