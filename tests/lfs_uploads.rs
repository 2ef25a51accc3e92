//! LFS objects are uploaded over HTTPS, to any mirror, and are on every server before the push that names them; what is no upload leaves nothing.

use crate::support::fleet::Fleet;
use crate::support::run::{Said, run};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RULES: &str = "[[rule]]\nrepositories = [\"closed/**\"]\nread = [\"*\"]\nwrite = [\"nobody\"]\n\n\
                     [[rule]]\nrepositories = [\"**\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n";
const JSON: &str = "application/vnd.git-lfs+json";
const STORES: [&str; 2] = ["objects", "closed/objects"];

fn noise(seed: u32, words: u32) -> Vec<u8> {
    (0..words).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

struct World {
    fleet: Fleet,
    mail: String,
    /// May upload, and may not.
    tokens: [String; 2],
}

impl World {
    /// With these standbys, and these lines in the configuration.
    fn start(standbys: &[&str], sections: &str) -> World {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let rules = folder.join("access.toml");
        fs::write(&rules, RULES).expect("written");
        let access = format!("[access]\nrules = \"{}\"\n", rules.display());
        let fleet = Fleet::start_with(standbys, &(access + sections));
        let listed = fleet.hgfleet(&["account", "list"]).ok().out;
        let mail = listed.split('\t').next().expect("an account").to_owned();
        let token = |options: &[&str]| {
            fleet.hgfleet(&[&["token", "create", &mail], options].concat()).ok().out.trim().to_owned()
        };
        let tokens = [token(&["--uploads"]), token(&[])];
        for name in STORES {
            fleet.hgfleet(&["repo", "create", name]).ok();
        }
        World { fleet, mail, tokens }
    }

    /// Settings of a client that has the extension, and a cache of its own: what it has came from the server.
    fn client(&self, cache: &str) -> Vec<String> {
        let settings = [
            "extensions.lfs=".to_owned(),
            "lfs.track=size('>1kB')".to_owned(),
            format!("lfs.usercache={}", self.fleet.path(cache).display()),
            format!("lfs.url={}", self.fleet.https_url("objects/.git/info/lfs")),
            format!("auth.fleet.prefix=localhost:{}", self.fleet.https_port),
            format!("auth.fleet.username={}", self.mail),
            format!("auth.fleet.password={}", self.tokens[0]),
        ];
        settings.into_iter().flat_map(|setting| ["--config".to_owned(), setting]).collect()
    }

    /// Status and reason of a request to a repository.
    fn ask(&self, path: &str, token: Option<&str>, options: &[&str]) -> (u16, String) {
        answer(&run(&mut self.asking(path, token, options)).out)
    }

    fn asking(&self, path: &str, token: Option<&str>, options: &[&str]) -> Command {
        let mut curl = self.fleet.curl();
        curl.args(["-i", "-m", "60", "-HExpect:", &self.fleet.https_url(path)]).args(options);
        if let Some(token) = token {
            curl.args(["-u", &format!("{}:{token}", self.mail)]);
        }
        curl
    }

    /// The upload of a small object of its own to `objects`.
    fn small(&self, seed: u32) -> Command {
        let file = self.fleet.path(&format!("object-{seed}"));
        fs::write(&file, noise(seed, 10)).expect("written");
        let digest = run(Command::new("sha256sum").arg(&file)).ok().out;
        self.uploading(&digest[..64], &file, "1M")
    }

    /// The upload of a file to `objects`, so many bytes a second.
    fn uploading(&self, oid: &str, file: &Path, rate: &str) -> Command {
        let path = format!("objects/.hg/lfs/objects/{oid}");
        let options = ["--limit-rate", rate, "-XPUT", "--data-binary", &format!("@{}", file.display())];
        let mut curl = self.asking(&path, Some(&self.tokens[0]), &options);
        curl.stdout(Stdio::piped());
        curl
    }

    /// Whether every server has so many objects, and the same ones.
    fn assert_objects(&self, count: usize) {
        self.fleet.assert_one_store("objects");
        for copy in self.fleet.copies("objects") {
            let folders = fs::read_dir(copy.join(".hg/store/lfs/objects")).expect("there");
            let files = folders.map(|folder| fs::read_dir(folder.expect("readable").path()).expect("readable").count());
            assert_eq!(files.sum::<usize>(), count, "{}", copy.display());
        }
    }
}

/// Status, and all that was said.
fn answer(said: &str) -> (u16, String) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((said, ""));
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, format!("{head}\n{body}"))
}

