//! What lies beside the records: lease, view, members, shared values.

use hgfleet_log::{
    DiskUse, Incarnation, LeaseError, Member, MirrorInView, READ_ONLY_BYTES_MAX, Role, ServerState, VALUE_BYTES_MAX,
    ValueError, View, ViewError,
};

use super::*;

pub async fn the_lease_is_renewed_by_compare_and_set(backend: &dyn Backend) {
    let (one, two) = (backend.master().await, backend.reader().await);
    assert_eq!(one.lease().await.expect("lease"), None);
    let first = one.renew_lease("one", None, None).await.expect("first");
    assert_eq!(two.lease().await.expect("lease").as_ref(), Some(&first));
    let refused = two.renew_lease("two", None, None).await;
    assert!(matches!(refused, Err(LeaseError::Lost { current }) if current.as_ref() == Some(&first)));
    let second = one.renew_lease("one", Some(Epoch::FIRST), Some(first.counter)).await.expect("renewed");
    assert!(second.counter > first.counter);
    assert_eq!(second.epoch, Some(Epoch::FIRST));
    assert!(matches!(two.renew_lease("two", None, Some(first.counter)).await, Err(LeaseError::Lost { .. })));
    two.renew_lease("two", None, Some(second.counter)).await.expect("taken over");
    assert!(matches!(one.renew_lease("one", None, Some(second.counter)).await, Err(LeaseError::Lost { .. })));
    // Of many at once, one.
    let counter = one.lease().await.expect("lease").map(|lease| lease.counter);
    let tries = (0..8).map(|number| {
        let log = if number % 2 == 0 { one.clone() } else { two.clone() };
        tokio::spawn(async move { log.renew_lease(&number.to_string(), None, counter).await.is_ok() })
    });
    let mut won = 0;
    for renewal in tries.collect::<Vec<_>>() {
        won += usize::from(renewal.await.expect("task"));
    }
    assert_eq!(won, 1);
}

fn view(epoch: Epoch, version: u64, visible: Option<Sequence>, mirrors: &[&str]) -> View {
    let mirror = |name: &&str| MirrorInView { name: (*name).to_owned(), incarnation: Incarnation::from_bytes([5; 16]) };
    View { epoch, version, visible, mirrors: mirrors.iter().map(mirror).collect() }
}

pub async fn the_view_is_replaced_by_the_newest_epoch_alone_and_never_goes_back(backend: &dyn Backend) {
    let log = backend.master().await;
    assert_eq!(log.view().await.expect("view"), None);
    let early = log.set_view(None, view(Epoch::FIRST, 1, None, &[])).await;
    assert!(matches!(early, Err(ViewError::Invalid(_))), "{early:?}");
    let mut old = Appender::new(log.clone(), "old").await;
    old.append_store("a", b"1").await;
    let first = view(old.epoch, 1, None, &["mirror-1"]);
    log.set_view(None, first.clone()).await.expect("first view");
    let again = log.set_view(None, first.clone()).await;
    assert!(matches!(again, Err(ViewError::Conflict { current }) if current.as_ref() == Some(&first)));
    let second = view(old.epoch, 2, Some(sequence(2)), &["mirror-1", "mirror-2"]);
    log.set_view(Some(1), second.clone()).await.expect("second view");
    assert_eq!(backend.reader().await.view().await.expect("view"), Some(second));
    for (wrong, why) in [
        (view(old.epoch, 3, Some(sequence(1)), &["mirror-1"]), "back"),
        (view(old.epoch, 3, None, &["mirror-1"]), "back to nothing"),
        (view(old.epoch, 3, Some(sequence(3)), &["mirror-1"]), "beyond the end"),
        (view(old.epoch, 4, Some(sequence(2)), &["mirror-1"]), "a version left out"),
        (view(old.epoch, 3, Some(sequence(2)), &["mirror-1", "mirror-1"]), "twice"),
        (view(old.epoch, 3, Some(sequence(2)), &[""]), "no name"),
        (view(Epoch::new(2).expect("epoch"), 3, Some(sequence(2)), &[]), "an epoch that has not begun"),
    ] {
        let refused = log.set_view(Some(2), wrong).await;
        assert!(matches!(refused, Err(ViewError::Invalid(_))), "{why}: {refused:?}");
    }
    let new = Appender::new(backend.master().await, "new").await;
    let fenced = log.set_view(Some(2), view(old.epoch, 3, Some(sequence(2)), &[])).await;
    assert!(matches!(fenced, Err(ViewError::Fenced { newest }) if newest == new.epoch), "{fenced:?}");
    let third = view(new.epoch, 3, Some(sequence(2)), &["mirror-2"]);
    new.log.set_view(Some(2), third.clone()).await.expect("third view");
    drop((log, old, new));
    assert_eq!(backend.master().await.view().await.expect("view"), Some(third));
}

