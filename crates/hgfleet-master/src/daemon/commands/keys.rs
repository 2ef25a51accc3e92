//! An account's own keys.

use hgfleet_directory::{AuthorizedKey, Directory, DirectoryError, Mail, PublicKey};

use crate::daemon::master::{Master, No};
use crate::daemon::peers::Client;
use crate::protocol::KeyLine;

/// What texts are about.
const ON: &str = "your keys";
/// Where they can't be changed.
const FIXED: &str = "keys can't be changed from here";

/// Lists them.
pub(super) async fn list(master: &Master, client: &Client) -> Result<Vec<KeyLine>, No> {
    let rights = master.rights(client, ON, true).await?;
    let line = |AuthorizedKey { key, .. }: &AuthorizedKey| KeyLine {
        fingerprint: key.fingerprint(),
        algorithm: key.algorithm().name().to_owned(),
    };
    Ok(rights.account.keys.iter().map(line).collect())
}

/// Adds one; returns its fingerprint.
pub(super) async fn add(master: &Master, client: &Client, line: Vec<u8>) -> Result<String, No> {
    let key = PublicKey::parse_line(&line)
        .map_err(|error| No::refused(format!("refused: {error}, on {ON}. Give it the line of one .pub file")))?;
    let fingerprint = key.fingerprint();
    change(master, client, "added", move |directory, mail| directory.give_key(mail, &key)).await?;
    Ok(fingerprint)
}

/// Removes one; returns its fingerprint.
pub(super) async fn remove(master: &Master, client: &Client, fingerprint: String) -> Result<String, No> {
    let which = fingerprint.clone();
    change(master, client, "removed", move |directory, mail| directory.take_key(mail, &which)).await?;
    Ok(fingerprint)
}

async fn change(
    master: &Master,
    client: &Client,
    what: &str,
    change: impl FnOnce(&dyn Directory, &Mail) -> Result<(), DirectoryError> + Send + 'static,
) -> Result<(), No> {
    let rights = master.rights(client, ON, false).await?;
    if !master.commands.own_keys {
        return Err(No::refused(format!("refused: {FIXED}, on {ON}. Ask an administrator to change them")));
    }
    let (directory, mail) = (master.directory.clone(), rights.account.mail);
    let changed = tokio::task::spawn_blocking(move || change(directory.as_ref(), &mail)).await;
    match changed {
        Ok(Ok(())) => {
            tracing::info!(account = client.account, address = client.address, what, "an account's key");
            Ok(())
        }
        Ok(Err(error)) => Err(refusal(&error)),
        Err(error) => Err(No::failed(error.to_string())),
    }
}

fn refusal(error: &DirectoryError) -> No {
    let (what, remedy) = match error {
        DirectoryError::NotWritable => (FIXED, "They are kept in an LDAP directory: change them there"),
        DirectoryError::LastKey(_) => ("it is the only one", "Add another key first"),
        DirectoryError::NoKey { .. } => ("there is no such key", "Look with: keys list"),
        // Whose it is is nobody else's business.
        DirectoryError::KeyTaken { .. } => ("this key belongs to an account already", "Make a new one with ssh-keygen"),
        DirectoryError::KeyThere { .. } => ("this key is there already", "Look with: keys list"),
        DirectoryError::TooManyKeys { .. } => ("there are as many as there may be", "Remove one first"),
        error => {
            tracing::error!(%error, "an account's keys can't be changed");
            return No::failed(format!("refused: the directory can't be changed, on {ON}. Tell the administrators"));
        }
    };
    No::refused(format!("refused: {what}, on {ON}. {remedy}"))
}
