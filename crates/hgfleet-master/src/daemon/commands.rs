//! What a session asks in the name of a person. Rights are judged here, by the directory and the access rules as they are now; what is
//! changed goes through the log by the same code as the operator's commands.

mod copied;
mod keys;
mod own;
mod status;

pub(crate) use copied::slots as copy_slots;

use hgfleet_access::{Action, is_user_repository};
use hgfleet_log::RepositoryName;
use hgfleet_replica::ReplicaError;

use super::master::{Master, No, NoKind, refusal};
use super::peers::Client;
use super::rights::Rights;
use crate::protocol::{About, CommandReply, CommandRequest};

/// Parts of a name, at most, of what is offered to be copied.
const SOURCE_PARTS_MAX: usize = 2;

/// Answers one.
pub(crate) async fn answer(master: &Master, client: &Client, request: CommandRequest) -> Result<CommandReply, No> {
    if !master.takes_pushes() {
        return Err(No::not_master());
    }
    match request {
        CommandRequest::About => {
            let rights = master.rights(client, "this fleet", true).await?;
            Ok(CommandReply::About(about(master, &rights)))
        }
        CommandRequest::Writable => {
            let is_wanted = |rights: &Rights, name: &RepositoryName| rights.allow(name.as_str(), Action::Write);
            names(master, client, is_wanted).await.map(CommandReply::Names)
        }
        CommandRequest::Sources => {
            let is_wanted = |rights: &Rights, name: &RepositoryName| {
                name.components().count() <= SOURCE_PARTS_MAX
                    && !is_user_repository(name.as_str())
                    && rights.allow(name.as_str(), Action::Read)
            };
            names(master, client, is_wanted).await.map(CommandReply::Names)
        }
        CommandRequest::Groups { repository } => {
            check_served(master.commands.repo_group, "repo-group")?;
            let (name, rights) = readable(master, client, &repository).await?;
            let decision = rights.rules().decide(rights.caller(), name.as_str(), Action::Write);
            let groups = decision.granted().iter().filter(|granted| !granted.contains('@'));
            Ok(CommandReply::Names(groups.cloned().collect()))
        }
        CommandRequest::Config { repository } => {
            check_served(master.commands.repo_config, "repo-config")?;
            let (name, _) = readable(master, client, &repository).await?;
            Ok(CommandReply::Config(master.grant(&name)?.0.state.hgrc.unwrap_or_default()))
        }
        CommandRequest::Status { repository } => {
            let (name, rights) = readable(master, client, &repository).await?;
            status::of(master, &name, &rights).await.map(CommandReply::Status)
        }
        CommandRequest::Keys => keys::list(master, client).await.map(CommandReply::Keys),
        CommandRequest::AddKey { line } => keys::add(master, client, line).await.map(CommandReply::KeyChanged),
        CommandRequest::RemoveKey { fingerprint } => {
            keys::remove(master, client, fingerprint).await.map(CommandReply::KeyChanged)
        }
        CommandRequest::Own { name } => own::place(master, client, &name).await.map(CommandReply::Own),
        CommandRequest::ChangeOwn { id, name, change } => {
            own::change(master, client, id, &name, change).await.map(CommandReply::Stored)
        }
    }
}

fn about(master: &Master, rights: &Rights) -> About {
    let families = rights.rules().families(rights.caller(), Action::Write);
    let mut writes = families.granted;
    let options = &master.commands;
    let mut commands = vec!["hg -R NAME serve --stdio".to_owned()];
    if options.user_repositories {
        writes.extend(hgfleet_access::user_folder(rights.account.mail.as_str()).map(|folder| format!("{folder}/**")));
        commands.extend(["clone NAME [SOURCE]", "edit NAME [delete YES]"].map(str::to_owned));
    }
    commands.extend(options.repo_group.then(|| "repo-group NAME".to_owned()));
    commands.extend(options.repo_config.then(|| "repo-config NAME".to_owned()));
    commands.extend(["repos", "status NAME", "keys list"].map(str::to_owned));
    if options.own_keys && master.directory.takes_keys() {
        commands.extend(["keys add < FILE.pub", "keys remove FINGERPRINT"].map(str::to_owned));
    }
    commands.push("help".to_owned());
    About { writes, writes_not: families.others, commands }
}

/// The names of the repositories that are wanted, sorted. With many rules and repositories that takes its time.
async fn names(
    master: &Master,
    client: &Client,
    is_wanted: impl Fn(&Rights, &RepositoryName) -> bool + Send + 'static,
) -> Result<Vec<String>, No> {
    let rights = master.rights(client, "this fleet", true).await?;
    let replica = master.replica.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let all = replica.repositories().into_iter().map(|repository| repository.name);
        let mut names: Vec<String> = all.filter(|name| is_wanted(&rights, name)).map(String::from).collect();
        names.sort_unstable();
        names
    });
    listed.await.map_err(|error| No::failed(error.to_string()))
}

/// Parses a name, and makes sure that the repository is there and may be read: what may not is answered as what is not there.
async fn readable(master: &Master, client: &Client, repository: &str) -> Result<(RepositoryName, Rights), No> {
    let name = parse(repository)?;
    let rights = master.rights(client, repository, true).await?;
    rights.check(&name, Action::Read)?;
    match master.replica.repository(&name) {
        Some(_) => Ok((name, rights)),
        None => Err(refusal(&name, &ReplicaError::NotFound(name.clone()))),
    }
}

fn parse(repository: &str) -> Result<RepositoryName, No> {
    RepositoryName::parse(repository)
        .map_err(|error| No::refused(format!("refused: {error}, as a repository's name. Look at its spelling")))
}

fn check_served(is_served: bool, command: &str) -> Result<(), No> {
    if is_served {
        return Ok(());
    }
    Err(No::refused(format!("refused: this command is not available, {command}. Run help to see those that are")))
}

/// What the operator's commands say, in the form that clients read.
fn worded(no: No, name: &RepositoryName) -> No {
    if no.kind == NoKind::NotMaster || no.text.starts_with("refused: ") || no.text.starts_with("outcome unknown") {
        return no;
    }
    let (what, remedy) = no.text.split_once(". ").unwrap_or((&no.text, "Try again in a while"));
    No { text: format!("refused: {what}, on {name}. {remedy}"), kind: no.kind }
}
