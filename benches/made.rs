//! Repositories that are made here, since a program would take minutes: each changeset has one small file, each of a thousand in turn.

use hg_store::Node;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A revlog whose revisions are full texts.
pub struct Grown {
    index: Vec<u8>,
    data: Vec<u8>,
    /// Node of each revision.
    pub nodes: Vec<Node>,
    /// Parent of each revision.
    parents: Vec<Option<usize>>,
    /// Where each revision begins in `data`.
    starts: Vec<usize>,
}

impl Grown {
    fn new() -> Grown {
        Grown { index: Vec::new(), data: Vec::new(), nodes: Vec::new(), parents: Vec::new(), starts: Vec::new() }
    }

    /// Adds a child of the revision `parent`; of none where that isn't there. `changeset` is the number of the one that brings it.
    fn add(&mut self, changeset: usize, parent: Option<usize>, content: &[u8]) -> Node {
        let number = self.nodes.len() as u32;
        let node = Node::of(&parent.map_or(Node::NULL, |parent| self.nodes[parent]), &Node::NULL, content);
        let mut entry = [0; 64];
        entry[..8].copy_from_slice(&((self.data.len() as u64) << 16).to_be_bytes());
        if number == 0 {
            // Version 1, neither inline nor general deltas.
            entry[..4].copy_from_slice(&1_u32.to_be_bytes());
        }
        let parent_revision = parent;
        let parent = parent.map_or(u32::MAX, |parent| parent as u32);
        let words = [content.len() as u32 + 1, content.len() as u32, number, changeset as u32, parent, u32::MAX];
        for (n, word) in words.iter().enumerate() {
            entry[8 + n * 4..12 + n * 4].copy_from_slice(&word.to_be_bytes());
        }
        entry[32..52].copy_from_slice(node.as_bytes());
        self.index.extend_from_slice(&entry);
        self.parents.push(parent_revision);
        self.starts.push(self.data.len());
        self.data.push(b'u');
        self.data.extend_from_slice(content);
        self.nodes.push(node);
        node
    }

    /// The full text of a revision.
    fn text(&self, revision: usize) -> &[u8] {
        let end = self.starts.get(revision + 1).copied().unwrap_or(self.data.len());
        // Behind the letter that says that it isn't compressed.
        &self.data[self.starts[revision] + 1..end]
    }

    /// The last revision as a group of a changegroup of version 1 (`hg help internals.changegroups`): against its parent, all of
    /// which it replaces.
    fn group_of_last(&self, changeset: &Node) -> Vec<u8> {
        let last = self.nodes.len() - 1;
        let parent = self.parents[last];
        let (old, new) = (parent.map_or(0, |parent| self.text(parent).len()), self.text(last));
        let parent = parent.map_or(Node::NULL, |parent| self.nodes[parent]);
        let mut chunk = Vec::new();
        for node in [&self.nodes[last], &parent, &Node::NULL, changeset] {
            chunk.extend_from_slice(node.as_bytes());
        }
        for word in [0, old as u32, new.len() as u32] {
            chunk.extend_from_slice(&word.to_be_bytes());
        }
        chunk.extend_from_slice(new);
        [&(chunk.len() as u32 + 4).to_be_bytes()[..], &chunk, &[0; 4]].concat()
    }

    /// Writes what the files lack.
    fn write(&self, path: &Path) {
        for (extension, content) in [("d", &self.data), ("i", &self.index)] {
            let path = path.with_extension(extension);
            if content.is_empty() {
                continue;
            }
            let mut file = fs::File::options().create(true).append(true).open(path).expect("opened");
            let written = file.metadata().expect("there").len() as usize;
            file.write_all(&content[written..]).expect("written");
        }
    }
}

const FILES: usize = 1000;

/// A repository, and what it is made of.
pub struct Made {
    /// Its folder.
    pub root: PathBuf,
    /// Its changesets.
    pub changelog: Grown,
    manifest: Grown,
    files: Vec<Grown>,
}

impl Made {
    /// So many changesets; each is a child of the one before, but for the last ones: these are heads.
    pub fn new(root: PathBuf, changesets: usize, heads: usize) -> Made {
        fs::create_dir_all(root.join(".hg/store/data")).expect("made");
        fs::write(root.join(".hg/requires"), "dotencode\nfncache\nrevlogv1\nstore\n").expect("written");
        let stored: String = (0..FILES).map(|n| format!("data/{0}.i\ndata/{0}.d\n", name(n))).collect();
        fs::write(root.join(".hg/store/fncache"), stored).expect("written");
        let files = (0..FILES).map(|_| Grown::new()).collect();
        let mut made = Made { root, changelog: Grown::new(), manifest: Grown::new(), files };
        for number in 0..changesets {
            made.add(number.checked_sub(1).map(|before| before.min(changesets - heads)));
        }
        made.write();
        made
    }

    /// Adds a changeset, which [`Made::write`] brings to disk.
    pub fn add(&mut self, parent: Option<usize>) {
        let number = self.changelog.nodes.len();
        let (path, file) = (name(number), &mut self.files[number % FILES]);
        let node = file.add(number, file.nodes.len().checked_sub(1), format!("line {number}\n").as_bytes());
        let node = self.manifest.add(number, parent, format!("{path}\0{node}\n").as_bytes());
        let mut changed: Vec<String> = parent.map(name).into_iter().chain([path]).collect();
        changed.sort_unstable();
        changed.dedup();
        let text = format!("{node}\nbench\n{number} 0\n{}\n\nchange {number}", changed.join("\n"));
        self.changelog.add(number, parent, text.as_bytes());
    }

    /// The last changeset as a bundle of the old kind (`HG10UN`).
    pub fn bundle_of_last(&self) -> Vec<u8> {
        let number = self.changelog.nodes.len() - 1;
        let changeset = &self.changelog.nodes[number];
        let groups = [&self.changelog, &self.manifest].map(|revlog| revlog.group_of_last(changeset)).concat();
        let path = name(number);
        let head = (path.len() as u32 + 4).to_be_bytes();
        let file = self.files[number % FILES].group_of_last(changeset);
        [&b"HG10UN"[..], &groups, &head, path.as_bytes(), &file, &[0; 4]].concat()
    }

    /// Brings to disk what was added.
    pub fn write(&self) {
        for (number, file) in self.files.iter().enumerate() {
            file.write(&self.root.join(".hg/store/data").join(name(number)));
        }
        self.manifest.write(&self.root.join(".hg/store/00manifest"));
        self.changelog.write(&self.root.join(".hg/store/00changelog"));
    }
}

/// The path of the one file that a changeset has.
fn name(number: usize) -> String {
    format!("f{}", number % FILES)
}
