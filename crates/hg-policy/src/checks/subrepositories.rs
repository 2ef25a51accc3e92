//! Subrepositories: which a checkout may fetch.
//!
//! `.hgsub` has lines `path = source`, and a section `[subpaths]` that rewrites sources. A client runs other programs for some sources; those
//! are never taken.

use hg_store::Node;
use hg_store::names::is_repository_folder;
use hg_store::observe::{ObservedEntry, ObservedFile, ObservedPush};

use super::{Check, Told, Verdict, bounded};
use crate::findings::{Findings, short};
use crate::pushed::PushedChangesets;
use crate::shown::shown;
use crate::wanted::WantedTexts;
use crate::{Subrepositories, SubrepositoriesAllowed};

const SOURCES: &[u8] = b".hgsub";
const STATE: &[u8] = b".hgsubstate";
/// Longest `.hgsub` or `.hgsubstate` that is looked at, bytes; a longer one is refused.
const BYTES_MAX: usize = 1 << 20;

struct SubrepositoryCheck {
    rule: Subrepositories,
    texts: WantedTexts,
    any: Findings,
    sources: Findings,
}

pub(super) fn new(rule: &Subrepositories) -> Result<Option<Box<dyn Check>>, String> {
    bounded(&rule.hosts)?;
    if rule.allowed != SubrepositoriesAllowed::Hosts && !rule.hosts.is_empty() {
        return Err("`hosts` of subrepositories count with `allowed = \"hosts\"` alone".to_owned());
    }
    Ok(Some(Box::new(SubrepositoryCheck {
        rule: rule.clone(),
        texts: WantedTexts::default(),
        any: Findings::default(),
        sources: Findings::default(),
    })))
}

impl SubrepositoryCheck {
    fn look(&mut self, changeset: Node, path: &[u8], text: &[u8]) {
        let faults = match path {
            _ if text.len() > BYTES_MAX => vec!["more than 1 MiB".to_owned()],
            SOURCES => source_faults(text, &self.rule),
            _ => state_faults(text),
        };
        for fault in faults {
            self.sources.add(|| format!("changeset {}, file {}: {fault}", short(&changeset), shown(path)));
        }
    }
}

impl Check for SubrepositoryCheck {
    fn entry(&mut self, entry: &ObservedEntry<'_>, pushed: &PushedChangesets) {
        if entry.path != SOURCES && entry.path != STATE {
            return;
        }
        let Some(brought) = entry.brought() else { return };
        let changeset = pushed.node(entry.changeset);
        match self.rule.allowed {
            SubrepositoriesAllowed::None => self.any.file(changeset, entry.path),
            _ => self.texts.want(entry.path, brought.node, changeset),
        }
    }

    fn file(&mut self, file: &ObservedFile<'_>, _: &PushedChangesets) {
        if let Some(changeset) = self.texts.take(file) {
            self.look(changeset, file.path, file.content());
        }
    }

    fn judge(&mut self, push: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let mut texts = std::mem::take(&mut self.texts);
        texts.rest(push, |changeset, path, text| self.look(changeset, path, text))?;
        verdict.refuse(&self.any, "subrepositories are not taken", "Remove the file from the changeset that brings it");
        let remedy = "Name a Mercurial repository that may be there in .hgsub, or remove the line";
        verdict.refuse(&self.sources, "a subrepository that a checkout must not fetch", remedy);
        Ok(())
    }
}

/// What is wrong with the lines of a `.hgsub`.
fn source_faults(text: &[u8], rule: &Subrepositories) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_rewrites = false;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let fault = match line {
            [] | [b'#' | b';', ..] => None,
            [b'%', ..] => Some("lines that begin with % are not taken".to_owned()),
            [b'[', ..] => {
                in_rewrites = line.starts_with(b"[subpaths]");
                None
            }
            // The value goes on: it is looked at as if it stood alone.
            [b' ' | b'\t', ..] => source_fault(line.trim_ascii(), rule),
            _ => match memchr::memchr(b'=', line) {
                Some(equals) => {
                    let (path, source) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
                    let path = if in_rewrites { None } else { path_fault(path) };
                    path.or_else(|| source_fault(source, rule))
                }
                None => Some(format!("{}: no source", shown(line))),
            },
        };
        faults.extend(fault);
    }
    faults
}

