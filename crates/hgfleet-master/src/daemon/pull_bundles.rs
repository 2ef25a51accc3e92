//! Pull bundles of a repository: made here of the changesets that are named, and brought to every server by the log.

use std::fs::File;
use std::sync::Arc;

use hg_store::change::ChangeWriter;
use hg_store::lookup::{Lookup, lookup};
use hg_store::{Node, Revision, Snapshot};
use hg_wire::bundle_file::{BundleFile, BundleType};
use hg_wire::clone_bundles::INLINE_FOLDER;
use hg_wire::pull_bundles::{Entry, entries};
use hgfleet_log::RepositoryName;

use super::bundle_files::{BUNDLES_MAX, open, put, put_manifest, settings, take_away};
use super::master::{Master, No};
use super::repositories::{Author, parse, text};
use crate::client::{NewPullBundle, PullBundlesAnswer};
use crate::protocol::{Grant, PullBundlesChange};

/// Revisions that one bundle is told to end or to begin with.
const REVISIONS_MAX: usize = 64;
const MANIFEST: &[u8] = b"pullbundles.manifest";

/// A bundle that was made, and its line.
struct Made {
    line: String,
    file_name: String,
    file: File,
}

impl Master {
    /// Lists the pull bundles of a repository, having added or removed one in one record.
    pub(crate) async fn pull_bundles(
        &self,
        name: &str,
        change: Option<PullBundlesChange>,
        author: Author,
    ) -> Result<PullBundlesAnswer, No> {
        let name = parse(name)?;
        let of = name.clone();
        let (manifest, stored) = match change {
            None => (self.grant(&name)?.0.state.pullbundles.unwrap_or_default(), None),
            Some(PullBundlesChange::Remove(which)) => {
                let write = move |grant: &Grant, writer: &mut ChangeWriter<File>| remove(&which, &of, grant, writer);
                let (manifest, stored) = self.store_bundles(&name, author, write).await?;
                (manifest, Some(stored))
            }
            Some(PullBundlesChange::Add(new)) => {
                let made = self.make_pull_bundle(&name, new).await?;
                let write = move |grant: &Grant, writer: &mut ChangeWriter<File>| add(made, &of, grant, writer);
                let (manifest, stored) = self.store_bundles(&name, author, write).await?;
                (manifest, Some(stored))
            }
        };
        let (grant, _) = self.grant(&name)?;
        let is_heeded = settings(&grant).map_err(No::failed)?.pull_bundles();
        Ok(PullBundlesAnswer { stored, manifest, is_heeded })
    }

    async fn make_pull_bundle(&self, name: &RepositoryName, new: NewPullBundle) -> Result<Made, No> {
        let kinds = BundleType::ALL.into_iter().filter(|kind| *kind != BundleType::NoneStreamV2);
        let Some(kind) = kinds.clone().find(|kind| kind.as_str() == new.kind) else {
            let known = kinds.map(BundleType::as_str).collect::<Vec<_>>().join(", ");
            return Err(No::refused(format!("{:?} is no pull bundle that is made here. These are: {known}", new.kind)));
        };
        if new.heads.len().max(new.bases.len()) > REVISIONS_MAX {
            return Err(No::refused(format!("more than {REVISIONS_MAX} revisions are named. Name fewer")));
        }
        let of = name.clone();
        let make = move |snapshot: Arc<Snapshot>| {
            let found = |keys: &[String]| -> Result<Vec<Revision>, String> {
                keys.iter().map(|key| revision(&snapshot, key, &of)).collect()
            };
            let (heads, bases) = (found(&new.heads)?, found(&new.bases)?);
            let bundle = BundleFile::part(snapshot.clone(), kind, &heads, &bases)
                .map_err(|error| format!("{}, of {of}. Name other revisions", error.client_text()))?
                .ok_or_else(|| format!("nothing is left of these revisions, of {of}. Name newer ones"))?;
            let file_name = format!("pull-{}", bundle.file_name());
            let base = bundle.bases().iter().map(|base| format!("-on-{}", &base.to_string()[..12])).next();
            let file_name = file_name.replace("_tip.hg", &format!("_tip{}.hg", base.unwrap_or_default()));
            let line = line(kind, &file_name, bundle.heads(), bundle.bases());
            Ok(((line, file_name), bundle))
        };
        let ((line, file_name), file) = self.make_bundle(name, make).await?;
        Ok(Made { line, file_name, file })
    }
}

