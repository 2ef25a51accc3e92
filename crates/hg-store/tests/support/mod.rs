//! Repositories made by stock Mercurial, and pushes to them.

#![allow(dead_code)] // each test program uses its part of it

pub mod bundle;
pub mod history;
pub mod tree_history;

use std::fs;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use hg_store::apply::{ApplyMode, apply};
use hg_store::change::ChangeRef;
use hg_store::prepare::{ChangegroupOutcome, Preparation, PrepareError, PrepareLimits, PreparedChange};
use hg_store::{Repository, Snapshot, StoreFormat};
use tempfile::TempDir;

/// Whether there is an `hg` to compare with (`HG`, else from PATH); says so where there is none.
pub fn has_hg() -> bool {
    let found = Command::new(program()).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("no `hg` on PATH: nothing is compared with Mercurial");
    }
    found
}

fn program() -> PathBuf {
    std::env::var_os("HG").map_or_else(|| "hg".into(), PathBuf::from)
}

/// Runs stock Mercurial without anyone's configuration; its standard output.
pub fn hg(repository: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = hg_output(repository, arguments);
    assert!(
        output.status.success(),
        "hg {arguments:?} in {}: {}",
        repository.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// As [`hg`], whatever its exit status.
pub fn hg_output(repository: &Path, arguments: &[&str]) -> std::process::Output {
    let user = ["--config", "ui.username=someone <someone@example.com>"];
    hg_command_server::run(&program(), repository, &[&user[..], arguments].concat()).expect("hg runs")
}

/// A new repository in this folder, made by stock.
pub fn init(folder: &Path, name: &str, config: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut arguments = vec!["init"];
    for item in config {
        arguments.extend(["--config", item]);
    }
    arguments.push(path.to_str().expect("a path of ours is UTF-8"));
    hg(folder, &arguments);
    path
}

/// A new repository in this folder, made by us.
pub fn empty_repository(folder: &Path) {
    for (path, content) in Repository::create_files(StoreFormat::Current, None) {
        let path = folder.join(".hg").join(String::from_utf8(path).expect("ASCII"));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
}

/// Begins to prepare a push, within the usual limits.
pub fn preparation(snapshot: &Snapshot) -> Preparation<'_> {
    let spool = tempfile::tempfile().expect("a spool");
    Preparation::new(snapshot, spool, PrepareLimits::default()).expect("begun")
}

/// Prepares a bundle against a repository as it is on disk.
pub fn prepare(repository: &Path, bundle: &Path) -> Result<(ChangegroupOutcome, Option<PreparedChange>), PrepareError> {
    prepare_with(repository, bundle, PrepareLimits::default())
}

/// As [`prepare`], within these limits.
pub fn prepare_with(
    repository: &Path,
    bundle: &Path,
    limits: PrepareLimits,
) -> Result<(ChangegroupOutcome, Option<PreparedChange>), PrepareError> {
    let opened = Repository::open(repository)?;
    let snapshot = opened.snapshot(opened.current_state()?)?;
    let mut preparation = Preparation::new(&snapshot, tempfile::tempfile()?, limits)?;
    let mut source = bundle::open(BufReader::with_capacity(1 << 18, File::open(bundle)?))?;
    let outcome = preparation.add_changegroup(&mut source)?;
    Ok((outcome, preparation.finish()?))
}

/// Applies a prepared change.
pub fn apply_prepared(repository: &Path, prepared: &PreparedChange) {
    // Nobody else has the file.
    let bytes = unsafe { memmap2::Mmap::map(&prepared.file) }.expect("mapped");
    let change = ChangeRef::parse(&bytes[..prepared.bytes as usize]).expect("a change");
    apply(&repository.join(".hg"), &change, ApplyMode::Normal).expect("applied");
}

/// Prepares and applies a bundle.
pub fn push(repository: &Path, bundle: &Path) -> ChangegroupOutcome {
    let (outcome, prepared) = prepare(repository, bundle).unwrap_or_else(|error| panic!("refused: {error}"));
    if let Some(prepared) = &prepared {
        apply_prepared(repository, prepared);
    }
    outcome
}

/// A bundle of this kind that stock makes.
pub fn bundle_of(folder: &TempDir, source: &Path, name: &str, kind: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    let mut all = vec!["bundle", "-q", "-t", kind, path.to_str().expect("UTF-8")];
    all.extend(arguments);
    hg(source, &all);
    path
}

/// How many bytes the files below a folder have.
pub fn store_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable"));
    entries
        .map(|entry| match entry.metadata().expect("there") {
            metadata if metadata.is_dir() => store_bytes(&entry.path()),
            metadata => metadata.len(),
        })
        .sum()
}

/// The lines of a file that ends with one.
pub fn sorted_lines(path: &Path) -> Vec<Vec<u8>> {
    let content = fs::read(path).expect("readable");
    assert!(content.is_empty() || content.ends_with(b"\n"));
    let mut lines: Vec<Vec<u8>> = content.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.sort();
    lines
}
