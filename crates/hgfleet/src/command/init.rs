//! `hgfleet init`: a data folder, and nothing started.

use super::up::Addresses;
use crate::cli;
use crate::config::{self, Config, HttpSection, SshSection};
use crate::data_folder::DataFolder;
use crate::make_missing;
use std::process::ExitCode;

/// Makes what a data folder lacks: configuration, keys, certificates, directory.
///
/// # Errors
///
/// The folder is in use, or can't be written; the configuration can't be read.
pub fn run(options: cli::Init) -> anyhow::Result<ExitCode> {
    let file = options.data.join(config::FILE_NAME);
    let existing = if file.exists() { Some(Config::read(&file)?) } else { None };
    let (ssh, http) = match existing {
        Some(config) => (config.ssh, config.http),
        None => (SshSection::default(), HttpSection::default()),
    };
    let folder = DataFolder::open(&options.data)?;
    let addresses = Addresses { ssh: ssh.listen, http: http.listen, https: http.listen_https };
    make_missing::in_folder(&folder, &addresses)?;
    println!("{} is ready: its configuration is {}", options.data.display(), file.display());
    Ok(ExitCode::SUCCESS)
}
