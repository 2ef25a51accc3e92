//! What a session tells a client that it does not serve.

/// No command was given.
pub(super) fn no_command(account: &str, groups: &[String]) -> String {
    let groups = match groups {
        [] => "no group".to_owned(),
        groups => groups.join(", "),
    };
    format!(
        "You are connected as {account} (member of {groups}).\n\
         There is no shell here: Mercurial repositories are cloned from and pushed to ssh://hg@HOST/NAME.\n\
         No command was given; closing the connection."
    )
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
