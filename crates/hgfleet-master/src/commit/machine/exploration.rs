//! Every order of everything that can happen around one push: a small world is walked through all of its states.
//!
//! The world knows what the machine can't: whether the record is in the log, whether a copy of it is still on its way, who else
//! appends. Each output of the machine is held against that.

use std::collections::{HashMap, VecDeque};

use super::*;

/// What lies in the log where the push expects to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Slot {
    Free,
    Ours,
    /// Our empty record, or anybody's.
    Another,
}

/// What has become of the append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Append {
    NotAsked,
    /// Under way, unanswered; it lands while the slot is free, at any time.
    Asked,
    /// Answered as unknown; it may still land.
    Floating,
    /// Answered, or it can't land any more.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    commit: Commit,
    slot: Slot,
    append: Append,
    /// Another server has taken a newer epoch: in the slot or behind it.
    rival: bool,
    /// The machine knows that.
    fenced: bool,
    reading: bool,
    emptying: bool,
    /// An empty record of ours whose answer was lost and which may still land.
    empty_floats: bool,
    applying: bool,
    applied: bool,
    apply_failed: bool,
    awaiting_told: bool,
    told: bool,
    /// Somebody is there to be told.
    client: bool,
    stored_told: bool,
    reply_told: bool,
    lock: bool,
    wait_over: bool,
}

/// What can happen next.
#[derive(Clone, Debug)]
enum Event {
    /// In the world, unseen by the machine.
    Land,
    EmptyLands,
    RivalTakesOver,
    OtherAppends,
    /// Seen by the machine.
    See(Input),
    EmptyAccepted,
    EmptyAnswerLost,
    EmptyRefused,
}

fn sequence() -> Sequence {
    Sequence::new(7).expect("sequence")
}

impl World {
    fn new() -> World {
        World {
            commit: Commit::new(),
            slot: Slot::Free,
            append: Append::NotAsked,
            rival: false,
            fenced: false,
            reading: false,
            emptying: false,
            empty_floats: false,
            applying: false,
            applied: false,
            apply_failed: false,
            awaiting_told: false,
            told: false,
            client: true,
            stored_told: false,
            reply_told: false,
            lock: true,
            wait_over: false,
        }
    }

    fn events(&self) -> Vec<Event> {
        let free = self.slot == Slot::Free;
        let mut events = Vec::new();
        if free && matches!(self.append, Append::Asked | Append::Floating) {
            events.push(Event::Land);
        }
        if free && self.empty_floats {
            events.push(Event::EmptyLands);
        }
        if !self.rival {
            events.push(Event::RivalTakesOver);
        }
        if free {
            events.push(Event::OtherAppends);
        }
        let mut see = |input| events.push(Event::See(input));
        if self.append == Append::NotAsked && !self.commit.is_done() {
            see(Input::Turn(sequence()));
        }
        if self.append == Append::Asked {
            see(Input::Unknown);
            match self.slot {
                Slot::Ours => {
                    see(Input::Acknowledged);
                    // A copy of it came second.
                    see(Input::WrongLastSequence);
                }
                Slot::Another => see(Input::WrongLastSequence),
                Slot::Free => {}
            }
            if self.slot != Slot::Ours {
                see(Input::Refused("no room".to_owned()));
                if self.rival {
                    see(Input::RefusedFenced);
                }
            }
        }
        if self.reading {
            let found = match self.slot {
                Slot::Free => Found::Nothing,
                Slot::Ours => Found::Ours,
                Slot::Another => Found::Another,
            };
            see(Input::LogSays { found, fenced: self.rival });
            see(Input::LogSays { found: Found::Unreadable, fenced: false });
        }
        if self.applying {
            see(Input::Applied);
            see(Input::ApplyFailed);
        }
        if self.awaiting_told {
            see(Input::Told { told: 2, of: 2 });
            see(Input::Told { told: 1, of: 2 });
        }
        see(Input::LockLost);
        if self.client {
            see(Input::SessionLost);
        }
        if !self.wait_over {
            see(Input::AppendWaitOver);
        }
        if self.rival && !self.fenced {
            see(Input::Fenced);
        }
        if self.emptying {
            if free {
                events.push(Event::EmptyAccepted);
            }
            events.push(Event::EmptyAnswerLost);
            events.push(Event::EmptyRefused);
        }
        events
    }