/// The changeset that a name stands for, as a client would be told.
fn revision(snapshot: &Snapshot, key: &str, name: &RepositoryName) -> Result<Revision, String> {
    match lookup(snapshot, key.as_bytes()).map_err(text)? {
        Lookup::Found(revision) => Ok(revision),
        Lookup::Null => Err(format!("{key:?} stands for no changeset, of {name}. Leave it out")),
        Lookup::Unknown(why) => Err(format!("{why}, of {name}. `hg log` lists what there is")),
    }
}

fn line(kind: BundleType, file_name: &str, heads: &[Node], bases: &[Node]) -> String {
    let joined = |nodes: &[Node]| nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(";");
    let bases = if bases.is_empty() { String::new() } else { format!(" bases={}", joined(bases)) };
    format!("{INLINE_FOLDER}/{file_name} BUNDLESPEC={} heads={}{bases}", kind.as_str(), joined(heads))
}

fn lines(grant: &Grant) -> Vec<&[u8]> {
    let manifest = grant.state.pullbundles.as_deref().unwrap_or_default();
    manifest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

/// Whether a line is that of a file: by its path, or by its name in the folder of bundles.
fn is_of(line: &[u8], which: &[u8]) -> bool {
    let path = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let file_name = path.strip_prefix(INLINE_FOLDER.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    path == which || file_name == Some(which)
}

fn whole(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [*line, b"\n"]).flatten().copied().collect()
}

/// Writes what adds a bundle, behind the others; returns the manifest after it.
fn add(made: Made, name: &RepositoryName, grant: &Grant, writer: &mut ChangeWriter<File>) -> Result<Vec<u8>, String> {
    let Made { line, file_name, file } = made;
    let mut lines = lines(grant);
    if lines.contains(&line.as_bytes()) {
        return Err(format!("{name} has this pull bundle already. Nothing was changed"));
    }
    lines.retain(|other| !is_of(other, file_name.as_bytes()));
    if lines.len() >= BUNDLES_MAX {
        return Err(format!("{name} has {BUNDLES_MAX} pull bundles already. Remove one of them first"));
    }
    lines.push(line.as_bytes());
    let manifest = whole(&lines);
    put_manifest(MANIFEST, grant.state.pullbundles.as_deref(), &manifest, writer)?;
    let snapshot = open(grant, name)?;
    put(&snapshot, &file_name, file, writer)?;
    Ok(manifest)
}

/// Writes what takes a bundle away; returns the manifest after it.
fn remove(
    which: &str,
    name: &RepositoryName,
    grant: &Grant,
    writer: &mut ChangeWriter<File>,
) -> Result<Vec<u8>, String> {
    let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) =
        lines(grant).into_iter().partition(|line| is_of(line, which.as_bytes()));
    if gone.is_empty() {
        return Err(format!("{name} has no pull bundle {which:?}. `hgfleet repo pull-bundle list` lists them"));
    }
    let manifest = whole(&kept);
    put_manifest(MANIFEST, grant.state.pullbundles.as_deref(), &manifest, writer)?;
    let snapshot = open(grant, name)?;
    // A line that was written by hand may name what others name, too.
    let is_named = |path: &[u8]| entries(&manifest).any(|entry| entry.path == path);
    let gone = gone.iter().filter_map(|line| Entry::parse(line)).map(|entry| entry.path);
    for path in gone.filter(|path| path.starts_with(INLINE_FOLDER.as_bytes()) && !is_named(path)) {
        take_away(&snapshot, path, writer)?;
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood_by_who_sends_bundles() {
        let nodes = [Node::from_hex(&[b'1'; 40]), Node::from_hex(&[b'2'; 40])].map(|node| node.expect("a hash"));
        let written = line(BundleType::GzipV2, "pull-a.hg", &nodes, &nodes[1..]);
        let entry = Entry::parse(written.as_bytes()).expect("a bundle");
        assert_eq!((entry.path, entry.compression), (b"bundle-cache/pull-a.hg".as_slice(), Some("zlib")));
        assert_eq!((entry.heads.as_deref(), entry.bases.as_deref()), (Some(&nodes[..]), Some(&nodes[1..])));
        assert_eq!(Entry::parse(line(BundleType::NoneV2, "a", &nodes, &[]).as_bytes()).expect("one").bases, None);
        for which in ["pull-a.hg", "bundle-cache/pull-a.hg"] {
            assert!(is_of(written.as_bytes(), which.as_bytes()), "{which}");
        }
        assert!(!is_of(written.as_bytes(), b"a.hg") && !is_of(written.as_bytes(), b""));
    }
}
