//! A push to `hgfleet serve --stdio` is what it is to `hg serve --stdio`: the same words and exit statuses, and the same repository afterwards.

use crate::support::beside_stock::{World, compare};
use std::fs;

const NON_PUBLISHING: &str = "[phases]\npublish = no\n";
const EVOLUTION: &str = "[phases]\npublish = no\n[experimental]\nevolution = all\n";

/// A clone `a` of a server that has two changesets of it.
fn begun(world: &mut World) {
    world.clone("a");
    world.commit("a", "one", "first");
    world.commit("a", "two", "second");
    world.hg("a", &["push"]);
}

#[test]
fn first_push_and_second_push() {
    compare("", |world| {
        begun(world);
        world.hg("a", &["log", "-T", "{rev} {phase}\\n"]);
        world.commit("a", "one", "third");
        world.commit("a", "sub/dir/three", "fourth");
        world.hg("a", &["push"]);
        world.hg("a", &["push"]);
        world.hg("a", &["push", "-q", "-r", "0"]);
        world.clone("b");
        world.hg("b", &["log", "-T", "{rev} {phase} {desc}\\n"]);
    });
}

#[test]
fn push_of_nothing_to_an_empty_repository() {
    compare("", |world| {
        world.clone("a");
        world.hg("a", &["push"]);
        world.hg("a", &["outgoing"]);
    });
}

#[test]
fn new_heads_and_branches() {
    compare("", |world| {
        begun(world);
        world.hg("a", &["update", "-q", "0"]);
        world.commit("a", "other", "head");
        world.hg("a", &["push"]);
        world.hg("a", &["push", "-f"]);
        world.hg("a", &["branch", "stable"]);
        world.commit("a", "branched", "on a branch");
        world.hg("a", &["push"]);
        world.hg("a", &["push", "--new-branch"]);
        world.hg("a", &["update", "-q", "1"]);
        world.hg("a", &["merge", "-q", "2"]);
        world.hg("a", &["commit", "-m", "merged", "-d", "0 0"]);
        world.hg("a", &["push"]);
        world.hg("a", &["update", "-q", "stable"]);
        world.hg("a", &["commit", "--close-branch", "-m", "closed", "-d", "0 0"]);
        world.hg("a", &["push"]);
        world.hg("a", &["branch", "-f", "stable"]);
        world.commit("a", "reopened", "open again");
        world.hg("a", &["push"]);
        world.hg("a", &["push", "-r", "default"]);
    });
}

#[test]
fn merge_that_removes_heads() {
    compare("", |world| {
        begun(world);
        for name in ["x", "y", "z"] {
            world.hg("a", &["update", "-q", "0"]);
            world.commit("a", name, name);
        }
        world.hg("a", &["push", "-f"]);
        world.hg("a", &["merge", "-q", "-r", "2"]);
        world.hg("a", &["commit", "-m", "merge 1", "-d", "0 0"]);
        world.hg("a", &["merge", "-q", "-r", "3"]);
        world.hg("a", &["commit", "-m", "merge 2", "-d", "0 0"]);
        world.hg("a", &["push"]);
    });
}

#[test]
fn tags() {
    compare("", |world| {
        begun(world);
        world.hg("a", &["tag", "v1", "-r", "0", "-d", "0 0"]);
        world.hg("a", &["push"]);
        world.hg("a", &["tag", "--remove", "v1", "-d", "0 0"]);
        world.hg("a", &["push"]);
    });
}

#[test]
fn bookmarks_come_move_and_go() {
    compare("", |world| {
        begun(world);
        world.hg("a", &["bookmark", "work"]);
        world.hg("a", &["push", "-B", "work"]);
        world.commit("a", "one", "third");
        world.hg("a", &["push"]);
        world.hg("a", &["bookmark", "älter", "-r", "0"]);
        world.hg("a", &["push", "-B", "älter"]);
        world.hg("a", &["bookmark", "-f", "älter", "-r", "1"]);
        world.hg("a", &["push", "-B", "älter"]);
        world.hg("a", &["bookmark", "-d", "älter"]);
        world.hg("a", &["push", "-B", "älter"]);
        world.hg("a", &["push", "-B", "älter"]);
        world.hg("a", &["push", "-B", "absent"]);
        world.hg("a", &["bookmarks", "-T", "{bookmark} {node|short}\\n"]);
    });
}

