//! Bookmarks off.

use hg_store::observe::ObservedPush;

use super::{Check, Told, Verdict};
use crate::Bookmarks;
use crate::findings::Findings;
use crate::pushed::PushedChangesets;
use crate::shown::shown;

struct BookmarkCheck;

pub(super) fn new(bookmarks: &Bookmarks) -> Option<Box<dyn Check>> {
    (!bookmarks.allowed).then(|| Box::new(BookmarkCheck) as Box<dyn Check>)
}

impl Check for BookmarkCheck {
    fn judge(&mut self, push: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let mut findings = Findings::default();
        for (name, ..) in push.bookmarks {
            findings.add(|| format!("bookmark {}", shown(name)));
        }
        verdict.refuse(
            &findings,
            "bookmarks are disabled",
            "Push without -B, or delete the bookmark with hg bookmark -d",
        );
        Ok(())
    }
}
