//! The highest position that this balancer has shown anybody.

use hgfleet_log::{Sequence, planted};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Only ever rises; it is the tag of each request.
#[derive(Debug)]
pub(crate) struct Floor(watch::Sender<Option<Sequence>>);

impl Default for Floor {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Floor {
    /// The floor as it stands; none before any position was heard of.
    pub(crate) fn get(&self) -> Option<Sequence> {
        if planted::is("floor-not-kept") {
            return None;
        }
        *self.0.borrow()
    }

    /// Takes note of a position that a reply or a view has named.
    pub(crate) fn raise(&self, position: Option<Sequence>) {
        self.0.send_if_modified(|floor| {
            let is_higher = position > *floor;
            if is_higher {
                *floor = position;
            }
            is_higher
        });
    }

    /// Waits until it has risen to this position; false: not in time.
    pub(crate) async fn reaches(&self, position: Sequence, deadline: Instant) -> bool {
        let mut floor = self.0.subscribe();
        matches!(timeout_at(deadline, floor.wait_for(|floor| *floor >= Some(position))).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_goes_down_and_can_be_waited_for() {
        let floor = Floor::default();
        assert_eq!(floor.get(), None);
        floor.raise(Sequence::new(7));
        floor.raise(Sequence::new(3));
        floor.raise(None);
        assert_eq!(floor.get(), Sequence::new(7));
        let eight = Sequence::new(8).expect("a sequence");
        assert!(!floor.reaches(eight, Instant::now()).await);
        let deadline = Instant::now() + std::time::Duration::from_secs(60);
        let (reached, ()) = tokio::join!(floor.reaches(eight, deadline), async { floor.raise(Some(eight)) });
        assert!(reached);
    }
}
