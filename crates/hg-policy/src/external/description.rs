//! A push in JSON, for external checks. `docs/policy.md` has the format.
//!
//! Names and texts are bytes in Mercurial; what is no UTF-8 in them is shown as U+FFFD. A program that must know the bytes asks the bundle.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use hg_store::observe::{ObservedChangeset, ObservedEntry, ObservedPush};
use hg_store::{Node, Revision};
use serde::Serialize;

use super::{Place, program};
use crate::Pusher;
use crate::checks::{Check, Told, Verdict};
use crate::pushed::PushedChangesets;

/// Version of the format: a number that grows when what was there before changes its meaning.
const VERSION: u32 = 1;
/// Files that are named of one changeset.
const FILES_MAX: usize = 1000;
/// Bytes of all texts of one push.
const BYTES_MAX: usize = 64 << 20;

/// A push, all that is known of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Description {
    version: u32,
    repository: String,
    account: String,
    groups: Vec<String>,
    changesets: Vec<DescribedChangeset>,
    bookmarks: Vec<DescribedBookmark>,
    obsoleted: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DescribedChangeset {
    node: String,
    parents: Vec<String>,
    branch: String,
    author: String,
    /// Seconds since 1970, and seconds west of UTC.
    date: (i64, i32),
    message: String,
    /// What it changes, as far as it is no parent's.
    files: Vec<DescribedFile>,
    /// Files that are not named.
    files_left_out: u64,
}

#[derive(Debug, Serialize)]
struct DescribedFile {
    path: String,
    change: &'static str,
}

#[derive(Debug, Serialize)]
struct DescribedBookmark {
    name: String,
    old: Option<String>,
    new: Option<String>,
}

/// A description, and where a program finds the rest.
#[derive(Serialize)]
struct Whole<'d> {
    #[serde(flatten)]
    description: &'d Description,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<&'d Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'d Path>,
}

impl Description {
    /// As JSON; without the bundle where no new changesets come.
    pub(super) fn json(&self, place: Option<Place<'_>>) -> Result<Vec<u8>, String> {
        let bundle = place.filter(|_| !self.changesets.is_empty()).map(program::bundle);
        let whole = Whole { description: self, bundle: bundle.as_deref(), store: place.map(|place| place.store) };
        serde_json::to_vec(&whole).map_err(|error| format!("the push can't be described: {error}"))
    }
}

/// No check, but what collects a push for those that are asked after all others.
pub(crate) struct DescribingCheck {
    description: Description,
    /// The new changesets' numbers, in order.
    revisions: Vec<Revision>,
    parents: Vec<[Option<Revision>; 2]>,
    bytes: usize,
    described: Arc<OnceLock<Description>>,
}

impl DescribingCheck {
    pub(crate) fn new(pusher: &Pusher, described: Arc<OnceLock<Description>>) -> DescribingCheck {
        let Pusher { repository, account, groups } = pusher.clone();
        let description = Description { version: VERSION, repository, account, groups, ..Description::default() };
        DescribingCheck { description, revisions: Vec::new(), parents: Vec::new(), bytes: 0, described }
    }

    /// A text, counted; nothing is kept any more where there are too many bytes.
    fn text(&mut self, bytes: &[u8]) -> String {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BYTES_MAX { String::new() } else { String::from_utf8_lossy(bytes).into_owned() }
    }
}

impl Check for DescribingCheck {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        let described = DescribedChangeset {
            node: new.node.to_string(),
            parents: Vec::new(),
            branch: self.text(new.content.branch()),
            author: self.text(&new.content.user),
            date: (new.content.time, new.content.offset),
            message: self.text(&new.content.description),
            files: Vec::new(),
            files_left_out: 0,
        };
        self.description.changesets.push(described);
        self.revisions.push(new.revision);
        self.parents.push(new.parents);
    }

    fn entry(&mut self, entry: &ObservedEntry<'_>, _: &PushedChangesets) {
        let Ok(at) = self.revisions.binary_search(&entry.changeset) else { return };
        // What a merge has from a parent it does not change.
        if entry.parents.contains(&entry.now) {
            return;
        }
        if self.description.changesets[at].files.len() >= FILES_MAX {
            self.description.changesets[at].files_left_out += 1;
            return;
        }
        let change = match entry.now {
            None => "removed",
            Some(_) if entry.is_added() => "added",
            Some(_) => "changed",
        };
        let path = self.text(entry.path);
        self.description.changesets[at].files.push(DescribedFile { path, change });
    }

    fn judge(&mut self, push: &ObservedPush<'_>, pushed: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        if self.bytes > BYTES_MAX {
            let what =
                format!("messages and names of more than {BYTES_MAX} bytes are too many for the checks by others");
            verdict.refuse_push(&what, "Push fewer changesets at a time");
            return Ok(());
        }
        let mut description = std::mem::take(&mut self.description);
        let before = push.before.changelog();
        let node =
            |revision: Revision| pushed.get(revision).map_or_else(|| before.node(revision), |new| new.node).to_string();
        for (changeset, parents) in description.changesets.iter_mut().zip(&self.parents) {
            changeset.parents = parents.iter().flatten().map(|parent| node(*parent)).collect();
        }
        let hex = |node: &Option<Node>| node.map(|node| node.to_string());
        description.bookmarks = push
            .bookmarks
            .iter()
            .map(|(name, old, new)| DescribedBookmark {
                name: String::from_utf8_lossy(name).into_owned(),
                old: hex(old),
                new: hex(new),
            })
            .collect();
        description.obsoleted = push.obsoleted.iter().map(|revision| node(*revision)).collect();
        // It is judged once.
        let _ = self.described.set(description);
        Ok(())
    }
}
