//! What must hold after the dust has settled.

use super::pusher::{BOOKMARK, Ledger};
use crate::support::clients::Clients;
use std::collections::BTreeSet;
use std::path::Path;

/// What does not hold of one repository, of which this is a copy: nothing, if all is well.
pub fn violations(clients: &Clients, copy: &Path, ledger: &Ledger) -> Vec<String> {
    let repository = ledger.repository;
    let copy = copy.to_str().expect("UTF-8");
    let ask = |revisions: &str| {
        let nodes = clients.hg(&["log", "-R", copy, "-r", revisions, "-T", "{node}\n"]).ok().out;
        nodes.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let (nodes, public) = (ask("all()"), ask("public()"));
    let known = ledger.known();
    let mut violations = Vec::new();
    for node in known.stored.iter().filter(|node| !nodes.contains(*node)) {
        violations.push(format!("{repository}: {node} was acknowledged and is lost"));
    }
    for node in known.refused.iter().filter(|node| nodes.contains(*node)) {
        violations.push(format!("{repository}: {node} was refused and is there"));
    }
    for node in known.public.iter().filter(|node| !public.contains(*node)) {
        violations.push(format!("{repository}: {node} was made public and is a draft"));
    }
    let bookmark = ask(&format!("bookmark('re:^{BOOKMARK}$')")).pop_first().unwrap_or_default();
    if !known.bookmark.contains(&bookmark) {
        violations.push(format!("{repository}: the bookmark is at {bookmark:?}, not in {:?}", known.bookmark));
    }
    violations
}
