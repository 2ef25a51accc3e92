//! The commands that read, over either transport.

mod batch;
mod discovery;
pub(crate) mod largefiles;
pub mod listkeys;
mod names;

use crate::CommandError;
use crate::arguments::{self, Arguments};
use crate::capabilities::capabilities;
use crate::changegroup_writer::{self, Version};
use crate::client::Client;
use crate::clone_bundles;
use crate::command::CommandName;
use crate::getbundle::{self, Bundle, GetbundleArguments};
use crate::limits;
use crate::outgoing::Outgoing;
use crate::pull_bundles;
use crate::stream_clone;
use hg_store::{Bundle1Action, Snapshot, StoreFiles};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Writes an answer that is made while it is sent.
pub type StreamAnswer = Box<dyn FnOnce(&mut dyn Write) -> Result<(), CommandError> + Send>;

/// The answer to a command that reads.
pub enum Answer {
    /// One string.
    Text(Vec<u8>),
    /// Something that tells its end itself.
    Stream(StreamAnswer, Form),
    /// A file as it is: not compressed again, where the client takes that.
    File(FileAnswer),
}

/// An answer that is a file's content.
#[derive(Debug)]
pub struct FileAnswer {
    /// What goes before it.
    pub head: Vec<u8>,
    /// The file, at its beginning.
    pub file: File,
    /// How much of it is sent.
    pub bytes: u64,
}

