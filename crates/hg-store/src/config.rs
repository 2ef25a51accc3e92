//! Mercurial's configuration grammar, as far as a repository's `hgrc` needs it.
//!
//! Sections, `key = value`, continuation lines, comments, `%unset`. No file is ever opened here: what a `%include` brings is for the
//! caller to say, and nothing where it says nothing.

use std::path::PathBuf;

/// Sections, keys and values in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    items: Vec<Item>,
    /// Sections and keys that `%unset` takes away from what lies below.
    unset: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Says what a repository's configuration is, where that is more than its `hgrc`.
pub trait Configure: Send + Sync {
    /// Returns the configuration of a repository whose `hgrc` has this content, which comes from these files, one after the other,
    /// as far as they are there.
    ///
    /// # Errors
    /// An `hgrc` that can't be parsed.
    fn config(&self, files: &[PathBuf], hgrc: Option<&[u8]>) -> Result<Config, ConfigError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    section: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A line that isn't one of the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: unexpected text")]
pub struct ConfigError {
    /// The line, counted from 1.
    pub line: usize,
}

impl Config {
    /// Parses a file's content; includes bring nothing.
    pub fn parse(bytes: &[u8]) -> Result<Config, ConfigError> {
        Config::parse_with(bytes, &mut |_| Config::default())
    }

    /// Parses a file's content; `include` is given the path behind each `%include`, as it is written, and says what is in that file.
    ///
    /// # Errors
    /// A line that isn't one of the grammar.
    pub fn parse_with(bytes: &[u8], include: &mut dyn FnMut(&[u8]) -> Config) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let mut section = Vec::new();
        // Whether an indented line goes on with the last item.
        let mut open = false;
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let text = line.trim_ascii();
            let comment = line.starts_with(b"#") || line.starts_with(b";");
            if open && comment {
                continue;
            }
            if open && line.first().is_some_and(u8::is_ascii_whitespace) && !text.is_empty() {
                if let Some(item) = config.items.last_mut() {
                    item.value.push(b'\n');
                    item.value.extend_from_slice(text);
                }
                continue;
            }
            open = false;
            if comment || text.is_empty() {
                continue;
            }
            if let Some(path) = directive(line, b"%include") {
                config.lay_over(include(path));
                continue;
            }
            if let Some(name) = line.strip_prefix(b"[").and_then(section_name) {
                section = name.to_vec();
            } else if let Some((key, value)) = split_item(line) {
                config.items.push(Item { section: section.clone(), key: key.to_vec(), value: value.to_vec() });
                open = true;
            } else if let Some(key) = directive(line, b"%unset") {
                config.unset(&section, key);
            } else {
                return Err(ConfigError { line: number + 1 });
            }
        }
        Ok(config)
    }

    fn unset(&mut self, section: &[u8], key: &[u8]) {
        self.items.retain(|item| item.section != section || item.key != key);
        self.unset.push((section.to_vec(), key.to_vec()));
    }

    /// Puts what another file says over this.
    pub fn lay_over(&mut self, above: Config) {
        for (section, key) in &above.unset {
            self.unset(section, key);
        }
        self.items.extend(above.items);
    }

    /// Sets a key.
    pub fn set(&mut self, section: &[u8], key: &[u8], value: &[u8]) {
        self.items.push(Item { section: section.to_vec(), key: key.to_vec(), value: value.to_vec() });
    }

    /// Forgets what does not count, by section and key.
    pub fn keep_only(&mut self, counts: impl Fn(&[u8], &[u8]) -> bool) {
        self.items.retain(|item| counts(&item.section, &item.key));
        self.unset.retain(|(section, key)| counts(section, key));
    }

    /// The last value of a key.
    pub fn get(&self, section: &[u8], key: &[u8]) -> Option<&[u8]> {
        let found = self.items.iter().rfind(|item| item.section == section && item.key == key)?;
        Some(&found.value)
    }

    /// A truth value: `1`, `yes`, `true`, `on`, `always` and their opposites, of any case; else `None`.
    pub fn get_bool(&self, section: &[u8], key: &[u8]) -> Option<bool> {
        match self.get(section, key)?.to_ascii_lowercase().as_slice() {
            b"1" | b"yes" | b"true" | b"on" | b"always" => Some(true),
            b"0" | b"no" | b"false" | b"off" | b"never" => Some(false),
            _ => None,
        }
    }

    /// A whole number; else `None`.
    pub fn get_number(&self, section: &[u8], key: &[u8]) -> Option<i64> {
        std::str::from_utf8(self.get(section, key)?).ok()?.parse().ok()
    }

    /// All keys of a section with their values, in the order of the file; a key given twice is there twice.
    pub fn section(&self, section: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let items = self.items.iter().filter(move |item| item.section == section);
        items.map(|item| (item.key.as_slice(), item.value.as_slice()))
    }

    /// The sections that have a key, in the order of the file, each once.
    pub fn sections(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = Vec::new();
        for item in &self.items {
            if !names.contains(&item.section.as_slice()) {
                names.push(&item.section);
            }
        }
        names
    }
}

