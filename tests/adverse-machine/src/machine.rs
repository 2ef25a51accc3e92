//! What all hooks need: the system itself, and where the test's journal and page are.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, c_long};

use crate::format::{CONTROL_BYTES, DISKS, Entry, FOLDER, Kind, ROOT};

/// Longest path that is looked at.
const PATH_BYTES_MAX: usize = 4096;

/// The test's side.
pub struct Machine {
    journal: c_int,
    control: *const AtomicU64,
    root: Vec<u8>,
    /// The file that is read in the place of the system's boot number.
    pub boot_id: CString,
}

// SAFETY: the page stays mapped for ever, and is used by atomic operations only.
unsafe impl Send for Machine {}
// SAFETY: as above.
unsafe impl Sync for Machine {}

/// A regular file.
pub struct Looked {
    /// Its number, and when it was made.
    pub file: (u64, u64),
    /// Its length.
    pub bytes: u64,
}

/// Before `main`, so that no hook is the first one in a process that has just forked.
#[used]
#[unsafe(link_section = ".init_array")]
static INITIALIZE: extern "C" fn() = {
    extern "C" fn initialize() {
        machine();
    }
    initialize
};

/// The machine, where there is one. Uses nothing that is hooked.
pub fn machine() -> Option<&'static Machine> {
    static MACHINE: OnceLock<Option<Machine>> = OnceLock::new();
    MACHINE.get_or_init(open).as_ref()
}

fn open() -> Option<Machine> {
    let folder = std::env::var_os(FOLDER)?;
    let root = std::env::var_os(ROOT)?.into_vec();
    let path = |name: &str| {
        let mut path = folder.clone();
        path.push(OsString::from(name));
        CString::new(path.into_vec()).ok()
    };
    let flags = libc::O_CLOEXEC | libc::O_RDWR;
    let journal = real_open(&path("/journal")?, flags | libc::O_APPEND);
    let control = real_open(&path("/control")?, flags);
    if journal < 0 || control < 0 {
        return None;
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping of a file that the test has made this long; checked below.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), CONTROL_BYTES, protection, libc::MAP_SHARED, control, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    Some(Machine { journal, control: page.cast::<AtomicU64>(), root, boot_id: path("/boot_id")? })
}

impl Machine {
    /// A word of the page.
    pub fn word(&self, number: usize) -> &AtomicU64 {
        assert!(number < CONTROL_BYTES / 8);
        // SAFETY: within the page, aligned as pages are, and mapped for ever.
        unsafe { &*self.control.add(number) }
    }

    /// The disk that a path is on.
    pub fn disk_of(&self, path: &[u8]) -> Option<usize> {
        let below = path.strip_prefix(self.root.as_slice())?.strip_prefix(b"/")?;
        let folder = below.split(|&byte| byte == b'/').next()?;
        DISKS.iter().position(|disk| disk.as_bytes() == folder)
    }

    /// The disk that an open file with a name is on. Shared memory of SQLite is no content.
    pub fn disk(&self, file: c_int) -> Option<usize> {
        let mut buffer = [0; PATH_BYTES_MAX];
        let path = path_of(file, &mut buffer)?;
        if path.ends_with(b"-shm") || path.ends_with(b" (deleted)") {
            return None;
        }
        self.disk_of(path)
    }

    /// Adds to the journal, in one piece.
    pub fn note(&self, entry: &Entry) {
        let bytes = entry.encode();
        // SAFETY: a descriptor of ours, and bytes that live until the call returns.
        unsafe { libc::syscall(libc::SYS_write, self.journal, bytes.as_ptr(), bytes.len()) };
    }

    /// Adds a sync to the journal.
    pub fn note_sync(&self, kind: Kind, file: (u64, u64)) {
        self.note(&Entry { kind, file, offset: 0, length: 0, old: Vec::new(), new: Vec::new() });
    }

    /// The time by which a sync takes longer passes.
    pub fn be_slow(&self, word: usize) {
        let milliseconds = self.word(word).load(Ordering::Relaxed);
        if milliseconds > 0 {
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        }
    }
}

/// Opens a file, unhooked.
pub fn real_open(path: &CStr, flags: c_int) -> c_int {
    // SAFETY: the path lives until the call returns.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0) as c_int }
}

/// The path of an open file.
fn path_of(file: c_int, buffer: &mut [u8; PATH_BYTES_MAX]) -> Option<&[u8]> {
    let link = CString::new(format!("/proc/self/fd/{file}")).ok()?;
    // SAFETY: the buffer is as long as is said.
    let read = unsafe {
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), buffer.as_mut_ptr(), buffer.len())
    };
    buffer.get(..usize::try_from(read).ok()?)
}

/// Looks at a regular file; anything else is nothing.
pub fn look(file: c_int) -> Option<Looked> {
    // SAFETY: all zeros are a value of it, which the call then fills.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: an empty path with this flag means the descriptor; the struct is as long as the system writes.
    let failed =
        unsafe { libc::syscall(libc::SYS_statx, file, c"".as_ptr(), libc::AT_EMPTY_PATH, mask, &raw mut found) };
    let is_regular = u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFREG;
    let made = found.stx_btime.tv_sec as u64 * 1_000_000_000 + u64::from(found.stx_btime.tv_nsec);
    (failed == 0 && is_regular).then_some(Looked { file: (found.stx_ino, made), bytes: found.stx_size })
}

/// Reads what is at an offset, up to `bytes` bytes.
pub fn read_old(file: c_int, offset: u64, bytes: usize) -> Vec<u8> {
    let mut old = vec![0; bytes];
    // A descriptor that can only write is opened once more.
    let again = CString::new(format!("/proc/self/fd/{file}"))
        .map_or(-1, |path| real_open(&path, libc::O_RDONLY | libc::O_CLOEXEC));
    // SAFETY: the buffer is as long as is said.
    let read = unsafe {
        let read = libc::syscall(libc::SYS_pread64, again, old.as_mut_ptr(), old.len(), offset as c_long);
        libc::syscall(libc::SYS_close, again);
        read
    };
    old.truncate(usize::try_from(read).unwrap_or(0));
    old
}

/// Fails as the system would.
pub fn fail(errno: c_int) -> c_int {
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = errno };
    -1
}
