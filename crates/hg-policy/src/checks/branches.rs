//! Named branches: one open head each, no new ones, one in a push.

use std::collections::BTreeMap;

use hg_store::observe::ObservedPush;
use hg_store::{Node, Revision};
use rustc_hash::FxHashSet;

use super::{Check, Told, Verdict};
use crate::Branches;
use crate::findings::{Findings, short};
use crate::pushed::{Pushed, PushedChangesets};
use crate::shown::shown;

/// Heads of one branch that a message names.
const NAMED_MAX: usize = 4;
/// Changesets that are looked at to tell whether one head is an ancestor of another, in one push.
const STEPS_MAX: usize = 50_000_000;

struct BranchCheck(Branches);

pub(super) fn new(branches: &Branches) -> Option<Box<dyn Check>> {
    (*branches != Branches::default()).then(|| Box::new(BranchCheck(branches.clone())) as Box<dyn Check>)
}

impl Check for BranchCheck {
    fn judge(&mut self, push: &ObservedPush<'_>, pushed: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let mut touched: BTreeMap<&[u8], Vec<&Pushed>> = BTreeMap::new();
        for new in pushed.all() {
            touched.entry(&new.branch).or_default().push(new);
        }
        if touched.is_empty() {
            return Ok(());
        }
        let of_branch =
            |branch: &[u8], new: &Pushed| format!("branch {}, changeset {}", shown(branch), short(&new.node));
        if !self.0.several && touched.len() > 1 {
            let mut findings = Findings::default();
            for (branch, new) in &touched {
                findings.add(|| of_branch(branch, new[0]));
            }
            verdict.refuse(
                &findings,
                "changesets of several branches in one push",
                "Push one branch at a time, with -r",
            );
        }
        let before = push.before.branchmap()?;
        if !self.0.new && !push.before.changelog().is_empty() {
            let mut findings = Findings::default();
            for (branch, new) in touched.iter().filter(|(branch, _)| before.get(branch).is_none()) {
                findings.add(|| of_branch(branch, new[0]));
            }
            verdict.refuse(
                &findings,
                "new branches are not taken",
                "Commit it on a branch that is there, or use a bookmark",
            );
        }
        if self.0.one_head {
            let mut findings = Findings::default();
            let mut graph = Graph { push, pushed, steps_left: STEPS_MAX };
            for (branch, new) in &touched {
                let old = before.get(branch).map_or(&[][..], |branch| &branch.heads);
                let heads = graph.open_heads(old, new);
                if heads.len() > 1 {
                    findings.add(|| {
                        let mut named: Vec<String> = heads.iter().take(NAMED_MAX).map(short).collect();
                        named.extend((heads.len() > NAMED_MAX).then(|| format!("{} more", heads.len() - NAMED_MAX)));
                        format!("branch {}, heads {}", shown(branch), named.join(", "))
                    });
                }
            }
            let remedy = "Pull, and merge or rebase; or close the other head with hg commit --close-branch";
            verdict.refuse(&findings, "only one open head is allowed on a branch", remedy);
        }
        Ok(())
    }
}

/// Old and new changesets.
struct Graph<'a> {
    push: &'a ObservedPush<'a>,
    pushed: &'a PushedChangesets,
    steps_left: usize,
}

impl Graph<'_> {
    fn parents(&self, revision: Revision) -> [Option<Revision>; 2] {
        match self.pushed.get(revision) {
            Some(new) => new.parents,
            None => self.push.before.changelog().parents(revision),
        }
    }

    fn node(&self, revision: Revision) -> Node {
        match self.pushed.get(revision) {
            Some(new) => new.node,
            None => self.push.before.changelog().node(revision),
        }
    }

    /// The open heads that a branch has now: those changesets of it that no other one of it descends from, by whatever way. What is
    /// obsolete counts for nothing.
    fn open_heads(&mut self, old: &[hg_store::branchmap::BranchHead], new: &[&Pushed]) -> Vec<Node> {
        let is_obsolete = |revision: &Revision| self.push.obsoleted.contains(revision);
        let counted: Vec<&Pushed> = new.iter().copied().filter(|new| !is_obsolete(&new.revision)).collect();
        let parents: FxHashSet<Revision> = counted.iter().flat_map(|new| new.parents).flatten().collect();
        // Whether each closes the branch.
        let mut heads: Vec<(Revision, bool)> =
            old.iter().map(|head| (head.revision, head.closed)).filter(|(head, _)| !is_obsolete(head)).collect();
        heads.extend(counted.iter().map(|new| (new.revision, new.closes_branch)));
        heads.retain(|(head, _)| !parents.contains(head));
        let is_open = |heads: &[(Revision, bool)]| heads.iter().filter(|(_, closed)| !closed).count();
        if is_open(&heads) > 1 {
            let below = self.below(&heads);
            heads.retain(|(head, _)| !below.contains(head));
        }
        heads.iter().filter(|(_, closed)| !closed).map(|(head, _)| self.node(*head)).collect()
    }

    /// Ancestors of these, as far down as the lowest of them.
    fn below(&mut self, heads: &[(Revision, bool)]) -> FxHashSet<Revision> {
        let mut below = FxHashSet::default();
        let Some(lowest) = heads.iter().map(|(head, _)| *head).min() else { return below };
        let mut left: Vec<Revision> = heads.iter().map(|(head, _)| *head).collect();
        while let Some(revision) = left.pop() {
            for parent in self.parents(revision).into_iter().flatten() {
                if parent >= lowest && self.steps_left > 0 && below.insert(parent) {
                    self.steps_left -= 1;
                    left.push(parent);
                }
            }
        }
        below
    }
}
