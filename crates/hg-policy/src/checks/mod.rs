//! One rule at work on one push.

mod authors;
mod bookmarks;
mod branches;
mod case;
mod changesets;
mod files;
mod limits;
mod messages;
mod names;
mod protected;
mod subrepositories;
mod tree;

use std::sync::Arc;

use hg_store::observe::{
    Judgement, ObservedChangeset, ObservedEntry, ObservedFile, ObservedManifest, ObservedPush, Observer,
};
use hg_store::prepare::PrepareError;
use hg_store::{Node, Revision};

use crate::external::{DescribingCheck, ExternalChecks};
use crate::pushed::PushedChangesets;
use crate::{Pusher, Rule};

/// Elements of one list of a rule.
const LIST_MAX: usize = 10_000;

/// Nothing but what could not be read.
pub(crate) type Told = Result<(), PrepareError>;

/// One kind of check. What it is told comes in the order of [`Observer`].
pub(crate) trait Check: Send {
    fn changeset(&mut self, _new: &ObservedChangeset<'_>) {}

    fn entry(&mut self, _entry: &ObservedEntry<'_>, _pushed: &PushedChangesets) {}

    fn manifest(&mut self, _of: Revision, _manifest: &mut ObservedManifest<'_>, _: &PushedChangesets) -> Told {
        Ok(())
    }

    fn file(&mut self, _file: &ObservedFile<'_>, _pushed: &PushedChangesets) {}

    /// All was told; adds what it has to say.
    fn judge(&mut self, push: &ObservedPush<'_>, pushed: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told;
}

/// What the checks say.
pub(crate) struct Verdict<'a> {
    repository: &'a str,
    refusals: Vec<String>,
    remarks: Vec<String>,
}

impl Verdict<'_> {
    /// Refuses what was found, if anything was.
    fn refuse(&mut self, findings: &crate::findings::Findings, what: &str, remedy: &str) {
        self.refusals.extend(findings.text(what, self.repository, remedy));
    }

    /// Refuses the push as a whole.
    pub(crate) fn refuse_push(&mut self, what: &str, remedy: &str) {
        self.refusals.push(format!("refused: {what}, on {}. {remedy}", self.repository));
    }
}

/// A rule's checks, watching one push.
pub struct Checks {
    repository: String,
    checks: Vec<Box<dyn Check>>,
    external: Option<ExternalChecks>,
    pushed: PushedChangesets,
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").field("repository", &self.repository).field("checks", &self.checks.len()).finish()
    }
}

impl Checks {
    /// Makes a rule's checks ready for a push.
    ///
    /// # Errors
    /// What the rule says that can't be, for whoever wrote it.
    pub fn new(rule: &Rule, pusher: Pusher) -> Result<Checks, String> {
        let kinds: [Option<Box<dyn Check>>; 12] = [
            tree::new(rule)?,
            limits::new(&rule.limits),
            names::new(&rule.names),
            case::new(&rule.case),
            subrepositories::new(&rule.subrepositories)?,
            files::new(&rule.files)?,
            protected::new(&rule.protected, &pusher)?,
            changesets::new(&rule.changesets, &rule.roots)?,
            branches::new(&rule.branches),
            messages::new(&rule.messages, &rule.references)?,
            authors::new(&rule.authors)?,
            bookmarks::new(&rule.bookmarks),
        ];
        let mut checks: Vec<_> = kinds.into_iter().flatten().collect();
        let described = Arc::default();
        let external = ExternalChecks::of(rule, &pusher.repository, Arc::clone(&described))?;
        if external.is_some() {
            checks.push(Box::new(DescribingCheck::new(&pusher, described)));
        }
        Ok(Checks { repository: pusher.repository, checks, external, pushed: PushedChangesets::default() })
    }

    /// What must be asked besides, once this has judged the push; given away once.
    pub fn take_external(&mut self) -> Option<ExternalChecks> {
        self.external.take()
    }
}

impl Observer for Checks {
    fn changeset(&mut self, changeset: &ObservedChangeset<'_>) {
        self.pushed.add(changeset);
        self.checks.iter_mut().for_each(|check| check.changeset(changeset));
    }

    fn entry(&mut self, entry: &ObservedEntry<'_>) {
        self.checks.iter_mut().for_each(|check| check.entry(entry, &self.pushed));
    }

    fn manifest(&mut self, changeset: Revision, manifest: &mut ObservedManifest<'_>) -> Result<(), PrepareError> {
        self.checks.iter_mut().try_for_each(|check| check.manifest(changeset, manifest, &self.pushed))
    }

    fn file(&mut self, file: &ObservedFile<'_>) {
        self.checks.iter_mut().for_each(|check| check.file(file, &self.pushed));
    }

    fn judge(&mut self, push: &ObservedPush<'_>) -> Result<Judgement, PrepareError> {
        let mut verdict = Verdict { repository: &self.repository, refusals: Vec::new(), remarks: Vec::new() };
        for check in &mut self.checks {
            check.judge(push, &self.pushed, &mut verdict)?;
        }
        let Verdict { refusals, remarks, .. } = verdict;
        Ok(Judgement { remarks, refusal: (!refusals.is_empty()).then(|| refusals.join("\n")) })
    }
}

/// Reads names of changesets from a rule.
fn nodes(names: &[String]) -> Result<rustc_hash::FxHashSet<Node>, String> {
    bounded(names)?;
    let node = |name: &String| Node::from_hex(name.to_ascii_lowercase().as_bytes());
    let read = |name| node(name).ok_or_else(|| format!("{name:?} is no changeset: 40 digits are needed"));
    names.iter().map(read).collect()
}

/// Checks that a list of a rule is no longer than it may be.
fn bounded<T>(list: &[T]) -> Result<(), String> {
    match list.len() {
        count if count > LIST_MAX => Err(format!("a list of {count}; {LIST_MAX} are allowed")),
        _ => Ok(()),
    }
}
