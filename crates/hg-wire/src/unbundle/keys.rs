//! One key moves: what `pushkey` does, as a command and as a part.

use super::failure::BROKEN;
use super::parts::Application;
use super::{PushFailure, base85};
use crate::error::shown;
use crate::pushkey::Arguments;
use hg_store::{Node, Phase};
use std::io::Write;

/// Whether a bookmark's name is one that can be taken.
///
/// Stock takes almost anything here, a newline that breaks its own file included. Names with a `@` inside are what it calls divergent ones itself.
pub(super) fn check_bookmark_name(name: &[u8]) -> Result<(), PushFailure> {
    if name.contains(&b'@') && !name.ends_with(b"@") {
        return Err(PushFailure::abort(format!("cannot accept divergent bookmark {}!", shown(name))));
    }
    let what = if name.is_empty() {
        "empty name"
    } else if std::str::from_utf8(name).is_err() {
        "name that is not UTF-8"
    } else if name.iter().any(u8::is_ascii_control) {
        "name with control characters"
    } else {
        return Ok(());
    };
    Err(PushFailure::refused(what, format_args!("bookmark {}", shown(name)), "Choose another name"))
}

impl Application<'_> {
    /// Moves a key if it is where the client saw it. Returns whether it is now where the client wants it.
    pub(super) fn push_key(
        &mut self,
        arguments: &Arguments<'_>,
        messages: &mut dyn Write,
    ) -> Result<bool, PushFailure> {
        match arguments.namespace {
            b"bookmarks" => self.push_bookmark(arguments, messages),
            b"phases" => self.push_phase(arguments),
            b"obsolete" => self.push_markers(arguments, messages),
            _ => Ok(false),
        }
    }

    fn push_bookmark(&mut self, arguments: &Arguments<'_>, messages: &mut dyn Write) -> Result<bool, PushFailure> {
        let name = arguments.key;
        if let Err(why) = check_bookmark_name(name) {
            if !name.contains(&b'@') {
                let _ = writeln!(messages, "{why}");
            }
            return Ok(false);
        }
        let now = self.preparation.bookmark(name)?.map(|node| node.to_string()).unwrap_or_default();
        if now.as_bytes() != arguments.old && now.as_bytes() != arguments.new {
            return Ok(false);
        }
        let node = if arguments.new.is_empty() {
            None
        } else {
            match Node::from_hex(arguments.new) {
                Some(node) if node.is_null() || self.is_served(&node)? => Some(node),
                _ => return Ok(false),
            }
        };
        self.preparation.set_bookmark(name, node)?;
        self.changed = true;
        Ok(true)
    }

    fn is_served(&self, node: &Node) -> Result<bool, PushFailure> {
        if let Some(revision) = self.snapshot.changelog().revision_of(node) {
            return Ok(self.snapshot.served().map_err(PushFailure::store)?.contains(revision));
        }
        match self.preparation.changelog().revision_of(node) {
            Some(revision) => Ok(self.preparation.phase(revision)? <= Phase::Draft),
            None => Ok(false),
        }
    }

    fn push_phase(&mut self, arguments: &Arguments<'_>) -> Result<bool, PushFailure> {
        let unknown = || {
            let what = format!("unknown revision '{}'", shown(arguments.key));
            PushFailure::refused(what, "in the phases of the push", "Pull, and push again")
        };
        let node = Node::from_hex(arguments.key).ok_or_else(unknown)?;
        let (old, new) = (phase_number(arguments.old)?, phase_number(arguments.new)?);
        if node.is_null() {
            return Ok(new == Phase::Public.number());
        }
        let revision = self.preparation.changelog().revision_of(&node).ok_or_else(unknown)?;
        let now = self.preparation.phase(revision)?.number();
        if now == old && new < old {
            let phase = Phase::from_number(new)
                .ok_or_else(|| PushFailure::refused("unknown phase", format_args!("{new}"), BROKEN))?;
            self.preparation.advance_phases(phase, &[revision])?;
            self.changed = true;
            return Ok(true);
        }
        Ok(now == new)
    }

    fn push_markers(&mut self, arguments: &Arguments<'_>, messages: &mut dyn Write) -> Result<bool, PushFailure> {
        if !arguments.key.starts_with(b"dump") {
            let _ = writeln!(messages, "unknown key: '{}'", shown(arguments.key));
            return Ok(false);
        }
        if !arguments.old.is_empty() {
            let _ = writeln!(messages, "unexpected old value for '{}'", shown(arguments.key));
            return Ok(false);
        }
        let encoded = base85::decode(arguments.new)
            .ok_or_else(|| PushFailure::refused("bad base85", "in the obsolescence markers", BROKEN))?;
        if !self.snapshot.settings().creates_markers() {
            return Err(PushFailure::abort("creating obsolete markers is not enabled on this repo"));
        }
        self.add_markers(&encoded)?;
        Ok(true)
    }
}

/// The number of a phase; a minus sign is passed over, as stock does.
fn phase_number(text: &[u8]) -> Result<u32, PushFailure> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| PushFailure::refused("malformed phase", format_args!("'{}'", shown(text)), BROKEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmark_names_that_break_something_are_refused() {
        for good in ["a", "tip", "default", "a b", "ä", "@", "a@"] {
            assert!(check_bookmark_name(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [b"".as_slice(), b"a\nb", b"a\0", b"a@b", b"\xff", b"\x7f"] {
            assert!(check_bookmark_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            check_bookmark_name(b"a@b").expect_err("refused").to_string(),
            "cannot accept divergent bookmark a@b!"
        );
    }

    #[test]
    fn phases_are_numbers() {
        assert_eq!(phase_number(b"1"), Ok(1));
        assert_eq!(phase_number(b"-1"), Ok(1));
        for bad in [b"".as_slice(), b"x", b"1 ", b"+1", b"--1", b"99999999999"] {
            assert!(phase_number(bad).is_err(), "{bad:?}");
        }
    }
}
