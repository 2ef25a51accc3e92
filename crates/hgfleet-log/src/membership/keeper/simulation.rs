//! Masters, mirrors and a log in simulated time: random schedules, and what must hold in each of them.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::ids::Incarnation;
use crate::membership::MirrorService;

const MIRRORS: usize = 3;

/// One step of a schedule.
#[derive(Clone, Debug)]
enum Step {
    /// So many milliseconds go by.
    Wait(u64),
    /// A record is appended, and a push waits for it.
    Push,
    /// A mirror makes the next records durable.
    Stage(usize, u64),
    /// A mirror sends a heartbeat.
    Heartbeat(usize),
    /// The next message from a mirror arrives.
    ToMaster(usize),
    /// The next message to a mirror arrives.
    ToMirror(usize),
    /// A mirror's connection breaks; what is under way is lost.
    Break(usize),
    /// A mirror connects.
    Connect(usize),
    /// A mirror says that it serves nobody.
    Leave(usize),
    /// The view that is being written is written.
    Write,
    /// The log can't be written to just now.
    FailWrite,
    /// The master dies, its view unwritten, and the next one takes over.
    TakeOver,
    /// A mirror comes up with an emptied disk.
    Empty(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let mirror = 0..MIRRORS;
    prop_oneof![
        6 => prop_oneof![0..50u64, 500..1500u64, 2900..3100u64, 4900..5100u64].prop_map(Step::Wait),
        4 => Just(Step::Push),
        8 => (mirror.clone(), 1..4u64).prop_map(|(mirror, count)| Step::Stage(mirror, count)),
        8 => mirror.clone().prop_map(Step::Heartbeat),
        20 => mirror.clone().prop_map(Step::ToMaster),
        20 => mirror.clone().prop_map(Step::ToMirror),
        1 => mirror.clone().prop_map(Step::Break),
        4 => mirror.clone().prop_map(Step::Connect),
        1 => mirror.clone().prop_map(Step::Leave),
        8 => Just(Step::Write),
        1 => Just(Step::FailWrite),
        1 => Just(Step::TakeOver),
        1 => mirror.prop_map(Step::Empty),
    ]
}

#[derive(Clone, Debug)]
enum Up {
    Hello(Option<Sequence>),
    Heartbeat(u64),
    Staged(Sequence),
    Told(Sequence),
    Left,
}

#[derive(Clone, Debug)]
enum Down {
    View(View),
    Visible(Sequence),
    Renewed(u64),
}

struct Mirror {
    me: MirrorInView,
    service: MirrorService,
    staged: Option<Sequence>,
    /// The highest position that it has heard of: what it shows.
    shown: Option<Sequence>,
    connected: bool,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

struct World {
    now: Duration,
    end: u64,
    epoch: u64,
    /// As the log has it.
    view: Option<View>,
    keeper: ViewKeeper,
    writing: Option<(Option<u64>, View)>,
    mirrors: Vec<Mirror>,
    lives: u8,
    /// Those that wait, each with the time at which it began to.
    pushes: Vec<(Sequence, Duration)>,
}

fn new_mirror(number: usize, life: u8) -> Mirror {
    let me = MirrorInView { name: format!("mirror-{number}"), incarnation: Incarnation::from_bytes([life; 16]) };
    Mirror {
        service: MirrorService::new(me.clone()),
        me,
        staged: None,
        shown: None,
        connected: false,
        up: VecDeque::new(),
        down: VecDeque::new(),
    }
}

impl World {
    fn new() -> World {
        let (now, epoch, end) = (Duration::from_secs(1000), 1, 1);
        let times = KeeperTimes::default();
        let keeper = ViewKeeper::take_over(Epoch::FIRST, Sequence::new(end), None, times, now);
        let mirrors = (0..MIRRORS).map(|number| new_mirror(number, 0)).collect();
        World { now, end, epoch, view: None, keeper, writing: None, mirrors, lives: 0, pushes: Vec::new() }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Wait(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                self.keeper.tick(self.now);
            }
            Step::Push => {
                self.end += 1;
                let sequence = Sequence::new(self.end).expect("sequence");
                self.pushes.push((sequence, self.now));
                self.keeper.push(self.end, sequence, self.now);
            }
            Step::Stage(number, count) => {
                let end = self.end;
                let mirror = &mut self.mirrors[number];
                let staged = (mirror.staged.map_or(0, Sequence::get) + count).min(end);
                mirror.staged = Sequence::new(staged);
                mirror.send_staged();
            }
            Step::Heartbeat(number) => {
                let mirror = &mut self.mirrors[number];
                if mirror.connected {
                    let heartbeat = mirror.service.sending(self.now);
                    mirror.up.push_back(Up::Heartbeat(heartbeat));
                }
            }
            Step::ToMaster(number) => self.deliver_up(number),
            Step::ToMirror(number) => self.mirrors[number].receive(),
            Step::Break(number) => self.disconnect(number),
            Step::Connect(number) => {
                let mirror = &mut self.mirrors[number];
                if !mirror.connected {
                    mirror.connected = true;
                    mirror.service.join();
                    mirror.up.push_back(Up::Hello(mirror.staged));
                }
            }
            Step::Leave(number) => {
                let mirror = &mut self.mirrors[number];
                if mirror.connected {
                    mirror.service.leave();
                    mirror.up.push_back(Up::Left);
                }
            }
            Step::Write => {
                if let Some((expected, view)) = self.writing.take() {
                    self.write(expected, view);
                    self.keeper.written();
                }
            }
            Step::FailWrite => {
                if self.writing.take().is_some() {
                    self.keeper.not_written();
                }
            }
            Step::TakeOver => {
                (0..MIRRORS).for_each(|number| self.disconnect(number));
                self.epoch += 1;
                self.end += 1;
                (self.writing, self.pushes) = (None, Vec::new());
                let (epoch, end) = (Epoch::new(self.epoch).expect("epoch"), Sequence::new(self.end));
                self.keeper = ViewKeeper::take_over(epoch, end, self.view.clone(), KeeperTimes::default(), self.now);
            }
            Step::Empty(number) => {
                self.disconnect(number);
                self.lives += 1;
                self.mirrors[number] = new_mirror(number, self.lives);
            }
        }
        self.obey();
        self.check();
    }

