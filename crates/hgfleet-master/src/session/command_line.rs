//! The command lines that a session serves: `hg -R NAME serve --stdio [--hidden]`, and the commands for people.
//!
//! Words are split as a shell would, quotes and backslashes included, because clients quote; but no shell is there, so
//! anything a shell would act upon outside of quotes is refused rather than taken literally.

use hgfleet_log::RepositoryName;

use super::identity::COMMAND_BYTES_MAX;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Nothing: a login without a command.
    None,
    /// The wire protocol for one repository.
    Serve(RepositoryName, Asks),
    /// Something that is done for a person, and answered in lines.
    Person(PersonCommand),
}

/// Which changesets a client asks to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Those that everybody sees.
    Served,
    /// Hidden ones, too: `--remote-hidden`.
    Hidden,
}

/// A command for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PersonCommand {
    /// `help`
    Help,
    /// `repos`
    Repos,
    /// `status NAME`
    Status(RepositoryName),
    /// `repo-group NAME`
    RepoGroup(RepositoryName),
    /// `repo-config NAME`
    RepoConfig(RepositoryName),
    /// `clone NAME`: asks; `clone NAME SOURCE`: does not
    Clone(RepositoryName, Option<RepositoryName>),
    /// `edit NAME`: asks
    Edit(RepositoryName),
    /// `edit NAME delete YES`: does not
    EditDelete(RepositoryName),
    /// `keys list`
    KeysList,
    /// `keys add`: the key comes on standard input
    KeysAdd,
    /// `keys remove FINGERPRINT`
    KeysRemove(String),
}

/// Why a command line is refused. Each is one line for the client, without the `refused: ` in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Longer than any that is served.
    #[error("longer than {COMMAND_BYTES_MAX} bytes, the command line. Run: hg -R NAME serve --stdio")]
    TooLong,
    /// Quotes, bytes or shell syntax that no client needs.
    #[error("it {0}, the command line. Run: hg -R NAME serve --stdio")]
    Syntax(&'static str),
    /// None of those that there are.
    #[error("no such command is served here, the command line. Run help to see those that are")]
    NoCommand,
    /// One of them, with other words behind it than it takes.
    #[error("wrong arguments, {0}. Run: {1}")]
    Usage(&'static str, &'static str),
    /// `hg`, but not the five words.
    #[error("invalid hg command, the command line. Run: hg -R NAME serve --stdio")]
    OtherHg,
    /// A name that no repository can have.
    #[error(
        "no repository can have this name, {0:?}. Use letters, digits, \".\", \"_\", \"-\" and \"/\", each part beginning with a letter or digit"
    )]
    Name(String),
}

/// Parses a command line.
pub(crate) fn parse(command: Option<&[u8]>) -> Result<Request, Refusal> {
    let Some(command) = command else { return Ok(Request::None) };
    if command.len() > COMMAND_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    let command = std::str::from_utf8(command).map_err(|_| Refusal::Syntax("is not UTF-8"))?;
    let words = split(command)?;
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        [] => Ok(Request::None),
        ["hg", "-R", repository, "serve", "--stdio"] => Ok(Request::Serve(name(repository)?, Asks::Served)),
        ["hg", "-R", repository, "serve", "--stdio", "--hidden"] => Ok(Request::Serve(name(repository)?, Asks::Hidden)),
        ["hg", ..] => Err(Refusal::OtherHg),
        [command, ref arguments @ ..] => person(command, arguments).map(Request::Person),
    }
}

/// The repository that a command line names, and whether it is one of the account's own, named below its folder.
pub(crate) fn repository(command: Option<&[u8]>) -> Option<(RepositoryName, bool)> {
    match parse(command).ok()? {
        Request::Serve(name, _)
        | Request::Person(
            PersonCommand::Status(name) | PersonCommand::RepoGroup(name) | PersonCommand::RepoConfig(name),
        ) => Some((name, false)),
        Request::Person(
            PersonCommand::Clone(name, _) | PersonCommand::Edit(name) | PersonCommand::EditDelete(name),
        ) => Some((name, true)),
        Request::None | Request::Person(_) => None,
    }
}

