//! Clone bundles of a repository: made here, and brought to every server by the log with the manifest that names them.

use std::fs::File;
use std::sync::Arc;

use hg_store::Snapshot;
use hg_store::change::ChangeWriter;
use hg_wire::bundle_file::{BundleFile, BundleType};
use hg_wire::clone_bundles::{Entry, INLINE};
use hgfleet_log::RepositoryName;

use super::bundle_files::{BUNDLES_MAX, open, path_of, put, put_manifest, take_away};
use super::master::{Master, No};
use super::repositories::{Author, parse};
use crate::client::{CloneBundleSource, CloneBundlesAnswer, NewCloneBundle};
use crate::protocol::{CloneBundlesChange, Grant};

const MANIFEST: &[u8] = b"clonebundles.manifest";

/// What becomes of a repository's bundles, with what is made before the repository is locked.
enum Plan {
    Add { line: String, spec: String, replace: bool, made: Option<(String, File)> },
    Remove(String),
}

impl Master {
    /// Lists the clone bundles of a repository, having added or removed one in one record.
    pub(crate) async fn clone_bundles(
        &self,
        name: &str,
        change: Option<CloneBundlesChange>,
        author: Author,
    ) -> Result<CloneBundlesAnswer, No> {
        let name = parse(name)?;
        let plan = match change {
            None => {
                let manifest = self.grant(&name)?.0.state.clonebundles.unwrap_or_default();
                return Ok(CloneBundlesAnswer { stored: None, manifest });
            }
            Some(CloneBundlesChange::Add(new)) => self.plan(&name, new).await?,
            Some(CloneBundlesChange::Remove(which)) => Plan::Remove(which),
        };
        let of = name.clone();
        let (manifest, stored) =
            self.store_bundles(&name, author, move |grant, writer| write_plan(plan, &of, grant, writer)).await?;
        Ok(CloneBundlesAnswer { stored: Some(stored), manifest })
    }

    /// Makes the bundle, where it is one to be made: pushes go on meanwhile, and what is public stays so.
    async fn plan(&self, name: &RepositoryName, new: NewCloneBundle) -> Result<Plan, No> {
        let attributes: String = new.attributes.iter().map(|attribute| format!(" {attribute}")).collect();
        match new.source {
            CloneBundleSource::Url(url) => {
                let line = format!("{url} BUNDLESPEC={}{attributes}", new.kind);
                checked(&line)?;
                Ok(Plan::Add { line, spec: new.kind, replace: new.replace, made: None })
            }
            CloneBundleSource::Inline => {
                let Some(kind) = BundleType::parse(&new.kind) else {
                    let known = BundleType::ALL.map(BundleType::as_str).join(", ");
                    return Err(No::refused(format!(
                        "{:?} is no bundle that is made here. These are: {known}",
                        new.kind
                    )));
                };
                let of = name.clone();
                let make = move |snapshot: Arc<Snapshot>| {
                    let spec = kind.spec(&snapshot);
                    let bundle = BundleFile::full(snapshot, kind).map_err(|error| error.client_text())?;
                    let bundle = bundle.ok_or_else(|| format!("{of} has no public changesets. Push some first"))?;
                    Ok(((bundle.file_name(), spec), bundle))
                };
                let ((file_name, spec), file) = self.make_bundle(name, make).await?;
                let line = format!("{}{file_name} BUNDLESPEC={spec}{attributes}", String::from_utf8_lossy(INLINE));
                checked(&line)?;
                Ok(Plan::Add { line, spec, replace: new.replace, made: Some((file_name, file)) })
            }
        }
    }
}

fn checked(line: &str) -> Result<(), No> {
    Entry::parse(line.as_bytes())
        .map(drop)
        .map_err(|error| No::refused(format!("{line:?} can't be a line of {}: {error}", MANIFEST.escape_ascii())))
}

/// Writes the change that a plan comes to; returns the manifest after it.
fn write_plan(
    plan: Plan,
    name: &RepositoryName,
    grant: &Grant,
    writer: &mut ChangeWriter<File>,
) -> Result<Vec<u8>, String> {
    let before = grant.state.clonebundles.as_deref();
    let lines: Vec<&[u8]> =
        before.unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let goes = |line: &[u8]| {
        let url = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        match &plan {
            Plan::Remove(which) => url == which.as_bytes() || url.strip_prefix(INLINE) == Some(which.as_bytes()),
            Plan::Add { line: new, spec, replace, made } => {
                let new_url = new.split(' ').next().unwrap_or_default();
                url == new_url.as_bytes()
                    || (*replace
                        && url.starts_with(INLINE) == made.is_some()
                        && line[url.len()..]
                            .split(|byte| *byte == b' ')
                            .any(|word| word.strip_prefix(b"BUNDLESPEC=") == Some(spec.as_bytes())))
            }
        }
    };
    let (gone, mut kept): (Vec<&[u8]>, Vec<&[u8]>) = lines.iter().partition(|line| goes(line));
    let made_name = match &plan {
        Plan::Remove(which) if gone.is_empty() => {
            return Err(format!("{name} has no clone bundle {which:?}. `hgfleet repo clone-bundle list` lists them"));
        }
        Plan::Remove(_) => None,
        Plan::Add { line, made, .. } => {
            if gone.contains(&line.as_bytes()) {
                return Err(format!("{name} has this clone bundle already. Nothing was changed"));
            }
            if kept.len() >= BUNDLES_MAX {
                return Err(format!("{name} has {BUNDLES_MAX} clone bundles already. Remove one of them first"));
            }
            kept.push(line.as_bytes());
            made.as_ref().map(|(file_name, _)| file_name.as_bytes())
        }
    };
    let manifest: Vec<u8> = kept.iter().flat_map(|line| [*line, b"\n"]).flatten().copied().collect();
    let snapshot = open(grant, name)?;
    for entry in gone.iter().filter_map(|line| Entry::parse(line).ok()) {
        let Some(file_name) = entry.inline_name().filter(|file_name| Some(*file_name) != made_name) else { continue };
        take_away(&snapshot, &path_of(file_name), writer)?;
    }
    put_manifest(MANIFEST, before, &manifest, writer)?;
    if let Plan::Add { made: Some((file_name, file)), .. } = plan {
        put(&snapshot, &file_name, file, writer)?;
    }
    Ok(manifest)
}
