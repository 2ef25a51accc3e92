//! Applying deltas: one, or a whole chain in a single pass.

use super::DeltaError;

/// One hunk of a delta: these bytes replace `start..end` of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hunk<'a> {
    /// First byte replaced.
    pub start: usize,
    /// First byte no longer replaced.
    pub end: usize,
    /// What comes instead.
    pub bytes: &'a [u8],
}

/// The hunks of a delta, in order. Their order and bounds within the delta are checked; ends after an error.
pub fn hunks(delta: &[u8]) -> impl Iterator<Item = Result<Hunk<'_>, DeltaError>> {
    let mut rest = delta;
    let mut at = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let hunk = split_hunk(rest, at);
        match &hunk {
            Ok((hunk, tail)) => {
                rest = tail;
                at = hunk.end;
            }
            Err(_) => rest = &[],
        }
        Some(hunk.map(|(hunk, _)| hunk))
    })
}

fn split_hunk(delta: &[u8], at: usize) -> Result<(Hunk<'_>, &[u8]), DeltaError> {
    let (header, rest) = delta.split_first_chunk::<12>().ok_or(DeltaError::Cut)?;
    let field = |i: usize| u32::from_be_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let (start, end, bytes) = (field(0) as usize, field(4) as usize, field(8) as usize);
    if start < at || end < start {
        return Err(DeltaError::Order);
    }
    let (bytes, rest) = rest.split_at_checked(bytes).ok_or(DeltaError::Cut)?;
    Ok((Hunk { start, end, bytes }, rest))
}

/// Applies one delta. The result may have at most `bound` bytes.
pub fn apply(base: &[u8], delta: &[u8], bound: usize) -> Result<Vec<u8>, DeltaError> {
    let mut text = Vec::new();
    apply_into(base, delta, bound, &mut text)?;
    Ok(text)
}

/// Applies one delta; the result, at most `bound` bytes, takes the place of what `text` holds. An error leaves `text` as it is.
pub fn apply_into(base: &[u8], delta: &[u8], bound: usize, text: &mut Vec<u8>) -> Result<(), DeltaError> {
    let mut bytes = base.len();
    for hunk in hunks(delta) {
        let hunk = hunk?;
        if hunk.end > base.len() {
            return Err(DeltaError::PastEnd);
        }
        // Hunks don't overlap, so what they remove never exceeds the base.
        bytes = bytes - (hunk.end - hunk.start) + hunk.bytes.len();
    }
    if bytes > bound {
        return Err(DeltaError::TooLong { bound });
    }
    text.clear();
    text.reserve(bytes);
    let mut at = 0;
    for hunk in hunks(delta) {
        let hunk = hunk?;
        text.extend_from_slice(&base[at..hunk.start]);
        text.extend_from_slice(hunk.bytes);
        at = hunk.end;
    }
    text.extend_from_slice(&base[at..]);
    Ok(())
}

/// Applies deltas one after the other, without building the texts between. Each text may have at most `bound` bytes.
pub fn apply_chain(base: &[u8], deltas: &[&[u8]], bound: usize) -> Result<Vec<u8>, DeltaError> {
    if let [delta] = deltas {
        return apply(base, delta, bound);
    }
    // Neighbours are joined in rounds, so that a hunk is looked at once for each doubling and not once for each delta
    // that follows it. A text's length is known only from the base on; it is followed through all deltas first.
    let mut bytes = base.len();
    let mut round: Vec<Vec<Hunk<'_>>> = Vec::with_capacity(deltas.len());
    for delta in deltas {
        let list = hunks(delta).collect::<Result<Vec<_>, _>>()?;
        if list.last().is_some_and(|hunk| hunk.end > bytes) {
            return Err(DeltaError::PastEnd);
        }
        for hunk in &list {
            bytes = bytes - (hunk.end - hunk.start) + hunk.bytes.len();
        }
        if bytes > bound {
            return Err(DeltaError::TooLong { bound });
        }
        if !list.is_empty() {
            round.push(list);
        }
    }
    while round.len() > 1 {
        let mut next = Vec::with_capacity(round.len().div_ceil(2));
        let mut lists = round.into_iter();
        while let Some(first) = lists.next() {
            next.push(match lists.next() {
                Some(second) => join(&first, &second),
                None => first,
            });
        }
        round = next;
    }
    let mut text = Vec::with_capacity(bytes);
    let mut at = 0;
    for hunk in round.first().into_iter().flatten() {
        text.extend_from_slice(&base[at..hunk.start]);
        text.extend_from_slice(hunk.bytes);
        at = hunk.end;
    }
    text.extend_from_slice(&base[at..]);
    Ok(text)
}

