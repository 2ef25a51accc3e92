//! The mirror's side of membership: whether it is in service, by its own clock.

use std::time::Duration;

use super::{MirrorInView, View};
use crate::ids::Sequence;

/// What one mirror knows of its own membership: pure, no clock and no I/O of its own.
///
/// `now` is a reading of one monotonic clock that goes on while the machine is suspended, since any origin.
#[derive(Debug)]
pub struct MirrorService {}

impl MirrorService {
    /// A mirror counts itself in service this long after it sent the last renewal that was answered.
    pub const SERVICE: Duration = Duration::from_secs(3);

    /// Returns a mirror that nothing is known of yet.
    pub fn new(mirror: MirrorInView) -> MirrorService {
        let _ = mirror;
        todo!()
    }

    /// A heartbeat is about to be sent; returns the number it must carry.
    pub fn sending(&mut self, now: Duration) -> u64 {
        let _ = now;
        todo!()
    }

    /// The heartbeat with this number was answered.
    pub fn answered(&mut self, number: u64) {
        let _ = number;
        todo!()
    }

    /// A view has arrived. Returns the position of which it was thereby told, if the view names this mirror.
    pub fn view(&mut self, view: &View) -> Option<Sequence> {
        let _ = view;
        todo!()
    }

    /// The connection to the master has ended: answers to what was sent over it don't come any more.
    pub fn disconnected(&mut self) {
        todo!()
    }

    /// Returns whether it is in service: a view names it, and the last answered renewal was sent less than
    /// [`MirrorService::SERVICE`] ago.
    pub fn in_service(&self, now: Duration) -> bool {
        let _ = now;
        todo!()
    }
}
