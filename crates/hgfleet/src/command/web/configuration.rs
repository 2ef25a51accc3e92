//! The configuration files that stock reads: the system's, the user's, what `HGRCPATH` names, `--config`, and a repository's own `hgrc` with what it
//! includes, as far as its owner is trusted (`hg help config`).

use anyhow::{Context, bail};
use hg_store::config::{Config, ConfigError, Configure};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that one file may bring, by including them and so on.
const INCLUDES_MAX: usize = 64;
/// How deep files include others.
const DEPTH_MAX: usize = 16;

/// What counts for every repository, and how its own `hgrc` comes in between.
pub struct Configuration {
    below: Config,
    above: Config,
    reads_repositories: bool,
}

impl Configuration {
    /// Reads the system's and the user's files, and one for this server (`--web-conf`) if there is one; `set` are `section.name=value`
    /// of the command line.
    ///
    /// # Errors
    /// A file that is there and can't be read, or parsed; a setting that is none.
    pub fn read(web_conf: Option<&Path>, set: &[String]) -> anyhow::Result<Configuration> {
        let mut below = Config::default();
        for file in files_of_system_and_user() {
            if let Some(config) = Reading::new().file(&file)? {
                below.lay_over(config);
            }
        }
        if let Some(path) = web_conf {
            let config = Reading::new().file(path)?;
            below.lay_over(config.with_context(|| format!("{}: no such file", path.display()))?);
        }
        let mut above = Config::default();
        for setting in set {
            match setting.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value))) {
                Some(((section, key), value)) if !section.is_empty() && !key.is_empty() => {
                    above.set(section.trim().as_bytes(), key.trim().as_bytes(), value.trim().as_bytes());
                }
                _ => bail!("{setting:?} sets nothing; write --config section.name=value"),
            }
        }
        Ok(Configuration { below, above, reads_repositories: std::env::var_os("HGRCSKIPREPO").is_none() })
    }

    /// Sets what an option of the command line says.
    pub fn set(&mut self, key: &str, value: &str) {
        self.above.set(b"web", key.as_bytes(), value.as_bytes());
    }

    /// What counts where no repository says anything.
    pub fn of_server(&self) -> Config {
        self.layers(None)
    }

    fn layers(&self, own: Option<Config>) -> Config {
        let mut config = self.below.clone();
        own.into_iter().for_each(|own| config.lay_over(own));
        config.lay_over(self.above.clone());
        config
    }

    /// Whether what a repository's owner wrote counts: this user's own file, or one of those whom `[trusted]` names. Says so where it does not, in stock's words.
    fn trusts(&self, hgrc: &Path) -> bool {
        let Ok(metadata) = fs::metadata(hgrc) else { return true };
        if metadata.uid() == rustix::process::geteuid().as_raw() {
            return true;
        }
        let layers = self.layers(None);
        let user = name_or_number(Path::new("/etc/passwd"), metadata.uid());
        let group = name_or_number(Path::new("/etc/group"), metadata.gid());
        let is_named = |key: &[u8], name: &str| {
            let list = layers.get(b"trusted", key).unwrap_or_default();
            let mut names = list.split(|byte| *byte == b',' || byte.is_ascii_whitespace());
            names.any(|other| other == b"*" || other == name.as_bytes())
        };
        let trusts = is_named(b"users", &user) || is_named(b"groups", &group);
        if !trusts {
            tracing::warn!("not trusting file {} from untrusted user {user}, group {group}", hgrc.display());
        }
        trusts
    }
}

impl Configure for Configuration {
    fn config(&self, files: &[PathBuf], hgrc: Option<&[u8]>) -> Result<Config, ConfigError> {
        let Some(hgrc) = hgrc.filter(|_| self.reads_repositories) else { return Ok(self.layers(None)) };
        let path = files.last().map_or(Path::new("hgrc"), PathBuf::as_path);
        let mut reading = Reading::new();
        let mut own = reading.parse(hgrc, path, 0)?;
        if let Some(error) = reading.failed {
            tracing::warn!(hgrc = %path.display(), error, "an included file is passed over");
        }
        if !files.iter().all(|file| self.trusts(file)) {
            // What stock heeds of one that it does not trust.
            own.keep_only(|section, key| section == b"web" || (section == b"phases" && key == b"publish"));
        }
        Ok(self.layers(Some(own)))
    }
}

/// The files of `HGRCPATH`, else the system's and the user's, in the order in which they count.
fn files_of_system_and_user() -> Vec<PathBuf> {
    if let Some(paths) = std::env::var_os("HGRCPATH") {
        let named = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
        return named.map(|path| expanded(path.as_os_str())).flat_map(|path| files_at(&path)).collect();
    }
    let mut files = vec![PathBuf::from("/etc/mercurial/hgrc")];
    files.extend(files_at(Path::new("/etc/mercurial/hgrc.d")));
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        let settings = std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        files.extend([home.join(".hgrc"), settings.join("hg/hgrc")]);
    }
    files
}

/// A file, or a folder's files that end with `.rc`.
fn files_at(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rc"));
    files.sort();
    files
}

/// Reads one file with what it includes.
struct Reading {
    includes: usize,
    /// The first include that could not be read.
    failed: Option<String>,
}

impl Reading {
    fn new() -> Reading {
        Reading { includes: 0, failed: None }
    }

