//! Situations of a view, step by step.

use super::*;
use crate::ids::Incarnation;

fn mirror(name: &str) -> MirrorInView {
    MirrorInView { name: name.to_owned(), incarnation: Incarnation::from_bytes([1; 16]) }
}

fn position(number: u64) -> Option<Sequence> {
    Sequence::new(number)
}

fn at(number: u64) -> Sequence {
    Sequence::new(number).expect("sequence")
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn wants(keeper: &mut ViewKeeper) -> Vec<Keeper> {
    std::iter::from_fn(|| keeper.next()).collect()
}

/// Writes what it wants written, as often as it wants something; returns everything else that it wanted.
fn settle(keeper: &mut ViewKeeper) -> Vec<Keeper> {
    let mut others = Vec::new();
    loop {
        let wanted = wants(keeper);
        if wanted.is_empty() {
            return others;
        }
        let writes = wanted.iter().any(|want| matches!(want, Keeper::WriteView { .. }));
        others.extend(wanted.into_iter().filter(|want| !matches!(want, Keeper::WriteView { .. })));
        if writes {
            keeper.written();
        }
    }
}

fn view_of(keeper: &ViewKeeper) -> (Option<Sequence>, Vec<&str>) {
    let view = keeper.view().expect("view");
    (view.visible, view.mirrors.iter().map(|mirror| mirror.name.as_str()).collect())
}

/// A new fleet, whose log ends at 10, with these mirrors in service, all at 10.
fn fleet(names: &[&str]) -> ViewKeeper {
    let mut keeper = ViewKeeper::take_over(Epoch::FIRST, position(10), None, KeeperTimes::default(), seconds(0.0));
    settle(&mut keeper);
    for name in names {
        keeper.hello(&mirror(name), position(10), seconds(0.0));
        settle(&mut keeper);
        keeper.told(&mirror(name), at(10));
    }
    assert_eq!(view_of(&keeper), (position(10), names.to_vec()));
    keeper
}

fn answered(push: u64, told: usize, of: usize) -> Keeper {
    Keeper::PushAnswered { push, told, of }
}

#[test]
fn a_push_is_visible_when_all_have_staged_it_and_answered_when_all_were_told() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.push(1, at(11), seconds(0.1));
    assert_eq!(settle(&mut keeper), []);
    keeper.staged(&mirror("a"), at(11));
    assert_eq!(settle(&mut keeper), []);
    keeper.staged(&mirror("b"), at(11));
    assert_eq!(settle(&mut keeper), [Keeper::Visible(at(11))]);
    keeper.told(&mirror("a"), at(11));
    assert_eq!(settle(&mut keeper), []);
    keeper.told(&mirror("b"), at(11));
    assert_eq!(settle(&mut keeper), [answered(1, 2, 2)]);
}

#[test]
fn nobody_is_told_before_the_view_is_written() {
    let mut keeper = fleet(&["a"]);
    keeper.push(1, at(11), seconds(0.1));
    keeper.staged(&mirror("a"), at(11));
    let wanted = wants(&mut keeper);
    assert!(matches!(&wanted[..], [Keeper::WriteView { expected: Some(_), view }] if view.visible == position(11)));
    // A mirror that says so early is not believed.
    keeper.told(&mirror("a"), at(11));
    assert_eq!(wants(&mut keeper), []);
    keeper.written();
    assert_eq!(
        wants(&mut keeper),
        [answered(1, 1, 1), Keeper::Visible(at(11))].iter().rev().cloned().collect::<Vec<_>>()
    );
}

#[test]
fn several_pushes_move_the_position_at_once() {
    let mut keeper = fleet(&["a"]);
    for number in 11..=13 {
        keeper.push(number, at(number), seconds(0.1));
    }
    keeper.staged(&mirror("a"), at(13));
    assert_eq!(settle(&mut keeper), [Keeper::Visible(at(13))]);
    keeper.told(&mirror("a"), at(12));
    assert_eq!(settle(&mut keeper), [answered(11, 1, 1), answered(12, 1, 1)]);
    keeper.told(&mirror("a"), at(13));
    assert_eq!(settle(&mut keeper), [answered(13, 1, 1)]);
}

#[test]
fn what_a_mirror_has_staged_before_the_master_knows_it_settled_is_not_visible() {
    let mut keeper = fleet(&["a"]);
    keeper.staged(&mirror("a"), at(12));
    assert_eq!(settle(&mut keeper), []);
    keeper.appended(at(11));
    assert_eq!(settle(&mut keeper), [Keeper::Visible(at(11))]);
}

