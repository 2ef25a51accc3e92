//! The cases that every backend must pass, over the simulated one.

#[path = "../../hgfleet-log/tests/suite/mod.rs"]
mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use hgfleet_log::{Access, Log, LogId, OpenLog};
use hgfleet_simulation::log::{Link, SimulatedLog};
use hgfleet_simulation::world::Chance;
use suite::Backend;

struct Simulated(Arc<SimulatedLog>, Arc<Link>);

impl Simulated {
    async fn open(&self, access: Access) -> Arc<dyn Log> {
        self.0.reached_over(&self.1).open(access).await.expect("opened")
    }
}

#[async_trait]
impl Backend for Simulated {
    async fn master(&self) -> Arc<dyn Log> {
        self.open(Access::Append).await
    }

    async fn reader(&self) -> Arc<dyn Log> {
        self.open(Access::Read).await
    }
}

macro_rules! cases {
    ($($module:ident::$case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let link = Link::new(Chance::new(1, 1));
            suite::$module::$case(&Simulated(SimulatedLog::new(LogId::from_bytes([1; 16])), link)).await;
        }
    )*};
}

cases! {
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
