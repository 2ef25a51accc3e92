//! Filters (RFC 4515), and accounts and groups out of entries.

use ldap3::ldap_escape;

use super::options::{LdapOptions, LdapScope};
use super::search::{Entry, Query};
use crate::{Account, Mail, values};

use super::newest::STAMPS;

/// Entries that are asked for where one is meant: a second one is enough to refuse both.
const SAME_MAIL_MAX: usize = 2;
/// Groups of one account, and groups in all.
const GROUPS_MAX: usize = 10_000;
/// Accounts with keys.
const ACCOUNTS_MAX: usize = 200_000;

/// Asks for the entries with this address.
pub(super) fn account_query(options: &LdapOptions, mail: &Mail) -> Query {
    let names = &options.attributes;
    let own = [&names.mail, &names.keys, &names.enabled, &names.member_of];
    Query {
        base: options.base.clone(),
        scope: options.scope,
        filter: format!("({}={})", names.mail, ldap_escape(mail.as_str())),
        attributes: with_stamps(own.into_iter().filter(|name| !name.is_empty())),
        entries_max: SAME_MAIL_MAX,
        cut: true,
    }
}

/// Asks for the groups that name an account by address or DN. `None` where no attribute says so.
pub(super) fn groups_query(options: &LdapOptions, group_base: &str, mail: &Mail, dn: &str) -> Option<Query> {
    let names = &options.attributes;
    let member = |name: &str, value: &str| {
        if name.is_empty() { String::new() } else { format!("({name}={})", ldap_escape(value)) }
    };
    let members = member(&names.member_uid, mail.as_str()) + &member(&names.member, dn);
    (!members.is_empty()).then(|| Query {
        filter: format!("(&{}(|{members}))", group_filter(options)),
        entries_max: GROUPS_MAX,
        ..all_groups_query(options, group_base)
    })
}

/// Asks for all groups that count, without their members.
pub(super) fn all_groups_query(options: &LdapOptions, group_base: &str) -> Query {
    Query {
        base: group_base.to_owned(),
        scope: options.group_scope,
        filter: group_filter(options),
        attributes: with_stamps([&options.attributes.group_name].into_iter()),
        entries_max: GROUPS_MAX,
        cut: false,
    }
}

/// Asks for all accounts with a key.
pub(super) fn keys_query(options: &LdapOptions) -> Query {
    let names = &options.attributes;
    Query {
        base: options.base.clone(),
        scope: options.scope,
        filter: format!("(&({}=*)({}=*))", names.mail, names.keys),
        attributes: vec![names.mail.clone(), names.keys.clone()],
        entries_max: ACCOUNTS_MAX,
        cut: false,
    }
}

fn group_filter(options: &LdapOptions) -> String {
    format!("({}={}*)", options.attributes.group_name, ldap_escape(options.attributes.group_prefix.as_str()))
}

fn with_stamps<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.cloned().chain(STAMPS.map(str::to_owned)).collect()
}

/// The one address of an entry. `Err`: it has several, so it is nobody's.
pub(super) fn mail_of(options: &LdapOptions, entry: &Entry) -> Result<Option<Mail>, ()> {
    let mut values = entry.values(&options.attributes.mail);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(mail), None) => Ok(std::str::from_utf8(mail).ok().and_then(|mail| Mail::parse(mail).ok())),
        (Some(_), Some(_)) => Err(()),
    }
}

/// An account out of its entry, with the groups that the entry itself names.
pub(super) fn account_of(options: &LdapOptions, group_base: &str, entry: &Entry, mail: Mail) -> Account {
    let names = &options.attributes;
    let own = entry.values(&names.member_of).filter(|_| !names.member_of.is_empty());
    let groups = own.filter_map(|dn| group_of_dn(options, group_base, dn)).take(GROUPS_MAX).collect();
    Account {
        state: values::state(entry.values(&names.enabled)),
        keys: values::keys(entry.values(&names.keys), &mail),
        groups,
        mail,
    }
}

/// Names of a group that count. Names have no case in a directory, but they have here.
pub(super) fn group_names(options: &LdapOptions, entry: &Entry) -> Vec<String> {
    let names = entry.values(&options.attributes.group_name).filter_map(values::group_name);
    names.filter(|name| name.starts_with(&options.attributes.group_prefix)).map(str::to_owned).collect()
}

/// The name of a group out of its DN, where that lies in its place. A DN that is written in any but the plainest way is none.
fn group_of_dn(options: &LdapOptions, group_base: &str, dn: &[u8]) -> Option<String> {
    let (first, rest) = std::str::from_utf8(dn).ok()?.split_once(',')?;
    let (attribute, name) = first.split_once('=')?;
    let (base, rest) = (plain(group_base), plain(rest));
    let placed = rest == base
        || (options.group_scope == LdapScope::Subtree && rest.strip_suffix(&base).is_some_and(|up| up.ends_with(',')));
    let names = &options.attributes;
    if !placed || !attribute.trim().eq_ignore_ascii_case(&names.group_name) || !name.starts_with(&names.group_prefix) {
        return None;
    }
    values::group_name(name.as_bytes()).map(str::to_owned)
}

fn plain(dn: &str) -> String {
    let trimmed = |part: &str| part.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    dn.split(',').map(trimmed).collect::<Vec<_>>().join(",").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_never_becomes_part_of_the_filter() {
        let options = LdapOptions { base: "dc=x".into(), ..LdapOptions::default() };
        let mail = Mail::parse("a@x").unwrap();
        let dn = "cn=a*)(|(mail=*\\\0),dc=x";
        let query = groups_query(&options, "ou=groups,dc=x", &mail, dn).unwrap();
        let escaped = "cn=a\\2a\\29\\28|\\28mail=\\2a\\5c\\00\\29,dc=x";
        assert_eq!(query.filter, format!("(&(cn=scm_*)(|(memberUid=a@x)(member={escaped})))"));
        assert!(ldap3::parse_filter(&query.filter).is_ok());
    }

    #[test]
    fn only_plain_groups_in_their_place_count_as_member_of() {
        let mut options = LdapOptions::default();
        let found = |options: &LdapOptions, dn: &str| group_of_dn(options, "ou=Groups,dc=x", dn.as_bytes());
        assert_eq!(found(&options, "cn=scm_a,ou=groups,dc=x").as_deref(), Some("scm_a"));
        assert_eq!(found(&options, "CN=scm_a, OU = groups , dc=x").as_deref(), Some("scm_a"));
        for odd in [
            "cn=scm_a,ou=sub,ou=groups,dc=x",
            "cn=scm_a,ou=other,dc=x",
            "cn=scm_a\\,ou=groups,dc=x",
            "cn=scm_*,ou=groups,dc=x",
            "cn=SCM_a,ou=groups,dc=x",
            "cn=other,ou=groups,dc=x",
            "ou=scm_a,ou=groups,dc=x",
            "cn=scm_a+ou=b,ou=groups,dc=x",
            "cn=scm_a",
            "",
        ] {
            assert_eq!(found(&options, odd), None, "{odd}");
        }
        options.group_scope = LdapScope::Subtree;
        assert_eq!(found(&options, "cn=scm_a,ou=sub,ou=groups,dc=x").as_deref(), Some("scm_a"));
        assert_eq!(found(&options, "cn=scm_a,ou=subou=groups,dc=x"), None);
    }
}
