//! Telling what a zone means from what its wildcards say to everybody (RFC 4592).

use std::collections::BTreeSet;

use crate::trail::{ControlOutcome, Lookup};

/// Compares with what made-up names answered. Wildcards may hand out their answers in turn, so several are asked: one
/// item in common tells a wildcard, and so do answers that differ among themselves.
pub(super) fn outcome<T: Ord>(
    asked: &BTreeSet<T>,
    controls: Vec<Lookup<BTreeSet<T>>>,
) -> ControlOutcome {
    if !controls.iter().all(Lookup::is_settled) {
        return ControlOutcome::Pending;
    }
    let mut made_up = Vec::new();
    let mut silent = None;
    for control in controls {
        match control {
            Lookup::Records(found) => made_up.push(found),
            Lookup::Unanswered(reason) => silent = Some(ControlOutcome::Unanswered(reason)),
            Lookup::NotAsked(reason) => silent = Some(ControlOutcome::NotAsked(reason)),
            Lookup::Pending | Lookup::Absent { .. } => made_up.push(BTreeSet::new()),
        }
    }
    let shared = made_up
        .iter()
        .map(|found| found.intersection(asked).count());
    match shared.max() {
        Some(shared) if shared > 0 => ControlOutcome::Wildcard { shared },
        _ if made_up.windows(2).any(|pair| pair[0] != pair[1]) => ControlOutcome::Rotating,
        _ => silent.unwrap_or(ControlOutcome::Explicit),
    }
}
