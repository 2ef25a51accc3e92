//! The text of a manifest: sorted lines `path NUL 40hex [flag] LF`.

use crate::Node;

/// A manifest's text is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest {what}")]
pub struct ManifestError {
    what: &'static str,
}

/// What a tracked file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// An ordinary file.
    Plain,
    /// An executable file, `x`.
    Executable,
    /// A symbolic link, `l`.
    Link,
    /// No file but a folder, `t`: the node is that of a manifest of its own. Only with `treemanifest`.
    Tree,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestLine<'a> {
    /// The tracked file.
    pub path: &'a [u8],
    /// Its revision.
    pub node: Node,
    /// What it is.
    pub flag: Flag,
}

impl<'a> ManifestLine<'a> {
    /// Parses one line, without its end.
    pub fn parse(line: &'a [u8]) -> Result<ManifestLine<'a>, ManifestError> {
        let end = memchr::memchr(0, line).ok_or(ManifestError { what: "line without a node" })?;
        let (path, rest) = (&line[..end], &line[end + 1..]);
        if path.is_empty() {
            return Err(ManifestError { what: "line without a path" });
        }
        let (hex, flag) = rest.split_at_checked(40).ok_or(ManifestError { what: "line with a short node" })?;
        let node = Node::from_hex(hex).ok_or(ManifestError { what: "line with a node that is none" })?;
        let flag = match flag {
            b"" => Flag::Plain,
            b"x" => Flag::Executable,
            b"l" => Flag::Link,
            b"t" => Flag::Tree,
            _ => return Err(ManifestError { what: "line with an unknown flag" }),
        };
        Ok(ManifestLine { path, node, flag })
    }
}

/// The lines in order. Order is checked: a line that isn't above the one before is an error. Ends after an error.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Result<ManifestLine<'_>, ManifestError>> {
    let mut rest = text;
    let mut last: &[u8] = b"";
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line = split_line(rest).and_then(|(line, tail)| {
            let line = ManifestLine::parse(line)?;
            if line.path <= last {
                return Err(ManifestError { what: "lines out of order" });
            }
            Ok((line, tail))
        });
        match &line {
            Ok((line, tail)) => {
                last = line.path;
                rest = tail;
            }
            Err(_) => rest = b"",
        }
        Some(line.map(|(line, _)| line))
    })
}

fn split_line(text: &[u8]) -> Result<(&[u8], &[u8]), ManifestError> {
    let end = memchr::memchr(b'\n', text).ok_or(ManifestError { what: "line without an end" })?;
    Ok((&text[..end], &text[end + 1..]))
}

/// The line of one path, by binary search.
pub fn find<'a>(text: &'a [u8], path: &[u8]) -> Result<Option<ManifestLine<'a>>, ManifestError> {
    // Both are starts of lines.
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memchr::memrchr(b'\n', &text[low..middle]).map_or(low, |at| low + at + 1);
        let (line, _) = split_line(&text[start..])?;
        let end = start + line.len() + 1;
        let line = ManifestLine::parse(line)?;
        match line.path.cmp(path) {
            std::cmp::Ordering::Equal => return Ok(Some(line)),
            std::cmp::Ordering::Less => low = end,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn every_line_is_found() {
        let names = ["a", "a.b", "a/b", "b", "long/name/with/parts", "z"];
        let text: String = names.iter().map(|name| format!("{name}\0{HEX}x\n")).collect();
        let listed = lines(text.as_bytes()).collect::<Result<Vec<_>, _>>().expect("parsed");
        assert_eq!(listed.len(), names.len());
        for (name, line) in names.iter().zip(listed) {
            assert_eq!(line.flag, Flag::Executable);
            assert_eq!(find(text.as_bytes(), name.as_bytes()), Ok(Some(line)));
        }
        for absent in ["", "A", "a/a", "zz", "long/name"] {
            assert_eq!(find(text.as_bytes(), absent.as_bytes()), Ok(None), "{absent}");
        }
        assert_eq!(find(b"", b"a"), Ok(None));
    }

    #[test]
    fn other_texts_are_refused() {
        let short = &HEX[1..];
        for text in [
            format!("b\0{HEX}\na\0{HEX}\n"),
            format!("a\0{HEX}\na\0{HEX}\n"),
            format!("a\0{HEX}"),
            format!("a\0{HEX}z\n"),
            format!("a\0{HEX}xx\n"),
            format!("a\0{short}\n"),
            format!("a\0{short}g\n"),
            format!("\0{HEX}\n"),
            "a\n".to_owned(),
        ] {
            assert!(lines(text.as_bytes()).any(|line| line.is_err()), "{text:?}");
        }
    }
}
