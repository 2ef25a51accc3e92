//! `hgfleet repo import`: existing repositories, one or a folder of them.

use anyhow::{Context, bail};
use hgfleet_master::client;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Deepest folder in which repositories are looked for.
const DEPTH_MAX: usize = 16;
/// Repositories that are read at a time.
const AT_A_TIME_MAX: usize = 4;

/// Takes in the repository at `path`, or all that lie below it.
///
/// # Errors
///
/// No master runs, or it refuses the one; no repository is found.
pub fn run(run: &Path, path: &Path, name: Option<&str>) -> anyhow::Result<ExitCode> {
    if path.join(".hg").exists() {
        let name = match name {
            Some(name) => name.to_owned(),
            None => name_of(path)?,
        };
        let sequence = client::import(run, path, &name)?;
        println!("imported {name}, stored as {sequence}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut found = Vec::new();
    find(path, "", 0, &mut found).with_context(|| format!("cannot look for repositories in {}", path.display()))?;
    if found.is_empty() {
        bail!("there is no repository in {}: no folder in it has a .hg", path.display());
    }
    if let Some(prefix) = name {
        let prefix = prefix.trim_end_matches('/');
        found.iter_mut().for_each(|(name, _)| *name = format!("{prefix}/{name}"));
    }
    found.sort();
    import_all(run, &found)
}

fn import_all(run: &Path, found: &[(String, PathBuf)]) -> anyhow::Result<ExitCode> {
    // What an import that broke off has brought is there: it goes on behind that.
    let there: BTreeSet<String> = client::list(run)?.into_iter().map(|repository| repository.name).collect();
    let missing: Vec<_> = found.iter().filter(|(name, _)| !there.contains(name)).collect();
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(AT_A_TIME_MAX);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, path)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let imported = client::import(run, path, name);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let of = missing.len();
                    match imported {
                        Ok(sequence) => println!("{done} of {of}: imported {name}, stored as {sequence}"),
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            eprintln!("{done} of {of}: {name} was not imported: {error}");
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let imported = missing.len() - failed;
    println!("imported {imported}, {} were there already, {failed} failed", found.len() - missing.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Finds folders with a `.hg`, none inside another, with their names relative to where the search began.
fn find(path: &Path, name: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) -> std::io::Result<()> {
    if path.join(".hg").is_dir() {
        found.push((name.to_owned(), path.to_owned()));
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(part) = entry.file_name().into_string() else { continue };
        if !part.starts_with('.') && entry.file_type()?.is_dir() {
            let name = if name.is_empty() { part } else { format!("{name}/{part}") };
            find(&entry.path(), &name, depth + 1, found)?;
        }
    }
    Ok(())
}

/// The folder's own name.
fn name_of(path: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("give {} a name", path.display()))
}
