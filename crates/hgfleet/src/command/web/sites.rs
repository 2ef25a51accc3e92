//! Which repositories are served: one, folders, or what a configuration for `hgweb` says.

use super::configuration::expanded;
use anyhow::{Context, bail};
use hg_store::config::Config;
use hgfleet_mirror::http::Root;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep below a folder repositories are looked for.
const DEPTH_MAX: usize = 8;

/// Finds the repository that `hg` would work on: the one named, else the one in which this folder lies.
///
/// # Errors
/// There is none.
pub fn repository(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let is_one = |folder: &Path| folder.join(".hg").is_dir();
    if let Some(named) = named {
        return match is_one(named) {
            true => Ok(named.to_owned()),
            false => bail!("repository {} not found", named.display()),
        };
    }
    let here = std::env::current_dir().context("can't find out in which folder this is")?;
    let found = here.ancestors().find(|folder| is_one(folder));
    found.map(Path::to_owned).context("there is no Mercurial repository here (.hg not found)")
}

/// Reads `[paths]` and `[collections]` of a configuration for `hgweb` (`hg help hgweb`). Paths are relative to this folder.
///
/// # Errors
/// A name that can't be one in a URL, a path that is none, or nothing to serve at all.
pub fn of_configuration(config: &Config) -> anyhow::Result<Vec<Root>> {
    let mut roots = Vec::new();
    for (name, path) in config.section(b"paths") {
        let name = plain_name(name)?;
        let path = expanded(OsStr::from_bytes(path));
        let parts: Vec<&OsStr> = path.iter().collect();
        roots.push(match parts.last().map(|last| last.as_bytes()) {
            // With two stars stock looks within repositories too; here nothing in a repository is another.
            Some(b"*" | b"**") => Root { name, path: parent(&path), depth: DEPTH_MAX },
            Some(_) => Root { name, path, depth: 0 },
            None => bail!("{name:?} of [paths] has no path"),
        });
    }
    for (prefix, folder) in config.section(b"collections") {
        let (prefix, folder) = (expanded(OsStr::from_bytes(prefix)), expanded(OsStr::from_bytes(folder)));
        let name = folder.strip_prefix(&prefix).unwrap_or(Path::new(""));
        let name = plain_name(name.as_os_str().as_bytes())?;
        roots.push(Root { name, path: folder, depth: DEPTH_MAX });
    }
    if roots.is_empty() {
        bail!("there is nothing to serve. Write the section [paths] with lines `name = path`");
    }
    Ok(roots)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn plain_name(name: &[u8]) -> anyhow::Result<String> {
    let name = String::from_utf8(name.to_vec()).ok().map(|name| name.trim_matches('/').to_owned());
    let is_plain =
        |name: &String| name.is_empty() || name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    name.filter(is_plain).context("a name of [paths] or [collections] can't be one in a URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_collections_are_understood() {
        let config =
            Config::parse(b"[paths]\n/ = /srv/*\nteam/ = /home/team/**\none = /x/one\n[collections]\n/var = /var/hg\n");
        let roots = of_configuration(&config.expect("parsed")).expect("understood");
        let shown: Vec<_> = roots.iter().map(|root| (root.name.as_str(), root.path.to_str(), root.depth)).collect();
        assert_eq!(
            shown,
            [
                ("", Some("/srv"), 8),
                ("team", Some("/home/team"), 8),
                ("one", Some("/x/one"), 0),
                ("hg", Some("/var/hg"), 8)
            ]
        );
        for bad in ["", "[paths]\n../x = /x\n", "[paths]\nx =\n", "[paths]\n.hg = /x\n"] {
            assert!(of_configuration(&Config::parse(bad.as_bytes()).expect("parsed")).is_err(), "{bad}");
        }
    }
}
