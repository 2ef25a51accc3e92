//! What is accepted is exactly the grammar: random lines, judged by an oracle that was written in another way.
//!
//! A line is put together from pieces of which is known what they mean when they are made, so that the oracle splits nothing; the words
//! are then looked at by one regular expression.

use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

/// A part of a line.
#[derive(Debug, Clone)]
enum Piece {
    /// These characters are written so, and mean these.
    Text(String, String),
    /// What parts words.
    Blank(&'static str),
    /// What makes the line one that is refused.
    Bad(&'static str),
}

/// Words of real lines, and what stands near them in wrong ones.
const WORDS: [&str; 45] = [
    "hg",
    "-R",
    "serve",
    "--stdio",
    "--hidden",
    "team/first",
    "team/first/",
    "a",
    "users/x_y.z/r",
    "1.repo",
    "clone",
    "edit",
    "delete",
    "YES",
    "repo-group",
    "repo-config",
    "repos",
    "keys",
    "list",
    "add",
    "remove",
    "status",
    "help",
    "SHA256:gNSIRW+2Iyiuvsdp/bgjy38bvWHw6wQm3tuoXrl3WjQ",
    "SHA256:short",
    "yes",
    "--debugger",
    "--config=x",
    "-Ra",
    "../a",
    "a//b",
    "/a",
    "a.hg",
    "x.HG",
    "con",
    "a.i",
    "a..",
    "",
    "a b",
    "HG",
    "serve2",
    "ré",
    "a\u{202e}",
    "repo\n",
    "a\tb",
];
const BLANKS: [&str; 3] = [" ", "\t", "  "];
const BAD: [&str; 17] = [";", "&", "|", "<", ">", "(", ")", "$", "`", "*", "?", "[", "{", "}", "!", "\n", "\u{7f}"];

/// The words of an accepted line, each ended by a NUL; and what a name is, by itself.
static ACCEPTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)\A(?:
            hg\x00-R\x00(?P<a>[^\x00]*)\x00serve\x00--stdio\x00(?:--hidden\x00)?
          | (?:status|repo-group|repo-config|edit)\x00(?P<b>[^\x00]*)\x00
          | clone\x00(?P<c>[^\x00]*)\x00 (?:(?P<d>[^\x00]*)\x00)?
          | edit\x00(?P<e>[^\x00]*)\x00delete\x00YES\x00
          | keys\x00(?:list\x00|add\x00|remove\x00SHA256:[A-Za-z0-9+/]{43}\x00)
          | help\x00 | repos\x00
          )?\z",
    )
    .expect("an expression")
});
static PART: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,199}\z").expect("an expression"));
static WRONG_PART: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:\.|\.hg|\.git|\.i|\.d)\z|\A(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.|\z)")
        .expect("an expression")
});

fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('/').unwrap_or(name);
    let parts: Vec<&str> = name.split('/').collect();
    parts.len() <= 32 && parts.iter().all(|part| PART.is_match(part) && !WRONG_PART.is_match(part))
}

/// The words that pieces make; `None` where the line is refused for how it is written.
fn words(pieces: &[Piece]) -> Option<Vec<String>> {
    let mut words = vec![None::<String>];
    for piece in pieces {
        match piece {
            Piece::Bad(_) => return None,
            Piece::Blank(_) => words.push(None),
            Piece::Text(_, meaning) => {
                words.last_mut()?.get_or_insert_default().push_str(meaning);
            }
        }
    }
    Some(words.into_iter().flatten().collect())
}

fn is_accepted(words: &[String]) -> bool {
    let joined: String = words.iter().map(|word| format!("{word}\0")).collect();
    if words.iter().any(|word| word.contains('\0')) {
        return false;
    }
    ACCEPTED.captures(&joined).is_some_and(|found| {
        ["a", "b", "c", "d", "e"].iter().all(|group| found.name(group).is_none_or(|name| is_name(name.as_str())))
    })
}

/// A word in one of the ways in which a shell reads it.
fn spelled(word: &'static str) -> impl Strategy<Value = Piece> {
    let plain = word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./+:=é\u{202e}".contains(letter));
    let written = (0..4u8).prop_map(move |way| match way {
        0 if plain && !word.is_empty() => word.to_owned(),
        1 => format!("\"{word}\""),
        2 if !word.is_empty() => word.chars().map(|letter| format!("\\{letter}")).collect(),
        _ => format!("'{word}'"),
    });
    written.prop_map(move |written| Piece::Text(written, word.to_owned()))
}

fn word() -> impl Strategy<Value = Piece> {
    (0..WORDS.len()).prop_flat_map(|at| spelled(WORDS[at]))
}

fn blank() -> impl Strategy<Value = Piece> {
    (0..BLANKS.len()).prop_map(|at| Piece::Blank(BLANKS[at]))
}

/// Mostly words with blanks between, sometimes without, seldom with what is bad.
fn any_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let bad = (0..BAD.len()).prop_map(|at| Piece::Bad(BAD[at]));
    let group = prop_oneof![
        20 => (word(), blank()).prop_map(|(word, blank)| vec![word, blank]),
        2 => word().prop_map(|word| vec![word]),
        1 => bad.prop_map(|bad| vec![bad]),
    ];
    prop::collection::vec(group, 0..8).prop_map(|groups| groups.concat())
}

/// A line of the grammar, or one that differs in a word.
fn near_pieces() -> impl Strategy<Value = Vec<Piece>> {
    const FORMS: [&[&str]; 13] = [
        &["hg", "-R", "team/first", "serve", "--stdio"],
        &["hg", "-R", "team/first", "serve", "--stdio", "--hidden"],
        &["clone", "a"],
        &["clone", "a", "team/first"],
        &["edit", "a"],
        &["edit", "a", "delete", "YES"],
        &["repo-group", "a"],
        &["repo-config", "team/first/"],
        &["status", "a"],
        &["keys", "list"],
        &["keys", "add"],
        &["keys", "remove", "SHA256:gNSIRW+2Iyiuvsdp/bgjy38bvWHw6wQm3tuoXrl3WjQ"],
        &["help"],
    ];
    let form = (0..FORMS.len()).prop_flat_map(|at| {
        let words: Vec<_> = FORMS[at].iter().map(|word| (spelled(word), blank())).collect();
        (words, any::<prop::sample::Index>(), prop::option::weighted(0.5, word()))
    });
    form.prop_map(|(words, at, other)| {
        let mut pieces: Vec<Piece> = words.into_iter().flat_map(|(word, blank)| [word, blank]).collect();
        if let Some(other) = other {
            let at = at.index(pieces.len());
            pieces.insert(at, other);
        }
        pieces
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_exactly_the_grammar(pieces in prop_oneof![any_pieces(), near_pieces()]) {
        let line: String = pieces.iter().map(|piece| match piece {
            Piece::Text(written, _) => written.as_str(),
            Piece::Blank(blank) => blank,
            Piece::Bad(bad) => bad,
        }).collect();
        let expected = words(&pieces).is_some_and(|words| is_accepted(&words));
        let found = parse(Some(line.as_bytes()));
        prop_assert_eq!(found.is_ok(), expected, "{:?}: {:?}", line, found);
    }

    #[test]
    fn whatever_comes_is_refused_or_understood(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(Some(&line));
    }
}
