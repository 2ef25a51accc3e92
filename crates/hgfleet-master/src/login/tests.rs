//! Rows T6 to T9, with keys and certificates that `ssh-keygen` makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hgfleet_directory::{LdifDirectory, Mail};

use super::*;

struct Office {
    folder: tempfile::TempDir,
    logins: Logins,
}

/// Accounts `jane@x` and `bob@x`, each with a key; authorities `ca` and `rsa_ca`, and `other_ca`, which nobody trusts.
fn office(name: LoginName) -> Office {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let kinds: [(&str, &[&str]); 7] = [
        ("jane", &["ed25519"]),
        ("bob", &["ed25519"]),
        ("ca", &["ed25519"]),
        ("rsa_ca", &["rsa", "-b", "2048"]),
        ("other_ca", &["ed25519"]),
        ("guest", &["ed25519"]),
        ("weak", &["rsa", "-b", "1024"]),
    ];
    for (name, kind) in kinds {
        keygen(&[&["-q", "-N", "", "-f", path.join(name).to_str().unwrap(), "-t"], kind].concat());
    }
    let file = path.join("directory.ldif");
    LdifDirectory::create(&file).unwrap();
    let directory = Arc::new(LdifDirectory::open(&file).unwrap());
    for name in ["jane", "bob"] {
        directory.add(&Mail::parse(&format!("{name}@x")).unwrap(), &[key(path, name)]).unwrap();
    }
    let authorities = path.join("authorities");
    let lines = ["ca", "rsa_ca"].map(|name| fs::read_to_string(path.join(format!("{name}.pub"))).unwrap());
    fs::write(&authorities, format!("# whom we trust\n\n{}", lines.concat())).unwrap();
    let options = LoginOptions { name, trusted_user_ca_keys: Some(authorities), hidden_from_sshd: false };
    let logins = Logins::open(&options, directory).unwrap();
    Office { folder, logins }
}

fn keygen(arguments: &[&str]) {
    let said = Command::new("ssh-keygen").args(arguments).output().unwrap();
    assert!(said.status.success(), "{arguments:?}: {said:?}");
}

fn key(folder: &Path, name: &str) -> PublicKey {
    PublicKey::parse_line(fs::read(folder.join(format!("{name}.pub"))).unwrap().trim_ascii_end()).unwrap()
}

fn at(address: &str) -> ClientAddress {
    ClientAddress::Known(address.parse().unwrap())
}

impl Office {
    fn key(&self, name: &str) -> Proof {
        Proof::Key(key(self.folder.path(), name))
    }

    /// A certificate of `subject`, as it goes over the wire.
    fn certificate(&self, authority: &str, subject: &str, arguments: &[&str]) -> Vec<u8> {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let (authority, public) = (path(authority), path(&format!("{subject}.pub")));
        let start = ["-q", "-s", authority.to_str().unwrap(), "-I", "a test"];
        keygen(&[&start[..], arguments, &[public.to_str().unwrap()]].concat());
        let line = fs::read_to_string(path(&format!("{subject}-cert.pub"))).unwrap();
        STANDARD.decode(line.split(' ').nth(1).unwrap()).unwrap()
    }

    fn judge(&self, blob: &[u8], address: ClientAddress) -> Result<String, String> {
        let judged = Proof::parse(blob).and_then(|proof| self.logins.judge(Some("hg"), &proof, address));
        judged.map(|account| account.mail.to_string()).map_err(|denial| denial.to_string())
    }
}