fn person(command: &str, arguments: &[&str]) -> Result<PersonCommand, Refusal> {
    let usage = |command, form| Err(Refusal::Usage(command, form));
    match (command, arguments) {
        ("help", []) => Ok(PersonCommand::Help),
        ("help", _) => usage("help", "help"),
        ("repos", []) => Ok(PersonCommand::Repos),
        ("repos", _) => usage("repos", "repos"),
        ("status", [repository]) => name(repository).map(PersonCommand::Status),
        ("status", _) => usage("status", "status NAME"),
        ("repo-group", [repository]) => name(repository).map(PersonCommand::RepoGroup),
        ("repo-group", _) => usage("repo-group", "repo-group NAME"),
        ("repo-config", [repository]) => name(repository).map(PersonCommand::RepoConfig),
        ("repo-config", _) => usage("repo-config", "repo-config NAME"),
        ("clone", [new]) => Ok(PersonCommand::Clone(name(new)?, None)),
        ("clone", [new, source]) => Ok(PersonCommand::Clone(name(new)?, Some(name(source)?))),
        ("clone", _) => usage("clone", "clone NAME [SOURCE]"),
        ("edit", [own]) => name(own).map(PersonCommand::Edit),
        ("edit", [own, "delete", "YES"]) => name(own).map(PersonCommand::EditDelete),
        ("edit", _) => usage("edit", "edit NAME [delete YES]"),
        ("keys", ["list"]) => Ok(PersonCommand::KeysList),
        ("keys", ["add"]) => Ok(PersonCommand::KeysAdd),
        ("keys", ["remove", fingerprint]) if is_fingerprint(fingerprint) => {
            Ok(PersonCommand::KeysRemove((*fingerprint).to_owned()))
        }
        ("keys", _) => usage("keys", "keys list, keys add < FILE.pub, or keys remove FINGERPRINT"),
        _ => Err(Refusal::NoCommand),
    }
}

/// It takes one trailing slash, which people type after completion in a shell.
fn name(given: &str) -> Result<RepositoryName, Refusal> {
    RepositoryName::parse(given).map_err(|_| Refusal::Name(given.chars().take(200).collect()))
}

/// SHA-256 in base64 without padding, as `ssh-keygen -l` prints it.
fn is_fingerprint(given: &str) -> bool {
    let hash = given.strip_prefix("SHA256:");
    hash.is_some_and(|hash| {
        hash.len() == 43 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
    })
}

/// Splits into words: blanks part them, single quotes keep everything, double quotes and backslashes as POSIX says.
fn split(line: &str) -> Result<Vec<String>, Refusal> {
    // Five words are served; a few more are kept, so that the refusal is the right one.
    const WORDS_MAX: usize = 16;
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(letter) => word.push(letter),
                        None => return Err(Refusal::Syntax("has a quote that is not closed")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('"') => break,
                        Some('$' | '`') => return Err(Refusal::Syntax("asks for a shell, and there is none")),
                        Some('\\') => match letters.next() {
                            Some(letter @ ('"' | '\\' | '$' | '`')) => word.push(letter),
                            Some(letter) => word.extend(['\\', letter]),
                            None => return Err(Refusal::Syntax("has a quote that is not closed")),
                        },
                        Some(letter) => word.push(letter),
                        None => return Err(Refusal::Syntax("has a quote that is not closed")),
                    }
                }
            }
            '\\' => match letters.next() {
                Some(letter) => word.get_or_insert_default().push(letter),
                None => return Err(Refusal::Syntax("ends in a backslash")),
            },
            ';' | '&' | '|' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' | '{' | '}' | '!' | '#' | '~' => {
                return Err(Refusal::Syntax("asks for a shell, and there is none"));
            }
            letter if letter.is_control() => {
                return Err(Refusal::Syntax("has a control character"));
            }
            letter => word.get_or_insert_default().push(letter),
        }
        if words.len() > WORDS_MAX {
            return Err(Refusal::Syntax("has too many words"));
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod grammar_tests;
#[cfg(test)]
mod tests;
