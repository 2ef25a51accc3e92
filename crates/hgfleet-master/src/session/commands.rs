//! Commands for people: what they print, and what they ask.
//!
//! What is asked for is judged and done by the daemon; here are the words.

mod ask;
mod clone;
mod edit;
mod show;

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use hgfleet_log::{RecordId, RepositoryName};

use self::ask::Dialog;
use super::command_line::PersonCommand;
use super::daemon::{Address, Daemon, unexpected};
use super::texts;
use crate::protocol::{CommandReply, CommandRequest, OwnChange, SessionReply, SessionRequest, Settled};

/// How long a session waits for a master, where there is none for a moment.
const MASTER_WAIT: Duration = Duration::from_secs(20);
const MASTER_PAUSE: Duration = Duration::from_millis(50);
/// How long a session that lost the daemon waits for the next one, which knows what became of its record.
const OUTCOME_WAIT: Duration = Duration::from_secs(30);
/// Longest public key that is read, bytes.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// Why a command ends early, in what the client reads.
type Refused = String;

/// What a login without a command is told.
pub(super) fn banner(address: &Address, login: &str, groups: &[String]) -> String {
    let about = Master { address }.ask(CommandRequest::About);
    let about = match &about {
        Ok(CommandReply::About(about)) => Some(about),
        _ => None,
    };
    texts::no_command(&address.account, login, groups, about)
}

/// Runs one command on these streams; returns the exit status.
///
/// # Errors
/// What the client reads.
pub(super) fn run(
    address: &Address,
    command: PersonCommand,
    input: impl Read,
    output: impl Write,
) -> Result<u8, Refused> {
    let master = Master { address };
    let mut dialog = Dialog::new(input, output);
    match command {
        PersonCommand::Help => show::help(&master, &mut dialog)?,
        PersonCommand::Repos => show::repos(&master, &mut dialog)?,
        PersonCommand::Status(name) => show::status(&master, &name, &mut dialog)?,
        PersonCommand::RepoGroup(name) => show::groups(&master, &name, &mut dialog)?,
        PersonCommand::RepoConfig(name) => show::config(&master, &name, &mut dialog)?,
        PersonCommand::KeysList => show::keys(&master, &mut dialog)?,
        PersonCommand::KeysAdd => {
            let line = dialog.rest(KEY_BYTES_MAX)?;
            let CommandReply::KeyChanged(fingerprint) = master.ask(CommandRequest::AddKey { line })? else {
                return Err(odd());
            };
            dialog.say(&format!("added the key {fingerprint}"))?;
        }
        PersonCommand::KeysRemove(fingerprint) => {
            let CommandReply::KeyChanged(fingerprint) = master.ask(CommandRequest::RemoveKey { fingerprint })? else {
                return Err(odd());
            };
            dialog.say(&format!("removed the key {fingerprint}"))?;
        }
        PersonCommand::Clone(name, None) => clone::wizard(&master, &name, &mut dialog)?,
        PersonCommand::Clone(name, Some(source)) => clone::quick(&master, &name, &source, &mut dialog)?,
        PersonCommand::Edit(name) => edit::menu(&master, &name, &mut dialog)?,
        PersonCommand::EditDelete(name) => edit::delete(&master, &name, &mut dialog)?,
    }
    Ok(0)
}

/// The master, whichever server that is.
struct Master<'a> {
    address: &'a Address,
}

impl Master<'_> {
    /// Asks it, and waits for one where there is none for a moment.
    fn ask(&self, request: CommandRequest) -> Result<CommandReply, Refused> {
        let request = SessionRequest::Command(request);
        let started = Instant::now();
        loop {
            let asked = self.address.connect_master().and_then(|mut daemon| daemon.ask(&request));
            if let Some(answered) = answer(asked)? {
                return Ok(answered);
            }
            wait(started)?;
        }
    }

    /// Changes a repository of the account's own. It is asked for once: where the daemon is lost, the next one says whether it
    /// was stored.
    fn change(&self, name: &RepositoryName, change: OwnChange) -> Result<Option<u64>, Refused> {
        let id = RecordId::random().map_err(|error| format!("refused: {error}, on this server. Try again"))?;
        let request = SessionRequest::Command(CommandRequest::ChangeOwn { id, name: name.to_string(), change });
        let started = Instant::now();
        loop {
            if let Ok(mut daemon) = self.address.connect_master() {
                match daemon.ask(&request) {
                    Err(_) => return self.settle(&daemon, id, name).map(Some),
                    asked => match answer(asked)? {
                        Some(CommandReply::Stored(sequence)) => return Ok(sequence),
                        Some(_) => return Err(odd()),
                        // It was not taken by a server that is no master.
                        None => {}
                    },
                }
            }
            wait(started)?;
        }
    }

    /// Asks what became of a record whose daemon is lost.
    fn settle(&self, lost: &Daemon, id: RecordId, name: &RepositoryName) -> Result<u64, Refused> {
        let started = Instant::now();
        while started.elapsed() < OUTCOME_WAIT {
            for mut daemon in self.address.connect_all() {
                match daemon.ask(&SessionRequest::Outcome { id, epoch: lost.epoch }) {
                    Ok(SessionReply::Outcome(Settled::Stored(sequence))) => return Ok(sequence),
                    Ok(SessionReply::Outcome(Settled::NotStored)) => {
                        return Err(format!(
                            "refused: the master was started anew before it was stored, on {name}. Nothing was stored; try again"
                        ));
                    }
                    _ => {}
                }
            }
            thread::sleep(MASTER_PAUSE);
        }
        Err(format!("outcome unknown, on {name}: look with the command repos before you try again"))
    }
}

/// What the daemon says: none where another server is to be asked.
fn answer(asked: io::Result<SessionReply>) -> Result<Option<CommandReply>, Refused> {
    match asked {
        Ok(SessionReply::Command(reply)) => Ok(Some(reply)),
        Ok(SessionReply::Refused(text) | SessionReply::Failed(text)) => Err(text),
        Ok(SessionReply::NotMaster) | Err(_) => Ok(None),
        Ok(_) => Err(odd()),
    }
}

fn wait(started: Instant) -> Result<(), Refused> {
    if started.elapsed() > MASTER_WAIT {
        return Err("refused: no server is master for the moment, on this fleet. Try again in a minute".to_owned());
    }
    thread::sleep(MASTER_PAUSE);
    Ok(())
}

fn odd() -> Refused {
    format!("refused: {}, on this server. Tell the administrators", unexpected())
}
