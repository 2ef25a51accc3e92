//! Sessions with an empty repository, and the parser of arguments.

use super::*;
use crate::host::{HostError, Push};
use hg_store::{Repository, Snapshot, StoreFormat};
use std::fs::{self, File};
use std::sync::Arc;

/// An empty repository that takes no push.
struct Empty {
    snapshot: Arc<Snapshot>,
    _folder: tempfile::TempDir,
    /// The commands of which it took note, and how they ended.
    noted: Vec<(CommandName, Option<CommandOutcome>)>,
    /// Why pushes were refused.
    refused: Vec<String>,
}

impl Empty {
    fn new() -> Empty {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, bytes) in Repository::create_files(StoreFormat::default(), None) {
            let path = folder.path().join(".hg").join(String::from_utf8(path).expect("a name"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        }
        let repository = Repository::open(folder.path()).expect("opened");
        let state = repository.current_state().expect("a state");
        Empty {
            snapshot: Arc::new(repository.snapshot(state).expect("a snapshot")),
            _folder: folder,
            noted: Vec::new(),
            refused: Vec::new(),
        }
    }
}

impl Host for Empty {
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, HostError> {
        Ok(self.snapshot.clone())
    }

    fn spool(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }

    fn begin_push(&mut self) -> Result<Box<dyn Push + '_>, HostError> {
        Err(HostError::Refused("refused: a test takes no push".to_owned()))
    }

    fn push_refused(&mut self, text: &str) {
        self.refused.push(text.to_owned());
    }

    fn command_began(&mut self, command: CommandName) {
        self.noted.push((command, None));
    }

    fn command_ended(&mut self, outcome: CommandOutcome) {
        self.noted.last_mut().expect("it has begun").1 = Some(outcome);
    }
}

/// Gives a few bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.1.min(buffer.len());
        self.0.read(&mut buffer[..bytes])
    }
}

/// Returns how the session ended, its stdout and its stderr.
fn session(input: &[u8], piece_bytes: usize) -> (Result<SessionOutcome, SshError>, String, String) {
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    let outcome = serve(Pieces(input, piece_bytes), &mut output, &mut messages, &mut Empty::new());
    (outcome, String::from_utf8_lossy(&output).into_owned(), String::from_utf8_lossy(&messages).into_owned())
}

#[test]
fn the_host_takes_note_of_each_command_and_of_how_it_ended() {
    let mut host = Empty::new();
    let input = b"heads\nnope\nlookup\nkey 4\nnopepushkey\nnamespace 9\nbookmarkskey 1\nxold 0\nnew 0\nchangegroup\nroots 1\nxheads\n";
    let ended = serve(&input[..], Vec::new(), Vec::new(), &mut host);
    assert!(matches!(ended, Ok(SessionOutcome::BrokenStream)), "{ended:?}");
    use CommandOutcome::{Answered, BrokenOff};
    assert_eq!(
        host.noted,
        [
            (CommandName::Heads, Some(Answered)),
            (CommandName::Lookup, Some(Answered)),
            (CommandName::Pushkey, Some(Answered)),
            (CommandName::Changegroup, Some(BrokenOff)),
        ]
    );
    let mut host = Empty::new();
    serve(&b"known\nnodes 1\nx* 0\n"[..], Vec::new(), Vec::new(), &mut host).expect("goes on");
    assert_eq!(host.noted, [(CommandName::Known, Some(CommandOutcome::Refused))]);
}

#[test]
fn the_host_takes_note_of_each_push_that_is_not_taken() {
    let force = "unbundle\nheads 10\n666f726365";
    let head = "1".repeat(40);
    for (input, refused) in [
        ("unbundle\nheads 1\nx".to_owned(), "refused: not hexadecimal, in the argument heads."),
        (format!("unbundle\nheads 40\n{head}"), "repository changed while preparing changes"),
        (format!("{force}4\nnope0\n"), "refused: stream: not a Mercurial bundle, in the push."),
        (format!("{force}8\nHG20\0\0\0\x000\n"), "refused: a test takes no push"),
        (format!("{force}6\nHG20\0\x010\n"), "refused: "),
        (format!("{force}10\nHG10UN\0\0\0\x000\n"), "refused: a test takes no push"),
        (format!("{force}x\n"), "refused: "),
        (format!("{force}9\nHG"), "refused: the connection ended too early, within a push."),
        ("pushkey\nnamespace 9\nbookmarkskey 1\nxold 0\nnew 0\n".to_owned(), "refused: a test takes no push"),
    ] {
        let mut host = Empty::new();
        let _ = serve(input.as_bytes(), Vec::new(), Vec::new(), &mut host);
        assert_eq!(host.refused.len(), 1, "{input:?}: {:?}", host.refused);
        assert!(host.refused[0].starts_with(refused), "{input:?}: {:?}", host.refused);
    }
}

