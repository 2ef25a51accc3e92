//! The streams of one log: their names, how they are made, and what is refused of one that is there already.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Options;
use super::link::{Link, Trouble};
use crate::ids::{Epoch, LogId, RecordId, Sequence};
use crate::log::LogError;
use crate::name::RepositoryName;

/// Where a stream's metadata holds the log's identity, and the version of what is written to the streams.
const IDENTITY_KEY: &str = "hgfleet.log";
const VERSION_KEY: &str = "hgfleet.version";
/// The version of what this release writes to the streams.
const VERSION: i64 = 1;
/// "stream name already in use with a different configuration": another server was faster.
const NAME_IN_USE: u64 = 10058;

/// The names of the streams of one log.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// The records, in order.
    pub records: String,
    /// Parts of records that don't fit into one message.
    pub parts: String,
    /// Bucket of the view and of what survives trimming.
    pub state: String,
    /// Bucket of the lease and of what servers say of themselves.
    pub members: String,
    replicas: u8,
}

/// The state of a stream, as its leader tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamState {
    /// The oldest message that is there; one past the last where none is.
    pub first: u64,
    /// The last message that ever was.
    pub last: u64,
    pub bytes: u64,
}

/// One setting that must be as it is said here.
struct Needed {
    setting: &'static str,
    value: Value,
    remedy: &'static str,
}

impl Streams {
    pub(super) fn new(options: &Options) -> Streams {
        let stream = &options.stream;
        Streams {
            records: stream.clone(),
            parts: format!("{stream}-parts"),
            state: format!("{stream}-state"),
            members: format!("{stream}-members"),
            replicas: options.replicas,
        }
    }

    /// Where servers are told that the log has grown.
    pub(super) fn hints_subject(&self) -> String {
        format!("{}.appended", self.records)
    }

    /// Opens the streams; with `make`, those that are missing are made. Returns the log's identity.
    pub(super) async fn open(&self, link: &Link, make: bool) -> Result<LogId, LogError> {
        if let Some(log) = self.check_records(link).await? {
            self.check_others(link, log, make).await?;
            return Ok(log);
        }
        if !make {
            return Err(LogError::Absent(format!("stream {}", self.records).into()));
        }
        let log = LogId::random().map_err(|error| LogError::Value(format!("no random identity: {error}")))?;
        match create(link, &self.records, self.records_config(log)).await {
            // Whoever was faster has said the identity.
            Ok(()) | Err(Trouble::Refused { code: NAME_IN_USE, .. }) => {}
            Err(error) => return Err(Trouble::of("making the stream of records")(error)),
        }
        let Some(log) = self.check_records(link).await? else {
            return Err(LogError::Absent(format!("stream {}", self.records).into()));
        };
        self.check_others(link, log, true).await?;
        Ok(log)
    }