    /// The log's own rules.
    fn write(&mut self, expected: Option<u64>, view: View) {
        assert_eq!(self.view.as_ref().map(|view| view.version), expected);
        assert_eq!(view.version, expected.unwrap_or(0) + 1);
        assert_eq!(view.epoch.get(), self.epoch);
        assert!(view.visible <= Sequence::new(self.end), "visible beyond the end");
        assert!(view.visible >= self.view.as_ref().and_then(|view| view.visible), "the position went back");
        self.view = Some(view);
    }

    fn deliver_up(&mut self, number: usize) {
        let mirror = &mut self.mirrors[number];
        let Some(message) = mirror.up.pop_front() else { return };
        let me = mirror.me.clone();
        match message {
            Up::Hello(staged) => {
                self.keeper.hello(&me, staged, self.now);
                // The welcome.
                mirror.down.extend(self.keeper.view().cloned().map(Down::View));
            }
            Up::Heartbeat(heartbeat) => self.keeper.heartbeat(&me, heartbeat, self.now),
            Up::Staged(position) => self.keeper.staged(&me, position),
            Up::Told(position) => self.keeper.told(&me, position),
            Up::Left => self.keeper.left(&me),
        }
    }

    fn disconnect(&mut self, number: usize) {
        let mirror = &mut self.mirrors[number];
        if mirror.connected {
            mirror.connected = false;
            // A hello that never arrived opened no stream.
            let greeted = !mirror.up.iter().any(|message| matches!(message, Up::Hello(_)));
            (mirror.up, mirror.down) = (VecDeque::new(), VecDeque::new());
            mirror.service.disconnected();
            if greeted {
                self.keeper.disconnected(&mirror.me);
            }
        }
    }

