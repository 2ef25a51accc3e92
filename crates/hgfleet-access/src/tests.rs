//! Rules as an administrator writes them.

use super::*;

const RULES: &str = r#"
# The release engineers' own.
[[rule]]
repositories = ["private/**", "{old,new}/secret"]
read = ["staff"]
write = ["release", "jane@example.com"]

[[rule]]
repositories = ["team/*"]
read = ["*"]
write = ["accounts"]
administer = ["release"]
"#;

fn groups(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = AccessRules::parse(RULES).expect("rules");
    let (jane, joe) = ("jane@example.com", "joe@example.com");
    let (none, staff, release) = (groups(&[]), groups(&["staff"]), groups(&["release", "staffx"]));
    let account = |mail, groups| Caller::Account { mail, groups };
    for (caller, repository, action, allowed) in [
        (Caller::Anonymous, "private/x", Action::Read, false),
        (account(joe, &staff), "private/x", Action::Read, true),
        (account(joe, &staff), "private/x/y", Action::Read, true),
        (account(joe, &staff), "private/x", Action::Write, false),
        (account(joe, &release), "private/x", Action::Write, true),
        (account(joe, &release), "private/x", Action::Read, false),
        (account(jane, &none), "private/x", Action::Write, true),
        (account(jane, &none), "private", Action::Write, false),
        (account(joe, &staff), "old/secret", Action::Read, true),
        (account(joe, &staff), "older/secret", Action::Read, false),
        (Caller::Anonymous, "team/first", Action::Read, true),
        (Caller::Anonymous, "team/first", Action::Write, false),
        (account(joe, &none), "team/first", Action::Write, true),
        (account(joe, &none), "team/first/deeper", Action::Read, false),
        (account(joe, &release), "team/first", Action::Administer, true),
        (account(joe, &release), "team/first", Action::Create, false),
        (account(joe, &release), "other", Action::Read, false),
    ] {
        let decision = rules.decide(caller, repository, action);
        assert_eq!(decision.is_allowed(), allowed, "{caller:?} {repository}: {decision}");
    }
}

#[test]
fn a_decision_names_its_rule() {
    let rules = AccessRules::parse(RULES).expect("rules");
    let joe = "joe@example.com";
    let staff = groups(&["staff"]);
    let explained = |repository, action| {
        rules.decide(Caller::Account { mail: joe, groups: &staff }, repository, action).to_string()
    };
    assert_eq!(
        explained("private/x", Action::Read),
        "read: yes; rule 1, line 3 (private/**, {old,new}/secret), grants it to staff"
    );
    assert_eq!(
        explained("private/x", Action::Write),
        "write: no; rule 1, line 3 (private/**, {old,new}/secret), grants it to release, jane@example.com alone"
    );
    assert_eq!(
        explained("private/x", Action::Create),
        "create: no; rule 1, line 3 (private/**, {old,new}/secret), grants it to nobody"
    );
    assert_eq!(explained("elsewhere", Action::Read), "read: no; no rule matches");
}

#[test]
fn without_a_file_everybody_reads_and_accounts_write() {
    let rules = AccessRules::open();
    let joe = "joe@example.com";
    let caller = Caller::Account { mail: joe, groups: &[] };
    assert!(rules.decide(Caller::Anonymous, "a/b/c", Action::Read).is_allowed());
    assert!(!rules.decide(Caller::Anonymous, "a", Action::Write).is_allowed());
    assert!(rules.decide(caller, "a", Action::Write).is_allowed());
    assert!(!rules.decide(caller, "a", Action::Administer).is_allowed());
    assert!(rules.decide(caller, "a", Action::Read).to_string().contains("there is no file"));
}