    async fn check_records(&self, link: &Link) -> Result<Option<LogId>, LogError> {
        let Some(config) = config(link, &self.records).await? else { return Ok(None) };
        let not_a_log =
            |why: &str| LogError::NotALog { path: format!("stream {}", self.records).into(), why: why.into() };
        let metadata =
            |key: &str| config.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
        let identity = metadata(IDENTITY_KEY).ok_or_else(|| not_a_log("its metadata names no log"))?;
        let log: LogId = identity.parse().map_err(|_| not_a_log("its metadata names no log"))?;
        let version = metadata(VERSION_KEY).and_then(|version| version.parse().ok());
        match version {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                let path = format!("stream {}", self.records).into();
                return Err(LogError::NewerFormat { path, found, known: VERSION });
            }
            _ => return Err(not_a_log("its metadata names no version")),
        }
        self.check_settings(&self.records, &config, json!([format!("{}.{log}.records.>", self.records)]), -1)?;
        Ok(Some(log))
    }

    async fn check_others(&self, link: &Link, log: LogId, make: bool) -> Result<(), LogError> {
        let parts = json!([format!("{}.{log}.parts.>", self.records)]);
        let bucket = |bucket: &str| json!([format!("$KV.{bucket}.>")]);
        let others = [
            (self.parts.clone(), parts, -1),
            (format!("KV_{}", self.state), bucket(&self.state), 1),
            (format!("KV_{}", self.members), bucket(&self.members), 1),
        ];
        for (stream, subjects, per_subject) in others {
            let found = match config(link, &stream).await? {
                None if make => {
                    let wanted = self.config(&stream, &subjects, per_subject, &BTreeMap::new());
                    match create(link, &stream, wanted).await {
                        Ok(()) | Err(Trouble::Refused { code: NAME_IN_USE, .. }) => {}
                        Err(error) => return Err(Trouble::of("making a stream")(error)),
                    }
                    config(link, &stream).await?
                }
                found => found,
            };
            let config = found.ok_or_else(|| LogError::Absent(format!("stream {stream}").into()))?;
            self.check_settings(&stream, &config, subjects, per_subject)?;
        }
        Ok(())
    }

    fn records_config(&self, log: LogId) -> Value {
        let metadata = BTreeMap::from([(IDENTITY_KEY, log.to_string()), (VERSION_KEY, VERSION.to_string())]);
        self.config(&self.records, &json!([format!("{}.{log}.records.>", self.records)]), -1, &metadata)
    }

    fn config(&self, stream: &str, subjects: &Value, per_subject: i64, metadata: &BTreeMap<&str, String>) -> Value {
        let mut config = Map::new();
        for needed in needed(subjects, per_subject) {
            config.insert(needed.setting.to_owned(), needed.value);
        }
        config.insert("name".to_owned(), json!(stream));
        config.insert("num_replicas".to_owned(), json!(self.replicas));
        config.insert("metadata".to_owned(), json!(metadata));
        if per_subject < 0 {
            // Who is behind shows in the records themselves: each names the one before it.
            config.insert("allow_direct".to_owned(), json!(true));
        }
        Value::Object(config)
    }

    /// Refuses a stream that could lose what it acknowledged, or answers from elsewhere.
    fn check_settings(&self, stream: &str, config: &Value, subjects: Value, per_subject: i64) -> Result<(), LogError> {
        for Needed { setting, value, remedy } in needed(&subjects, per_subject) {
            let found = config.get(setting).cloned().unwrap_or(Value::Null);
            if !same(&found, &value) {
                return Err(LogError::Setting {
                    stream: stream.to_owned(),
                    setting,
                    found: found.to_string(),
                    needed: value.to_string(),
                    remedy,
                });
            }
        }
        let replicas = config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1);
        if replicas < u64::from(self.replicas) {
            return Err(LogError::Setting {
                stream: stream.to_owned(),
                setting: "num_replicas",
                found: replicas.to_string(),
                needed: self.replicas.to_string(),
                remedy: "change it (`nats stream edit STREAM --replicas N`), or `replicas` in [log]",
            });
        }
        Ok(())
    }

    /// Returns the subject of a record: one of its own, by repository and id, so that both are found.
    pub(super) fn record_subject(&self, log: LogId, repository: Option<&RepositoryName>, id: &RecordId) -> String {
        format!("{}.{log}.records.{}.{id}", self.records, repository.map_or_else(|| "-".to_owned(), token))
    }

    /// Returns the pattern of all records of a repository.
    pub(super) fn records_of(&self, log: LogId, repository: &RepositoryName) -> String {
        format!("{}.{log}.records.{}.*", self.records, token(repository))
    }

    /// Returns the pattern of the record with this id.
    pub(super) fn record_with(&self, log: LogId, id: &RecordId) -> String {
        format!("{}.{log}.records.*.{id}", self.records)
    }

    /// Returns the subject of a record's parts, up to their number.
    pub(super) fn parts_of(&self, log: LogId, epoch: Epoch, id: &RecordId) -> String {
        format!("{}.{log}.parts.{epoch}.{id}", self.records)
    }

    /// Returns the pattern of the first part of each record that has parts.
    pub(super) fn first_parts(&self, log: LogId) -> String {
        format!("{}.{log}.parts.*.*.0", self.records)
    }

    /// Returns the state bucket's key of what is kept of a repository after trimming.
    pub(super) fn last_key(repository: &RepositoryName) -> String {
        format!("last.{}", token(repository))
    }

    /// Returns a stream's state, from its leader.
    pub(super) async fn state(link: &Link, stream: &str) -> Result<StreamState, Trouble> {
        let info = link.api(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        let state = info.get("state").unwrap_or(&Value::Null);
        let number = |name: &str| {
            let number = state.get(name).and_then(Value::as_u64);
            number.ok_or_else(|| Trouble::Unknown(format!("stream {stream} has no {name}")))
        };
        Ok(StreamState { first: number("first_seq")?.max(1), last: number("last_seq")?, bytes: number("bytes")? })
    }

    /// Gives up messages: those before `before`, or all with a subject.
    pub(super) async fn purge(
        link: &Link,
        stream: &str,
        before: Option<Sequence>,
        subject: Option<String>,
    ) -> Result<(), Trouble> {
        let mut request = Map::new();
        if let Some(before) = before {
            request.insert("seq".to_owned(), json!(before.get()));
        }
        if let Some(subject) = subject {
            request.insert("filter".to_owned(), json!(subject));
        }
        link.api(&format!("STREAM.PURGE.{stream}"), &Value::Object(request)).await.map(drop)
    }
}