#[test]
fn bookmarks_that_diverge() {
    compare("", |world| {
        begun(world);
        world.hg("a", &["bookmark", "work", "-r", "1"]);
        world.hg("a", &["push", "-B", "work"]);
        world.clone("b");
        world.commit("a", "one", "on a");
        world.hg("a", &["bookmark", "-f", "work", "-r", "tip"]);
        world.hg("a", &["push", "-B", "work"]);
        world.commit("b", "one", "on b");
        world.hg("b", &["bookmark", "-f", "work", "-r", "tip"]);
        world.hg("b", &["push", "-B", "work"]);
        world.hg("b", &["push", "-f", "-B", "work"]);
        world.hg("b", &["pull"]);
        world.hg("b", &["bookmark", "odd@name", "-r", "0"]);
        world.hg("b", &["push", "-B", "odd@name"]);
        world.hg("b", &["bookmark", "on null", "-r", "null"]);
        world.hg("b", &["push", "-B", "on null"]);
        world.hg("b", &["bookmark", "@", "-r", "0"]);
        world.hg("b", &["push", "-B", "@"]);
    });
}

#[test]
fn phases_where_drafts_stay_drafts() {
    compare(NON_PUBLISHING, |world| {
        begun(world);
        world.hg("a", &["log", "-T", "{rev} {phase}\\n"]);
        world.hg("a", &["phase", "-p", "0"]);
        world.hg("a", &["push"]);
        world.commit("a", "one", "third");
        world.hg("a", &["phase", "-f", "-s", "tip"]);
        world.hg("a", &["push"]);
        world.hg("a", &["push", "-r", "tip"]);
        world.hg("a", &["phase", "-d", "tip"]);
        world.hg("a", &["push"]);
        world.hg("a", &["phase", "-p", "tip"]);
        world.hg("a", &["push"]);
        world.hg("a", &["log", "-T", "{rev} {phase}\\n"]);
        world.clone("b");
        world.hg("b", &["log", "-T", "{rev} {phase}\\n"]);
    });
}

#[test]
fn a_server_that_is_made_publishing_publishes_what_is_pushed_again() {
    compare(NON_PUBLISHING, |world| {
        begun(world);
        fs::write(world.server().join(".hg/hgrc"), "").unwrap();
        world.commit("a", "one", "third");
        world.hg("a", &["push"]);
        world.hg("a", &["log", "-T", "{rev} {phase}\\n"]);
    });
}

#[test]
fn phase_is_published_by_a_push_that_brings_nothing_else() {
    compare(NON_PUBLISHING, |world| {
        begun(world);
        world.hg("a", &["phase", "-p", "0"]);
        world.hg("a", &["push", "-r", "1"]);
        world.hg("a", &["push", "--publish"]);
        world.hg("a", &["log", "-T", "{rev} {phase}\\n"]);
    });
}

#[test]
fn obsolescence() {
    let evolve = ["--config", "experimental.evolution=all"];
    compare(EVOLUTION, |world| {
        begun(world);
        world.commit("a", "three", "third");
        world.hg("a", &[&evolve[..], &["push"]].concat());
        fs::write(world.path("a").join("three"), "better\n").unwrap();
        world.hg("a", &[&evolve[..], &["commit", "--amend", "-m", "third, better", "-d", "0 0"]].concat());
        world.hg("a", &[&evolve[..], &["push"]].concat());
        world.hg("a", &[&evolve[..], &["push"]].concat());
        // An orphan: the parent is replaced, the child stays.
        world.commit("a", "four", "fourth");
        world.commit("a", "five", "fifth");
        world.hg("a", &[&evolve[..], &["push"]].concat());
        world.hg("a", &[&evolve[..], &["update", "-q", "-r", "desc(fourth)"]].concat());
        world.hg("a", &[&evolve[..], &["commit", "--amend", "-m", "fourth, better", "-d", "0 0"]].concat());
        world.hg("a", &[&evolve[..], &["push"]].concat());
        world.hg("a", &[&evolve[..], &["push", "-f"]].concat());
        world.hg("a", &["debugobsolete"]);
    });
}

#[test]
fn markers_that_diverge_in_content_and_phase() {
    let evolve = ["--config", "experimental.evolution=all"];
    compare(EVOLUTION, |world| {
        begun(world);
        world.commit("a", "three", "third");
        world.hg("a", &[&evolve[..], &["push"]].concat());
        world.clone("b");
        for (clone, text) in [("a", "third by a"), ("b", "third by b")] {
            world.hg(clone, &[&evolve[..], &["update", "-q", "tip"]].concat());
            world.hg(clone, &[&evolve[..], &["commit", "--amend", "-m", text, "-d", "0 0"]].concat());
        }
        world.hg("a", &[&evolve[..], &["push", "-f"]].concat());
        world.hg("b", &[&evolve[..], &["push", "-f"]].concat());
        world.clone("c");
        world.hg("c", &[&evolve[..], &["update", "-q", "1"]].concat());
        world.hg("c", &[&evolve[..], &["commit", "--amend", "-m", "second, better", "-d", "0 0"]].concat());
        let publish = world.server().display().to_string();
        world.on_server(&["-R", &publish, "phase", "-p", "1"]).ok();
        world.hg("c", &[&evolve[..], &["push", "-f", "-r", "tip"]].concat());
    });
}

