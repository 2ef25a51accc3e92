//! `hgfleet repo resync`: a fresh copy of a repository in the place of what a server has.

use anyhow::{Context, bail};
use hgfleet_log::RepositoryName;
use hgfleet_resync::{Peer, Progress, RepositoryAnswer, ServerAnswer, peers};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How often a server is asked how it goes on.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Asks for the copies and waits for them.
///
/// # Errors
///
/// No such server or repository; nothing is in quarantine and no server was named; a copy can't be made.
pub fn run(run: &Path, name: &str, server: Option<&str>) -> anyhow::Result<ExitCode> {
    let name = RepositoryName::parse(name).with_context(|| format!("{name:?} can't be a repository's name"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    let all = peers(run, runtime.handle());
    let names: Vec<&str> = all.iter().map(|(peer, _)| peer.name()).collect();
    if all.is_empty() {
        bail!("no server runs here: none answers in {}", run.display());
    }
    if let Some(server) = server.filter(|server| !names.contains(server)) {
        bail!("no server called {server} runs here; there are: {}", names.join(", "));
    }
    let chosen: Vec<&Peer> = all
        .iter()
        .filter(|(peer, answer)| match server {
            Some(server) => peer.name() == server,
            None => repository(answer, &name).is_some_and(|one| one.quarantine.is_some()),
        })
        .map(|(peer, _)| peer)
        .collect();
    if chosen.is_empty() {
        bail!("{name} is in quarantine on no server; name one with --server to give it a fresh copy all the same");
    }
    for peer in &chosen {
        peer.resync(&name)?;
    }
    let mut code = ExitCode::SUCCESS;
    for peer in chosen {
        if !wait(peer, &name)? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Waits for one server; answers whether it has the copy.
fn wait(peer: &Peer, name: &RepositoryName) -> anyhow::Result<bool> {
    let mut shown = String::new();
    loop {
        let answer = peer.server()?;
        let one = repository(&answer, name).with_context(|| format!("{name} was deleted"))?;
        match &one.progress {
            Some(done @ Progress::Done { .. }) => {
                println!("{}: {name} {done}", peer.name());
                return Ok(true);
            }
            Some(failed @ Progress::Failed(_)) => {
                eprintln!("{}: {name} {failed}", peer.name());
                return Ok(false);
            }
            Some(progress) => {
                let line = format!("{}: {name} {progress}", peer.name());
                if line != shown && std::io::stderr().is_terminal() {
                    eprintln!("{line}");
                }
                shown = line;
            }
            None => bail!("{} was started anew; look at `hgfleet status`", peer.name()),
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn repository<'a>(answer: &'a ServerAnswer, name: &RepositoryName) -> Option<&'a RepositoryAnswer> {
    answer.repositories.iter().find(|one| one.name == *name)
}
