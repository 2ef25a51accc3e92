//! Looks at the log while all goes on: what must never go back there.

use super::world::World;
use crate::support::fleet::Fleet;
use hgfleet_log::{Access, Lease, LogLocation, View};
use std::sync::atomic::Ordering;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(50);

/// The view and the lease, where they can be read now.
pub fn look(fleet: &Fleet) -> Option<(View, Lease)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = LogLocation::Embedded(fleet.path("data/log")).open(Access::Read).await.ok()?;
        Some((log.view().await.ok()??, log.lease().await.ok()??))
    })
}

/// Watches until nothing more is read.
pub fn run(world: &World) {
    let mut last: Option<View> = None;
    let mut epoch = None;
    let mut power_cuts = 0;
    while world.shared.is_read() {
        let looked = world.log_in_use.read().ok().and_then(|_in_use| look(&world.fleet));
        // The lease is no promise of the disk's: after a power cut an older one may be there.
        let cuts = world.power_cuts.load(Ordering::Relaxed);
        if std::mem::replace(&mut power_cuts, cuts) != cuts {
            epoch = None;
        }
        if let Some((view, lease)) = looked {
            if let Some(last) = &last
                && (view.epoch < last.epoch || view.version < last.version || view.visible < last.visible)
            {
                world.shared.found.add(format!("the view went back, from {last:?} to {view:?}"));
            }
            if lease.epoch < epoch {
                world.shared.found.add(format!("the lease went back, from {epoch:?} to {:?}", lease.epoch));
            }
            (last, epoch) = (Some(view), epoch.max(lease.epoch));
        }
        std::thread::sleep(PAUSE);
    }
}