#[test]
fn a_mirror_enters_when_it_has_what_is_visible_and_the_view_that_names_it_tells_it() {
    let mut keeper = fleet(&["a"]);
    keeper.hello(&mirror("b"), position(4), seconds(0.1));
    assert_eq!(settle(&mut keeper), []);
    keeper.staged(&mirror("b"), at(9));
    assert_eq!(settle(&mut keeper), []);
    keeper.staged(&mirror("b"), at(10));
    let wanted = settle(&mut keeper);
    assert!(matches!(&wanted[..], [Keeper::SendView(view)] if view.mirrors.len() == 2));
    keeper.push(1, at(10), seconds(0.2));
    assert_eq!(settle(&mut keeper), [answered(1, 2, 2)]);
}

#[test]
fn a_mirror_that_is_behind_holds_nobody_up() {
    let mut keeper = fleet(&["a"]);
    keeper.hello(&mirror("b"), None, seconds(0.1));
    keeper.push(1, at(11), seconds(0.1));
    keeper.staged(&mirror("a"), at(11));
    settle(&mut keeper);
    keeper.told(&mirror("a"), at(11));
    assert_eq!(settle(&mut keeper), [answered(1, 1, 1)]);
}

#[test]
fn a_silent_mirror_is_dropped_after_its_time_and_only_then_the_position_moves() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.push(1, at(11), seconds(1.0));
    keeper.staged(&mirror("a"), at(11));
    keeper.heartbeat(&mirror("a"), 1, seconds(4.0));
    assert_eq!(settle(&mut keeper), [Keeper::Renewed { mirror: mirror("a"), number: 1 }]);
    assert_eq!(keeper.deadline(), Some(seconds(5.0)));
    keeper.tick(seconds(4.9));
    assert_eq!(settle(&mut keeper), []);
    keeper.tick(seconds(5.0));
    let wanted = settle(&mut keeper);
    assert!(matches!(&wanted[..], [Keeper::SendView(_), Keeper::Visible(visible)] if *visible == at(11)));
    keeper.told(&mirror("a"), at(11));
    assert_eq!(settle(&mut keeper), [answered(1, 1, 1)]);
}

#[test]
fn a_heartbeat_that_comes_while_its_sender_is_being_dropped_is_answered_after_the_view() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.heartbeat(&mirror("a"), 1, seconds(4.0));
    wants(&mut keeper);
    keeper.tick(seconds(5.0));
    assert!(matches!(&wants(&mut keeper)[..], [Keeper::WriteView { view, .. }] if view.mirrors == [mirror("a")]));
    keeper.heartbeat(&mirror("b"), 7, seconds(5.1));
    assert_eq!(wants(&mut keeper), [], "it must not serve on while the view moves on without it");
    keeper.written();
    let wanted = wants(&mut keeper);
    assert!(
        matches!(&wanted[..2], [Keeper::SendView(view), Keeper::Renewed { number: 7, .. }] if !view.names(&mirror("b")))
    );
    // It has everything, so it comes back at once.
    assert!(matches!(&wanted[2..], [Keeper::WriteView { view, .. }] if view.names(&mirror("b"))));
}

#[test]
fn a_heartbeat_whose_senders_drop_was_not_written_keeps_it_in_service() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.heartbeat(&mirror("a"), 1, seconds(4.0));
    wants(&mut keeper);
    keeper.tick(seconds(5.0));
    wants(&mut keeper);
    keeper.heartbeat(&mirror("b"), 7, seconds(5.1));
    keeper.not_written();
    assert_eq!(wants(&mut keeper), [Keeper::Renewed { mirror: mirror("b"), number: 7 }]);
    keeper.tick(seconds(5.5));
    assert_eq!(settle(&mut keeper), []);
    assert_eq!(view_of(&keeper).1, ["a", "b"]);
}

#[test]
fn without_mirrors_the_position_stands_and_pushes_are_answered_after_their_wait() {
    let mut keeper = fleet(&["a"]);
    keeper.push(1, at(11), seconds(1.0));
    keeper.tick(seconds(5.0));
    assert!(matches!(&settle(&mut keeper)[..], [Keeper::SendView(view)] if view.mirrors.is_empty()));
    assert_eq!(view_of(&keeper), (position(10), vec![]));
    keeper.tick(seconds(5.9));
    assert_eq!(settle(&mut keeper), []);
    assert_eq!(keeper.deadline(), Some(seconds(6.0)));
    keeper.tick(seconds(6.0));
    assert_eq!(settle(&mut keeper), [answered(1, 0, 0)]);
    assert_eq!(view_of(&keeper), (position(10), vec![]));
}

