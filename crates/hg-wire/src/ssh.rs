//! The session's loop over SSH: commands and their arguments in, answers out.
//!
//! ```text
//! C: command LF, for each declared argument: name SP length LF value; `*` SP count LF, then that many of the same
//! S: length LF answer, or a stream that tells its end itself; unknown command: 0 LF
//! S: error: text LF - LF on stderr, LF on stdout
//! ```

use crate::CommandError;
use crate::arguments::Arguments;
use crate::capabilities::{BundleCapabilities, Transport};
use crate::client::Client;
use crate::command::CommandName;
use crate::commands::{self, Answer};
use crate::error::shown;
use crate::getbundle;
use crate::hidden_access;
use crate::host::{CommandOutcome, Host};
use crate::limits;
use crate::pushkey;
use crate::unbundle::{self, AfterPush, PushIoError};
use hg_store::Snapshot;
use std::io::{self, BufRead, BufReader, BufWriter, LineWriter, Read, Write};
use std::sync::Arc;

/// Bytes of input and output that are held back for larger reads and writes.
const BUFFER_BYTES: usize = 64 * 1024;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOutcome {
    /// The client closed its side, or sent the empty line, between two commands.
    Closed,
    /// The client broke the protocol so that what follows can't be told from arguments; it was told so.
    Malformed,
    /// A write ended such that no later command may be answered here.
    EndedAfterWrite,
    /// A stream broke off; the client sees no end of it.
    BrokenStream,
}

/// Why a session broke off.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The client's input broke off in the middle of a command, or could not be read.
    #[error("the client's input ended early: {0}")]
    Input(io::Error),
    /// The client takes no more output.
    #[error("the client takes no output: {0}")]
    Output(io::Error),
}

/// Serves one session. `input`, `output` and `messages` are the client's stdin, stdout and stderr as it sees the
/// remote command; input may come in any pieces.
pub fn serve(
    input: impl Read,
    output: impl Write,
    messages: impl Write,
    host: &mut dyn Host,
) -> Result<SessionOutcome, SshError> {
    serve_for(input, output, messages, host, None)
}

/// The same for a client that asks for hidden changesets, as `hidden_for` alone: who that is.
pub fn serve_for(
    input: impl Read,
    output: impl Write,
    messages: impl Write,
    host: &mut dyn Host,
    hidden_for: Option<&str>,
) -> Result<SessionOutcome, SshError> {
    Session {
        input: BufReader::with_capacity(BUFFER_BYTES, input),
        output: BufWriter::with_capacity(BUFFER_BYTES, output),
        // A line that comes in pieces a client may show as two.
        messages: LineWriter::new(messages),
        host,
        client: Client::new(Transport::Ssh),
        hidden_for,
        refused: false,
    }
    .run()
}

/// A command's arguments can't be read.
enum ArgumentsError {
    /// They are wrong, and where the next command begins is not known.
    Malformed(String),
    Input(io::Error),
}

impl From<io::Error> for ArgumentsError {
    fn from(error: io::Error) -> ArgumentsError {
        ArgumentsError::Input(error)
    }
}

impl From<CommandError> for ArgumentsError {
    fn from(error: CommandError) -> ArgumentsError {
        match error {
            CommandError::Malformed(text) | CommandError::TooLarge(text) => ArgumentsError::Malformed(text),
            error => ArgumentsError::Malformed(error.client_text()),
        }
    }
}

struct Session<'h, R: Read, W: Write, M: Write> {
    input: BufReader<R>,
    output: BufWriter<W>,
    messages: LineWriter<M>,
    host: &'h mut dyn Host,
    client: Client,
    /// Who asks for hidden changesets, where they are asked for.
    hidden_for: Option<&'h str>,
    /// Whether the client was told why the command is not answered.
    refused: bool,
}

