//! Which files one manifest has otherwise than another.

use memchr::{memchr, memrchr};

use super::FileEntry;
use crate::Node;
use crate::manifest::Flag;

/// A stretch of a text that replaces a stretch of another: where each begins and ends.
pub(crate) type Stretches = ((usize, usize), (usize, usize));

/// One path that differs: what the old manifest has there, and the new one.
pub(crate) type Compared<'a> = (&'a [u8], Option<FileEntry>, Option<FileEntry>);

/// The differences between two manifests that were checked, in the order of paths.
pub(crate) fn whole_changes<'a>(old: &'a [u8], new: &'a [u8], each: &mut dyn FnMut(Compared<'a>)) {
    let (mut old, mut new) = (old, new);
    loop {
        let same = line_start(new, common_bytes(old, new));
        (old, new) = (&old[same..], &new[same..]);
        match (path_of(old), path_of(new)) {
            (None, None) => return,
            (Some(path), None) => each((path, entry(take_line(&mut old)), None)),
            (None, Some(path)) => each((path, None, entry(take_line(&mut new)))),
            (Some(before), Some(now)) => match before.cmp(now) {
                std::cmp::Ordering::Less => each((before, entry(take_line(&mut old)), None)),
                std::cmp::Ordering::Greater => each((now, None, entry(take_line(&mut new)))),
                std::cmp::Ordering::Equal => {
                    let (before, after) = (entry(take_line(&mut old)), entry(take_line(&mut new)));
                    if before != after {
                        each((now, before, after));
                    }
                }
            },
        }
    }
}

/// The same where these stretches, in order, are known to be all that differs.
pub(crate) fn stretched_changes<'a>(
    old: &'a [u8],
    new: &'a [u8],
    stretches: impl Iterator<Item = Stretches>,
    each: &mut dyn FnMut(Compared<'a>),
) {
    let mut open: Option<Stretches> = None;
    for (old_stretch, new_stretch) in stretches {
        let begins = (line_start(old, old_stretch.0), line_start(new, new_stretch.0));
        let at_lines = is_line_start(old, old_stretch.1) && is_line_start(new, new_stretch.1);
        let ends = match at_lines {
            true => (old_stretch.1, new_stretch.1),
            false => (line_end(old, old_stretch.1), line_end(new, new_stretch.1)),
        };
        open = Some(match open {
            // Both touch the same line, or one follows the other at once: then the first may bring a line that the second takes away.
            Some((old_range, new_range)) if begins.0 <= old_range.1 || begins.1 <= new_range.1 => {
                ((old_range.0, ends.0.max(old_range.1)), (new_range.0, ends.1.max(new_range.1)))
            }
            Some((old_range, new_range)) => {
                whole_changes(&old[old_range.0..old_range.1], &new[new_range.0..new_range.1], each);
                ((begins.0, ends.0), (begins.1, ends.1))
            }
            None => ((begins.0, ends.0), (begins.1, ends.1)),
        });
    }
    if let Some((old_range, new_range)) = open {
        whole_changes(&old[old_range.0..old_range.1], &new[new_range.0..new_range.1], each);
    }
}

/// How many bytes two texts have in common from their start on.
fn common_bytes(one: &[u8], other: &[u8]) -> usize {
    // Large blocks are compared faster, and small ones say where.
    let mut same = 0;
    for block in [4096, 64, 1] {
        let (one, other) = (one[same..].chunks_exact(block), other[same..].chunks_exact(block));
        same += one.zip(other).take_while(|(a, b)| a == b).count() * block;
    }
    same
}

fn is_line_start(text: &[u8], at: usize) -> bool {
    at == 0 || text[at - 1] == b'\n'
}

fn line_start(text: &[u8], at: usize) -> usize {
    memrchr(b'\n', &text[..at]).map_or(0, |lf| lf + 1)
}

fn line_end(text: &[u8], at: usize) -> usize {
    memchr(b'\n', &text[at..]).map_or(text.len(), |lf| at + lf + 1)
}

fn path_of(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then(|| &text[..memchr(0, text).unwrap_or(text.len())])
}

fn take_line<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let (line, rest) = text.split_at(line_end(text, 0));
    *text = rest;
    line
}