#[test]
fn markers_where_they_are_not_enabled() {
    let evolve = ["--config", "experimental.evolution=all"];
    compare(NON_PUBLISHING, |world| {
        begun(world);
        world.hg("a", &[&evolve[..], &["commit", "--amend", "-m", "second, better", "-d", "0 0"]].concat());
        world.hg("a", &[&evolve[..], &["push", "-f"]].concat());
    });
}

#[test]
fn a_push_that_is_overtaken_by_a_child_is_raced() {
    compare("", |world| {
        begun(world);
        world.clone("b");
        world.commit("a", "one", "on a");
        world.commit("b", "two", "on b");
        let overtake = format!(
            "hooks.preoutgoing={}",
            world.typed("a", "push -q --config ui.ssh=$PWD/ssh --config ui.remotecmd=$PWD/remote")
        );
        world.hg("b", &["push", "--config", &overtake]);
        world.hg("b", &["push"]);
        world.hg("b", &["push", "-f"]);
    });
}

#[test]
fn a_push_that_is_overtaken_by_an_unrelated_head_is_not() {
    compare("", |world| {
        begun(world);
        world.clone("b");
        world.hg("a", &["branch", "-q", "other"]);
        world.commit("a", "one", "on a");
        world.commit("b", "two", "on b");
        let overtake = format!(
            "hooks.preoutgoing={}",
            world.typed("a", "push -q --new-branch --config ui.ssh=$PWD/ssh --config ui.remotecmd=$PWD/remote")
        );
        world.hg("b", &["push", "--config", &overtake]);
        world.hg("b", &["push"]);
    });
}

#[test]
fn bookmarks_and_phases_that_moved_meanwhile_are_raced() {
    compare(NON_PUBLISHING, |world| {
        begun(world);
        world.hg("a", &["bookmark", "work", "-r", "0"]);
        world.hg("a", &["push", "-B", "work"]);
        world.clone("b");
        world.commit("b", "two", "on b");
        world.hg("b", &["bookmark", "-f", "work", "-r", "tip"]);
        let server = world.server().display().to_string();
        let stock = crate::support::beside_stock::clients()[0].display().to_string();
        let overtake = format!("hooks.preoutgoing={stock} -R {server} bookmark -f work -r 1");
        world.hg("b", &["push", "-B", "work", "--config", &overtake]);
        let overtake = format!("hooks.preoutgoing={stock} -R {server} phase -p 1");
        world.hg("b", &["push", "-f", "--config", &overtake]);
        world.hg("b", &["push"]);
    });
}

#[test]
fn variables_are_taken_and_have_no_effect() {
    compare("", |world| {
        begun(world);
        world.commit("a", "one", "third");
        world.hg("a", &["push", "--pushvars", "REASON=because", "--pushvars", "DEBUG="]);
    });
}

