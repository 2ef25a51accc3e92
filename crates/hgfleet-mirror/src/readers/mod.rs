//! Who a request comes from: nobody in particular, or an account that shows a token or was named by a trusted proxy.
//!
//! What `*` may read never depends on anything here but the absence of credentials: tokens come from the fleet's log and lie in a file
//! of this mirror ([`KeptTokens`]), accounts and groups from the directory ([`Accounts`]). Where either is out of reach for too long,
//! a reader is [`Reader::Unsure`], and has what everybody has.

mod accounts;
mod failures;
mod kept_tokens;
mod token_file;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hgfleet_access::{AccessRules, Action, Caller, RepositoryPatterns};
use hgfleet_directory::{AccountState, DirectoryError, Mail};
use hgfleet_log::RepositoryName;
use hgfleet_tokens::{basic, day_of};
use hyper::StatusCode;

pub(crate) use self::accounts::Accounts;
use self::failures::Failures;
use self::kept_tokens::Found;
pub(crate) use self::kept_tokens::KeptTokens;

/// Who reads.
#[derive(Debug)]
pub(crate) enum Reader {
    /// Somebody who did not say.
    Anonymous,
    /// An enabled account.
    Account {
        mail: String,
        groups: Vec<String>,
        /// What its token is for; none: everything that the account may read.
        only: Option<Arc<RepositoryPatterns>>,
        /// Whether its token may bring LFS objects.
        uploads: bool,
    },
    /// Somebody who said, while nobody can be asked whether that is so.
    Unsure,
}

impl Reader {
    /// Whether it may read a repository.
    pub(crate) fn may_read(&self, rules: &AccessRules, name: &RepositoryName) -> bool {
        self.may(rules, name, Action::Read)
    }

    /// Whether it may write to a repository.
    pub(crate) fn may_write(&self, rules: &AccessRules, name: &RepositoryName) -> bool {
        self.may_read(rules, name) && self.may(rules, name, Action::Write)
    }

    fn may(&self, rules: &AccessRules, name: &RepositoryName, action: Action) -> bool {
        let name = name.as_str();
        let caller = match self {
            Reader::Account { mail, groups, only, .. } if only.as_ref().is_none_or(|only| only.is_match(name)) => {
                Caller::Account { mail, groups }
            }
            _ => Caller::Anonymous,
        };
        rules.decide(caller, name, action).is_allowed()
    }
}

/// What a request shows of who sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// The value of its `Authorization`.
    Credentials(&'a [u8]),
    /// An account that a trusted proxy names.
    Account(&'a str),
}

/// A request that is answered by what is wrong with its credentials.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

fn refused(status: StatusCode, text: impl Into<String>) -> Refused {
    Refused { status, text: text.into() }
}

/// One text for all of it: what exactly is wrong is the token's holder's to know, not a stranger's.
const WRONG: &str = "refused: unknown, revoked, expired, or of an account that is not enabled, these credentials. \
                     Show the account's mail address and a token of it";

/// Finds out who reads.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(crate) tokens: Arc<KeptTokens>,
    pub(crate) accounts: Accounts,
    failures: Failures,
}

impl Readers {
    pub(crate) fn new(tokens: Arc<KeptTokens>, accounts: Accounts) -> Readers {
        Readers { tokens, accounts, failures: Failures::default() }
    }

    /// Finds out who sent a request, from what it shows and the address that it comes from.
    pub(crate) async fn who(&self, shown: Shown<'_>, address: Option<IpAddr>) -> Result<Reader, Refused> {
        match shown {
            Shown::Nothing => Ok(Reader::Anonymous),
            Shown::Account(mail) => self.named(mail).await,
            Shown::Credentials(value) => self.with_token(value, address).await,
        }
    }

    async fn named(&self, mail: &str) -> Result<Reader, Refused> {
        let Ok(mail) = Mail::parse(mail) else {
            let text = "refused: no mail address, as the account that the proxy names. Tell the administrators";
            return Err(refused(StatusCode::BAD_REQUEST, text));
        };
        self.account(&mail, None, true).await?.ok_or_else(|| {
            let text = format!("refused: no account is enabled, of the name {mail}. Ask an administrator");
            refused(StatusCode::FORBIDDEN, text)
        })
    }

    async fn with_token(&self, value: &[u8], address: Option<IpAddr>) -> Result<Reader, Refused> {
        let wrong = || match self.failures.note(address) {
            true => {
                let text = "refused: too many that are wrong, of credentials from this address. Wait a minute";
                Err(refused(StatusCode::TOO_MANY_REQUESTS, text))
            }
            false => Err(refused(StatusCode::UNAUTHORIZED, WRONG)),
        };
        let credentials = match basic::parse(value) {
            Ok(credentials) => credentials,
            Err(basic::BasicError::Scheme) => return wrong(),
            Err(error) => {
                let text = format!("refused: {error}, the credentials. Send a mail address and a token, as HTTP Basic");
                return Err(refused(StatusCode::BAD_REQUEST, text));
            }
        };
        let (Some(token), Ok(mail)) = (credentials.token, Mail::parse(&credentials.mail)) else { return wrong() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (id, only, uploads) = match self.tokens.find(&token, mail.as_str(), now).await {
            Found::Good { id, only, uploads } => (id, only, uploads),
            Found::Wrong => return wrong(),
            Found::Unsure => return Ok(Reader::Unsure),
        };
        let Some(reader) = self.account(&mail, only, uploads).await? else {
            return Err(refused(StatusCode::UNAUTHORIZED, WRONG));
        };
        if matches!(reader, Reader::Account { .. }) && self.tokens.note_use(id, day_of(now)) {
            self.accounts.note_use(&mail);
        }
        Ok(reader)
    }

    /// The reader that an account is; none: it is not enabled, or not there.
    async fn account(
        &self,
        mail: &Mail,
        only: Option<Arc<RepositoryPatterns>>,
        uploads: bool,
    ) -> Result<Option<Reader>, Refused> {
        match self.accounts.get(mail).await {
            Ok(Some(account)) if account.state == AccountState::Enabled => {
                Ok(Some(Reader::Account { mail: mail.as_str().to_owned(), groups: account.groups, only, uploads }))
            }
            Ok(_) | Err(DirectoryError::Ambiguous { .. }) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, account = %mail, "an account can't be asked for; its reader gets what everybody reads");
                Ok(Some(Reader::Unsure))
            }
        }
    }
}
