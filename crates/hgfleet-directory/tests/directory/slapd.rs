//! A real `slapd` on loopback, with an empty folder of its own.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hgfleet_directory::{LdapBind, LdapOptions, Password};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

pub const BASE: &str = "dc=example,dc=org";
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
/// Who asks: a DN without any rights but to read, and with the server's usual limits lifted.
pub const READER: &str = "cn=hgfleet,ou=services,dc=example,dc=org";
pub const PASSWORD: &str = "not a secret";

const SCHEMA: &str = include_str!("../../../../docs/directory/hgfleet.ldif");
const BOOLEAN: &str = "EQUALITY booleanMatch\n  SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 SINGLE-VALUE";
const TEXT: &str = "EQUALITY caseExactIA5Match\n  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26";

pub struct Slapd {
    folder: TempDir,
    process: Option<Child>,
    program: PathBuf,
    pub port: u16,
    pub tls_port: u16,
}

/// What a server needs to show who it is, in PEM files.
pub struct Certificates {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Writes an authority's certificates into a folder: a server's, called `localhost`, and as `client.pem` and `client.key` one of ours.
pub fn certificates(folder: &Path) -> Certificates {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |names: &[&str], common_name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (server, client) = (issue(&["localhost"], "localhost"), issue(&["client"], "hgfleet"));
    write("client.pem", &client.0);
    write("client.key", &client.1);
    Certificates {
        ca: write("ca.pem", &issuer.pem()),
        certificate: write("server.pem", &server.0),
        key: write("server.key", &server.1),
    }
}

impl Slapd {
    /// Starts a server that has these entries beside its base, groups and services.
    pub fn start(entries: &str) -> Slapd {
        let folder = tempfile::tempdir().unwrap();
        let found = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&found).chain([PathBuf::from("/usr/sbin")]);
        let installed = places.find(|place| place.join("slapd").exists()).expect("slapd is installed").join("slapd");
        // A distribution's confinement goes by the program's place, and would keep it out of this folder.
        let program = folder.path().join("slapd");
        // By a process of its own: a file that another thread's child still has open for writing can't be run.
        succeed(Command::new("cp").args([&installed, &program]).output().unwrap(), "a copy of slapd");
        let mut slapd = Slapd { folder, process: None, program, port: 0, tls_port: 0 };
        let certificates = certificates(slapd.folder.path());
        fs::create_dir(slapd.path("data")).unwrap();
        fs::create_dir(slapd.path("config")).unwrap();
        slapd.load(0, &slapd.config(&certificates));
        slapd.load(1, &format!("{}\n{entries}", base_entries()));
        slapd.resume();
        slapd
    }

    fn config(&self, certificates: &Certificates) -> String {
        let schema = SCHEMA.replace(BOOLEAN, TEXT);
        assert_ne!(schema, SCHEMA, "tests need an attribute that takes any text");
        let reader = format!("olcLimits: dn.exact=\"{READER}\" size=unlimited");
        format!(
            "dn: cn=config\nobjectClass: olcGlobal\ncn: config\nolcTLSCACertificateFile: {ca}\n\
             olcTLSCertificateFile: {certificate}\nolcTLSCertificateKeyFile: {key}\nolcTLSVerifyClient: try\n\
             olcAuthzRegexp: {{0}}\"^cn=hgfleet$\" \"{READER}\"\n\
             olcAuthzRegexp: {{1}}\"^gidNumber=[0-9]+\\+uidNumber=[0-9]+,cn=peercred,cn=external,cn=auth$\" \"{READER}\"\n\n\
             dn: cn=module,cn=config\nobjectClass: olcModuleList\ncn: module\nolcModulePath: /usr/lib/ldap\n\
             olcModuleLoad: back_mdb\nolcModuleLoad: memberof\n\n\
             dn: cn=schema,cn=config\nobjectClass: olcSchemaConfig\ncn: schema\n\n\
             include: file:///etc/ldap/schema/core.ldif\n\ninclude: file:///etc/ldap/schema/cosine.ldif\n\n\
             include: file:///etc/ldap/schema/nis.ldif\n\ninclude: file:///etc/ldap/schema/inetorgperson.ldif\n\n\
             {schema}\n\
             dn: olcDatabase=mdb,cn=config\nobjectClass: olcMdbConfig\nolcDatabase: mdb\nolcSuffix: {BASE}\n\
             olcDbDirectory: {data}\nolcRootDN: {ADMIN}\nolcRootPW: {PASSWORD}\nolcDbIndex: mail,memberUid,member eq\n\
             {reader}\nolcSizeLimit: 50\nolcDbNoSync: TRUE\n\
             olcAccess: to attrs=userPassword by anonymous auth by * none\n\
             olcAccess: to * by users read by * none\n\n\
             dn: olcOverlay=memberof,olcDatabase={{1}}mdb,cn=config\nobjectClass: olcMemberOf\nolcOverlay: memberof\n",
            ca = certificates.ca.display(),
            certificate = certificates.certificate.display(),
            key = certificates.key.display(),
            data = self.path("data").display(),
        )
    }

