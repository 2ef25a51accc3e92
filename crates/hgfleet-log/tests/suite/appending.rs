//! Who may append what, and what lasts.

use hgfleet_log::{ChainHash, Refusal};

use super::*;

pub async fn a_log_begins_with_an_epoch(backend: &dyn Backend) {
    let log = backend.master().await;
    assert_eq!(log.end().await.expect("end"), None);
    assert_eq!(log.first().await.expect("first"), Sequence::FIRST);
    let id = RecordId::random().expect("random");
    let early = Draft::following(None, Epoch::FIRST, id, 0, Body::Empty);
    let refused = log.append(early, Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::EpochNotBegun(_)))), "{refused:?}");
    let appender = Appender::new(log.clone(), "master").await;
    assert_eq!(appender.tail.expect("tail").sequence, Sequence::FIRST);
    assert_eq!(appender.epoch, Epoch::FIRST);
}

pub async fn records_come_back_as_they_were_appended_and_in_order(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let mut appended = vec![];
    for number in 0..50 {
        let body = if number % 5 == 0 { Body::Empty } else { store("team/first", &[number; 40]) };
        let payload = if number % 5 == 0 { Payload::Empty } else { Payload::Bytes(vec![number; 40]) };
        appended.push(appender.append(body, payload).await.expect("appended"));
    }
    let read = all(&*appender.log).await;
    assert_eq!(read[1..], appended);
    let mut follower = hgfleet_log::Follower::new(appender.log.identity().await, None);
    read.iter().for_each(|record| follower.accept(record).expect("follows"));
    assert_eq!(follower.at().copied(), appender.tail);
    assert_eq!(appender.log.end().await.expect("end"), appender.tail);
}

pub async fn what_was_acknowledged_is_there_when_the_log_is_opened_again(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let identity = appender.log.identity().await;
    let mut appended = vec![];
    for number in 0..10 {
        appended.push(appender.append_store("a", &[number; 100]).await);
    }
    drop(appender);
    let log = backend.master().await;
    assert_eq!(log.identity().await, identity);
    assert_eq!(all(&*log).await[1..], appended);
}

pub async fn an_append_must_name_the_last_sequence_and_its_hash(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let stale = appender.draft(Body::Empty);
    let last = appender.append_store("a", b"1").await;
    let wrong_last = |refused: Result<Record, AppendError>, last: Option<Sequence>| match refused {
        Err(AppendError::Refused(Refusal::WrongLastSequence { last: found })) => assert_eq!(found, last),
        other => panic!("{other:?}"),
    };
    wrong_last(appender.log.append(stale, Payload::Empty).await, Some(last.sequence));
    let mut early = appender.draft(Body::Empty);
    early.expected = last.sequence.next();
    wrong_last(appender.log.append(early, Payload::Empty).await, Some(last.sequence));
    let mut first = appender.draft(Body::Empty);
    first.expected = None;
    wrong_last(appender.log.append(first, Payload::Empty).await, Some(last.sequence));
    let mut forged = appender.draft(Body::Empty);
    forged.previous = ChainHash::from_bytes([9; 32]);
    let refused = appender.log.append(forged, Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::BrokenChain))), "{refused:?}");
    let mut again = appender.draft(Body::Empty);
    again.id = last.id;
    let refused = appender.log.append(again, Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Duplicate(_)))), "{refused:?}");
    assert_eq!(all(&*appender.log).await.len(), 2, "nothing that was refused is stored");
}

pub async fn of_two_who_expect_the_same_place_one_gets_it(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    for _ in 0..20 {
        let (one, two) = (appender.draft(Body::Empty), appender.draft(Body::Empty));
        let (first, second) =
            tokio::join!(appender.log.append(one, Payload::Empty), appender.log.append(two, Payload::Empty));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let refused = first.as_ref().err().or(second.as_ref().err());
        assert!(matches!(refused, Some(AppendError::Refused(Refusal::WrongLastSequence { .. }))), "{refused:?}");
        appender.tail = first.or(second).ok().as_ref().map(Tail::of);
    }
    assert_eq!(all(&*appender.log).await.len(), 21);
}

