//! Questions, and the entries that answer them.

use std::collections::HashSet;

use ldap3::asn1::{PL, StructureTag};
use ldap3::controls::{Control, ControlType, PagedResults, RawControl};
use ldap3::{Mod, Scope, SearchOptions};

use super::connection::{Connection, Fault};
use super::guard::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, Parts};
use super::options::LdapScope;

/// Entries of one page (RFC 2696): as many as fit into one answer however large they are.
const PAGE: usize = ANSWER_BYTES_MAX as usize / MESSAGE_BYTES_MAX - 1;
/// Of an entry among many, values that could be keys, and so many of one attribute, are kept,
const PAGED_VALUE_BYTES_MAX: usize = 8 << 10;
const PAGED_VALUES_MAX: usize = 200;
/// and so many bytes of all entries together.
const PAGED_BYTES_MAX: usize = 256 << 20;
/// Most bytes of a page's cookie.
const COOKIE_BYTES_MAX: usize = 64 << 10;

/// An entry. Nothing in it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// A search below a base.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub base: String,
    pub scope: LdapScope,
    pub filter: String,
    pub attributes: Vec<String>,
    /// More entries than this are an error,
    pub entries_max: usize,
    /// or, where it is only asked whether there are so many, left out.
    pub cut: bool,
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// A few entries.
    Search(Query),
    /// Many entries, page by page.
    Pages(Query),
    /// One attribute of an entry is changed. May be asked for again where it is not known whether it was done.
    Modify { dn: String, attribute: String, change: Change },
}

/// What becomes of an attribute's values.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// This one in place of all.
    Replace(Vec<u8>),
    /// One more.
    Add(Vec<u8>),
    /// Without these.
    Delete(Vec<Vec<u8>>),
}

impl Entry {
    /// Values of an attribute: names have no case, and one with options is another attribute.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.attributes
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .flat_map(|(_, values)| values.iter().map(Vec::as_slice))
    }

    /// Drops what is too much for one entry among many. Returns how many bytes it still has.
    fn trim(&mut self) -> usize {
        let mut bytes = self.dn.len();
        for (name, values) in &mut self.attributes {
            let before = values.len();
            values.retain(|value| value.len() <= PAGED_VALUE_BYTES_MAX);
            values.truncate(PAGED_VALUES_MAX);
            if values.len() < before {
                tracing::error!(
                    entry = self.dn,
                    attribute = name,
                    before,
                    "too many or too large values: some are not read"
                );
            }
            values.shrink_to_fit();
            bytes += values.iter().map(Vec::len).sum::<usize>();
        }
        bytes
    }

    /// `SearchResultEntry` (RFC 4511, 4.5.2).
    fn parse(tag: StructureTag) -> Option<Entry> {
        let mut parts = constructed(tag)?.into_iter();
        let dn = String::from_utf8(primitive(parts.next()?)?).ok()?;
        let mut attributes = Vec::new();
        for attribute in constructed(parts.next()?)? {
            let mut parts = constructed(attribute)?.into_iter();
            let name = String::from_utf8(primitive(parts.next()?)?).ok()?;
            let values = constructed(parts.next()?)?.into_iter().map(primitive).collect::<Option<Vec<_>>>()?;
            attributes.push((name, values));
        }
        Some(Entry { dn, attributes })
    }

    #[cfg(test)]
    pub(super) fn of(dn: &str, attributes: &[(&str, &[&str])]) -> Entry {
        let values = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        Entry {
            dn: dn.to_owned(),
            attributes: attributes.iter().map(|(name, own)| ((*name).to_owned(), values(own))).collect(),
        }
    }
}

