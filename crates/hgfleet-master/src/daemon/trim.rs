//! The log is trimmed below what its servers still need.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use hgfleet_log::{LogError, Member, Role, Sequence};
use hgfleet_replica::Replica;

use super::server::Server;
use crate::clock::unix_ms;
use crate::options::Retention;

/// Most records that are given up at once: appends wait meanwhile.
const AT_ONCE: u64 = 2_000;

/// Trims, for as long as this server is master. That another one may be by now does no harm: positions only grow.
pub(crate) async fn keep(server: Arc<Server>) {
    let retention = server.options.retention;
    let mut aging = Aging::default();
    loop {
        tokio::time::sleep(retention.every).await;
        match trim(&server, &mut aging).await {
            Ok(None) => {}
            Ok(Some(first)) => tracing::info!(%first, "the log was trimmed and begins here"),
            Err(error) => tracing::warn!(%error, "the log can't be trimmed; it is tried again"),
        }
    }
}

/// Trims once; returns where the log begins now, where that is later than before.
async fn trim(server: &Server, aging: &mut Aging) -> Result<Option<Sequence>, LogError> {
    let (log, retention) = (&server.log, &server.options.retention);
    let Some(end) = log.end().await?.map(|tail| tail.sequence) else { return Ok(None) };
    let old = aging.old(end, Instant::now(), retention);
    let visible = log.view().await?.and_then(|view| view.visible);
    let needed = least_needed(&log.members().await?, unix_ms(), retention);
    let Some(stores) = server.stores.get() else { return Ok(None) };
    let ours = kept_here(&stores.replica);
    let floor = Sequence::new(end.get().saturating_sub(retention.records_min));
    let Some(checkpoint) = [old, visible, needed, ours, floor].into_iter().min().flatten() else { return Ok(None) };
    let began = log.first().await?;
    let mut first = began;
    while first <= checkpoint {
        let step = first.get().saturating_add(AT_ONCE - 1).min(checkpoint.get());
        let Some(step) = Sequence::new(step) else { break };
        log.trim(step).await?;
        let Some(next) = step.next() else { break };
        first = next;
    }
    Ok((first > began).then_some(first))
}

/// Up to where this server has the log on disk. What it has in quarantine may be nowhere else: the log keeps what that lacks until it was
/// repaired, though it counts in no position.
fn kept_here(replica: &Replica) -> Option<Sequence> {
    let quarantined = replica.quarantined().into_iter().map(|(name, _)| replica.position_of(&name));
    quarantined.chain([replica.durable_position()]).min().flatten()
}

/// Up to where each server with stores has the log on its own disk; none: one has nothing yet, or there is no server.
fn least_needed(members: &[Member], now_ms: u64, retention: &Retention) -> Option<Sequence> {
    let silent_ms_max = retention.silent_max.as_millis() as u64;
    let has_stores = |member: &&Member| matches!(member.role, Role::Mirror | Role::Standby | Role::Master);
    let heard = members.iter().filter(has_stores).filter(|member| member.silent_ms(now_ms) <= silent_ms_max);
    let position = |member: &Member| match member.role {
        // What it has staged lies in the log, not on its disk.
        Role::Master => member.staged_position.min(member.position),
        _ => member.staged_position,
    };
    heard.map(position).min().flatten()
}

/// Where the log ended some time ago.
#[derive(Debug, Default)]
struct Aging {
    ends: VecDeque<(Instant, Sequence)>,
}

impl Aging {
    /// Returns up to where records are as old as they must be to go, as far as this server has seen them grow old.
    fn old(&mut self, end: Sequence, now: Instant, retention: &Retention) -> Option<Sequence> {
        self.ends.push_back((now, end));
        let is_old = |seen: &Instant| now.duration_since(*seen) >= retention.every;
        while self.ends.get(1).is_some_and(|(seen, _)| is_old(seen)) {
            self.ends.pop_front();
        }
        self.ends.front().filter(|(seen, _)| is_old(seen)).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hgfleet_log::{DiskUse, ServerState};

    use super::*;

    fn member(role: Role, staged: u64, at_ms: u64) -> Member {
        Member {
            name: "a".to_owned(),
            role,
            state: ServerState::InService,
            address: String::new(),
            pid: 1,
            incarnation: None,
            staged_position: Sequence::new(staged),
            position: Sequence::new(staged),
            lag_seconds: 0.0,
            reason: String::new(),
            at_ms,
            disk: DiskUse::default(),
        }
    }

    #[test]
    fn who_was_heard_of_lately_holds_the_log_up_and_who_has_nothing_holds_all_of_it() {
        let retention = Retention { silent_max: Duration::from_secs(10), ..Retention::default() };
        let needed = |members: &[Member]| least_needed(members, 20_000, &retention).map(Sequence::get);
        let mut members = vec![member(Role::Master, 9, 20_000), member(Role::Balancer, 0, 20_000)];
        assert_eq!(needed(&members), Some(9));
        members.push(member(Role::Mirror, 5, 10_000));
        assert_eq!(needed(&members), Some(5));
        members.push(member(Role::Standby, 2, 9_999));
        assert_eq!(needed(&members), Some(5));
        members.push(member(Role::Mirror, 0, 25_000));
        assert_eq!(needed(&members), None);
        assert_eq!(needed(&[]), None);
    }

    #[test]
    fn a_record_goes_only_once_it_was_seen_long_enough_ago() {
        let retention = Retention { every: Duration::from_secs(10), ..Retention::default() };
        let (mut aging, start) = (Aging::default(), Instant::now());
        let mut old = |seconds, end| {
            let end = Sequence::new(end).expect("a sequence");
            aging.old(end, start + Duration::from_secs(seconds), &retention).map(Sequence::get)
        };
        assert_eq!(old(0, 3), None);
        assert_eq!(old(9, 5), None);
        assert_eq!(old(10, 8), Some(3));
        assert_eq!(old(18, 9), Some(3));
        assert_eq!(old(21, 9), Some(8));
    }
}
