//! The machine under the fleet: disks that lose what was not synced, are slow or full, and a clock that is wrong.
//!
//! The fleet's processes preload `tests/adverse-machine`, which notes each write and each sync; here is the other side of it.

use super::chance::Chance;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

#[path = "../adverse-machine/src/format.rs"]
#[allow(dead_code, reason = "the other side uses the rest")]
mod format;

pub use format::DISKS;
use format::{CLOCK_WORD, CONTROL_BYTES, Entry, FOLDER, Kind, MAGIC, ROOT, free_word, hidden_word, slow_word};

/// How long a killed process may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(60);

/// What a power cut has taken.
#[derive(Debug, Default, Clone, Copy)]
pub struct Lost {
    /// Files that had something unsynced
    pub files: usize,
    /// Writes that are gone
    pub writes: usize,
    /// Writes of which a part is there
    pub torn: usize,
}

/// One machine.
pub struct Machine {
    folder: PathBuf,
    root: PathBuf,
    control: File,
    /// What all of the fleet's processes have in their environment, sessions among them
    mark: Vec<u8>,
}

impl Machine {
    /// A machine that is well, for a fleet whose data is in `root` and whose steps (`HGFLEET_STOP_AT`) are in `steps`; `folder` is made.
    pub fn new(folder: &Path, root: &Path, steps: &Path) -> Machine {
        fs::create_dir(folder).expect("made");
        let control = File::options().read(true).write(true).create_new(true).open(folder.join("control"));
        let control = control.expect("made");
        control.set_len(CONTROL_BYTES as u64).expect("stretched");
        File::create(folder.join("journal")).expect("made");
        let mark = [b"HGFLEET_STOP_AT=", steps.as_os_str().as_bytes(), b"\0"].concat();
        let machine = Machine { folder: folder.into(), root: root.into(), control, mark };
        machine.be_well();
        machine.boot(1);
        machine
    }

    /// What the fleet's processes need in their environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let library = std::env::current_exe().expect("known").with_file_name("libadverse_machine.so");
        assert!(library.exists(), "Cargo has not built {}", library.display());
        let entry = |name: &str, path: &Path| (name.to_owned(), path.to_str().expect("UTF-8").to_owned());
        vec![entry("LD_PRELOAD", &library), entry(FOLDER, &self.folder), entry(ROOT, &self.root)]
    }

    fn set(&self, word: usize, value: u64) {
        self.control.write_all_at(&value.to_le_bytes(), word as u64 * 8).expect("written");
    }

    fn boot(&self, number: u64) {
        fs::write(self.folder.join("boot_id"), format!("boot {number}\n")).expect("written");
    }

    /// All disks have room and are fast.
    pub fn be_well(&self) {
        for disk in 0..DISKS.len() {
            self.set(slow_word(disk), 0);
            self.set(free_word(disk), u64::MAX);
            self.set(hidden_word(disk), 0);
        }
    }

    /// Syncs take so much longer on one disk.
    pub fn slow(&self, disk: &str, by: Duration) {
        self.set(slow_word(number(disk)), by.as_millis() as u64);
    }

    /// One disk has this many bytes free, and says so or not.
    pub fn fill(&self, disk: &str, free: u64, hidden: bool) {
        self.set(hidden_word(number(disk)), u64::from(hidden));
        self.set(free_word(number(disk)), free);
    }

    /// The wall clock is wrong by so many seconds.
    pub fn set_clock(&self, seconds: i64) {
        self.set(CLOCK_WORD, seconds as u64);
    }

    /// The processes on this machine, with the letter of what each does.
    pub fn processes(&self) -> Vec<(u32, char)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("readable").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if !environment.windows(self.mark.len()).any(|part| part == self.mark) {
                continue;
            }
            // Behind the program's name, which is in parentheses.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            found.extend(state.map(|state| (pid, state)));
        }
        found
    }

    /// Sends a signal to those of these processes that are still there.
    pub fn signal(&self, signal: &str, pids: &[u32]) {
        for pid in pids {
            let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(std::process::Stdio::null()).status();
        }
    }

    /// Wakes who has stopped. Returns how many there were.
    pub fn wake(&self) -> usize {
        let stopped: Vec<u32> =
            self.processes().into_iter().filter(|(_, state)| *state == 'T').map(|(pid, _)| pid).collect();
        self.signal("-CONT", &stopped);
        stopped.len()
    }

    /// Kills every process at once: none gets to end in order.
    pub fn kill_all(&self) {
        let begun = Instant::now();
        loop {
            let pids: Vec<u32> = self.processes().into_iter().map(|(pid, _)| pid).collect();
            if pids.is_empty() {
                return;
            }
            assert!(begun.elapsed() < GONE_MAX, "killed, and still there: {pids:?}");
            let all: Vec<String> = pids.iter().map(u32::to_string).collect();
            let _ = Command::new("kill").arg("-KILL").args(all).stderr(std::process::Stdio::null()).status();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The power fails: what was written and not synced is lost, kept, or torn, as chance wills; the order in which a disk writes
    /// is its own. Call it when no process is left.
    pub fn cut_power(&self, chance: &mut Chance) -> Lost {
        let mut pending: HashMap<(u64, u64), Vec<Entry>> = HashMap::new();
        for entry in entries(&fs::read(self.folder.join("journal")).expect("readable")) {
            match entry.kind {
                Kind::Write | Kind::Cut => pending.entry(entry.file).or_default().push(entry),
                Kind::Sync => drop(pending.remove(&entry.file)),
                Kind::SyncAll => pending.clear(),
            }
        }
        let mut lost = Lost::default();
        let mut files = Vec::new();
        DISKS.iter().for_each(|disk| find_files(&self.root.join(disk), &mut files));
        // In one order, so that a seed decides the same for the same files.
        files.sort();
        for path in files {
            if path.extension().is_some_and(|extension| extension.as_bytes().ends_with(b"-shm")) {
                // SQLite's shared memory.
                fs::remove_file(&path).expect("removed");
                continue;
            }
            let Some(entries) = identity(&path).and_then(|file| pending.remove(&file)) else { continue };
            lost.files += 1;
            lose(&path, &entries, chance, &mut lost);
        }
        File::create(self.folder.join("journal")).expect("emptied");
        self.boot(1 + chance.below(usize::MAX) as u64);
        lost
    }
}

fn number(disk: &str) -> usize {
    DISKS.iter().position(|known| *known == disk).unwrap_or_else(|| panic!("no disk {disk}"))
}

/// As the journal names it.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let made = meta.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((meta.ino(), made.as_nanos() as u64))
}