impl<R: Read, W: Write, M: Write> Session<'_, R, W, M> {
    fn run(mut self) -> Result<SessionOutcome, SshError> {
        if let Some(user) = self.hidden_for
            && let Ok(snapshot) = self.host.snapshot()
            && !snapshot.settings().may_see_hidden(Some(user.as_bytes()))
        {
            self.messages.write_all(hidden_access::ignored(user).as_bytes()).map_err(SshError::Output)?;
        }
        loop {
            let line = match read_line(&mut self.input) {
                Ok(line) => line,
                Err(ArgumentsError::Input(error)) => return Err(SshError::Input(error)),
                Err(ArgumentsError::Malformed(text)) => return self.end_malformed(&text),
            };
            // The empty line and the end of the input both end the session.
            let Some(line) = line.filter(|line| !line.is_empty()) else {
                return self.output.flush().map(|()| SessionOutcome::Closed).map_err(SshError::Output);
            };
            let ended = match CommandName::parse(&line) {
                None => self.text(b"").map(|()| None),
                Some(command) => match read_arguments(&mut self.input, command) {
                    Ok(arguments) => self.noted(command, &arguments),
                    Err(ArgumentsError::Input(error)) => return Err(SshError::Input(error)),
                    Err(ArgumentsError::Malformed(text)) => return self.end_malformed(&text),
                },
            };
            match ended.and_then(|ended| self.output.flush().map(|()| ended)) {
                Ok(None) => {}
                Ok(Some(outcome)) => return Ok(outcome),
                Err(error) => return Err(SshError::Output(error)),
            }
        }
    }

    /// Serves a command, and lets the host take note of it.
    fn noted(&mut self, command: CommandName, arguments: &Arguments) -> io::Result<Option<SessionOutcome>> {
        self.host.command_began(command);
        self.refused = false;
        let ended = self.command(command, arguments).and_then(|ended| self.output.flush().map(|()| ended));
        self.host.command_ended(match ended {
            Ok(None | Some(SessionOutcome::EndedAfterWrite)) if self.refused => CommandOutcome::Refused,
            Ok(None | Some(SessionOutcome::EndedAfterWrite)) => CommandOutcome::Answered,
            _ => CommandOutcome::BrokenOff,
        });
        ended
    }

    /// The repository as this client sees it now.
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, CommandError> {
        let snapshot = self.host.snapshot()?;
        match self.hidden_for {
            Some(user) => Ok(hidden_access::seen_by(&snapshot, Some(user))?.unwrap_or(snapshot)),
            None => Ok(snapshot),
        }
    }

    fn command(&mut self, command: CommandName, arguments: &Arguments) -> io::Result<Option<SessionOutcome>> {
        if command.writes() {
            return self.write_command(command, arguments);
        }
        if let Some(says) = arguments.get(b"caps").filter(|_| command == CommandName::Protocaps) {
            self.client.says(says);
        }
        let answer = self.snapshot().and_then(|seen| commands::answer(command, arguments, &seen, &self.client));
        match answer {
            Ok(Answer::Text(text)) => self.text(&text).map(|()| None),
            Ok(Answer::File(file)) => file.write(&mut self.output).map(|()| None),
            Ok(Answer::Stream(stream, _)) => match stream(&mut self.output) {
                Ok(()) => Ok(None),
                Err(CommandError::Output(error)) => Err(error),
                Err(error) => {
                    self.report(&error);
                    self.messages.write_all(format!("{}\n", error.client_text()).as_bytes())?;
                    Ok(Some(SessionOutcome::BrokenStream))
                }
            },
            Err(CommandError::Output(error)) => Err(error),
            Err(error) => {
                self.report(&error);
                self.refuse(command, arguments, &error.client_text())
            }
        }
    }

    /// Says why there is no answer. A client that waits for a stream would take the usual form for its beginning: it
    /// gets a bundle that says so or, when it wants another kind of stream, the end of the session.
    fn refuse(
        &mut self,
        command: CommandName,
        arguments: &Arguments,
        text: &str,
    ) -> io::Result<Option<SessionOutcome>> {
        self.refused = true;
        match command {
            CommandName::Getbundle
            | CommandName::Changegroup
            | CommandName::Changegroupsubset
            | CommandName::GetCachedBundleInline
            | CommandName::StreamOut => {
                let capabilities = arguments.get(b"bundlecaps").map(BundleCapabilities::parse);
                if capabilities.is_some_and(|capabilities| capabilities.is_ok_and(|capabilities| capabilities.bundle2))
                {
                    let bundle = getbundle::error_bundle(text, None).map_err(io::Error::other)?;
                    return self.output.write_all(&bundle).map(|()| None);
                }
                self.messages.write_all(format!("{text}\n").as_bytes())?;
                Ok(Some(SessionOutcome::BrokenStream))
            }
            _ => {
                self.messages.write_all(format!("{text}\n-\n").as_bytes())?;
                self.messages.flush()?;
                self.output.write_all(b"\n").map(|()| None)
            }
        }
    }

    fn write_command(&mut self, command: CommandName, arguments: &Arguments) -> io::Result<Option<SessionOutcome>> {
        let value = |name: &str| arguments.get(name.as_bytes()).unwrap_or_default();
        let after = if command == CommandName::Pushkey {
            let arguments = pushkey::Arguments {
                namespace: value("namespace"),
                key: value("key"),
                old: value("old"),
                new: value("new"),
            };
            pushkey::serve(&arguments, &mut self.output, &mut self.messages, self.host)
        } else if command == CommandName::Putlfile {
            unbundle::serve_putlfile(value("sha"), &mut self.input, &mut self.output, &mut self.messages, self.host)
        } else {
            unbundle::serve(value("heads"), &mut self.input, &mut self.output, &mut self.messages, self.host)
        };
        match after {
            Ok(AfterPush::Continue) => Ok(None),
            Ok(AfterPush::End) => Ok(Some(SessionOutcome::EndedAfterWrite)),
            Err(PushIoError::Io(error)) => Err(error),
            Err(error @ PushIoError::Framing(_)) => {
                self.messages.write_all(format!("{error}\n").as_bytes())?;
                Ok(Some(SessionOutcome::Malformed))
            }
        }
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        writeln!(self.output, "{}", text.len())?;
        self.output.write_all(text)
    }

    /// Tells the client what is wrong, in the form of an error, and ends the session.
    fn end_malformed(mut self, text: &str) -> Result<SessionOutcome, SshError> {
        let text = CommandError::Malformed(text.to_owned()).client_text();
        let told = self.messages.write_all(format!("{text}\n-\n").as_bytes()).and_then(|()| self.messages.flush());
        told.and_then(|()| self.output.write_all(b"\n"))
            .and_then(|()| self.output.flush())
            .map(|()| SessionOutcome::Malformed)
            .map_err(SshError::Output)
    }

    fn report(&self, error: &CommandError) {
        if error.is_ours() {
            tracing::error!(%error, "a command over SSH can't be answered");
        }
    }
}

