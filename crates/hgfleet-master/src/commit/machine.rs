//! One push from the append to its reply: what to do next, as a pure function of what has happened.
//!
//! No I/O, no clock, no task lives here, so every order of events is a unit test. The driver feeds [`Input`]s
//! and does what each [`Output`] says, in the order in which they come.
//!
//! What it keeps, whatever comes in whatever order: nothing is told before the log has settled it; a record that is
//! in the log is applied and is never called refused; the record is appended once; the lock lasts until the push
//! is refused or applied.

#[cfg(test)]
mod exploration;

use hgfleet_log::{RepositoryName, Sequence};

/// Something has happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The push's turn to append has come ([`Turns`](super::turns::Turns)); its record will have this sequence.
    Turn(Sequence),
    /// The log has the record.
    Acknowledged,
    /// The log says that it ends elsewhere than the append expected.
    WrongLastSequence,
    /// The log refused the append since another server holds a newer epoch.
    RefusedFenced,
    /// The log refused the append, and this is why.
    Refused(String),
    /// The append ended without an answer that can be relied on.
    Unknown,
    /// What the log holds at the push's sequence, asked after [`Output::Read`].
    LogSays {
        /// What is there.
        found: Found,
        /// Whether a record of a higher epoch is there or behind it.
        fenced: bool,
    },
    /// The empty record is in the log, in the place that the push expected to get.
    EmptyAccepted,
    /// It is not, or nobody knows.
    EmptyRefused,
    /// The write lock is not this push's any more, so far as anybody but the push can take it away.
    LockLost,
    /// The session has gone; there is nobody to tell.
    SessionLost,
    /// `append_wait` is over.
    AppendWaitOver,
    /// This master was fenced, as another push or the lease has found.
    Fenced,
    /// The master's own store has the record.
    Applied,
    /// It could not be applied; the repository is in quarantine.
    ApplyFailed,
    /// All mirrors in service were told, or the wait for them is over: `told` of `of` know.
    Told {
        /// How many were told.
        told: usize,
        /// How many are in service.
        of: usize,
    },
}

/// What lies in the log at the push's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// The push's own record.
    Ours,
    /// Some other record.
    Another,
    /// None: the log ends before it.
    Nothing,
    /// Nobody can say: the log doesn't answer.
    Unreadable,
}

/// Something is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Append the record, once. Answer with [`Input::Acknowledged`], [`Input::WrongLastSequence`],
    /// [`Input::RefusedFenced`], [`Input::Refused`] or [`Input::Unknown`], always.
    Append,
    /// Read what the log holds at the push's sequence, from whoever leads it. Answer with [`Input::LogSays`].
    Read {
        /// It is not the first time: pause before.
        again: bool,
    },
    /// Append an empty record where the push's would have come. Answer with [`Input::EmptyAccepted`] or [`Input::EmptyRefused`].
    AppendEmpty,
    /// Tell the client.
    Tell(Tell),
    /// Apply the record to the master's store. Answer with [`Input::Applied`] or [`Input::ApplyFailed`].
    Apply {
        /// It has failed before: pause before.
        again: bool,
    },
    /// Say with [`Input::Told`] when the mirrors were told of this sequence, or when the wait for them is over.
    AwaitTold(Sequence),
    /// The push's change is of no use any more; drop it.
    DropChange,
    /// Free the repository's write lock.
    ReleaseLock,
    /// Another server is master: append nothing more in this life.
    Fence,
    /// End the session once the client has what it was told.
    EndSession,
}

/// What a client is told. [`Tell::text`] is what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tell {
    /// The log has it. More follows.
    Stored(Sequence),
    /// The reply: applied, and known to so many mirrors.
    Visible {
        /// How many were told.
        told: usize,
        /// How many are in service.
        of: usize,
    },
    /// The reply: stored, but the master could not apply it.
    NotApplied(Sequence),
    /// The reply: nothing has happened.
    Refused(Why),
    /// The reply: nobody knows.
    Unknown,
}

