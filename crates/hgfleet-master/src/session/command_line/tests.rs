//! bad-input group 1, as a table. Ids in the comments are those of the list of bad input in the reliability page.

use super::*;

fn serve(name: &str) -> Result<Request, Refusal> {
    Ok(Request::Serve(RepositoryName::parse(name).unwrap(), Asks::Served))
}

#[test]
fn the_one_form_in_the_spellings_that_clients_and_people_use() {
    for (line, name) in [
        ("hg -R team/first serve --stdio", "team/first"),
        ("hg -R 'team/first' serve --stdio", "team/first"),
        ("hg -R \"team/first\" serve --stdio", "team/first"),
        ("hg -R te'am/'first serve --stdio", "team/first"),
        ("hg -R te\\am/first serve --stdio", "team/first"),
        ("hg -R team/first/ serve --stdio", "team/first"),
        ("  hg\t-R  team/first   serve --stdio ", "team/first"),
        ("'hg' '-R' 'team/first' 'serve' '--stdio'", "team/first"),
        ("hg -R 100repos serve --stdio", "100repos"),
        ("hg -R 1.repo.name serve --stdio", "1.repo.name"),
    ] {
        assert_eq!(parse(Some(line.as_bytes())), serve(name), "{line}");
    }
    let hidden = Ok(Request::Serve(RepositoryName::parse("team/first").unwrap(), Asks::Hidden));
    assert_eq!(parse(Some(b"hg -R team/first serve --stdio --hidden")), hidden);
    assert_eq!(parse(None), Ok(Request::None));
    assert_eq!(parse(Some(b"")), Ok(Request::None));
    assert_eq!(parse(Some(b"  \t ")), Ok(Request::None));
}

#[test]
fn commands_for_people() {
    let name = |name| RepositoryName::parse(name).unwrap();
    let fingerprint = "SHA256:gNSIRW+2Iyiuvsdp/bgjy38bvWHw6wQm3tuoXrl3WjQ";
    for (line, command) in [
        ("help", PersonCommand::Help),
        ("repos", PersonCommand::Repos),
        ("status team/first/", PersonCommand::Status(name("team/first"))),
        ("repo-group 'team/first'", PersonCommand::RepoGroup(name("team/first"))),
        ("repo-config team/first", PersonCommand::RepoConfig(name("team/first"))),
        ("clone mine", PersonCommand::Clone(name("mine"), None)),
        ("clone mine team/first", PersonCommand::Clone(name("mine"), Some(name("team/first")))),
        ("edit mine", PersonCommand::Edit(name("mine"))),
        ("edit mine delete YES", PersonCommand::EditDelete(name("mine"))),
        ("keys list", PersonCommand::KeysList),
        ("keys add", PersonCommand::KeysAdd),
        (&format!("keys remove {fingerprint}"), PersonCommand::KeysRemove(fingerprint.to_owned())),
    ] {
        assert_eq!(parse(Some(line.as_bytes())), Ok(Request::Person(command)), "{line}");
    }
    // S17, S6
    for line in ["clone x /etc", "clone ../x", "clone foo/../../etc/password", "edit '' delete YES", "status a//b"] {
        assert!(matches!(parse(Some(line.as_bytes())), Err(Refusal::Name(_))), "{line}");
    }
}

#[test]
fn other_forms_of_hg_are_refused() {
    for line in [
        "hg",                                                   // S12
        "hg -R",                                                // S12
        "hg -R repo",                                           // S12
        "hg serve",                                             // S12
        "hg -R --debugger serve --stdio --debugger",            // S1
        "hg -R repo serve --debugger",                          // S1
        "hg -R repo serve --stdio --config hooks.pre-serve=sh", // S3
        "hg -R repo --cwd / serve --stdio",                     // S4
        "hg --repository repo serve --stdio",                   // S4
        "hg -Rrepo serve --stdio",                              // S4
        "hg -R repo log",                                       // S4
        "hg -R repo serve --stdi",                              // S4
        "hg serve --stdio -R repo",                             // S4
        "hg -R repo serve --hidden --stdio",                    // S4
        "hg -R repo serve --stdio --hidden --hidden",           // S4
        "hg -R re po serve --stdio",                            // S9
        "hg '-R repo' serve --stdio",                           // S4
        "hg -R repo serve --stdio ''",                          // S3
    ] {
        assert_eq!(parse(Some(line.as_bytes())), Err(Refusal::OtherHg), "{line}");
    }
    for line in [
        "foobar",
        "foohg repo1",
        "HG -R repo serve --stdio",
        "/usr/bin/hg -R repo serve --stdio",
        "scp -t /",
        "''",
        "Clone a",
        "clone-a b",
    ] {
        assert_eq!(parse(Some(line.as_bytes())), Err(Refusal::NoCommand), "{line}");
    }
    for line in [
        "clone a b c d", // S17
        "clone",
        "edit repo delete",
        "edit repo delete yes",
        "edit repo remove YES",
        "edit",
        "repo-group",
        "repo-config a b",
        "status",
        "repos x",
        "help me",
        "keys",
        "keys list a@b",
        "keys remove",
        "keys remove SHA256:x",
        "keys add x",
    ] {
        assert!(matches!(parse(Some(line.as_bytes())), Err(Refusal::Usage(..))), "{line}");
    }
}

