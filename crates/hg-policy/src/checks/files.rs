//! Files: how large, of which names, and no links.

use globset::GlobSet;
use hg_store::observe::{Flag, ObservedEntry, ObservedFile, ObservedPush};

use super::{Check, Told, Verdict, bounded};
use crate::Files;
use crate::findings::{Findings, short};
use crate::patterns::{globs, matches};
use crate::pushed::PushedChangesets;
use crate::shown::shown;

struct FileCheck {
    bytes_max: Option<u64>,
    forbidden: Option<GlobSet>,
    links_allowed: bool,
    large: Findings,
    found: Findings,
    links: Findings,
}

pub(super) fn new(files: &Files) -> Result<Option<Box<dyn Check>>, String> {
    if *files == Files::default() {
        return Ok(None);
    }
    bounded(&files.forbidden)?;
    Ok(Some(Box::new(FileCheck {
        bytes_max: files.bytes_max,
        forbidden: (!files.forbidden.is_empty()).then(|| globs(&files.forbidden)).transpose()?,
        links_allowed: files.symlinks,
        large: Findings::default(),
        found: Findings::default(),
        links: Findings::default(),
    })))
}

impl Check for FileCheck {
    fn entry(&mut self, entry: &ObservedEntry<'_>, pushed: &PushedChangesets) {
        let Some(brought) = entry.brought() else { return };
        if self.forbidden.as_ref().is_some_and(|forbidden| matches(forbidden, entry.path)) {
            self.found.file(pushed.node(entry.changeset), entry.path);
        }
        if !self.links_allowed && brought.flag == Flag::Link {
            self.links.file(pushed.node(entry.changeset), entry.path);
        }
    }

    fn file(&mut self, file: &ObservedFile<'_>, pushed: &PushedChangesets) {
        let bytes = file.content_bytes();
        if self.bytes_max.is_some_and(|max| bytes > max) {
            let changeset = pushed.node(file.changeset);
            self.large.add(|| format!("changeset {}, file {}, {bytes} bytes", short(&changeset), shown(file.path)));
        }
    }

    fn judge(&mut self, _: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let max = self.bytes_max.unwrap_or_default();
        let remedy = "Keep it elsewhere, and remove it from the changeset that brings it";
        verdict.refuse(&self.large, &format!("a file has more than {max} bytes"), remedy);
        let remedy = "Remove it from the changeset that adds or changes it";
        verdict.refuse(&self.found, "a file that must not come here", remedy);
        verdict.refuse(&self.links, "symbolic links are not taken", "Commit a regular file in its place");
        Ok(())
    }
}
