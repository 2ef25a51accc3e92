//! What a client gets for its push.

use super::PushFailure;
use crate::bundle2_writer::{Bundle2Writer, PartHeader};
use std::io::{self, Write};

/// Bytes that a parameter's value can have.
const VALUE_BYTES_MAX: usize = 255;

/// The reply to a bundle2: a bundle2 of these parts.
pub(super) fn success(parts: &[PartHeader]) -> io::Result<Vec<u8>> {
    let mut writer = Bundle2Writer::new(Vec::new())?;
    for part in parts {
        writer.part(part, b"")?;
    }
    writer.finish()
}

/// The reply to a bundle2 that was not taken: a bundle2 of one part. What a part can't hold goes to `messages` first.
pub(super) fn failure(failure: &PushFailure, messages: &mut dyn Write) -> io::Result<Vec<u8>> {
    let part = match failure {
        PushFailure::Abort { message, hint } => {
            let mut part = PartHeader::new("ERROR:ABORT").mandatory("message", short_message(message, messages)?);
            if let Some(hint) = hint {
                part = part.advisory("hint", cut(hint));
            }
            part
        }
        PushFailure::Raced(message) => {
            PartHeader::new("ERROR:PUSHRACED").mandatory("message", short_message(message, messages)?)
        }
        PushFailure::Unsupported { part, parameters } => {
            let mut header = PartHeader::new("ERROR:UNSUPPORTEDCONTENT").mandatory("parttype", cut(part));
            if !parameters.is_empty() {
                header = header.mandatory("params", cut(&parameters.join("\0")));
            }
            header
        }
        PushFailure::Pushkey { part, namespace, key, old, new } => PartHeader::new("ERROR:PUSHKEY")
            .mandatory("in-reply-to", part.to_string())
            .advisory("namespace", cut(namespace))
            .advisory("key", cut(key))
            .advisory("new", cut(new))
            .advisory("old", cut(old)),
    };
    success(&[part])
}

/// The message if a parameter can hold it and a client would show it whole; else its start, the whole of it going to `messages`.
///
/// A client puts `remote: ` before a message's first line only, so one of several lines goes that way too.
fn short_message<'m>(message: &'m str, messages: &mut dyn Write) -> io::Result<&'m str> {
    let first = message.lines().next().unwrap_or_default();
    let short = cut(first);
    if short.len() < message.trim_end().len() {
        writeln!(messages, "{}", message.trim_end())?;
    }
    Ok(short)
}

/// As much of a text as a parameter holds.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(VALUE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The reply to a bundle1: what became of its changegroup, 0 where it was not taken.
pub(super) fn bundle1(result: i64) -> Vec<u8> {
    let result = result.to_string();
    format!("0\n{}\n{result}", result.len()).into_bytes()
}

/// A text in place of the invitation to send the payload, or of bundle1's result.
pub(super) fn text(text: &str) -> Vec<u8> {
    format!("{}\n{text}", text.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(error: &PushFailure) -> (String, String) {
        let mut messages = Vec::new();
        let reply = failure(error, &mut messages).expect("memory");
        (String::from_utf8_lossy(&reply).into_owned(), String::from_utf8(messages).expect("text"))
    }

    #[test]
    fn a_short_message_goes_into_the_part_alone() {
        let (reply, messages) = run(&PushFailure::abort("no"));
        assert!(reply.contains("ERROR:ABORT") && reply.contains("messageno"), "{reply:?}");
        assert_eq!(messages, "");
    }

    #[test]
    fn a_long_message_is_told_whole_before_the_part() {
        let long = "ä".repeat(300);
        let (reply, messages) = run(&PushFailure::abort(&long));
        assert!(reply.contains(&"ä".repeat(127)) && !reply.contains(&"ä".repeat(128)));
        assert_eq!(messages, format!("{long}\n"));
        let (reply, messages) = run(&PushFailure::abort("one\ntwo"));
        assert!(reply.contains("messageone") && !reply.contains("two"));
        assert_eq!(messages, "one\ntwo\n");
    }

    #[test]
    fn what_is_not_supported_is_named_with_its_parameters() {
        let unsupported =
            PushFailure::Unsupported { part: "changegroup".into(), parameters: vec!["a".into(), "b".into()] };
        let (reply, _) = run(&unsupported);
        assert!(reply.contains("parttypechangegroupparamsa\0b") || reply.contains("parttypeparams"), "{reply:?}");
    }

    #[test]
    fn bundle1_is_answered_with_a_number_in_a_frame() {
        assert_eq!(bundle1(1), b"0\n1\n1");
        assert_eq!(bundle1(-12), b"0\n3\n-12");
    }
}
