//! The one place that says which thread runs, what time it is, and what chance brings.
//!
//! All threads of a simulated run are real threads, of which one runs at a time: the one that has the *baton*. Whoever would
//! block gives it back, and a seeded generator draws who gets it next among those that could go on. Time stands still while
//! somebody can go on, and then moves to the next moment at which somebody wants to.
//!
//! Whatever is in here is touched by whoever has the baton, and by nobody else.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::real;

/// Nanoseconds.
pub type Nanos = u64;
/// One millisecond.
pub const MS: Nanos = 1_000_000;
/// One second.
pub const SECOND: Nanos = 1_000 * MS;

/// Who runs nobody but the driver and the clients: no server.
pub const CLIENTS: usize = 0;
/// Most nodes.
pub const NODES_MAX: usize = 16;
const FDS_MAX: usize = 65_536;
/// While somebody can go on, descriptors are looked at in one of so many turns.
const POLL_EVERY: u64 = 4;
/// A run that takes more turns than this doesn't end.
const TURNS_MAX: u64 = 40_000_000;

/// A small generator of random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The generator of this name, for this seed.
    pub fn new(seed: u64, stream: u64) -> Chance {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        chance.draw();
        chance
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// True in so many of a thousand cases.
    pub fn per_mille(&mut self, cases: u64) -> bool {
        self.below(1000) < cases
    }
}

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: it can go on.
    Ready,
    /// Somebody's wake of this address.
    Futex { address: usize, deadline: Option<Nanos> },
    /// Something in this set of descriptors.
    Epoll { fd: i32, deadline: Option<Nanos> },
    /// This descriptor.
    Descriptor { fd: i32, events: i16, deadline: Option<Nanos> },
    /// The time.
    Sleep { deadline: Nanos },
    /// That thread's end.
    Join { thread: usize },
    /// Its server is dead, or it has ended.
    Gone,
}

/// Why a thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// What it waited for has come.
    Event,
    /// Its time is over.
    TimedOut,
}

pub(crate) struct Thread {
    pub(crate) id: usize,
    pub(crate) node: usize,
    pub(crate) baton: AtomicU32,
    pub(crate) wait: Wait,
    pub(crate) woken: Woken,
    /// When it may see what has come: messages take their time.
    ready_at: Option<Nanos>,
    pub(crate) finished: bool,
    pub(crate) handle: u64,
    /// Mutexes of the C library that it holds: it is not stopped then, since others would have to wait in earnest.
    pub(crate) held: u32,
}

/// A server's machine, as far as it is simulated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) alive: bool,
    pub(crate) paused_until: Nanos,
    /// What its wall clock is off, nanoseconds.
    pub(crate) wall_offset: i64,
    /// Its disk takes nothing more.
    pub(crate) disk_full: bool,
    /// It dies at that many steps of its disk from now.
    pub(crate) dies_after_steps: Option<u64>,
    /// How long a sync takes at most.
    pub(crate) sync_max: Nanos,
    /// How long messages take at most.
    pub(crate) latency_max: Nanos,
    /// Steps that its disk has taken.
    pub(crate) steps: u64,
}

pub(crate) struct World {
    pub(crate) now: Nanos,
    pub(crate) threads: Vec<*mut Thread>,
    live: Vec<*mut Thread>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) random: Chance,
    pub(crate) schedule: Chance,
    /// How often, of a thousand, a thread is stopped where it could go on.
    pub(crate) preempted: u64,
    pub(crate) sockets: Vec<u8>,
    pub(crate) blocking: Vec<Option<Nanos>>,
    trace: u64,
    turns: u64,
    polled: Vec<libc::pollfd>,
    polled_threads: Vec<*mut Thread>,
    candidates: Vec<(*mut Thread, Woken)>,
}

struct Shared(UnsafeCell<Option<World>>);
// SAFETY: only the thread that has the baton looks inside.
unsafe impl Sync for Shared {}

static WORLD: Shared = Shared(UnsafeCell::new(None));
static ACTIVE: AtomicBool = AtomicBool::new(false);

thread_local! {
    static ME: Cell<*mut Thread> = const { Cell::new(std::ptr::null_mut()) };
}

/// Whether the calling thread is a simulated one.
pub(crate) fn me() -> Option<&'static mut Thread> {
    if !ACTIVE.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: a thread's entry lives as long as the process, and only its own thread and whoever has the baton use it.
    unsafe { ME.get().as_mut() }
}

