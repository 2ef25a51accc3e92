//! Looking at what a delta changes in a manifest, and no further.
//!
//! A manifest is sorted lines `path NUL 40hex [flag] LF`. Where the base of a delta is a good manifest, the result is one if the lines
//! that the delta wrote, whole or in part, are good and stand in order between their neighbours. So a revision costs what it
//! changes, not what the whole manifest would.

use memchr::{memchr, memrchr};

use crate::Node;

/// A stretch of a text that replaces a stretch of its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// What is replaced in the base.
    pub(super) old: (usize, usize),
    /// By what in the new text.
    pub(super) new: (usize, usize),
}

/// The stretches of a delta that [`crate::delta::apply`] has taken.
pub(super) fn stretches(delta: &[u8]) -> impl Iterator<Item = Stretch> + '_ {
    let mut rest = delta;
    let mut shift = 0i64;
    std::iter::from_fn(move || {
        let (header, tail) = rest.split_at_checked(12)?;
        let number = |at: usize| header[at..at + 4].iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
        let (start, end, length) = (number(0), number(4), number(8));
        rest = tail.get(length..).unwrap_or_default();
        let new_start = (start as i64 + shift) as usize;
        shift += length as i64 - (end as i64 - start as i64);
        Some(Stretch { old: (start, end), new: (new_start, new_start + length) })
    })
}

/// Which lines a manifest may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Paths of files.
    Flat,
    /// Names of files, and of folders that have a manifest of their own.
    Tree,
}

/// One line, split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// A file's path, or in trees the name of a file or a folder.
    pub(super) path: &'a [u8],
    /// A file revision, or a folder's manifest.
    pub(super) node: Node,
    pub(super) is_folder: bool,
}

/// Splits a line that lacks its LF.
fn split(line: &[u8], format: Format) -> Result<Line<'_>, &'static str> {
    let nul = memchr(0, line).ok_or("line without NUL")?;
    let (path, rest) = (&line[..nul], &line[nul + 1..]);
    if path.is_empty() {
        return Err("empty name");
    }
    let (hex, flag) = rest.split_at_checked(40).ok_or("short hash")?;
    let is_folder = match (flag, format) {
        (b"" | b"x" | b"l", _) => false,
        (b"t", Format::Tree) => true,
        _ => return Err("unknown flag"),
    };
    if hex.iter().any(u8::is_ascii_uppercase) {
        return Err("hash in upper case");
    }
    let node = Node::from_hex(hex).ok_or("hash that is none")?;
    if node.is_null() {
        return Err(if is_folder { "null manifest of a folder" } else { "null file revision" });
    }
    Ok(Line { path, node, is_folder })
}

/// Where the line with the byte at `at` begins.
fn line_start(text: &[u8], at: usize) -> usize {
    memrchr(b'\n', &text[..at]).map_or(0, |lf| lf + 1)
}

/// Where the line with the byte at `at` ends, its LF included.
fn line_end(text: &[u8], at: usize) -> Result<usize, &'static str> {
    if at == text.len() {
        return Ok(at);
    }
    memchr(b'\n', &text[at..]).map(|lf| at + lf + 1).ok_or("no newline at the end")
}

/// Checks `new`, which differs from the good manifest `base` in these stretches, and hands on the lines that are new or changed. A
/// line that stands in the same stretch of the base as well is not handed on.
pub(super) fn check<E>(
    base: &[u8],
    new: &[u8],
    format: Format,
    stretches: impl Iterator<Item = Stretch>,
    mut changed: impl FnMut(Line<'_>) -> Result<(), E>,
) -> Result<Result<(), E>, &'static str> {
    for stretch in stretches {
        // Whole lines in the new text: all that the stretch wrote to, and the one into which its end runs.
        let begin = line_start(new, stretch.new.0);
        let end = if stretch.new.1 > begin && new[stretch.new.1 - 1] == b'\n' {
            stretch.new.1
        } else {
            line_end(new, stretch.new.1)?
        };
        // The same in the base, for the lines to leave out.
        let old_begin = line_start(base, stretch.old.0);
        let old_end = line_end(base, stretch.old.1).unwrap_or(base.len());
        let mut old = &base[old_begin..old_end.max(old_begin)];

        let mut above = match begin {
            0 => None,
            _ => Some(split(&new[line_start(new, begin - 1)..begin - 1], format)?.path),
        };
        let mut at = begin;
        while at < end {
            let next = line_end(new, at)?;
            let line = split(&new[at..next - 1], format)?;
            if above.is_some_and(|above| above >= line.path) {
                return Err("lines out of order");
            }
            above = Some(line.path);
            if !skip_to(&mut old, &new[at..next], line.path)
                && let Err(error) = changed(line)
            {
                return Ok(Err(error));
            }
            at = next;
        }
        if end < new.len() {
            let below = split(&new[end..line_end(new, end)? - 1], format)?;
            if above.is_some_and(|above| above >= below.path) {
                return Err("lines out of order");
            }
        }
    }
    Ok(Ok(()))
}

