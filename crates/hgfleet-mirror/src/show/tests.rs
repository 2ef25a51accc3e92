//! The order of records that concern more than what is in one repository.

use hgfleet_log::{Body, ChangePayload, Draft, Epoch, LogId, RecordId, StoreKind, StoreRecord};

use super::*;

fn name(name: &str) -> RepositoryName {
    RepositoryName::parse(name).expect("a name")
}

/// Queues of records that may all be shown.
fn queued(records: &[(&str, StoreKind)]) -> State {
    let mut state = State::default();
    let mut last: Option<Record> = None;
    for (number, (repository, kind)) in records.iter().enumerate() {
        let (before, after) = match kind {
            StoreKind::Create => (None, Some([1; 32])),
            StoreKind::Delete => (Some([1; 32]), None),
            _ => (Some([1; 32]), Some([1; 32])),
        };
        let body = Body::Store(StoreRecord {
            repository: name(repository),
            kind: kind.clone(),
            before,
            after,
            who: String::new(),
            source: String::new(),
            summary: Vec::new(),
            change: ChangePayload::of(&[]),
        });
        let draft = Draft {
            id: RecordId::from_bytes([number as u8; 16]),
            epoch: Epoch::FIRST,
            expected: last.as_ref().map(|last| last.sequence),
            previous: last.as_ref().map_or(hgfleet_log::ChainHash::NONE, Record::chain_hash),
            time_ms: 0,
            body,
        };
        let record = draft.seal(LogId::from_bytes([7; 16])).expect("a record");
        state.add(&record);
        state.staged = Some(record.sequence);
        last = Some(record);
    }
    state.heard = state.staged;
    state
}

/// Begins all that may be begun now.
fn begin(state: &mut State) -> Vec<u64> {
    let mut begun = Vec::new();
    while let Some((queue, next)) = state.ready() {
        state.begin(&queue, next);
        begun.push(next.get());
    }
    begun
}

fn done(state: &mut State, repository: &str, sequence: u64) {
    let queue = Some(name(repository));
    state.applied(&queue, Sequence::new(sequence).expect("a sequence"));
    state.busy.remove(&queue);
}

#[test]
fn a_barrier_waits_for_all_before_it_and_those_of_its_names_for_it() {
    let rename = StoreKind::Rename { from: name("a") };
    let mut state = queued(&[
        ("a", StoreKind::Alter),
        ("other", StoreKind::Alter),
        ("b", rename),
        ("b", StoreKind::Alter),
        ("a", StoreKind::Create),
        ("third", StoreKind::Alter),
    ]);
    assert_eq!(begin(&mut state), [1, 2, 6]);
    done(&mut state, "a", 1);
    assert_eq!(begin(&mut state), [] as [u64; 0]);
    done(&mut state, "other", 2);
    assert_eq!(begin(&mut state), [3]);
    assert!(state.busy.contains(&Some(name("a"))) && state.busy.contains(&Some(name("b"))));
    done(&mut state, "b", 3);
    assert_eq!(begin(&mut state), [4, 5]);
}

#[test]
fn records_of_names_keep_their_order_whatever_the_names_are() {
    let mut state = queued(&[("a", StoreKind::Delete), ("a/b", StoreKind::Create), ("c", StoreKind::Create)]);
    assert_eq!(begin(&mut state), [1]);
    done(&mut state, "a", 1);
    assert_eq!(begin(&mut state), [2]);
    // Whoever repairs a repository holds its own records up, and what must come behind them.
    state.held.insert(Some(name("c")));
    done(&mut state, "a/b", 2);
    assert_eq!(begin(&mut state), [] as [u64; 0]);
    state.held.clear();
    assert_eq!(begin(&mut state), [3]);
}
