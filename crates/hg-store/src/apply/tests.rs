//! With `hg` where one is installed: it makes the stores and judges the results.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::change::{ChangeWriter, between, check_path};
use crate::digest::{digest_of_store, state_files};

/// A store before and after some pushes, and the change that leads from one to the other.
struct Stores {
    dir: TempDir,
    change: Vec<u8>,
}

fn hg(args: &[&str], repository: &Path) -> Output {
    let settings = ["ui.username=tester", "ui.timeout=1", "experimental.evolution=all"];
    let settings: Vec<&str> = settings.into_iter().flat_map(|setting| ["--config", setting]).collect();
    hg_command_server::run(Path::new("hg"), repository, &[&settings, args].concat()).unwrap()
}

#[track_caller]
fn hg_ok(args: &[&str], repository: &Path) -> String {
    let output = hg(args, repository);
    assert!(output.status.success(), "hg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has_hg() -> bool {
    let found = Command::new("hg").arg("--version").output().is_ok();
    if !found {
        eprintln!("no hg in PATH: this test did nothing");
    }
    found
}

fn commit(repository: &Path, name: &str, content: &[u8]) {
    let path = repository.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut before = fs::read(&path).unwrap_or_default();
    before.extend_from_slice(content);
    fs::write(path, before).unwrap();
    hg_ok(&["commit", "-A", "-m", name], repository);
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

impl Stores {
    /// A new file, ones that grow (names with capitals, hashed, with what the hash does not keep), an index that is
    /// split, a bookmark, a phase, a tag, a marker.
    fn made_by_hg(format: &str) -> Option<Self> {
        if !has_hg() {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        hg_ok(&["init", "--config", format], &work);
        let long = format!(".long/{}/File_{}.txt", "Directory.i/".repeat(4), "x".repeat(90));
        commit(&work, "Plain_Name.txt", b"one\n");
        commit(&work, &long, b"one\n");
        commit(&work, "big", &noise(100_000, 1));
        hg_ok(&["bookmark", "first"], &work);
        copy(&work.join(".hg"), &dir.path().join("before/.hg"));
        commit(&work, "Plain_Name.txt", b"two\n");
        commit(&work, &long, b"two\n");
        commit(&work, "big", &noise(60_000, 2));
        commit(&work, "new/undo.backup.x", b"new\n");
        hg_ok(&["bookmark", "second"], &work);
        hg_ok(&["phase", "--public", "0"], &work);
        hg_ok(&["tag", "v1"], &work);
        hg_ok(&["debugobsolete", &"a".repeat(40)], &work);
        fs::write(work.join(".hg/hgrc"), "[phases]\npublish = no\n").unwrap();
        copy(&work.join(".hg"), &dir.path().join("after/.hg"));

        let mut writer = ChangeWriter::new(io::Cursor::new(Vec::new())).unwrap();
        between(Some(&dir.path().join("before/.hg")), &dir.path().join("after/.hg"), &mut writer).unwrap();
        let change = writer.finish().unwrap().0.into_inner();
        Some(Self { dir, change })
    }

    fn change(&self) -> ChangeRef<'_> {
        ChangeRef::parse(&self.change).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a fresh copy of the store before, in a folder of this name.
    fn copy_before(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        let _ = fs::remove_dir_all(&to);
        copy(&self.path("before/.hg"), &to.join(".hg"));
        to
    }
}

/// Copies what a change may hold, and nothing that a working copy has.
fn copy(from: &Path, to: &Path) {
    for path in state_files(from).unwrap().into_iter().filter(|path| check_path(path).is_ok()) {
        let path = std::str::from_utf8(&path).unwrap();
        fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
        fs::copy(from.join(path), to.join(path)).unwrap();
    }
}

fn contents(hg: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let read = |path: Vec<u8>| {
        let content = fs::read(hg.join(std::str::from_utf8(&path).unwrap())).unwrap();
        (path, content)
    };
    state_files(hg).unwrap().into_iter().map(read).collect()
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (contents(&a.join(".hg")), contents(&b.join(".hg")));
    let differ: Vec<_> = a
        .keys()
        .chain(b.keys())
        .filter(|&path| a.get(path) != b.get(path))
        .map(|path| path.escape_ascii().to_string())
        .collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// Files that an apply leaves behind in no case: journals, locks, passing files.
fn leftovers(hg: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![hg.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else if name.starts_with("journal") || name.ends_with("lock") || name.ends_with(".break") {
                found.push(name);
            }
        }
    }
    found
}

/// Applies, and stops before step `stop`, as a kill would. Returns whether it came to its end.
fn apply_until(repository: &Path, change: &ChangeRef<'_>, mode: ApplyMode, stop: usize) -> bool {
    let mut steps = 0;
    let lock = StoreLock::acquire(&repository.join(".hg"), LockScope::All, Duration::ZERO).unwrap();
    let step = &mut |_: Step<'_>| {
        steps += 1;
        if steps > stop { Err(io::Error::other("killed")) } else { Ok(()) }
    };
    Apply { mode, skip: &|_| false, step }.run(&lock, change).is_ok()
}

/// One test, since `hg` takes its time to make the stores.
#[test]
fn stores_that_hg_made() {
    let Some(stores) = Stores::made_by_hg("format.dotencode=yes") else { return };
    what_is_applied_is_what_hg_wrote(&stores);
    killed_at_any_step_and_redone_it_is_whole(&stores);
    on_a_prefix_hg_reads_the_old_state_or_the_new_and_does_not_write(&stores);
    the_lock_is_mercurials(&stores);
    // Names that are encoded in other ways: what the journal lists, `hg recover` must find.
    for format in ["format.dotencode=no", "format.usefncache=no"] {
        let Some(stores) = Stores::made_by_hg(format) else { return };
        on_a_prefix_hg_reads_the_old_state_or_the_new_and_does_not_write(&stores);
    }
}

fn what_is_applied_is_what_hg_wrote(stores: &Stores) {
    let to = stores.copy_before("applied");
    let before = crate::Repository::open(&to).unwrap().current_state().unwrap();
    apply(&to.join(".hg"), &stores.change(), ApplyMode::Normal).unwrap();
    assert_same(&to, &stores.path("after"));
    assert_eq!(digest_of_store(&to.join(".hg")).unwrap(), digest_of_store(&stores.path("after/.hg")).unwrap());
    assert_eq!(leftovers(&to.join(".hg")), Vec::<String>::new());
    let after = crate::Repository::open(&to).unwrap().current_state().unwrap();
    assert_eq!(stores.change().state_after(&before).unwrap(), after);
    // From nothing as well.
    let mut writer = ChangeWriter::new(io::Cursor::new(Vec::new())).unwrap();
    between(None, &to.join(".hg"), &mut writer).unwrap();
    let whole = writer.finish().unwrap().0.into_inner();
    assert_eq!(ChangeRef::parse(&whole).unwrap().state_after(&Default::default()).unwrap(), after);
    sync(&to.join(".hg"), &stores.change()).unwrap();
    hg_ok(&["verify"], &to);
    // A second time it does not fit, and nothing happens.
    assert!(matches!(apply(&to.join(".hg"), &stores.change(), ApplyMode::Normal), Err(ApplyError::Unexpected { .. })));
    assert_same(&to, &stores.path("after"));
    // To a redo it does.
    apply(&to.join(".hg"), &stores.change(), ApplyMode::Redo).unwrap();
    assert_same(&to, &stores.path("after"));
}

fn killed_at_any_step_and_redone_it_is_whole(stores: &Stores) {
    let (change, after) = (stores.change(), stores.path("after"));
    for stop in 0.. {
        let to = stores.copy_before("killed");
        let done = apply_until(&to, &change, ApplyMode::Normal, stop);
        // The redo is killed as well, somewhere, and redone.
        apply_until(&to, &change, ApplyMode::Redo, stop * 7 % 97);
        assert!(apply_until(&to, &change, ApplyMode::Redo, usize::MAX));
        assert_same(&to, &after);
        assert_eq!(leftovers(&to.join(".hg")), Vec::<String>::new(), "after step {stop}");
        if done {
            assert!(stop > 50, "only {stop} steps");
            break;
        }
    }
}

fn on_a_prefix_hg_reads_the_old_state_or_the_new_and_does_not_write(stores: &Stores) {
    let change = stores.change();
    let template = ["log", "-T", "{node} {phase} {bookmarks} {files}\n"];
    let old = hg_ok(&template, &stores.path("before"));
    let new = hg_ok(&template, &stores.path("after"));
    let lines =
        |text: &str| text.lines().map(|line| line.split(' ').next().unwrap_or("").to_owned()).collect::<Vec<_>>();
    let steps = steps_of(stores);
    for stop in (0..steps).step_by(steps / 5) {
        let to = stores.copy_before("prefix");
        apply_until(&to, &change, ApplyMode::Normal, stop);
        let found = lines(&hg_ok(&template, &to));
        assert!(found == lines(&old) || found == lines(&new), "step {stop}: {found:?}");
        hg_ok(&["cat", "-r", "2", "big"], &to);
        if !to.join(".hg/store/journal").exists() {
            continue;
        }
        let refused = hg(&["bookmark", "-r", "0", "third"], &to);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("abandoned transaction"), "{refused:?}");
        // Its recover cuts back to the old state, to the byte; the redo then brings the new one.
        hg_ok(&["recover"], &to);
        assert_eq!(hg_ok(&template, &to), old, "step {stop}");
        hg_ok(&["verify"], &to);
        assert_same(&to, &stores.path("before"));
        apply(&to.join(".hg"), &change, ApplyMode::Redo).unwrap();
        assert_same(&to, &stores.path("after"));
    }
    hg_ok(&["verify"], &stores.path("prefix"));
    assert_eq!(hg_ok(&template, &stores.path("prefix")), new);
}

fn steps_of(stores: &Stores) -> usize {
    let to = stores.copy_before("counted");
    let mut steps = 0;
    let lock = StoreLock::acquire(&to.join(".hg"), LockScope::All, Duration::ZERO).unwrap();
    let step = &mut |_: Step<'_>| {
        steps += 1;
        Ok(())
    };
    Apply { mode: ApplyMode::Normal, skip: &|_| false, step }.run(&lock, &stores.change()).unwrap();
    steps
}