impl Connection {
    /// Asks, once.
    pub(super) async fn perform(&mut self, request: &Request) -> Result<Vec<Entry>, Fault> {
        match request {
            Request::Search(query) => {
                let mut entries = Vec::new();
                let limit = i32::try_from(query.entries_max).unwrap_or(i32::MAX);
                self.page(query, SearchOptions::new().sizelimit(limit), None, &mut entries).await?;
                Ok(entries)
            }
            Request::Pages(query) => {
                let (mut entries, mut cookie, mut bytes) = (Vec::new(), Vec::new(), 0);
                loop {
                    let control = PagedResults { size: PAGE as i32, cookie };
                    let seen = entries.len();
                    let next = self.page(query, SearchOptions::new(), Some(control.into()), &mut entries).await?;
                    bytes += entries[seen..].iter_mut().map(Entry::trim).sum::<usize>();
                    if bytes > PAGED_BYTES_MAX {
                        return Err(Fault::Broken(format!("more than {PAGED_BYTES_MAX} bytes match {}", query.filter)));
                    }
                    match next {
                        Some(next) if !next.is_empty() => cookie = next,
                        _ => return Ok(entries),
                    }
                }
            }
            Request::Modify { dn, attribute, change } => {
                let name = attribute.clone().into_bytes();
                let modification = match change.clone() {
                    Change::Replace(value) => Mod::Replace(name, HashSet::from([value])),
                    Change::Add(value) => Mod::Add(name, HashSet::from([value])),
                    Change::Delete(values) => Mod::Delete(name, values.into_iter().collect()),
                };
                let result = self.ldap.modify(dn, vec![modification]).await;
                let result = result.map_err(|error| Fault::Broken(self.describe(&error)))?;
                match (change, result.rc) {
                    // It is as it should be: `attributeOrValueExists`, `noSuchAttribute` (RFC 4511, A.2).
                    (_, 0) | (Change::Add(_), 20) | (Change::Delete(_), 16) => Ok(Vec::new()),
                    _ => Err(Fault::Refused(result.to_string())),
                }
            }
        }
    }

    /// One search, and the cookie of the page after it.
    async fn page(
        &mut self,
        query: &Query,
        options: SearchOptions,
        control: Option<RawControl>,
        entries: &mut Vec<Entry>,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let scope = match query.scope {
            LdapScope::One => Scope::OneLevel,
            LdapScope::Subtree => Scope::Subtree,
        };
        self.ldap.with_search_options(options);
        if let Some(control) = control {
            self.ldap.with_controls(control);
        }
        let stream = self.ldap.streaming_search(&query.base, scope, &query.filter, query.attributes.clone()).await;
        let mut stream = stream.map_err(|error| Fault::Broken(self.describe(&error)))?;
        loop {
            match stream.next().await {
                Ok(None) => break,
                // Where else something may lie is not asked: whoever could name servers could name their own.
                Ok(Some(entry)) if entry.is_ref() => {
                    tracing::warn!(base = query.base, "a referral is not followed");
                }
                Ok(Some(entry)) => {
                    let shape = || Fault::Broken("what it sends is no LDAP: an entry of another shape".to_owned());
                    entries.push(Entry::parse(entry.0).ok_or_else(shape)?);
                    if entries.len() > query.entries_max {
                        return Err(Fault::Broken(format!(
                            "more than {} entries match {}",
                            query.entries_max, query.filter
                        )));
                    }
                }
                Err(error) => return Err(Fault::Broken(self.describe(&error))),
            }
        }
        let result = stream.finish().await;
        match result.rc {
            0 => {}
            4 if query.cut && entries.len() == query.entries_max => {}
            4 => {
                return Err(Fault::Refused(format!(
                    "it gives no more than {} entries: raise the size limit of the DN that asks ({result})",
                    entries.len()
                )));
            }
            10 => return Err(Fault::Refused("it answers with a referral, which is not followed".to_owned())),
            _ => return Err(Fault::Refused(format!("the search below {} failed: {result}", query.base))),
        }
        let paged = result.ctrls.into_iter().find_map(|Control(kind, control)| {
            matches!(kind, Some(ControlType::PagedResults)).then_some(control.val).flatten()
        });
        paged.map(|value| cookie(&value)).transpose()
    }
}

/// The cookie of `realSearchControlValue` (RFC 2696, 2).
fn cookie(value: &[u8]) -> Result<Vec<u8>, Fault> {
    let found = || -> Result<Option<Vec<u8>>, &'static str> {
        let Some(list) = Parts(value).next()? else { return Ok(None) };
        let mut parts = Parts(list.content);
        parts.next()?;
        Ok(parts.next()?.map(|part| part.content.to_vec()).filter(|cookie| cookie.len() <= COOKIE_BYTES_MAX))
    };
    let found = found().ok().flatten();
    found.ok_or_else(|| Fault::Broken("what it sends is no LDAP: a page's cookie of another shape".to_owned()))
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

fn primitive(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    }
}
