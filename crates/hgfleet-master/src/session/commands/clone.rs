//! `clone NAME [SOURCE]`: a repository of one's own.

use std::io::{Read, Write};

use hgfleet_log::RepositoryName;

use super::ask::{Chosen, Dialog};
use super::{Master, Refused, odd};
use crate::protocol::{CommandReply, CommandRequest, OwnChange, OwnPlace};

/// Sources that the menu offers, at most.
const SOURCES_MAX: usize = 200;
const NON_PUBLISHING: &str =
    "Repository marked as non-publishing: draft changesets will remain in the draft phase when pushed.";

/// Asks for everything.
pub(super) fn wizard(
    master: &Master<'_>,
    name: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let repository = free(master, name)?;
    dialog.say(&format!("Making the repository {name} for {}.\nIt will be {repository}.", master.address.account))?;
    if !dialog.confirm("Proceed?")? {
        return Ok(());
    }
    let sources = ["Clone a repository that is here.", "Create an empty repository."].map(str::to_owned);
    let source = match dialog.choose(&sources, "Source repository:")? {
        Chosen::Exit => return Ok(()),
        Chosen::Option(0) => {
            let CommandReply::Names(mut names) = master.ask(CommandRequest::Sources)? else { return Err(odd()) };
            if names.is_empty() {
                return Err(format!("refused: there is nothing to clone, on {repository}. Create an empty repository"));
            }
            if names.len() > SOURCES_MAX {
                dialog.say(&format!(
                    "These are the first {SOURCES_MAX} of {}. For another one run: clone {name} SOURCE",
                    names.len()
                ))?;
                names.truncate(SOURCES_MAX);
            }
            match dialog.choose(&names, "Pick a source repo:")? {
                Chosen::Exit => return Ok(()),
                Chosen::Option(number) => Some(names.swap_remove(number)),
            }
        }
        Chosen::Option(_) => None,
    };
    dialog.say(&match &source {
        Some(source) => format!("About to clone {source} to {repository}."),
        None => format!("About to create the empty repository {repository}."),
    })?;
    if !dialog.confirm("Proceed?")? {
        return Ok(());
    }
    make(master, name, &repository, source, dialog)
}

/// Asks for nothing.
pub(super) fn quick(
    master: &Master<'_>,
    name: &RepositoryName,
    source: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let OwnPlace { repository, .. } = place(master, name)?;
    make(master, name, &repository, Some(source.to_string()), dialog)
}

fn make(
    master: &Master<'_>,
    name: &RepositoryName,
    repository: &str,
    source: Option<String>,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    if let Some(source) = &source {
        dialog.say(&format!("Please wait. Cloning {source} to {repository}"))?;
    }
    let done = if source.is_some() { "Clone complete" } else { "Repository created" };
    let stored = master.change(name, OwnChange::Create { source })?.ok_or_else(odd)?;
    dialog.say(&format!("{done}, stored as {stored}.\n{NON_PUBLISHING}"))
}

fn place(master: &Master<'_>, name: &RepositoryName) -> Result<OwnPlace, Refused> {
    match master.ask(CommandRequest::Own { name: name.to_string() })? {
        CommandReply::Own(place) => Ok(place),
        _ => Err(odd()),
    }
}

fn free(master: &Master<'_>, name: &RepositoryName) -> Result<String, Refused> {
    let OwnPlace { repository, is_there } = place(master, name)?;
    match is_there {
        false => Ok(repository),
        true => Err(format!(
            "refused: you have a repository of this name already, {repository}. Take another name, or delete it first (edit NAME delete YES)"
        )),
    }
}
