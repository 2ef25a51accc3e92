//! A repository's `hgrc`: the settings that a server heeds, each with the values that it understands.

use hg_store::Filter;
use hg_store::change::ChangeWriter;
use hg_store::config::edited;
use hgfleet_log::StoreKind;

use super::master::{Master, No};
use super::read_only;
use super::repositories::{Author, blocking, finish, parse, text};
use crate::client::ConfigAnswer;

/// Longest text that a setting may have, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Settings that one request may change.
const CHANGES_MAX: usize = 64;

/// What a setting's value may be.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// A truth value, as Mercurial writes it.
    Truth,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// Nothing, which turns an extension on, or `!`, which turns it off.
    Extension,
    /// Some of these words, or a truth value.
    Words(&'static [&'static str]),
    /// One of the views that never show a secret changeset.
    View,
    /// One line for people.
    Text,
}

/// What has an effect here, and so may be set.
const SETTINGS: [(&str, Value); 35] = [
    ("extensions.largefiles", Value::Extension),
    ("extensions.lfs", Value::Extension),
    ("phases.publish", Value::Truth),
    ("web.name", Value::Text),
    ("web.description", Value::Text),
    ("web.contact", Value::Text),
    ("experimental.evolution", Value::Words(&["all", "createmarkers", "exchange", "allowunstable"])),
    ("experimental.evolution.createmarkers", Value::Truth),
    ("experimental.evolution.exchange", Value::Truth),
    ("experimental.httppostargs", Value::Truth),
    ("experimental.server.allow-hidden-access", Value::Text),
    ("experimental.stream-v3", Value::Truth),
    ("extensions.clonebundles", Value::Extension),
    ("server.bundle1", Value::Truth),
    ("server.bundle1.pull", Value::Truth),
    ("server.bundle1.push", Value::Truth),
    ("server.bundle1gd", Value::Truth),
    ("server.bundle1gd.pull", Value::Truth),
    ("server.bundle1gd.push", Value::Truth),
    ("server.compressionengines", Value::Words(&["zstd", "zlib", "bz2", "none"])),
    ("server.concurrent-push-mode", Value::Words(&["check-related", "strict"])),
    ("server.disablefullbundle", Value::Truth),
    ("server.maxhttpheaderlen", Value::Number(64, 16_000)),
    ("server.pullbundle", Value::Truth),
    ("server.view", Value::View),
    ("web.allow-pull", Value::Truth),
    ("web.allow_read", Value::Text),
    ("web.deny_read", Value::Text),
    ("web.hidden", Value::Truth),
    ("web.view", Value::View),
    ("server.uncompressed", Value::Truth),
    ("server.preferuncompressed", Value::Truth),
    ("server.zstdlevel", Value::Number(1, 22)),
    ("server.zliblevel", Value::Number(-1, 9)),
    (read_only::KEY, Value::Text),
];

impl Master {
    /// Sets and unsets keys of a repository's `hgrc`, in one record; returns what is in it then.
    pub(crate) async fn config(
        &self,
        name: &str,
        set: Vec<(String, String)>,
        unset: Vec<String>,
        author: Author,
    ) -> Result<ConfigAnswer, No> {
        let name = parse(name)?;
        if set.is_empty() && unset.is_empty() {
            let hgrc = self.grant(&name)?.0.state.hgrc.unwrap_or_default();
            return Ok(ConfigAnswer { stored: None, hgrc });
        }
        if set.len() + unset.len() > CHANGES_MAX {
            return Err(No::refused(format!(
                "more than {CHANGES_MAX} settings are changed at once. Change them one after the other"
            )));
        }
        let mut changes = Vec::new();
        for (key, value) in &set {
            changes.push((split(key)?, Some(checked(key, value)?)));
        }
        for key in &unset {
            changes.push((split(key)?, None));
        }
        let (lock, grant, digest) = self.lock(&name).await?;
        let before = grant.state.hgrc;
        let mut hgrc = before.clone().unwrap_or_default();
        for ((section, key), value) in changes {
            hgrc = edited(&hgrc, section.as_bytes(), key.as_bytes(), value.map(str::as_bytes)).map_err(|error| {
                No::refused(format!("the hgrc of {name} can't be edited ({error}). Unset what stands in the way"))
            })?;
        }
        if hgrc == before.clone().unwrap_or_default() {
            return Ok(ConfigAnswer { stored: None, hgrc });
        }
        let (run, replica, content) = (self.run.clone(), self.replica.clone(), hgrc.clone());
        let made = blocking(move || {
            let mut writer = ChangeWriter::new(tempfile::tempfile_in(&run).map_err(text)?).map_err(text)?;
            let old_bytes = before.map(|before| before.len() as u64);
            match old_bytes {
                Some(_) => writer.replace(b"hgrc", old_bytes, &content).map_err(text)?,
                None => writer.create(b"hgrc", &content).map_err(text)?,
            }
            finish(writer, &name, |name, change| replica.digest_after(name, change))
        });
        let (change, after) = made.await?;
        let stored = self.store(StoreKind::Alter, Some(digest), Some(after), change, lock, author).await?;
        Ok(ConfigAnswer { stored: Some(stored), hgrc })
    }
}

