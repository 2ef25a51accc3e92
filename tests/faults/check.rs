//! What must hold after the dust has settled.

use super::pusher::{BOOKMARK, Ledger};
use crate::support::fleet::Fleet;
use std::collections::BTreeSet;

/// What does not hold of one repository: nothing, if all is well.
///
/// Panics where the servers don't come to hold the same bytes, or `hg verify` finds something.
pub fn violations(fleet: &Fleet, ledger: &Ledger) -> Vec<String> {
    fleet.assert_one_store(ledger.repository);
    let copy = &fleet.copies(ledger.repository)[0];
    let copy = copy.to_str().expect("UTF-8");
    let nodes = fleet.hg(&["log", "-R", copy, "-r", "all()", "-T", "{node}\n"]).ok().out;
    let nodes: BTreeSet<&str> = nodes.lines().collect();
    let known = ledger.known();
    let mut violations = Vec::new();
    for node in known.stored.iter().filter(|node| !nodes.contains(node.as_str())) {
        violations.push(format!("{}: {node} was acknowledged and is lost", ledger.repository));
    }
    for node in known.refused.iter().filter(|node| nodes.contains(node.as_str())) {
        violations.push(format!("{}: {node} was refused and is there", ledger.repository));
    }
    let bookmark = fleet.hg(&["log", "-R", copy, "-r", &format!("bookmark('re:^{BOOKMARK}$')"), "-T", "{node}"]);
    let bookmark = bookmark.ok().out;
    if !known.bookmark.is_empty() && !known.bookmark.contains(&bookmark) {
        violations.push(format!("{}: the bookmark is at {bookmark:?}, not in {:?}", ledger.repository, known.bookmark));
    }
    violations
}
