//! Phases of changesets.

use serde::{Deserialize, Serialize};

use crate::{Node, Revision, Snapshot, StoreError};

/// How far a changeset has been made known. Ordered: public is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Phase {
    /// Seen by everyone; immutable.
    Public = 0,
    /// Shared or not, and may still be rewritten.
    Draft = 1,
    /// Not shared.
    Secret = 2,
    /// Kept, not shown.
    Archived = 32,
    /// Made by Mercurial for itself; never shown.
    Internal = 96,
}

impl Phase {
    /// The phase with this number.
    pub fn from_number(number: u32) -> Option<Phase> {
        Some(match number {
            0 => Phase::Public,
            1 => Phase::Draft,
            2 => Phase::Secret,
            32 => Phase::Archived,
            96 => Phase::Internal,
            _ => return None,
        })
    }

    /// Its number in `phaseroots` and on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// The phase of each changeset, from the roots in `store/phaseroots`.
pub struct Phases {
    roots: Vec<(Phase, Revision, Node)>,
    /// All below are public.
    first: usize,
    /// Phases from `first` on.
    phases: Vec<Phase>,
    non_public: Vec<(Revision, Phase)>,
}

impl Phases {
    pub(crate) fn read(snapshot: &Snapshot) -> Result<Phases, StoreError> {
        let content = snapshot.state().phaseroots.as_deref().unwrap_or_default();
        let changelog = snapshot.changelog();
        let mut roots = Vec::new();
        for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let Some((phase, node)) = parse_root(line) else {
                let path = snapshot.repository().store().path_of(b"phaseroots");
                return Err(StoreError::corrupt(path, format!("line {} is none of a root", number + 1)));
            };
            // A root that was stripped is left in the file by Mercurial too.
            if let Some(revision) = changelog.revision_of(&node) {
                roots.push((phase, revision, node));
            }
        }
        roots.sort_unstable();
        roots.dedup();
        let not_public = roots.iter().filter(|(phase, ..)| *phase != Phase::Public);
        let first = not_public.map(|(_, revision, _)| revision.index()).min().unwrap_or(changelog.len());
        let mut phases = vec![Phase::Public; changelog.len() - first];
        // Sorted by phase: where there are two, the higher one stays.
        for (phase, revision, _) in &roots {
            if let Some(slot) = revision.index().checked_sub(first).and_then(|at| phases.get_mut(at)) {
                *slot = *phase;
            }
        }
        // Most often all of them are drafts.
        let mut non_public = Vec::with_capacity(phases.len());
        for at in 0..phases.len() {
            let revision = Revision::new((first + at) as u32);
            let of = |parent: Option<Revision>| {
                let at = parent.and_then(|parent| parent.index().checked_sub(first));
                at.map_or(Phase::Public, |at| phases[at])
            };
            let [one, other] = changelog.parents(revision);
            let phase = phases[at].max(of(one)).max(of(other));
            phases[at] = phase;
            if phase != Phase::Public {
                non_public.push((revision, phase));
            }
        }
        Ok(Phases { roots, first, phases, non_public })
    }

    /// The changeset's phase.
    pub fn phase(&self, revision: Revision) -> Phase {
        let at = revision.index().checked_sub(self.first);
        at.and_then(|at| self.phases.get(at)).copied().unwrap_or(Phase::Public)
    }

    /// The roots as the file lists them: changesets that exist, with the phase that their descendants have at least.
    /// Sorted by phase and revision.
    pub fn roots(&self) -> &[(Phase, Revision, Node)] {
        &self.roots
    }

    /// All changesets that aren't public, lowest first.
    pub fn non_public(&self) -> &[(Revision, Phase)] {
        &self.non_public
    }
}

/// `phase hex`.
fn parse_root(line: &[u8]) -> Option<(Phase, Node)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let phase = Phase::from_number(words.next()?.parse().ok()?)?;
    let node = Node::from_hex(words.next()?.as_bytes())?;
    words.next().is_none().then_some((phase, node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_and_garbage() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        assert!(parse_root(format!("1 {hex}").as_bytes()).is_some_and(|(phase, _)| phase == Phase::Draft));
        for garbage in [
            "9 zzz".into(),
            format!("3 {hex}"),
            format!("99999999999 {hex}"),
            format!("-1 {hex}"),
            format!("1 {hex} x"),
            "1".into(),
            " ".into(),
        ] {
            assert!(parse_root(garbage.as_bytes()).is_none(), "{garbage}");
        }
    }
}
