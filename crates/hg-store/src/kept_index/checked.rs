//! Up to where the indexes of changelog and manifest were looked through.

use std::path::Path;

use super::nodes::{MAGIC, Table};
use super::{Header, name_of_last, open};
use crate::Revlog;

/// How many entries of either, from the first on, are known to be sound, so that opening them looks at those alone that came since.
///
/// A process knows it of what it opened before. Of what another one opened the tables of names say it, where the names of the last ones
/// agree; and damage that came later is found where it is met, as with a revlog that stays open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) changesets: u32,
    pub(crate) manifests: u32,
}

/// What files say, before they are known to be of this store.
pub(crate) struct Said {
    changesets: Header,
    manifests: Option<Header>,
}

impl Checked {
    /// As files in this folder say.
    pub(crate) fn said(folder: &Path) -> Option<Said> {
        let header = |table: Table| Header::read(&open(folder, table.file(), false)?, MAGIC);
        Some(Said { changesets: header(Table::Changesets)?, manifests: header(Table::Manifests) })
    }
}

impl Said {
    /// What they say.
    pub(crate) fn checked(&self) -> Checked {
        let manifests = self.manifests.map_or(0, |header| header.covered);
        Checked { changesets: self.changesets.covered, manifests }
    }

    /// Whether it was said of revlogs that begin as these do.
    pub(crate) fn is_of(&self, changelog: &Revlog, manifest: &Revlog) -> bool {
        let is_of = |header: &Header, log: &Revlog| {
            header.covered as usize <= log.len() && name_of_last(log, header.covered) == header.last_name
        };
        is_of(&self.changesets, changelog) && self.manifests.as_ref().is_none_or(|header| is_of(header, manifest))
    }
}
