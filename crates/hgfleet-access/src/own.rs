//! Repositories that belong to an account: `users/FOLDER/NAME`.
//!
//! The folder is the account's mail address with `_` in the place of the `@`. A host name has no `_` (RFC 952), so the last `_` of a
//! folder is where the `@` was, and no two addresses have the same folder. An address that would need more than that has none.

/// Where they lie.
const USERS: &str = "users/";

/// Why an account has no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFolder {
    /// What a repository's name can't have.
    #[error("its mail address has other characters than letters, digits, \".\", \"-\" and \"_\"")]
    Character,
    /// The address's host part could be taken for a part of another's user.
    #[error("its mail address has \"_\" behind the \"@\"")]
    Host,
}

/// Returns the folder of an account's repositories, `users/jane_example.com` for `jane@example.com`.
///
/// Whether that can begin a repository's name is for the grammar of names to say: `con.x@example.com` can't.
///
/// # Errors
/// An address that has no folder.
pub fn user_folder(mail: &str) -> Result<String, NoFolder> {
    let (user, host) = mail.split_once('@').ok_or(NoFolder::Character)?;
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if !is_plain(user) || !is_plain(host) {
        return Err(NoFolder::Character);
    }
    if host.contains('_') {
        return Err(NoFolder::Host);
    }
    Ok(format!("{USERS}{user}_{host}"))
}

/// Whether a repository lies in some account's folder.
pub fn is_user_repository(repository: &str) -> bool {
    repository.strip_prefix(USERS).is_some_and(|rest| rest.contains('/'))
}

/// Whether a repository lies in this account's folder.
pub(crate) fn is_owned_by(repository: &str, mail: &str) -> bool {
    user_folder(mail).is_ok_and(|folder| {
        repository.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Row L11 of the list of bad input.
    #[test]
    fn ordinary_addresses_have_a_folder_and_others_are_refused() {
        assert_eq!(user_folder("jane@example.com").as_deref(), Ok("users/jane_example.com"));
        assert_eq!(user_folder("first.last@sub-1.example.com").as_deref(), Ok("users/first.last_sub-1.example.com"));
        assert_eq!(user_folder("a_b@c").as_deref(), Ok("users/a_b_c"));
        assert_eq!(user_folder("a@b_c"), Err(NoFolder::Host));
        for mail in ["a_b", "@b", "a@", "a+b@c", "a@b@c", "a/b@c", "a@b/c", "é@b", "", "a b@c"] {
            assert_eq!(user_folder(mail), Err(NoFolder::Character), "{mail}");
        }
    }

    #[test]
    fn only_what_lies_in_the_folder_is_owned() {
        let jane = "jane@example.com";
        assert!(is_owned_by("users/jane_example.com/x", jane));
        assert!(is_owned_by("users/jane_example.com/x/y", jane));
        for other in
            ["users/jane_example.com", "users/jane_example.community/x", "users/jane/x", "jane_example.com/x", "users"]
        {
            assert!(!is_owned_by(other, jane), "{other}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Few letters, so that folders that could clash do come up.
        #[test]
        fn no_two_addresses_share_a_folder(one in "[ab_.@+-]{1,6}", other in "[ab_.@+-]{1,6}") {
            if let (Ok(folder), Ok(others)) = (user_folder(&one), user_folder(&other)) {
                prop_assert_eq!(folder == others, one == other);
            }
        }

        #[test]
        fn a_folder_leads_back_to_its_address(mail in "[aB1_.-]{1,6}@[aB1.-]{1,6}") {
            let folder = user_folder(&mail).expect("a plain address");
            let (user, host) = folder.strip_prefix(USERS).and_then(|name| name.rsplit_once('_')).expect("a folder");
            prop_assert_eq!(format!("{user}@{host}"), mail);
        }
    }
}