    fn happen(&self, event: &Event) -> World {
        let mut next = self.clone();
        match event {
            Event::Land => next.slot = Slot::Ours,
            Event::EmptyLands | Event::OtherAppends => next.slot = Slot::Another,
            Event::RivalTakesOver => {
                next.rival = true;
                if next.slot == Slot::Free {
                    next.slot = Slot::Another;
                }
            }
            Event::EmptyAccepted => {
                next.slot = Slot::Another;
                next.emptying = false;
                next.see(Input::EmptyAccepted);
            }
            Event::EmptyAnswerLost => {
                next.empty_floats = true;
                next.emptying = false;
                next.see(Input::EmptyRefused);
            }
            Event::EmptyRefused => {
                next.emptying = false;
                next.see(Input::EmptyRefused);
            }
            Event::See(input) => {
                next.answered(input);
                next.see(input.clone());
            }
        }
        next
    }

    /// What an input means in the world, before the machine hears of it.
    fn answered(&mut self, input: &Input) {
        match input {
            Input::Unknown => self.append = Append::Floating,
            Input::Acknowledged | Input::WrongLastSequence | Input::Refused(_) => self.append = Append::Over,
            Input::RefusedFenced => (self.append, self.fenced) = (Append::Over, true),
            Input::LogSays { found, fenced } => {
                self.reading = false;
                self.fenced |= *fenced && *found != Found::Unreadable;
            }
            Input::Applied => (self.applying, self.applied) = (false, true),
            Input::ApplyFailed => (self.applying, self.apply_failed) = (false, true),
            Input::Told { .. } => (self.awaiting_told, self.told) = (false, true),
            Input::SessionLost => self.client = false,
            Input::AppendWaitOver => self.wait_over = true,
            Input::Fenced => self.fenced = true,
            Input::Turn(_) | Input::LockLost | Input::EmptyAccepted | Input::EmptyRefused => {}
        }
    }

    fn see(&mut self, input: Input) {
        let knew = self.commit.fenced;
        let found_out = matches!(input, Input::RefusedFenced | Input::LogSays { fenced: true, .. });
        let outputs = self.commit.on(input);
        assert_eq!(outputs.contains(&Output::Fence), found_out && !knew, "fences once, when it finds out");
        let mut ended = false;
        for output in outputs {
            assert!(!ended || !matches!(output, Output::Tell(_)), "told after the session was ended");
            self.obey(&output);
            ended |= output == Output::EndSession;
        }
        assert!(!self.commit.is_done() || !self.lock, "done with the lock held");
    }

    /// The record is not in the log and never will be.
    fn never(&self) -> bool {
        match self.slot {
            Slot::Ours => false,
            Slot::Another => true,
            Slot::Free => matches!(self.append, Append::NotAsked | Append::Over),
        }
    }

    fn obey(&mut self, output: &Output) {
        match output {
            Output::Append => {
                assert_eq!(self.append, Append::NotAsked, "appended twice");
                assert!(!self.fenced, "appended though fenced");
                self.append = Append::Asked;
            }
            Output::Read { .. } => {
                assert!(!self.reading && !self.emptying && self.append != Append::Asked);
                self.reading = true;
            }
            Output::AppendEmpty => {
                assert!(self.append != Append::Asked && !self.reading && !self.emptying);
                assert!(!self.fenced, "appended an empty record though fenced");
                self.emptying = true;
            }
            Output::Tell(tell) => self.tell(tell),
            Output::Apply { .. } => {
                assert_eq!(self.slot, Slot::Ours, "applied what the log has not");
                assert!(!self.applying && !self.applied);
                self.applying = true;
            }
            Output::AwaitTold(_) => {
                assert_eq!(self.slot, Slot::Ours);
                self.awaiting_told = true;
            }
            Output::DropChange => assert!(self.never(), "dropped what may be in the log"),
            Output::ReleaseLock => {
                assert!(self.lock, "released twice");
                assert!(self.applied || self.never(), "released before it was refused or applied");
                self.lock = false;
            }
            Output::Fence => assert!(self.rival, "fenced without a newer epoch"),
            Output::EndSession => {
                assert!(self.client);
                self.client = false;
            }
        }
    }

