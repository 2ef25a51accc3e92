//! `batch`: several reads in one request, answered from one snapshot.
//!
//! `name arguments;name arguments`, arguments `key=value,key=value`. In keys, values and answers `:` is written `:c`,
//! `,` `:o`, `;` `:s` and `=` `:e`. The blank after a name is there even without arguments.

use super::{Answer, answer};
use crate::CommandError;
use crate::arguments::Arguments;
use crate::client::Client;
use crate::command::CommandName;
use crate::error::shown;
use crate::limits;
use hg_store::Snapshot;
use std::sync::Arc;

fn malformed(what: &[u8]) -> CommandError {
    CommandError::Malformed(format!("not a command of a batch: '{}'", shown(what)))
}

fn unescape(bytes: &[u8]) -> Result<Vec<u8>, CommandError> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        plain.push(match byte {
            b':' => match rest.next() {
                Some(b'c') => b':',
                Some(b'o') => b',',
                Some(b's') => b';',
                Some(b'e') => b'=',
                _ => return Err(malformed(bytes)),
            },
            other => *other,
        });
    }
    Ok(plain)
}

fn escape(bytes: &[u8], output: &mut Vec<u8>) {
    let mut rest = bytes;
    // Most answers are hashes and blanks, long, and have none of them.
    let has_some = memchr::memchr3(b':', b',', b';', bytes).or_else(|| memchr::memchr(b'=', bytes)).is_some();
    let next = |rest: &[u8]| rest.iter().position(|byte| matches!(byte, b':' | b',' | b';' | b'='));
    while let Some(at) = Some(rest).filter(|_| has_some).and_then(next) {
        output.extend_from_slice(&rest[..at]);
        output.extend_from_slice(match rest[at] {
            b':' => b":c",
            b',' => b":o",
            b';' => b":s",
            _ => b":e",
        });
        rest = &rest[at + 1..];
    }
    output.extend_from_slice(rest);
}

fn parse(pair: &[u8]) -> Result<(CommandName, Arguments), CommandError> {
    let blank = memchr::memchr(b' ', pair).ok_or_else(|| malformed(pair))?;
    let name = CommandName::parse(&pair[..blank]).ok_or_else(|| malformed(pair))?;
    let batched = matches!(
        name,
        CommandName::Between
            | CommandName::Branches
            | CommandName::Branchmap
            | CommandName::Capabilities
            | CommandName::Heads
            | CommandName::Known
            | CommandName::Lheads
            | CommandName::Listkeys
            | CommandName::Lookup
            | CommandName::Statlfile
    );
    if !batched {
        return Err(CommandError::Malformed(format!("'{}' can't be part of a batch", name.as_str())));
    }
    let mut arguments = Arguments::default();
    for argument in pair[blank + 1..].split(|byte| *byte == b',').filter(|argument| !argument.is_empty()) {
        let equals = memchr::memchr(b'=', argument).ok_or_else(|| malformed(pair))?;
        arguments.add(unescape(&argument[..equals])?, unescape(&argument[equals + 1..])?)?;
    }
    Ok((name, arguments))
}

/// Returns whether a batch holds a few commands, all of which pass; false, too, where it is none.
pub(super) fn is_quick(commands: &[u8], quick: impl Fn(CommandName) -> bool) -> bool {
    let mut names = commands.split(|byte| *byte == b';').map(|pair| {
        let blank = memchr::memchr(b' ', pair)?;
        CommandName::parse(&pair[..blank])
    });
    let all_pass = names.by_ref().take(limits::QUICK_BATCH_COMMANDS_MAX).all(|name| name.is_some_and(&quick));
    all_pass && names.next().is_none()
}

/// Answers a batch. The first command that fails is the answer to all.
pub(super) fn batch(commands: &[u8], snapshot: &Arc<Snapshot>, client: &Client) -> Result<Vec<u8>, CommandError> {
    if memchr::memchr_iter(b';', commands).count() >= limits::BATCH_COMMANDS_MAX {
        return Err(CommandError::TooLarge(format!("more than {} commands in a batch", limits::BATCH_COMMANDS_MAX)));
    }
    let mut text = Vec::new();
    for (n, pair) in commands.split(|byte| *byte == b';').enumerate() {
        if n > 0 {
            text.push(b';');
        }
        let (name, arguments) = parse(pair)?;
        if let Answer::Text(answer) = answer(name, &arguments, snapshot, client)? {
            escape(&answer, &mut text);
        }
        if text.len() > limits::BATCH_ANSWER_BYTES_MAX {
            return Err(CommandError::TooLarge("the answer to the batch is too long".to_owned()));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_of_a_clone_is_understood() {
        assert_eq!(parse(b"heads ").expect("recorded").0, CommandName::Heads);
        let (name, arguments) = parse(b"lookup key=a:cb:o:s:e").expect("escaped");
        assert_eq!((name, arguments.get(b"key")), (CommandName::Lookup, Some(b"a:b,;=".as_slice())));
        assert_eq!(parse(b"known nodes=").expect("recorded").1.get(b"nodes"), Some(b"".as_slice()));
    }

    #[test]
    fn what_is_no_batched_read_is_refused() {
        let bad = [
            "",
            "heads",
            "nope ",
            "batch cmds=heads ",
            "unbundle heads=",
            "pushkey namespace=x",
            "lookup key=:x",
            "lookup key=:",
            "lookup key",
            "lookup key=a,key=b",
        ];
        for pair in bad {
            assert!(!is_quick(pair.as_bytes(), |name| name == CommandName::Heads), "{pair:?}");
            assert!(matches!(parse(pair.as_bytes()), Err(CommandError::Malformed(_))), "{pair:?}");
        }
    }

    #[test]
    fn few_commands_of_the_right_kind_are_quick() {
        let heads_alone = |commands: &[u8]| is_quick(commands, |name| name == CommandName::Heads);
        assert!(heads_alone(b"heads ") && heads_alone(b"heads ;heads ;heads ;heads "));
        for slow in ["heads ;heads ;heads ;heads ;heads ", "heads ;known nodes=", "heads ;"] {
            assert!(!heads_alone(slow.as_bytes()), "{slow}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        let mut escaped = Vec::new();
        escape(b"1;a:b,=", &mut escaped);
        assert_eq!(unescape(&escaped).expect("own"), b"1;a:b,=");
    }
}