/// Moves `old` past the lines up to `path`; whether one of them is exactly `line`.
fn skip_to(old: &mut &[u8], line: &[u8], path: &[u8]) -> bool {
    while !old.is_empty() {
        if old.starts_with(line) {
            *old = &old[line.len()..];
            return true;
        }
        let next = memchr(b'\n', old).map_or(old.len(), |lf| lf + 1);
        let old_path = &old[..memchr(0, &old[..next]).unwrap_or(next)];
        if old_path > path {
            return false;
        }
        *old = &old[next..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(path: &str, digit: char, flag: &str) -> String {
        format!("{path}\0{}{flag}\n", digit.to_string().repeat(40))
    }

    fn delta(hunks: &[(usize, usize, &[u8])]) -> Vec<u8> {
        let mut delta = Vec::new();
        for (start, end, bytes) in hunks {
            for number in [*start, *end, bytes.len()] {
                delta.extend_from_slice(&(number as u32).to_be_bytes());
            }
            delta.extend_from_slice(bytes);
        }
        delta
    }

    fn run(base: &[u8], hunks: &[(usize, usize, &[u8])]) -> Result<Vec<String>, &'static str> {
        let delta = delta(hunks);
        let mut new = Vec::new();
        let mut at = 0;
        for (start, end, bytes) in hunks {
            new.extend_from_slice(&base[at..*start]);
            new.extend_from_slice(bytes);
            at = *end;
        }
        new.extend_from_slice(&base[at..]);
        let mut seen = Vec::new();
        check(base, &new, Format::Flat, stretches(&delta), |line| {
            seen.push(format!("{} {}", line.path.escape_ascii(), &line.node.to_string()[..1]));
            Ok::<(), ()>(())
        })?
        .expect("nothing refuses");
        Ok(seen)
    }

    fn base() -> Vec<u8> {
        [line("a", '1', ""), line("c", '2', "x"), line("e", '3', "l")].concat().into_bytes()
    }

    #[test]
    fn changed_added_and_removed_lines_are_seen() {
        let base = base();
        assert_eq!(run(b"", &[(0, 0, &base)]), Ok(vec!["a 1".into(), "c 2".into(), "e 3".into()]));
        assert_eq!(run(&base, &[(43, 87, line("c", '4', "").as_bytes())]), Ok(vec!["c 4".into()]));
        assert_eq!(run(&base, &[(43, 43, line("b", '4', "").as_bytes())]), Ok(vec!["b 4".into()]));
        assert_eq!(run(&base, &[(43, 87, b"")]), Ok(vec![]));
        assert_eq!(run(&base, &[(0, base.len(), b"")]), Ok(vec![]));
        // Only a flag, only a digit, in the middle of a line.
        assert_eq!(run(&base, &[(42, 42, b"x")]), Ok(vec!["a 1".into()]));
        assert_eq!(run(&base, &[(45, 85, &[b'7'; 40])]), Ok(vec!["c 7".into()]));
    }

    #[test]
    fn lines_that_the_base_has_are_left_out() {
        let base = base();
        let new = [line("a", '1', ""), line("c", '5', "x"), line("e", '3', "l"), line("f", '6', "")].concat();
        assert_eq!(run(&base, &[(0, base.len(), new.as_bytes())]), Ok(vec!["c 5".into(), "f 6".into()]));
    }

    #[test]
    fn malformed_lines_are_refused_where_the_delta_wrote() {
        let base = base();
        for (start, end, bytes) in [
            (43, 43, line("d", '4', "").into_bytes()),
            (43, 43, line("a", '4', "").into_bytes()),
            (87, 87, line("b", '4', "").into_bytes()),
            (0, 0, line("b", '4', "").into_bytes()),
            (43, 43, line("b", '4', "t").into_bytes()),
            (43, 43, line("b", '4', "xl").into_bytes()),
            (43, 43, line("b", 'A', "").into_bytes()),
            (43, 43, line("b", 'g', "").into_bytes()),
            (43, 43, line("b", '0', "").into_bytes()),
            (43, 43, line("", '4', "").into_bytes()),
            (43, 43, b"b\n".to_vec()),
            (43, 43, b"\n".to_vec()),
            (43, 43, b"b\x004\n".to_vec()),
            (43, 43, b"f".to_vec()),
            (base.len() - 1, base.len(), b"".to_vec()),
            (base.len(), base.len(), b"x".to_vec()),
            (42, 43, b"".to_vec()),
            (1, 2, b"".to_vec()),
        ] {
            assert!(run(&base, &[(start, end, &bytes)]).is_err(), "{start} {end} {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn folders_are_told_from_files() {
        let run = |text: &str, format| {
            let whole = Stretch { old: (0, 0), new: (0, text.len()) };
            let mut folders = Vec::new();
            check(b"", text.as_bytes(), format, std::iter::once(whole), |line| {
                folders.push(line.is_folder);
                Ok::<(), ()>(())
            })
            .map(|_| folders)
        };
        assert_eq!(run(&(line("a", '1', "t") + &line("a-b", '2', "x")), Format::Tree), Ok(vec![true, false]));
        assert_eq!(run(&line("a", '1', "t"), Format::Flat), Err("unknown flag"));
        assert_eq!(run(&line("a", '0', "t"), Format::Tree), Err("null manifest of a folder"));
        assert_eq!(run(&(line("b", '1', "t") + &line("a", '2', "")), Format::Tree), Err("lines out of order"));
    }

    /// A good manifest of some of eight files.
    fn manifest() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::btree_map(
            "[a-d]{1,2}",
            (prop::sample::select(vec!['1', '2', '3']), prop::sample::select(vec!["", "x", "l"])),
            0..8,
        )
        .prop_map(|files| {
            files.iter().map(|(path, (digit, flag))| line(path, *digit, flag)).collect::<String>().into_bytes()
        })
    }

    fn well_formed(text: &[u8]) -> bool {
        if !text.is_empty() && text.last() != Some(&b'\n') {
            return false;
        }
        let lines: Result<Vec<Line<'_>>, _> =
            text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| split(l, Format::Flat)).collect();
        let empty = text.windows(2).any(|pair| pair == b"\n\n") || text.first() == Some(&b'\n');
        !empty && lines.is_ok_and(|lines| lines.windows(2).all(|pair| pair[0].path < pair[1].path))
    }

    proptest! {
        /// Whatever a delta does to a good manifest, looking at its surroundings gives the verdict that looking at all would.
        #[test]
        fn verdict_is_that_of_the_whole_text(
            base in manifest(),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
                manifest(),
                manifest().prop_map(|m| m[..m.len() / 2].to_vec()),
                Just(b"".to_vec()), Just(b"\n".to_vec()), Just(b"x".to_vec()), Just(b"a\0".to_vec())
            ]), 1..3),
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 2),
            aligned in any::<bool>(),
        ) {
            let mut points: Vec<usize> = cuts.iter().map(|(at, _)| at).chain(&ends)
                .map(|at| at.index(base.len() + 1))
                .map(|at| if aligned { line_start(&base, at) } else { at })
                .collect();
            points.sort_unstable();
            let hunks: Vec<(usize, usize, &[u8])> = cuts.iter().enumerate().filter_map(|(n, (_, bytes))| {
                Some((*points.get(2 * n)?, *points.get(2 * n + 1)?, bytes.as_slice()))
            }).collect();
            let mut new = Vec::new();
            let mut at = 0;
            for (start, end, bytes) in &hunks {
                new.extend_from_slice(&base[at..*start]);
                new.extend_from_slice(bytes);
                at = *end;
            }
            new.extend_from_slice(&base[at..]);
            prop_assert_eq!(run(&base, &hunks).is_ok(), well_formed(&new), "{}", new.escape_ascii());
        }
    }
}