/// The world. Only for who has the baton.
pub(crate) fn world() -> &'static mut World {
    // SAFETY: see `Shared`; references never live across a turn.
    unsafe { (*WORLD.0.get()).as_mut().expect("a world") }
}

/// Makes the world for this seed, with the calling thread in it. Once in a process.
pub fn begin(seed: u64) {
    real::stay_on_one_core();
    let mut random = Chance::new(seed, 1);
    let mut schedule = Chance::new(seed, 2);
    let preempted = [0, 2, 10, 40][schedule.below(4) as usize];
    random.draw();
    let thread = Box::into_raw(Box::new(new_thread(0, CLIENTS)));
    let world = World {
        now: 0,
        threads: vec![thread],
        live: vec![thread],
        nodes: vec![Node { name: "clients".to_owned(), alive: true, ..Node::default() }],
        random,
        schedule,
        preempted,
        sockets: vec![0; FDS_MAX],
        blocking: vec![None; FDS_MAX],
        trace: 0xcbf2_9ce4_8422_2325,
        turns: 0,
        polled: Vec::new(),
        polled_threads: Vec::new(),
        candidates: Vec::new(),
    };
    // SAFETY: no other thread is simulated yet.
    unsafe { *WORLD.0.get() = Some(world) };
    ME.set(thread);
    ACTIVE.store(true, Ordering::SeqCst);
}

fn new_thread(id: usize, node: usize) -> Thread {
    Thread {
        id,
        node,
        baton: AtomicU32::new(0),
        wait: Wait::Ready,
        woken: Woken::Event,
        ready_at: None,
        finished: false,
        handle: 0,
        held: 0,
    }
}

impl World {
    /// A new thread of this node, which can go on.
    pub(crate) fn add_thread(&mut self, node: usize) -> *mut Thread {
        let thread = Box::into_raw(Box::new(new_thread(self.threads.len(), node)));
        self.threads.push(thread);
        self.live.push(thread);
        thread
    }