    fn tell(&mut self, tell: &Tell) {
        assert!(self.client, "nobody is there");
        assert!(!self.reply_told, "told after the reply");
        match tell {
            Tell::Stored(_) => {
                assert_eq!(self.slot, Slot::Ours, "told before the log has it");
                assert!(!self.stored_told);
                self.stored_told = true;
                return;
            }
            Tell::Visible { .. } => assert!(self.slot == Slot::Ours && self.applied && self.told && self.stored_told),
            Tell::NotApplied(_) => {
                assert!(self.slot == Slot::Ours && self.apply_failed && !self.applied && self.told && self.stored_told);
            }
            Tell::Refused(_) => assert!(self.never() && !self.stored_told, "refused, and it may be in the log"),
            Tell::Unknown => {
                assert!(self.append != Append::NotAsked && !self.stored_told, "unknown, and it is known");
                assert!(self.wait_over, "told before the log has settled it");
            }
        }
        self.reply_told = true;
    }

    /// Nothing that the push's owner would have to do is left.
    fn check_done(&self) {
        assert!(!self.lock);
        if self.slot == Slot::Ours && self.append != Append::NotAsked {
            assert!(self.applied, "in the log, and not applied");
        } else {
            assert!(self.never());
        }
        assert!(!self.client || self.reply_told, "the client waits for ever");
        assert!(!self.reading && !self.emptying && !self.applying && self.append != Append::Asked);
    }

    /// Answers to what was never asked change nothing.
    fn check_deaf(&self) {
        let mut unasked = vec![];
        if self.append != Append::Asked {
            unasked.extend([Input::Acknowledged, Input::WrongLastSequence, Input::RefusedFenced, Input::Unknown]);
            unasked.push(Input::Refused(String::new()));
        }
        if self.append != Append::NotAsked {
            unasked.push(Input::Turn(sequence()));
        }
        if !self.reading {
            unasked.extend([Found::Ours, Found::Nothing].map(|found| Input::LogSays { found, fenced: false }));
        }
        if !self.emptying {
            unasked.extend([Input::EmptyAccepted, Input::EmptyRefused]);
        }
        if !self.applying {
            unasked.extend([Input::Applied, Input::ApplyFailed]);
        }
        for input in unasked {
            let mut commit = self.commit.clone();
            assert_eq!(commit.on(input.clone()), [], "{input:?} in {self:?}");
            assert_eq!(commit, self.commit, "{input:?}");
        }
    }
}

/// All worlds that can be reached, each with those from which it can be reached in one step.
fn explore() -> Vec<(World, Vec<usize>)> {
    let mut worlds = vec![(World::new(), Vec::new())];
    let mut numbers = HashMap::from([(World::new(), 0)]);
    let mut open = VecDeque::from([0]);
    while let Some(from) = open.pop_front() {
        let world = worlds[from].0.clone();
        for event in world.events() {
            let next = world.happen(&event);
            let number = *numbers.entry(next.clone()).or_insert_with(|| {
                worlds.push((next, Vec::new()));
                open.push_back(worlds.len() - 1);
                worlds.len() - 1
            });
            worlds[number].1.push(from);
        }
    }
    worlds
}

#[test]
fn whatever_happens_in_whatever_order_the_rules_hold_and_the_push_can_end() {
    let worlds = explore();
    assert!(worlds.len() > 1000, "{} worlds", worlds.len());
    // Rules that hold at each output are checked on the way; here those that hold in each world.
    let mut ends = vec![false; worlds.len()];
    let mut open = VecDeque::new();
    for (number, (world, _)) in worlds.iter().enumerate() {
        world.check_deaf();
        if world.commit.is_done() {
            world.check_done();
            ends[number] = true;
            open.push_back(number);
        }
    }
    // From each world an end can be reached: the machine is never stuck.
    while let Some(number) = open.pop_front() {
        for &before in &worlds[number].1 {
            if !std::mem::replace(&mut ends[before], true) {
                open.push_back(before);
            }
        }
    }
    let stuck = ends.iter().position(|ends| !ends);
    assert_eq!(stuck.map(|number| &worlds[number].0), None, "no way out");
}