fn the_lock_is_mercurials(stores: &Stores) {
    let to = stores.copy_before("locked");
    let dot_hg = to.join(".hg");
    let lock = StoreLock::acquire(&dot_hg, LockScope::All, Duration::ZERO).unwrap();
    let refused = hg(&["phase", "--public", "tip"], &to);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lock"), "{refused:?}");
    // Within this process too.
    let again = StoreLock::acquire(&dot_hg, LockScope::Store, Duration::from_millis(5));
    assert!(matches!(again, Err(ApplyError::Locked { .. })));
    drop(lock);
    assert_eq!(leftovers(&dot_hg), Vec::<String>::new());
    hg_ok(&["phase", "--public", "tip"], &to);

    // What hg holds, this side waits for.
    let seen = stores.path("seen");
    let hook = format!(
        "hooks.pretxnclose=for i in $(seq 600); do test -e '{}' && exit 0; sleep 0.05; done; exit 1",
        seen.display()
    );
    let mut child = Command::new("hg")
        .args(["--config", &hook, "phase", "--draft", "--force", "tip"])
        .current_dir(&to)
        .env("HGRCPATH", "/dev/null")
        .spawn()
        .unwrap();
    while fs::symlink_metadata(dot_hg.join("store/lock")).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "hg ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
    let held = StoreLock::acquire(&dot_hg, LockScope::Store, Duration::ZERO);
    assert!(matches!(held, Err(ApplyError::Locked { .. })), "{held:?}");
    fs::write(&seen, "").unwrap();
    StoreLock::acquire(&dot_hg, LockScope::Store, Duration::from_secs(30)).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn only_a_dead_owners_lock_of_this_host_is_broken() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    let link = dir.path().join("store/lock");
    let acquire = || StoreLock::acquire(dir.path(), LockScope::Store, Duration::from_millis(20));
    let ours = {
        let _lock = acquire().unwrap();
        fs::read_link(&link).unwrap().into_os_string().into_string().unwrap()
    };
    assert!(!link.is_symlink());
    let (host, own) = ours.split_once(':').unwrap();
    assert_eq!(own, std::process::id().to_string());
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let alive = std::os::unix::process::parent_id();
    for broken in [format!("{host}:{}", dead.id()), ours.clone()] {
        symlink(&broken, &link).unwrap();
        acquire().unwrap();
        assert!(!link.is_symlink(), "{broken}");
    }
    let kept = [
        format!("{host}:{alive}"),
        format!("elsewhere/4026531836:{}", dead.id()),
        dead.id().to_string(),
        format!("{host}:0"),
        format!("{host}:-{}", dead.id()),
        format!("{host}:x"),
        "nonsense".to_owned(),
    ];
    for kept in kept {
        symlink(&kept, &link).unwrap();
        match acquire() {
            Err(ApplyError::Locked { holder }) => assert_eq!(holder, kept),
            other => panic!("{kept}: {other:?}"),
        }
        fs::remove_file(&link).unwrap();
    }
    fs::write(&link, "").unwrap();
    assert!(matches!(acquire(), Err(ApplyError::Locked { .. })));
    // Two who break the same lock: never more than one has it.
    fs::remove_file(&link).unwrap();
    symlink(format!("{host}:{}", dead.id()), &link).unwrap();
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _lock = StoreLock::acquire(dir.path(), LockScope::Store, Duration::from_secs(20)).unwrap();
                assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                std::thread::sleep(Duration::from_millis(2));
                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
}