/// What is wrong with a source.
fn source_fault(source: &[u8], rule: &Subrepositories) -> Option<String> {
    let told = |what: &str| Some(format!("{}: {what}", shown(source)));
    let Ok(text) = std::str::from_utf8(source) else { return told("no UTF-8") };
    let (kind, place) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((kind, place)) => (kind, place.trim()),
        None => ("hg", text),
    };
    if kind != "hg" {
        return told("another system's repository");
    }
    let lower = place.to_ascii_lowercase();
    if place.chars().any(|letter| letter.is_control()) || lower.contains("%0") || lower.contains("%1") {
        return told("a control character");
    }
    let Some((scheme, rest)) = lower.split_once("://") else {
        // `ext::`, `file:`, and `host:path`, which other tools give to a shell.
        let beginning = lower.split('/').next().unwrap_or_default();
        return match place {
            "" => None,
            _ if place.starts_with('-') => told("it begins like an option"),
            _ if beginning.contains(':') => told("no address of a Mercurial repository"),
            _ if place.starts_with('/') => told("a path of one machine"),
            _ => None,
        };
    };
    if !matches!(scheme, "http" | "https" | "ssh") {
        return told("only https, http and ssh are taken");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let is_option = |part: &str| part.starts_with('-') || part.starts_with("%2d");
    if name.is_empty() || authority.split(['@', ':']).any(is_option) {
        return told("a host that begins like an option, or none");
    }
    match rule.allowed {
        SubrepositoriesAllowed::Hosts if !rule.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) => {
            told("this host is none of those that may be")
        }
        _ => None,
    }
}

/// What is wrong with the place of a subrepository in the checkout.
fn path_fault(path: &[u8]) -> Option<String> {
    let bad = |part: &[u8]| part.is_empty() || part == b".." || is_repository_folder(part);
    let is_bad =
        path.split(|byte| matches!(byte, b'/' | b'\\')).any(bad) || path.contains(&b':') || path.starts_with(b"-");
    is_bad.then(|| format!("{}: no place within the checkout", shown(path)))
}

/// What is wrong with the lines of a `.hgsubstate`: a revision, a blank, a path.
fn state_faults(text: &[u8]) -> Vec<String> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let fault = |line: &[u8]| {
        let line = line.trim_ascii();
        match memchr::memchr(b' ', line) {
            Some(blank) if line[..blank].iter().all(u8::is_ascii_hexdigit) => path_fault(line[blank..].trim_ascii()),
            _ => Some(format!("{}: no revision", shown(line))),
        }
    };
    lines.filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Subrepositories {
        Subrepositories::default()
    }

    #[test]
    fn sources_for_which_a_client_runs_something_else_are_never_taken() {
        for text in [
            "a = [git]https://example.com/x",
            "a = [git]ext::sh -c touch% /tmp/x",
            "a = ext::sh -c x",
            "a = [svn]https://example.com/x",
            "a = -oProxyCommand=x",
            "a = ssh://-oProxyCommand=touch/x",
            "a = ssh://%2doProxyCommand=touch/x",
            "a = ssh://user@-oProxyCommand=touch/x",
            "a = ssh:///x",
            "a = file:///etc",
            "a = /etc/x",
            "a = host:path",
            "a = https://example.com/%0ax",
            "a =\n  [git]x",
            "%include other",
            "[subpaths]\nhttps://(.*) = ext::$1",
            "../a = https://example.com/a",
            ".hg/a = https://example.com/a",
            "a/.HG = https://example.com/a",
            "a",
        ] {
            assert_eq!(source_faults(text.as_bytes(), &all()).len(), 1, "N4 {text}");
        }
        for text in [
            "",
            "# a = ext::x",
            "a = https://example.com/x\nlib/b = ../b\n",
            "a = [hg]ssh://hg@example.com:22//x",
            "[subpaths]\nhttp://(.*) = https://$1\n",
            "a = b",
        ] {
            assert_eq!(source_faults(text.as_bytes(), &all()), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn only_given_hosts() {
        let rule = Subrepositories { allowed: SubrepositoriesAllowed::Hosts, hosts: vec!["hg.example.com".into()] };
        for (text, faults) in [
            ("a = https://hg.example.com/x", 0),
            ("a = ssh://hg@HG.example.com:2222/x", 0),
            ("a = ../x", 0),
            ("a = https://hg.example.com.evil.org/x", 1),
            ("a = https://hg.example.com@evil.org/x", 1),
            ("a = https://evil.org/hg.example.com", 1),
        ] {
            assert_eq!(source_faults(text.as_bytes(), &rule).len(), faults, "N4 {text}");
        }
    }

    #[test]
    fn states_name_revisions_and_places() {
        let hex = "1".repeat(40);
        assert_eq!(state_faults(format!("{hex} a\n{hex} lib/b\n").as_bytes()), Vec::<String>::new());
        for bad in [format!("{hex} ../a"), format!("{hex} .hg/x"), "--config=x a".to_owned(), hex] {
            assert_eq!(state_faults(bad.as_bytes()).len(), 1, "N4 {bad}");
        }
    }
}