/// What a line says behind its path; `None` where it is no line of a manifest.
fn entry(line: &[u8]) -> Option<FileEntry> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (hex, flag) = line[memchr(0, line)? + 1..].split_at_checked(40)?;
    let flag = match flag {
        b"x" => Flag::Executable,
        b"l" => Flag::Link,
        b"t" => Flag::Tree,
        _ => Flag::Plain,
    };
    Some(FileEntry { node: Node::from_hex(hex)?, flag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Tree = BTreeMap<Vec<u8>, (u8, u8)>;

    fn text(tree: &Tree) -> Vec<u8> {
        let line = |(path, (digit, flag)): (&Vec<u8>, &(u8, u8))| {
            let flag: &[u8] = [&b""[..], b"x", b"l"][usize::from(flag % 3)];
            [path, &b"\0"[..], &[b'1' + digit % 3; 40], flag, b"\n"].concat()
        };
        tree.iter().flat_map(line).collect()
    }

    fn tree() -> impl Strategy<Value = Tree> {
        prop::collection::btree_map("[ab/]{1,5}".prop_map(String::into_bytes), any::<(u8, u8)>(), 0..40)
    }

    fn expected(old: &Tree, new: &Tree) -> Vec<Vec<u8>> {
        let (old, new) = (text(old), text(new));
        let lines = |text: &[u8]| -> BTreeMap<Vec<u8>, Vec<u8>> {
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            lines.map(|line| (path_of(line).expect("a path").to_vec(), line.to_vec())).collect()
        };
        let (old, new) = (lines(&old), lines(&new));
        let mut paths: Vec<Vec<u8>> = old.keys().chain(new.keys()).cloned().collect();
        paths.sort();
        paths.dedup();
        paths.retain(|path| old.get(path) != new.get(path));
        paths
    }

    proptest! {
        #[test]
        fn every_difference_is_told_once_and_nothing_else(old in tree(), new in tree(), cuts in any::<[usize; 4]>()) {
            let (before, now) = (text(&old), text(&new));
            let mut told = Vec::new();
            whole_changes(&before, &now, &mut |(path, was, is)| {
                assert_ne!(was, is);
                told.push(path.to_vec());
            });
            prop_assert_eq!(&told, &expected(&old, &new));

            // Any stretches that make the new text of the old one, whole lines or not.
            let front = common_bytes(&before, &now);
            let back = before[front..].iter().rev().zip(now[front..].iter().rev()).take_while(|(a, b)| a == b).count();
            let front = cuts[0] % (front + 1);
            let back = cuts[1] % (back + 1);
            let (old_end, new_end) = (before.len() - back, now.len() - back);
            let old_cut = front + cuts[2] % (old_end - front + 1);
            let new_cut = front + cuts[3] % (new_end - front + 1);
            let stretches = [((front, old_cut), (front, new_cut)), ((old_cut, old_end), (new_cut, new_end))];
            let mut told = Vec::new();
            stretched_changes(&before, &now, stretches.into_iter(), &mut |(path, ..)| told.push(path.to_vec()));
            prop_assert_eq!(told, expected(&old, &new));
        }
    }

    #[test]
    fn a_line_that_one_stretch_brings_and_the_next_one_takes_is_one_change() {
        let line = |path: &str, digit: &str| format!("{path}\0{}\n", digit.repeat(40));
        let (old, new) = ([line("a", "1"), line("b", "1")].concat(), [line("a", "2"), line("b", "2")].concat());
        let middle = line("a", "1").len();
        let stretches = [((0, middle), (0, new.len())), ((middle, old.len()), (new.len(), new.len()))];
        let mut told = Vec::new();
        stretched_changes(old.as_bytes(), new.as_bytes(), stretches.into_iter(), &mut |(path, was, is)| {
            told.push((path.to_vec(), was.is_some(), is.is_some()));
        });
        assert_eq!(told, [(b"a".to_vec(), true, true), (b"b".to_vec(), true, true)]);
    }

    #[test]
    fn two_stretches_in_one_line_are_one_change() {
        let line = |path: &str, digit: &str| format!("{path}\0{}\n", digit.repeat(40));
        let old = [line("a", "1"), line("b", "1"), line("c", "1")].concat();
        let new = [line("a", "1"), line("B", "2"), line("c", "1")].concat();
        let at = line("a", "1").len();
        // The name's letter, and the digits, with the NUL between left alone.
        let stretches = [((at, at + 1), (at, at + 1)), ((at + 2, at + 42), (at + 2, at + 42))];
        let mut told = Vec::new();
        stretched_changes(old.as_bytes(), new.as_bytes(), stretches.into_iter(), &mut |(path, was, is)| {
            told.push((path.to_vec(), was.is_some(), is.is_some()));
        });
        assert_eq!(told, [(b"B".to_vec(), false, true), (b"b".to_vec(), true, false)]);
    }
}