    /// Takes note of something, for the trace that two runs of one seed must share.
    pub(crate) fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0000_0100_0000_01b3);
        self.trace ^= self.trace >> 29;
    }

    /// Whoever waits for this address can go on.
    pub(crate) fn wake(&mut self, address: usize, count: u64) -> u64 {
        let mut woken = 0;
        for thread in &self.live {
            // SAFETY: entries live for ever.
            let thread = unsafe { &mut **thread };
            if woken < count && matches!(thread.wait, Wait::Futex { address: at, .. } if at == address) {
                thread.wait = Wait::Ready;
                thread.woken = Woken::Event;
                woken += 1;
            }
        }
        woken
    }

    /// All threads of a node stop for good.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        self.nodes[node].dies_after_steps = None;
        self.live.retain(|thread| {
            // SAFETY: entries live for ever.
            let thread = unsafe { &mut **thread };
            if thread.node == node {
                thread.wait = Wait::Gone;
            }
            thread.node != node
        });
    }

    /// Draws who goes on, and moves the time where nobody can.
    fn choose(&mut self) -> *mut Thread {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.give_up("the run does not end");
        }
        loop {
            let next = self.look();
            if !self.candidates.is_empty() {
                let (thread, woken) = self.candidates[self.schedule.below(self.candidates.len() as u64) as usize];
                self.now += 1_000 + self.schedule.below(8_000);
                // SAFETY: entries live for ever.
                let chosen = unsafe { &mut *thread };
                chosen.wait = Wait::Ready;
                chosen.woken = woken;
                chosen.ready_at = None;
                let noted = (chosen.id as u64) << 48 ^ self.now;
                self.note(noted);
                return thread;
            }
            match next {
                Some(next) => self.now = self.now.max(next),
                None => self.give_up("nobody can go on any more"),
            }
        }
    }

    /// Finds who can go on; else returns when somebody can.
    fn look(&mut self) -> Option<Nanos> {
        let World { candidates, polled, polled_threads, live, nodes, now, schedule, turns, .. } = self;
        let now = *now;
        let mut next: Option<Nanos> = None;
        let mut at = |time: Option<Nanos>| {
            if let Some(time) = time {
                next = Some(next.map_or(time, |next| next.min(time)));
            }
        };
        candidates.clear();
        polled.clear();
        polled_threads.clear();
        for pointer in live.iter().copied() {
            // SAFETY: entries live for ever.
            let thread = unsafe { &mut *pointer };
            let node = &nodes[thread.node];
            if node.paused_until > now {
                at(Some(node.paused_until));
                continue;
            }
            match thread.wait {
                Wait::Ready => candidates.push((pointer, thread.woken)),
                Wait::Futex { deadline, .. } => match deadline {
                    Some(deadline) if deadline <= now => candidates.push((pointer, Woken::TimedOut)),
                    deadline => at(deadline),
                },
                Wait::Sleep { deadline } if deadline <= now => candidates.push((pointer, Woken::TimedOut)),
                Wait::Sleep { deadline } => at(Some(deadline)),
                Wait::Epoll { fd, deadline } => match (thread.ready_at, deadline) {
                    (_, Some(deadline)) if deadline <= now => candidates.push((pointer, Woken::TimedOut)),
                    (Some(ready), _) if ready <= now => candidates.push((pointer, Woken::Event)),
                    (ready, deadline) => {
                        at(ready);
                        at(deadline);
                        if ready.is_none() {
                            polled.push(libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
                            polled_threads.push(pointer);
                        }
                    }
                },
                Wait::Descriptor { fd, events, deadline } => match deadline {
                    Some(deadline) if deadline <= now => candidates.push((pointer, Woken::TimedOut)),
                    deadline => {
                        at(deadline);
                        polled.push(libc::pollfd { fd, events, revents: 0 });
                        polled_threads.push(pointer);
                    }
                },
                Wait::Join { thread: other } => {
                    // SAFETY: entries live for ever.
                    if unsafe { (*self.threads[other]).finished } {
                        candidates.push((pointer, Woken::Event));
                    }
                }
                Wait::Gone => {}
            }
        }
        // Asking the kernel costs more than all the rest; what has come is seen a little later, as by any scheduler.
        if !polled.is_empty() && (candidates.is_empty() || turns.is_multiple_of(POLL_EVERY)) {
            real::poll(polled, 0);
            for (polled, pointer) in polled.iter().zip(polled_threads.iter()) {
                if polled.revents == 0 {
                    continue;
                }
                // SAFETY: entries live for ever.
                let thread = unsafe { &mut **pointer };
                let latency = match thread.wait {
                    Wait::Epoll { .. } if schedule.per_mille(300) => {
                        let most = nodes[thread.node].latency_max;
                        if schedule.per_mille(100) { schedule.below(most) } else { schedule.below(most / 16) }
                    }
                    _ => 0,
                };
                if latency == 0 {
                    candidates.push((*pointer, Woken::Event));
                } else {
                    thread.ready_at = Some(now + latency);
                    at(thread.ready_at);
                }
            }
        }
        next
    }

    fn give_up(&mut self, why: &str) -> ! {
        eprintln!("{why}, after {} turns, at {:.3} s", self.turns, self.now as f64 / SECOND as f64);
        for thread in &self.live {
            // SAFETY: entries live for ever.
            let thread = unsafe { &**thread };
            eprintln!("  {} thread {}: {:?}", self.nodes[thread.node].name, thread.id, thread.wait);
        }
        // SAFETY: ends the process.
        unsafe { libc::_exit(99) }
    }
}

/// Gives the baton back until what is waited for has come.
pub(crate) fn wait(me: &'static mut Thread, wait: Wait) -> Woken {
    me.wait = wait;
    let next = world().choose();
    if !std::ptr::eq(next, me) {
        hand_over(next);
        take(me);
    }
    me.woken
}

/// A place where others may come before the calling thread goes on.
pub(crate) fn pass(me: &'static mut Thread) {
    if me.held == 0 {
        wait(me, Wait::Ready);
    }
}

/// The same, by chance.
pub(crate) fn pass_perhaps(me: &'static mut Thread) {
    let world = world();
    if world.schedule.per_mille(world.preempted) {
        pass(me);
    }
}

/// A step of a disk: who is to die, dies here. `held`: not where others would wait for the dead in earnest.
pub(crate) fn disk_step(me: &'static mut Thread) {
    let world = world();
    let node = &mut world.nodes[me.node];
    node.steps += 1;
    if me.held == 0
        && let Some(left) = node.dies_after_steps
    {
        if left == 0 {
            world.kill(me.node);
            wait(me, Wait::Gone);
            unreachable!("a dead server goes on");
        }
        node.dies_after_steps = Some(left - 1);
    }
    pass_perhaps(me);
}

