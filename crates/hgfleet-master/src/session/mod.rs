//! One SSH session's work, in a process of its own.
//!
//! The SSH door starts it, and says in the first frame of the standard input whom it serves and what they asked for; behind OpenSSH, `sshd`
//! does, and the daemon says whom (`openssh`). The client
//! says only what it wants: the wire protocol (`hg -R NAME serve --stdio`), or a command for people. Parsing and preparing happen here,
//! within limits, so that a bundle that breaks a parser costs one session.

mod command_line;
mod commands;
pub(crate) mod daemon;
mod host;
mod identity;
mod openssh;
mod texts;
mod traffic;

pub(crate) use command_line::repository as repository_asked_for;
pub(crate) use host::CHECK_FOLDER;
pub(crate) use identity::{Access, COMMAND_BYTES_MAX, Identity, Limits};

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use hg_wire::CommandError;
use hg_wire::ssh::{SessionOutcome, SshError};
use hgfleet_directory::Mail;
use hgfleet_log::RepositoryName;
use rustix::process::{Resource, Rlimit, setrlimit};

use self::command_line::{Asks, Request};
use self::daemon::{Address, Daemon};
use self::host::FleetHost;
use self::identity::IDENTITY_BYTES_MAX;
use self::traffic::Traffic;
use crate::frame;
use crate::protocol::{SessionEnding, SessionRequest};

/// How the session's process is told what to do. Nothing here comes from the client.
#[derive(Debug)]
pub struct SessionOptions {
    /// The folder of one server's sockets, where `session.sock` is.
    pub run: PathBuf,
    /// What has started it.
    pub door: Door,
    /// The variable by which a landing account's client names who asked, where an `sshd` lets it through.
    pub landing_variable: String,
}

/// What has authenticated the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The built-in SSH server, which says in a first frame whom the session serves.
    BuiltIn,
    /// OpenSSH's `sshd`, by `ForceCommand`.
    OpenSsh,
}

impl Door {
    /// Its name in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Door::BuiltIn => "built-in",
            Door::OpenSsh => "openssh",
        }
    }
}

/// Serves one session on standard input, output and error. Returns the process's exit status.
pub fn run(options: SessionOptions) -> u8 {
    let (traffic, mut login) = (Traffic::default(), None);
    let status = match serve(options, &traffic, &mut login) {
        Ok(status) => status,
        Err(text) => {
            // Nobody is left to be told where this fails.
            let _ = writeln!(traffic.counted_out(io::stderr()), "{text}");
            1
        }
    };
    if let Some(daemon) = &mut login {
        // One that is gone has logged the session already.
        let _ = daemon.tell(&SessionRequest::Ending(SessionEnding { status, used: traffic.used() }));
    }
    status
}

/// Ends in what the client reads, where it does not end well. `login` becomes the conversation by which a daemon knows the session.
fn serve(options: SessionOptions, traffic: &Traffic, login: &mut Option<Daemon>) -> Result<u8, String> {
    // The standard streams of the library keep lines back and search for them; these are bytes.
    let mut input = own(io::stdin().as_fd())?;
    let output = traffic.counted_out(own(io::stdout().as_fd())?);
    let identity: Identity = match options.door {
        Door::BuiltIn => frame::read(&mut input, IDENTITY_BYTES_MAX).map_err(|_| texts::STARTED_BY_HAND.to_owned())?,
        Door::OpenSsh => {
            let (identity, daemon) = openssh::identify(&options)?;
            *login = Some(daemon);
            identity
        }
    };
    let input = traffic.counted_in(input);
    limit(&identity.limits).map_err(|error| {
        format!("refused: the session can't be limited ({error}), on this server. Tell the administrators")
    })?;
    match identity.access {
        Access::Enabled => {}
        Access::Disabled => return Err(texts::disabled(&identity.account)),
        Access::NotEnabled => return Err(texts::not_enabled(&identity.account)),
    }
    if let Some(requester) = &identity.requester
        && let Err(error) = Mail::parse(requester)
    {
        return Err(format!("refused: {error}, as who asked for this push. Name an account's mail address"));
    }
    let request = command_line::parse(identity.command.as_deref()).map_err(|refusal| format!("refused: {refusal}"))?;
    let groups = identity.groups;
    let Identity { account, requester, address: client, .. } = identity;
    let address = Address { run: options.run, account, client, requester };
    let (name, asks) = match request {
        Request::None => return Err(commands::banner(&address, &identity.login, &groups)),
        Request::Person(command) => return commands::run(&address, command, input, output),
        Request::Serve(name, asks) => (name, asks),
    };
    serve_repository(address, name, asks, traffic, (input, output, traffic.counted_out(io::stderr())))
}

/// Serves one repository on these streams: what a session does once it knows whom it serves. In a thread that may block.
///
/// `run` is the folder of one server's sockets, `account` and `client` whom it serves; the server believes its own door before it
/// believes these.
///
/// # Errors
/// What the client reads.
pub fn serve_on(
    run: PathBuf,
    (account, client): (String, String),
    repository: RepositoryName,
    input: impl Read,
    output: impl Write,
    messages: impl Write,
) -> Result<u8, String> {
    let traffic = Traffic::default();
    let streams = (traffic.counted_in(input), traffic.counted_out(output), traffic.counted_out(messages));
    serve_repository(Address { run, account, client, requester: None }, repository, Asks::Served, &traffic, streams)
}

fn serve_repository(
    address: Address,
    name: RepositoryName,
    asks: Asks,
    traffic: &Traffic,
    (input, output, messages): (impl Read, impl Write, impl Write),
) -> Result<u8, String> {
    let account = address.account.clone();
    let mut host = FleetHost::open(address, name, traffic.clone()).map_err(|error| {
        tracing::error!(%error, "a session can't begin");
        CommandError::from(error).client_text()
    })?;
    let hidden_for = (asks == Asks::Hidden).then_some(account.as_str());
    match hg_wire::ssh::serve_for(input, output, messages, &mut host, hidden_for) {
        Ok(SessionOutcome::Closed | SessionOutcome::EndedAfterWrite) => Ok(0),
        // What was wrong is told already, or nobody is left to be told.
        Ok(SessionOutcome::Malformed | SessionOutcome::BrokenStream) | Err(SshError::Output(_)) => Ok(1),
        Err(error @ SshError::Input(_)) => Err(error.to_string()),
    }
}

fn own(stream: impl AsFd) -> Result<File, String> {
    let descriptor = stream.as_fd().try_clone_to_owned();
    descriptor.map(File::from).map_err(|error| format!("the session's streams can't be used: {error}"))
}

/// Limits this process, for good.
fn limit(limits: &Limits) -> io::Result<()> {
    for (resource, maximum) in [
        (Resource::As, limits.address_space_bytes),
        (Resource::Data, limits.memory_bytes),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Nofile, limits.open_files),
        (Resource::Core, 0),
    ] {
        let present = rustix::process::getrlimit(resource).maximum;
        let maximum = Some(present.map_or(maximum, |present| maximum.min(present)));
        setrlimit(resource, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}
