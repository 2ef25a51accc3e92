//! What every run's fleet is given: keys, certificates, an account. Made once, by stock tools and our own.

use std::io;
use std::path::Path;
use std::process::Command;

use hgfleet_balancer::authority::{self, AuthorityFiles};
use hgfleet_directory::{LdifDirectory, Mail, PublicKey};

use crate::push::ACCOUNT;

/// Makes all of it in this folder.
///
/// # Errors
/// Whatever fails.
pub fn make(folder: &Path) -> io::Result<()> {
    let host = folder.join("host");
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&host).status()?;
    if !made.success() {
        return Err(io::Error::other("ssh-keygen has failed"));
    }
    let key = PublicKey::parse_line(&std::fs::read(folder.join("host.pub"))?).map_err(io::Error::other)?;
    let ldif = folder.join("directory.ldif");
    LdifDirectory::create(&ldif).map_err(io::Error::other)?;
    let mail = Mail::parse(ACCOUNT).map_err(io::Error::other)?;
    LdifDirectory::open(&ldif).and_then(|directory| directory.add(&mail, &[key])).map_err(io::Error::other)?;
    std::fs::create_dir_all(folder.join("keys"))?;
    authority::ensure(&AuthorityFiles::below(folder), &["127.0.0.1".to_owned()]).map_err(io::Error::other)
}