/// One list of hunks that does what the two do in turn. Several hunks may start at one place: they follow each other.
fn join<'a>(first: &[Hunk<'a>], second: &[Hunk<'a>]) -> Vec<Hunk<'a>> {
    let mut joined = Joined { hunks: Vec::with_capacity(first.len() + second.len()), at: 0 };
    let mut middle = Middle { hunks: first.iter(), base: 0, next: None, inserted: &[] };
    middle.step();
    let mut at = 0;
    for hunk in second {
        middle.pass(hunk.start - at, Some(&mut joined));
        middle.pass(hunk.end - hunk.start, None);
        joined.skip_to(middle.base);
        joined.insert(hunk.bytes);
        at = hunk.end;
    }
    middle.finish(&mut joined);
    joined.hunks
}

/// The text between two deltas, walked through as stretches of the base and inserted bytes.
struct Middle<'l, 'a> {
    hunks: std::slice::Iter<'l, Hunk<'a>>,
    /// Place in the base: all before it was passed.
    base: usize,
    /// The hunk ahead, not begun: its `start` is not below `base`.
    next: Option<Hunk<'a>>,
    /// What is left of the bytes of the hunk that was begun.
    inserted: &'a [u8],
}

impl<'a> Middle<'_, 'a> {
    fn step(&mut self) {
        self.next = self.hunks.next().copied();
    }

    /// Passes this many bytes of the text between, into `joined`, or drops them.
    fn pass(&mut self, mut bytes: usize, mut joined: Option<&mut Joined<'a>>) {
        while bytes > 0 {
            if !self.inserted.is_empty() {
                let (now, later) = self.inserted.split_at(bytes.min(self.inserted.len()));
                self.inserted = later;
                bytes -= now.len();
                if let Some(joined) = joined.as_deref_mut() {
                    joined.skip_to(self.base);
                    joined.insert(now);
                }
                continue;
            }
            let copied = match self.next {
                Some(hunk) => bytes.min(hunk.start - self.base),
                None => bytes,
            };
            if copied > 0 {
                if let Some(joined) = joined.as_deref_mut() {
                    joined.skip_to(self.base);
                    joined.at = self.base + copied;
                }
                self.base += copied;
                bytes -= copied;
                continue;
            }
            self.begin();
        }
    }

    /// Begins the hunk ahead, which starts here.
    fn begin(&mut self) {
        if let Some(hunk) = self.next {
            self.inserted = hunk.bytes;
            self.base = hunk.end;
            self.step();
        }
    }

    /// Passes all that is left, but for the stretch of the base after the last hunk.
    fn finish(mut self, joined: &mut Joined<'a>) {
        joined.skip_to(self.base);
        if !self.inserted.is_empty() {
            joined.insert(self.inserted);
        }
        while let Some(hunk) = self.next {
            joined.at = hunk.start;
            joined.skip_to(hunk.end);
            joined.insert(hunk.bytes);
            self.step();
        }
    }
}

/// The hunks made so far, and how far in the base they are.
struct Joined<'a> {
    hunks: Vec<Hunk<'a>>,
    at: usize,
}

impl<'a> Joined<'a> {
    /// Removes the base up to this place.
    fn skip_to(&mut self, place: usize) {
        if place == self.at {
            return;
        }
        match self.hunks.last_mut() {
            Some(last) if last.end == self.at => last.end = place,
            _ => self.hunks.push(Hunk { start: self.at, end: place, bytes: &[] }),
        }
        self.at = place;
    }

    /// Adds bytes at this place.
    fn insert(&mut self, bytes: &'a [u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.hunks.last_mut() {
            Some(last) if last.end == self.at && last.bytes.is_empty() => last.bytes = bytes,
            _ => self.hunks.push(Hunk { start: self.at, end: self.at, bytes }),
        }
    }
}
