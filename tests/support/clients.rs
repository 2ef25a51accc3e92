//! The real clients of one fleet, by one of its doors: `hg`, `ssh`, `curl`, and the account that they use.

use super::run::{Said, run, run_here};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where clients have their home, their key and their working copies, and which door they go to.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Their folder: working copies are in it, `home` and `hgrc` too
    folder: PathBuf,
    /// The fleet's authority
    authority: PathBuf,
    /// What puts a program where the clients are; nothing on this machine
    place: Vec<String>,
    /// The Mercurial that they use
    hg: String,
    ssh_host: String,
    https_host: String,
    /// The name by which they log in
    ssh_user: String,
    /// Port of the SSH door
    pub ssh_port: u16,
    /// Port of the HTTPS door
    pub https_port: u16,
}

impl Clients {
    /// Of a fleet whose data is in `data` of this folder. An account's key pair is made in `home`.
    pub fn on_this_machine(folder: &Path, ssh_port: u16, https_port: u16) -> Clients {
        let clients = Clients {
            folder: folder.to_owned(),
            authority: folder.join("data/ca.pem"),
            place: Vec::new(),
            hg: "hg".to_owned(),
            ssh_host: "127.0.0.1".to_owned(),
            https_host: "localhost".to_owned(),
            ssh_user: "hg".to_owned(),
            ssh_port,
            https_port,
        };
        clients.make_home();
        clients
    }

    /// Of a fleet whose doors are at the usual ports of a host; `place` puts a program where it is reached.
    pub fn elsewhere(folder: &Path, authority: &Path, host: &str, place: Vec<String>) -> Clients {
        let clients = Clients {
            folder: folder.to_owned(),
            authority: authority.to_owned(),
            place,
            hg: "hg".to_owned(),
            ssh_host: host.to_owned(),
            https_host: host.to_owned(),
            ssh_user: "hg".to_owned(),
            ssh_port: 22,
            https_port: 443,
        };
        clients.make_home();
        clients
    }

    /// The same clients, by another SSH door or under another name.
    pub fn by_door(&self, ssh_user: &str, ssh_port: u16) -> Clients {
        Clients { ssh_user: ssh_user.to_owned(), ssh_port, ..self.clone() }
    }

    /// The same clients with another Mercurial.
    pub fn with_hg(&self, hg: &Path) -> Clients {
        Clients { hg: hg.to_str().expect("UTF-8").to_owned(), ..self.clone() }
    }