fn find_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            find_files(&entry.path(), into);
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
}

/// Takes away all of the unsynced writes, some of them, or all behind one that is torn.
fn lose(path: &Path, entries: &[Entry], chance: &mut Chance, lost: &mut Lost) {
    let all = entries.len();
    // What is kept, in order, with how many bytes of it.
    let kept: Vec<(usize, usize)> = match chance.below(4) {
        0 => Vec::new(),
        1 => return,
        2 => {
            let torn = chance.below(all);
            let bytes = entries[torn].new.len();
            lost.torn += 1;
            let whole = entries[..torn].iter().enumerate().map(|(at, entry)| (at, entry.new.len()));
            whole.chain([(torn, chance.below(bytes + 1))]).collect()
        }
        _ => (0..all).filter(|_| chance.one_in(2)).map(|at| (at, entries[at].new.len())).collect(),
    };
    lost.writes += all - kept.len();
    let file = File::options().read(true).write(true).open(path).expect("ours");
    for entry in entries.iter().rev() {
        file.set_len(entry.length).expect("cut");
        file.write_all_at(&entry.old, entry.offset).expect("written");
    }
    for (at, bytes) in kept {
        let entry = &entries[at];
        match entry.kind {
            Kind::Cut => file.set_len(entry.offset).expect("cut"),
            _ => file.write_all_at(&entry.new[..bytes], entry.offset).expect("written"),
        }
    }
}

/// The whole entries of a journal; one that a kill has cut is passed over.
fn entries(journal: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = journal.get(at..).filter(|rest| !rest.is_empty()) {
        match entry(rest) {
            Some((entry, bytes)) => {
                found.push(entry);
                at += bytes;
            }
            None => {
                let next = rest[1..].windows(MAGIC.len()).position(|window| window == MAGIC);
                at = next.map_or(journal.len(), |next| at + 1 + next);
            }
        }
    }
    found
}

fn entry(bytes: &[u8]) -> Option<(Entry, usize)> {
    let body = bytes.strip_prefix(&MAGIC)?;
    let head = body.get(..Entry::HEAD_BYTES)?;
    let kind = match head[0] {
        1 => Kind::Write,
        2 => Kind::Cut,
        3 => Kind::Sync,
        4 => Kind::SyncAll,
        _ => return None,
    };
    let number = |at: usize| u64::from_le_bytes(head[1 + 8 * at..][..8].try_into().expect("eight"));
    let length = |at: usize| u32::from_le_bytes(head[33 + 4 * at..][..4].try_into().expect("four")) as usize;
    let rest = &body[Entry::HEAD_BYTES..];
    let (old, rest) = rest.split_at_checked(length(0))?;
    let (new, rest) = rest.split_at_checked(length(1))?;
    rest.strip_prefix(&MAGIC)?;
    let entry = Entry {
        kind,
        file: (number(0), number(1)),
        offset: number(2),
        length: number(3),
        old: old.to_vec(),
        new: new.to_vec(),
    };
    Some((entry, bytes.len() - (rest.len() - MAGIC.len())))
}

#[test]
fn a_journal_is_read_as_it_was_written_and_cut_entries_are_passed_over() {
    let entry = |offset: u64| Entry {
        kind: Kind::Write,
        file: (7, 9),
        offset,
        length: 3,
        old: b"old".to_vec(),
        new: vec![1; offset as usize],
    };
    let cut = entry(100).encode();
    let journal = [entry(1).encode(), cut[..cut.len() - 3].to_vec(), entry(2).encode(), entry(0).encode()].concat();
    assert_eq!(entries(&journal), [entry(1), entry(2), entry(0)]);
}
