//! Commands that only show something.

use std::io::{Read, Write};

use hgfleet_log::RepositoryName;

use super::ask::Dialog;
use super::{Master, Refused, odd};
use crate::protocol::{CommandReply, CommandRequest, MirrorLine, StatusAnswer};

/// `help`.
pub(super) fn help(master: &Master<'_>, dialog: &mut Dialog<impl Read, impl Write>) -> Result<(), Refused> {
    let CommandReply::About(about) = master.ask(CommandRequest::About)? else { return Err(odd()) };
    about.commands.iter().try_for_each(|command| dialog.say(command))
}

/// `repos`.
pub(super) fn repos(master: &Master<'_>, dialog: &mut Dialog<impl Read, impl Write>) -> Result<(), Refused> {
    names(master, CommandRequest::Writable, dialog)
}

/// `repo-group`.
pub(super) fn groups(
    master: &Master<'_>,
    name: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    names(master, CommandRequest::Groups { repository: name.to_string() }, dialog)
}

fn names(
    master: &Master<'_>,
    request: CommandRequest,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let CommandReply::Names(names) = master.ask(request)? else { return Err(odd()) };
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    dialog.print_bytes(lines.as_bytes())
}

/// `repo-config`.
pub(super) fn config(
    master: &Master<'_>,
    name: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let CommandReply::Config(hgrc) = master.ask(CommandRequest::Config { repository: name.to_string() })? else {
        return Err(odd());
    };
    dialog.print_bytes(&hgrc)
}

/// `keys list`.
pub(super) fn keys(master: &Master<'_>, dialog: &mut Dialog<impl Read, impl Write>) -> Result<(), Refused> {
    let CommandReply::Keys(keys) = master.ask(CommandRequest::Keys)? else { return Err(odd()) };
    keys.iter().try_for_each(|key| dialog.say(&format!("{} {}", key.fingerprint, key.algorithm)))
}

/// `status`.
pub(super) fn status(
    master: &Master<'_>,
    name: &RepositoryName,
    dialog: &mut Dialog<impl Read, impl Write>,
) -> Result<(), Refused> {
    let CommandReply::Status(status) = master.ask(CommandRequest::Status { repository: name.to_string() })? else {
        return Err(odd());
    };
    lines(&status).iter().try_for_each(|line| dialog.say(line))
}

fn lines(status: &StatusAnswer) -> Vec<String> {
    let seen = match status.visible >= Some(status.sequence) {
        true => "visible everywhere",
        false => "not yet visible everywhere",
    };
    let mut lines =
        vec![format!("last: {} {} by {} at {}, {seen}", status.kind, status.sequence, status.who, time(status.at_ms))];
    for MirrorLine { name, state, lag_seconds, has_it } in &status.mirrors {
        let has_it = if *has_it { "has it" } else { "lacks it" };
        lines.push(format!("mirror: {name} {state}, {has_it}, {lag_seconds:.1} s behind"));
    }
    lines.extend(status.read_only.iter().map(|reason| format!("read only: {reason}")));
    if let Some(refused) = &status.refused {
        lines.push(format!("last refused push: by {} at {}", refused.who, time(refused.at_ms)));
        lines.extend(refused.text.lines().map(|line| format!("  {line}")));
    }
    lines
}

/// A moment, in UTC.
fn time(unix_ms: u64) -> String {
    let moment =
        i64::try_from(unix_ms / 1000).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    let format = &time::format_description::well_known::Rfc3339;
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| "an unknown time".to_owned())
}