#[test]
fn nothing_reaches_a_shell() {
    for line in [
        "hg -R repo serve --stdio; id", // S5
        "hg -R repo serve --stdio;id",
        "hg -R repo serve --stdio && id",
        "hg -R repo serve --stdio | id",
        "hg -R `id` serve --stdio",
        "hg -R $(id) serve --stdio",
        "hg -R \"$(id)\" serve --stdio",
        "hg -R \"`id`\" serve --stdio",
        "hg -R $HOME serve --stdio",
        "hg -R ~root/x serve --stdio", // S6
        "hg -R repo serve --stdio > /tmp/x",
        "hg -R rep* serve --stdio",
        "hg -R {a,b} serve --stdio",
        "hg -R repo serve --stdio\nid", // S7
        "hg -R repo\n serve --stdio",
        "hg -R repo serve --stdio\r",
        "hg -R repo\0 serve --stdio",
        "hg -R 'r", // S13
        "hg -R \"r",
        "hg -R \"r\\",
        "hg -R r serve --stdio \\",
    ] {
        assert!(matches!(parse(Some(line.as_bytes())), Err(Refusal::Syntax(_))), "{line:?}");
    }
    assert!(matches!(parse(Some(b"hg -R re\x82po serve --stdio")), Err(Refusal::Syntax(_)))); // S8
    assert!(matches!(parse(Some("a ".repeat(1000).as_bytes())), Err(Refusal::Syntax(_)))); // S12
    assert_eq!(parse(Some("a ".repeat(10_000).as_bytes())), Err(Refusal::TooLong)); // S12
    assert_eq!(parse(Some(&vec![b'x'; 1 << 20])), Err(Refusal::TooLong)); // S12
}

#[test]
fn names_that_no_repository_has_are_refused() {
    let long = "x".repeat(3000);
    let deep = ["a"; 200].join("/");
    for name in [
        "--debugger",
        "--config=ui.debugger=1",
        "--config=hooks.x=!sh",
        "-repo", // S1, S2
        "../../etc",
        "a/../b",
        "a/./b",
        "./a",
        "/abs/path",
        "..",
        ".", // S6
        "repo\n",
        "repo\r",
        "re\tpo",
        "re\u{1b}po",
        "re\u{7f}po",
        "re\u{202e}po",
        "re\u{200c}po",
        "ré", // S7, S8
        "repo ",
        "repo.",
        " repo",
        "repo//",
        "repo//x",
        "",
        " ",
        "/",
        "//",
        &long,
        &deep, // S9
        "repo.hg",
        ".hg",
        "repo/.hg/store",
        "x.HG",
        "x/.Hg",
        "repo.i",
        "repo.d",
        "con",
        "nul",
        "aux.txt", // S10
        "bundle:../x",
        "bundle:/etc/passwd+/etc",
        "union:a+b",
        "static-http://h/",
        "ssh://-oProxyCommand=x/",
        "file:///etc", // S11
        "~root/x",
        "a;b",
        "a$b",
        "a`b",
        "a|b",
        "a&b",
        "a*b",
        "a\\b",
        "a:b",
        "a+b",
        "a@b",
        "a%2fb",
    ] {
        let line = format!("hg -R '{name}' serve --stdio");
        assert!(
            matches!(parse(Some(line.as_bytes())), Err(Refusal::Name(_))),
            "{name:?}: {:?}",
            parse(Some(line.as_bytes()))
        );
    }
    // What the client and the log are shown of a name is escaped.
    let refusal = parse(Some("hg -R 're\u{1b}[31mpo\u{202e}' serve --stdio".as_bytes())).unwrap_err().to_string();
    assert!(refusal.chars().all(|letter| !letter.is_control() && letter != '\u{202e}'), "{refusal}");
}