#[test]
fn session_opens_as_recorded_whatever_its_pieces() {
    let null = "0".repeat(40);
    let input = format!(
        "hello\nbetween\npairs 81\n{null}-{null}protocaps\ncaps 4\ncompnope\nheads\nbatch\n* 0\ncmds 19\nheads ;known nodes="
    );
    let (_, whole, messages) = session(input.as_bytes(), usize::MAX);
    assert_eq!(messages, "");
    let (length, rest) = whole.split_once('\n').expect("a length");
    let (hello, rest) = rest.split_at(length.parse().expect("a number"));
    assert!(hello.starts_with("capabilities: batch branchmap bundle2=") && hello.ends_with(" unbundlehash\n"));
    assert!(hello.contains(" protocaps ") && !hello.contains("httpheader"));
    assert_eq!(rest, format!("1\n\n2\nOK0\n41\n{null}\n42\n{null}\n;"));
    for piece_bytes in [1, 2, 7, 100] {
        let (outcome, output, _) = session(input.as_bytes(), piece_bytes);
        assert!(matches!(outcome, Ok(SessionOutcome::Closed)));
        assert_eq!(output, whole);
    }
}

#[test]
fn errors_leave_the_session_in_order() {
    let (outcome, output, messages) = session(b"lookup\nkey 3\nabcknown\nnodes 3\nxyz* 0\nheads\n\nheads\n", 5);
    assert!(matches!(outcome, Ok(SessionOutcome::Closed)));
    assert_eq!(output, format!("25\n0 unknown revision 'abc'\n\n41\n{}\n", "0".repeat(40)));
    assert_eq!(messages, "refused: not a changeset hash: 'xyz', in the request. Update Mercurial, and try again\n-\n");
}

#[test]
fn getbundle_that_fails_is_a_bundle_that_says_so() {
    let head = "f".repeat(40);
    let input = format!("getbundle\n* 2\nbundlecaps 4\nHG20heads 40\n{head}heads\n");
    let (outcome, output, _) = session(input.as_bytes(), 64);
    assert!(matches!(outcome, Ok(SessionOutcome::Closed)));
    assert!(output.starts_with("HG20\0\0\0\0") && output.contains(&format!("messageunknown revision '{head}'")));
    assert!(output.ends_with(&format!("41\n{}\n", "0".repeat(40))));
    let (outcome, output, messages) = session(format!("getbundle\n* 1\nheads 40\n{head}heads\n").as_bytes(), 64);
    assert!(matches!(outcome, Ok(SessionOutcome::BrokenStream)));
    assert_eq!((output.as_str(), messages), ("", format!("unknown revision '{head}'\n")));
}

#[test]
fn what_can_not_be_told_apart_ends_the_session() {
    let (outcome, output, messages) = session(b"lookup\nkey xyz\nheads\n", 64);
    assert!(matches!(outcome, Ok(SessionOutcome::Malformed)));
    assert_eq!(output, "\n");
    assert_eq!(messages, "refused: not an argument: 'key xyz', in the request. Update Mercurial, and try again\n-\n");
    let (outcome, ..) = session(b"lookup\nkey 9\nshort", 64);
    assert!(matches!(outcome, Err(SshError::Input(_))));
}

fn arguments(command: CommandName, input: &[u8]) -> Result<Arguments, String> {
    read_arguments(&mut &input[..], command).map_err(|error| match error {
        ArgumentsError::Malformed(text) => text,
        ArgumentsError::Input(error) => format!("input: {error}"),
    })
}

#[test]
fn declared_and_further_arguments_come_in_any_order() {
    let one = arguments(CommandName::Batch, b"* 0\ncmds 6\nheads ").expect("recorded");
    let two = arguments(CommandName::Batch, b"cmds 6\nheads * 1\nx 1\ny").expect("any order");
    assert_eq!(one.get(b"cmds"), two.get(b"cmds"));
    assert_eq!(two.get(b"x"), Some(b"y".as_slice()));
}

#[test]
fn wrong_arguments_are_refused_with_a_text() {
    for (input, text) in [
        (b"key 9999999999\nx".as_slice(), "not an argument"),
        (b"key -5\n", "not an argument"),
        (b"key xyz\n", "not an argument"),
        (b"key\n", "not an argument"),
        (b"node 1\nx", "unexpected parameter"),
        (b"* 1\n", "unexpected parameter"),
        (b"key 99999999\nx", "an argument of 99999999 bytes"),
        (b"key 9\nx", "input: "),
        (b"", "input: "),
    ] {
        let error = arguments(CommandName::Lookup, input).expect_err("wrong");
        assert!(error.starts_with(text), "{error}");
    }
    for input in [b"* 1000000\n".as_slice(), b"* 2\na 1\nxa 1\nx"] {
        assert!(arguments(CommandName::Getbundle, input).is_err());
    }
    assert!(arguments(CommandName::Known, b"* 0\n* 0\n").expect_err("twice").starts_with("unexpected"));
}

#[test]
fn line_without_end_is_cut() {
    let endless = vec![b'x'; 1 << 20];
    assert!(matches!(read_line(&mut endless.as_slice()), Err(ArgumentsError::Malformed(_))));
}
