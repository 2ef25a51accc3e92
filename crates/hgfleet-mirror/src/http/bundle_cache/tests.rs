//! One bundle for many readers, in all orders of coming and going.

use super::{BUNDLES_MAX, BundleCache, BundleReader, Found};
use bytes::Bytes;
use hg_store::{Repository, Snapshot, StoreFormat};
use hg_wire::http::StreamBody;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn snapshot(root: &Path) -> Arc<Snapshot> {
    for (path, bytes) in Repository::create_files(StoreFormat::default(), None) {
        let path = root.join(".hg").join(String::from_utf8(path).expect("a name"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    let repository = Repository::open(root).expect("opened");
    Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"))
}

struct Cache {
    cache: Arc<BundleCache>,
    snapshot: Arc<Snapshot>,
    folder: tempfile::TempDir,
    made: Arc<AtomicUsize>,
}

impl Cache {
    fn new(bytes_max: u64) -> Cache {
        Cache::in_folder("bundles", bytes_max)
    }

    /// With bundles at a path below the test's folder.
    fn in_folder(path: &str, bytes_max: u64) -> Cache {
        let folder = tempfile::tempdir().expect("a folder");
        let snapshot = snapshot(&folder.path().join("repository"));
        let cache = Arc::new(BundleCache::new(folder.path().join(path), bytes_max));
        Cache { cache, snapshot, folder, made: Arc::default() }
    }

    /// Asks as a client does, who makes what isn't there by `stream`.
    async fn ask(&self, request: &str, stream: impl FnOnce() -> StreamBody) -> BundleReader {
        let found = self.cache.find(&self.snapshot, request.into()).await;
        match found.expect("bundles are kept") {
            Found::Kept(reader) => reader,
            Found::Nothing(claim) => {
                self.made.fetch_add(1, Ordering::SeqCst);
                claim.make(stream()).unwrap_or_else(|_| panic!("there is room"))
            }
        }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    fn bytes(&self) -> u64 {
        self.cache.kept().bytes
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 7) as u8).collect()
}

fn of(content: Vec<u8>) -> StreamBody {
    Box::new(move |output| Ok(output.write_all(&content)?))
}

async fn piece(reader: &mut BundleReader) -> Option<io::Result<Bytes>> {
    poll_fn(|context| reader.poll(context)).await
}

async fn all(mut reader: BundleReader) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = piece(&mut reader).await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_are_answered_by_one_bundle() {
    let cache = Arc::new(Cache::new(64 << 20));
    let whole = content(3_000_000);
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let (cache, whole) = (cache.clone(), whole.clone());
            tokio::spawn(async move { all(cache.ask("clone", || of(whole)).await).await.expect("whole") })
        })
        .collect();
    for reader in readers {
        assert!(reader.await.expect("read") == whole);
    }
    assert_eq!(cache.made(), 1);
    // Whole, its length is known; another request has another.
    let again = cache.ask("clone", || panic!("kept")).await;
    assert_eq!(again.left(), Some(whole.len() as u64));
    assert!(all(again).await.expect("whole") == whole);
    assert_eq!(all(cache.ask("pull", || of(vec![1])).await).await.expect("whole"), [1]);
    assert_eq!(cache.made(), 2);
    assert_eq!(std::fs::read_dir(cache.folder.path().join("bundles")).expect("a folder").count(), 0, "without names");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_follow_while_it_is_made_and_a_failure_reaches_all() {
    let cache = Cache::new(64 << 20);
    let (more, wait) = mpsc::channel::<bool>();
    let stream: StreamBody = Box::new(move |output| {
        output.write_all(&content(600_000))?;
        match wait.recv().expect("told") {
            true => Ok(output.write_all(b"end")?),
            false => Err(io::Error::other("the store is damaged").into()),
        }
    });
    let mut first = cache.ask("a", || stream).await;
    let mut second = cache.ask("a", || panic!("under way")).await;
    for reader in [&mut first, &mut second] {
        assert_eq!(reader.left(), None);
        assert!(piece(reader).await.expect("a piece").expect("read").starts_with(&content(1000)));
    }
    more.send(false).expect("waited for");
    assert!(all(first).await.is_err() && all(second).await.is_err(), "no reader takes it for the whole");
    let third = cache.ask("a", || of(b"again".to_vec())).await;
    assert_eq!(all(third).await.expect("whole"), b"again");
    assert_eq!((cache.made(), cache.bytes()), (2, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_keep_goes_at_its_readers_pace() {
    let cache = Cache::new(1 << 20);
    let whole = content(60 << 20);
    let mut reader = cache.ask("large", || of(whole.clone())).await;
    let mut read = piece(&mut reader).await.expect("a piece").expect("read").to_vec();
    std::thread::sleep(Duration::from_millis(300));
    assert!(cache.bytes() < 2 << 20, "what is ahead doesn't count, and is bounded");
    let rest = all(reader).await.expect("whole");
    read.extend_from_slice(&rest);
    assert!(read == whole);
    assert_eq!(cache.bytes(), 0);
    drop(all(cache.ask("large", || of(content(5))).await).await);
    assert_eq!(cache.made(), 2, "not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_made_by_what_was_not_asked_for_lately() {
    let cache = Cache::new(1_000);
    for (request, made) in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)] {
        let reader = cache.ask(request, || of(content(400))).await;
        assert_eq!(all(reader).await.expect("whole").len(), 400);
        assert_eq!(cache.made(), made, "{request}");
        assert!(cache.bytes() <= 1_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_small_ones_are_kept_and_no_more() {
    let cache = Cache::new(64 << 20);
    for n in 0..BUNDLES_MAX + 10 {
        assert_eq!(all(cache.ask(&n.to_string(), || of(vec![1])).await).await.expect("whole"), [1]);
    }
    assert!(cache.cache.kept().slots.len() <= BUNDLES_MAX);
    drop(cache.ask(&(BUNDLES_MAX + 9).to_string(), || panic!("kept")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_what_is_given_up() {
    let cache = Cache::new(64 << 20);
    // Who was to make it is refused by the store, or gone: the next one makes it.
    let Some(Found::Nothing(claim)) = cache.cache.find(&cache.snapshot, b"a".to_vec()).await else { panic!("new") };
    let waiting = tokio::spawn({
        let (inner, snapshot) = (cache.cache.clone(), cache.snapshot.clone());
        async move { matches!(inner.find(&snapshot, b"a".to_vec()).await, Some(Found::Nothing(_))) }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(claim);
    assert!(waiting.await.expect("ended"));
    // A client that leaves ends the work, and what is behind a panic ends, too.
    let (ended, end) = mpsc::channel();
    let stream: StreamBody = Box::new(move |output| {
        let result = (0..10_000).try_for_each(|_| {
            std::thread::sleep(Duration::from_millis(1));
            output.write_all(&[0; 100_000])
        });
        ended.send(result.is_err()).expect("waited for");
        Ok(result?)
    });
    drop(cache.ask("b", || stream).await);
    assert!(end.recv_timeout(Duration::from_secs(20)).expect("ended"), "nobody reads it");
    assert!(all(cache.ask("c", || Box::new(|_| panic!("in the store"))).await).await.is_err());
    // A repository that has changed is another.
    let other = snapshot(&cache.folder.path().join("other"));
    assert!(matches!(cache.cache.find(&other, b"a".to_vec()).await, Some(Found::Nothing(_))));
}

/// Within a file there are no folders, whoever asks.
const NO_FOLDER: &str = "repository/.hg/requires/bundles";

#[tokio::test(flavor = "multi_thread")]
async fn where_a_folder_takes_no_bundles_they_lie_with_temporary_files() {
    let cache = Cache::in_folder(NO_FOLDER, 64 << 20);
    let first = cache.ask("clone", || of(content(700_000))).await;
    let second = cache.ask("clone", || panic!("under way")).await;
    for reader in [first, second] {
        assert!(all(reader).await.expect("whole") == content(700_000));
    }
    assert_eq!(cache.made(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_folder_who_asks_gets_a_stream_of_its_own() {
    let Cache { snapshot, folder, .. } = Cache::new(64 << 20);
    let folders = vec![folder.path().join(NO_FOLDER), folder.path().join("absent")];
    let cache = Arc::new(BundleCache { folders, bytes_max: 64 << 20, kept: Default::default() });
    for _ in 0..2 {
        let Some(Found::Nothing(claim)) = cache.find(&snapshot, b"a".to_vec()).await else { panic!("none is kept") };
        let mut streamed = Vec::new();
        let stream = claim.make(of(b"whole".to_vec())).err().expect("given back");
        stream(&mut streamed).expect("made");
        assert_eq!(streamed, b"whole");
    }
    assert!(!folder.path().join("absent").exists());
}
