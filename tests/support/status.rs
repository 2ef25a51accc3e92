//! What `hgfleet status --json` says of a fleet.

use serde_json::Value;

/// Whether these servers are all in service, and nothing ails any.
pub fn nothing_ails<'a>(status: &Value, servers: impl IntoIterator<Item = &'a str>) -> bool {
    let all = status["servers"].as_array().map_or(&[][..], Vec::as_slice);
    servers.into_iter().all(|name| {
        all.iter().find(|server| server["name"] == name).is_some_and(|server| {
            // A master on a shared volume says there how its stores lie.
            let reason = server["reason"].as_str().unwrap_or_default();
            server["state"] == "in-service" && (reason.is_empty() || reason.starts_with("shared volume, tree "))
        })
    })
}