impl FileAnswer {
    /// Writes all of it.
    ///
    /// # Errors
    /// The file is shorter by now, or can't be read; `output` fails.
    pub fn write(self, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.head)?;
        match io::copy(&mut self.file.take(self.bytes), output)? == self.bytes {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// How a stream goes over HTTP; over SSH it goes as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Compressed as client and server prefer.
    Compressed,
    /// Not compressed, where the client takes that: compressing would cost much and gain little.
    Uncompressed,
    /// As it is, without a word of how: `stream_out` is older than such words.
    Raw,
}

/// Returns whether a command is answered within microseconds from what the snapshot keeps, so that no thread has to be found for it.
pub fn is_quick(command: CommandName, arguments: &Arguments, snapshot: &Snapshot) -> bool {
    let from_memory = |name| matches!(name, CommandName::Heads | CommandName::Known);
    let heads_bytes = snapshot.kept_names_and_heads().map(<[u8]>::len);
    if arguments.bytes() > limits::QUICK_ARGUMENTS_BYTES_MAX
        || heads_bytes.is_none_or(|bytes| bytes > limits::QUICK_HEADS_BYTES_MAX)
    {
        return false;
    }
    match command {
        CommandName::Batch => arguments.get(b"cmds").is_some_and(|commands| batch::is_quick(commands, from_memory)),
        name => from_memory(name),
    }
}

/// Answers a command that reads. Everything that can be wrong with the request is found here, before the first byte.
pub fn answer(
    command: CommandName,
    arguments: &Arguments,
    snapshot: &Arc<Snapshot>,
    client: &Client,
) -> Result<Answer, CommandError> {
    let text = match command {
        CommandName::Batch => batch::batch(arguments.required("cmds")?, snapshot, client)?,
        CommandName::Getbundle => {
            let arguments = GetbundleArguments::parse(arguments)?;
            if !arguments.capabilities.bundle2 && !bundle1_is_spoken(snapshot, Bundle1Action::Pull) {
                return Err(CommandError::Refused(BUNDLE2_REQUIRED.to_owned()));
            }
            if let Some(bundle) = pull_bundles::find(snapshot, &arguments, client) {
                return Ok(Answer::File(bundle));
            }
            if snapshot.settings().disables_full_bundles() && arguments.is_full_clone(snapshot)? {
                return no_full_bundle(&arguments);
            }
            let bundle = Bundle::new(snapshot.clone(), &arguments)?;
            let form = if bundle.has_stream() { Form::Uncompressed } else { Form::Compressed };
            return Ok(Answer::Stream(Box::new(|output| bundle.write(output)), form));
        }
        CommandName::Changegroup => {
            let roots = arguments::nodes(arguments.required("roots")?)?;
            return legacy_changegroup(snapshot, discovery::descending_from(snapshot, &roots, None)?);
        }
        CommandName::Changegroupsubset => {
            let bases = arguments::nodes(arguments.required("bases")?)?;
            let heads = arguments::nodes(arguments.required("heads")?)?;
            return legacy_changegroup(snapshot, discovery::descending_from(snapshot, &bases, Some(&heads))?);
        }
        CommandName::Between => discovery::between(snapshot, arguments.required("pairs")?)?,
        CommandName::Branches => discovery::branches(snapshot, arguments.required("nodes")?)?,
        CommandName::Branchmap => names::branchmap(snapshot)?,
        CommandName::Capabilities => capabilities(snapshot, client.transport).into_bytes(),
        CommandName::Clonebundles => clone_bundles::manifest_for_old_clients(snapshot),
        CommandName::ClonebundlesManifest => clone_bundles::manifest(snapshot),
        CommandName::GetCachedBundleInline => {
            return Ok(Answer::File(clone_bundles::inline(snapshot, arguments.required("path")?)?));
        }
        CommandName::Getlfile => return largefiles::getlfile(snapshot, arguments.required("sha")?),
        CommandName::Heads => {
            largefiles::check_heads(snapshot)?;
            names::heads(snapshot)?
        }
        CommandName::Hello => format!("capabilities: {}\n", capabilities(snapshot, client.transport)).into_bytes(),
        CommandName::Known => names::known(snapshot, arguments.required("nodes")?)?,
        CommandName::Lheads => names::heads(snapshot)?,
        CommandName::Listkeys => listkeys::listkeys(snapshot, arguments.required("namespace")?)?,
        CommandName::Lookup => names::lookup(snapshot, arguments.required("key")?)?,
        CommandName::Protocaps => {
            arguments.required("caps")?;
            b"OK".to_vec()
        }
        CommandName::Statlfile => largefiles::statlfile(snapshot, arguments.required("sha")?)?,
        CommandName::StreamOut => return stream_out(snapshot),
        CommandName::Pushkey | CommandName::Putlfile | CommandName::Unbundle => {
            return Err(CommandError::Refused(format!(
                "refused: '{}' is not possible, in this place. Push over SSH",
                command.as_str()
            )));
        }
    };
    Ok(Answer::Text(text))
}

/// What a client of bundle1 is told where bundle2 alone is spoken, in stock's words.
pub(crate) const BUNDLE2_REQUIRED: &str =
    "incompatible Mercurial client; bundle2 required\n(see https://www.mercurial-scm.org/wiki/IncompatibleClient)";

/// Returns whether bundle1 is spoken in a repository.
pub(crate) fn bundle1_is_spoken(snapshot: &Snapshot, action: Bundle1Action) -> bool {
    snapshot.settings().bundle1(action, snapshot.repository().requirements().generaldelta())
}

/// Answers a clone by `getbundle` where that is switched off, in stock's words.
fn no_full_bundle(arguments: &GetbundleArguments) -> Result<Answer, CommandError> {
    let (message, hint) = ("server has pull-based clones disabled", "remove --pull if specified or upgrade Mercurial");
    if !arguments.capabilities.bundle2 {
        return Err(CommandError::Refused(message.to_owned()));
    }
    let bundle = getbundle::error_bundle(message, Some(hint))?;
    Ok(Answer::Stream(Box::new(move |output| Ok(output.write_all(&bundle)?)), Form::Uncompressed))
}

/// Answers the commands that are older than `getbundle`.
fn legacy_changegroup(snapshot: &Arc<Snapshot>, mut outgoing: Outgoing) -> Result<Answer, CommandError> {
    changegroup_writer::check_version(snapshot, Version::V01)?;
    let snapshot = snapshot.clone();
    let write = move |output: &mut dyn Write| changegroup_writer::write(&snapshot, &mut outgoing, Version::V01, output);
    Ok(Answer::Stream(Box::new(write), Form::Compressed))
}

fn stream_out(snapshot: &Arc<Snapshot>) -> Result<Answer, CommandError> {
    if !stream_clone::is_allowed(snapshot) {
        return Ok(Answer::Stream(Box::new(|output| Ok(output.write_all(stream_clone::FORBIDDEN)?)), Form::Raw));
    }
    let files = StoreFiles::of(snapshot.clone(), false)?;
    Ok(Answer::Stream(Box::new(move |output| stream_clone::write_version_1(&files, output)), Form::Raw))
}