pub async fn a_newer_epoch_shuts_the_older_master_out_for_good(backend: &dyn Backend) {
    let mut old = Appender::new(backend.master().await, "old").await;
    old.append_store("a", b"1").await;
    let mut new = Appender::new(backend.master().await, "new").await;
    assert_eq!(Some(new.epoch), Epoch::after(Some(old.epoch)));
    let shut_out = |refused: Result<Record, AppendError>| match refused {
        Err(AppendError::Refused(Refusal::Fenced { .. } | Refusal::WrongLastSequence { .. })) => {}
        other => panic!("{other:?}"),
    };
    shut_out(old.append(store("a", b"2"), Payload::Bytes(b"2".to_vec())).await);
    // Not even with the right sequence and hash: an old master that goes by the number in the error.
    old.tail = new.tail;
    let refused = old.append(store("a", b"2"), Payload::Bytes(b"2".to_vec())).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Fenced { newest })) if newest == new.epoch));
    // Nor may it begin an epoch that has begun.
    let mut again = old.draft(Body::Epoch { holder: "old".to_owned() });
    again.epoch = new.epoch;
    shut_out(old.log.append(again, Payload::Empty).await);
    let mut jump = new.draft(Body::Epoch { holder: "new".to_owned() });
    jump.epoch = Epoch::new(new.epoch.get() + 2).expect("epoch");
    let refused = new.log.append(jump, Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::EpochNotBegun(_)))), "{refused:?}");
    new.append_store("a", b"3").await;
    assert_eq!(all(&*new.log).await.len(), 4);
}

/// Two servers that fight: each takes an epoch when it is shut out. The log stays one chain, with each epoch in one piece.
pub async fn two_masters_that_fight_leave_one_chain(backend: &dyn Backend) {
    let fight = |holder: &'static str| async move {
        let log = backend.master().await;
        let mut acknowledged = Vec::new();
        for _ in 0..10 {
            let tail = log.end().await.expect("end");
            let epoch = Epoch::after(tail.map(|tail| tail.epoch)).expect("epoch");
            let mut appender = Appender { log: log.clone(), epoch, tail };
            let mut body = Body::Epoch { holder: holder.to_owned() };
            for _ in 0..5 {
                match appender.append(body, Payload::Empty).await {
                    Ok(record) => acknowledged.push(record),
                    Err(AppendError::Refused(_)) => break,
                    Err(error) => panic!("{error}"),
                }
                body = Body::Empty;
                tokio::task::yield_now().await;
            }
        }
        acknowledged
    };
    let (one, two) = tokio::join!(fight("one"), fight("two"));
    let log = backend.reader().await;
    let records = all(&*log).await;
    let mut follower = hgfleet_log::Follower::new(log.identity().await, None);
    records.iter().for_each(|record| follower.accept(record).expect("follows"));
    let mut acknowledged: Vec<_> = one.into_iter().chain(two).collect();
    acknowledged.sort_by_key(|record| record.sequence);
    assert_eq!(records, acknowledged);
}

/// Appends that are issued before the one before them is answered. What stands behind a refused one is refused.
pub async fn appends_under_way_together_are_stored_in_order_or_not_at_all(backend: &dyn Backend) {
    let appender = Appender::new(backend.master().await, "master").await;
    if !appender.log.appends_together() {
        return;
    }
    let identity = appender.log.identity().await;
    let mut tail = appender.tail;
    let mut drafts = Vec::new();
    for number in 0..60u8 {
        let id = RecordId::random().expect("random");
        let draft = Draft::following(tail.as_ref(), appender.epoch, id, 0, store("a", &[number; 10]));
        tail = draft.clone().seal(identity).ok().as_ref().map(Tail::of);
        drafts.push((draft, Payload::Bytes(vec![number; 10])));
    }
    // The change of number 40 is not the one that its record names.
    drafts[40].1 = Payload::Bytes(vec![99; 10]);
    let appends = drafts.into_iter().map(|(draft, payload)| appender.log.append(draft, payload));
    let answers = join_all(appends.collect()).await;
    for (number, answer) in answers.iter().enumerate() {
        match number {
            0..40 => assert!(answer.is_ok(), "{number}: {answer:?}"),
            40 => assert!(matches!(answer, Err(AppendError::Refused(Refusal::Payload(_))))),
            _ => assert!(matches!(answer, Err(AppendError::Refused(Refusal::WrongLastSequence { .. })))),
        }
    }
    assert_eq!(all(&*appender.log).await.len(), 41);
}

async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, answer) in futures.iter_mut().filter(|(_, answer)| answer.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(context) {
                *answer = Some(ready);
            }
        }
        if futures.iter().all(|(_, answer)| answer.is_some()) {
            std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, answer)| answer.take()).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

pub async fn records_beyond_their_bounds_are_refused_before_anything_is_stored(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let huge = ChangePayload { bytes: hgfleet_log::limits::CHANGE_BYTES_MAX + 1, digest: [0; 32] };
    let refused = appender.append(store_of("a", huge), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    let Body::Store(mut record) = store("a", b"") else { unreachable!() };
    record.summary = vec![0; hgfleet_log::limits::SUMMARY_BYTES_MAX + 1];
    let refused = appender.append(Body::Store(record.clone()), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    record.summary.clear();
    record.before = None;
    let refused = appender.append(Body::Store(record), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Invalid(_)))), "{refused:?}");
    assert_eq!(all(&*appender.log).await.len(), 1);
}
