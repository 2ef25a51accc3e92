//! The commands that read, asked of stock `hg serve --stdio` and of us, over one repository: what is text is the same text, what is a
//! bundle has the same parts, with the same revisions.
//!
//! `HGFLEET_COMPARE=PATH cargo test --release -p hg-wire --test commands_beside_stock` compares over a repository of yours; it is only read.
//! Needs `hg` in the PATH or in `.venv/bin`; without it the tests say so and pass.

use hg_store::{Repository, Snapshot};
use hg_wire::arguments::Arguments;
use hg_wire::capabilities::Transport;
use hg_wire::client::Client;
use hg_wire::command::CommandName;
use hg_wire::commands::{Answer, answer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::Arc;
use support::Hg;

mod support;

/// Revisions of a repository of which each command is asked, at most: a few of the first, the last, and some between.
const SAMPLE: usize = 40;
const NULL: &str = "0000000000000000000000000000000000000000";
/// What a client of 7.2 says that it takes; one of 5.6 takes another cache, too.
const BUNDLECAPS: &str = "HG20,bundle2=HG20%0Abookmarks%0Achangegroup%3D01%2C02%2C03%0Acheckheads%3Drelated%0Adelta-compression%3Dnone%2Czlib%2Czstd%0Adigests%3Dmd5%2Csha1%2Csha512%0A\
    error%3Dabort%2Cunsupportedcontent%2Cpushraced%2Cpushkey%0Ahgtagsfnodes%0Alistkeys%0Aobsmarkers%3DV0%2CV1%0Aphases%3Dheads%0Apushkey%0Arev-branch-cache";

/// A session of stock.
struct Stock {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Stock {
    fn start(hg: &Hg, root: &Path) -> Stock {
        let mut process = hg.serve(root);
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Stock { process, input, output }
    }

    fn ask(&mut self, command: CommandName, arguments: &[(&str, &str)]) {
        let mut request = format!("{}\n", command.as_str());
        let declared = command.declared();
        let pair = |(name, value): &(&str, &str)| format!("{name} {}\n{value}", value.len());
        let (named, starred): (Vec<_>, Vec<_>) = arguments.iter().partition(|(name, _)| declared.contains(name));
        if declared.contains(&"*") {
            request.push_str(&format!("* {}\n", starred.len()));
        }
        request.extend(starred.iter().map(pair));
        request.extend(named.iter().map(pair));
        self.input.write_all(request.as_bytes()).expect("it listens");
        self.input.flush().expect("it listens");
    }

    fn text(&mut self, command: CommandName, arguments: &[(&str, &str)]) -> Vec<u8> {
        self.ask(command, arguments);
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a length");
        let length = line.trim_end().parse().unwrap_or_else(|_| panic!("{command:?} {arguments:?}: {line:?}"));
        let mut text = vec![0; length];
        self.output.read_exact(&mut text).expect("a text");
        text
    }

    fn bundle(&mut self, command: CommandName, arguments: &[(&str, &str)]) -> Vec<Part> {
        self.ask(command, arguments);
        match command {
            CommandName::Getbundle => parts(&mut self.output),
            _ => vec![raw_changegroup(&mut self.output)],
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A part of a bundle, with whatever is the same wherever it comes from.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    header: String,
    payload: Payload,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Payload {
    Bytes(Vec<u8>),
    /// What the changegroup has of each revision but its delta: the name says what its text is.
    Revisions(BTreeSet<String>),
    /// Of changesets, the revision of `.hgtags`, as far as the server knew it.
    TagsFiles(BTreeMap<String, String>),
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Payload::Bytes(bytes) => write!(f, "{}", bytes.escape_ascii()),
            Payload::Revisions(revisions) => write!(f, "{} revisions", revisions.len()),
            Payload::TagsFiles(known) => write!(f, "{known:?}"),
        }
    }
}

fn take(input: &mut impl Read, bytes: usize) -> Vec<u8> {
    let mut taken = vec![0; bytes];
    input.read_exact(&mut taken).expect("a bundle goes on");
    taken
}

fn word(input: &mut impl Read) -> u32 {
    u32::from_be_bytes(take(input, 4).try_into().expect("four"))
}

fn parts(input: &mut impl Read) -> Vec<Part> {
    assert_eq!(take(input, 8), b"HG20\0\0\0\0");
    let mut all = Vec::new();
    loop {
        let bytes = word(input) as usize;
        if bytes == 0 {
            return all;
        }
        let header = take(input, bytes);
        let name = usize::from(header[0]);
        // Numbers of parts may differ: stock counts what it leaves out.
        let shown = [&header[..=name], &header[name + 5..]].concat();
        let mut payload = Vec::new();
        loop {
            match word(input) {
                0 => break,
                bytes => payload.extend(take(input, bytes as usize)),
            }
        }
        let header = shown.escape_ascii().to_string();
        if header.contains("LISTKEYS") || header.contains("listkeys") {
            payload = sorted(&payload);
        }
        let is_changegroup = header.to_lowercase().contains("changegroup");
        let version = if header.contains("version03") {
            3
        } else if header.contains("version02") {
            2
        } else {
            1
        };
        let payload = match is_changegroup {
            true => Payload::Revisions(revisions(&mut payload.as_slice(), version)),
            false if header.contains("hgtagsfnodes") => {
                let pairs = payload.chunks_exact(40).map(|pair| (hex(&pair[..20]), hex(&pair[20..])));
                Payload::TagsFiles(pairs.collect())
            }
            false => Payload::Bytes(payload),
        };
        all.push(Part { header, payload });
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the part out of a bundle's.
fn take_tags_files(parts: &mut Vec<Part>) -> BTreeMap<String, String> {
    let at = parts.iter().position(|part| matches!(part.payload, Payload::TagsFiles(_)));
    match at.map(|at| parts.remove(at).payload) {
        Some(Payload::TagsFiles(known)) => known,
        _ => BTreeMap::new(),
    }
}

/// Keys in one order: stock has them in that of its sets.
fn sorted(keys: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = keys.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.join(&b'\n')
}

fn raw_changegroup(input: &mut impl Read) -> Part {
    Part { header: "raw".to_owned(), payload: Payload::Revisions(revisions(input, 1)) }
}

/// Of each chunk: which log it is of, node, parents, linked changeset, flags.
fn revisions(input: &mut impl Read, version: u8) -> BTreeSet<String> {
    let fixed = match version {
        1 => 80,
        2 => 100,
        _ => 102,
    };
    let mut all = BTreeSet::new();
    let group = |input: &mut dyn Read, log: &str, all: &mut BTreeSet<String>| {
        let mut input = input;
        loop {
            let bytes = word(&mut input) as usize;
            if bytes == 0 {
                return;
            }
            let chunk = take(&mut input, bytes - 4);
            let node = |from: usize| hex(&chunk[from..from + 20]);
            let linked = if version == 1 { 60 } else { 80 };
            let flags = if version == 3 { chunk[100..102].escape_ascii().to_string() } else { String::new() };
            assert!(chunk.len() >= fixed);
            let revision = format!("{log} {} {} {} {} {flags}", node(0), node(20), node(40), node(linked));
            assert!(all.insert(revision), "twice in one changegroup");
        }
    };
    group(input, "changelog", &mut all);
    group(input, "manifest", &mut all);
    let groups = |input: &mut dyn Read, all: &mut BTreeSet<String>| {
        let mut input = input;
        loop {
            let bytes = word(&mut input) as usize;
            if bytes == 0 {
                return;
            }
            let path = take(&mut input, bytes - 4).escape_ascii().to_string();
            group(input, &path, all);
        }
    };
    // Of folders, then of files.
    for _ in 0..if version == 3 { 2 } else { 1 } {
        groups(input, &mut all);
    }
    all
}

/// One repository, asked both ways.
struct Both {
    stock: Stock,
    snapshot: Arc<Snapshot>,
    compared: usize,
    /// Of how many of them both knew the revision of `.hgtags` at a head.
    tags_files: usize,
}

impl Both {
    fn ours(&self, command: CommandName, arguments: &[(&str, &str)]) -> Answer {
        let mut all = Arguments::default();
        for (name, value) in arguments {
            all.add(*name, *value).expect("within bounds");
        }
        answer(command, &all, &self.snapshot, &Client::new(Transport::Ssh))
            .unwrap_or_else(|error| panic!("{command:?} {arguments:?}: {}", error.client_text()))
    }

    fn text(&mut self, command: CommandName, arguments: &[(&str, &str)]) {
        let mut theirs = self.stock.text(command, arguments);
        let Answer::Text(mut ours) = self.ours(command, arguments) else { panic!("{command:?} is text") };
        if command == CommandName::Listkeys {
            (ours, theirs) = (sorted(&ours), sorted(&theirs));
        }
        self.compared += 1;
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{command:?} {arguments:?}");
    }

    fn bundle(&mut self, command: CommandName, arguments: &[(&str, &str)]) {
        let mut theirs = self.stock.bundle(command, arguments);
        let Answer::Stream(stream, _) = self.ours(command, arguments) else { panic!("{command:?} is a stream") };
        let mut ours = Vec::new();
        stream(&mut ours).expect("written");
        let mut ours = match command {
            CommandName::Getbundle => parts(&mut ours.as_slice()),
            _ => vec![raw_changegroup(&mut ours.as_slice())],
        };
        self.compared += 1;
        // Each server tells of what it happens to know.
        let (known, known_by_stock) = (take_tags_files(&mut ours), take_tags_files(&mut theirs));
        for (node, file) in &known {
            if let Some(by_stock) = known_by_stock.get(node) {
                self.tags_files += 1;
                assert_eq!(file, by_stock, "{command:?} {arguments:?}: .hgtags of {node}");
            }
        }
        let headers = |parts: &[Part]| parts.iter().map(|part| part.header.clone()).collect::<Vec<_>>();
        assert_eq!(headers(&ours), headers(&theirs), "{command:?} {arguments:?}");
        for (ours, theirs) in ours.into_iter().zip(theirs) {
            match (ours.payload, theirs.payload) {
                (Payload::Revisions(ours), Payload::Revisions(theirs)) => {
                    let missing: Vec<_> = ours.difference(&theirs).collect();
                    assert!(missing.is_empty(), "{command:?} {arguments:?}: stock doesn't send {missing:?}");
                    // Stock sends a manifest or a file's revision again that the client has by another changeset than the one that
                    // brought it here.
                    let mut more = theirs.difference(&ours);
                    assert!(more.all(|revision| !revision.starts_with("changelog ")), "{command:?} {arguments:?}");
                }
                (ours, theirs) => assert_eq!(ours, theirs, "{command:?} {arguments:?}"),
            }
        }
    }
}

/// Asks everything that a client could, of some of the repository's revisions. Returns how many answers were compared, and how often the
/// revision of `.hgtags` at a head.
fn compare(hg: &Hg, root: &Path) -> (usize, usize) {
    let log = |revset: &str| -> Vec<String> {
        let said = hg.run(root, &["log", "--hidden", "-r", revset, "-T", "{node}\n"]);
        let all: Vec<String> = said.lines().map(str::to_owned).collect();
        let step = (all.len() / SAMPLE).max(1);
        all.iter().rev().step_by(step).rev().cloned().collect()
    };
    let (shown, unserved) = (log("not secret() and not hidden()"), log("secret() or hidden()"));
    let heads = log("head() and not secret() and not hidden()");
    let repository = Repository::open(root).expect("opened");
    let snapshot = Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"));
    let mut both = Both { stock: Stock::start(hg, root), snapshot, compared: 0, tags_files: 0 };

    // All of it, but what is said of bundles; and stock sends a store with hidden changesets as a stream, which we don't.
    let is_compared =
        |word: &&str| !word.starts_with("bundle2=") && (unserved.is_empty() || !word.starts_with("stream"));
    let said = |text: &[u8]| {
        let words = String::from_utf8_lossy(text).trim_start_matches("capabilities: ").trim_end().to_owned();
        words.split(' ').filter(is_compared).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let theirs = said(&both.stock.text(CommandName::Hello, &[]));
    let Answer::Text(ours) = both.ours(CommandName::Hello, &[]) else { panic!("text") };
    assert_eq!(said(&ours), theirs);

    both.text(CommandName::Heads, &[]);
    both.text(CommandName::Branchmap, &[]);
    for namespace in ["bookmarks", "namespaces", "phases", "nosuch", ""] {
        both.text(CommandName::Listkeys, &[("namespace", namespace)]);
    }
    // Stock has the markers in the order of its sets; the part of a bundle compares them one by one.
    let obsolete = [("namespace", "obsolete")];
    let theirs = both.stock.text(CommandName::Listkeys, &obsolete);
    let Answer::Text(ours) = both.ours(CommandName::Listkeys, &obsolete) else { panic!("text") };
    assert_eq!(ours.len(), theirs.len());
    let absent = "f".repeat(40);
    let all: Vec<&str> =
        shown.iter().chain(&unserved).chain(&heads).map(String::as_str).chain([NULL, &absent]).collect();
    both.text(CommandName::Known, &[("nodes", &all.join(" "))]);
    both.text(CommandName::Known, &[("nodes", "")]);
    both.text(CommandName::Batch, &[("cmds", "heads ;known nodes=")]);
    both.text(
        CommandName::Batch,
        &[("cmds", &format!("lookup key=tip;listkeys namespace=bookmarks;known nodes={}", all.join(" ")))],
    );

    let names = hg.run(
        root,
        &["log", "--hidden", "-r", "all()", "-T", "{join(tags, '\\n')}\n{join(bookmarks, '\\n')}\n{branch}\n"],
    );
    let mut keys: BTreeSet<String> =
        names.lines().take(3_000).map(str::to_owned).filter(|name| !name.is_empty()).collect();
    keys.extend(
        ["tip", "null", "default", "nosuch", "0", "1", "-1", "-2", "99999999", NULL, &absent].map(str::to_owned),
    );
    for node in shown.iter().chain(&unserved) {
        keys.extend([
            node.clone(),
            node[..12].to_owned(),
            node[..5].to_owned(),
            node[..1].to_owned(),
            node.to_uppercase(),
        ]);
    }
    for key in &keys {
        both.text(CommandName::Lookup, &[("key", key)]);
    }

    let some: Vec<&str> = shown.iter().step_by(5).map(String::as_str).collect();
    if let (Some(first), Some(last)) = (shown.first(), shown.last()) {
        let pairs = some.iter().map(|node| format!("{node}-{first} {last}-{node} {node}-{NULL}")).collect::<Vec<_>>();
        both.text(CommandName::Between, &[("pairs", &pairs.join(" "))]);
        both.text(CommandName::Branches, &[("nodes", &some.join(" "))]);
    }
    let whole = heads.join(" ");
    let requirements = both.snapshot.repository().requirements();
    // For all others stock knows no answer.
    let is_flat = !requirements.tree_manifests() && !requirements.lfs();
    for node in some.iter().rev().take(4).filter(|_| is_flat) {
        both.bundle(CommandName::Changegroup, &[("roots", node)]);
        both.bundle(CommandName::Changegroupsubset, &[("bases", node), ("heads", &whole)]);
    }
    let caps = ("bundlecaps", BUNDLECAPS);
    let everything = [caps, ("bookmarks", "1"), ("phases", "1"), ("obsmarkers", "1"), ("listkeys", "bookmarks,phases")];
    let ask = |more: &[(&'static str, &str)], both: &mut Both| {
        let arguments: Vec<(&str, &str)> = everything.iter().copied().chain(more.iter().copied()).collect();
        both.bundle(CommandName::Getbundle, &arguments);
    };
    ask(&[("cg", "1"), ("common", NULL)], &mut both);
    ask(&[("cg", "1"), ("common", NULL), ("heads", &whole)], &mut both);
    ask(&[("cg", "0"), ("common", NULL), ("heads", "")], &mut both);
    ask(&[("cg", "0"), ("common", &whole), ("heads", &whole)], &mut both);
    for (n, node) in some.iter().enumerate() {
        ask(&[("cg", "1"), ("common", NULL), ("heads", node)], &mut both);
        ask(&[("cg", "1"), ("common", node), ("heads", &whole)], &mut both);
        ask(&[("cg", "1"), ("common", node), ("heads", some[(n * 3 + 1) % some.len()])], &mut both);
    }
    for caps in
        ["HG20,bundle2=HG20%0Achangegroup%3D02", "HG20,bundle2=HG20%0Achangegroup%3D01"].iter().filter(|_| is_flat)
    {
        both.bundle(CommandName::Getbundle, &[("bundlecaps", caps), ("common", NULL)]);
    }
    (both.compared, both.tags_files)
}

/// A random history: branches, closed ones, merges, copies, odd names, tags, bookmarks; of some kinds secret and hidden changesets.
fn generate(hg: &Hg, root: &Path, seed: u64) {
    hg.init(root, &[]);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let files = ["a", "Dir/B ~.TXT", "dir.i/x.d", "é", "long/path/of/a/file", "aux"];
    let branches = ["default", "stable", "st b;,=", "Zweig-ü"];
    for step in 0..20 {
        if step > 0 && random(3) == 0 {
            hg.run(root, &["update", "-qC", "-r", &random(step).to_string()]);
        }
        if random(4) == 0 {
            hg.run(root, &["branch", "-qf", branches[random(branches.len())]]);
        }
        if step > 4 && random(4) == 0 {
            let other = random(step).to_string();
            drop(hg.output(root, &["--config", "ui.merge=internal:local", "merge", "-q", "-r", &other]));
        }
        let file = root.join(files[random(files.len())]);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, format!("{}\n{}", random(3), "line\n".repeat(random(50)))).expect("written");
        let secret = if seed % 2 == 1 && step > 8 && random(8) == 0 { "--secret" } else { "-q" };
        let message = format!("ümlaut {step}");
        let commit = |more: &str| {
            let arguments = ["commit", "-qA", secret, "-m", &message, "-u", "Jöhn <j@x>", more];
            hg.output(root, &arguments).status.success()
        };
        // Not every changeset can close a branch.
        assert!((random(9) == 0 && commit("--force-close-branch")) || commit("-q"));
    }
    let tip: usize = hg.run(root, &["log", "-r", "tip", "-T", "{rev}"]).parse().expect("a number");
    for name in ["mark", "a@b", "@", "x y", "ö"] {
        hg.run(root, &["bookmark", "-q", "-f", "-r", &random(tip).to_string(), name]);
    }
    hg.run(root, &["update", "-qC", "-r", "last(not secret())"]);
    hg.run(root, &["tag", "-q", "-r", &random(tip).to_string(), "v1.0"]);
    if !seed.is_multiple_of(3) {
        fs::write(root.join(".hg/hgrc"), "[phases]\npublish = no\n[experimental]\nevolution = all\n").expect("written");
        hg.run(root, &["phase", "-p", "-r", &random(tip).to_string()]);
        fs::write(root.join("a"), "amended").expect("written");
        hg.run(root, &["commit", "-qA", "-m", "to be amended"]);
        hg.run(root, &["commit", "-q", "--amend", "-m", "amended"]);
        hg.run(root, &["commit", "-q", "--amend", "-m", "amended again"]);
    }
}

#[test]
fn whatever_is_asked_is_answered_as_stock_does() {
    let Some(hg) = Hg::find() else { return };
    if let Some(root) = std::env::var_os("HGFLEET_COMPARE") {
        println!("{} answers are the same", compare(&hg, Path::new(&root)).0);
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for seed in 0..3 {
        let root = folder.path().join(seed.to_string());
        generate(&hg, &root, seed);
        hg.run(&root, &["tags"]);
        let (answers, tags_files) = compare(&hg, &root);
        println!("seed {seed}: {answers} answers are the same");
        assert!(tags_files > 0, "no bundle told of .hgtags");
    }
    let empty = folder.path().join("empty");
    hg.init(&empty, &[]);
    compare(&hg, &empty);
}

#[test]
fn stores_of_every_format_are_answered_from_alike() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    generate(&hg, &source, 1);
    for (number, format) in (0..).zip(support::FORMATS) {
        let root = folder.path().join(format!("format-{number}"));
        let settings = format.iter().flat_map(|setting| ["--config", *setting]);
        let words = settings.chain(["clone", "-q", "-U", "--pull", "source", root.to_str().expect("UTF-8")]);
        hg.run(folder.path(), &words.collect::<Vec<_>>());
        // Builds without Rust parts ask before they use what is slow without them.
        let settings = fs::read_to_string(source.join(".hg/hgrc")).expect("there");
        let slow = "[storage]\nrevlog.persistent-nodemap.slow-path = allow\n";
        fs::write(root.join(".hg/hgrc"), settings + slow).expect("written");
        println!("{format:?}: {} answers are the same", compare(&hg, &root).0);
        let repository = Repository::open(&root).expect("opened");
        let snapshot = repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot");
        assert_eq!(hg_store::verify(&snapshot).expect("readable").problems, Vec::<String>::new(), "{format:?}");
    }
}

#[test]
fn shares_are_answered_from_alike() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let safe = folder.path().join("safe");
    generate(&hg, &safe, 1);
    hg.run(folder.path(), &["--config", "format.use-share-safe=no", "clone", "-q", "-U", "--pull", "safe", "unsafe"]);
    for (source, name, options) in
        [("safe", "own", &[][..]), ("safe", "shared", &["-B"]), ("unsafe", "relative", &["--relative"])]
    {
        let words = [&["--config", "extensions.share=", "share", "-q", "-U"], options, &[source, name]].concat();
        hg.run(folder.path(), &words);
        let share = folder.path().join(name);
        // Stock knows of shared bookmarks with the extension alone.
        fs::write(share.join(".hg/hgrc"), "[extensions]\nshare =\n[experimental]\nevolution = all\n").expect("written");
        hg.run(&share, &["bookmark", "-q", "-f", "-r", "0", name]);
        println!("{name}: {} answers are the same", compare(&hg, &share).0);
    }
}

#[test]
fn shares_that_lead_nowhere_are_refused() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    hg.init(&folder.path().join("source"), &[]);
    hg.run(folder.path(), &["--config", "extensions.share=", "share", "-q", "-U", "source", "share"]);
    let share = folder.path().join("share");
    let path = share.join(".hg/sharedpath");
    let right = fs::read_to_string(&path).expect("there");
    assert!(Repository::open(&share).is_ok());
    let other = share.join(".hg").display().to_string();
    let above = folder.path().join("source").display().to_string();
    for (wrong, said) in [
        ("", "no path"),
        ("../../source/.hg", "absolute"),
        ("/nonexistent/.hg", "can't open"),
        (&above, "leads to no `.hg`"),
        (&other, "another share"),
        ("/a\n/b/.hg", "no path"),
    ] {
        fs::write(&path, wrong).expect("written");
        let error = Repository::open(&share).err().expect(wrong).to_string();
        assert!(error.contains(said), "{wrong:?}: {error}");
    }
    fs::write(&path, right).expect("written");
    fs::write(folder.path().join("source/.hg/requires"), "revlogv1\nstore\n").expect("written");
    let error = Repository::open(&share).err().expect("of another format").to_string();
    assert!(error.contains("share-safe") && error.contains("hg share"), "{error}");
}

/// What no client ever sees, and what a store without it would have: phases 32 and 96.
#[test]
fn archived_and_internal_changesets_are_never_served() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    hg.init(&root, &["format.exp-archived-phase=yes", "format.internal-phase=yes"]);
    for name in ["a", "b", "c"] {
        fs::write(root.join(name), name).expect("written");
        hg.run(&root, &["commit", "-qA", "-m", name]);
        hg.run(&root, &["update", "-q", "null"]);
    }
    let node = |revision: &str| hg.run(&root, &["log", "--hidden", "-r", revision, "-T", "{node}"]);
    let nodes = ["0", "1", "2"].map(node);
    fs::write(root.join(".hg/store/phaseroots"), format!("1 {}\n32 {}\n96 {}\n", nodes[0], nodes[1], nodes[2]))
        .expect("written");
    let repository = Repository::open(&root).expect("opened");
    let snapshot = Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"));
    let mut both = Both { stock: Stock::start(&hg, &root), snapshot, compared: 0, tags_files: 0 };
    both.text(CommandName::Heads, &[]);
    both.text(CommandName::Branchmap, &[]);
    both.text(CommandName::Known, &[("nodes", &nodes.join(" "))]);
    for key in nodes.iter().map(String::as_str).chain(["0", "1", "2", "tip"]) {
        both.text(CommandName::Lookup, &[("key", key)]);
    }
    for namespace in ["phases", "bookmarks"] {
        both.text(CommandName::Listkeys, &[("namespace", namespace)]);
    }
    both.bundle(CommandName::Getbundle, &[("bundlecaps", BUNDLECAPS), ("common", NULL), ("phases", "1")]);
}

#[test]
fn largefiles_are_told_of_alike() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    hg.init(&root, &[]);
    let settings = format!("[extensions]\nlargefiles =\n[largefiles]\nusercache = {}/cache\n", folder.path().display());
    fs::write(root.join(".hg/hgrc"), settings).expect("written");
    fs::write(root.join("large"), "content ".repeat(20_000)).expect("written");
    hg.run(&root, &["add", "-q", "--large", "large"]);
    hg.run(&root, &["commit", "-q", "-m", "large"]);
    let sha = fs::read_to_string(root.join(".hglf/large")).expect("a standin").trim_end().to_owned();
    let repository = Repository::open(&root).expect("opened");
    assert!(repository.requirements().largefiles());
    let snapshot = Arc::new(repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot"));
    let mut both = Both { stock: Stock::start(&hg, &root), snapshot, compared: 0, tags_files: 0 };
    let words = String::from_utf8(both.stock.text(CommandName::Hello, &[])).expect("UTF-8");
    let Answer::Text(ours) = both.ours(CommandName::Hello, &[]) else { panic!("text") };
    let ours = String::from_utf8(ours).expect("UTF-8");
    for words in [words, ours] {
        assert!(words.split_whitespace().any(|word| word == "largefiles=serve"), "{words}");
    }
    both.text(CommandName::Lheads, &[]);
    let absent = "0".repeat(40);
    both.text(CommandName::Statlfile, &[("sha", &sha)]);
    both.text(CommandName::Statlfile, &[("sha", &absent)]);
    both.text(CommandName::Batch, &[("cmds", &format!("lheads ;statlfile sha={sha};statlfile sha={absent}"))]);

    both.stock.ask(CommandName::Getlfile, &[("sha", &sha)]);
    let Answer::Stream(stream, _) = both.ours(CommandName::Getlfile, &[("sha", &sha)]) else { panic!("a stream") };
    let mut ours = Vec::new();
    stream(&mut ours).expect("written");
    assert_eq!(take(&mut both.stock.output, ours.len()), ours);

    // Who doesn't know of them is told; and nothing but a hash is looked for.
    let refused = |command: CommandName, arguments: &[(&str, &str)]| {
        let mut all = Arguments::default();
        for (name, value) in arguments {
            all.add(*name, *value).expect("within bounds");
        }
        answer(command, &all, &both.snapshot, &Client::new(Transport::Ssh)).err().expect("refused").client_text()
    };
    assert!(refused(CommandName::Heads, &[]).contains("[extensions] largefiles ="));
    assert!(refused(CommandName::Batch, &[("cmds", "heads ;known nodes=")]).contains("[extensions] largefiles ="));
    assert!(refused(CommandName::Getlfile, &[("sha", &absent)]).contains("not here"));
    assert!(refused(CommandName::Getlfile, &[("sha", "../requires")]).contains("no SHA-1"));
}

#[test]
fn pointers_to_lfs_objects_are_sent_alike() {
    let Some(hg) = Hg::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    hg.init(&root, &[]);
    let settings = format!(
        "[extensions]\nlfs =\n[lfs]\ntrack = size('>1kB')\nusercache = {0}/cache\nurl = file://{0}/remote\n",
        folder.path().display()
    );
    fs::write(root.join(".hg/hgrc"), settings).expect("written");
    for step in 0..4 {
        fs::write(root.join("large"), format!("{step} ").repeat(5_000)).expect("written");
        fs::write(root.join("small"), format!("{step}")).expect("written");
        hg.run(&root, &["commit", "-qA", "-m", &step.to_string()]);
    }
    hg.run(&root, &["rename", "large", "moved"]);
    hg.run(&root, &["commit", "-q", "-m", "renamed"]);
    println!("{} answers are the same", compare(&hg, &root).0);
    let verified = || {
        let repository = Repository::open(&root).expect("opened");
        let snapshot = repository.snapshot(repository.current_state().expect("a state")).expect("a snapshot");
        hg_store::verify(&snapshot).expect("readable").problems
    };
    assert_eq!(verified(), Vec::<String>::new());
    // An object that is lost, or another one, is found.
    let objects = root.join(".hg/store/lfs/objects");
    let first = fs::read_dir(&objects).expect("there").next().expect("one").expect("readable").path();
    let object = fs::read_dir(&first).expect("there").next().expect("one").expect("readable").path();
    let content = fs::read(&object).expect("readable");
    fs::write(&object, content.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).expect("written");
    assert!(verified().iter().any(|problem| problem.contains("doesn't match its hash")), "{:?}", verified());
    fs::remove_file(&object).expect("removed");
    assert!(verified().iter().any(|problem| problem.contains("is missing")), "{:?}", verified());
}
