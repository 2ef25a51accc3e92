//! What every backend of the log must do, whatever it is made of. A backend's own test file opens logs; the cases here
//! know nothing but the trait.

pub mod appending;
pub mod beside;
pub mod payloads;
pub mod reading;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hgfleet_log::{
    AppendError, Body, ChangePayload, Draft, Epoch, Log, Payload, Record, RecordId, RepositoryName, Sequence,
    StoreKind, StoreRecord, Tail,
};

/// One log of a backend, which can be opened again and again.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens it for appending.
    async fn master(&self) -> Arc<dyn Log>;
    /// Opens it for reading; a master has opened it before.
    async fn reader(&self) -> Arc<dyn Log>;
}

/// A server that appends.
pub struct Appender {
    pub log: Arc<dyn Log>,
    pub epoch: Epoch,
    pub tail: Option<Tail>,
}

impl Appender {
    /// Reads where the log ends and takes the next epoch.
    pub async fn new(log: Arc<dyn Log>, holder: &str) -> Appender {
        let tail = log.end().await.expect("end");
        let epoch = Epoch::after(tail.map(|tail| tail.epoch)).expect("epoch");
        let mut appender = Appender { log, epoch, tail };
        appender.append(Body::Epoch { holder: holder.to_owned() }, Payload::Empty).await.expect("epoch record");
        appender
    }

    pub fn draft(&self, body: Body) -> Draft {
        let id = RecordId::random().expect("random");
        Draft::following(self.tail.as_ref(), self.epoch, id, 1_700_000_000_000, body)
    }

    pub async fn append(&mut self, body: Body, payload: Payload) -> Result<Record, AppendError> {
        let record = self.log.append(self.draft(body), payload).await?;
        self.tail = Some(Tail::of(&record));
        Ok(record)
    }

    pub async fn append_store(&mut self, repository: &str, change: &[u8]) -> Record {
        self.append(store(repository, change), Payload::Bytes(change.to_vec())).await.expect("appended")
    }
}

pub fn name(name: &str) -> RepositoryName {
    RepositoryName::parse(name).expect("name")
}

pub fn sequence(number: u64) -> Sequence {
    Sequence::new(number).expect("sequence")
}

/// A change of this repository with these bytes.
pub fn store(repository: &str, change: &[u8]) -> Body {
    store_of(repository, ChangePayload::of(change))
}

pub fn store_of(repository: &str, change: ChangePayload) -> Body {
    Body::Store(StoreRecord {
        repository: name(repository),
        kind: StoreKind::Alter,
        before: Some([1; 32]),
        after: Some([2; 32]),
        who: "person@example.com".to_owned(),
        source: "ssh:192.0.2.1".to_owned(),
        summary: b"summary".to_vec(),
        change,
    })
}

/// All records from the first on.
pub async fn all(log: &dyn Log) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = Sequence::after(records.last().map(|record| record.sequence)).expect("sequence");
        let more = log.read(from, 100).await.expect("read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

pub const SHORT: Duration = Duration::from_millis(200);
pub const LONG: Duration = Duration::from_secs(20);

/// All cases as tests of this file, each over a log of its own that `$backend` makes.
#[macro_export]
macro_rules! conformance {
    ($backend:expr) => {
        $crate::conformance! { $backend;
            appending::a_log_begins_with_an_epoch
            appending::records_come_back_as_they_were_appended_and_in_order
            appending::what_was_acknowledged_is_there_when_the_log_is_opened_again
            appending::an_append_must_name_the_last_sequence_and_its_hash
            appending::of_two_who_expect_the_same_place_one_gets_it
            appending::a_newer_epoch_shuts_the_older_master_out_for_good
            appending::two_masters_that_fight_leave_one_chain
            appending::appends_under_way_together_are_stored_in_order_or_not_at_all
            appending::records_beyond_their_bounds_are_refused_before_anything_is_stored
            payloads::changes_of_every_length_come_back
            #[cfg(feature = "soak")]
            payloads::a_change_of_300_megabytes_comes_back
            payloads::a_change_that_is_not_what_the_record_names_is_refused
            payloads::trimming_gives_up_what_lies_below_the_checkpoint
            payloads::a_short_change_arrives_at_the_start_of_the_file_whatever_its_offset
            reading::reads_are_bounded_and_end_at_the_end
            reading::one_read_is_bounded_in_bytes
            reading::readers_follow_while_the_master_appends
            reading::changed_returns_soon_after_an_append_and_not_before_its_time_without_one
            reading::a_wake_ends_the_wait
            reading::the_last_record_of_each_repository_and_any_by_its_id_are_found
            reading::a_reader_appends_nothing
            beside::the_lease_is_renewed_by_compare_and_set
            beside::the_view_is_replaced_by_the_newest_epoch_alone_and_never_goes_back
            beside::the_newest_epoch_alone_says_that_the_fleet_is_read_only
            beside::every_server_says_how_it_is_and_the_last_word_stays
            beside::a_shared_value_is_replaced_by_compare_and_set_by_any_server
            beside::the_disk_that_it_takes_is_known
        }
    };
    ($backend:expr; $($(#[$attribute:meta])* $module:ident::$case:ident)*) => {$(
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            suite::$module::$case(&$backend).await;
        }
    )*};
}
