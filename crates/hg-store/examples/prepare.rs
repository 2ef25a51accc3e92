//! Prepares an uncompressed bundle (`hg bundle -t none-v2`) against a repository, applies it, and tells how long each took.
//!
//! `cargo run --release --example prepare -- BUNDLE REPOSITORY [--dry-run]`

#[path = "../tests/support/bundle.rs"]
mod bundle;

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use hg_store::Repository;
use hg_store::apply::{ApplyMode, apply};
use hg_store::change::ChangeRef;
use hg_store::prepare::{Preparation, PrepareLimits};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: prepare BUNDLE REPOSITORY [--dry-run]";
    let path = PathBuf::from(arguments.next().ok_or(usage)?);
    let root = PathBuf::from(arguments.next().ok_or(usage)?);
    let dry_run = arguments.next().is_some();

    let start = Instant::now();
    let repository = Repository::open(&root)?;
    let snapshot = repository.snapshot(repository.current_state()?)?;
    println!("opened    {:8.3} s", start.elapsed().as_secs_f64());
    let mut preparation = Preparation::new(&snapshot, tempfile::tempfile()?, PrepareLimits::default())?;
    let mut source = bundle::open(BufReader::with_capacity(1 << 18, File::open(path)?))?;
    let outcome = preparation.add_changegroup(&mut source)?;
    println!("taken     {:8.3} s", start.elapsed().as_secs_f64());
    let Some(prepared) = preparation.finish()? else {
        println!("nothing new");
        return Ok(());
    };
    println!("prepared  {:8.3} s", start.elapsed().as_secs_f64());
    println!(
        "{} changesets, {} changes to {} files, {} bytes",
        outcome.added.len(),
        outcome.changes,
        outcome.files,
        prepared.bytes
    );
    if !dry_run {
        // Nobody else has the file.
        let bytes = unsafe { memmap2::Mmap::map(&prepared.file)? };
        apply(&root.join(".hg"), &ChangeRef::parse(&bytes[..prepared.bytes as usize])?, ApplyMode::Normal)?;
        println!("applied   {:8.3} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