    fn make_home(&self) {
        let key = self.folder.join("home/.ssh/id_ed25519");
        if !key.exists() {
            let ssh = self.folder.join("home/.ssh");
            std::fs::create_dir_all(&ssh).expect("made");
            std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o700)).expect("ours");
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key)).ok();
        }
        std::fs::write(self.folder.join("hgrc"), self.hgrc("id_ed25519")).expect("written");
    }

    /// A program, not yet started, where the clients are.
    fn program(&self, name: &str) -> Command {
        let words: Vec<&str> = self.place.iter().map(String::as_str).chain([name]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }

    /// Runs the stock client.
    #[track_caller]
    pub fn hg(&self, arguments: &[&str]) -> Said {
        run(&mut self.hg_command(arguments))
    }

    /// The stock client, not yet started, in the clients' folder.
    pub fn hg_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&self.hg);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("HGRCPATH", self.folder.join("hgrc"))
            .env("HGPLAIN", "1")
            .env("HGENCODING", "UTF-8")
            .env("HOME", self.folder.join("home"));
        command
    }

    /// Runs OpenSSH's client with the account's key and this command line.
    #[track_caller]
    pub fn ssh(&self, command: &str) -> Said {
        run(self.ssh_command().arg(command))
    }

    /// OpenSSH's client with the account's key, without a command.
    pub fn ssh_command(&self) -> Command {
        self.ssh_with("id_ed25519", &[])
    }

    /// OpenSSH's client with a key from the home folder and these options, without a command.
    pub fn ssh_with(&self, key: &str, options: &[&str]) -> Command {
        let mut ssh = self.program("ssh");
        ssh.args(["-p", &self.ssh_port.to_string()])
            .args(ssh_options())
            .args(options)
            .arg("-i")
            .arg(self.folder.join("home/.ssh").join(key))
            .arg(format!("{}@{}", self.ssh_user, self.ssh_host));
        ssh
    }

    /// A configuration for the client, with a key from the home folder.
    pub fn hgrc(&self, key: &str) -> String {
        format!(
            "[ui]\nusername = Test <test@example.org>\nssh = ssh {} -i {}\n[web]\ncacerts = {}\n[devel]\ndefault-date = 1700000000 0\n",
            ssh_options().join(" "),
            self.folder.join("home/.ssh").join(key).display(),
            self.authority.display(),
        )
    }

    /// Where one pushes.
    pub fn ssh_url(&self, name: &str) -> String {
        format!("ssh://{}@{}:{}/{name}", self.ssh_user, self.ssh_host, self.ssh_port)
    }

    /// Where one pulls.
    pub fn https_url(&self, name: &str) -> String {
        format!("https://{}:{}/{name}", self.https_host, self.https_port)
    }

    /// `curl` that trusts the fleet's authority, not yet started.
    pub fn curl(&self) -> Command {
        let mut curl = self.program("curl");
        curl.args(["-s", "--cacert"]).arg(&self.authority);
        curl
    }

    /// Runs a command of the stock client that talks to no server, in this folder.
    #[track_caller]
    pub fn hg_here(&self, folder: &Path, arguments: &[&str]) -> Said {
        // The configuration as options: one server takes commands of many clients.
        let hgrc = std::fs::read_to_string(self.folder.join("hgrc")).expect("there");
        let mut section = "";
        let mut settings = Vec::new();
        for line in hgrc.lines() {
            match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                Some(name) => section = name,
                None => settings.extend(line.split_once(" = ").map(|(key, value)| format!("{section}.{key}={value}"))),
            }
        }
        let settings = settings.iter().flat_map(|setting| ["--config", setting.as_str()]);
        run_here(Path::new(&self.hg), folder, &settings.chain(arguments.iter().copied()).collect::<Vec<_>>())
    }

    /// A working copy of a fresh local repository in the clients' folder.
    pub fn init(&self, name: &str) -> WorkingCopy<'_> {
        self.hg_here(&self.folder, &["init", name]).ok();
        self.working_copy(name)
    }

    /// A working copy that is there already.
    pub fn working_copy(&self, name: &str) -> WorkingCopy<'_> {
        WorkingCopy { clients: self, path: self.folder.join(name) }
    }
}

/// A local repository that a developer works in.
pub struct WorkingCopy<'c> {
    clients: &'c Clients,
    /// Its folder
    pub path: PathBuf,
}

impl WorkingCopy<'_> {
    /// Runs the stock client in it.
    #[track_caller]
    pub fn hg(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(arguments))
    }

    /// Runs a command of the stock client that talks to no server in it.
    #[track_caller]
    pub fn hg_here(&self, arguments: &[&str]) -> Said {
        self.clients.hg_here(&self.path, arguments)
    }

    /// The stock client, not yet started, in it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.clients.hg_command(arguments);
        command.current_dir(&self.path);
        command
    }

    /// Writes a file and commits everything.
    #[track_caller]
    pub fn commit(&self, file: &str, content: impl AsRef<[u8]>, message: &str) {
        write(&self.path.join(file), content.as_ref());
        self.hg_here(&["commit", "-q", "-A", "-m", message]).ok();
    }

    /// Pushes everything over SSH.
    #[track_caller]
    pub fn push(&self, name: &str) -> Said {
        self.hg(&["push", &self.clients.ssh_url(name)])
    }

    /// Every changeset as `hg log --debug` shows it, by node and not by number.
    pub fn log(&self) -> String {
        history(self.clients, &self.path)
    }
}

/// Every changeset of a repository with all that a clone should carry over, sorted, free of revision numbers.
pub fn history(clients: &Clients, repository: &Path) -> String {
    let template = "{node} {p1node} {p2node} {manifest} {phase} {branch} {extras} {author} {date|hgdate} {files} {tags} {bookmarks} {desc|json}\n";
    let said = clients.hg_here(repository, &["log", "--debug", "-T", template]).ok();
    let mut lines: Vec<String> = said
        .out
        .lines()
        .map(|line| {
            line.split(' ')
                .map(|word| {
                    word.split_once(':').filter(|(rev, _)| rev.parse::<i64>().is_ok()).map_or(word, |(_, node)| node)
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, content).expect("written");
}

/// Options that make OpenSSH's client neither ask nor remember.
pub fn ssh_options() -> Vec<&'static str> {
    vec![
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oLogLevel=ERROR",
        "-oIdentitiesOnly=yes",
        "-oBatchMode=yes",
    ]
}