/// Row T7.
#[test]
fn a_certificate_opens_the_account_that_it_names_and_no_other() {
    let office = office(LoginName::default());
    let home = at("127.0.0.1");
    // As many as `ssh-keygen` puts into one.
    let many: String = (0..255).map(|number| format!("p{number},")).collect::<String>() + "jane@x";
    let (hour, today) = (&["-V", "-5m:+1h"][..], &["-n", "jane@x", "-V", "-5m:+1h"][..]);
    type Case<'c> = (&'c str, &'c str, Vec<&'c str>, Result<&'c str, &'c str>);
    let cases: [Case<'_>; 19] = [
        ("ca", "guest", today.to_vec(), Ok("jane@x")),
        ("ca", "guest", vec!["-n", "jane@x"], Ok("jane@x")),
        ("rsa_ca", "guest", [today, &["-t", "rsa-sha2-512"]].concat(), Ok("jane@x")),
        ("ca", "guest", [hour, &["-n", "build,jane@x"]].concat(), Ok("jane@x")),
        ("ca", "guest", [today, &["-O", "source-address=127.0.0.0/8"]].concat(), Ok("jane@x")),
        ("ca", "guest", vec!["-n", "jane@x", "-V", "+1d:+2d"], Err("not yet valid")),
        ("ca", "guest", vec!["-n", "jane@x", "-V", "-2d:-1d"], Err("it is over")),
        ("ca", "guest", [hour, &["-n", "eve@x"]].concat(), Err("no account")),
        ("ca", "guest", hour.to_vec(), Err("has 0")),
        ("ca", "guest", [hour, &["-n", "jane"]].concat(), Err("has 0")),
        ("ca", "guest", [hour, &["-n", "jane@x,bob@x"]].concat(), Err("has 2")),
        ("ca", "guest", [hour, &["-n", &many]].concat(), Err("more than 32 principals")),
        ("other_ca", "guest", today.to_vec(), Err("not trusted")),
        ("jane", "guest", today.to_vec(), Err("not trusted")),
        ("ca", "guest", [today, &["-h"]].concat(), Err("no user's")),
        ("rsa_ca", "guest", [today, &["-t", "ssh-rsa"]].concat(), Err("SHA-1")),
        ("ca", "guest", [today, &["-O", "force-command=sh"]].concat(), Err("\"force-command\" is not honoured")),
        ("ca", "guest", [today, &["-O", "critical:x@y=1"]].concat(), Err("\"x@y\" is not honoured")),
        ("ca", "weak", today.to_vec(), Err("1024 bits")),
    ];
    for (authority, subject, arguments, expected) in cases {
        let judged = office.judge(&office.certificate(authority, subject, &arguments), home);
        match (&judged, expected) {
            (Ok(mail), Ok(expected)) => assert_eq!(mail, expected, "{arguments:?}"),
            (Err(denial), Err(expected)) => assert!(denial.contains(expected), "{arguments:.60?}: {denial}"),
            _ => panic!("{authority} {arguments:.60?}: {judged:?}"),
        }
    }
    let here = office.certificate("ca", "guest", &[today, &["-O", "source-address=127.0.0.0/8"]].concat());
    for elsewhere in [at("192.0.2.1"), ClientAddress::Unknown] {
        assert!(office.judge(&here, elsewhere).unwrap_err().contains("source-address"));
    }
    let good = office.certificate("ca", "guest", today);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(office.judge(&forged, home).unwrap_err().contains("signature is wrong"));
    for cut in (0..good.len()).step_by(7) {
        assert!(office.judge(&good[..cut], home).is_err(), "{cut}");
    }
    assert!(office.judge(&[&good[..], &[0]].concat(), home).is_err());
    // Whose authority is no longer trusted, or whose account is gone, opens nothing.
    fs::write(office.folder.path().join("authorities"), "# nobody any more\n").unwrap();
    assert!(office.judge(&good, home).unwrap_err().contains("not trusted"));
}

