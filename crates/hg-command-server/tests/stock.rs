//! A command says and does what it would in a process of its own.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    hg_command_server::run(Path::new("hg"), folder, arguments).expect("hg runs")
}

#[test]
fn commands_say_what_processes_would() {
    if Command::new("hg").arg("--version").output().is_err() {
        eprintln!("no hg on PATH: nothing is compared");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    for path in [&one, &other] {
        std::fs::create_dir(path).expect("made");
        assert!(run(path, &["init"]).status.success());
        std::fs::write(path.join("a"), path.display().to_string()).expect("written");
        let commit = ["commit", "-q", "-A", "-m", "ümlaut", "-u", "someone", "-d", "0 0"];
        assert!(run(path, &commit).status.success());
    }
    std::fs::write(other.join(".hg/hgrc"), "[extensions]\nshare =\n").expect("written");
    for (path, arguments) in [
        (&one, &["log", "-T", "{node} {desc} {branch}\n"][..]),
        (&other, &["log", "-T", "{node} {desc}\n"]),
        (&one, &["log", "-r", "nosuch"]),
        (&one, &["commit", "-m", "nothing changed"]),
        (&one, &["pull", "../nowhere"]),
        (&one, &["--config", "extensions.share=", "help", "share"]),
        (&other, &["help", "share"]),
        (&one, &["-R", "../other", "help", "share"]),
        (&one, &["help", "share"]),
        (&one, &["import", "-"]),
    ] {
        let ours = run(path, arguments);
        let mut alone = Command::new("hg");
        alone.args(arguments).current_dir(path).env("HGRCPATH", "/dev/null").env("HGPLAIN", "1");
        let alone = alone.env("HGENCODING", "UTF-8").output().expect("hg runs");
        let said = |output: &Output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        assert_eq!(said(&ours), said(&alone), "{arguments:?}");
    }
}
