//! Reads uncompressed bundles as `hg bundle -t none-v1` and `none-v2` write them. The wire crate has the real reader; this one trusts its input.

use std::io::{self, Read};

use hg_store::Node;
use hg_store::prepare::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};

/// The payload of a bundle's changegroup part; of a bundle of version 1 all the rest.
pub struct Payload<R> {
    input: R,
    left: usize,
}

impl<R: Read> Read for Payload<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.left = number(&mut self.input)? as usize;
        }
        let bytes = into.len().min(self.left);
        let read = self.input.read(&mut into[..bytes])?;
        self.left -= read;
        Ok(read)
    }
}

fn number(input: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

/// Where in a changegroup the reader is.
enum At {
    Start,
    InChangelog,
    AfterChangelog,
    InManifest,
    Files,
    InFile,
}

/// A changegroup in a bundle.
pub struct Changegroup<R> {
    input: Payload<R>,
    version: u8,
    at: At,
    previous: Option<Node>,
    trees_passed: bool,
}

/// Opens a bundle; its first part must be a changegroup.
pub fn open<R: Read>(mut input: R) -> io::Result<Changegroup<R>> {
    let mut head = [0; 4];
    input.read_exact(&mut head)?;
    if &head == b"HG10" {
        assert_eq!(number(&mut input.by_ref().take(2).chain(&[0, 0][..]))?, i32::from_be_bytes(*b"UN\0\0"));
        let input = Payload { input, left: usize::MAX };
        return Ok(Changegroup { input, version: 1, at: At::Start, previous: None, trees_passed: false });
    }
    assert_eq!((&head, number(&mut input)?), (b"HG20", 0), "an uncompressed bundle2");
    let mut header = vec![0; number(&mut input)? as usize];
    input.read_exact(&mut header)?;
    assert!(header[1..].starts_with(b"CHANGEGROUP"), "a changegroup first");
    let at = header.windows(7).position(|name| name == b"version").expect("a version");
    let version = header[at + 8] - b'0';
    Ok(Changegroup { input: Payload { input, left: 0 }, version, at: At::Start, previous: None, trees_passed: false })
}

impl<R: Read> Changegroup<R> {
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = number(&mut self.input)?;
        if length == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; length as usize - 4];
        self.input.read_exact(&mut chunk)?;
        Ok(Some(chunk))
    }

    fn revision(&mut self) -> io::Result<Incoming> {
        let Some(mut chunk) = self.chunk()? else {
            self.at = match self.at {
                At::InChangelog => At::AfterChangelog,
                _ => At::Files,
            };
            return Ok(Incoming::EndOfGroup);
        };
        let node = |number: usize| Node::from_bytes(&chunk[number * 20..number * 20 + 20]).expect("20 bytes");
        let (node, p1, p2) = (node(0), node(1), node(2));
        let (base, link) = match self.version {
            1 => (self.previous.unwrap_or(p1), Node::from_bytes(&chunk[60..80]).expect("20 bytes")),
            _ => (
                Node::from_bytes(&chunk[60..80]).expect("20 bytes"),
                Node::from_bytes(&chunk[80..100]).expect("20 bytes"),
            ),
        };
        let (flags, header) = match self.version {
            1 => (0, 80),
            2 => (0, 100),
            _ => (u16::from_be_bytes([chunk[100], chunk[101]]), 102),
        };
        self.previous = Some(node);
        let delta = chunk.split_off(header);
        Ok(Incoming::Revision(IncomingRevision { node, p1, p2, link, base, flags, delta }))
    }

    fn step(&mut self) -> io::Result<Incoming> {
        self.previous = match self.at {
            At::InChangelog | At::InManifest | At::InFile => self.previous,
            _ => None,
        };
        match self.at {
            At::Start => self.at = At::InChangelog,
            At::AfterChangelog => self.at = At::InManifest,
            At::Files => {
                // Version 3 has a section of tree manifests first.
                if self.version == 3 && !self.trees_passed {
                    if let Some(folder) = self.chunk()? {
                        self.at = At::InFile;
                        return Ok(Incoming::Tree(folder));
                    }
                    self.trees_passed = true;
                }
                let Some(path) = self.chunk()? else { return Ok(Incoming::End) };
                self.at = At::InFile;
                return Ok(Incoming::File(path));
            }
            _ => return self.revision(),
        }
        Ok(match self.at {
            At::InChangelog => Incoming::Changelog,
            _ => Incoming::Manifest,
        })
    }
}

impl<R: Read> IncomingChangegroup for Changegroup<R> {
    fn next(&mut self) -> Result<Incoming, IncomingError> {
        Ok(self.step()?)
    }
}
