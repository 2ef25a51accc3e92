//! Clone bundles of a repository: made here, and brought to every server by the log with the manifest that names them.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use hg_store::change::ChangeWriter;
use hg_store::{Repository, Snapshot};
use hg_wire::bundle_file::{BundleType, FullBundle};
use hg_wire::clone_bundles::{self, Entry, INLINE, INLINE_FOLDER};
use hgfleet_log::{RepositoryName, StoreKind};

use super::change_file::ChangeFile;
use super::master::{Master, No};
use super::repositories::{Author, blocking, finish, parse, text};
use crate::client::{CloneBundleSource, CloneBundlesAnswer, NewCloneBundle};
use crate::protocol::{CloneBundlesChange, Grant};

/// Bundles of one repository.
const BUNDLES_MAX: usize = 16;
/// Bytes of a bundle that the log carries. Larger ones are for a server of files, which the manifest names.
const INLINE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
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
        let (lock, grant, digest) = self.lock(&name).await?;
        let (run, replica) = (self.run.clone(), self.replica.clone());
        let of = name.clone();
        let made = blocking(move || {
            let mut writer = ChangeWriter::new(tempfile::tempfile_in(&run).map_err(text)?).map_err(text)?;
            let manifest = write_plan(plan, &of, &grant, &mut writer)?;
            let (change, after) = finish(writer, &of, |name, change| replica.digest_after(name, change))?;
            Ok((manifest, change, after))
        });
        let (manifest, change, after): (Vec<u8>, ChangeFile, [u8; 32]) = made.await?;
        self.check_room(&name, change.bytes().len() as u64)?;
        let stored = self.store(StoreKind::Alter, Some(digest), Some(after), change, lock, author).await?;
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
                let (grant, _) = self.grant(name)?;
                let slot = tokio::time::timeout(self.lock_wait, self.copying.acquire()).await;
                let Ok(Ok(_slot)) = slot else {
                    return Err(No::refused("other bundles or copies are being made. Try again in a while"));
                };
                let bytes = self.replica.repository(name).map_or(0, |repository| repository.bytes);
                self.check_room(name, bytes.min(INLINE_BYTES_MAX))?;
                let (run, of) = (self.run.clone(), name.clone());
                let (file_name, spec, file) = blocking(move || {
                    let snapshot = open(&grant, &of)?;
                    let spec = kind.spec(&snapshot);
                    let bundle = FullBundle::new(snapshot, kind).map_err(|error| error.client_text())?;
                    let bundle = bundle.ok_or_else(|| format!("{of} has no public changesets. Push some first"))?;
                    let file_name = bundle.file_name();
                    let mut output =
                        Bounded { file: tempfile::tempfile_in(&run).map_err(text)?, left: INLINE_BYTES_MAX };
                    bundle.write(&mut io::BufWriter::with_capacity(PIECE_BYTES, &mut output)).map_err(text)?;
                    Ok((file_name, spec, output.file))
                })
                .await?;
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

fn open(grant: &Grant, name: &RepositoryName) -> Result<Arc<Snapshot>, String> {
    let repository = Repository::open(&grant.path).map_err(text)?;
    if repository.identity().map_err(text)? != grant.folder {
        return Err(format!("{name} was exchanged or renamed just now. Try again"));
    }
    repository.snapshot(grant.state.clone()).map(Arc::new).map_err(text)
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
        let path = path_of(file_name);
        if let Some((_, bytes)) = snapshot.bundle_file(&path).map_err(text)? {
            writer.remove(&path, bytes).map_err(text)?;
        }
    }
    let old_bytes = before.map(|before| before.len() as u64);
    match (old_bytes, manifest.is_empty()) {
        (Some(bytes), true) => writer.remove(MANIFEST, bytes),
        (Some(_), false) => writer.replace(MANIFEST, old_bytes, &manifest),
        (None, _) => writer.create(MANIFEST, &manifest),
    }
    .map_err(text)?;
    if let Plan::Add { made: Some((file_name, file)), .. } = plan {
        let path = path_of(file_name.as_bytes());
        match snapshot.bundle_file(&path).map_err(text)? {
            Some((_, bytes)) => writer.begin_replace(&path, Some(bytes)),
            None => writer.begin_create(&path),
        }
        .map_err(text)?;
        add(file, writer)?;
    }
    Ok(manifest)
}

fn path_of(file_name: &[u8]) -> Vec<u8> {
    debug_assert!(clone_bundles::is_plain_name(file_name));
    [INLINE_FOLDER.as_bytes(), b"/", file_name].concat()
}

fn add(mut file: File, writer: &mut ChangeWriter<File>) -> Result<(), String> {
    file.rewind().map_err(text)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).map_err(text)? {
            0 => break,
            bytes => writer.write(&piece[..bytes]).map_err(text)?,
        }
    }
    writer.end();
    Ok(())
}

/// A file that takes no more than so many bytes.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the bundle is larger than the {INLINE_BYTES_MAX} bytes that the log carries. \
                 Put it on a server of files, and add it with --url"
            ))
        })?;
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
