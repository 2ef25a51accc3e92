//! Rewriting a repository by a command of an operator's, which works on a copy.
//!
//! The command is no part of this server: it runs where it was asked for. The connection that asked for the copy holds the
//! repository's write lock, and with it the copy is gone.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hg_store::apply::Directories;
use hg_store::change::{ChangeWriter, between, is_of_bundles};
use hg_store::digest::state_files;
use hgfleet_log::{RepositoryName, StoreKind};

use super::change_file::ChangeFile;
use super::descriptors::FrameStream;
use super::locks::WriteLock;
use super::master::{Master, No};
use super::repositories::{Author, blocking, check, finish, is_node_map, parse, text};
use crate::protocol::{MasterReply, MasterRequest};

/// A copy; removed when it is dropped.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a copy could not be removed; the next start does");
        }
    }
}

/// Gives a copy, waits for the command's end, and exchanges the repository if it went well.
pub(crate) async fn serve(
    master: &Arc<Master>,
    name: &str,
    author: Author,
    stream: &mut FrameStream,
) -> Result<MasterReply, No> {
    let name = parse(name)?;
    let (lock, grant, before) = master.lock(&name).await?;
    let bytes = master.replica.repository(&name).map_or(0, |repository| repository.bytes);
    master.check_room(&name, bytes)?;
    let (replica, of, number) = (master.replica.clone(), name.clone(), lock.token.number);
    let copied = blocking(move || replica.copy_to_rewrite(&of, number).map(Copy).map_err(text)).await?;
    let reply = MasterReply::Copied { folder: copied.0.clone() };
    stream.write(&reply).await.map_err(|error| No::failed(error.to_string()))?;
    match stream.read::<MasterRequest>().await {
        Ok(Some(MasterRequest::Publish)) => {}
        Ok(Some(_)) => return Err(No::refused("a copy was asked for, and then something else")),
        // The command failed, or whoever ran it has gone.
        Ok(None) | Err(_) => return Ok(MasterReply::Unchanged),
    }
    publish(master, name, (grant.path, copied), before, lock, author).await
}

async fn publish(
    master: &Arc<Master>,
    name: RepositoryName,
    (place, copied): (PathBuf, Copy),
    before: [u8; 32],
    lock: WriteLock,
    author: Author,
) -> Result<MasterReply, No> {
    let (run, replica) = (master.run.clone(), master.replica.clone());
    let made = blocking(move || {
        // Until it has ended: it is removed behind that.
        let copied = copied;
        check(&copied.0)?;
        let (old, new) = (place.join(".hg"), copied.0.join(".hg"));
        drop_node_maps(&new)?;
        if content(&old, "hgrc")? != content(&new, "hgrc")? {
            return Err("the command changed hgrc. Use `hgfleet repo config` for that".to_owned());
        }
        let mut writer = difference(&run, &old, &new)?;
        // They hold what was there before, which the command may have been meant to take away.
        if writer.paths().any(|path| path.starts_with(b"store/")) && drop_bundles(&old, &new)? {
            tracing::info!(repository = %name, "clone and pull bundles are dropped: the store was rewritten");
            writer = difference(&run, &old, &new)?;
        }
        if writer.is_empty() {
            return Ok(None);
        }
        finish(writer, &name, |name, change| replica.digest_after(name, change)).map(Some)
    });
    let Some((change, after)): Option<(ChangeFile, [u8; 32])> = made.await? else { return Ok(MasterReply::Unchanged) };
    master.store(StoreKind::Rewrite, Some(before), Some(after), change, lock, author).await.map(MasterReply::Stored)
}

/// Begins a change with all that one store has otherwise than another.
fn difference(run: &Path, old: &Path, new: &Path) -> Result<ChangeWriter<File>, String> {
    let mut writer = ChangeWriter::new(tempfile::tempfile_in(run).map_err(text)?).map_err(text)?;
    between(Some(old), new, &mut writer).map_err(text)?;
    Ok(writer)
}

/// Removes the bundles, and the files that name them, that are the old store's; whether there were any.
fn drop_bundles(old: &Path, new: &Path) -> Result<bool, String> {
    let mut directories = Directories::open(new).map_err(text)?;
    let mut dropped = false;
    for path in state_files(old).map_err(text)?.iter().filter(|path| is_of_bundles(path)) {
        let name = Path::new(OsStr::from_bytes(path));
        if is_same(&old.join(name), &new.join(name)).map_err(text)? {
            directories.unlink(path).map_err(text)?;
            dropped = true;
        }
    }
    Ok(dropped)
}

/// Whether the second file is there, with the first one's content.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let other = match File::open(other) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let one = File::open(one)?;
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let common = left.len().min(right.len());
        if common == 0 || left[..common] != right[..common] {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(common);
        other.consume(common);
    }
}

/// Removes what is only a cache, though it lies in the store.
fn drop_node_maps(hg: &Path) -> Result<(), String> {
    let mut directories = Directories::open(hg).map_err(text)?;
    let files = state_files(hg).map_err(text)?;
    files.iter().filter(|path| is_node_map(path)).try_for_each(|path| directories.unlink(path).map_err(text))
}

fn content(hg: &Path, name: &str) -> Result<Option<Vec<u8>>, String> {
    match fs::read(hg.join(name)) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {name} of {}: {error}", hg.display())),
    }
}