#[test]
fn a_push_whose_wait_is_over_is_answered_with_how_many_know() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.push(1, at(11), seconds(1.0));
    keeper.staged(&mirror("a"), at(11));
    keeper.staged(&mirror("b"), at(11));
    settle(&mut keeper);
    keeper.told(&mirror("a"), at(11));
    for second in 2..=6 {
        keeper.heartbeat(&mirror("a"), second, seconds(second as f64));
        keeper.heartbeat(&mirror("b"), second, seconds(second as f64));
    }
    let wanted = settle(&mut keeper);
    assert!(wanted.contains(&answered(1, 1, 2)), "{wanted:?}");
}

#[test]
fn a_takeover_keeps_view_and_mirrors_and_gives_them_their_time_anew() {
    let keeper = fleet(&["a", "b"]);
    let view = keeper.view().cloned();
    let epoch = Epoch::new(2).expect("epoch");
    let mut next = ViewKeeper::take_over(epoch, position(12), view.clone(), KeeperTimes::default(), seconds(100.0));
    let wanted = wants(&mut next);
    let version = view.map(|view| view.version);
    assert!(matches!(&wanted[..], [Keeper::WriteView { expected, view }]
        if *expected == version && view.epoch == epoch && view.visible == position(10) && view.mirrors.len() == 2));
    // What comes before that is written waits for it.
    next.hello(&mirror("a"), position(12), seconds(100.1));
    assert_eq!(wants(&mut next), []);
    next.written();
    assert_eq!(settle(&mut next), []);
    next.tick(seconds(104.9));
    assert_eq!(settle(&mut next), [], "b has its five seconds from the takeover");
    next.heartbeat(&mirror("a"), 1, seconds(104.9));
    next.tick(seconds(105.0));
    settle(&mut next);
    assert_eq!(view_of(&next), (position(12), vec!["a"]));
}

#[test]
fn a_mirror_with_an_emptied_disk_is_another_one() {
    let mut keeper = fleet(&["a"]);
    let emptied = MirrorInView { incarnation: Incarnation::from_bytes([2; 16]), ..mirror("a") };
    keeper.hello(&emptied, None, seconds(1.0));
    settle(&mut keeper);
    assert_eq!(keeper.view().expect("view").mirrors, [mirror("a")]);
    keeper.heartbeat(&emptied, 1, seconds(5.0));
    settle(&mut keeper);
    assert_eq!(view_of(&keeper), (position(10), vec![]), "the old one's time is over");
    keeper.staged(&emptied, at(10));
    settle(&mut keeper);
    assert_eq!(keeper.view().expect("view").mirrors, [emptied]);
}

#[test]
fn a_mirror_that_has_less_than_it_said_is_dropped_though_it_renews() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.hello(&mirror("b"), position(3), seconds(1.0));
    for second in 1..=5 {
        keeper.heartbeat(&mirror("a"), second, seconds(second as f64));
        keeper.heartbeat(&mirror("b"), second, seconds(second as f64));
    }
    let wanted = settle(&mut keeper);
    assert!(!wanted.iter().any(|want| matches!(want, Keeper::Renewed { mirror, .. } if mirror.name == "b")));
    assert_eq!(view_of(&keeper), (position(10), vec!["a"]));
    // Dropped, it may come back when it has caught up.
    keeper.staged(&mirror("b"), at(10));
    keeper.heartbeat(&mirror("b"), 6, seconds(5.1));
    settle(&mut keeper);
    assert_eq!(view_of(&keeper).1, ["a", "b"]);
}

#[test]
fn a_mirror_that_leaves_is_dropped_at_once_and_comes_back_with_a_hello() {
    let mut keeper = fleet(&["a", "b"]);
    keeper.left(&mirror("b"));
    settle(&mut keeper);
    assert_eq!(view_of(&keeper).1, ["a"]);
    keeper.heartbeat(&mirror("b"), 1, seconds(1.0));
    settle(&mut keeper);
    assert_eq!(view_of(&keeper).1, ["a"]);
    keeper.hello(&mirror("b"), position(10), seconds(2.0));
    settle(&mut keeper);
    assert_eq!(view_of(&keeper).1, ["a", "b"]);
}

