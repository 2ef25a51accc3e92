//! Keeps the roles of `hgfleet up` running, each as a process of its own.

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The pause before a role that died is started again, at first; it doubles with each death in a row.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A role that lived this long has not died in a row.
const STEADY: Duration = Duration::from_secs(10);
/// How long a role may take to end when asked to, before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(8);

/// A role to run.
#[derive(Debug)]
pub struct Role {
    /// Its name, for messages
    pub name: String,
    /// The program
    pub program: PathBuf,
    /// Its arguments
    pub arguments: Vec<OsString>,
    /// Listening sockets to pass on, with their names
    pub sockets: Vec<(&'static str, TcpListener)>,
}

/// Runs one role until `stop` turns true: starts it, and starts it again, after a growing pause, when it dies.
///
/// Call it on the main thread: the kernel ends the children with the thread that started them.
pub async fn keep_running(role: Role, mut stop: watch::Receiver<bool>) {
    let mut pause = PAUSE_MIN;
    while !*stop.borrow() {
        let started = Instant::now();
        match start(&role) {
            Ok(mut child) => tokio::select! {
                status = child.wait() => match status {
                    Ok(status) => tracing::warn!(role = role.name, %status, "a role ended by itself; it is started again"),
                    Err(error) => tracing::error!(role = role.name, %error, "a role can't be waited for"),
                },
                _ = stop.wait_for(|stop| *stop) => return end(&role.name, child).await,
            },
            Err(error) => tracing::error!(role = role.name, "{error:#}"),
        }
        if started.elapsed() >= STEADY {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn start(role: &Role) -> anyhow::Result<Child> {
    let mut command = Command::new(&role.program);
    command.args(&role.arguments).stdin(std::process::Stdio::null());
    if !role.sockets.is_empty() {
        let mut mappings = Vec::new();
        let mut names = Vec::new();
        for (at, (name, socket)) in role.sockets.iter().enumerate() {
            let parent_fd = socket.as_fd().try_clone_to_owned().context("cannot pass a listening socket on")?;
            mappings.push(FdMapping { parent_fd, child_fd: 3 + i32::try_from(at)? });
            names.push(*name);
        }
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.env_remove("LISTEN_PID");
        command.fd_mappings(mappings).context("cannot pass the listening sockets on")?;
    }
    let parent = std::process::id();
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // The parent may have died before the line above.
            let alive = getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
            if alive { Ok(()) } else { Err(std::io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error())) }
        });
    }
    command.spawn().with_context(|| format!("cannot start {} ({})", role.name, role.program.display()))
}

async fn end(name: &str, mut child: Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A child that is gone already is what we want.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_WAIT, child.wait()).await.is_err() {
        tracing::warn!(role = name, "did not end within {} seconds; killed", STOP_WAIT.as_secs());
        if let Err(error) = child.kill().await {
            tracing::error!(role = name, %error, "can't be killed");
        }
    }
}
