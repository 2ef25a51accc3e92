//! What a session tells a client that it does not serve.

use crate::protocol::About;

/// No door has started it.
pub(super) const STARTED_BY_HAND: &str =
    "refused: started by hand, hgfleet session. It is for the SSH doors; run hgfleet serve -R PATH --stdio instead";

/// A master was waited for long enough.
pub(super) const NO_MASTER: &str = "refused: no server is master for the moment, on this fleet. Try again in a minute";

/// Families of repositories that are named, at most.
const FAMILIES_MAX: usize = 20;

/// No command was given. What the account may do is not known where no server is master for the moment.
pub(super) fn no_command(account: &str, login: &str, groups: &[String], about: Option<&About>) -> String {
    let mut text = format!(
        "You are connected as {account} ({}).\n\
         There is no shell here: Mercurial repositories are cloned from and pushed to ssh://{login}@HOST/NAME.\n",
        member_of(groups)
    );
    if let Some(about) = about {
        let list = |families: &[String]| match families.len() {
            0 => "nothing".to_owned(),
            number if number > FAMILIES_MAX => {
                format!("{}, and {} more", families[..FAMILIES_MAX].join(", "), number - FAMILIES_MAX)
            }
            _ => families.join(", "),
        };
        text.push_str(&format!("You may push to: {}\n", list(&about.writes)));
        text.push_str(&format!("You may not push to: {}\n", list(&about.writes_not)));
        text.push_str("Run help to see the commands that there are.\n");
    }
    text + "No command was given; closing the connection."
}

fn member_of(groups: &[String]) -> String {
    match groups {
        [] => "member of no group".to_owned(),
        groups => format!("member of {}", groups.join(", ")),
    }
}

/// The account was switched off.
pub(super) fn disabled(account: &str) -> String {
    format!(
        "refused: the account is disabled, {account}. Accounts that are not used for long are switched off; ask an administrator to enable yours"
    )
}

/// The account was never switched on.
pub(super) fn not_enabled(account: &str) -> String {
    format!("refused: the account is not enabled for Mercurial, {account}. Ask an administrator to enable it")
}