/// The log can't be written to for a while: what the mirror said last must count once it can.
#[test]
fn a_mirror_that_leaves_and_is_back_before_it_was_dropped_enters_the_next_view() {
    for back in [true, false] {
        let mut keeper = fleet(&["a", "b"]);
        keeper.left(&mirror("b"));
        assert!(matches!(wants(&mut keeper)[..], [Keeper::WriteView { .. }]));
        if back {
            keeper.hello(&mirror("b"), position(10), seconds(1.0));
        } else {
            keeper.joined(&mirror("b"), seconds(1.0));
        }
        keeper.heartbeat(&mirror("b"), 1, seconds(1.5));
        assert_eq!(wants(&mut keeper), [], "it is on its way out");
        keeper.written();
        assert_eq!(view_of(&keeper).1, ["a"]);
        keeper.heartbeat(&mirror("b"), 2, seconds(2.0));
        settle(&mut keeper);
        assert_eq!(view_of(&keeper).1, ["a", "b"]);
    }
}

#[test]
fn a_mirror_out_of_touch_neither_enters_nor_is_remembered() {
    let mut keeper = fleet(&["a"]);
    keeper.hello(&mirror("b"), position(1), seconds(0.1));
    keeper.disconnected(&mirror("b"));
    keeper.staged(&mirror("b"), at(10));
    settle(&mut keeper);
    assert_eq!(view_of(&keeper).1, ["a"]);
    assert!(!keeper.mirrors.contains_key(&mirror("b")));
}

#[test]
fn a_view_that_was_not_written_is_tried_again_after_a_pause() {
    let mut keeper = fleet(&["a"]);
    keeper.push(1, at(11), seconds(1.0));
    keeper.staged(&mirror("a"), at(11));
    wants(&mut keeper);
    keeper.not_written();
    assert_eq!(wants(&mut keeper), []);
    assert_eq!(keeper.deadline(), Some(seconds(1.1)));
    keeper.tick(seconds(1.1));
    assert_eq!(settle(&mut keeper), [Keeper::Visible(at(11))]);
}

#[test]
fn a_mirror_that_lags_or_ails_is_left_out_with_the_reason_and_the_last_one_never_is() {
    let mut keeper = fleet(&["a", "b"]);
    settle(&mut keeper);
    let left_out = |wants: &[Keeper], name: &str| {
        wants.iter().find_map(|want| match want {
            Keeper::LeftOut { mirror: one, why } if *one == mirror(name) => Some(why.clone()),
            _ => None,
        })
    };
    keeper.tick(seconds(1.0));
    keeper.appended(at(11));
    keeper.staged(&mirror("a"), at(11));
    settle(&mut keeper);
    let mut now = 1.0;
    let mut reason = None;
    while now < 30.0 && reason.is_none() {
        now += 1.0;
        keeper.heartbeat(&mirror("a"), now as u64, seconds(now));
        keeper.heartbeat(&mirror("b"), now as u64, seconds(now));
        reason = left_out(&settle(&mut keeper), "b");
    }
    assert!(reason.flatten().expect("left out").contains("it lags by"), "after {now} s");
    assert!((15.0..19.0).contains(&now), "{now}");
    // It is not renewed, so it is dropped, and the position moves on without it.
    for _ in 0..7 {
        now += 1.0;
        keeper.heartbeat(&mirror("a"), now as u64, seconds(now));
        keeper.heartbeat(&mirror("b"), now as u64, seconds(now));
        settle(&mut keeper);
    }
    let view = keeper.view().expect("a view").clone();
    assert_eq!((view.mirrors, view.visible), (vec![mirror("a")], Sequence::new(11)));
    // The other one may ail as it likes.
    keeper.ailing(&mirror("a"), Some("its disk is full".to_owned()));
    keeper.heartbeat(&mirror("a"), 100, seconds(now));
    assert_eq!(left_out(&settle(&mut keeper), "a"), None);
    keeper.ailing(&mirror("a"), None);
    // Caught up, it is let in again.
    keeper.staged(&mirror("b"), at(11));
    keeper.heartbeat(&mirror("b"), 101, seconds(now));
    assert_eq!(left_out(&settle(&mut keeper), "b"), Some(None));
    assert_eq!(keeper.view().expect("a view").mirrors.len(), 2);
}

#[test]
fn a_mirror_that_connects_aside_stays_out_until_it_joins() {
    let mut keeper = fleet(&["a"]);
    settle(&mut keeper);
    keeper.hello_aside(&mirror("b"), position(10), seconds(1.0));
    settle(&mut keeper);
    assert_eq!(keeper.view().expect("a view").mirrors, [mirror("a")]);
    keeper.joined(&mirror("b"), seconds(2.0));
    settle(&mut keeper);
    assert_eq!(keeper.view().expect("a view").mirrors, [mirror("a"), mirror("b")]);
}