#[test]
fn an_authority_is_a_key_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorities");
    let directory = folder.path().join("directory.ldif");
    LdifDirectory::create(&directory).unwrap();
    let directory: Arc<dyn Directory> = Arc::new(LdifDirectory::open(&directory).unwrap());
    let options = LoginOptions { trusted_user_ca_keys: Some(file.clone()), ..LoginOptions::default() };
    let sk = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo=";
    for (text, said) in [("cert-authority ssh-ed25519 AAAA", "line 1"), ("\nnonsense", "line 2"), (sk, "security key")]
    {
        fs::write(&file, text).unwrap();
        let error = Logins::open(&options, directory.clone()).err().expect("refused").to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

/// Rows T8 and T9: one key on two accounts is nobody's, and a name that is not one's own opens nothing.
#[test]
fn names_and_keys_must_be_ones_own() {
    let office = office(LoginName::Mail);
    let judge = |user: &str, name: &str| {
        let judged = office.logins.judge(Some(user), &office.key(name), at("192.0.2.1"));
        judged.map(|account| account.mail.to_string())
    };
    assert_eq!(judge("jane@x", "jane"), Ok("jane@x".to_owned()));
    let long = "x".repeat(64 << 10);
    for name in ["bob@x", "hg", "root", "-oX", "jane@x\0", "JANE@x", "*", "a)(uid=*", "", &long] {
        assert_eq!(judge(name, "jane"), Err(Denial::UserName), "{name:.20}");
    }
    assert_eq!(judge("jane@x", "guest"), Err(Denial::Unknown));

    let ldif = office.folder.path().join("directory.ldif");
    let text = fs::read_to_string(&ldif).unwrap();
    let shared =
        text.replace("mail: bob@x\n", &format!("mail: bob@x\nsshPublicKey: {}\n", key(office.folder.path(), "jane")));
    assert_ne!(text, shared);
    fs::write(&ldif, shared).unwrap();
    for name in ["jane@x", "bob@x"] {
        assert_eq!(judge(name, "jane"), Err(Denial::Unknown));
    }
    assert_eq!(judge("bob@x", "bob"), Ok("bob@x".to_owned()), "another key of the account still counts");
}

#[test]
fn sshd_is_told_of_keys_what_it_must_know() {
    let office = office(LoginName::default());
    let ldif = office.folder.path().join("directory.ldif");
    let (jane, bob) = (key(office.folder.path(), "jane"), key(office.folder.path(), "bob"));
    let text = fs::read_to_string(&ldif).unwrap();
    let from = text
        .replace(&format!("sshPublicKey: {jane}"), &format!("sshPublicKey: from=\"10.0.0.0/8\",no-pty {jane} laptop"));
    let over = from.replace(&format!("sshPublicKey: {bob}"), &format!("sshPublicKey: expiry-time=\"20200101\" {bob}"));
    fs::write(&ldif, over).unwrap();
    let lines = |user: &str, proof: Option<&[u8]>| office.logins.authorized_keys(user, proof);
    let line = format!("restrict,from=\"10.0.0.0/8\" {jane}");
    assert_eq!(lines("hg", Some(jane.blob())), Ok(vec![line.clone()]));
    assert_eq!(lines("jane@x", None), Ok(vec![line]));
    let certificate = office.certificate("ca", "guest", &["-n", "bob@x", "-V", "-5m:+1h"]);
    let authority = key(office.folder.path(), "ca");
    let line = format!("restrict,cert-authority,principals=\"bob@x\" {authority}");
    assert_eq!(lines("hg", Some(&certificate)), Ok(vec![line]));
    for (user, offered, said) in [
        ("root", Some(jane.blob()), "wrong-user-name"),
        ("hg", Some(bob.blob()), "expired"),
        ("bob@x", None, "no key of this user counts"),
        ("eve@x", None, "user not found: eve@x"),
        ("-oX\n", None, "user not found: -oX\\n"),
        ("hg", None, "everybody's login name"),
        ("hg", Some(&b"\0\0\0\x0bssh-ed25519"[..]), "cut short"),
    ] {
        let text = lines(user, offered).unwrap_err();
        assert!(text.contains(said) && !text.contains('\n'), "{user}: {text}");
    }
    // The address counts in the session, which knows it, also where sshd sees another one and is not told.
    let options = LoginOptions { hidden_from_sshd: true, ..LoginOptions::default() };
    let hidden = Logins::open(&options, office.logins.directory.clone()).unwrap();
    assert_eq!(hidden.authorized_keys("hg", Some(jane.blob())), Ok(vec![format!("restrict {jane}")]));
    assert_eq!(office.judge(jane.blob(), at("10.1.1.1")), Ok("jane@x".to_owned()));
    assert!(office.judge(jane.blob(), at("192.0.2.1")).unwrap_err().contains("wrong-address"));
    assert!(office.judge(jane.blob(), ClientAddress::Unknown).unwrap_err().contains("unknown-address"));
}

#[test]
fn a_client_does_not_read_where_the_directory_is() {
    let told = Denial::Directory("ldap://10.0.0.1: the connection broke".to_owned()).told();
    assert_eq!(told, "refused: the directory of accounts does not answer, on this fleet. Try again in a few minutes");
    assert!(Denial::Unknown.told().starts_with("refused: the key opens no account here (unknown-key), on this fleet."));
}
