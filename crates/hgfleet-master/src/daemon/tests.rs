//! The daemon with its real log and stores, and sessions that don't keep to the rules.

mod sessions;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hg_store::change::ChangeWriter;
use hgfleet_directory::{DirectoryLocation, LdifDirectory, Mail, PublicKey};
use hgfleet_log::{LogLocation, RecordId};
use tokio::sync::oneshot;

use super::*;
use crate::client::{self, ClientError};
use crate::door::SshLimits;
use crate::options::{CommandOptions, Retention, SessionLimits, StoreFormatName};
use crate::protocol::{
    AppendRequest, CommandReply, CommandRequest, Grant, OwnChange, PushEnd, SessionReply, SessionRequest, SessionTimes,
    Settled, Token,
};
use crate::session::daemon::{Address, Daemon};

const USER: &str = "user@example.com";

struct Fleet {
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    done: tokio::task::JoinHandle<Result<(), MasterError>>,
}

fn options(folder: &Path) -> MasterOptions {
    MasterOptions {
        name: "master".to_owned(),
        retention: Retention::default(),
        resync: hgfleet_resync::ResyncOptions::new(folder.join("run")),
        data: folder.join("master"),
        volume: None,
        log: LogLocation::Embedded(folder.join("log")),
        run: folder.join("run"),
        directory: DirectoryLocation::Ldif(folder.join("directory.ldif")),
        login: crate::login::LoginOptions::default(),
        access: Some(folder.join("access.toml")).filter(|rules| rules.exists()),
        policy: None,
        host_key: folder.join("host"),
        ssh_addresses: Vec::new(),
        ssh_backend: None,
        first: true,
        program: "/bin/false".into(),
        address: "127.0.0.1:0".to_owned(),
        landing: crate::Landing::default(),
        ssh: SshLimits::default(),
        session: SessionLimits::default(),
        commands: CommandOptions { user_repositories: true, ..CommandOptions::default() },
        format: StoreFormatName::Current,
        told_wait: Duration::from_millis(20),
        append_wait: Duration::from_secs(5),
        lock_wait: Duration::from_millis(100),
        lock_limit: Duration::from_millis(600),
        lease: Duration::from_secs(2),
        lag_max: Duration::from_secs(15),
        lag_records_max: 10_000,
        deletion_grace: Duration::from_secs(600),
        push_bytes_max: 1 << 20,
    }
}