/// Section and key of `section.key`. What may be unset need not be known here: it only goes away.
fn split(setting: &str) -> Result<(&str, &str), No> {
    let (section, key) = setting.split_once('.').unwrap_or_default();
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
    };
    match is_word(section) && is_word(key) {
        true => Ok((section, key)),
        false => Err(No::refused(format!("{setting:?} is no setting. Write section.name, as in web.description"))),
    }
}

/// Returns the value, as it is to stand in the file.
pub(super) fn checked<'v>(setting: &str, value: &'v str) -> Result<&'v str, No> {
    let Some((_, kind)) = SETTINGS.iter().find(|(known, _)| *known == setting) else {
        let known: Vec<&str> = SETTINGS.iter().map(|(known, _)| *known).collect();
        return Err(No::refused(format!(
            "{setting:?} can't be set: it would have no effect here. These can: {}",
            known.join(", ")
        )));
    };
    let value = value.trim();
    let expected = match kind {
        Value::Truth if is_truth(value) => return Ok(value),
        Value::Truth => "true or false".to_owned(),
        Value::Extension if matches!(value, "" | "!") => return Ok(value),
        Value::Extension => "nothing, for on, or !, for off".to_owned(),
        Value::Number(least, most) => match value.parse() {
            Ok(number) if (*least..=*most).contains(&number) => return Ok(value),
            _ => format!("a number from {least} to {most}"),
        },
        Value::Words(words) => {
            let mut given = value.split([',', ' ']).filter(|word| !word.is_empty()).peekable();
            if is_truth(value) || (given.peek().is_some() && given.all(|word| words.contains(&word))) {
                return Ok(value);
            }
            format!("true, false, or some of {}", words.join(", "))
        }
        Value::View if Filter::parse(value.as_bytes()).is_some() => return Ok(value),
        Value::View => format!(
            "one of {}: other views would show secret changesets, which never leave",
            Filter::ALL.map(Filter::as_str).join(", ")
        ),
        Value::Text if value.len() <= TEXT_BYTES_MAX && !value.chars().any(hides) => return Ok(value),
        Value::Text => format!("one line of at most {TEXT_BYTES_MAX} bytes without control characters"),
    };
    let shown: String = value.chars().take(40).collect();
    Err(No::refused(format!("{shown:?} is no value for {setting}. Give it {expected}")))
}

fn is_truth(value: &str) -> bool {
    let words = ["1", "yes", "true", "on", "always", "0", "no", "false", "off", "never"];
    words.contains(&value.to_ascii_lowercase().as_str())
}

/// Control characters, and those that turn the direction of what follows.
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_an_effect_can_be_set_and_only_to_what_it_understands() {
        let good = [
            ("phases.publish", "False"),
            ("web.description", "  a <b> of Größe "),
            ("web.name", ""),
            ("experimental.evolution", "createmarkers, exchange"),
            ("experimental.evolution", "true"),
            ("server.zstdlevel", "22"),
            ("server.view", "immutable"),
            ("web.view", "served.hidden"),
            ("experimental.server.allow-hidden-access", "*"),
        ];
        for (setting, value) in good {
            assert_eq!(checked(setting, value).ok(), Some(value.trim()), "{setting} = {value}");
        }
        let bad = [
            ("phases.publish", "maybe"),
            ("web.description", "a\n[hooks]"),
            ("web.description", "a\u{202e}b"),
            ("experimental.evolution", ""),
            ("experimental.evolution", "everything"),
            ("server.zstdlevel", "23"),
            ("server.view", "visible"),
            ("server.view", "true"),
            ("web.view", "all"),
            ("web.view", ""),
            ("hooks.pretxnchangegroup", "rm -rf /"),
            ("extensions.strip", ""),
            ("web.description", &"x".repeat(5000)),
        ];
        for (setting, value) in bad {
            assert!(checked(setting, value).is_err(), "{setting} = {value}");
        }
        for setting in ["web", ".name", "web.", "we b.name", "web.na=me", "[a].b", "%include.x"] {
            assert!(split(setting).is_err(), "{setting}");
        }
        assert_eq!(split("experimental.evolution.exchange").ok(), Some(("experimental", "evolution.exchange")));
    }
}