pub async fn the_newest_epoch_alone_says_that_the_fleet_is_read_only(backend: &dyn Backend) {
    let log = backend.master().await;
    assert_eq!(log.read_only().await.expect("read"), None);
    let early = log.set_read_only(Epoch::FIRST, Some("moving".to_owned())).await;
    assert!(matches!(early, Err(ViewError::Invalid(_))), "{early:?}");
    let old = Appender::new(log.clone(), "old").await;
    for reason in ["moving", "moving still"] {
        log.set_read_only(old.epoch, Some(reason.to_owned())).await.expect("written");
        assert_eq!(backend.reader().await.read_only().await.expect("read").as_deref(), Some(reason));
    }
    let long = log.set_read_only(old.epoch, Some("x".repeat(READ_ONLY_BYTES_MAX + 1))).await;
    assert!(matches!(long, Err(ViewError::Invalid(_))), "{long:?}");
    let new = Appender::new(backend.master().await, "new").await;
    let fenced = log.set_read_only(old.epoch, None).await;
    assert!(matches!(fenced, Err(ViewError::Fenced { newest }) if newest == new.epoch), "{fenced:?}");
    assert_eq!(new.log.read_only().await.expect("read").as_deref(), Some("moving still"));
    new.log.set_read_only(new.epoch, None).await.expect("written");
    assert_eq!(backend.reader().await.read_only().await.expect("read"), None);
}

fn member(name: &str) -> Member {
    let at_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_millis() as u64;
    Member {
        name: name.to_owned(),
        role: Role::Mirror,
        state: ServerState::CatchingUp,
        address: "127.0.0.1:9000".to_owned(),
        pid: 4711,
        incarnation: Some(Incarnation::from_bytes([6; 16])),
        staged_position: Some(sequence(12)),
        position: None,
        lag_seconds: 1.5,
        reason: "the disk is slow".to_owned(),
        at_ms,
        disk: DiskUse { log_bytes: 1, staged_bytes: 2, store_bytes: 3, free_bytes: u64::MAX >> 1 },
    }
}

pub async fn every_server_says_how_it_is_and_the_last_word_stays(backend: &dyn Backend) {
    let (master, mirror) = (backend.master().await, backend.reader().await);
    assert_eq!(master.members().await.expect("members"), []);
    let mut first = member("mirror-1");
    mirror.put_heartbeat(first.clone()).await.expect("heartbeat");
    let mut second = member("master");
    (second.role, second.state, second.incarnation) = (Role::Master, ServerState::InService, None);
    master.put_heartbeat(second.clone()).await.expect("heartbeat");
    first.position = Some(sequence(11));
    first.reason.clear();
    mirror.put_heartbeat(first.clone()).await.expect("heartbeat");
    for log in [&master, &mirror] {
        assert_eq!(log.members().await.expect("members"), [second.clone(), first.clone()]);
    }
    first.reason = "x".repeat(100_000);
    assert!(mirror.put_heartbeat(first).await.is_err(), "bounded");
    drop((master, mirror));
    assert_eq!(backend.reader().await.members().await.expect("members").len(), 2);
}

pub async fn a_shared_value_is_replaced_by_compare_and_set_by_any_server(backend: &dyn Backend) {
    let (master, mirror) = (backend.master().await, backend.reader().await);
    assert_eq!(master.value("tokens").await.expect("value"), None);
    let first = mirror.set_value("tokens", None, b"one".to_vec()).await.expect("first");
    assert!(matches!(master.set_value("tokens", None, b"x".to_vec()).await, Err(ValueError::Conflict)));
    let second = master.set_value("tokens", Some(first), vec![7; VALUE_BYTES_MAX]).await.expect("second");
    assert!(second > first);
    assert!(matches!(mirror.set_value("tokens", Some(first), b"x".to_vec()).await, Err(ValueError::Conflict)));
    let too_large = mirror.set_value("tokens", Some(second), vec![7; VALUE_BYTES_MAX + 1]).await;
    assert!(matches!(too_large, Err(ValueError::TooLarge { .. })), "{too_large:?}");
    for odd in ["", "Tokens", "a.b", "a b", &"a".repeat(33)] {
        assert!(mirror.set_value(odd, None, Vec::new()).await.is_err(), "{odd:?}");
        assert!(mirror.value(odd).await.is_err(), "{odd:?}");
    }
    assert_eq!(mirror.value("tokens-used").await.expect("another"), None);
    drop((master, mirror));
    let value = backend.reader().await.value("tokens").await.expect("value").expect("written");
    assert_eq!((value.version, value.bytes), (second, vec![7; VALUE_BYTES_MAX]));
}

pub async fn the_disk_that_it_takes_is_known(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    appender.append_store("a", &[7; 100_000]).await;
    assert!(appender.log.disk_bytes().await.expect("bytes") > 100_000);
}
