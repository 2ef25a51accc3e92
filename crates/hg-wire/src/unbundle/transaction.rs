//! One push under the write lock: from the snapshot that it is checked against to the commit.

use super::copy::{BundleCopy, Extras};
use super::parts::Application;
use super::receive::no_room;
use super::summary::Totals;
use super::{AfterPush, PushFailure};
use crate::changegroup_reader::ChangegroupLimits;
use crate::error::shown;
use crate::host::{CommitError, Host};
use crate::pushkey::Arguments;
use hg_store::prepare::Preparation;
use std::io::Write;

/// A push that was not taken, and what the session does after saying so.
pub(super) struct NotTaken {
    pub failure: PushFailure,
    pub after: AfterPush,
}

impl NotTaken {
    /// Lets the host take note of it. Where nobody knows what became of a push, it is not known to be refused.
    pub(super) fn noted(self, host: &mut dyn Host) -> NotTaken {
        if self.after == AfterPush::Continue {
            host.push_refused(&self.failure.whole());
        }
        self
    }
}

impl From<PushFailure> for NotTaken {
    fn from(failure: PushFailure) -> Self {
        NotTaken { failure, after: AfterPush::Continue }
    }
}

/// A push that was taken.
pub(super) struct Taken<T> {
    pub value: T,
    pub after: AfterPush,
}

/// Takes the lock, lets `work` apply a push to what is prepared, and commits it. What `work` makes of it is read out by `result` before the commit.
pub(super) fn run<T>(
    messages: &mut dyn Write,
    host: &mut dyn Host,
    work: impl FnOnce(&mut Application<'_>, &mut dyn Write) -> Result<T, PushFailure>,
) -> Result<Taken<T>, NotTaken> {
    let limits = host.push_limits();
    let spool = host.spool().map_err(|error| PushFailure::abort(no_room(&error)))?;
    let mut push = host.begin_push().map_err(PushFailure::from)?;
    let snapshot = push.snapshot();
    let mut preparation = Preparation::new(&snapshot, spool, limits.prepare.clone()).map_err(PushFailure::from)?;
    if let Some(observer) = push.observer() {
        preparation.observe(observer);
    }
    let extras = Extras { trees: snapshot.repository().requirements().tree_manifests(), flags: snapshot.serves_lfs() };
    let copy = push.bundle().and_then(|file| file.map(|file| BundleCopy::new(file, extras)).transpose());
    let copy = copy.map_err(|error| PushFailure::abort(no_room(&error)))?;
    let chunk_limits = ChangegroupLimits { delta_bytes_max: limits.prepare.text_bytes, ..ChangegroupLimits::default() };
    let mut application = Application {
        preparation,
        snapshot: &snapshot,
        limits: chunk_limits,
        capabilities: None,
        replies: Vec::new(),
        totals: Totals::default(),
        copy,
        changed: false,
    };
    let prepared = work(&mut application, messages).and_then(|value| {
        judge(&mut application.preparation, messages)?;
        let lines = application.totals.lines(&snapshot, &application.preparation)?;
        Ok((value, lines))
    });
    let Application { preparation, totals, copy, .. } = application;
    let prepared = prepared.and_then(|(value, lines)| {
        let change = preparation.finish()?;
        if change.is_some() {
            copy.map_or(Ok(()), BundleCopy::finish)?;
            push.approve(messages).map_err(PushFailure::abort)?;
        }
        Ok((value, lines, change))
    });
    let (value, lines, change) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            let _ = messages.write_all(totals.abort_lines().as_bytes());
            return Err(failure.into());
        }
    };
    let mut after = AfterPush::Continue;
    if let Some(change) = change {
        match push.commit(change, messages) {
            Ok(()) => {}
            Err(CommitError::Refused(text)) => return Err(PushFailure::abort(text).into()),
            Err(CommitError::Unknown(text)) => {
                return Err(NotTaken { failure: PushFailure::abort(text), after: AfterPush::End });
            }
            // It is stored for good, so it was taken; what this place could answer next would not show it.
            Err(CommitError::Stored(text)) => {
                let _ = writeln!(messages, "{}", text.trim_end());
                after = AfterPush::End;
            }
        }
    }
    let _ = messages.write_all(lines.as_bytes());
    Ok(Taken { value, after })
}

/// Asks whoever watched the push whether it is taken.
fn judge(preparation: &mut Preparation<'_>, messages: &mut dyn Write) -> Result<(), PushFailure> {
    let judgement = preparation.judge()?;
    for remark in &judgement.remarks {
        let _ = writeln!(messages, "{remark}");
    }
    judgement.refusal.map_or(Ok(()), |refusal| Err(PushFailure::abort(refusal)))
}

/// The command `pushkey`. Returns whether the key is where the client wants it, and what the session does then.
pub(crate) fn push_one_key(
    arguments: &Arguments<'_>,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> (bool, AfterPush) {
    let moved = run(messages, host, |application, messages| application.push_key(arguments, messages));
    match moved.map_err(|not_taken| not_taken.noted(host)) {
        Ok(Taken { value: true, after }) => (true, after),
        Ok(Taken { value: false, after }) => {
            // The client says of this in words of its own that it failed.
            let Arguments { namespace, key, .. } = arguments;
            host.push_refused(&format!("failed to update value for \"{}/{}\"", shown(namespace), shown(key)));
            (false, after)
        }
        Err(NotTaken { failure, after }) => {
            let _ = writeln!(messages, "{}", failure.line());
            (false, after)
        }
    }
}
