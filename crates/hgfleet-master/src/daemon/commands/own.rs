//! Repositories that belong to an account.

use hgfleet_access::{Action, user_folder};
use hgfleet_log::{RecordId, RepositoryName};

use super::{check_served, copied, parse, worded};
use crate::daemon::master::{Master, No};
use crate::daemon::peers::Client;
use crate::daemon::repositories::Author;
use crate::daemon::rights::Rights;
use crate::protocol::{OwnChange, OwnPlace};

/// Where a repository of the caller's own would lie.
pub(super) async fn place(master: &Master, client: &Client, name: &str) -> Result<OwnPlace, No> {
    check_served(master.commands.user_repositories, "clone and edit")?;
    let rights = master.rights(client, name, true).await?;
    let name = full_name(&rights, name)?;
    Ok(OwnPlace { is_there: master.replica.repository(&name).is_some(), repository: name.into() })
}

/// Changes one; returns the record, none where it was so already.
pub(super) async fn change(
    master: &Master,
    client: &Client,
    id: RecordId,
    name: &str,
    change: OwnChange,
) -> Result<Option<u64>, No> {
    check_served(master.commands.user_repositories, "clone and edit")?;
    let rights = master.rights(client, name, false).await?;
    let name = full_name(&rights, name)?;
    let author = Author { id, who: client.who(), source: client.source() };
    tracing::info!(account = client.account, address = client.address, repository = %name, ?change, "a repository of its own");
    let set = |key: &str, value: &str| (vec![(key.to_owned(), value.to_owned())], Vec::new());
    let (set, unset) = match change {
        OwnChange::Create { source } => {
            rights.check(&name, Action::Create)?;
            master.check_takes(&name)?;
            return create(master, &rights, name, source.as_deref(), author).await.map(Some);
        }
        OwnChange::Delete => {
            rights.check(&name, Action::Administer)?;
            master.check_takes(&name)?;
            let deleted = master.delete(name.as_str(), author).await;
            return deleted.map(Some).map_err(|no| worded(no, &name));
        }
        OwnChange::Describe(text) => set("web.description", &text),
        OwnChange::Publishing(publishing) => set("phases.publish", if publishing { "True" } else { "False" }),
        OwnChange::Obsolescence(true) => set("experimental.evolution", "true"),
        OwnChange::Obsolescence(false) => (Vec::new(), vec!["experimental.evolution".to_owned()]),
    };
    rights.check(&name, Action::Administer)?;
    master.check_takes(&name)?;
    let changed = master.config(name.as_str(), set, unset, author).await;
    changed.map(|answer| answer.stored).map_err(|no| worded(no, &name))
}

async fn create(
    master: &Master,
    rights: &Rights,
    name: RepositoryName,
    source: Option<&str>,
    author: Author,
) -> Result<u64, No> {
    let source = source.map(|source| Ok((source, parse(source)?))).transpose()?;
    if let Some((given, source)) = &source {
        // What may not be read is answered as what is not there.
        let is_there = rights.allow(source.as_str(), Action::Read) && master.replica.repository(source).is_some();
        if !is_there {
            return Err(No::refused(format!(
                "refused: there is no source repository called {given}, on {name}. Look at its spelling; nothing was created"
            )));
        }
    }
    check_free(master, rights, &name)?;
    let stored = match source {
        None => {
            let _naming = master.naming.lock().await;
            check_free(master, rights, &name)?;
            master.create_named(&name, true, author).await
        }
        Some((_, source)) => {
            let change = copied::of(master, &source, &name).await?;
            let _naming = master.naming.lock().await;
            check_free(master, rights, &name)?;
            master.take_in(&name, change, author).await
        }
    };
    stored.map_err(|no| worded(no, &name))
}

/// Whether the account may have another one, of this name.
fn check_free(master: &Master, rights: &Rights, name: &RepositoryName) -> Result<(), No> {
    if master.replica.repository(name).is_some() {
        return Err(No::refused(format!(
            "refused: you have a repository of this name already, {name}. Take another name, or delete it first (edit NAME delete YES)"
        )));
    }
    let most = master.commands.user_repositories_max;
    let folder = format!("{}/", folder(rights, name.as_str())?);
    let own = master.replica.repositories().into_iter().filter(|other| other.name.as_str().starts_with(&folder));
    if own.count() >= most {
        return Err(No::refused(format!(
            "refused: you have {most} repositories, as many as an account may have, on {name}. Delete one first (edit NAME delete YES)"
        )));
    }
    Ok(())
}

fn folder(rights: &Rights, on: &str) -> Result<String, No> {
    let mail = rights.account.mail.as_str();
    user_folder(mail).map_err(|error| {
        No::refused(format!(
            "refused: {mail} can't have repositories of its own: {error}, on {on}. Ask an administrator"
        ))
    })
}

fn full_name(rights: &Rights, name: &str) -> Result<RepositoryName, No> {
    parse(&format!("{}/{name}", folder(rights, name)?))
}
