//! Runs a discovery over a lookup and registries.

use std::num::NonZeroUsize;

use edge_discovery::{Discovery, IepCandidate};
use edge_ports::{Clock, NameLookup, PrefixOwner};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::drive;

/// Questions to registries at a time. They ask for restraint.
const PARALLEL_REGISTRIES: usize = 4;

/// As [`drive`], and then asks for the holders of addresses whose names led nowhere, and for the zones of those. The
/// discovery's configuration has to be `asking_owners`. Registries are slow, so what they lead to is a second run, which is
/// closed in the end.
pub async fn drive_with_owners(
    discovery: &mut Discovery,
    lookup: &dyn NameLookup,
    owners: &dyn PrefixOwner,
    clock: &dyn Clock,
    parallelism: NonZeroUsize,
    mut on_candidate: impl FnMut(IepCandidate) + Send,
) {
    drive(discovery, lookup, clock, parallelism, &mut on_candidate).await;
    discovery.start_run(clock.monotonic());
    let mut under_way = FuturesUnordered::new();
    let mut was_told = false;
    loop {
        while under_way.len() < PARALLEL_REGISTRIES
            && let Some(address) = discovery.poll_owner(clock.monotonic())
        {
            under_way.push(async move { (address, owners.owner(address).await) });
        }
        let Some((address, answer)) = under_way.next().await else {
            break;
        };
        discovery.handle_owner(address, answer, clock.monotonic());
        was_told = true;
    }
    if was_told {
        // Waiting for registries has used up the run's time.
        discovery.start_run(clock.monotonic());
    }
    drive(discovery, lookup, clock, parallelism, on_candidate).await;
}
