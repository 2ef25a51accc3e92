//! A real LDAP server, as `docs/directory.md` has one made.

use super::fleet::free_port;
use super::run::{run, run_with};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GUIDE: &str = include_str!("../../docs/directory.md");

/// What step 1 of the guide leaves: a server with one base and one administrator, whose configuration the machine's root may change.
pub struct LdapServer {
    folder: tempfile::TempDir,
    /// Where it listens, on loopback
    pub port: u16,
    process: Child,
}

impl LdapServer {
    /// Starts one.
    pub fn start() -> LdapServer {
        let folder = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let installed = places.find(|place| place.join("slapd").exists()).expect("slapd is installed").join("slapd");
        // A distribution's confinement goes by the program's place, and would keep it out of this folder.
        let program = folder.path().join("slapd");
        // By a process of its own: a file that another thread's child still has open for writing can't be run.
        run(Command::new("cp").args([&installed, &program])).ok();
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
        let server = LdapServer { folder, port, process };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "slapd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Gives the commands of the guide's `sh` blocks below this heading, at the project's top.
    pub fn do_step(&self, heading: &str, home: &Path) {
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

    /// Its folder, which nobody else writes to.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a fleet's configuration says of it, after the guide's steps, where it is reached at this port.
    pub fn section(&self, port: u16) -> String {
        let password = self.folder.path().join("ldap.password");
        std::fs::write(&password, "reader-password").expect("written");
        format!(
            "[directory]\nbackend = \"ldap\"\n[directory.ldap]\nservers = [\"ldap://127.0.0.1:{port}\"]\nplain_on_loopback = true\n\
             bind_dn = \"cn=hgfleet,ou=services,dc=example,dc=org\"\npassword_file = \"{}\"\nbase = \"dc=example,dc=org\"\n\
             cache_seconds = 1\n",
            password.display()
        )
    }

    /// Makes changes as the administrator.
    pub fn change(&self, text: &str) {
        let mut modify = Command::new("ldapmodify");
        modify.args(["-x", "-H", &socket_url(self.folder.path())]);
        modify.args(["-D", "cn=admin,dc=example,dc=org", "-w", "admin-password"]).env("LDAPNOINIT", "1");
        run_with(&mut modify, text.as_bytes(), Duration::from_secs(60)).ok();
    }
}

impl Drop for LdapServer {
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
