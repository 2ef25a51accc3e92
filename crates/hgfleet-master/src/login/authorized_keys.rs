//! `hgfleet authorized-keys`: the lines that OpenSSH's `sshd` needs to know (sshd_config(5), `AuthorizedKeysCommand`).
//!
//! The daemon is asked, which has the directory's answers at hand; where no server is master here, the directory itself.

use std::path::PathBuf;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hgfleet_directory::{AuthorizedKey, DirectoryLocation, Mail};

use super::{ClientAddress, Denial, LoginName, LoginOptions, Logins, Proof, certificate, condition};
use crate::options::MasterError;
use crate::protocol::{SessionReply, SessionRequest};
use crate::session::daemon::Address;

/// What is needed to answer.
#[derive(Debug)]
pub struct AuthorizedKeysOptions {
    /// The folder of one server's sockets; its neighbours are asked too.
    pub run: PathBuf,
    /// The accounts.
    pub directory: DirectoryLocation,
    /// Which name counts, and which certificates.
    pub login: LoginOptions,
}

/// A key or certificate as `sshd` names it: `%t` and `%k`.
#[derive(Debug)]
pub struct OfferedKey {
    /// Its algorithm.
    pub algorithm: String,
    /// All of it, in base64.
    pub base64: String,
}

impl OfferedKey {
    /// As it goes over the wire. `None`: it is no base64, or of another algorithm.
    fn blob(&self) -> Option<Vec<u8>> {
        let blob = STANDARD.decode(&self.base64).ok()?;
        (super::algorithm_of(&blob)? == self.algorithm.as_bytes()).then_some(blob)
    }
}

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizedKeysError {
    /// The directory or the authorities can't be read.
    #[error(transparent)]
    Open(#[from] MasterError),
    /// What is offered.
    #[error("no key is taken: TYPE and KEY are no key in base64; give %t and %k of AuthorizedKeysCommand")]
    Offered,
    /// There are none; one line.
    #[error("{0}")]
    None(String),
}

/// Returns the lines for the key or certificate that `user` offers, or for all keys of the account `user` where none is given. At least one.
///
/// # Errors
/// There are none; nobody could be asked.
pub fn authorized_keys(
    options: AuthorizedKeysOptions,
    user: String,
    offered: Option<OfferedKey>,
) -> Result<Vec<String>, AuthorizedKeysError> {
    let offered = offered.map(|offered| offered.blob().ok_or(AuthorizedKeysError::Offered)).transpose()?;
    let address = Address { run: options.run, account: String::new(), client: "sshd".to_owned(), requester: None };
    for mut daemon in address.connect_all() {
        match daemon.ask(&SessionRequest::AuthorizedKeys { user: user.clone(), offered: offered.clone() }) {
            Ok(SessionReply::AuthorizedKeys(lines)) => return Ok(lines),
            Ok(SessionReply::Refused(text)) => return Err(AuthorizedKeysError::None(text)),
            _ => {}
        }
    }
    let directory = options.directory.open().map_err(MasterError::from)?;
    let logins = Logins::open(&options.login, directory)?;
    logins.authorized_keys(&user, offered.as_deref()).map_err(AuthorizedKeysError::None)
}

impl Logins {
    /// See [`authorized_keys`]. `Err` is one line.
    pub(crate) fn authorized_keys(&self, user: &str, offered: Option<&[u8]>) -> Result<Vec<String>, String> {
        let shown = user.escape_debug().take(80).collect::<String>();
        let Some(offered) = offered else { return self.all_keys(user, &shown) };
        let on = |denial: Denial| format!("no key is taken: {denial}, for {shown}");
        let proof = Proof::parse(offered).map_err(on)?;
        let account = self.judge(Some(user), &proof, ClientAddress::Later).map_err(on)?;
        match &proof {
            Proof::Key(key) => {
                let is_meant = |own: &&AuthorizedKey| own.key == *key && is_current(own);
                let mut own: Vec<AuthorizedKey> = account.keys.iter().filter(is_meant).cloned().collect();
                if self.hidden_from_sshd {
                    own.iter_mut().for_each(|own| own.options.from = None);
                }
                Ok(own.iter().map(ToString::to_string).collect())
            }
            Proof::Certificate(certificate) => {
                // For this certificate alone, so that `sshd` needs to know no authority of its own.
                let authority = certificate::key_of(certificate.signature_key()).map_err(|error| on(error.into()))?;
                Ok(vec![format!("restrict,cert-authority,principals=\"{}\" {authority}", account.mail)])
            }
        }
    }

    fn all_keys(&self, user: &str, shown: &str) -> Result<Vec<String>, String> {
        if matches!(&self.name, LoginName::Fixed(name) if user == name) {
            return Err(format!(
                "{shown} is everybody's login name: give the key too, as in `authorized-keys %u %t %k` of AuthorizedKeysCommand"
            ));
        }
        let mail = Mail::parse(user).map_err(|_| format!("user not found: {shown}"))?;
        let account = self.directory.account(&mail).map_err(|error| error.to_string())?;
        let account = account.ok_or_else(|| format!("user not found: {shown}"))?;
        if account.keys.is_empty() {
            return Err(format!("no valid SSH keys found for user: {shown}"));
        }
        // A key that two accounts have opens neither.
        let is_sole = |own: &&AuthorizedKey| {
            let owner = self.directory.account_by_key(own.key.blob());
            is_current(own) && matches!(owner, Ok(Some(owner)) if owner.mail == mail)
        };
        let lines: Vec<String> = account.keys.iter().filter(is_sole).map(ToString::to_string).collect();
        if lines.is_empty() {
            return Err(format!("no key of this user counts, each is over or another account's too: {shown}"));
        }
        Ok(lines)
    }
}

fn is_current(own: &AuthorizedKey) -> bool {
    condition(own, ClientAddress::Later, SystemTime::now()).is_ok()
}