#[test]
fn objects_are_uploaded_before_the_push_that_names_them() {
    let world = World::start(&[], "");
    let fleet = &world.fleet;
    let work = fleet.init("work");
    let client = world.client("cache-of-work");
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    let on_work = |arguments: &[&str]| -> Said { work.hg(&[&client[..], arguments].concat()) };
    // The second is longer than what the balancer keeps to send it again.
    for (seed, words) in [(1, 100_000), (2, 2_500_000)] {
        fs::write(work.path.join("image"), noise(seed, words)).expect("written");
        fs::write(work.path.join("plain"), format!("{seed}\n")).expect("written");
        on_work(&["commit", "-q", "-A", "-m", &seed.to_string()]).ok();
    }
    let url = fleet.ssh_url("objects");
    let said = on_work(&["push", &url]);
    assert!(said.status != 0 && said.err.contains("lfs"), "{said:#?}");
    for name in STORES {
        fleet.hgfleet(&["repo", "config", name, "--set", "extensions.lfs="]).ok();
    }
    let said = on_work(&["push", &url]).ok();
    assert!(said.out.contains("lfs: uploaded 2 files") && said.out.contains("added 2 changesets"), "{said:#?}");
    fleet.assert_one_store("objects");
    for copy in fleet.copies("objects") {
        let requires = fs::read_to_string(copy.join(".hg/store/requires")).expect("there");
        assert!(requires.lines().any(|line| line == "lfs"), "{requires}");
        assert_eq!(fs::read_dir(copy.join(".hg/store/lfs/objects")).expect("there").count(), 2);
    }
    fleet.hgfleet(&["repo", "verify", "objects"]).ok();

    // A pointer to what was not uploaded is refused, whatever else the client believes.
    fs::write(work.path.join("image"), noise(3, 1000)).expect("written");
    on_work(&["commit", "-q", "-m", "3"]).ok();
    let said = on_work(&["push", &url, "--config", "lfs.url=null://"]);
    let refused = format!("{}{}", said.out, said.err);
    assert!(
        said.status != 0 && refused.contains("is not stored, file image") && refused.contains("lfs.url"),
        "{said:#?}"
    );
    on_work(&["push", "-q", &url]).ok();

    let client = world.client("cache-of-clone");
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    fleet.hg(&[&client[..], &["clone", "-q", &fleet.https_url("objects"), "clone"]].concat()).ok();
    assert_eq!(fs::read(fleet.path("clone").join("image")).expect("there"), noise(3, 1000));
    fleet.hg(&[&client[..], &["-R", "clone", "update", "-q", "-r", "1"]].concat()).ok();
    assert_eq!(fs::read(fleet.path("clone").join("image")).expect("there"), noise(2, 2_500_000));
    fleet.hg(&[&client[..], &["-R", "clone", "verify", "-q"]].concat()).ok();
    // It is not uploaded twice.
    let said = on_work(&["push", &fleet.ssh_url("objects"), "-r", "0", "--config", "ui.verbose=yes"]);
    assert!(!said.out.contains("uploaded"), "{said:#?}");
    what_is_no_upload_leaves_nothing(&world);
}

/// How many the master takes at once.
const PLACES: u32 = 16;

#[test]
fn uploads_wait_for_each_other_and_for_the_next_master() {
    let world = World::start(&["standby-1"], "[master]\nlease_ms = 1000\n");
    let fleet = &world.fleet;
    fleet.hgfleet(&["repo", "config", "objects", "--set", "extensions.lfs="]).ok();
    let begin = |mut curl: Command| curl.spawn().expect("curl runs");
    let end = |curl: Child| answer(&String::from_utf8_lossy(&curl.wait_with_output().expect("it ends").stdout));

    // As many as there are places for, each too long for a balancer to take it whole first, and for this test to see its end.
    let long = fleet.path("long");
    fs::write(&long, noise(0, 2_500_000)).expect("written");
    let mut slow: Vec<Child> =
        (0..PLACES).map(|seed| begin(world.uploading(&format!("{seed:064x}"), &long, "100k"))).collect();
    let mut stored = 0;
    let (status, told) = loop {
        match end(begin(world.small(stored))) {
            (200, _) => stored += 1,
            refused => break refused,
        }
        assert!(stored < 1000, "there is always a place");
    };
    assert!(status == 503 && told.contains("16 other objects come in already"), "{told}");
    assert!(told.to_ascii_lowercase().contains("retry-after: 5"), "{told}");

    // Who waits gets the place of one that goes.
    let mut waiting = begin(world.small(stored));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(waiting.try_wait().expect("ours"), None, "it waits");
    let mut gone = slow.pop().expect("one of them");
    gone.kill().and_then(|()| gone.wait()).expect("it ends");
    let (status, told) = end(waiting);
    assert_eq!(status, 200, "{told}");

    // The master dies: those in the middle are told so, one that begins waits for the next master, and nothing is half stored.
    fleet.signal_supervisor("STOP");
    fleet.signal("master", "KILL");
    let (status, told) = end(begin(world.small(stored + 1)));
    assert_eq!(status, 200, "{told}");
    assert_eq!(fleet.status()["lease"]["holder"], "standby-1");
    for curl in slow {
        let (status, told) = end(curl);
        assert!(status == 503 && told.contains("no master takes LFS objects now"), "{told}");
    }
    fleet.signal_supervisor("CONT");
    world.assert_objects(stored as usize + 2);
    fleet.hgfleet(&["repo", "verify", "objects"]).ok();
}

