//! Small files: configuration, rules, markers, deltas.

use hg_policy::PolicyRules;
use hg_store::config::{Config, edited};
use hg_store::lfs::Pointer;
use hg_store::path_encoding::PathEncoding;
use hg_store::{delta, obsstore as markers};
use hgfleet_access::AccessRules;

/// A repository's `hgrc`; a key that is set in it is there, and is all that has changed.
pub(crate) fn hgrc(bytes: &[u8]) {
    let Ok(before) = Config::parse(bytes) else { return };
    let (section, key) = (&b"web"[..], &b"description"[..]);
    let Ok(set) = edited(bytes, section, key, Some(b"a text")) else { return };
    let after = Config::parse(&set).expect("what was set parses");
    assert_eq!(after.get(section, key), Some(&b"a text"[..]));
    for name in before.sections() {
        let others = |config: &Config| {
            let items = config.section(name).filter(|(other, _)| name != section || *other != key);
            items.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(others(&before), others(&after), "{:?}", String::from_utf8_lossy(name));
    }
}

pub(crate) fn hgrcs() -> Vec<Vec<u8>> {
    let whole = "# a comment\n[web]\ndescription = one\n  and more\ncontact = x\n\n[phases]\npublish = False\n%unset x\n[web]\nname: y\n";
    ["", "[web]\n", whole].map(|text| text.as_bytes().to_vec()).into()
}

/// What stands in history for an LFS object.
pub(crate) fn lfs_pointer(bytes: &[u8]) {
    if let Some(pointer) = Pointer::parse(bytes) {
        assert_eq!(pointer.oid.to_string().len(), 64);
    }
}

pub(crate) fn lfs_pointers() -> Vec<Vec<u8>> {
    let (version, hex) = ("version https://git-lfs.github.com/spec/v1", "0123456789abcdef".repeat(4));
    let plain = format!("{version}\noid sha256:{hex}\nsize 12\nx-is-binary 0\n");
    let copied = format!("{plain}x-hg-copy a b\nx-hg-copyrev 00\n");
    vec![plain.into_bytes(), copied.into_bytes()]
}

/// A file's name in a store: what it is read as is written so again.
pub(crate) fn store_name(bytes: &[u8]) {
    for encoding in [PathEncoding::Dotencode, PathEncoding::Fncache, PathEncoding::Store, PathEncoding::Plain] {
        if let Some(path) = encoding.decode(bytes) {
            assert_eq!(encoding.encode(&path), bytes);
        }
        let _ = encoding.encode(bytes);
    }
}

pub(crate) fn store_names() -> Vec<Vec<u8>> {
    ["data/a.i", "data/_u_p_p_e_r/~2edot/au~78.i", "data/x.i.hg/b__c~e9.d", "dh/long/x0123.i", "meta/a/00manifest.i"]
        .map(|name| name.as_bytes().to_vec())
        .into()
}

/// Obsolescence markers; those of the newer version are written as they were read.
pub(crate) fn obsstore(bytes: &[u8]) {
    let Ok(read) = markers::parse(bytes) else { return };
    let mut written = vec![1];
    if read.iter().all(|marker| marker.encode_v1(&mut written).is_ok()) {
        assert_eq!(markers::parse(&written).expect("what was written is read").len(), read.len());
    }
}

pub(crate) fn obsstores() -> Vec<Vec<u8>> {
    // Size, date, zone, flags, numbers of successors, parents and metadata, nodes, lengths, texts.
    let marker = |successors: u8| {
        let mut body = 1.0_f64.to_be_bytes().to_vec();
        body.extend([0, 0, 0, 0, successors, 3, 1]);
        body.extend(vec![7; 20 * (1 + usize::from(successors))]);
        body.extend([4, 3]);
        body.extend(b"userann");
        [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
    };
    let old = [&[0, 1][..], &10_u32.to_be_bytes(), &[0], &[7; 20], b"user:ann\0x", &[7; 20]].concat();
    vec![[&[1][..], &marker(1), &marker(0)].concat(), old]
}

/// A delta, to a text of a few bytes.
pub(crate) fn delta(bytes: &[u8]) {
    const BOUND: usize = 1 << 16;
    let base = b"one\ntwo\nthree\n";
    if let Ok(text) = delta::apply(base, bytes, BOUND) {
        assert!(text.len() <= BOUND);
        assert_eq!(delta::apply_chain(base, &[bytes], BOUND).expect("one delta is a chain"), text);
    }
}

pub(crate) fn deltas() -> Vec<Vec<u8>> {
    use crate::history::hunk;
    vec![Vec::new(), hunk(0, 4, b"eins\n"), [hunk(0, 4, b""), hunk(4, 8, b"zwei\n"), hunk(14, 14, b"vier")].concat()]
}

/// The file of access rules.
pub(crate) fn access_rules(bytes: &[u8]) {
    if let Ok(rules) = std::str::from_utf8(bytes).map(AccessRules::parse) {
        let _ = rules.map(|rules| rules.have_private());
    }
}

/// The file of a policy.
pub(crate) fn policy_rules(bytes: &[u8]) {
    if let Ok(Ok(rules)) = std::str::from_utf8(bytes).map(PolicyRules::parse) {
        rules.rule_for("team/first");
    }
}

pub(crate) fn rules() -> Vec<Vec<u8>> {
    let access = "[[rule]]\nrepositories = [\"a/**\", \"{b,c}/*\"]\nread = [\"*\"]\nwrite = [\"staff\", \"ann@x\"]\n";
    let policy = "[[rule]]\nrepositories = [\"**\"]\nnames = { windows = false }\nmessages = { pattern = '(?i)^bug \\d+' }\n\
                  protected = [{ paths = [\"x/**\"], groups = [\"y\"] }]\nfiles = { bytes_max = 10_000 }\n";
    vec![access.as_bytes().to_vec(), policy.as_bytes().to_vec()]
}