/// What must be so in every stream of a log.
fn needed(subjects: &Value, per_subject: i64) -> Vec<Needed> {
    const EDIT: &str = "nothing may make the log give up a record by itself; change it (`nats stream edit STREAM`)";
    const MAKE_ANEW: &str = "it can't be changed in a stream that is there; use another name in [log] `stream`";
    const LEADER_ALONE: &str = "a server that is not the leader may be behind; change it (`nats stream edit STREAM`)";
    let edit = |setting, value| Needed { setting, value, remedy: EDIT };
    let fixed = |setting, value| Needed { setting, value, remedy: MAKE_ANEW };
    let mut all = vec![
        fixed("subjects", subjects.clone()),
        fixed("storage", json!("file")),
        fixed("retention", json!("limits")),
        edit("discard", json!("new")),
        edit("max_age", json!(0)),
        edit("max_bytes", json!(-1)),
        edit("max_msgs", json!(-1)),
        edit("max_msgs_per_subject", json!(per_subject)),
        edit("max_msg_size", json!(-1)),
        fixed("deny_delete", json!(true)),
        edit("deny_purge", json!(false)),
        edit("allow_rollup_hdrs", json!(false)),
        edit("no_ack", json!(false)),
        edit("sealed", json!(false)),
        edit("discard_new_per_subject", json!(false)),
        fixed("allow_msg_ttl", json!(false)),
        fixed("mirror", Value::Null),
        edit("sources", Value::Null),
        edit("subject_transform", Value::Null),
        fixed("persist_mode", json!("default")),
    ];
    if per_subject > 0 {
        all.push(Needed { setting: "allow_direct", value: json!(false), remedy: LEADER_ALONE });
    }
    all
}

/// Whether a setting is as needed. Servers leave out what is off, and what they don't know.
fn same(found: &Value, needed: &Value) -> bool {
    match (found, needed) {
        (Value::Null, Value::Bool(false)) => true,
        (Value::Null, Value::String(default)) => default == "default",
        (Value::Null, Value::Number(number)) => matches!(number.as_i64(), Some(0 | -1)),
        (Value::Number(found), Value::Number(needed)) if needed.as_i64() == Some(-1) => {
            found.as_i64().is_some_and(|found| found <= 0)
        }
        (found, needed) => found == needed,
    }
}

/// A repository's name as one token of a subject.
fn token(repository: &RepositoryName) -> String {
    let hash = blake3::hash(repository.as_str().as_bytes());
    hash.as_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn create(link: &Link, stream: &str, config: Value) -> Result<(), Trouble> {
    link.api(&format!("STREAM.CREATE.{stream}"), &config).await.map(drop)
}

async fn config(link: &Link, stream: &str) -> Result<Option<Value>, LogError> {
    match link.api(&format!("STREAM.INFO.{stream}"), &json!({})).await {
        Ok(mut info) => Ok(info.get_mut("config").map(Value::take)),
        Err(Trouble::Absent) => Ok(None),
        Err(error) => Err(Trouble::of("looking at a stream")(error)),
    }
}
