//! Making a delta, line by line.
//!
//! What both texts begin and end with is set aside. Between, lines that occur once in each text are anchors; between two
//! anchors, an edit script is looked for with bounded effort (Myers), and where it would be long, the stretch is replaced.

use std::collections::HashMap;

/// Edits up to which a script between two anchors is looked for.
const EDITS_MAX: usize = 400;

/// A delta that makes `new` from `old`, hunks at line ends. Empty when they are equal.
pub fn diff(old: &[u8], new: &[u8]) -> Vec<u8> {
    let start = common_lines_start(old, new);
    let end = common_lines_end(&old[start..], &new[start..]);
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    if start == old_end && start == new_end {
        return Vec::new();
    }
    let mut delta = Vec::new();
    if start == old_end || start == new_end {
        push_hunk(&mut delta, start, old_end, &new[start..new_end]);
        return delta;
    }
    let mut lines = Lines::of(&old[start..old_end], &new[start..new_end]);
    lines.match_all();
    let (mut at_old, mut at_new) = (start, start);
    for (old_line, matched) in lines.matches.iter().enumerate() {
        let Some(new_line) = matched else { continue };
        let (old_start, new_start) = (start + lines.old_starts[old_line], start + lines.new_starts[*new_line as usize]);
        if at_old < old_start || at_new < new_start {
            push_hunk(&mut delta, at_old, old_start, &new[at_new..new_start]);
        }
        let bytes = lines.old_starts[old_line + 1] - lines.old_starts[old_line];
        (at_old, at_new) = (old_start + bytes, new_start + bytes);
    }
    if at_old < old_end || at_new < new_end {
        push_hunk(&mut delta, at_old, old_end, &new[at_new..new_end]);
    }
    delta
}

fn push_hunk(delta: &mut Vec<u8>, start: usize, end: usize, bytes: &[u8]) {
    for field in [start, end, bytes.len()] {
        delta.extend((field as u32).to_be_bytes());
    }
    delta.extend_from_slice(bytes);
}

/// Bytes of the lines with which both begin.
fn common_lines_start(old: &[u8], new: &[u8]) -> usize {
    let same = common_bytes(old, new);
    if same == old.len() && same == new.len() {
        return same;
    }
    // A text that ends there in both senses is a whole line only after a newline.
    memchr::memrchr(b'\n', &old[..same]).map_or(0, |at| at + 1)
}

/// Bytes of the lines with which both end.
fn common_lines_end(old: &[u8], new: &[u8]) -> usize {
    let shorter = old.len().min(new.len());
    let (mut same, block) = (0, 64);
    while same + block <= shorter
        && old[old.len() - same - block..old.len() - same] == new[new.len() - same - block..new.len() - same]
    {
        same += block;
    }
    while same < shorter && old[old.len() - 1 - same] == new[new.len() - 1 - same] {
        same += 1;
    }
    // The first of the common bytes begins a line where the byte before it, in both, ends one.
    let begins = |text: &[u8]| text.len() == same || text[text.len() - same - 1] == b'\n';
    if begins(old) && begins(new) {
        return same;
    }
    let tail = &old[old.len() - same..];
    memchr::memchr(b'\n', tail).map_or(0, |at| tail.len() - at - 1)
}

fn common_bytes(old: &[u8], new: &[u8]) -> usize {
    let blocks = old.chunks_exact(64).zip(new.chunks_exact(64));
    let start = blocks.take_while(|(one, other)| one == other).count() * 64;
    let rest = old[start..].iter().zip(&new[start..]);
    start + rest.take_while(|(one, other)| one == other).count()
}

/// Both texts as numbers of lines: equal lines have equal numbers.
struct Lines {
    old: Vec<u32>,
    new: Vec<u32>,
    /// Where each line starts, and where the last one ends.
    old_starts: Vec<usize>,
    new_starts: Vec<usize>,
    /// For each old line the new one that it became, in rising order.
    matches: Vec<Option<u32>>,
    kinds: usize,
}

impl Lines {
    fn of(old: &[u8], new: &[u8]) -> Lines {
        let mut kinds: HashMap<&[u8], u32> = HashMap::new();
        let mut number = |line| {
            let next = kinds.len() as u32;
            *kinds.entry(line).or_insert(next)
        };
        let (mut old_lines, mut old_starts) = (Vec::new(), vec![0]);
        for line in split_lines(old) {
            old_lines.push(number(line));
            old_starts.push(old_starts[old_starts.len() - 1] + line.len());
        }
        let (mut new_lines, mut new_starts) = (Vec::new(), vec![0]);
        for line in split_lines(new) {
            new_lines.push(number(line));
            new_starts.push(new_starts[new_starts.len() - 1] + line.len());
        }
        let kinds = kinds.len();
        let matches = vec![None; old_lines.len()];
        Lines { old: old_lines, new: new_lines, old_starts, new_starts, matches, kinds }
    }