/// Reads a line of bounded length, without its newline. `None`: the input ends before it begins.
fn read_line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, ArgumentsError> {
    let mut line = Vec::new();
    let bytes = input.by_ref().take(limits::LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if bytes == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some(line));
    }
    if bytes > limits::LINE_BYTES_MAX {
        return Err(ArgumentsError::Malformed(format!("a line of more than {} bytes", limits::LINE_BYTES_MAX)));
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

/// Reads a line `name number`.
fn read_name(input: &mut impl BufRead) -> Result<(Vec<u8>, usize), ArgumentsError> {
    let line = read_line(input)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let malformed = || ArgumentsError::Malformed(format!("not an argument: '{}'", shown(&line)));
    let blank = memchr::memchr(b' ', &line).ok_or_else(malformed)?;
    let digits = &line[blank + 1..];
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let number = digits.iter().fold(0usize, |number, digit| number * 10 + usize::from(digit - b'0'));
    Ok((line[..blank].to_vec(), number))
}

fn read_value(input: &mut impl BufRead, bytes: usize) -> Result<Vec<u8>, ArgumentsError> {
    if bytes > limits::ARGUMENT_BYTES_MAX {
        return Err(ArgumentsError::Malformed(format!("an argument of {bytes} bytes")));
    }
    // Grows with what really comes, not with what was announced.
    let mut value = Vec::new();
    if input.by_ref().take(bytes as u64).read_to_end(&mut value)? < bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(value)
}

/// Reads the arguments that the command declares, in any order.
fn read_arguments(input: &mut impl BufRead, command: CommandName) -> Result<Arguments, ArgumentsError> {
    let declared = command.declared();
    let unexpected = |name: &[u8]| ArgumentsError::Malformed(format!("unexpected parameter '{}'", shown(name)));
    let mut arguments = Arguments::default();
    let mut stars = 0;
    for _ in declared {
        let (name, number) = read_name(input)?;
        if !declared.iter().any(|other| other.as_bytes() == name) {
            return Err(unexpected(&name));
        }
        if name != b"*" {
            let value = read_value(input, number)?;
            arguments.add(name, value)?;
            continue;
        }
        stars += 1;
        if stars > 1 {
            return Err(unexpected(&name));
        }
        if number > limits::ARGUMENTS_MAX {
            return Err(ArgumentsError::Malformed(format!("{number} arguments")));
        }
        for _ in 0..number {
            let (name, bytes) = read_name(input)?;
            let value = read_value(input, bytes)?;
            arguments.add(name, value)?;
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests;
