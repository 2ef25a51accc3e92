//! Accounts in LDAP, by the commands of `docs/directory.md`: an empty `slapd` is filled by them, and people come in.

use crate::support::fleet::{Fleet, SOON, free_port};
use crate::support::run::run_with;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GUIDE: &str = include_str!("../docs/directory.md");

/// What step 1 of the guide leaves: a server with one base and one administrator, whose configuration the machine's root may change.
struct EmptyServer {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl EmptyServer {
    fn start() -> EmptyServer {
        let folder = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let installed = places.find(|place| place.join("slapd").exists()).expect("slapd is installed").join("slapd");
        // A distribution's confinement goes by the program's place, and would keep it out of this folder.
        let program = folder.path().join("slapd");
        std::fs::copy(installed, &program).expect("copied");
        for name in ["config", "data"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        let (user, group) = (id_of_this_user("-u"), id_of_this_user("-g"));
        let root = format!("gidNumber={group}+uidNumber={user},cn=peercred,cn=external,cn=auth");
        let configuration = format!(
            "dn: cn=config\nobjectClass: olcGlobal\ncn: config\n\n\
             dn: cn=module,cn=config\nobjectClass: olcModuleList\ncn: module\nolcModulePath: /usr/lib/ldap\n\
             olcModuleLoad: back_mdb\n\n\
             dn: cn=schema,cn=config\nobjectClass: olcSchemaConfig\ncn: schema\n\n\
             include: file:///etc/ldap/schema/core.ldif\n\ninclude: file:///etc/ldap/schema/cosine.ldif\n\n\
             include: file:///etc/ldap/schema/nis.ldif\n\ninclude: file:///etc/ldap/schema/inetorgperson.ldif\n\n\
             dn: olcDatabase={{0}}config,cn=config\nobjectClass: olcDatabaseConfig\nolcDatabase: {{0}}config\n\
             olcAccess: to * by dn.exact={root} manage by * break\n\n\
             dn: olcDatabase={{1}}mdb,cn=config\nobjectClass: olcMdbConfig\nolcDatabase: {{1}}mdb\n\
             olcSuffix: dc=example,dc=org\nolcDbDirectory: {data}\nolcRootDN: cn=admin,dc=example,dc=org\n\
             olcRootPW: admin-password\nolcDbIndex: objectClass eq\nolcDbNoSync: TRUE\n\
             olcAccess: {{0}}to attrs=userPassword by anonymous auth by * none\nolcAccess: {{1}}to * by * read\n",
            data = folder.path().join("data").display()
        );
        let base = "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n";
        for (database, text) in [("0", configuration.as_str()), ("1", base)] {
            let mut load = Command::new(&program);
            load.args(["-Tadd", "-n", database, "-F"]).arg(folder.path().join("config"));
            run_with(&mut load, text.as_bytes(), Duration::from_secs(60)).ok();
        }
        let port = free_port();
        let urls = format!("ldap://127.0.0.1:{port} {}", socket_url(folder.path()));
        let process = Command::new(&program)
            .args(["-d", "0", "-h", &urls, "-F"])
            .arg(folder.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = EmptyServer { folder, port, process };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "slapd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Gives the commands of the guide's `sh` blocks below this heading, at the project's top.
    fn do_step(&self, heading: &str, home: &Path) {
        let (_, step) = GUIDE.split_once(heading).unwrap_or_else(|| panic!("the guide has no step {heading}"));
        let step = step.split("\n### ").next().unwrap_or_default();
        let mut done = 0;
        for block in step.split("```sh\n").skip(1) {
            let commands = block.split("```").next().unwrap_or_default();
            let commands = commands.replace("-H ldapi:/// ", &format!("-H {} ", socket_url(self.folder.path())));
            let mut shell = Command::new("sh");
            shell.args(["-ec", &commands]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).env("HOME", home);
            run_with(&mut shell, b"", Duration::from_secs(60)).ok();
            done += 1;
        }
        assert!(done > 0, "the step {heading} has no commands");
    }

    /// Makes changes as the administrator.
    fn change(&self, text: &str) {
        let mut modify = Command::new("ldapmodify");
        modify.args(["-x", "-H", &socket_url(self.folder.path())]);
        modify.args(["-D", "cn=admin,dc=example,dc=org", "-w", "admin-password"]).env("LDAPNOINIT", "1");
        run_with(&mut modify, text.as_bytes(), Duration::from_secs(60)).ok();
    }
}

impl Drop for EmptyServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket_url(folder: &Path) -> String {
    format!("ldapi://{}", folder.join("socket").display().to_string().replace('/', "%2F"))
}

/// Who runs this, as `id` says it.
fn id_of_this_user(which: &str) -> String {
    run_with(Command::new("id").arg(which), b"", Duration::from_secs(10)).ok().out.trim().to_owned()
}

#[test]
fn an_empty_ldap_server_is_filled_by_the_guide_and_its_people_push() {
    let server = EmptyServer::start();
    let (home, path) = (server.folder.path(), server.folder.path());
    for step in ["### 2. ", "### 3. "] {
        server.do_step(step, home);
    }
    std::fs::write(path.join("ldap.password"), "reader-password").expect("written");
    let sections = format!(
        "[directory]\nbackend = \"ldap\"\n[directory.ldap]\nservers = [\"ldap://127.0.0.1:{port}\"]\nplain_on_loopback = true\n\
         bind_dn = \"cn=hgfleet,ou=services,dc=example,dc=org\"\npassword_file = \"{password}\"\nbase = \"dc=example,dc=org\"\n\
         write_server = \"ldap://127.0.0.1:{port}\"\ncache_seconds = 1\n",
        port = server.port,
        password = path.join("ldap.password").display()
    );
    let fleet = Fleet::start_with(&[], &sections);
    server.do_step("### 4. ", &fleet.path("home"));
    let shown = fleet.hgfleet(&["account", "show", "ann@example.org"]).ok().out;
    assert!(shown.contains("scm_level_1"), "{shown}");

    fleet.wait_until("her key opens the door", |fleet| {
        fleet.ssh_command().output().is_ok_and(|said| String::from_utf8_lossy(&said.stderr).contains("ann@example.org"))
    });
    own_keys(&fleet);
    fleet.hgfleet(&["repo", "create", "one"]).ok();
    let work = fleet.init("work");
    work.commit("file", "1\n", "first");
    let pushed = work.push("one").ok();
    assert!(pushed.out.contains("stored as") || pushed.err.contains("stored as"), "{pushed:#?}");
    let entry = "dn: cn=Ann Example,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: hgAccountEnabled\nhgAccountEnabled: ";
    server.change(&format!("{entry}FALSE\n"));
    fleet.wait_until("a disabled account is told so", |fleet| {
        fleet.ssh_command().output().is_ok_and(|said| String::from_utf8_lossy(&said.stderr).contains("is disabled"))
    });
    work.commit("file", "2\n", "second");
    let refused = work.push("one");
    assert_eq!(refused.status, 255, "{refused:#?}");
    let sequence = fleet.hg(&["identify", &fleet.https_url("one")]).ok().out;
    assert_eq!(sequence.trim().len(), 12, "what she pushed before is there: {sequence}");
}

/// She gives herself a key, and takes it away again.
fn own_keys(fleet: &Fleet) {
    let key = fleet.path("home/.ssh/second");
    run_with(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), b"", SOON).ok();
    let public = std::fs::read(key.with_extension("pub")).expect("read");
    let said = run_with(fleet.ssh_command().arg("keys add"), &public, SOON).ok().out;
    let fingerprint = said.trim().strip_prefix("added the key ").expect("its fingerprint").to_owned();
    fleet.wait_until("the second key opens the door", |fleet| {
        let said = run_with(fleet.ssh_with("second", &[]).arg("keys list"), b"", SOON);
        said.status == 0 && said.out.lines().count() == 2
    });
    let taken = run_with(fleet.ssh_command().arg("keys add"), &public, SOON).refused().err;
    assert!(taken.starts_with("refused: this key is there already, on your keys."), "{taken}");
    fleet.ssh(&format!("keys remove {fingerprint}")).ok();
    let gone = run_with(fleet.ssh_with("second", &[]).arg("keys list"), b"", SOON);
    assert!(gone.err.contains("Permission denied (publickey)"), "at once: {gone:#?}");
    let left = fleet.ssh("keys list").ok().out;
    let last = left.split(' ').next().expect("a fingerprint");
    assert!(fleet.ssh(&format!("keys remove {last}")).refused().err.contains("it is the only one, on your keys."));
}