#[test]
fn odd_names_contents_and_flags() {
    compare("", |world| {
        world.clone("a");
        let path = world.path("a");
        for name in [
            "AUX",
            "aux.txt",
            "con",
            "Ünïcode",
            "with space",
            "trailing.",
            "dir.i/file",
            "dir.hg/file.d",
            "UPPER/lower",
            "quote'\"",
            "~tilde",
            "_under",
        ] {
            world.commit("a", name, name);
        }
        let long = format!("{}/{}", "d".repeat(100), "f".repeat(120));
        world.commit("a", &long, "long");
        fs::write(path.join("binary"), b"\x01\nlooks like metadata\0\xff").unwrap();
        fs::write(path.join("empty"), b"").unwrap();
        fs::write(path.join("program"), b"#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("program", path.join("link")).unwrap();
        let mut permissions = fs::metadata(path.join("program")).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        fs::set_permissions(path.join("program"), permissions).unwrap();
        world.hg("a", &["commit", "-q", "-A", "-m", "kinds", "-d", "0 0"]).ok();
        world.hg("a", &["copy", "a/program", "a/copied"]);
        world.hg("a", &["rename", "a/binary", "a/renamed"]);
        world.hg("a", &["commit", "-m", "copies", "-d", "0 0"]).ok();
        world.hg("a", &["remove", "a/empty", "a/copied", "a/link"]);
        world
            .hg(
                "a",
                &[
                    "commit",
                    "-m",
                    "removals\n\nof several lines, with äöü",
                    "-u",
                    "Jörg <j@example.org>",
                    "-d",
                    "12345 -7200",
                ],
            )
            .ok();
        world.hg("a", &["push"]);
        world.clone("b");
        world.hg("b", &["manifest", "--debug"]);
    });
}

#[test]
fn files_past_the_inline_limit() {
    compare("", |world| {
        world.clone("a");
        let mut text = String::new();
        for round in 0..6 {
            for line in 0..20_000u64 {
                text.push_str(&format!("{}\n", (line + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ round)));
            }
            fs::write(world.path("a").join("large"), &text).unwrap();
            world.hg("a", &["commit", "-q", "-A", "-m", &format!("round {round}"), "-d", "0 0"]).ok();
            world.hg("a", &["push"]);
        }
    });
}

#[test]
fn unrelated_repositories() {
    compare("", |world| {
        begun(world);
        let other = world.path("other").display().to_string();
        world.on_server(&["init", &other]).ok();
        world.commit("other", "strange", "unrelated");
        world.hg("other", &["push", "ssh://host/server"]);
        world.hg("other", &["push", "-f", "ssh://host/server"]);
    });
}

#[test]
fn clients_that_still_use_bundle1_and_pushkey() {
    let legacy = ["--config", "devel.legacy.exchange=bundle1"];
    compare(NON_PUBLISHING, |world| {
        world.clone("a");
        world.commit("a", "one", "first");
        world.hg("a", &[&legacy[..], &["push"]].concat());
        world.commit("a", "two", "second");
        world.hg("a", &["bookmark", "work", "-r", "0"]);
        world.hg("a", &[&legacy[..], &["push", "-B", "work"]].concat());
        world.hg("a", &["bookmark", "-f", "work", "-r", "1"]);
        world.hg("a", &[&legacy[..], &["push", "-B", "work"]].concat());
        world.hg("a", &["phase", "-p", "0"]);
        world.hg("a", &[&legacy[..], &["push"]].concat());
        world.hg("a", &["bookmark", "-d", "work"]);
        world.hg("a", &[&legacy[..], &["push", "-B", "work"]].concat());
        world.hg("a", &["bookmark", "odd@name", "-r", "0"]);
        world.hg("a", &[&legacy[..], &["push", "-B", "odd@name"]].concat());
    });
}

#[test]
fn part_by_part_as_older_exchanges_send_it() {
    compare(NON_PUBLISHING, |world| {
        let legacy = ["--config", "devel.legacy.exchange=bookmarks phases"];
        world.clone("a");
        world.commit("a", "one", "first");
        world.hg("a", &["bookmark", "work", "-r", "0"]);
        world.hg("a", &[&legacy[..], &["push", "-B", "work"]].concat());
        world.hg("a", &["phase", "-p", "0"]);
        world.hg("a", &[&legacy[..], &["push"]].concat());
        world.hg("a", &["bookmark", "odd@name", "-r", "0"]);
        world.hg("a", &[&legacy[..], &["push", "-B", "odd@name"]].concat());
    });
}

#[test]
fn largefiles_come_before_their_standins() {
    // Each repository has a cache of its own: what it has came over the wire.
    compare("[extensions]\nlargefiles =\n[largefiles]\nusercache = .hg/cache-of-largefiles\n", |world| {
        for clone in ["a", "b"] {
            world.clone(clone);
            let hgrc = world.path(clone).join(".hg/hgrc");
            let settings = "[extensions]\nlargefiles =\n[largefiles]\nusercache = .hg/cache-of-largefiles\n";
            let before = fs::read_to_string(&hgrc).expect("cloned");
            fs::write(hgrc, before + settings).expect("writes");
        }
        for (file, text) in [("image", "one "), ("sub/other", "two "), ("image", "three ")] {
            let path = world.path("a").join(file);
            fs::create_dir_all(path.parent().expect("has one")).expect("makes folders");
            fs::write(&path, text.repeat(100_000)).expect("writes");
            world.hg("a", &["add", "--large", &path.display().to_string()]);
            world.hg("a", &["commit", "-m", text, "-d", "0 0"]);
        }
        world.hg("a", &["push"]);
        world.hg("a", &["push"]);
        world.hg("b", &["pull", "-q"]);
        world.hg("b", &["update", "-q"]);
        assert_eq!(fs::read(world.path("b").join("image")).expect("there"), "three ".repeat(100_000).as_bytes());
        assert_eq!(fs::read(world.path("b").join("sub/other")).expect("there"), "two ".repeat(100_000).as_bytes());
        world.hg("b", &["verify", "-q", "--large", "--lfa"]);
    });
}