    fn obey(&mut self) {
        while let Some(want) = self.keeper.next() {
            match want {
                Keeper::WriteView { expected, view } => {
                    assert!(self.writing.is_none(), "two views at once");
                    self.writing = Some((expected, view));
                }
                Keeper::SendView(view) => self.send(|| Down::View(view.clone())),
                Keeper::Visible(position) => self.send(|| Down::Visible(position)),
                Keeper::Renewed { mirror, number } => {
                    let to = self.mirrors.iter_mut().find(|known| known.me == mirror && known.connected);
                    to.expect("connected").down.push_back(Down::Renewed(number));
                }
                // Advice to the mirror; what counts is that it is not renewed.
                Keeper::LeftOut { .. } => {}
                Keeper::PushAnswered { push, told, of } => {
                    let index = self.pushes.iter().position(|(waiting, _)| waiting.get() == push).expect("waits");
                    let (sequence, since) = self.pushes.remove(index);
                    if told < of || of == 0 {
                        let waited = self.now - since;
                        assert!(waited >= KeeperTimes::default().told_wait, "answered too early");
                    } else {
                        for mirror in self.mirrors.iter().filter(|mirror| mirror.service.in_service(self.now)) {
                            assert!(mirror.shown >= Some(sequence), "{} was not told of {sequence}", mirror.me.name);
                        }
                    }
                }
            }
        }
    }

    fn send(&mut self, message: impl Fn() -> Down) {
        for mirror in &mut self.mirrors {
            let greeted = !mirror.up.iter().any(|message| matches!(message, Up::Hello(_)));
            if mirror.connected && greeted {
                mirror.down.push_back(message());
            }
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        let visible = self.view.as_ref().and_then(|view| view.visible);
        for mirror in self.mirrors.iter().filter(|mirror| mirror.service.in_service(self.now)) {
            assert!(mirror.staged >= visible, "{} serves, and has not staged what is visible", mirror.me.name);
            let named = self.view.as_ref().is_some_and(|view| view.names(&mirror.me));
            assert!(named, "{} serves, and is not in the view", mirror.me.name);
        }
        if let Some((_, writing)) = &self.writing {
            for mirror in self.mirrors.iter().filter(|mirror| writing.names(&mirror.me)) {
                assert!(mirror.staged >= writing.visible, "{} has not staged what gets visible", mirror.me.name);
            }
        }
        assert!(self.keeper.deadline().is_none_or(|deadline| deadline > self.now) || self.writing.is_some());
    }
}

impl Mirror {
    fn send_staged(&mut self) {
        if let Some(staged) = self.staged
            && self.connected
        {
            self.up.push_back(Up::Staged(staged));
        }
    }

    fn receive(&mut self) {
        let told = match self.down.pop_front() {
            Some(Down::View(view)) => self.service.view(&view),
            Some(Down::Visible(position)) => Some(position),
            Some(Down::Renewed(number)) => {
                self.service.answered(number);
                None
            }
            None => None,
        };
        if let Some(told) = told {
            self.shown = self.shown.max(Some(told));
            self.up.push_back(Up::Told(told));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_goes_back_and_nobody_serves_what_it_has_not_staged(steps in prop::collection::vec(step(), 1..300)) {
        let mut world = World::new();
        world.obey();
        steps.into_iter().for_each(|step| world.run(step));
    }
}

/// When everything works again, every push is answered by all mirrors.
#[test]
fn a_fleet_in_order_comes_into_service_and_answers() {
    let mut world = World::new();
    world.obey();
    (0..MIRRORS).for_each(|number| world.run(Step::Connect(number)));
    for _ in 0..20 {
        world.run(Step::Push);
        for number in 0..MIRRORS {
            world.run(Step::Stage(number, 100));
            world.run(Step::Heartbeat(number));
        }
        for _ in 0..12 {
            for number in 0..MIRRORS {
                world.run(Step::ToMaster(number));
                world.run(Step::ToMirror(number));
            }
            world.run(Step::Write);
        }
        world.run(Step::Wait(1000));
    }
    assert!(world.pushes.is_empty());
    assert!(world.mirrors.iter().all(|mirror| mirror.service.in_service(world.now)));
    assert_eq!(world.view.and_then(|view| view.visible), Sequence::new(world.end));
}