/// Why a push was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// `append_wait` was over before its turn came.
    LogBusy,
    /// Its place in the log is another record's.
    Overtaken,
    /// Another server has become master.
    Fenced,
    /// The lock was lost before the append.
    LockLost,
    /// What the log said.
    Log(String),
}

impl Tell {
    /// Returns the line for the client, without the `remote: ` that it puts before it.
    pub fn text(&self, repository: &RepositoryName) -> String {
        let refused =
            |what: &str, advice: &str| format!("refused: {what}, on {repository}. Nothing was stored; {advice}");
        match self {
            Tell::Stored(sequence) => format!("stored as {sequence}"),
            Tell::Visible { told, of } if told == of && *of > 0 => format!("visible on {told} of {of} mirrors"),
            Tell::Visible { told, of } => {
                format!("not yet visible everywhere ({told} of {of} mirrors); it is safe in the log")
            }
            Tell::NotApplied(sequence) => format!(
                "stored as {sequence}, but {repository} can't be read here until it is repaired; it is safe in the log, don't push it again"
            ),
            Tell::Refused(Why::LogBusy) => refused("the log has not settled an earlier push", "push again in a while"),
            Tell::Refused(Why::Overtaken) => refused("its place in the log is another's", "push again"),
            Tell::Refused(Why::Fenced) => refused("another server has become master", "push again"),
            Tell::Refused(Why::LockLost) => refused("the write lock was lost", "push again"),
            Tell::Refused(Why::Log(why)) => refused(why, "tell the operators, then push again"),
            Tell::Unknown => "outcome unknown: pull before you push again".to_owned(),
        }
    }
}

/// One push from the append to its reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    state: State,
    /// Somebody is there who can be told.
    session: bool,
    fenced: bool,
    apply_failed: bool,
    told: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Its turn has not come; nothing was asked of the log.
    Waiting,
    /// The append is under way.
    Appending(Sequence),
    /// The log is being asked what has become of it.
    Reading(Sequence),
    /// The empty record is under way.
    Emptying(Sequence),
    /// In the log, not in the master's store.
    Stored(Sequence),
    /// In both; the client waits for the mirrors.
    Applied,
    Done,
}

impl Default for Commit {
    fn default() -> Commit {
        Commit::new()
    }
}

impl Commit {
    /// Returns a push that waits for its turn: its change was checked, its lock is held.
    pub fn new() -> Commit {
        Commit { state: State::Waiting, session: true, fenced: false, apply_failed: false, told: None }
    }

