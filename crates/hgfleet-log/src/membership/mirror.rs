//! The mirror's side of membership: whether it is in service, by its own clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::{MirrorInView, View};
use crate::ids::Sequence;

/// What one mirror knows of its own membership: pure, no clock and no I/O of its own.
///
/// `now` is a reading of one monotonic clock that goes on while the machine is suspended, since any origin.
#[derive(Clone, Debug)]
pub struct MirrorService {
    mirror: MirrorInView,
    /// Version of the newest view that has arrived, and whether it names this mirror.
    view: Option<(u64, bool)>,
    number: u64,
    /// Heartbeats without an answer, by number, with the time at which each was sent.
    sent: VecDeque<(u64, Duration)>,
    /// When the last heartbeat that was answered was sent.
    renewed: Option<Duration>,
    left: bool,
}

/// Most heartbeats whose answer is awaited.
const SENT_MAX: usize = 64;

impl MirrorService {
    /// A mirror counts itself in service this long after it sent the last renewal that was answered.
    pub const SERVICE: Duration = Duration::from_secs(3);

    /// Returns a mirror that nothing is known of yet.
    pub fn new(mirror: MirrorInView) -> MirrorService {
        MirrorService { mirror, view: None, number: 0, sent: VecDeque::new(), renewed: None, left: false }
    }

    /// A heartbeat is about to be sent; returns the number it must carry.
    pub fn sending(&mut self, now: Duration) -> u64 {
        self.number += 1;
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        self.number
    }

    /// The heartbeat with this number was answered, over the connection over which it was sent.
    pub fn answered(&mut self, number: u64) {
        while let Some(&(sent, at)) = self.sent.front()
            && sent <= number
        {
            self.sent.pop_front();
            if sent == number {
                self.renewed = self.renewed.max(Some(at));
            }
        }
    }

    /// A view has arrived, from the master or from the log. Returns the position of which this mirror was thereby
    /// told, if it is new and names it.
    pub fn view(&mut self, view: &View) -> Option<Sequence> {
        if self.view.is_some_and(|(version, _)| version >= view.version) {
            return None;
        }
        let named = view.names(&self.mirror) && !self.left;
        self.view = Some((view.version, named));
        if named { view.visible } else { None }
    }

    /// The connection to the master has ended: answers to what was sent over it don't come any more.
    pub fn disconnected(&mut self) {
        self.sent.clear();
    }

    /// It is about to tell the master that it serves nobody any more. Until it joins again, no view changes that.
    pub fn leave(&mut self) {
        self.left = true;
        if let Some((_, named)) = &mut self.view {
            *named = false;
        }
    }

    /// It is about to say hello to the master: a view that comes from now on may put it in service.
    pub fn join(&mut self) {
        self.left = false;
    }

    /// Returns whether it is in service: the newest view names it, and the last answered renewal was sent less than
    /// [`MirrorService::SERVICE`] ago.
    pub fn in_service(&self, now: Duration) -> bool {
        self.view.is_some_and(|(_, named)| named) && self.renewed.is_some_and(|sent| now < sent + Self::SERVICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Incarnation};

    fn mirror() -> MirrorInView {
        MirrorInView { name: "mirror-1".to_owned(), incarnation: Incarnation::from_bytes([1; 16]) }
    }

    fn view(version: u64, mirrors: Vec<MirrorInView>) -> View {
        View { epoch: Epoch::FIRST, version, visible: Sequence::new(9), mirrors }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn it_takes_a_view_that_names_it_and_an_answered_renewal() {
        let mut service = MirrorService::new(mirror());
        let number = service.sending(seconds(10.0));
        service.answered(number);
        assert!(!service.in_service(seconds(10.1)), "no view");
        assert_eq!(service.view(&view(1, vec![mirror()])), Sequence::new(9));
        assert!(service.in_service(seconds(10.1)));
        assert!(service.in_service(seconds(12.9)));
        assert!(!service.in_service(seconds(13.0)), "three seconds after it was sent");
    }

    #[test]
    fn the_time_counts_from_sending_and_not_from_the_answer() {
        let mut service = MirrorService::new(mirror());
        service.view(&view(1, vec![mirror()]));
        let early = service.sending(seconds(10.0));
        let late = service.sending(seconds(11.0));
        assert!(!service.in_service(seconds(11.0)), "nothing was answered");
        service.answered(early);
        assert!(!service.in_service(seconds(13.5)));
        service.answered(late);
        assert!(service.in_service(seconds(13.5)));
        service.answered(early);
        service.answered(77);
        assert!(!service.in_service(seconds(14.0)));
    }

    #[test]
    fn an_answer_to_another_connections_renewal_counts_for_nothing() {
        let mut service = MirrorService::new(mirror());
        service.view(&view(1, vec![mirror()]));
        let number = service.sending(seconds(10.0));
        service.disconnected();
        service.answered(number);
        assert!(!service.in_service(seconds(10.1)));
    }

    #[test]
    fn a_view_without_it_ends_service_at_once_and_an_older_one_changes_nothing() {
        let mut service = MirrorService::new(mirror());
        service.view(&view(1, vec![mirror()]));
        let number = service.sending(seconds(10.0));
        service.answered(number);
        assert_eq!(service.view(&view(2, vec![])), None);
        assert!(!service.in_service(seconds(10.1)));
        assert_eq!(service.view(&view(1, vec![mirror()])), None);
        assert!(!service.in_service(seconds(10.1)));
        let other_disk = MirrorInView { incarnation: Incarnation::from_bytes([2; 16]), ..mirror() };
        service.view(&view(3, vec![other_disk]));
        assert!(!service.in_service(seconds(10.1)), "another incarnation of it");
        service.view(&view(4, vec![mirror()]));
        assert!(service.in_service(seconds(10.1)));
        service.leave();
        assert!(!service.in_service(seconds(10.1)));
        service.view(&view(5, vec![mirror()]));
        assert!(!service.in_service(seconds(10.1)), "it has left");
        service.join();
        service.view(&view(5, vec![mirror()]));
        assert!(!service.in_service(seconds(10.1)), "the master may know already that it has left");
        service.view(&view(6, vec![mirror()]));
        assert!(service.in_service(seconds(10.1)));
    }
}
