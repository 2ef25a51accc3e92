//! `-d`: the server goes on in the background, and whoever started it is told when it listens.
//!
//! The process is started again with one option more, its output being a pipe. It is ready when it has written a line with nothing but
//! a zero; before that, what it writes is for whoever started it.

use anyhow::{Context, bail};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// The option by which the process in the background knows what it is.
const CHILD: &str = "--daemon-child";
const READY: &str = "\0";

/// Starts the server in the background, and waits until it listens.
///
/// # Errors
/// It ended before that; it has said why.
pub fn start() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("can't find this program's file")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg(CHILD).stdin(Stdio::null()).stdout(Stdio::piped());
    // Out of reach of the terminal's signals; the session is its own as soon as it listens.
    command.process_group(0);
    let mut child = command.spawn().context("can't start the server in the background")?;
    let output = child.stdout.take().context("the server in the background has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("the server in the background can't be heard")?;
        if line == READY {
            return Ok(ExitCode::SUCCESS);
        }
        println!("{line}");
    }
    let ended = child.wait().context("the server in the background can't be waited for")?;
    bail!("the server in the background has not come to listen ({ended})")
}

/// Tells whoever started this that it listens, and lets go of their terminal.
///
/// # Errors
/// A system call fails; whoever started this has gone.
pub fn is_ready(has_error_log: bool) -> anyhow::Result<()> {
    let nothing = || File::options().read(true).write(true).open("/dev/null");
    println!("{READY}");
    std::io::stdout().flush().context("whoever started this has gone")?;
    put_at(1, &nothing()?)?;
    if !has_error_log {
        put_at(2, &nothing()?)?;
    }
    // Where it leads its group already, it can't have a session of its own, and needs none.
    let _ = rustix::process::setsid();
    Ok(())
}

/// Sends what goes to standard error to this file from now on.
///
/// # Errors
/// The system call fails.
pub fn errors_to(file: &File) -> io::Result<()> {
    put_at(2, file)
}

fn put_at(number: RawFd, file: &File) -> io::Result<()> {
    // SAFETY: standard output and error are open from the start of a process to its end; nothing here closes them, nor does this.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(rustix::io::dup2(file, &mut place)?)
}
