//! The one command line that a session serves: `hg -R NAME serve --stdio`.
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
    Serve(RepositoryName),
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
    /// Not `hg` at all.
    #[error("only hg is served here, the command line. Run: hg -R NAME serve --stdio")]
    NotHg,
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
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Request::None),
        ["hg", "-R", name, "serve", "--stdio"] => {
            // It takes one trailing slash, which people type after completion in a shell.
            match RepositoryName::parse(name) {
                Ok(name) => Ok(Request::Serve(name)),
                Err(_) => Err(Refusal::Name(name.chars().take(200).collect())),
            }
        }
        ["hg", ..] => Err(Refusal::OtherHg),
        _ => Err(Refusal::NotHg),
    }
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
mod tests;
