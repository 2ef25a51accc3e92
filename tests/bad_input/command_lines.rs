//! Group 1: command lines at both SSH doors. The parser's own table (`session/command_line/tests.rs`) has more spellings of each.

use crate::support::clients::Clients;
use crate::support::run::run;
use crate::support::two_doors::TwoDoors;
use std::sync::Mutex;

/// Row, command line, and what the one line of the answer says.
fn rows() -> Vec<(&'static str, String, &'static str)> {
    let long = format!("hg -R {} serve --stdio", "a".repeat(5_000));
    let (megabyte, many) = ("x".repeat(100_000), "hg ".repeat(10_000));
    let deep = format!("hg -R {} serve --stdio", ["a"; 200].join("/"));
    let (other, shell, name) = ("invalid hg command", "asks for a shell", "no repository can have this name");
    let rows = [
        ("S1", "hg -R --debugger serve --stdio", name),
        ("S2", "hg -R --config=ui.debugger=1 serve --stdio", name),
        ("S2", "hg -R --config=hooks.x=!sh serve --stdio", shell),
        ("S3", "hg -R team/first serve --stdio --config hooks.pre-serve=sh", other),
        ("S4", "hg -R team/first --cwd / serve --stdio", other),
        ("S4", "hg --repository team/first serve --stdio", other),
        ("S4", "hg -Rteam/first serve --stdio", other),
        ("S5", "hg -R team/first serve --stdio; id", shell),
        ("S5", "hg -R team/first serve --stdio && id", shell),
        ("S5", "hg -R team/first serve --stdio | id", shell),
        ("S5", "hg -R `id` serve --stdio", shell),
        ("S5", "hg -R $(id) serve --stdio", shell),
        ("S6", "hg -R '../../etc' serve --stdio", name),
        ("S6", "hg -R team/../team/first serve --stdio", name),
        ("S6", "hg -R team/./first serve --stdio", name),
        ("S6", "hg -R /abs/path serve --stdio", name),
        ("S6", "hg -R ~root/x serve --stdio", shell),
        ("S7", "hg -R 'team/first\n' serve --stdio", name),
        ("S8", "hg -R 'team/first\t' serve --stdio", name),
        ("S8", "hg -R 'team/first\u{202e}' serve --stdio", name),
        ("S8", "hg -R 'team/\u{1b}[31m' serve --stdio", name),
        ("S9", "hg -R team/first// serve --stdio", name),
        ("S9", "hg -R team//first serve --stdio", name),
        ("S9", "hg -R '' serve --stdio", name),
        ("S9", "hg -R '  ' serve --stdio", name),
        ("S9", "hg -R 'team/first ' serve --stdio", name),
        ("S9", "hg -R team/first. serve --stdio", name),
        ("S9", &long, "longer than"),
        ("S9", &deep, name),
        ("S10", "hg -R team/first.hg serve --stdio", name),
        ("S10", "hg -R team/first/.hg/store serve --stdio", name),
        ("S10", "hg -R x.HG serve --stdio", name),
        ("S10", "hg -R repo.i serve --stdio", name),
        ("S10", "hg -R con serve --stdio", name),
        ("S11", "hg -R bundle:../x serve --stdio", name),
        ("S11", "hg -R ssh://-oProxyCommand=x/ serve --stdio", name),
        ("S12", "hg", other),
        ("S12", "hg -R", other),
        ("S12", &many, "longer than"),
        ("S12", &megabyte, "longer than"),
        ("S13", "hg -R 'r", "has a quote that is not closed"),
        ("S13", "hg -R r\\", "ends in a backslash"),
        // People's own repositories are not switched on; with them: `session_commands.rs`.
        ("S17", "clone a b c d", "wrong arguments, clone"),
        ("S17", "clone x /etc", name),
        ("S17", "clone x users/other/private", "this command is not available"),
        ("S17", "edit team/first delete YES", "this command is not available"),
        ("S17", "scp -t /", "no such command is served here"),
        ("S20", "hg -R nowhere serve --stdio", "does not exist"),
    ];
    rows.into_iter().map(|(row, line, answer)| (row, line.to_owned(), answer)).collect()
}

pub fn check(two: &TwoDoors) {
    for (door, clients) in two.doors() {
        check_at(door, &clients);
    }
}

fn check_at(door: &str, clients: &Clients) {
    let waiting = Mutex::new(rows());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some((row, line, answer)) = waiting.lock().unwrap().pop() else { return };
                    let shown: String = line.chars().take(60).collect();
                    let row = format!("{door} {row}");
                    let said = clients.ssh(&line).refused();
                    assert_eq!(said.out, "", "{row} {shown}");
                    let told = said.err.starts_with("refused: ") && said.err.contains(answer);
                    assert!(told, "{row} {shown}: {said:?}");
                    assert!(said.err.trim_end().chars().all(|c| !c.is_control()), "{row} {shown}: {said:?}");
                }
            });
        }
    });
    // S12: blanks are no command; whoever sends none is told where they are.
    for nothing in [run(&mut clients.ssh_command()), clients.ssh("   ")] {
        assert_eq!(nothing.status, 1);
        assert!(nothing.err.contains("@localhost"), "a banner: {nothing:?}");
    }
    // S9: one trailing slash is allowed.
    clients.hg(&["identify", &clients.ssh_url("team/first/")]).ok();
}