    /// Reads a file that may not be there; all that it includes must be well.
    fn file(mut self, path: &Path) -> anyhow::Result<Option<Config>> {
        let Some(content) = content(path).with_context(|| format!("can't read {}", path.display()))? else {
            return Ok(None);
        };
        let config = self.parse(&content, path, 0).with_context(|| format!("{}", path.display()))?;
        match self.failed {
            Some(error) => bail!("{}: {error}", path.display()),
            None => Ok(Some(config)),
        }
    }

    fn parse(&mut self, bytes: &[u8], path: &Path, depth: usize) -> Result<Config, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Config::parse_with(bytes, &mut |included| {
            let included = folder.join(expanded(OsStr::from_bytes(included)));
            self.include(&included, depth + 1).unwrap_or_else(|error| {
                self.failed.get_or_insert(format!("can't include {}: {error}", included.display()));
                Config::default()
            })
        })
    }

    fn include(&mut self, path: &Path, depth: usize) -> Result<Config, String> {
        self.includes += 1;
        if self.includes > INCLUDES_MAX || depth > DEPTH_MAX {
            return Err("too many files include each other".to_owned());
        }
        match content(path).map_err(|error| error.to_string())? {
            Some(content) => self.parse(&content, path, depth).map_err(|error| error.to_string()),
            None => Ok(Config::default()),
        }
    }
}

/// A file's content; `None` where there is no such file.
fn content(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let kind = file.metadata()?.file_type();
    if kind.is_char_device() {
        // `HGRCPATH=/dev/null` is how people say that there shall be none.
        return Ok(None);
    }
    if !kind.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)? as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(content))
}

/// A path with its `~/`, `$NAME` and `${NAME}` put in; what is not set stays as it is written.
pub(super) fn expanded(path: &OsStr) -> PathBuf {
    let mut rest = path.as_bytes();
    let mut whole = Vec::new();
    if let (Some(below), Some(home)) = (rest.strip_prefix(b"~/"), std::env::var_os("HOME")) {
        whole.extend_from_slice(home.as_bytes());
        whole.push(b'/');
        rest = below;
    }
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        whole.extend_from_slice(&rest[..at]);
        let behind = &rest[at + 1..];
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let (name, length) = match behind.strip_prefix(b"{") {
            Some(braced) => {
                let end = braced.iter().position(|byte| *byte == b'}').unwrap_or(0);
                (&braced[..end], end + 2)
            }
            None => {
                let end = behind.iter().position(|byte| !is_word(byte)).unwrap_or(behind.len());
                (&behind[..end], end)
            }
        };
        match std::env::var_os(OsStr::from_bytes(name)).filter(|_| !name.is_empty()) {
            Some(value) => {
                whole.extend_from_slice(value.as_bytes());
                rest = &behind[length..];
            }
            None => {
                whole.push(b'$');
                rest = behind;
            }
        }
    }
    whole.extend_from_slice(rest);
    PathBuf::from(OsString::from_vec(whole))
}

/// Who runs this process: the name in `/etc/passwd`, or the number of one who has none there.
pub fn user() -> String {
    name_or_number(Path::new("/etc/passwd"), rustix::process::geteuid().as_raw())
}

fn name_or_number(file: &Path, number: u32) -> String {
    let name = name_of(file, number);
    name.map_or_else(|| number.to_string(), |name| String::from_utf8_lossy(&name).into_owned())
}

/// The name that a file such as `/etc/passwd` gives a number.
fn name_of(file: &Path, number: u32) -> Option<Vec<u8>> {
    let text = fs::read(file).ok()?;
    let number = number.to_string();
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        (fields.nth(1)? == number.as_bytes()).then(|| name.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_read_and_circles_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "[web]\nname = a\n%include b\n%include absent\n").expect("written");
        fs::write(at("b"), "[web]\ndescription = b\n").expect("written");
        let config = Reading::new().file(&at("a")).expect("read").expect("there");
        assert_eq!(config.get(b"web", b"name"), Some(b"a".as_slice()));
        assert_eq!(config.get(b"web", b"description"), Some(b"b".as_slice()));
        fs::write(at("b"), "%include a\n").expect("written");
        let error = Reading::new().file(&at("a")).expect_err("a circle").to_string();
        assert!(error.contains("too many files include each other"), "{error}");
        assert!(Reading::new().file(folder.path()).is_err());
        assert!(Reading::new().file(&at("absent")).expect("looked for").is_none());
        assert!(Reading::new().file(Path::new("/dev/null")).expect("looked for").is_none());
        fs::write(at("b"), "words\n").expect("written");
        assert!(Reading::new().file(&at("a")).is_err());
    }

    #[test]
    fn paths_are_expanded() {
        let home = std::env::var("HOME").expect("a home");
        for (path, expected) in [
            ("~/x", format!("{home}/x")),
            ("$HOME/x", format!("{home}/x")),
            ("a/${HOME}b", format!("a/{home}b")),
            ("a$", "a$".to_owned()),
            ("a${", "a${".to_owned()),
            ("$HGFLEET_NOT_SET/x", "$HGFLEET_NOT_SET/x".to_owned()),
            ("~ann/x", "~ann/x".to_owned()),
        ] {
            assert_eq!(expanded(OsStr::new(path)), PathBuf::from(expected), "{path}");
        }
    }
}