impl Fleet {
    async fn new() -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(folder.path().join("host"));
        assert!(keygen.status().unwrap().success());
        let key = fs::read(folder.path().join("host.pub")).unwrap();
        let ldif = folder.path().join("directory.ldif");
        LdifDirectory::create(&ldif).unwrap();
        let key = PublicKey::parse_line(&key).unwrap();
        LdifDirectory::open(&ldif).unwrap().add(&Mail::parse(USER).unwrap(), &[key]).unwrap();
        Fleet::start(folder).await
    }

    async fn start(folder: tempfile::TempDir) -> Fleet {
        let (stop, stopped) = oneshot::channel::<()>();
        let done = tokio::spawn(run(options(folder.path()), async {
            let _ = stopped.await;
        }));
        let fleet = Fleet { folder, stop: Some(stop), done };
        for _ in 0..200 {
            if fleet.connects().await {
                return fleet;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the daemon does not start");
    }

    async fn connects(&self) -> bool {
        let run = self.run();
        tokio::task::spawn_blocking(move || client::list(&run).is_ok()).await.unwrap()
    }

    async fn restart(mut self) -> Fleet {
        self.stop.take();
        self.done.await.unwrap().unwrap();
        Fleet::start(self.folder).await
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Does what blocks, off the runtime's own threads.
    async fn with<T: Send + 'static>(&self, work: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
        let run = self.run();
        tokio::task::spawn_blocking(move || work(run)).await.unwrap()
    }

    async fn create(&self, name: &'static str) -> Result<u64, ClientError> {
        self.with(move |run| client::create(&run, name, false)).await
    }
}

fn session(run: &Path) -> Daemon {
    let address =
        Address { run: run.join("master"), account: USER.to_owned(), client: "192.0.2.1".to_owned(), requester: None };
    address.connect_master().unwrap()
}

fn lock(daemon: &mut Daemon, name: &str) -> Result<(Token, Grant), String> {
    match daemon.ask(&SessionRequest::Lock { repository: name.to_owned() }).unwrap() {
        SessionReply::Locked { token, grant, .. } => Ok((token, grant)),
        SessionReply::Refused(text) | SessionReply::Failed(text) => Err(text),
        other => panic!("{other:?}"),
    }
}

/// A change that only writes bookmarks: enough for the daemon, which reads no revision.
fn change(content: &[u8]) -> (File, u64) {
    let mut writer = ChangeWriter::new(tempfile::tempfile().unwrap()).unwrap();
    writer.replace(b"store/bookmarks", None, content).unwrap();
    let (file, bytes) = writer.finish().unwrap();
    (file, bytes)
}

fn append(daemon: &mut Daemon, id: RecordId, token: Token, file: &File, bytes: u64) -> (Vec<String>, PushEnd) {
    let request =
        SessionRequest::Append(AppendRequest { id, token, bytes, summary: Vec::new(), times: SessionTimes::default() });
    daemon.send_with(&request, file).unwrap();
    let mut told = Vec::new();
    loop {
        match daemon.answer().unwrap() {
            SessionReply::Told(line) => told.push(line),
            SessionReply::Ended(end) => return (told, end),
            other => panic!("{other:?}"),
        }
    }
}

fn refused(end: PushEnd) -> String {
    match end {
        PushEnd::Refused(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_stored_once_and_found_by_the_next_daemon() {
    let fleet = Fleet::new().await;
    assert_eq!(fleet.create("team/first").await.unwrap(), 2);
    let id = RecordId::random().unwrap();
    fleet
        .with(move |run| {
            let mut daemon = session(&run);
            let (token, grant) = lock(&mut daemon, "team/first").unwrap();
            assert_eq!((token.epoch, grant.sequence), (1, 2));
            let (file, bytes) = change(b"");
            let (told, end) = append(&mut daemon, id, token, &file, bytes);
            assert_eq!(told[0], "stored as 3");
            assert!(told[1].starts_with("not yet visible everywhere (0 of 0 mirrors)"), "{told:?}");
            assert_eq!(end, PushEnd::Done);
            assert_eq!(fs::read(grant.path.join(".hg/store/bookmarks")).unwrap(), b"");
            // The same lock again is none.
            assert!(
                refused(append(&mut daemon, RecordId::random().unwrap(), token, &file, bytes).1)
                    .contains("lock was lost")
            );
        })
        .await;
    let fleet = fleet.restart().await;
    fleet
        .with(move |run| {
            let mut daemon = session(&run);
            assert_eq!(daemon.epoch, 2, "a restart takes a new epoch");
            let outcome =
                |daemon: &mut Daemon, id, epoch| match daemon.ask(&SessionRequest::Outcome { id, epoch }).unwrap() {
                    SessionReply::Outcome(settled) => settled,
                    other => panic!("{other:?}"),
                };
            assert_eq!(outcome(&mut daemon, id, 1), Settled::Stored(3));
            let unknown = RecordId::random().unwrap();
            assert_eq!(outcome(&mut daemon, unknown, 1), Settled::NotStored);
            assert_eq!(outcome(&mut daemon, unknown, 2), Settled::Pending, "it may be on its way in this epoch");
            // A token of the epoch before is refused, whatever its number.
            let (token, _) = lock(&mut daemon, "team/first").unwrap();
            let (file, bytes) = change(b"");
            let old = Token { epoch: 1, ..token };
            assert!(
                refused(append(&mut daemon, RecordId::random().unwrap(), old, &file, bytes).1)
                    .contains("lock was lost")
            );
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_one_holder_and_goes_with_its_connection_or_its_time() {
    let fleet = Fleet::new().await;
    fleet.create("a").await.unwrap();
    fleet
        .with(|run| {
            let (mut one, mut two) = (session(&run), session(&run));
            let (token, _) = lock(&mut one, "a").unwrap();
            assert!(lock(&mut two, "a").unwrap_err().contains("other pushes hold the write lock, on a"));
            drop(one);
            let again = (0..50).find_map(|_| lock(&mut two, "a").ok());
            assert_ne!(again.expect("free with its connection").0, token);
            // Its time is over: the next one gets it, and the late one is refused.
            let (late, _) = {
                let mut three = session(&run);
                let granted = (0..50).find_map(|_| lock(&mut three, "a").ok());
                (granted.expect("free after its time"), three)
            };
            let (file, bytes) = change(b"");
            assert!(
                refused(append(&mut two, RecordId::random().unwrap(), late.0, &file, bytes).1)
                    .contains("lock was lost")
            );
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_session_says_of_its_change_is_believed() {
    let fleet = Fleet::new().await;
    fleet.create("a").await.unwrap();
    let before = fleet.with(|run| client::list(&run).unwrap()).await;
    fleet
        .with(|run| {
            let mut daemon = session(&run);
            let mut push = |file: &File, bytes: u64| {
                let (token, _) = lock(&mut daemon, "a").unwrap();
                refused(append(&mut daemon, RecordId::random().unwrap(), token, file, bytes).1)
            };
            let (good, bytes) = change(b"");
            assert!(push(&good, bytes - 1).contains("does not fit the store"), "cut");
            assert!(push(&good, bytes + 1).contains("does not fit the store"), "shorter than announced");
            assert!(push(&good, 2 << 20).contains("2097152 bytes and 1048576 are allowed"), "over the limit");
            let mut garbage = tempfile::tempfile().unwrap();
            garbage.write_all(&[7; 500]).unwrap();
            assert!(push(&garbage, 500).contains("does not fit the store"), "no change");
            let (mut flipped, bytes) = change(b"content");
            flipped.seek(SeekFrom::Start(bytes - 1)).unwrap();
            flipped.write_all(&[0xff]).unwrap();
            assert!(push(&flipped, bytes).contains("does not fit the store"), "one byte altered");
            let mut writer = ChangeWriter::new(tempfile::tempfile().unwrap()).unwrap();
            writer.append(b"store/00changelog.i", 64, b"x").unwrap();
            let (longer, bytes) = writer.finish().unwrap();
            assert!(push(&longer, bytes).contains("does not fit the store"), "another store's lengths");
            for path in [&b"hgrc"[..], b"clonebundles.manifest", b"pullbundles.manifest", b"bundle-cache/a.hg"] {
                let mut writer = ChangeWriter::new(tempfile::tempfile().unwrap()).unwrap();
                writer.create(path, b"").unwrap();
                let (settings, bytes) = writer.finish().unwrap();
                assert!(push(&settings, bytes).contains("does not fit the store"), "what operators write");
            }
            // A lock without a descriptor beside the change.
            let (token, _) = lock(&mut daemon, "a").unwrap();
            let request = AppendRequest {
                id: RecordId::random().unwrap(),
                token,
                bytes,
                summary: Vec::new(),
                times: SessionTimes::default(),
            };
            match daemon.ask(&SessionRequest::Append(request)).unwrap() {
                SessionReply::Ended(end) => assert!(refused(end).contains("the change is missing")),
                other => panic!("{other:?}"),
            }
        })
        .await;
    let after = fleet.with(|run| client::list(&run).unwrap()).await;
    assert_eq!((before[0].sequence, &before[0].digest), (after[0].sequence, &after[0].digest), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_stores_nothing_any_more() {
    let fleet = Fleet::new().await;
    fleet.create("a").await.unwrap();
    let ldif = fleet.folder.path().join("directory.ldif");
    fleet
        .with(move |run| {
            let mut daemon = session(&run);
            let (token, _) = lock(&mut daemon, "a").unwrap();
            LdifDirectory::open(&ldif).unwrap().set_enabled(&Mail::parse(USER).unwrap(), false).unwrap();
            let (file, bytes) = change(b"");
            let text = refused(append(&mut daemon, RecordId::random().unwrap(), token, &file, bytes).1);
            assert!(text.contains("user@example.com is not enabled any more"), "{text}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_made_listed_and_deleted() {
    let fleet = Fleet::new().await;
    fleet.create("team/first").await.unwrap();
    for (name, why) in [
        ("team/first", "team/first"),
        ("team", "inside"),
        ("team/first/x", "inside"),
        ("../x", "name"),
        ("a.hg", "name"),
    ] {
        let error = fleet.create(name).await.unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
    fleet.with(|run| client::create(&run, "draft", true)).await.unwrap();
    let hgrc = fleet.folder.path().join("master/repos/draft/.hg/hgrc");
    assert_eq!(fs::read_to_string(hgrc).unwrap(), "[phases]\npublish = False\n");
    let names: Vec<String> =
        fleet.with(|run| client::list(&run).unwrap()).await.into_iter().map(|line| line.name).collect();
    assert_eq!(names, ["draft", "team/first"]);
    fleet.with(|run| client::delete(&run, "team/first")).await.unwrap();
    assert!(
        fleet.with(|run| client::delete(&run, "team/first")).await.unwrap_err().to_string().contains("does not exist")
    );
    assert!(fleet.with(|run| lock(&mut session(&run), "team/first")).await.unwrap_err().contains("does not exist"));
    fleet.create("team").await.unwrap();
    let answer = fleet.with(|run| client::verify(&run, "team")).await.unwrap();
    assert_eq!((answer.problems.len(), answer.servers.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_taken_in_as_it_is() {
    let fleet = Fleet::new().await;
    fleet.create("source").await.unwrap();
    let source = fleet.folder.path().join("copy");
    let from = fleet.folder.path().join("master/repos/source");
    assert!(Command::new("cp").arg("-a").arg(&from).arg(&source).status().unwrap().success());
    fs::write(source.join(".hg/hgrc"), "[hooks]\nx = sh\n").unwrap();
    let path = source.clone();
    fleet.with(move |run| client::import(&run, &path, "taken")).await.unwrap();
    let lines = fleet.with(|run| client::list(&run).unwrap()).await;
    assert_eq!(lines[0].digest, lines[1].digest, "the same bytes, without the configuration");
    let mut requires = fs::read(source.join(".hg/store/requires")).unwrap();
    requires.extend_from_slice(b"delta-info-revlog\n");
    fs::write(source.join(".hg/store/requires"), requires).unwrap();
    let path = source.clone();
    let error = fleet.with(move |run| client::import(&run, &path, "other")).await.unwrap_err().to_string();
    assert!(error.contains("delta-info-revlog") && error.contains("hg debugupgraderepo"), "{error}");
}

/// A change that was on its way when pushes were stopped is refused where it would be stored.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_only_stores_nothing_and_is_so_after_a_restart() {
    let fleet = Fleet::new().await;
    fleet.create("a").await.unwrap();
    fleet
        .with(|run| {
            let mut daemon = session(&run);
            let (token, _) = lock(&mut daemon, "a").unwrap();
            let reason = client::read_only(&run, None, Some(Some(" it moves. ".to_owned()))).unwrap();
            assert_eq!(reason.as_deref(), Some("it moves."));
            let (file, bytes) = change(b"");
            let text = refused(append(&mut daemon, RecordId::random().unwrap(), token, &file, bytes).1);
            assert!(text.starts_with("refused: all repositories are read only: it moves, on a. "), "{text}");
            for wrong in ["", "a\nb", &"x".repeat(5000)] {
                assert!(client::read_only(&run, Some("a"), Some(Some(wrong.to_owned()))).is_err(), "{wrong}");
            }
        })
        .await;
    let fleet = fleet.restart().await;
    fleet
        .with(|run| {
            assert!(
                lock(&mut session(&run), "a").unwrap_err().contains("all repositories are read only: it moves, on a")
            );
            assert_eq!(client::read_only(&run, None, Some(None)).unwrap(), None);
            client::read_only(&run, Some("a"), Some(Some("by itself".to_owned()))).unwrap();
            assert!(
                lock(&mut session(&run), "a").unwrap_err().contains("the repository is read only: by itself, on a")
            );
            // The operator's commands go on, and settings are the operator's.
            client::config(&run, "a", &[("web.name".to_owned(), "A".to_owned())], &[]).unwrap();
            assert_eq!(client::read_only(&run, Some("a"), Some(None)).unwrap(), None);
            lock(&mut session(&run), "a").unwrap();
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_writes_to_an_accounts_own_repository() {
    let fleet = Fleet::new().await;
    fleet.create("users/user_example.com/own").await.unwrap();
    fleet.create("users/user_example.community/other").await.unwrap();
    fleet
        .with(|run| {
            lock(&mut session(&run), "users/user_example.com/own").unwrap();
            let text = lock(&mut session(&run), "users/user_example.community/other").unwrap_err();
            assert!(text.contains("the access rules don't let user@example.com write"), "{text}");
            let own = |name: &str, change| {
                let id = RecordId::random().unwrap();
                let request = CommandRequest::ChangeOwn { id, name: name.to_owned(), change };
                match session(&run).ask(&SessionRequest::Command(request)).unwrap() {
                    SessionReply::Command(CommandReply::Stored(sequence)) => Ok(sequence.is_some()),
                    SessionReply::Refused(text) => Err(text),
                    other => panic!("{other:?}"),
                }
            };
            // A session that does not parse what it was given reaches nothing else by it.
            for name in ["../user_example.community/other", "", "/", "own/../../x", "own\n"] {
                assert!(own(name, OwnChange::Delete).unwrap_err().starts_with("refused: "), "{name:?}");
            }
            for text in ["a\n[hooks]", "a\u{202e}b", "a\tb"] {
                assert!(
                    own("own", OwnChange::Describe(text.to_owned())).unwrap_err().starts_with("refused: "),
                    "{text:?}"
                );
            }
            assert_eq!(own("own", OwnChange::Describe("Mine".to_owned())), Ok(true));
            assert_eq!(own("own", OwnChange::Describe("Mine".to_owned())), Ok(false));
            assert_eq!(own("own", OwnChange::Delete), Ok(true));
            assert_eq!(client::list(&run).unwrap().len(), 1);
        })
        .await;
}