/// Returns a file's content with a key set, or without it (`None`). All other lines stay as they are, comments too.
///
/// # Errors
/// A file that does not parse, or a key or value by which the file would say something else.
pub fn edited(bytes: &[u8], section: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<Vec<u8>, ConfigError> {
    Config::parse(bytes)?;
    let mut lines: Vec<&[u8]> = Vec::new();
    let (mut within, mut dropping) = (Vec::new(), false);
    // Behind the section's last line that says something.
    let mut place = None;
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for line in text.split(|byte| *byte == b'\n').filter(|_| !text.is_empty()) {
        let comment = line.starts_with(b"#") || line.starts_with(b";");
        let blank = line.trim_ascii().is_empty();
        let goes_on = line.first().is_some_and(u8::is_ascii_whitespace) && !blank;
        if dropping && goes_on {
            continue;
        }
        // A comment does not end an item that goes on behind it.
        dropping &= comment;
        if !comment && !goes_on && !blank {
            if let Some(name) = line.strip_prefix(b"[").and_then(section_name) {
                within = name.to_vec();
            } else if within == section && split_item(line).is_some_and(|(name, _)| name == key) {
                dropping = true;
                continue;
            }
        }
        lines.push(line);
        if within == section && !blank {
            place = Some(lines.len());
        }
    }
    let header = [b"[", section, b"]"].concat();
    let item = value.map(|value| [key, b" = ", value].concat());
    if let Some(item) = &item {
        let place = place.unwrap_or_else(|| {
            lines.push(&header);
            lines.len()
        });
        lines.insert(place, item);
    }
    let mut edited = lines.join(&b'\n');
    if !edited.is_empty() {
        edited.push(b'\n');
    }
    match Config::parse(&edited)?.get(section, key) {
        found if found == value.map(<[u8]>::trim_ascii) => Ok(edited),
        // A `%unset` behind it, or a section that another file brings.
        _ => Err(ConfigError { line: place.unwrap_or(lines.len()) }),
    }
}

/// The argument of a `%` line.
fn directive<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    let argument = rest.trim_ascii();
    (rest.first()?.is_ascii_whitespace() && !argument.is_empty()).then_some(argument)
}

fn section_name(rest: &[u8]) -> Option<&[u8]> {
    let end = rest.iter().rposition(|byte| *byte == b']')?;
    let name = &rest[..end];
    (!name.is_empty() && !name.contains(&b'[')).then_some(name)
}

fn split_item(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let key = line[..at].trim_ascii_end();
    let starts = key.first().is_some_and(|first| !first.is_ascii_whitespace());
    starts.then(|| (key, line[at + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let text = b"# c\n[web]\nname = a b \ndescription=x\n  y\n# between\n  z\n\n[phases]\npublish = False\n%include /etc/passwd\n\
            [web]\nname=second\nempty=\n[x:y]\na=b=c\n%unset a\n";
        let config = Config::parse(text).expect("parsed");
        assert_eq!(config.get(b"web", b"name"), Some(b"second".as_slice()));
        assert_eq!(config.get(b"web", b"description"), Some(b"x\ny\nz".as_slice()));
        assert_eq!(config.get(b"web", b"empty"), Some(b"".as_slice()));
        assert_eq!(config.get_bool(b"phases", b"publish"), Some(false));
        assert_eq!(config.get(b"x:y", b"a"), None);
        assert_eq!(config.sections(), [b"web".as_slice(), b"phases"]);
    }

    #[test]
    fn what_lies_above_counts() {
        let parsed = |text: &str| Config::parse(text.as_bytes()).expect("parsed");
        let mut config = parsed("[web]\nname = below\ncontact = below\n[ui]\nx = 1\n");
        let above = Config::parse_with(b"[web]\n%unset contact\n%include more\n[web]\nname = last\n", &mut |path| {
            assert_eq!(path, b"more");
            parsed("[web]\nname = included\ndescription = included\n[ui]\n%unset x\n")
        });
        config.lay_over(above.expect("parsed"));
        assert_eq!(config.get(b"web", b"name"), Some(b"last".as_slice()));
        assert_eq!(config.get(b"web", b"description"), Some(b"included".as_slice()));
        assert_eq!((config.get(b"web", b"contact"), config.get(b"ui", b"x")), (None, None));
        config.keep_only(|section, key| section == b"web" && key == b"name");
        assert_eq!(config.get(b"web", b"description"), None);
    }

    #[test]
    fn one_key_is_edited_and_everything_else_stays() {
        let text = b"# top\n[web]\nname = x\ndescription = a\n  b\n# kept\n  c\n\n[phases]\npublish = False\n";
        let set = |text: &[u8], section: &str, key: &str, value: Option<&str>| {
            let edited = edited(text, section.as_bytes(), key.as_bytes(), value.map(str::as_bytes));
            String::from_utf8(edited.expect("edited")).expect("text")
        };
        let after = "# top\n[web]\nname = x\n# kept\ndescription = new\n\n[phases]\npublish = False\n";
        assert_eq!(set(text, "web", "description", Some("new")), after);
        assert_eq!(set(after.as_bytes(), "phases", "publish", None), after.replace("publish = False\n", ""));
        assert_eq!(set(b"", "web", "name", Some("x")), "[web]\nname = x\n");
        assert_eq!(set(b"[a]\nb=1", "web", "name", Some("x")), "[a]\nb=1\n[web]\nname = x\n");
        assert_eq!(set(b"", "web", "name", None), "");
        for (text, value) in [("words", "x"), ("[web]\n", "x\n[hooks]\na=b"), ("", "x\ny")] {
            assert!(edited(text.as_bytes(), b"web", b"name", Some(value.as_bytes())).is_err(), "{text}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for (text, line) in [("[a]\n x=1\n", 2), ("words\n", 1), ("[a]\nb=1\n\n  c\n", 4), ("=x", 1), ("[", 1)] {
            assert_eq!(Config::parse(text.as_bytes()), Err(ConfigError { line }), "{text}");
        }
    }
}
