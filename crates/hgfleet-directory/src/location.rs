//! Which backend a fleet has.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{CacheOptions, CachedDirectory, Directory, DirectoryError, LdapDirectory, LdapOptions, LdifDirectory};

/// Where a fleet's accounts are.
#[derive(Debug, Clone)]
pub enum DirectoryLocation {
    /// One LDIF file. It is made where there is none.
    Ldif(PathBuf),
    /// LDAP servers. What they answer is kept for as long as the options say.
    Ldap(Box<LdapOptions>),
}

impl DirectoryLocation {
    /// Opens it. LDAP servers need not answer yet.
    ///
    /// # Errors
    ///
    /// The file can't be read or made; options that don't fit together.
    pub fn open(&self) -> Result<Arc<dyn Directory>, DirectoryError> {
        if let DirectoryLocation::Ldif(path) = self {
            LdifDirectory::create(path)?;
        }
        self.open_to_read()
    }

    /// As [`DirectoryLocation::open`], for who only asks: a file that is not there is not made.
    ///
    /// # Errors
    ///
    /// The file can't be read; options that don't fit together.
    pub fn open_to_read(&self) -> Result<Arc<dyn Directory>, DirectoryError> {
        match self {
            DirectoryLocation::Ldif(path) => Ok(Arc::new(LdifDirectory::open(path)?)),
            DirectoryLocation::Ldap(options) => {
                let cache = CacheOptions::of(options);
                Ok(Arc::new(CachedDirectory::new(LdapDirectory::open((**options).clone())?, cache)))
            }
        }
    }
}