    fn match_all(&mut self) {
        let (mut old_at, mut new_at) = (0, 0);
        for (old, new) in self.anchors() {
            self.match_between(old_at..old, new_at..new);
            self.matches[old] = Some(new as u32);
            (old_at, new_at) = (old + 1, new + 1);
        }
        self.match_between(old_at..self.old.len(), new_at..self.new.len());
    }

    /// Lines that occur once in each text, as many as rise in both.
    fn anchors(&self) -> Vec<(usize, usize)> {
        const NONE: u32 = u32::MAX;
        const MANY: u32 = u32::MAX - 1;
        let places = |lines: &[u32]| {
            let mut places = vec![NONE; self.kinds];
            for (at, kind) in lines.iter().enumerate() {
                let place = &mut places[*kind as usize];
                *place = if *place == NONE { at as u32 } else { MANY };
            }
            places
        };
        let (in_old, in_new) = (places(&self.old), places(&self.new));
        let mut pairs: Vec<(u32, u32)> =
            in_old.into_iter().zip(in_new).filter(|(old, new)| *old < MANY && *new < MANY).collect();
        pairs.sort_unstable();
        longest_rising(&pairs)
    }

    /// Matches what can be matched between two anchors.
    fn match_between(&mut self, old: std::ops::Range<usize>, new: std::ops::Range<usize>) {
        let (mut old, mut new) = (old, new);
        while !old.is_empty() && !new.is_empty() && self.old[old.start] == self.new[new.start] {
            self.matches[old.start] = Some(new.start as u32);
            old.start += 1;
            new.start += 1;
        }
        while !old.is_empty() && !new.is_empty() && self.old[old.end - 1] == self.new[new.end - 1] {
            old.end -= 1;
            new.end -= 1;
            self.matches[old.end] = Some(new.end as u32);
        }
        if old.is_empty() || new.is_empty() {
            return;
        }
        let (from, onto) = (&self.old[old.clone()], &self.new[new.clone()]);
        for (one, other) in shortest_script(from, onto) {
            self.matches[old.start + one] = Some((new.start + other) as u32);
        }
    }
}

fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, tail) = rest.split_at(end);
        rest = tail;
        Some(line)
    })
}

/// Of pairs sorted by their first number the longest choice whose second numbers rise.
fn longest_rising(pairs: &[(u32, u32)]) -> Vec<(usize, usize)> {
    // For each length the pair that ends a choice of it lowest, and for each pair the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, (_, new)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].1 < *new);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut chosen = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(at) = next {
        chosen.push((pairs[at].0 as usize, pairs[at].1 as usize));
        next = before[at];
    }
    chosen.reverse();
    chosen
}

/// Equal lines of a shortest edit script, as places in both, or as many as were found within the bound of edits.
fn shortest_script(old: &[u32], new: &[u32]) -> Vec<(usize, usize)> {
    let bound = EDITS_MAX.min(old.len() + new.len());
    let (old_len, new_len) = (old.len() as isize, new.len() as isize);
    let width = 2 * bound + 3;
    let middle = bound as isize + 1;
    // For each diagonal the furthest place in `old`; one row is kept for each number of edits, to walk back on.
    let mut furthest = vec![0_isize; width];
    let mut rows: Vec<Vec<isize>> = Vec::new();
    let mut reached = None;
    'edits: for edits in 0..=bound as isize {
        let low = (middle - edits - 1) as usize;
        rows.push(furthest[low..=(middle + edits + 1) as usize].to_vec());
        for diagonal in (-edits..=edits).step_by(2) {
            let at = (middle + diagonal) as usize;
            let down = diagonal == -edits || (diagonal != edits && furthest[at - 1] < furthest[at + 1]);
            let mut x = if down { furthest[at + 1] } else { furthest[at - 1] + 1 };
            let mut y = x - diagonal;
            while x < old_len && y < new_len && x >= 0 && y >= 0 && old[x as usize] == new[y as usize] {
                x += 1;
                y += 1;
            }
            furthest[at] = x;
            if x >= old_len && y >= new_len {
                reached = Some(edits);
                break 'edits;
            }
        }
    }
    let Some(edits) = reached else { return Vec::new() };
    let mut pairs = Vec::new();
    let (mut x, mut y) = (old_len, new_len);
    for edits in (0..=edits).rev() {
        // The row before this number of edits covers diagonals -edits-1 to edits+1.
        let row = &rows[edits as usize];
        let at = |diagonal: isize| row[(diagonal + edits + 1) as usize];
        let diagonal = x - y;
        let down = diagonal == -edits || (diagonal != edits && at(diagonal - 1) < at(diagonal + 1));
        let (start_x, start_y) = if edits == 0 {
            (0, 0)
        } else if down {
            (at(diagonal + 1), at(diagonal + 1) - diagonal)
        } else {
            (at(diagonal - 1) + 1, at(diagonal - 1) + 1 - diagonal)
        };
        while x > start_x && y > start_y {
            x -= 1;
            y -= 1;
            pairs.push((x as usize, y as usize));
        }
        if edits > 0 {
            if down { y -= 1 } else { x -= 1 }
        }
    }
    pairs.reverse();
    pairs
}
