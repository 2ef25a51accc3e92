//! Bytes of a repository as text of a page.

use std::fmt::Write as _;
use time::{OffsetDateTime, UtcOffset};

/// Returns whether a character changes how those around it are laid out, or can't be seen: shown as an escape.
fn is_hidden(c: char) -> bool {
    let direction =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{061c}');
    c.is_control() || direction || c == '\u{feff}'
}

/// Returns bytes as one line of text of at most `chars_max` characters; what is cut ends in an ellipsis.
pub(crate) fn line(bytes: &[u8], chars_max: usize) -> String {
    let mut text = String::new();
    // A character has at most four bytes: more need not be looked at.
    let looked_at = &bytes[..bytes.len().min(chars_max.saturating_mul(4).saturating_add(4))];
    for (count, c) in String::from_utf8_lossy(looked_at).chars().enumerate() {
        if count == chars_max {
            text.push('…');
            break;
        }
        if is_hidden(c) {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// Returns the first line of a description.
pub(crate) fn first_line(description: &[u8]) -> String {
    let first = description.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line(first.strip_suffix(b"\r").unwrap_or(first), 200)
}

/// Returns a user's name without the e-mail address.
pub(crate) fn person(user: &[u8]) -> String {
    let name = user.split(|byte| *byte == b'<').next().unwrap_or_default().trim_ascii();
    line(if name.is_empty() { user } else { name }, 80)
}

/// Returns a time as `2027-01-31 12:05 +0100`; of a time that no calendar has, the number.
pub(crate) fn date(seconds: i64, west: i32) -> String {
    let made = || {
        let offset = UtcOffset::from_whole_seconds(west.checked_neg()?).ok()?;
        let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?.checked_to_offset(offset)?;
        let (hours, minutes, _) = offset.as_hms();
        Some(format!(
            "{:04}-{:02}-{:02} {:02}:{:02} {}{:02}{:02}",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            if offset.is_negative() { '-' } else { '+' },
            hours.unsigned_abs(),
            minutes.unsigned_abs()
        ))
    };
    made().unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown_and_long_lines_cut() {
        assert_eq!(line("a\u{202e}b\u{1b}[0m".as_bytes(), 80), "a\\u{202e}b\\u{1b}[0m");
        assert_eq!(line("ééé".as_bytes(), 2), "éé…");
        assert_eq!(line(b"\xff", 80), "\u{fffd}");
        assert_eq!(first_line(b"one\r\ntwo"), "one");
    }

    #[test]
    fn dates_have_the_offset_of_their_author() {
        assert_eq!(date(0, -3600), "1970-01-01 01:00 +0100");
        assert_eq!(date(1_000_000_000, 12_600), "2001-09-08 22:16 -0330");
        assert_eq!(date(i64::MAX, 0), i64::MAX.to_string());
        assert_eq!(date(0, i32::MIN), "0");
    }
}
