//! A master made of the real log and a simple rule: what every mirror in service has staged is shown.

use std::fs::File;
use std::io::Seek;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hg_store::change::{ChangeRef, ChangeWriter, between};
use hgfleet_log::stream::{self, Down, Up, Welcome};
use hgfleet_log::{
    Body, ChangePayload, Draft, EmbeddedLog, Epoch, Log, Member, MirrorInView, Payload, Record, RecordId,
    RepositoryName, Sequence, StoreKind, StoreRecord, Tail, View,
};
use hgfleet_replica::Replica;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(20);

/// The master.
pub struct Master {
    pub log: EmbeddedLog,
    replica: Replica,
    tail: Mutex<Option<Tail>>,
    state: Arc<State>,
    runtime: Runtime,
    data: PathBuf,
}

#[derive(Default)]
struct State {
    streams: Mutex<Vec<Mirror>>,
    moved: Condvar,
    view: Mutex<Option<View>>,
    is_deaf: AtomicBool,
}

struct Mirror {
    mirror: MirrorInView,
    output: UnixStream,
    staged: Option<Sequence>,
    told: Option<Sequence>,
    member: Option<Member>,
}

impl Master {
    /// Makes a fleet's folders with an empty log, and listens for mirrors.
    pub fn start(data: &Path) -> Self {
        for folder in ["log", "run/master", "master"] {
            std::fs::create_dir_all(data.join(folder)).expect("made");
        }
        let log = EmbeddedLog::open_master(&data.join("log")).expect("a log");
        let replica = Replica::open(&data.join("master")).expect("a replica");
        replica.recover(None, &mut |_| Ok(None)).expect("recovered");
        let runtime = Runtime::new().expect("a runtime");
        let master =
            Self { log, replica, tail: Mutex::new(None), state: Arc::default(), runtime, data: data.to_owned() };
        master.listen();
        let holder = "master".to_owned();
        let epoch = master.append(Body::Epoch { holder }, Payload::Empty);
        // As a real one: a deletion waits for every record before it.
        master.replica.apply(&epoch, b"").expect("applied");
        let renewed = master.log.renew_lease("master", Some(Epoch::FIRST), None);
        master.runtime.block_on(renewed).expect("renewed");
        master
    }

