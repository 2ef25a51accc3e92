//! Who may do what, as the directory and the access rules say it now.

use std::sync::Arc;

use hgfleet_access::{AccessRules, Action, Caller};
use hgfleet_directory::{Account, AccountState, Mail};
use hgfleet_log::RepositoryName;
use hgfleet_replica::ReplicaError;

use super::master::{Master, No, refusal};
use super::peers::Client;

/// An enabled account, with the rules of one moment.
pub(crate) struct Rights {
    pub account: Account,
    rules: Arc<AccessRules>,
}

impl Master {
    /// Asks the directory for whoever is served: an account that was switched off meanwhile has no rights any more. `on` is what they
    /// are wanted on. To read, an older answer will do than to store something.
    pub(crate) async fn rights(&self, client: &Client, on: &str, to_read: bool) -> Result<Rights, No> {
        let Ok(mail) = Mail::parse(&client.account) else {
            return Err(No::refused(format!("refused: the account is unknown, on {on}. Ask an administrator")));
        };
        let directory = self.directory.clone();
        let account = tokio::task::spawn_blocking(move || match to_read {
            true => directory.account(&mail),
            false => directory.account_to_write(&mail),
        });
        match account.await {
            Ok(Ok(Some(account))) if account.state == AccountState::Enabled => {
                Ok(Rights { account, rules: self.access.rules() })
            }
            Ok(Err(error)) => {
                tracing::error!(account = client.account, %error, "refused: nobody says whether its account is enabled");
                Err(No::refused(format!(
                    "refused: the directory of accounts does not answer, on {on}. Nothing was stored; try again later"
                )))
            }
            _ => Err(No::refused(format!(
                "refused: the account {} is not enabled any more, on {on}. Ask an administrator",
                client.account
            ))),
        }
    }

    /// Asks the directory and the rules, as they are now.
    pub(crate) async fn check_rights(&self, client: &Client, name: &RepositoryName, action: Action) -> Result<(), No> {
        self.rights(client, name.as_str(), action == Action::Read).await?.check(name, action)
    }
}

impl Rights {
    pub(crate) fn rules(&self) -> &AccessRules {
        &self.rules
    }

    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller::Account { mail: self.account.mail.as_str(), groups: &self.account.groups }
    }

    /// Whether the rules grant it. Who may not read a repository may do nothing with it.
    pub(crate) fn allow(&self, name: &str, action: Action) -> bool {
        let allows = |action| self.rules.decide(self.caller(), name, action).is_allowed();
        allows(Action::Read) && (action == Action::Read || allows(action))
    }

    /// The same, with what the client is told.
    pub(crate) fn check(&self, name: &RepositoryName, action: Action) -> Result<(), No> {
        if !self.allow(name.as_str(), Action::Read) {
            // Whoever may not read it does not learn that it is there.
            return Err(refusal(name, &ReplicaError::NotFound(name.clone())));
        }
        let decision = self.rules.decide(self.caller(), name.as_str(), action);
        if decision.is_allowed() {
            return Ok(());
        }
        let groups: Vec<&str> =
            decision.granted().iter().map(String::as_str).filter(|granted| !granted.contains('@')).collect();
        let remedy = match groups[..] {
            [] => "Ask an administrator".to_owned(),
            _ => format!("Ask an administrator to make you a member of {}", groups.join(" or ")),
        };
        let who = &self.account.mail;
        tracing::info!(account = %who, repository = %name, %decision, "refused by the access rules");
        let action = action.as_str();
        Err(No::refused(format!("refused: the access rules don't let {who} {action}, on {name}. {remedy}")))
    }
}
