//! Paths that only some change.

use globset::GlobSet;
use hg_store::Revision;
use hg_store::observe::{FileEntry, ObservedChangeset, ObservedEntry, ObservedManifest, ObservedPush};
use memchr::memmem;

use super::{Check, Told, Verdict, bounded};
use crate::findings::Findings;
use crate::patterns::{globs, matches};
use crate::pushed::PushedChangesets;
use crate::{Protected, Pusher};

/// Paths that whoever pushes may not change.
struct ProtectedCheck {
    paths: GlobSet,
    groups: String,
    pardon: Option<String>,
    pardoned: Vec<Revision>,
    /// What the merge that is being told takes from one parent and not from the other, by path.
    taken: Vec<(Box<[u8]>, Option<FileEntry>)>,
    found: Findings,
}

struct ProtectedChecks(Vec<ProtectedCheck>);

pub(super) fn new(protected: &[Protected], pusher: &Pusher) -> Result<Option<Box<dyn Check>>, String> {
    bounded(protected)?;
    let mut checks = Vec::new();
    for Protected { paths, groups, pardon } in protected {
        if paths.is_empty() {
            return Err("`protected` without `paths` protects nothing; name patterns there, or remove it".to_owned());
        }
        bounded(paths)?;
        bounded(groups)?;
        let compiled = globs(paths)?;
        if groups.iter().any(|group| pusher.groups.contains(group) || *group == pusher.account) {
            continue;
        }
        checks.push(ProtectedCheck {
            paths: compiled,
            groups: groups.join(" or "),
            pardon: pardon.clone().filter(|words| !words.is_empty()),
            pardoned: Vec::new(),
            taken: Vec::new(),
            found: Findings::default(),
        });
    }
    Ok((!checks.is_empty()).then(|| Box::new(ProtectedChecks(checks)) as Box<dyn Check>))
}

impl Check for ProtectedChecks {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        for check in &mut self.0 {
            if let Some(words) = &check.pardon
                && memmem::find(&new.content.description, words.as_bytes()).is_some()
            {
                check.pardoned.push(new.revision);
            }
        }
    }

    fn entry(&mut self, entry: &ObservedEntry<'_>, pushed: &PushedChangesets) {
        for check in &mut self.0 {
            if !matches(&check.paths, entry.path) || check.pardoned.binary_search(&entry.changeset).is_ok() {
                continue;
            }
            if entry.parents.contains(&entry.now) {
                check.taken.push((entry.path.into(), entry.now));
            } else {
                check.found.file(pushed.node(entry.changeset), entry.path);
            }
        }
    }

    fn manifest(&mut self, of: Revision, manifest: &mut ObservedManifest<'_>, pushed: &PushedChangesets) -> Told {
        for check in &mut self.0 {
            for (path, taken) in check.taken.drain(..) {
                // A merge takes over what one side has changed. One that takes what its side has not changed undoes the other's change.
                let ancestors = manifest.at_common_ancestors(&path)?;
                if ancestors.contains(&taken) || (ancestors.is_empty() && taken.is_none()) {
                    check.found.file(pushed.node(of), &path);
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, _: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        for check in &self.0 {
            let mut remedy = match &check.groups[..] {
                "" => "Leave it as it is".to_owned(),
                groups => format!("Ask a member of {groups} to push it"),
            };
            if let Some(words) = &check.pardon {
                remedy.push_str(&format!(", or say {words:?} in the changeset's message"));
            }
            verdict.refuse(&check.found, "a protected file is changed", &remedy);
        }
        Ok(())
    }
}
