//! The text of a changeset.

use crate::{Node, Revision, Revlog, StoreError};

/// A changeset's text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("changeset {what}")]
pub struct ChangesetError {
    what: &'static str,
}

/// Keys and values.
pub type Extra = Vec<(Vec<u8>, Vec<u8>)>;

/// One changeset: manifest, user, time, extra, files, description.
///
/// Format: `40hex LF user LF seconds offset[ extra] LF`, files one a line, an empty line, the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changeset {
    /// The manifest; null when the changeset tracks no file.
    pub manifest: Node,
    /// Who made it.
    pub user: Vec<u8>,
    /// When, in seconds since 1970.
    pub time: i64,
    /// Seconds west of UTC.
    pub offset: i32,
    /// Keys and values in the order of the text, unescaped. `branch` is left out for branch `default`.
    pub extra: Extra,
    /// Files that it touched.
    pub files: Vec<Vec<u8>>,
    /// What it says.
    pub description: Vec<u8>,
}

impl Changeset {
    /// Parses a text; strict, since both stores and clients bring them.
    pub fn parse(text: &[u8]) -> Result<Changeset, ChangesetError> {
        let head = Head::split(text)?;
        let (time, offset, extra) = split_date(head.date)?;
        let mut rest = head.rest;
        let mut files = Vec::new();
        loop {
            let (line, tail) = split_line(rest).ok_or(ChangesetError { what: "without description" })?;
            rest = tail;
            if line.is_empty() {
                break;
            }
            files.push(line.to_vec());
        }
        Ok(Changeset {
            manifest: head.manifest,
            user: head.user.to_vec(),
            time,
            offset,
            extra: parse_extra(extra)?,
            files,
            description: rest.to_vec(),
        })
    }

    /// The value of an extra key.
    pub fn extra_value(&self, key: &[u8]) -> Option<&[u8]> {
        self.extra.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }

    /// The named branch that it is on.
    pub fn branch(&self) -> &[u8] {
        self.extra_value(b"branch").unwrap_or(b"default")
    }

    /// Whether it closes its branch's head.
    pub fn closes_branch(&self) -> bool {
        self.extra_value(b"close").is_some()
    }
}

/// The branch that a changeset is on, and whether it closes it, without parsing the rest of the text.
pub(crate) fn branch_of(text: &[u8]) -> Result<(Option<Vec<u8>>, bool), ChangesetError> {
    let (_, _, extra) = split_date(Head::split(text)?.date)?;
    if extra.is_empty() {
        return Ok((None, false));
    }
    let (mut branch, mut closes) = (None, false);
    for (key, value) in parse_extra(extra)? {
        match key.as_slice() {
            b"branch" => branch = Some(value),
            b"close" => closes = true,
            _ => {}
        }
    }
    Ok((branch.filter(|name| name != b"default"), closes))
}

/// The same of a changeset in the changelog, whose hash is not checked.
pub(crate) fn stored_branch_of(changelog: &Revlog, revision: Revision) -> Result<(Option<Vec<u8>>, bool), StoreError> {
    branch_of(&changelog.text_unchecked(revision)?)
        .map_err(|error| StoreError::corrupt(changelog.path(), format!("revision {revision}: {error}")))
}

/// The first three lines.
struct Head<'a> {
    manifest: Node,
    user: &'a [u8],
    date: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn split(text: &'a [u8]) -> Result<Head<'a>, ChangesetError> {
        let short = ChangesetError { what: "ends within its first three lines" };
        let (manifest, rest) = split_line(text).ok_or(short.clone())?;
        let manifest = Node::from_hex(manifest).ok_or(ChangesetError { what: "without a manifest" })?;
        let (user, rest) = split_line(rest).ok_or(short.clone())?;
        let (date, rest) = split_line(rest).ok_or(short)?;
        Ok(Head { manifest, user, date, rest })
    }
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// Seconds, seconds west of UTC, and the extra, still escaped.
fn split_date(line: &[u8]) -> Result<(i64, i32, &[u8]), ChangesetError> {
    let bad = || ChangesetError { what: "with a date that is none" };
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let time = parts.next().and_then(parse_seconds).ok_or_else(bad)?;
    let offset = parts.next().and_then(parse_seconds).ok_or_else(bad)?;
    let offset = i32::try_from(offset).map_err(|_| bad())?;
    Ok((time, offset, parts.next().unwrap_or_default()))
}

/// A whole number; a fraction, which very old changesets have, is dropped.
fn parse_seconds(digits: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    whole.parse().ok()
}

/// Items `key:value`, each escaped, with NUL between them.
fn parse_extra(extra: &[u8]) -> Result<Extra, ChangesetError> {
    let items = extra.split(|byte| *byte == 0).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let item = unescape(item);
            let colon = memchr::memchr(b':', &item).ok_or(ChangesetError { what: "with an extra that is none" })?;
            Ok((item[..colon].to_vec(), item[colon + 1..].to_vec()))
        })
        .collect()
}

/// Undoes `\\`, `\n`, `\r` and `\0`; another escape stays as it is.
fn unescape(item: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(item.len());
    let mut bytes = item.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => plain.push(b'\\'),
            Some(b'n') => plain.push(b'\n'),
            Some(b'r') => plain.push(b'\r'),
            Some(b'0') => plain.push(0),
            Some(other) => plain.extend([b'\\', other]),
            None => plain.push(b'\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(rest: &[u8]) -> Result<Changeset, ChangesetError> {
        Changeset::parse(&[HEX.as_bytes(), b"\n", rest].concat())
    }

    #[test]
    fn all_parts() {
        let text = b"A <a@b>\n1700000000 -3600 branch:a\\\\b\\nc\0close:1\0x:y:\\0\na b\nc\n\ntwo\n\nlines";
        let changeset = parse(text).expect("parsed");
        assert_eq!(changeset.manifest.to_string(), HEX);
        assert_eq!(changeset.user, b"A <a@b>");
        assert_eq!((changeset.time, changeset.offset), (1_700_000_000, -3600));
        assert_eq!(changeset.branch(), b"a\\b\nc");
        assert!(changeset.closes_branch());
        assert_eq!(changeset.extra_value(b"x"), Some(b"y:\0".as_slice()));
        assert_eq!(changeset.files, [b"a b".as_slice(), b"c"]);
        assert_eq!(changeset.description, b"two\n\nlines");
        let text = [HEX.as_bytes(), b"\n", text].concat();
        assert_eq!(branch_of(&text), Ok((Some(b"a\\b\nc".to_vec()), true)));
    }

    #[test]
    fn no_files_no_extra() {
        let changeset = parse(b"u\n0 0\n\n").expect("parsed");
        assert_eq!((changeset.branch(), changeset.closes_branch()), (b"default".as_slice(), false));
        assert!(changeset.files.is_empty() && changeset.description.is_empty());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "u\n",
            "u\n0\n\n",
            "u\nx 0\n\n",
            "u\n0 x\n\n",
            "u\n9223372036854775808 0\n\n",
            "u\n0 0 x\n\n",
            "u\n0 0\nfile",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Changeset::parse(b"12\nu\n0 0\n\n").is_err());
    }
}
