//! What is known of a repository's last record.

use hgfleet_access::Action;
use hgfleet_log::{LogError, Member, RepositoryName, Role, StoreKind};

use crate::daemon::master::{Master, No, refusal};
use crate::daemon::rights::Rights;
use crate::protocol::{MirrorLine, StatusAnswer};

/// Looks it up.
pub(super) async fn of(master: &Master, name: &RepositoryName, rights: &Rights) -> Result<StatusAnswer, No> {
    let unreadable = |error: LogError| {
        tracing::error!(%error, "the log can't be read");
        No::failed(format!("refused: the log can't be read, on {name}. Try again in a minute"))
    };
    let last = master.log.last_of(name).await.map_err(unreadable)?;
    let gone = || refusal(name, &hgfleet_replica::ReplicaError::NotFound(name.clone()));
    let last = last.ok_or_else(gone)?;
    let store = last.store().ok_or_else(gone)?;
    let view = master.log.view().await.map_err(unreadable)?;
    let members = master.log.members().await.map_err(unreadable)?;
    let visible = view.as_ref().and_then(|view| view.visible);
    // What a mirror says of itself is a moment old; one in service has what is visible.
    let in_service = |name: &str| {
        let mut mirrors = view.iter().flat_map(|view| &view.mirrors);
        mirrors.any(|mirror| mirror.name == name)
    };
    let has_it = |member: &Member| {
        member.position >= Some(last.sequence) || (visible >= Some(last.sequence) && in_service(&member.name))
    };
    let mirrors = members.into_iter().filter(|member| member.role == Role::Mirror).map(|member| MirrorLine {
        state: member.state.to_string(),
        lag_seconds: member.lag_seconds,
        has_it: has_it(&member),
        name: member.name,
    });
    let kind = match &store.kind {
        // What a push moved is in its record; settings move nothing.
        StoreKind::Alter if store.summary.is_empty() => "settings".to_owned(),
        StoreKind::Alter => "push".to_owned(),
        kind => kind.to_string(),
    };
    let may_push = rights.allow(name.as_str(), Action::Write);
    Ok(StatusAnswer {
        sequence: last.sequence.get(),
        kind,
        who: store.who.clone(),
        at_ms: last.time_ms,
        visible: visible.map(|sequence| sequence.get()),
        mirrors: mirrors.collect(),
        read_only: master.read_only(&master.grant(name)?.0),
        refused: may_push.then(|| master.refusals.last(name)).flatten(),
    })
}
