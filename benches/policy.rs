//! What the checks of a push cost: 10,000 changesets, prepared and stored with all checks and without any.

use crate::input::{Input, text};
use crate::measure::{HG, cpu_milliseconds, median, milliseconds, stock};
use crate::prepare::conversation;
use hg_policy::{Checks, PolicyRules, Pusher};
use hg_store::observe::{
    Judgement, ObservedChangeset, ObservedEntry, ObservedFile, ObservedManifest, ObservedPush, Observer,
};
use hg_store::prepare::{PrepareError, PreparedChange};
use hg_store::{Revision, Snapshot};
use hg_wire::standalone::StandaloneHost;
use hg_wire::{CommitError, Host, HostError, Push};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

const RUNS: usize = 5;
/// How many changesets stock's repository has before the push; cargo's bundle has 23,812.
const BEFORE: u32 = 13_812;
/// Every check that can be on.
const RULE: &str = r#"[[rule]]
repositories = ["**"]
limits = { changesets_max = 1_000_000, files_max = 10_000_000, bytes_max = 1_000_000_000_000 }
branches = { one_head = true, new = false, several = false }
roots = { new = false }
case = { renames = false, collisions = false }
messages = { pattern = '(?i)^bug \d+', forbidden = '(?i)\bwip\b', merges = true }
references = { sign_off = true, bug = '(?i)\bbug #?\d+' }
authors = { form = true, pattern = '@' }
files = { bytes_max = 10_000, forbidden = ["**/*.exe", "secret/**"], symlinks = false }
protected = [{ paths = ["src/cargo/core/**", "*.toml"], groups = ["release"] }]
changesets = { merges = false, forbidden = ["0123456789012345678901234567890123456789"] }
subrepositories = { allowed = "none" }
bookmarks = { allowed = false }
"#;

/// Checks whose verdict does not count, since what is pushed was not made for them: the push is to be stored, as without them.
struct Watched(Checks);

impl Observer for Watched {
    fn changeset(&mut self, changeset: &ObservedChangeset<'_>) {
        self.0.changeset(changeset);
    }

    fn entry(&mut self, entry: &ObservedEntry<'_>) {
        self.0.entry(entry);
    }

    fn manifest(&mut self, changeset: Revision, manifest: &mut ObservedManifest<'_>) -> Result<(), PrepareError> {
        self.0.manifest(changeset, manifest)
    }

    fn file(&mut self, file: &ObservedFile<'_>) {
        self.0.file(file);
    }

    fn judge(&mut self, push: &ObservedPush<'_>) -> Result<Judgement, PrepareError> {
        let judgement = self.0.judge(push)?;
        assert!(judgement.refusal.is_some_and(|text| text.contains("a commit message is not as it must be")));
        Ok(Judgement::default())
    }
}

/// A repository whose pushes are checked, or not.
struct Place {
    host: StandaloneHost,
    checked: bool,
}

impl Host for Place {
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, HostError> {
        self.host.snapshot()
    }

    fn spool(&mut self) -> io::Result<File> {
        self.host.spool()
    }

    fn begin_push(&mut self) -> Result<Box<dyn Push + '_>, HostError> {
        Ok(Box::new(CheckedPush { push: self.host.begin_push()?, checked: self.checked }))
    }
}

struct CheckedPush<'h> {
    push: Box<dyn Push + 'h>,
    checked: bool,
}

impl Push for CheckedPush<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.push.snapshot()
    }

    fn observer(&mut self) -> Option<Box<dyn Observer>> {
        let rules = PolicyRules::parse(RULE).expect("sound");
        let pusher = Pusher { repository: "cargo".into(), account: "bench@example.com".into(), groups: Vec::new() };
        self.checked.then(|| Box::new(Watched(Checks::new(rules.rule_for("cargo").1, pusher).expect("sound"))) as _)
    }

    fn commit(self: Box<Self>, change: PreparedChange, messages: &mut dyn Write) -> Result<(), CommitError> {
        self.push.commit(change, messages)
    }
}

/// One push: wall time and CPU time, milliseconds.
fn push(repository: &Path, conversation: &[u8], checked: bool) -> (f64, f64) {
    let mut place = Place { host: StandaloneHost::open(repository, |_| {}).expect("opened"), checked };
    let (mut reply, mut messages) = (Vec::new(), Vec::new());
    let before = cpu_milliseconds(std::process::id());
    let wall = milliseconds(|| {
        hg_wire::ssh::serve(conversation, &mut reply, &mut messages, &mut place).expect("served");
    });
    messages.extend(reply);
    let told = String::from_utf8_lossy(&messages);
    assert!(told.contains("added 10000 changesets"), "{told}");
    (wall, cpu_milliseconds(std::process::id()) - before)
}

/// Measures the last 10,000 changesets of cargo, pushed onto the others, in turns.
pub fn run(input: &Input) {
    let cargo = input.repository("cargo");
    let (old, new, base) =
        (input.scratch("policy-old.hg"), input.scratch("policy-new.hg"), input.scratch("policy-base"));
    let (last, rest) = (format!("0:{}", BEFORE - 1), format!("{BEFORE}:"));
    let cargo = text(&cargo);
    stock(HG, &["-R", cargo, "bundle", "-q", "--base", "null", "-r", &last, text(&old)]);
    stock(HG, &["-R", cargo, "bundle", "-q", "--base", &last, "-r", &rest, text(&new)]);
    stock(HG, &["init", text(&base)]);
    stock(HG, &["-R", text(&base), "unbundle", "-q", text(&old)]);
    let conversation = conversation(&new);
    let mut figures: [Vec<(f64, f64)>; 2] = Default::default();
    for n in 0..RUNS {
        // Each is first in every other pair: what lies in caches then helps both alike.
        for checked in [n % 2 == 0, n % 2 != 0] {
            let repository = input.scratch(&format!("policy-{n}-{checked}"));
            stock("cp", &["-r", text(&base), text(&repository)]);
            figures[usize::from(checked)].push(push(&repository, &conversation, checked));
        }
    }
    let [without, with] = figures;
    for (what, of) in [("wall", (|run| run.0) as fn(&(f64, f64)) -> f64), ("CPU", |run| run.1)] {
        let (with, without): (Vec<f64>, Vec<f64>) = (with.iter().map(of).collect(), without.iter().map(of).collect());
        let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
        println!(
            "push of 10,000 changesets, {what}: all checks {:.0} ms, none {:.0} ms, ratio {:.3} (medians of {RUNS} pairs, ratios {:.3} to {:.3})",
            median(&with),
            median(&without),
            median(&ratios),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max)
        );
    }
}
