//! Who made a changeset, as it says itself.

use hg_store::observe::{ObservedChangeset, ObservedPush};
use regex::bytes::Regex;

use super::{Check, Told, Verdict};
use crate::Authors;
use crate::findings::{Findings, short};
use crate::patterns::expression;
use crate::pushed::PushedChangesets;
use crate::shown::shown;

/// A name, a blank, an address in brackets; nothing else, and no letters that turn a line around.
const FORM: &str = r"^[^<>@\p{Cc}\p{Cf}]*[^<>@\s\p{Cc}\p{Cf}] <[^<>@\s\p{Cc}\p{Cf}]+@[^<>@\s\p{Cc}\p{Cf}]+>$";

struct AuthorCheck {
    form: Option<Regex>,
    pattern: Option<Regex>,
    malformed: Findings,
    others: Findings,
}

pub(super) fn new(authors: &Authors) -> Result<Option<Box<dyn Check>>, String> {
    let form = authors.form.then(|| expression(FORM)).transpose()?;
    let pattern = authors.pattern.as_deref().map(expression).transpose()?;
    if form.is_none() && pattern.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(AuthorCheck { form, pattern, malformed: Findings::default(), others: Findings::default() })))
}

impl Check for AuthorCheck {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        let user = &new.content.user;
        let place = || format!("changeset {}, by {}", short(&new.node), shown(user));
        if self.form.as_ref().is_some_and(|form| !form.is_match(user)) {
            self.malformed.add(place);
        } else if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(user)) {
            self.others.add(place);
        }
    }

    fn judge(&mut self, _: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let remedy = "Set ui.username to NAME <MAIL@HOST>, and commit anew (hg commit --amend -u, or hg rebase)";
        verdict.refuse(&self.malformed, "an author is not of the form NAME <MAIL@HOST>", remedy);
        let remedy = "Set ui.username as your organisation asks, and commit anew";
        verdict.refuse(&self.others, "an author is none that may be", remedy);
        Ok(())
    }
}
