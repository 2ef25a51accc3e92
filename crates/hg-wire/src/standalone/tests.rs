use super::*;
use crate::pushkey::{self, Arguments};
use hg_store::StoreFormat;
use hg_store::change::ChangeWriter;
use hg_store::prepare::PushSummary;
use std::fs;

/// A new, empty repository.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, bytes) in Repository::create_files(StoreFormat::Current, None) {
        let path = folder.path().join(".hg").join(String::from_utf8(path).expect("plain names"));
        fs::create_dir_all(path.parent().expect("has one")).expect("makes folders");
        fs::write(path, bytes).expect("writes");
    }
    folder
}

fn open(folder: &tempfile::TempDir) -> Result<StandaloneHost, StandaloneError> {
    let mut host = StandaloneHost::open(folder.path(), |_| ())?;
    host.set_lock_wait(Duration::ZERO);
    Ok(host)
}

/// Sets the bookmark `name`, and returns what the client reads.
fn set_bookmark(host: &mut StandaloneHost, name: &str) -> (Vec<u8>, String) {
    let null = b"0000000000000000000000000000000000000000";
    let arguments = Arguments { namespace: b"bookmarks", key: name.as_bytes(), old: b"", new: null };
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    pushkey::serve(&arguments, &mut output, &mut messages, host).expect("answers");
    (output, String::from_utf8(messages).expect("text"))
}

fn bookmarks(host: &mut StandaloneHost) -> Vec<String> {
    let snapshot = host.snapshot().expect("reads");
    let bookmarks = snapshot.bookmarks().expect("reads");
    bookmarks.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

/// A change that appends to the changelog, as it is prepared for an empty repository.
fn appended(folder: &tempfile::TempDir, bytes: &[u8]) -> PreparedChange {
    let mut writer = ChangeWriter::new(tempfile::tempfile_in(folder.path()).expect("a file")).expect("begins");
    writer.create(b"store/00changelog.i", bytes).expect("writes");
    let (file, bytes) = writer.finish().expect("finishes");
    PreparedChange { file, bytes, summary: PushSummary::default() }
}

#[test]
fn a_push_is_applied_and_leaves_nothing_behind() {
    let folder = repository();
    let mut host = open(&folder).expect("opens");
    assert_eq!(set_bookmark(&mut host, "one"), (b"2\n1\n".to_vec(), String::new()));
    assert_eq!(bookmarks(&mut host), ["one"]);
    let left: Vec<String> = fs::read_dir(folder.path().join(".hg"))
        .expect("lists")
        .map(|entry| entry.expect("lists").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(PENDING) || name.contains("lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_push_that_was_stored_and_not_applied_is_there_at_the_next_start() {
    let folder = repository();
    let hg = folder.path().join(".hg");
    pending::store(&hg, &appended(&folder, b"revisions")).expect("stores");
    assert!(!hg.join("store/00changelog.i").exists());
    // Its bytes are no revlog; the redo is what is looked at.
    let _ = open(&folder);
    assert_eq!(fs::read(hg.join("store/00changelog.i")).expect("applied"), b"revisions");
    assert!(!pending::exists(&hg));
}

#[test]
fn a_stored_push_that_was_begun_is_completed() {
    let folder = repository();
    let hg = folder.path().join(".hg");
    pending::store(&hg, &appended(&folder, b"revisions")).expect("stores");
    fs::write(hg.join("store/00changelog.i"), b"rev\0\0").expect("writes");
    let _ = open(&folder);
    assert_eq!(fs::read(hg.join("store/00changelog.i")).expect("applied"), b"revisions");
}

#[test]
fn a_stored_push_is_not_applied_over_what_another_program_wrote() {
    let folder = repository();
    let hg = folder.path().join(".hg");
    pending::store(&hg, &appended(&folder, b"revisions")).expect("stores");
    fs::write(hg.join("store/00changelog.i"), b"of another").expect("writes");
    let refused = open(&folder).err().expect("refused").to_string();
    assert!(refused.contains(PENDING) && refused.contains("store/00changelog.i"), "{refused}");
    assert_eq!(fs::read(hg.join("store/00changelog.i")).expect("kept"), b"of another");
}

#[test]
fn a_stored_push_that_is_damaged_is_named() {
    let folder = repository();
    fs::write(folder.path().join(".hg").join(PENDING), b"garbage").expect("writes");
    let refused = open(&folder).err().expect("refused").to_string();
    assert!(refused.contains(PENDING) && refused.contains("Move the file away"), "{refused}");
}

#[test]
fn a_push_waits_for_another_writer_and_says_so() {
    let folder = repository();
    let mut host = open(&folder).expect("opens");
    // Of another host nobody here can tell whether the process lives.
    std::os::unix::fs::symlink("another-host:1", folder.path().join(".hg/store/lock")).expect("links");
    let (output, messages) = set_bookmark(&mut host, "one");
    assert_eq!(output, b"2\n0\n");
    assert!(messages.contains("locked by"), "{messages}");
    assert!(bookmarks(&mut host).is_empty());
}

#[test]
fn an_interrupted_transaction_of_another_program_is_left_to_it() {
    let folder = repository();
    let mut host = open(&folder).expect("opens");
    fs::write(folder.path().join(".hg/store/journal"), b"").expect("writes");
    let (output, messages) = set_bookmark(&mut host, "one");
    assert_eq!(output, b"2\n0\n");
    assert!(messages.contains("hg recover"), "{messages}");
}

/// As `hg share` makes one, of the repository in `source`.
fn share(source: &tempfile::TempDir, shared: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let hg = folder.path().join(".hg");
    fs::create_dir(&hg).expect("makes folders");
    fs::write(hg.join("requires"), "share-safe\nshared\n").expect("writes");
    let path = source.path().canonicalize().expect("there").join(".hg");
    fs::write(hg.join("sharedpath"), path.to_str().expect("UTF-8")).expect("writes");
    fs::write(hg.join("shared"), shared).expect("writes");
    folder
}

#[test]
fn a_push_to_a_share_reaches_what_is_shared() {
    let source = repository();
    let shared = share(&source, "bookmarks\n");
    let mut host = open(&shared).expect("opens");
    assert_eq!(set_bookmark(&mut host, "one"), (b"2\n1\n".to_vec(), String::new()));
    assert_eq!(bookmarks(&mut host), ["one"]);
    assert_eq!(bookmarks(&mut open(&source).expect("opens")), ["one"]);
    assert!(!shared.path().join(".hg/bookmarks").exists());
}

#[test]
fn bookmarks_of_a_share_alone_are_refused_by_name() {
    let source = repository();
    let own = share(&source, "");
    let mut host = open(&own).expect("opens");
    let (output, messages) = set_bookmark(&mut host, "one");
    assert_eq!(output, b"2\n0\n");
    assert!(messages.contains("bookmarks of a share") && messages.contains("repository that is shared"), "{messages}");
    assert!(!source.path().join(".hg/bookmarks").exists());
}

#[test]
fn what_is_only_read_refuses_pushes_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join(".hg")).expect("makes folders");
    fs::write(folder.path().join(".hg/requires"), "revlogv1\n").expect("writes");
    let mut host = open(&folder).expect("opens");
    let (output, messages) = set_bookmark(&mut host, "one");
    assert_eq!(output, b"2\n0\n");
    assert!(messages.contains("'store'") && messages.contains("Ask the administrators"), "{messages}");
    assert!(bookmarks(&mut host).is_empty());
}