fn hand_over(next: *mut Thread) {
    // SAFETY: entries live for ever, and the baton is atomic.
    let baton = unsafe { &(*next).baton };
    baton.store(1, Ordering::Release);
    real::futex_wake(baton);
}

fn take(me: &Thread) {
    while me.baton.swap(0, Ordering::Acquire) == 0 {
        real::futex_wait(&me.baton, 0);
    }
}

/// A new thread's first act: it waits for the baton.
pub(crate) fn enter(thread: *mut Thread) {
    // SAFETY: entries live for ever.
    take(unsafe { &*thread });
    ME.set(thread);
}

/// A thread's last act.
pub(crate) fn leave() {
    let Some(me) = me() else { return };
    me.finished = true;
    me.wait = Wait::Gone;
    let world = world();
    let id = me.id;
    // SAFETY: entries live for ever.
    world.live.retain(|thread| unsafe { (**thread).id } != id);
    ME.set(std::ptr::null_mut());
    let next = world.choose();
    hand_over(next);
}

/// Simulated time since the run's begin.
pub fn now() -> Nanos {
    world().now
}

/// What two runs of one seed must share: a hash over every turn.
pub fn trace() -> u64 {
    world().trace
}

/// Turns so far.
pub fn turns() -> u64 {
    world().turns
}

/// Takes note of an event in the trace.
pub fn note(what: &str) {
    let world = world();
    for byte in what.bytes() {
        world.note(u64::from(byte));
    }
}

/// A new machine.
pub fn add_node(name: &str) -> usize {
    let world = world();
    assert!(world.nodes.len() < NODES_MAX, "too many nodes");
    world.nodes.push(Node {
        name: name.to_owned(),
        alive: true,
        sync_max: 4 * MS,
        latency_max: 20 * MS,
        ..Node::default()
    });
    world.nodes.len() - 1
}

/// Whether a machine's process lives.
pub fn is_alive(node: usize) -> bool {
    world().nodes[node].alive
}

/// Runs what `work` starts on this machine: its first thread, from which all its others come.
pub fn spawn_on(node: usize, work: impl FnOnce() + Send + 'static) {
    let name = world().nodes[node].name.clone();
    world().nodes[node].alive = true;
    let caller = me().expect("a simulated thread");
    let own = std::mem::replace(&mut caller.node, node);
    let spawned = std::thread::Builder::new().name(name).spawn(work);
    caller.node = own;
    drop(spawned.expect("a thread"));
}

/// Kills a machine's process: none of its threads goes on, its connections end.
pub fn kill(node: usize) {
    world().kill(node);
    hang_up(node);
}

/// Lets a machine's process die at this many steps of its disk from now.
pub fn kill_at_step(node: usize, steps: u64) {
    world().nodes[node].dies_after_steps = Some(steps);
}

/// What [`kill_at_step`] has not brought about is called off.
pub fn spare(node: usize) {
    world().nodes[node].dies_after_steps = None;
}

/// Ends all connections and listeners of a dead machine.
pub fn hang_up(node: usize) {
    for fd in 0..FDS_MAX {
        if world().sockets[fd] == node as u8 + 1 {
            world().sockets[fd] = 0;
            world().blocking[fd] = None;
            real::shutdown(fd as i32);
            real::close(fd as i32);
        }
    }
}

/// Breaks some of a machine's connections, as a network does; listeners stay.
pub fn cut_connections(node: usize, chance: &mut Chance) -> usize {
    let mut cut = 0;
    for fd in 0..FDS_MAX {
        if world().sockets[fd] == node as u8 + 1 && !real::listens(fd as i32) && chance.per_mille(500) {
            real::shutdown(fd as i32);
            cut += 1;
        }
    }
    cut
}

/// Stops a machine's process for this long.
pub fn pause(node: usize, time: Nanos) {
    let world = world();
    world.nodes[node].paused_until = world.now + time;
}

/// Moves a machine's wall clock.
pub fn jump_clock(node: usize, by: i64) {
    world().nodes[node].wall_offset += by;
}

/// Fills a machine's disk, or makes room.
pub fn fill_disk(node: usize, full: bool) {
    world().nodes[node].disk_full = full;
}

/// How slow a machine's disk and its network are.
pub fn slow(node: usize, sync_max: Nanos, latency_max: Nanos) {
    let node = &mut world().nodes[node];
    (node.sync_max, node.latency_max) = (sync_max, latency_max);
}
