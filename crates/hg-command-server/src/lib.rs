//! Stock Mercurial for tests, without a process for each command.
//!
//! An `hg` process takes a quarter of a second of CPU time before it does anything; `hg serve --cmdserver pipe` runs one command after another in the
//! same process, each with a repository opened anew, and takes a tenth of that. So tests make their repositories and look at results by [`run`].
//! What is itself under test, a client that pushes or pulls, stays a process of its own.
//!
//! The protocol is that of Mercurial's command server (`mercurial/commandserver.py`): a request is `runcommand`, LF, a length and arguments with NUL between them; an answer
//! is pieces of a channel (one byte), a length and bytes. Lengths are 4 bytes, big-endian.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// Bytes that a server may say in one piece.
const PIECE_BYTES_MAX: u32 = 1 << 30;

/// The servers that nobody uses just now, by program. They end when the test program does, as nothing more comes from it.
static RESTING: Mutex<Option<HashMap<PathBuf, Vec<Server>>>> = Mutex::new(None);

/// Runs a command in this folder, which is an absolute path, with nobody's configuration, in UTF-8.
///
/// A command for which an extension is enabled, by an argument or by its repository's `hgrc` or requirements, gets a process of its own: in a server the
/// extension would stay for later ones. So no command may open another repository that has one either.
///
/// # Errors
/// The program can't be started, or has ended in the middle.
pub fn run(program: &Path, folder: &Path, arguments: &[&str]) -> io::Result<Output> {
    if needs_its_own_process(folder, arguments) {
        return environment(&mut Command::new(program)).current_dir(folder).args(arguments).output();
    }
    let take = |resting: &mut HashMap<PathBuf, Vec<Server>>| resting.get_mut(program)?.pop();
    let rested = take(RESTING.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default());
    let mut server = match rested {
        Some(server) => server,
        None => Server::start(program)?,
    };
    let output = server.run(folder, arguments)?;
    let mut resting = RESTING.lock().unwrap_or_else(PoisonError::into_inner);
    resting.get_or_insert_default().entry(program.to_owned()).or_default().push(server);
    Ok(output)
}

fn needs_its_own_process(folder: &Path, arguments: &[&str]) -> bool {
    if arguments.iter().any(|argument| argument.starts_with("extensions.")) {
        return true;
    }
    let named = arguments.iter().skip_while(|argument| **argument != "-R").nth(1);
    let repository = named.map_or_else(|| folder.to_owned(), |named| folder.join(named)).join(".hg");
    let has = |file: &str, words: &[&str]| {
        let content = std::fs::read_to_string(repository.join(file)).unwrap_or_default();
        content.lines().any(|line| words.contains(&line))
    };
    // Mercurial enables the extensions that a requirement names.
    let by_requirement = ["largefiles", "lfs"];
    has("hgrc", &["[extensions]"]) || has("requires", &by_requirement) || has("store/requires", &by_requirement)
}

fn environment(command: &mut Command) -> &mut Command {
    command.env("HGRCPATH", "/dev/null").env("HGPLAIN", "1").env("HGENCODING", "UTF-8")
}

struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &Path) -> io::Result<Server> {
        let mut command = Command::new(program);
        environment(&mut command).args(["serve", "--cmdserver", "pipe"]).current_dir("/");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut server = Server { process, input, output: BufReader::new(output) };
        // Its greeting.
        server.piece()?;
        Ok(server)
    }

    fn run(&mut self, folder: &Path, arguments: &[&str]) -> io::Result<Output> {
        let folder = folder.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let all = [&["--cwd", folder], arguments].concat().join("\0");
        let bytes = u32::try_from(all.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.input.write_all(&[b"runcommand\n", &bytes.to_be_bytes()[..], all.as_bytes()].concat())?;
        self.input.flush()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.piece()? {
                (b'o', bytes) => stdout.extend(bytes),
                (b'e', bytes) => stderr.extend(bytes),
                (b'r', code) => {
                    let code: [u8; 4] = code.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
                    // As a process that ends so would have it.
                    let status = ExitStatus::from_raw((i32::from_be_bytes(code) & 0xff) << 8);
                    return Ok(Output { status, stdout, stderr });
                }
                // It asks for input: there is none.
                (b'I' | b'L', _) => {
                    self.input.write_all(&[0; 4])?;
                    self.input.flush()?;
                }
                _ => {}
            }
        }
    }

    /// A channel, and what is said there. What is said of a channel for input is how much is asked for: no bytes.
    fn piece(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.output.read_exact(&mut header)?;
        let [channel, length @ ..] = header;
        let length = u32::from_be_bytes(length);
        if matches!(channel, b'I' | b'L') {
            return Ok((channel, Vec::new()));
        }
        if length > PIECE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length as usize];
        self.output.read_exact(&mut bytes)?;
        Ok((channel, bytes))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that failed in the middle, since those that rest are never dropped.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
