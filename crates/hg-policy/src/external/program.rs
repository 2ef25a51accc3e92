//! A program as a check: it reads the description, looks at the bundle, writes what the client is to read, and decides by its exit status.

use std::fs;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, kill_process_group, pidfd_open, set_parent_process_death_signal,
};

use super::description::Description;
use super::lines::Lines;
use super::{BUNDLE, ExternalCheck, Place, Said};

/// Where programs are looked for by a program's own script.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What the folder's configuration of Mercurial is called.
const CONFIGURATION: &str = "hgrc";
/// Bytes written to a pipe at a time: as many as never block where it says that it takes some.
const WRITE_BYTES: usize = 4096;
/// Bytes that are still read once the program has ended.
const REST_BYTES_MAX: usize = 1 << 20;

/// Runs it. A status other than 0 refuses.
pub(super) fn ask(
    program: &Path,
    arguments: &[String],
    check: &ExternalCheck,
    description: &Description,
    place: Place<'_>,
    messages: &mut dyn Write,
) -> Result<Said, String> {
    let begun = Instant::now();
    let json = description.json(Some(place))?;
    configure(place).map_err(|error| format!("its folder can't be made: {error}"))?;
    let (output, writer) = io::pipe().map_err(|error| error.to_string())?;
    let mut child =
        start(program, arguments, place.folder, &writer).map_err(|error| format!("it can't be run: {error}"))?;
    // The end of the output is seen only when nobody here can write to it.
    drop(writer);
    let mut lines = Lines::new(&check.name, messages);
    let waited = wait(&mut child, &json, output, begun + check.time, &mut lines);
    lines.finish();
    let status = waited.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => format!("it did not end within {} seconds, and was killed", check.time.as_secs()),
        _ => error.to_string(),
    })?;
    tracing::info!(
        check = check.name,
        status = status.code(),
        milliseconds = begun.elapsed().as_millis() as u64,
        "external check was asked"
    );
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Said::Yes),
        (Some(_), _) => Ok(Said::No),
        (None, signal) => Err(format!("it was ended by signal {}", signal.unwrap_or(0))),
    }
}

/// Lets `hg` in the folder find the repository that the bundle goes on top of, name files as the repository does, and read nothing else that is
/// configured on this machine.
fn configure(place: Place<'_>) -> io::Result<()> {
    let store = place.store.as_os_str().as_bytes();
    if store.contains(&b'\n') {
        return Err(io::Error::other("the repository's path has a line's end in it"));
    }
    fs::write(
        place.folder.join(CONFIGURATION),
        [b"[ui]\nrelative-paths = no\n[bundle]\nmainreporoot = ", store, b"\n"].concat(),
    )
}

/// Starts it as the leader of a process group, with an environment in which nothing is inherited.
fn start(program: &Path, arguments: &[String], folder: &Path, output: &io::PipeWriter) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .env("HGRCPATH", folder.join(CONFIGURATION))
        .env("HGPLAIN", "1")
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    let parent = std::process::id();
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            let alive = getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
            if !alive {
                return Err(io::Error::from_raw_os_error(Errno::SRCH.raw_os_error()));
            }
            // Nothing that whoever started the server left open, either.
            match libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    command.spawn()
}

/// Feeds it and listens to it until it ends, or `until`; then ends all of its process group.
fn wait(
    child: &mut Child,
    json: &[u8],
    mut output: PipeReader,
    until: Instant,
    lines: &mut Lines<'_>,
) -> io::Result<ExitStatus> {
    let group =
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("it has no number"))?;
    let talked = talk(child.stdin.take(), group, json, &mut output, until, lines);
    // Until it is waited for, its number is nobody else's.
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait()?;
    talked?;
    // What it said last. Whoever else holds the pipe is not waited for.
    let mut rest = REST_BYTES_MAX;
    while rest > 0 && is_ready(&output)? {
        match read(&mut output, lines)? {
            0 => break,
            count => rest = rest.saturating_sub(count),
        }
    }
    Ok(status)
}

/// Until the program has ended.
fn talk(
    stdin: Option<ChildStdin>,
    process: Pid,
    json: &[u8],
    output: &mut PipeReader,
    until: Instant,
    lines: &mut Lines<'_>,
) -> io::Result<()> {
    let ended = pidfd_open(process, PidfdFlags::empty())?;
    let (mut stdin, mut left, mut listens) = (stdin, json, true);
    loop {
        let time = until.saturating_duration_since(Instant::now());
        let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
        // A watched pipe that has hung up would be ready for ever.
        let at_output = listens.then(|| {
            watched.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
            watched.len() - 1
        });
        let at_stdin = stdin.as_ref().map(|stdin| {
            watched.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
            watched.len() - 1
        });
        match poll(&mut watched, Some(&timespec(time))) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |at: Option<usize>| at.is_some_and(|at| !watched[at].revents().is_empty());
        let (has_ended, has_said, takes) = (is_ready(Some(0)), is_ready(at_output), is_ready(at_stdin));
        if has_said {
            listens = read(output, lines)? > 0;
        }
        if takes && let Some(pipe) = &mut stdin {
            match pipe.write(&left[..left.len().min(WRITE_BYTES)]) {
                Ok(written) => left = &left[written..],
                // It need not read what it is told.
                Err(_) => left = &[],
            }
            if left.is_empty() {
                stdin = None;
            }
        }
        if has_ended {
            return Ok(());
        }
    }
}

/// Passes on what is there; returns how many bytes that were.
fn read(output: &mut PipeReader, lines: &mut Lines<'_>) -> io::Result<usize> {
    let mut buffer = [0; 8192];
    let count = output.read(&mut buffer)?;
    lines.add(&buffer[..count]);
    Ok(count)
}

fn is_ready(output: &PipeReader) -> io::Result<bool> {
    let mut watched = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
    Ok(poll(&mut watched, Some(&timespec(Duration::ZERO)))? > 0)
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().min(1 << 30) as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

/// Where the bundle is.
pub(super) fn bundle(place: Place<'_>) -> std::path::PathBuf {
    place.folder.join(BUNDLE)
}
