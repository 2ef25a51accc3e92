//! `edit NAME [delete YES]`: what one does with a repository of one's own.

use std::io::{Read, Write};

use hgfleet_log::RepositoryName;

use super::ask::{Chosen, Dialog};
use super::{Master, Refused, odd};
use crate::protocol::{CommandReply, CommandRequest, OwnChange, OwnPlace};

/// Asks what to do, once.
pub(super) fn menu(
    master: &Master<'_>,
    name: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let repository = existing(master, name)?;
    dialog.say(&format!("Editing the repository {repository}."))?;
    let options = [
        "Delete the repository.",
        "Edit the description.",
        "Mark it as non-publishing: pushed draft changesets stay draft.",
        "Mark it as publishing: pushed changesets become public.",
        "Enable obsolescence (evolve).",
        "Disable obsolescence.",
    ];
    let change = match dialog.choose(&options.map(str::to_owned), "What would you like to do?")? {
        Chosen::Exit => return Ok(()),
        Chosen::Option(0) => {
            dialog.say(&format!(
                "About to delete {repository}. It goes away at once for everybody; for a while an administrator can bring it back."
            ))?;
            if !dialog.confirm("Proceed?")? {
                return Ok(());
            }
            OwnChange::Delete
        }
        Chosen::Option(1) => {
            let typed = dialog.ask("Description (one line; empty: no change):")?;
            match typed.as_deref().map(str::trim) {
                None | Some("") => return Ok(()),
                Some(text) => OwnChange::Describe(text.to_owned()),
            }
        }
        Chosen::Option(number) => match number {
            2 => OwnChange::Publishing(false),
            3 => OwnChange::Publishing(true),
            4 => OwnChange::Obsolescence(true),
            _ => OwnChange::Obsolescence(false),
        },
    };
    change_and_say(master, name, &repository, change, dialog)
}

/// Deletes it without a question.
pub(super) fn delete(
    master: &Master<'_>,
    name: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let repository = existing(master, name)?;
    change_and_say(master, name, &repository, OwnChange::Delete, dialog)
}

fn change_and_say(
    master: &Master<'_>,
    name: &RepositoryName,
    repository: &str,
    change: OwnChange,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let done = match &change {
        OwnChange::Create { .. } => "Repository created.",
        OwnChange::Delete => "Repository deleted.",
        OwnChange::Describe(_) => "Description changed.",
        OwnChange::Publishing(false) => {
            "Repository marked as non-publishing: draft changesets will remain in the draft phase when pushed."
        }
        OwnChange::Publishing(true) => {
            "Repository marked as publishing: changesets will change to public phase when pushed."
        }
        OwnChange::Obsolescence(true) => "Obsolescence is now enabled for this repository.",
        OwnChange::Obsolescence(false) => "Obsolescence is now disabled for this repository.",
    };
    dialog.say(&match master.change(name, change)? {
        Some(sequence) => format!("{done}\n{repository}, stored as {sequence}"),
        None => format!("{repository} is so already"),
    })
}

fn existing(master: &Master<'_>, name: &RepositoryName) -> Result<String, Refused> {
    let CommandReply::Own(OwnPlace { repository, is_there }) =
        master.ask(CommandRequest::Own { name: name.to_string() })?
    else {
        return Err(odd());
    };
    match is_there {
        true => Ok(repository),
        false => Err(format!(
            "refused: you have no such repository, {repository}. Look at its spelling, or make it (clone NAME)"
        )),
    }
}
