//! Changesets as such: forbidden ones, merges, roots.

use hg_store::Node;
use hg_store::observe::{ObservedChangeset, ObservedPush};
use rustc_hash::FxHashSet;

use super::{Check, Told, Verdict, nodes};
use crate::findings::{Findings, short};
use crate::pushed::PushedChangesets;
use crate::{Changesets, Roots};

struct ChangesetCheck {
    forbidden: FxHashSet<Node>,
    merges_allowed: bool,
    /// `None`: all.
    allowed_roots: Option<FxHashSet<Node>>,
    found: Findings,
    merges: Findings,
    roots: Findings,
    remarks: Vec<String>,
}

pub(super) fn new(changesets: &Changesets, roots: &Roots) -> Result<Option<Box<dyn Check>>, String> {
    let allowed_roots = nodes(&roots.allowed)?;
    let check = ChangesetCheck {
        forbidden: nodes(&changesets.forbidden)?,
        merges_allowed: changesets.merges,
        allowed_roots: (!roots.new).then_some(allowed_roots),
        found: Findings::default(),
        merges: Findings::default(),
        roots: Findings::default(),
        remarks: Vec::new(),
    };
    let is_needed = !check.forbidden.is_empty() || !check.merges_allowed || check.allowed_roots.is_some();
    Ok(is_needed.then(|| Box::new(check) as Box<dyn Check>))
}

impl Check for ChangesetCheck {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        if self.forbidden.contains(&new.node) {
            self.found.changeset(new.node);
        }
        match new.parents {
            [Some(_), Some(_)] if !self.merges_allowed => self.merges.changeset(new.node),
            [None, None] => match &self.allowed_roots {
                Some(allowed) if allowed.contains(&new.node) => {
                    self.remarks.push(format!("the root {} is one that may be", short(&new.node)));
                }
                Some(_) => self.roots.changeset(new.node),
                None => {}
            },
            _ => {}
        }
    }

    fn judge(&mut self, push: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let remedy = "Strip it and what builds on it from your repository, and push again";
        verdict.refuse(&self.found, "a changeset that must not come here", remedy);
        verdict.refuse(&self.merges, "merges are not taken", "Rebase instead, and push again");
        // The first push brings the root that all others build on.
        if !push.before.changelog().is_empty() {
            let remedy = "Look whether this is the right repository, and push only what builds on it";
            verdict.refuse(&self.roots, "unrelated history: a root of its own", remedy);
            verdict.remarks.append(&mut self.remarks);
        }
        Ok(())
    }
}
