//! Commit messages: what they must be like, and what they must refer to.

use hg_store::Changeset;
use hg_store::observe::{ObservedChangeset, ObservedPush};
use memchr::memmem;
use regex::bytes::Regex;

use super::{Check, Told, Verdict};
use crate::findings::{Findings, short};
use crate::patterns::expression;
use crate::pushed::PushedChangesets;
use crate::shown::shown;
use crate::{Messages, References};

struct MessageCheck {
    pattern: Option<Regex>,
    forbidden: Option<Regex>,
    bug: Option<Regex>,
    sign_off: bool,
    merges: bool,
    pardon: Option<String>,
    remedy: String,
    others: Findings,
    unsigned: Findings,
    without_bug: Findings,
    pardoned_by: Option<String>,
}

pub(super) fn new(messages: &Messages, references: &References) -> Result<Option<Box<dyn Check>>, String> {
    let read = |pattern: &Option<String>| pattern.as_deref().map(expression).transpose();
    let remedy = messages.remedy.clone().unwrap_or_else(|| match &messages.pattern {
        Some(pattern) => format!("Write one that matches {pattern}"),
        None => "Write another one".to_owned(),
    });
    let check = MessageCheck {
        pattern: read(&messages.pattern)?,
        forbidden: read(&messages.forbidden)?,
        bug: read(&references.bug)?,
        sign_off: references.sign_off,
        merges: messages.merges,
        pardon: messages.pardon.clone().filter(|words| !words.is_empty()),
        remedy,
        others: Findings::default(),
        unsigned: Findings::default(),
        without_bug: Findings::default(),
        pardoned_by: None,
    };
    let is_needed = check.pattern.is_some() || check.forbidden.is_some() || check.bug.is_some() || check.sign_off;
    Ok(is_needed.then(|| Box::new(check) as Box<dyn Check>))
}

impl Check for MessageCheck {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        let Changeset { user, description, .. } = new.content;
        if let Some(words) = &self.pardon
            && memmem::find(description, words.as_bytes()).is_some()
        {
            if !self.others.is_empty() || !self.unsigned.is_empty() || !self.without_bug.is_empty() {
                self.pardoned_by = Some(short(&new.node));
            }
            self.others.clear();
            self.unsigned.clear();
            self.without_bug.clear();
            return;
        }
        if new.parents.iter().all(Option::is_some) && !self.merges {
            return;
        }
        let place = || {
            let first = description.split(|byte| *byte == b'\n').next().unwrap_or_default();
            format!("changeset {}, {:?}", short(&new.node), shown(first))
        };
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(description))
            || self.forbidden.as_ref().is_some_and(|forbidden| forbidden.is_match(description))
        {
            self.others.add(place);
        }
        if self.bug.as_ref().is_some_and(|bug| !bug.is_match(description)) {
            self.without_bug.add(place);
        }
        if self.sign_off && !is_signed_off(user, description) {
            self.unsigned.add(place);
        }
    }

    fn judge(&mut self, _: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        if let (Some(by), Some(words)) = (&self.pardoned_by, &self.pardon) {
            verdict.remarks.push(format!("commit messages are not looked at up to changeset {by}: it says {words:?}"));
        }
        let how = "Change it with hg commit --amend or hg histedit";
        verdict.refuse(&self.others, "a commit message is not as it must be", &format!("{}. {how}", self.remedy));
        verdict.refuse(&self.without_bug, "a commit message refers to no bug", how);
        let remedy = format!("Add a line Signed-off-by: NAME <MAIL> of its author. {how}");
        verdict.refuse(&self.unsigned, "a changeset is not signed off", &remedy);
        Ok(())
    }
}

/// Whether a line says so for the changeset's author.
fn is_signed_off(user: &[u8], description: &[u8]) -> bool {
    const WORD: &[u8] = b"signed-off-by:";
    description.split(|byte| *byte == b'\n').any(|line| {
        line.split_at_checked(WORD.len())
            .is_some_and(|(word, who)| word.eq_ignore_ascii_case(WORD) && who.trim_ascii() == user.trim_ascii())
    })
}