#[test]
fn every_outcome_is_possible() {
    let worlds = explore();
    let any = |holds: &dyn Fn(&World) -> bool| worlds.iter().any(|(world, _)| world.commit.is_done() && holds(world));
    assert!(any(&|world| world.applied && world.stored_told && world.reply_told));
    assert!(any(&|world| world.applied && world.reply_told && !world.stored_told), "unknown, then stored");
    assert!(any(&|world| world.applied && world.rival), "stored, then fenced");
    assert!(any(&|world| !world.applied && world.empty_floats && world.reply_told), "refused by an empty record");
    assert!(any(&|world| !world.applied && world.rival && world.fenced));
    assert!(any(&|world| world.append == Append::NotAsked));
}

fn repository() -> RepositoryName {
    RepositoryName::parse("team/first").expect("name")
}

fn run(inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
    let mut commit = Commit::new();
    inputs.into_iter().flat_map(|input| commit.on(input)).collect()
}

fn read(found: Found) -> Input {
    Input::LogSays { found, fenced: false }
}

#[test]
fn a_push_that_goes_well() {
    let told = Input::Told { told: 2, of: 2 };
    let outputs = run([Input::Turn(sequence()), Input::Acknowledged, told, Input::Applied]);
    let visible = Tell::Visible { told: 2, of: 2 };
    assert_eq!(visible.text(&repository()), "visible on 2 of 2 mirrors");
    assert_eq!(Tell::Stored(sequence()).text(&repository()), "stored as 7");
    assert_eq!(
        outputs,
        [
            Output::Append,
            Output::Tell(Tell::Stored(sequence())),
            Output::Apply { again: false },
            Output::AwaitTold(sequence()),
            Output::ReleaseLock,
            Output::Tell(visible),
        ]
    );
}

#[test]
fn an_unknown_append_that_the_log_has_is_stored() {
    let outputs = run([Input::Turn(sequence()), Input::Unknown, read(Found::Unreadable), read(Found::Ours)]);
    assert_eq!(outputs[..3], [Output::Append, Output::Read { again: false }, Output::Read { again: true }]);
    assert_eq!(outputs[3], Output::Tell(Tell::Stored(sequence())));
}

#[test]
fn an_unknown_append_that_the_log_has_not_is_shut_out_before_it_is_refused() {
    let outputs = run([Input::Turn(sequence()), Input::Unknown, read(Found::Nothing)]);
    assert_eq!(outputs[2..], [Output::AppendEmpty]);
    let outputs = run([Input::Turn(sequence()), Input::Unknown, read(Found::Nothing), Input::EmptyAccepted]);
    let refused = Tell::Refused(Why::Overtaken);
    assert!(refused.text(&repository()).starts_with("refused: "));
    assert_eq!(outputs[3..], [Output::Tell(refused), Output::DropChange, Output::ReleaseLock]);
}

#[test]
fn a_client_that_was_told_unknown_hears_no_more_and_the_record_is_applied_all_the_same() {
    let inputs = [Input::Turn(sequence()), Input::Unknown, Input::AppendWaitOver, read(Found::Ours), Input::Applied];
    let outputs = run(inputs);
    assert_eq!(Tell::Unknown.text(&repository()), "outcome unknown: pull before you push again");
    assert_eq!(
        outputs[2..],
        [Output::Tell(Tell::Unknown), Output::EndSession, Output::Apply { again: false }, Output::ReleaseLock]
    );
}

#[test]
fn what_can_not_be_applied_is_told_and_tried_again_with_the_lock_held() {
    let told = Input::Told { told: 1, of: 2 };
    let outputs = run([Input::Turn(sequence()), Input::Acknowledged, Input::ApplyFailed, told]);
    assert_eq!(
        outputs[4..],
        [Output::Apply { again: true }, Output::Tell(Tell::NotApplied(sequence())), Output::EndSession]
    );
}

#[test]
fn a_newer_epoch_fences() {
    let fenced = Input::LogSays { found: Found::Another, fenced: true };
    let outputs = run([Input::Turn(sequence()), Input::WrongLastSequence, fenced]);
    assert_eq!(outputs[2..4], [Output::Fence, Output::Tell(Tell::Refused(Why::Fenced))]);
    let stored = Input::LogSays { found: Found::Ours, fenced: true };
    let outputs = run([Input::Turn(sequence()), Input::Unknown, stored]);
    assert_eq!(outputs[2..4], [Output::Fence, Output::Tell(Tell::Stored(sequence()))]);
}
