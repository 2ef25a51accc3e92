//! `hgfleet repo exec`: a command of Mercurial's that rewrites a store, on a copy that then takes its place.

use anyhow::{Context, bail};
use hgfleet_master::client;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where `make` puts Mercurial.
const VENV_HG: &str = ".venv/bin/hg";

/// Runs `command`, whose first word is `hg`, in a copy of the repository, and publishes that if it went well.
///
/// # Errors
///
/// No master runs, or it refuses; there is no `hg`; what the command left can't be published.
pub fn run(run: &Path, name: &str, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("give a command, as in `-- hg strip REVISION`")
    };
    if program != "hg" {
        bail!("{} can't be run on a repository: the command begins with hg", program.display());
    }
    let hg = find_hg().context(
        "there is no hg on PATH, nor as .venv/bin/hg; install Mercurial (`pip install mercurial`) and run this again",
    )?;
    let rewrite = client::rewrite(run, name)?;
    if !rewrite.folder.join(".hg").is_dir() {
        bail!("the copy, {}, is on another machine; run this on the master's", rewrite.folder.display());
    }
    let ended = Command::new(&hg).args(arguments).current_dir(&rewrite.folder).status();
    let status = ended.with_context(|| format!("cannot run {}", hg.display()))?;
    if !status.success() {
        eprintln!("{name} is as it was: the command failed");
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
    }
    match rewrite.publish()? {
        Some(sequence) => println!("rewrote {name}, stored as {sequence}"),
        None => println!("{name} is as it was: the command changed nothing"),
    }
    Ok(ExitCode::SUCCESS)
}

fn find_hg() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::current_dir().ok()?;
    let places = std::env::split_paths(&path).map(|folder| folder.join("hg")).chain([PathBuf::from(VENV_HG)]);
    places.map(|place| here.join(place)).find(|place| place.is_file())
}