fn change_of(fill: impl FnOnce(&mut ChangeWriter<io::Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = ChangeWriter::new(io::Cursor::new(Vec::new())).unwrap();
    fill(&mut writer);
    writer.finish().unwrap().0.into_inner()
}

#[test]
fn nothing_is_written_through_a_link_or_into_what_is_no_file() {
    let dir = TempDir::new().unwrap();
    let hg = dir.path().join(".hg");
    fs::create_dir_all(hg.join("store/data/real")).unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "12345").unwrap();
    symlink(outside.join("file"), hg.join("store/data/link.i")).unwrap();
    symlink(&outside, hg.join("store/data/folder")).unwrap();
    fs::write(hg.join("store/data/file.i"), "12345").unwrap();
    assert!(Command::new("mkfifo").arg(hg.join("store/data/pipe.i")).status().unwrap().success());
    let paths: [&[u8]; 5] = [
        b"store/data/link.i",
        b"store/data/folder/file",
        b"store/data/pipe.i",
        b"store/data/real",
        b"store/data/file.i/x.i",
    ];
    for path in paths {
        for (mode, what) in
            [ApplyMode::Normal, ApplyMode::Redo].into_iter().flat_map(|mode| [(mode, 0), (mode, 1), (mode, 2)])
        {
            let change = change_of(|writer| match what {
                0 => writer.append(path, 5, b"67").unwrap(),
                1 => writer.create(path, b"67").unwrap(),
                _ => writer.replace(path, None, b"67").unwrap(),
            });
            let _ = fs::remove_file(hg.join("store/journal"));
            let result = apply(&hg, &ChangeRef::parse(&change).unwrap(), mode);
            // A redo may put a new file in the place of a link or a pipe; it does not write into what is behind it.
            assert!(result.is_err() || (mode == ApplyMode::Redo && what == 2), "{}", path.escape_ascii());
            assert_eq!(fs::read(outside.join("file")).unwrap(), b"12345");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            if mode == ApplyMode::Normal {
                assert!(!hg.join("store/journal").exists());
            }
        }
    }
}

