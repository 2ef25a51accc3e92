//! Obsolescence markers that a push brings.

use std::collections::HashSet;

use crate::{Marker, Node, Snapshot};

use super::error::{Place, PrepareError, Refusal};
use super::limits::PrepareLimits;

/// The version of a new `obsstore`, and its first byte.
const VERSION: u8 = 1;

/// Markers that the repository does not have.
#[derive(Default)]
pub(super) struct NewMarkers {
    /// All markers, old and new, in the form of version 1, once the first ones came.
    known: Option<HashSet<Vec<u8>>>,
    /// In the form of the store.
    pub(super) bytes: Vec<u8>,
    pub(super) count: u32,
    /// What they say was replaced.
    pub(super) predecessors: Vec<Node>,
}

impl NewMarkers {
    /// Adds those that are new; returns how many.
    pub(super) fn add(
        &mut self,
        snapshot: &Snapshot,
        limits: &PrepareLimits,
        markers: &[Marker],
    ) -> Result<usize, PrepareError> {
        let version = snapshot.obsstore()?.version().unwrap_or(VERSION);
        let known = match &mut self.known {
            Some(known) => known,
            None => {
                let old = snapshot.obsstore()?.markers().iter().map(encode);
                self.known.insert(old.collect::<Result<_, _>>()?)
            }
        };
        let mut added = 0;
        for marker in markers {
            let key = encode(marker)?;
            if known.contains(&key) {
                continue;
            }
            if self.count as usize >= limits.markers {
                let what = Refusal::Limit { limit: limits.markers as u64, unit: "obsolescence markers" };
                return Err(PrepareError::refused(what, Place::Push));
            }
            if version == 0 {
                marker.encode_v0(&mut self.bytes).map_err(refused)?;
            } else {
                self.bytes.extend_from_slice(&key);
            }
            known.insert(key);
            self.predecessors.push(marker.predecessor);
            self.count += 1;
            added += 1;
        }
        Ok(added)
    }

    /// What is to be written at the end of `obsstore`.
    pub(super) fn content(&self, old_bytes: u64) -> Vec<u8> {
        match old_bytes {
            0 => [&[VERSION], &self.bytes[..]].concat(),
            _ => self.bytes.clone(),
        }
    }
}

fn encode(marker: &Marker) -> Result<Vec<u8>, PrepareError> {
    let mut bytes = Vec::new();
    marker.encode_v1(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

fn refused(error: crate::obsstore::MarkerError) -> PrepareError {
    PrepareError::refused(Refusal::Marker(error.to_string()), Place::Push)
}
