//! Walks over the graph of changesets.

use crate::{Revision, Revlog};

/// Ancestors of `heads` (themselves included) that are no ancestors of `common` (nor among them), lowest first.
pub fn missing(revlog: &Revlog, common: &[Revision], heads: &[Revision]) -> Vec<Revision> {
    let _ = (revlog, common, heads);
    todo!()
}

/// All ancestors of `heads`, themselves included, lowest first.
pub fn ancestors(revlog: &Revlog, heads: &[Revision]) -> Vec<Revision> {
    missing(revlog, &[], heads)
}

/// All descendants of `roots`, themselves included, lowest first.
pub fn descendants(revlog: &Revlog, roots: &[Revision]) -> Vec<Revision> {
    let _ = (revlog, roots);
    todo!()
}

/// Whether `ancestor` is `descendant` or an ancestor of it.
pub fn is_ancestor(revlog: &Revlog, ancestor: Revision, descendant: Revision) -> bool {
    let _ = (revlog, ancestor, descendant);
    todo!()
}