#[test]
fn what_is_wrong_is_named_by_line() {
    for (text, line, what) in [
        ("[[rule]]\nrepositories = []\n", 1, "matches nothing"),
        ("\n\n[[rule]]\nrepositories = [\"a\"]\nwrite = [\"*\"]\n", 3, "can't be granted to `*`"),
        ("[[rule]]\nrepositories = [\"a{\"]\n", 1, "the pattern"),
        ("[[rule]]\nrepositories = [\"a\"]\nread = [\"not an@address\"]\n", 1, "is no mail address"),
        ("[[rule]]\nrepositories = [\"a\"]\nread = [\"\"]\n", 1, "is empty"),
    ] {
        match AccessRules::parse(text) {
            Err(RulesError::Rule { line: found, what: told }) => {
                assert_eq!(found, line, "{text}");
                assert!(told.contains(what), "{told}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in
        ["[[rules]]\n", "[[rule]]\nrepository = \"a\"\n", "[[rule]]\nrepositories = [\"a\"]\nwriter = []\n", "rule = 3"]
    {
        assert!(matches!(AccessRules::parse(text), Err(RulesError::Syntax(_))), "{text}");
    }
}

#[test]
fn a_changed_file_counts_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.toml");
    assert!(AccessControl::of(Some(path.clone()), false).is_err(), "a file that is not there opens nothing");
    let write = |reader: &str| {
        std::fs::write(&path, format!("[[rule]]\nrepositories = [\"**\"]\nread = [{reader}]\n")).expect("written");
    };
    write("\"*\"");
    let access = AccessControl::of(Some(path.clone()), false).expect("rules");
    let is_open = || access.rules().decide(Caller::Anonymous, "a", Action::Read).is_allowed();
    assert!(is_open());
    write("");
    assert!(!is_open());
    write("oops");
    assert!(!is_open(), "the last good one counts");
    write("\"*\"");
    assert!(is_open());
}

#[test]
fn what_lies_in_an_accounts_folder_is_its_own() {
    let rules = AccessRules::parse(RULES).expect("rules").with_user_repositories(true);
    let none = groups(&[]);
    let account = |mail| Caller::Account { mail, groups: &none };
    let (jane, joe) = (account("jane@example.com"), account("joe@example.com"));
    let own = "users/jane_example.com/x";
    for action in Action::ALL {
        assert!(rules.decide(jane, own, action).is_allowed());
        assert!(!rules.decide(joe, own, action).is_allowed(), "no rule lets others read it");
    }
    assert_eq!(rules.decide(jane, own, Action::Write).to_string(), "write: yes; it is the account's own repository");
    assert_eq!(rules.decide(joe, own, Action::Write).to_string(), "write: no; it is another account's repository");
    let open = AccessRules::open().with_user_repositories(true);
    assert!(
        open.decide(joe, own, Action::Read).is_allowed()
            && open.decide(Caller::Anonymous, own, Action::Read).is_allowed()
    );
    assert!(!open.decide(joe, own, Action::Write).is_allowed());
    assert!(open.decide(joe, "users/x", Action::Write).is_allowed(), "in nobody's folder");
    assert!(AccessRules::open().decide(joe, own, Action::Write).is_allowed(), "where there are no user repositories");
}

#[test]
fn families_are_what_the_rules_tell_apart() {
    let rules = AccessRules::parse(RULES).expect("rules");
    let of = |mail, groups: &[String]| rules.families(Caller::Account { mail, groups }, Action::Write);
    let families = |mail| of(mail, &[]);
    let private = "private/**, {old,new}/secret".to_owned();
    let team = "team/*".to_owned();
    assert_eq!(families("jane@example.com"), Families { granted: vec![private.clone(), team.clone()], others: vec![] });
    // Who may not read them either learns no name.
    assert_eq!(families("joe@example.com"), Families { granted: vec![team.clone()], others: vec![] });
    let staff = of("joe@example.com", &groups(&["staff"]));
    assert_eq!(staff, Families { granted: vec![team], others: vec![private] });
}

#[test]
fn where_everybody_reads_what_anybody_reads_nothing_is_private() {
    let has = |text: &str| AccessRules::parse(text).expect("rules").have_private();
    let rule = |read: &str| format!("[[rule]]\nrepositories = [\"**\"]\nread = [{read}]\n");
    assert!(!AccessRules::open().have_private());
    assert!(!has(""));
    assert!(!has(&rule("")), "nobody reads it, whoever they are");
    assert!(!has(&rule("\"staff\", \"*\"")));
    assert!(has(&rule("\"staff\"")));
    assert!(has(&format!("{}{}", rule("\"*\""), rule("\"accounts\""))));
    let owners = |text: &str| AccessRules::parse(text).expect("rules").with_user_repositories(true).have_private();
    assert!(owners("") && owners(&rule("")), "an owner reads it");
    assert!(!owners(&rule("\"*\"")) && !AccessRules::open().with_user_repositories(true).have_private());
}