fn what_is_no_upload_leaves_nothing(world: &World) {
    let fleet = &world.fleet;
    let before = fleet.status()["log"]["sequence"].clone();
    // SHA-256 of "content\n".
    let oid = "434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53";
    let object = |name: &str, oid: &str| format!("{name}/.hg/lfs/objects/{oid}");
    let put = |body: &'static str| vec!["-XPUT", "--data-binary", body];
    let may = Some(&*world.tokens[0]);
    let good = object("objects", oid);
    let upper = object("objects", &oid.to_uppercase());
    for (path, token, options, status, why) in [
        (&good, None, put("content\n"), 401, "www-authenticate: Basic"),
        (&good, Some(&*world.tokens[1]), put("content\n"), 403, "the token may only read, on objects"),
        (&object("closed/objects", oid), may, put("content\n"), 403, "the access rules don't let"),
        (&object("nothing", oid), may, put("content\n"), 404, ""),
        (&good, may, put("something else\n"), 422, "Run hg verify"),
        (&good, may, put(""), 422, "Run hg verify"),
        (&good, may, [put("x"), vec!["-HContent-Length: 99999999999999"]].concat(), 413, "4294967296 are allowed"),
        (&upper, may, put("content\n"), 404, "no SHA-256"),
        (&object("objects", "..%2f..%2frequires"), may, put("content\n"), 404, "no SHA-256"),
        (&good, may, vec!["-XDELETE"], 405, ""),
        (&"objects/.hg/store/lfs".to_owned(), may, put("content\n"), 405, ""),
    ] {
        let (found, told) = world.ask(path, token, &options);
        assert!(found == status && told.contains(why), "{path} {options:?}: {told}");
    }
    let many = format!(
        "@{}",
        {
            let path = fleet.path("many.json");
            let object = format!("{{\"oid\":\"{oid}\",\"size\":8}}");
            let objects = vec![object; 50_001].join(",");
            fs::write(&path, format!("{{\"operation\":\"upload\",\"objects\":[{objects}]}}")).expect("written");
            path
        }
        .display()
    );
    let batch = "objects/.git/info/lfs/objects/batch".to_owned();
    let asked = |operation: &str, oid: &str| {
        format!("{{\"operation\":\"{operation}\",\"objects\":[{{\"oid\":\"{oid}\",\"size\":8}}]}}")
    };
    for (token, body, status, why) in [
        (may, asked("upload", oid), 200, "\"upload\":{\"href\":"),
        (may, asked("upload", oid), 200, "\"Authorization\":\"Basic "),
        (None, asked("upload", oid), 401, "www-authenticate: Basic"),
        (Some(&*world.tokens[1]), asked("upload", oid), 403, "the token may only read"),
        (may, asked("upload", "../requires"), 200, "no SHA-256"),
        (may, asked("remove", oid), 400, "unknown operation"),
        (may, "{\"operation\":".to_owned(), 400, "no JSON"),
        (may, many, 413, "too many objects"),
    ] {
        let media = [format!("-HContent-Type: {JSON}"), format!("-HAccept: {JSON}")];
        let (found, told) = world.ask(&batch, token, &[&media[0], &media[1], "--data-binary", &body]);
        assert!(found == status && told.contains(why), "{body:.100}: {told}");
    }
    // One that goes away in the middle, of whose bytes the master has some.
    let half = fleet.path("half");
    fs::write(&half, noise(9, 5_000_000)).expect("written");
    let mut vanishing = fleet.curl();
    vanishing.args(["-u", &format!("{}:{}", world.mail, world.tokens[0]), "--limit-rate", "10M", "-XPUT"]);
    vanishing.args(["--data-binary", &format!("@{}", half.display()), &fleet.https_url(&good)]).stdout(Stdio::null());
    let mut vanishing = vanishing.spawn().expect("curl runs");
    std::thread::sleep(Duration::from_millis(1200));
    vanishing.kill().and_then(|()| vanishing.wait()).expect("it ends");
    assert_eq!(fleet.status()["log"]["sequence"], before, "nothing was stored");
    // Nothing at all is an object too.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(world.ask(&object("objects", empty), may, &put("")).0, 200);
    // And all is as before: the right one is taken, also a second time.
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(world.ask(&good, may, &put("content\n")).0, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(world.ask(&good, None, &[]).0, 200);
    fleet.assert_one_store("objects");
}