    fn listen(&self) {
        let path = self.data.join("run/master/mirrors.sock");
        let listener = UnixListener::bind(path).expect("bound");
        let (state, log) = (self.state.clone(), self.runtime.block_on(self.log.identity()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, stream) = (state.clone(), stream.expect("a stream"));
                std::thread::spawn(move || state.listen_to(stream, log));
            }
        });
    }

    /// Appends a record and gives it; nothing is shown yet.
    fn append(&self, body: Body, payload: Payload) -> Record {
        let mut tail = self.tail.lock().expect("lock");
        let id = RecordId::random().expect("random");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
        let draft = Draft::following(tail.as_ref(), Epoch::FIRST, id, now.as_millis() as u64, body);
        let record = self.runtime.block_on(self.log.append(draft, payload)).expect("appended");
        *tail = Some(Tail::of(&record));
        drop(tail);
        self.state.say_all(&Down::Appended(record.sequence));
        record
    }

    /// Makes a repository, or changes it, so that it is as `from` (a folder with `.hg`) is now.
    pub fn take(&self, name: &str, from: &Path) -> Sequence {
        let name = RepositoryName::parse(name).expect("a name");
        let ours = self.data.join("master/repos").join(name.as_str()).join(".hg");
        let is_new = !ours.exists();
        let mut writer = ChangeWriter::new(tempfile::tempfile().expect("a file")).expect("a writer");
        between((!is_new).then_some(ours.as_path()), &from.join(".hg"), &mut writer).expect("a change");
        let (mut file, bytes) = writer.finish().expect("written");
        file.rewind().expect("rewound");
        // SAFETY: nobody else has the file.
        let map = unsafe { memmap2::Mmap::map(&file).expect("mapped") };
        let change = ChangeRef::parse(&map).expect("a change");
        let (kind, before, after) = if is_new {
            (StoreKind::Create, None, self.replica.digest_of_new(&name, &change).expect("a digest"))
        } else {
            let before = self.replica.snapshot(&name).expect("a snapshot").digest;
            (StoreKind::Alter, Some(before), self.replica.digest_after(&name, &change).expect("a digest"))
        };
        let store = StoreRecord {
            repository: name,
            kind,
            before,
            after: Some(after),
            who: "user@example.test".into(),
            source: "test".into(),
            summary: Vec::new(),
            change: ChangePayload::of(&map),
        };
        let copy = File::try_clone(&file).expect("a copy");
        let record = self.append(Body::Store(store), Payload::File { file: copy, bytes });
        self.replica.apply(&record, &map).expect("applied");
        record.sequence
    }

    /// Deletes a repository.
    pub fn delete(&self, name: &str) -> Sequence {
        let name = RepositoryName::parse(name).expect("a name");
        let before = self.replica.snapshot(&name).expect("a snapshot").digest;
        let store = StoreRecord {
            repository: name,
            kind: StoreKind::Delete,
            before: Some(before),
            after: None,
            who: String::new(),
            source: String::new(),
            summary: Vec::new(),
            change: ChangePayload::of(b""),
        };
        let record = self.append(Body::Store(store), Payload::Empty);
        self.replica.apply(&record, b"").expect("applied");
        record.sequence
    }

    /// Takes mirrors into service once they have staged everything that is visible.
    pub fn admit(&self, names: &[&str]) {
        let visible = self.view().and_then(|view| view.visible);
        self.wait_until("mirrors to connect and stage", |mirrors| {
            names.iter().all(|name| mirrors.iter().any(|m| m.mirror.name == *name && m.staged >= visible))
        });
        let streams = self.state.streams();
        let named = names.iter().filter_map(|name| streams.iter().find(|m| m.mirror.name == *name));
        let mirrors = named.map(|m| m.mirror.clone()).collect();
        drop(streams);
        self.set_view(visible, mirrors);
    }

    /// Takes every mirror out of service: the view stays as empty as this until somebody is admitted.
    pub fn view(&self) -> Option<View> {
        self.state.view.lock().expect("lock").clone()
    }

    fn set_view(&self, visible: Option<Sequence>, mirrors: Vec<MirrorInView>) {
        let before = self.view();
        let expected = before.as_ref().map(|view| view.version);
        let version = expected.map_or(1, |version| version + 1);
        let view = View { epoch: Epoch::FIRST, version, visible, mirrors };
        self.runtime.block_on(self.log.set_view(expected, view.clone())).expect("a view");
        *self.state.view.lock().expect("lock") = Some(view.clone());
        self.state.say_all(&Down::View(view));
    }

    /// Shows everything up to `sequence`, as soon as the mirrors in service have staged it, and
    /// returns when all of them were told.
    pub fn show(&self, sequence: Sequence) {
        self.staged(sequence);
        let view = self.view().expect("a view");
        self.set_view(Some(sequence), view.mirrors.clone());
        self.state.say_all(&Down::Visible(sequence));
        self.wait_until("mirrors to be told", |mirrors| {
            let told = |name: &MirrorInView| mirrors.iter().any(|m| m.mirror == *name && m.told >= Some(sequence));
            view.mirrors.iter().all(told)
        });
    }

    /// Says that everything up to `sequence` is visible, whoever has it.
    pub fn see(&self, sequence: Sequence) {
        if self.view().is_none_or(|view| view.visible < Some(sequence)) {
            self.set_view(Some(sequence), Vec::new());
        }
    }

    /// Leaves only these mirrors in service, and shows `sequence` by them.
    pub fn show_by(&self, names: &[&str], sequence: Sequence) {
        let view = self.view().expect("a view");
        let mirrors = view.mirrors.into_iter().filter(|mirror| names.contains(&mirror.name.as_str())).collect();
        self.set_view(view.visible, mirrors);
        self.show(sequence);
    }

    /// Waits until every mirror in service has staged `sequence`.
    pub fn staged(&self, sequence: Sequence) {
        let view = self.view().expect("a view");
        self.wait_until("mirrors to stage", |mirrors| {
            let staged = |name: &MirrorInView| mirrors.iter().any(|m| m.mirror == *name && m.staged >= Some(sequence));
            view.mirrors.iter().all(staged)
        });
    }

    /// Waits until this mirror has staged `sequence`.
    pub fn staged_by(&self, name: &str, sequence: Sequence) {
        self.wait_until("a mirror to stage", |mirrors| {
            mirrors.iter().any(|m| m.mirror.name == name && m.staged >= Some(sequence))
        });
    }

    /// What a mirror last said of itself.
    pub fn member(&self, name: &str) -> Option<Member> {
        let streams = self.state.streams();
        streams.iter().find(|m| m.mirror.name == name).and_then(|m| m.member.clone())
    }

    /// From now on no sign of life is answered.
    pub fn fall_silent(&self) {
        self.state.is_deaf.store(true, Ordering::SeqCst);
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&[Mirror]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut streams = self.state.streams();
        while !is_so(&streams) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            streams = self.state.moved.wait_timeout(streams, left).expect("lock").0;
        }
    }
}

impl State {
    fn streams(&self) -> MutexGuard<'_, Vec<Mirror>> {
        self.streams.lock().expect("lock")
    }

    fn say_all(&self, message: &Down) {
        self.streams().retain_mut(|mirror| stream::write(&mut mirror.output, message).is_ok());
    }

    fn listen_to(&self, mut input: UnixStream, log: hgfleet_log::LogId) {
        let Ok(Some(Up::Hello(hello))) = stream::read(&mut input) else { return };
        let Some(incarnation) = hello.incarnation else { return };
        let mirror = MirrorInView { name: hello.name, incarnation };
        let mut output = input.try_clone().expect("a clone");
        let view = self.view.lock().expect("lock").clone();
        let version = stream::VERSION;
        let welcome = Welcome { version, log, epoch: Epoch::FIRST, master: "master".into(), view };
        stream::write(&mut output, &Down::Welcome(welcome)).expect("welcomed");
        let mut streams = self.streams();
        streams.retain(|other| other.mirror.name != mirror.name);
        let (staged, told, member) = (hello.staged, None, None);
        streams.push(Mirror { mirror: mirror.clone(), output, staged, told, member });
        drop(streams);
        self.moved.notify_all();
        while let Ok(Some(message)) = stream::read(&mut input) {
            let mut streams = self.streams();
            let Some(this) = streams.iter_mut().find(|other| other.mirror == mirror) else { return };
            match message {
                Up::Heartbeat { number, member } => {
                    this.member = Some(member);
                    if !self.is_deaf.load(Ordering::SeqCst) {
                        let _ = stream::write(&mut this.output, &Down::Renewed { number });
                    }
                }
                Up::Staged(position) => this.staged = Some(position),
                Up::Told(position) => this.told = Some(position),
                Up::Hello(_) | Up::Left | Up::Joined | Up::Digest { .. } | Up::Upload(_) => {}
            }
            drop(streams);
            self.moved.notify_all();
        }
    }
}
