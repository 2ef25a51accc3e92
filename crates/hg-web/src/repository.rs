//! The page of one repository: its latest changesets, branches, tags and bookmarks.

use crate::repositories::clone_commands;
use crate::{Page, RepositoryLine, error, text};
use hg_store::{Node, Revision, Snapshot, StoreError};
use maud::{Markup, html};

/// Changesets on the page.
const CHANGESETS_MAX: usize = 30;
/// Branches, tags and bookmarks on the page, of each.
const NAMES_MAX: usize = 200;

/// Returns the page of a repository; `path` is what the URL has after its name.
pub fn repository(snapshot: &Snapshot, line: &RepositoryLine, path: &[String]) -> Result<Page, StoreError> {
    if !path.is_empty() {
        return Ok(error(404, "there is no such page"));
    }
    // One that is the whole site has no name in its address.
    let own = snapshot.settings().name().map(|name| String::from_utf8_lossy(name).into_owned());
    let title = match (line.name.as_str(), &own) {
        ("", Some(own)) => own,
        ("", None) => "Repository",
        (name, _) => name,
    };
    let changesets = changesets(snapshot)?;
    let branches = branches(snapshot)?;
    let tags = names("Tags", snapshot, snapshot.tags()?.iter());
    let bookmarks = names("Bookmarks", snapshot, snapshot.bookmarks()?.iter());
    Ok(Page::html(
        200,
        title,
        &html! {
            @if !line.name.is_empty() { p { a href={ (line.prefix) "/" } { "All repositories" } } }
            h1 { (title) }
            @if let Some(description) = snapshot.settings().description() { p { (text::line(description, 300)) } }
            (clone_commands(line))
            (changesets)
            (branches)
            (bookmarks)
            (tags)
        },
    ))
}

/// A hash, as short as people say it, that can be looked for by its whole length.
fn hash(node: &Node) -> Markup {
    let whole = node.to_string();
    html! { code title=(whole) { (whole[..12]) } }
}

fn changesets(snapshot: &Snapshot) -> Result<Markup, StoreError> {
    let served = snapshot.served()?;
    let changelog = snapshot.changelog();
    let mut rows = Vec::new();
    let latest = changelog.revisions().rev().filter(|revision| served.contains(*revision)).take(CHANGESETS_MAX);
    for revision in latest {
        rows.push((changelog.node(revision), snapshot.changeset(revision)?));
    }
    Ok(html! {
        h2 { "Latest changesets" }
        @if rows.is_empty() {
            p { "There is no changeset yet." }
        } @else {
            table {
                @for (node, changeset) in &rows {
                    tr {
                        td { (hash(node)) }
                        td { (text::date(changeset.time, changeset.offset)) }
                        td { (text::person(&changeset.user)) }
                        td {
                            (text::first_line(&changeset.description))
                            @if changeset.branch() != b"default" { " " span.aside { (text::line(changeset.branch(), 80)) } }
                        }
                    }
                }
            }
        }
    })
}

fn branches(snapshot: &Snapshot) -> Result<Markup, StoreError> {
    let branchmap = snapshot.branchmap()?;
    let row = |name: &[u8], tip: Revision, what: &str| {
        html! { tr { td { (text::line(name, 120)) } td { (hash(&snapshot.changelog().node(tip))) } td.aside { (what) } } }
    };
    Ok(html! {
        @if branchmap.iter().len() > 0 {
            h2 { "Branches" }
            table {
                @for branch in branchmap.iter().take(NAMES_MAX) {
                    (row(&branch.name, branch.tip(), if branch.closed() { "closed" } else { "" }))
                }
            }
            (more(branchmap.iter().len()))
        }
    })
}

fn names<'a>(title: &str, snapshot: &Snapshot, names: impl ExactSizeIterator<Item = (&'a [u8], Node)>) -> Markup {
    let count = names.len();
    // A name on a changeset that is not served is not shown.
    let is_served = |node: &Node| {
        let revision = snapshot.changelog().revision_of(node);
        revision.is_some_and(|revision| snapshot.served().is_ok_and(|served| served.contains(revision)))
    };
    let shown: Vec<_> = names.filter(|(_, node)| is_served(node)).take(NAMES_MAX).collect();
    html! {
        @if !shown.is_empty() {
            h2 { (title) }
            table {
                @for (name, node) in &shown { tr { td { (text::line(name, 120)) } td { (hash(node)) } } }
            }
            (more(count))
        }
    }
}

fn more(count: usize) -> Markup {
    html! { @if count > NAMES_MAX { p.aside { "and " (count - NAMES_MAX) " more" } } }
}