    fn load(&self, database: u8, text: &str) {
        let file = self.path("load.ldif");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-Tadd").arg("-F").arg(self.path("config")).arg("-n").arg(database.to_string()).arg("-l").arg(file);
        succeed(command.output().unwrap(), text);
    }

    /// Starts the process, on ports that are free.
    pub fn resume(&mut self) {
        for _ in 0..10 {
            (self.port, self.tls_port) = (free_port(), free_port());
            let urls = format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{} {}", self.port, self.tls_port, self.ldapi());
            let child = Command::new(&self.program)
                .args(["-d", "0", "-h", &urls, "-F"])
                .arg(self.path("config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let child = self.process.insert(child);
            let deadline = Instant::now() + Duration::from_secs(20);
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            self.stop();
        }
        panic!("slapd does not start");
    }

    /// Ends the process; its entries stay.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            process.wait().unwrap();
        }
    }

    /// Makes changes as the administrator (RFC 2849, `changetype`).
    pub fn change(&self, text: &str) {
        let url = format!("ldap://127.0.0.1:{}", self.port);
        let mut child = Command::new("ldapmodify")
            .args(["-x", "-H", &url, "-D", ADMIN, "-w", PASSWORD])
            .env("LDAPNOINIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ldapmodify is installed");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        succeed(child.wait_with_output().unwrap(), text);
    }

    /// Values of an attribute of one entry, as the administrator sees them.
    pub fn values(&self, dn: &str, attribute: &str) -> Vec<String> {
        let url = format!("ldap://127.0.0.1:{}", self.port);
        let mut command = Command::new("ldapsearch");
        command.args(["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &url, "-D", ADMIN, "-w", PASSWORD]);
        let output = command.args(["-b", dn, "-s", "base", "(objectClass=*)", attribute]).output().unwrap();
        let text = succeed(output, dn);
        let prefix = format!("{attribute}: ");
        text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn ldapi(&self) -> String {
        format!("ldapi://{}", self.path("socket").display().to_string().replace('/', "%2F"))
    }

    /// Options that reach it in clear, on loopback.
    pub fn options(&self) -> LdapOptions {
        LdapOptions {
            servers: vec![format!("ldap://127.0.0.1:{}", self.port)],
            plain_on_loopback: true,
            bind: LdapBind::Simple,
            bind_dn: Some(READER.to_owned()),
            password: Some(Password::new(PASSWORD)),
            base: BASE.to_owned(),
            connect_seconds: 10,
            ..LdapOptions::default()
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn base_entries() -> String {
    format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n\
         dn: ou=groups,{BASE}\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=services,{BASE}\nobjectClass: organizationalUnit\nou: services\n\n\
         dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: hgfleet\n\
         userPassword: {PASSWORD}\n"
    )
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn succeed(output: Output, what: &str) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}\n{out}\n{what}");
    out.into_owned()
}
