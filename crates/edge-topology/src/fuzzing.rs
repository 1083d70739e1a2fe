//! What fuzzers and tests throw bytes at: the readers of saved stores.

use crate::observations::{Limits, Observations};
use crate::tree::{ClientDemand, Demand};
use edge_types::{Generation, IpNet, PrefixGrouping};

/// Takes `octets` as a snapshot and as a log.
///
/// # Panics
/// If a promise is broken.
pub fn saved(octets: &[u8]) {
    let limits = Limits::default();
    if let Ok(loaded) = Observations::load(octets, limits) {
        usable(&loaded);
        let text: Vec<String> = loaded.snapshot().collect();
        let again = Observations::load(text.join("\n").as_bytes(), limits);
        assert!(
            again.is_ok_and(|again| again == loaded),
            "what was saved is read as it was"
        );
    }
    let replay = Observations::replay(octets, limits);
    assert!(
        replay.refused <= replay.entries,
        "no more is refused than was read"
    );
    usable(&replay.observations);
    let text: Vec<String> = replay.observations.snapshot().collect();
    let again = Observations::load(text.join("\n").as_bytes(), limits);
    assert!(
        again.is_ok_and(|again| again == replay.observations),
        "what was replayed can be saved"
    );
}

/// A tree of all that is known can be made.
fn usable(observations: &Observations) {
    let demand: Demand = observations
        .traced()
        .map(|(target, _)| {
            let client = ClientDemand {
                target,
                milli_requests_per_second: u64::MAX,
            };
            (IpNet::from(target), client)
        })
        .collect();
    let tree = observations.tree(Generation(1), PrefixGrouping::SITE, &demand);
    assert!(
        demand.keys().all(|client| tree.client(*client).is_some()),
        "every client is on the tree"
    );
}
