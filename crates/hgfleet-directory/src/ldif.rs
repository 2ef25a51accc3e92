//! LDIF (RFC 2849), as much of it as a file of accounts needs.
//!
//! Taken: `version: 1`, entries of `dn:` and attributes, values in base64 (`::`), lines that go on (one leading blank), comments,
//! CRLF. Refused by name: values from URLs (`:<`), changes (`changetype:`), attribute options in place of a name that is known.
//! Every entry remembers the lines it came from, so that one line can be edited and all others stay as a person wrote them.

use std::ops::Range;

use crate::public_key::decode_base64;

/// Largest file, bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 20;
const VALUE_BYTES_MAX: usize = 64 << 10;
const ENTRIES_MAX: usize = 100_000;
const ATTRIBUTES_MAX: usize = 10_000;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdifEntry {
    /// Its distinguished name, as written.
    pub dn: String,
    /// Number of its first line, from 1.
    pub line: usize,
    pub(crate) attributes: Vec<Attribute>,
    /// Index after its last line, among all lines, from 0.
    pub(crate) end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// In small letters: names of attributes have no case.
    pub name: String,
    pub value: Vec<u8>,
    /// Indexes of its lines, from 0.
    pub lines: Range<usize>,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct LdifError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub kind: LdifErrorKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LdifErrorKind {
    /// Anything about the syntax.
    #[error("{0}")]
    Syntax(&'static str),
    /// Two entries for one mail address.
    #[error("a second entry for {mail}; the first is on line {first}")]
    SecondEntry {
        /// The address.
        mail: String,
        /// Line of the first entry.
        first: usize,
    },
    /// An entry whose mail is none.
    #[error("{0}")]
    Mail(#[from] crate::MailError),
}

impl LdifEntry {
    /// Values of an attribute, in order. `name` in small letters.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.attributes
            .iter()
            .filter(move |attribute| attribute.name == name)
            .map(|attribute| attribute.value.as_slice())
    }
}

/// Splits a file into its lines, line ends included.
pub(crate) fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Parses a whole file.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<LdifEntry>, LdifError> {
    let lines = lines(text);
    let mut entries: Vec<LdifEntry> = Vec::new();
    let mut open = false;
    let mut index = 0;
    while index < lines.len() {
        let start = index;
        let at = |what| LdifError { line: start + 1, kind: LdifErrorKind::Syntax(what) };
        let mut logical = strip_end(lines[index]).to_vec();
        index += 1;
        while !logical.is_empty() && index < lines.len() && lines[index].first() == Some(&b' ') {
            logical.extend_from_slice(&strip_end(lines[index])[1..]);
            index += 1;
            if logical.len() > VALUE_BYTES_MAX * 2 {
                return Err(at("the line is too long"));
            }
        }
        if logical.is_empty() {
            open = false;
            continue;
        }
        if logical.first() == Some(&b'#') {
            continue;
        }
        if logical.first() == Some(&b' ') {
            return Err(at("a line that goes on, but nothing before it"));
        }
        if logical.len() > VALUE_BYTES_MAX * 2 {
            return Err(at("the line is too long"));
        }
        let (name, value) = split_attribute(&logical).map_err(at)?;
        if !open {
            if name == "version" && entries.is_empty() {
                if value != b"1" {
                    return Err(at("only version 1 of LDIF is known"));
                }
                continue;
            }
            if name != "dn" {
                return Err(at("an entry must begin with \"dn:\""));
            }
            if entries.len() >= ENTRIES_MAX {
                return Err(at("more than 100000 entries"));
            }
            let dn = String::from_utf8(value).map_err(|_| at("the name is not UTF-8"))?;
            entries.push(LdifEntry { dn, line: start + 1, attributes: Vec::new(), end: index });
            open = true;
            continue;
        }
        match name.as_str() {
            "dn" => {
                return Err(at("a second \"dn:\" in one entry; put an empty line between entries"));
            }
            "changetype" | "control" => {
                return Err(at("changes are not allowed here, only entries"));
            }
            _ => {}
        }
        if let Some(entry) = entries.last_mut() {
            if entry.attributes.len() >= ATTRIBUTES_MAX {
                return Err(at("more than 10000 attributes in one entry"));
            }
            entry.attributes.push(Attribute { name, value, lines: start..index });
            entry.end = index;
        }
    }
    Ok(entries)
}

fn strip_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_attribute(line: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("no \":\" on the line")?;
    let (name, rest) = (&line[..colon], &line[colon + 1..]);
    let valid = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if !valid {
        return Err("what stands before the \":\" is no attribute's name");
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = match rest.first() {
        Some(b':') => decode_base64(trim_blanks(&rest[1..])).ok_or("the value after \"::\" is no base64")?,
        Some(b'<') => return Err("values from URLs (\":<\") are not allowed"),
        _ => {
            // RFC 2849 allows leading blanks and drops them; trailing ones belong to the value.
            let value = &rest[rest.iter().take_while(|byte| **byte == b' ').count()..];
            if value.iter().any(|byte| *byte == 0 || *byte >= 0x80 || *byte == b'\r') {
                return Err("the value must be written in base64 (\"::\")");
            }
            value.to_vec()
        }
    };
    if value.len() > VALUE_BYTES_MAX {
        return Err("the value is longer than 64 KiB");
    }
    Ok((name, value))
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_names_values_and_lines() {
        let text = b"version: 1\n# a comment\n that goes on\n\ndn: mail=a@b,dc=x\r\nMail: a@b\nsn:: w6k=\ncn: long\n  er\n\n\ndn:: bWFpbD1j\nmail:c@d";
        let entries = parse(text).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].dn, "mail=a@b,dc=x");
        assert_eq!(entries[0].line, 5);
        assert_eq!(entries[0].values("mail").collect::<Vec<_>>(), [b"a@b"]);
        assert_eq!(entries[0].values("sn").collect::<Vec<_>>(), ["é".as_bytes()]);
        assert_eq!(entries[0].values("cn").collect::<Vec<_>>(), [b"long er"]);
        assert_eq!(entries[0].attributes[2].lines, 7..9);
        assert_eq!(entries[1].dn, "mail=c");
        assert_eq!(entries[1].values("mail").collect::<Vec<_>>(), [b"c@d"]);
    }

    #[test]
    fn errors_name_the_line() {
        let long = format!("dn: x\na: {}", "y".repeat(70_000));
        for (text, line) in [
            ("mail: a@b", 1),
            ("dn: x\nmail", 2),
            ("dn: x\n: y", 2),
            ("dn: x\nmail:< file:///etc/passwd", 2),
            ("dn: x\nmail:: ***", 2),
            ("dn: x\nchangetype: delete", 2),
            ("dn: x\n\n\n goes on", 4),
            ("version: 2\ndn: x", 1),
            ("dn: x\ndn: y", 2),
            ("dn: x\nmail;binary: a", 2),
            ("dn: x\nmail: \u{e9}", 2),
            (&long, 2),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.line, line, "{text:.60?}: {error}");
        }
    }
}
