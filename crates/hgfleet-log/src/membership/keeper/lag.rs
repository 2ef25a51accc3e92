//! Who holds the others up, and is left out for that.

use std::time::Duration;

use super::{Keeper, Known, ViewKeeper};
use crate::ids::Sequence;
use crate::membership::MirrorInView;

/// Most records whose coming is remembered.
const APPENDED_MAX: usize = 64 << 10;

impl ViewKeeper {
    /// The log ends here now.
    pub(super) fn grown(&mut self, end: Sequence) {
        if Some(end) > self.end {
            self.end = Some(end);
            self.appended.push_back((end, self.now));
        }
        let staged = self.mirrors.values().filter(|known| known.connected).map(|known| known.staged).min();
        while let Some((oldest, _)) = self.appended.front()
            && (Some(*oldest) <= staged.flatten() || self.appended.len() > APPENDED_MAX)
        {
            self.appended.pop_front();
        }
    }

    /// Why a mirror must not hold the others up: what ails it, or how far it lags. `part`: of what is allowed.
    fn hindrance(&self, known: &Known, part: u32) -> Option<String> {
        if let Some(ailment) = &known.ailment {
            return Some(ailment.clone());
        }
        let number = |position: Option<Sequence>| position.map_or(0, Sequence::get);
        let records = number(self.end).saturating_sub(number(known.staged));
        let next = self.appended.partition_point(|(sequence, _)| Some(*sequence) <= known.staged);
        let lag = self.appended.get(next).map_or(Duration::ZERO, |(_, at)| self.now.saturating_sub(*at));
        if records > self.times.lag_records_max / u64::from(part) {
            return Some(format!("it lacks {records} records, and {} are allowed", self.times.lag_records_max));
        }
        let seconds = self.times.lag_max.as_secs();
        (lag > self.times.lag_max / part)
            .then(|| format!("it lags by {} s, and {seconds} s are allowed", lag.as_secs()))
    }

    /// Leaves out who holds the others up, but never the last one, and lets in again whose reason has passed.
    pub(super) fn leave_out(&mut self) {
        let mirrors: Vec<MirrorInView> =
            self.mirrors.iter().filter(|(_, known)| known.connected).map(|(mirror, _)| mirror.clone()).collect();
        for mirror in mirrors {
            let Some(known) = self.mirrors.get(&mirror) else { continue };
            let others = self.view.iter().flat_map(|view| &view.mirrors).filter(|other| **other != mirror);
            let serve = |other: &MirrorInView| {
                self.mirrors.get(other).is_some_and(|other| other.connected && !other.left && !other.left_out)
            };
            let is_last = !others.into_iter().any(serve);
            let why = match known.left_out {
                false if is_last || !self.in_view(&mirror) => continue,
                false => self.hindrance(known, 1),
                // Half of what is allowed, so that it does not go in and out; and at once where nobody else is left.
                true if is_last => None,
                true => self.hindrance(known, 2),
            };
            let left_out = why.is_some();
            if let Some(known) = self.mirrors.get_mut(&mirror).filter(|known| known.left_out != left_out) {
                known.left_out = left_out;
                self.wants.push_back(Keeper::LeftOut { mirror, why });
            }
        }
    }
}