#[test]
fn a_file_that_a_local_clone_shares_is_not_altered_there() {
    let dir = TempDir::new().unwrap();
    let hg = dir.path().join(".hg");
    fs::create_dir_all(hg.join("store/data")).unwrap();
    fs::write(hg.join("store/data/a.i"), "12345").unwrap();
    fs::hard_link(hg.join("store/data/a.i"), dir.path().join("clone")).unwrap();
    let change = change_of(|writer| writer.append(b"store/data/a.i", 5, b"67").unwrap());
    let change = ChangeRef::parse(&change).unwrap();
    apply(&hg, &change, ApplyMode::Normal).unwrap();
    apply(&hg, &change, ApplyMode::Redo).unwrap();
    assert_eq!(fs::read(dir.path().join("clone")).unwrap(), b"12345");
    assert_eq!(fs::read(hg.join("store/data/a.i")).unwrap(), b"1234567");
    assert_eq!(leftovers(&hg), Vec::<String>::new());
}

#[test]
fn a_redo_goes_over_whatever_is_there() {
    let dir = TempDir::new().unwrap();
    let hg = dir.path().join(".hg");
    fs::create_dir_all(hg.join("store/data")).unwrap();
    let first = change_of(|writer| {
        writer.create(b"store/data/a.i", b"one ").unwrap();
        writer.replace(b"store/phaseroots", None, b"1").unwrap();
    });
    let second = change_of(|writer| {
        writer.append(b"store/data/a.i", 4, b"two").unwrap();
        writer.replace(b"store/phaseroots", Some(1), b"22").unwrap();
    });
    let (first, second) = (ChangeRef::parse(&first).unwrap(), ChangeRef::parse(&second).unwrap());
    apply(&hg, &first, ApplyMode::Normal).unwrap();
    apply(&hg, &second, ApplyMode::Normal).unwrap();
    // The first again leaves alone what the second added: nothing is ever cut.
    apply(&hg, &first, ApplyMode::Redo).unwrap();
    assert_eq!(fs::read(hg.join("store/data/a.i")).unwrap(), b"one two");
    apply(&hg, &second, ApplyMode::Redo).unwrap();
    assert_eq!(fs::read(hg.join("store/phaseroots")).unwrap(), b"22");
    // What a later change replaces is left out.
    let lock = StoreLock::acquire(&hg, LockScope::All, Duration::ZERO).unwrap();
    let skip = &|path: &[u8]| path == b"store/phaseroots";
    Apply { mode: ApplyMode::Redo, skip, step: &mut |_| Ok(()) }.run(&lock, &first).unwrap();
    assert_eq!(fs::read(hg.join("store/phaseroots")).unwrap(), b"22");
}
