//! Generated histories, and one of yours, pushed in pieces to stock and to us: the same words, the same repository afterwards, and a store that is no
//! larger.
//!
//! `HGFLEET_COMPARE=PATH cargo test --release --package hgfleet --test end-to-end -- push_histories` pushes the repository at PATH, which is only read, in
//! `HGFLEET_COMPARE_PIECES` pieces (16). `HGFLEET_COMPARE_HEADS` is how many heads the generated repository of many heads has (500).

use crate::support::beside_stock::{World, compare};
use std::cell::RefCell;
use std::path::Path;

const EVOLUTION: &str = "[phases]\npublish = no\n[experimental]\nevolution = all\n";
const NON_PUBLISHING: &str = "[phases]\npublish = no\n";
const URL: &str = "ssh://host/server";

/// A generator of numbers (xorshift64), the same ones for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}

/// A history for `hg debugbuilddag`: stretches, forks, merges, three branches.
fn history(random: &mut Random, steps: usize) -> String {
    let mut text = String::from("+6");
    for _ in 0..steps {
        let back = 1 + random.below(5);
        text += &match random.below(8) {
            0 | 1 => format!(" *{} +{}", back + 1, 1 + random.below(4)),
            2 => format!(" /{}", back + 1),
            3 => format!(" @{} +{}", ["default", "stable", "b1"][random.below(3)], 1 + random.below(3)),
            _ => format!(" +{}", 1 + random.below(6)),
        };
    }
    text
}

/// Runs the script with both servers, compares what was said and what is stored, then how large it is: at most a hundredth more, and what
/// the shortest files differ by.
fn compare_with_size(hgrc: &str, script: impl Fn(&mut World)) {
    let sizes = RefCell::new(Vec::new());
    compare(hgrc, |world| {
        script(world);
        sizes.borrow_mut().push(world.store_bytes());
    });
    for pair in sizes.borrow().chunks_exact(2) {
        let (stock, ours) = (pair[0], pair[1]);
        println!("{stock} bytes in stock's store, {ours} in ours");
        assert!(ours <= stock + stock / 100 + 2048, "the store has {ours} bytes, stock's {stock}");
    }
}

fn push_at_random(hgrc: &str, seed: u64) {
    compare_with_size(hgrc, |world| {
        let mut random = Random::new(seed);
        world.clone("a");
        let history = history(&mut random, 40);
        world.hg("a", &["debugbuilddag", "--mergeable-file", "--overwritten-file", "--new-file", &history]);
        let count: usize = world.hg("a", &["log", "-r", "tip", "-T", "{rev}"]).ok().out.parse().expect("a number");
        for name in ["early", "late"] {
            world.hg("a", &["bookmark", "-r", &random.below(count).to_string(), name]);
        }
        for _ in 0..7 {
            let revision = random.below(count).to_string();
            match random.below(4) {
                0 => world.hg("a", &["push", "-r", &revision]),
                1 => world.hg("a", &["push", "-f", "-r", &revision, "-B", ["early", "late"][random.below(2)]]),
                _ => world.hg("a", &["push", "-f", "-r", &revision]),
            };
        }
        world.hg("a", &["push", "-f"]);
    });
}

#[test]
fn histories_of_all_shapes() {
    push_at_random("", 1);
    push_at_random(NON_PUBLISHING, 2);
}

/// A number from the environment.
fn number(variable: &str) -> Option<usize> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

/// Heads that bookmarks hold, that are secret, and that others replace: each piece brings many, and finds many there.
#[test]
fn many_heads() {
    let heads = number("HGFLEET_COMPARE_HEADS").unwrap_or(500);
    compare_with_size(EVOLUTION, |world| {
        let evolve = ["--config", "experimental.evolution=all"];
        world.clone("a");
        let history = format!("+2:f{}", " <f +1".repeat(heads));
        // With files, ten thousand heads take stock more than five minutes to make.
        let files: &[&str] = if heads > 1000 { &[] } else { &["--new-file", "--overwritten-file"] };
        world.hg("a", &[&["debugbuilddag"], files, &[&history]].concat()).ok();
        let at = |tenths: usize| (1 + heads * tenths / 10).to_string();
        let secret = format!("{} + {}", at(2), at(7));
        world.hg("a", &["phase", "--force", "--secret", "-r", &secret]).ok();
        for (name, tenths) in [("one", 1), ("four", 4), ("nine", 9)] {
            world.hg("a", &["bookmark", "-r", &at(tenths), name]).ok();
        }
        let node = |world: &mut World, tenths| world.hg("a", &["log", "-r", &at(tenths), "-T", "{node}"]).ok().out;
        for (predecessor, successor) in [(3, 5), (6, 8)] {
            let nodes = [node(world, predecessor), node(world, successor)];
            world.hg("a", &[&evolve[..], &["debugobsolete", &nodes[0], &nodes[1]]].concat()).ok();
        }
        for (tenths, bookmark) in [(3, "one"), (5, "four"), (8, "one")] {
            let revisions = format!(":{}", at(tenths));
            world.hg("a", &[&evolve[..], &["push", "-f", "-r", &revisions, "-B", bookmark]].concat());
        }
        // Without `-f` it is one head too many.
        world.hg("a", &[&evolve[..], &["push"]].concat());
        world.hg("a", &[&evolve[..], &["push", "-f"]].concat());
        world.hg("a", &[&evolve[..], &["push"]].concat());
    });
}

#[test]
fn a_repository_of_yours() {
    let Some(path) = std::env::var_os("HGFLEET_COMPARE") else { return };
    let source = Path::new(&path).to_str().expect("a path in UTF-8");
    let pieces = number("HGFLEET_COMPARE_PIECES").unwrap_or(16);
    compare_with_size("", |world| {
        let last: usize = world.hg(source, &["log", "-r", "tip", "-T", "{rev}"]).ok().out.parse().expect("a number");
        for piece in 1..pieces {
            // All heads up to there: of many, the ancestors of one are next to nothing.
            let revisions = format!(":{}", last * piece / pieces);
            world.hg(source, &["push", "-f", "-r", &revisions, URL]);
        }
        world.hg(source, &["push", "-f", URL]);
    });
}