    /// Returns whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether the log has yet to say what became of the append: no other may begin.
    pub fn is_unsettled(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Emptying(_))
    }

    /// Takes what has happened, and returns what is to be done, in order. What can't happen in the
    /// present state changes nothing.
    pub fn on(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match (self.state, input) {
            (State::Done, _) => {}
            (State::Waiting, Input::SessionLost) => {
                self.session = false;
                self.drop_push(&mut out);
            }
            (_, Input::SessionLost) => self.lose_session(),
            (State::Waiting, Input::LockLost) => self.refuse(Why::LockLost, &mut out),
            (State::Waiting, Input::Fenced) => {
                self.fenced = true;
                self.refuse(Why::Fenced, &mut out);
            }
            (_, Input::Fenced) => self.fenced = true,
            (State::Waiting, Input::AppendWaitOver) => self.refuse(Why::LogBusy, &mut out),
            (State::Appending(_) | State::Reading(_) | State::Emptying(_), Input::AppendWaitOver) => {
                self.tell(Tell::Unknown, &mut out);
                self.end_session(&mut out);
            }
            (State::Waiting, Input::Turn(sequence)) => {
                self.state = State::Appending(sequence);
                out.push(Output::Append);
            }
            (State::Appending(sequence), Input::Acknowledged) => self.store(sequence, &mut out),
            (State::Appending(sequence), Input::WrongLastSequence | Input::Unknown) => {
                self.state = State::Reading(sequence);
                out.push(Output::Read { again: false });
            }
            (State::Appending(_), Input::RefusedFenced) => {
                self.fence(&mut out);
                self.refuse(Why::Fenced, &mut out);
            }
            (State::Appending(_), Input::Refused(why)) => self.refuse(Why::Log(why), &mut out),
            (State::Reading(sequence), Input::LogSays { found, fenced }) => {
                self.settle(sequence, found, fenced, &mut out);
            }
            (State::Emptying(_), Input::EmptyAccepted) => self.refuse(Why::Overtaken, &mut out),
            (State::Emptying(sequence), Input::EmptyRefused) => {
                self.state = State::Reading(sequence);
                out.push(Output::Read { again: true });
            }
            (State::Stored(_), Input::Applied) => {
                self.state = State::Applied;
                out.push(Output::ReleaseLock);
                self.reply(&mut out);
            }
            (State::Stored(sequence), Input::ApplyFailed) => {
                self.apply_failed = true;
                out.push(Output::Apply { again: true });
                self.reply_not_applied(sequence, &mut out);
            }
            (State::Stored(sequence), Input::Told { told, of }) => {
                self.told = Some((told, of));
                self.reply_not_applied(sequence, &mut out);
            }
            (State::Applied, Input::Told { told, of }) => {
                self.told = Some((told, of));
                self.reply(&mut out);
            }
            _ => {}
        }
        out
    }

    fn settle(&mut self, sequence: Sequence, found: Found, fenced: bool, out: &mut Vec<Output>) {
        if fenced {
            self.fence(out);
        }
        match found {
            Found::Ours => self.store(sequence, out),
            Found::Another if self.fenced => self.refuse(Why::Fenced, out),
            Found::Another => self.refuse(Why::Overtaken, out),
            // A server that is fenced appends nothing more; the new master's epoch record has taken the place.
            Found::Nothing if !self.fenced => {
                self.state = State::Emptying(sequence);
                out.push(Output::AppendEmpty);
            }
            Found::Nothing | Found::Unreadable => out.push(Output::Read { again: true }),
        }
    }

    fn store(&mut self, sequence: Sequence, out: &mut Vec<Output>) {
        self.state = State::Stored(sequence);
        self.tell(Tell::Stored(sequence), out);
        out.push(Output::Apply { again: false });
        if self.session {
            out.push(Output::AwaitTold(sequence));
        }
    }

    fn reply(&mut self, out: &mut Vec<Output>) {
        match self.told {
            Some((told, of)) if self.session => self.tell(Tell::Visible { told, of }, out),
            None if self.session => return,
            _ => {}
        }
        self.state = State::Done;
    }

    /// The client gets its reply though the apply goes on trying, with the lock held.
    fn reply_not_applied(&mut self, sequence: Sequence, out: &mut Vec<Output>) {
        if self.apply_failed && self.told.is_some() {
            self.tell(Tell::NotApplied(sequence), out);
            self.end_session(out);
        }
    }

    fn refuse(&mut self, why: Why, out: &mut Vec<Output>) {
        self.tell(Tell::Refused(why), out);
        self.drop_push(out);
    }

    fn drop_push(&mut self, out: &mut Vec<Output>) {
        out.push(Output::DropChange);
        out.push(Output::ReleaseLock);
        self.state = State::Done;
    }

    fn fence(&mut self, out: &mut Vec<Output>) {
        if !self.fenced {
            self.fenced = true;
            out.push(Output::Fence);
        }
    }

    fn tell(&self, tell: Tell, out: &mut Vec<Output>) {
        if self.session {
            out.push(Output::Tell(tell));
        }
    }

    fn end_session(&mut self, out: &mut Vec<Output>) {
        if self.session {
            self.session = false;
            out.push(Output::EndSession);
        }
    }

    fn lose_session(&mut self) {
        self.session = false;
        if self.state == State::Applied {
            self.state = State::Done;
        }
    }
}
