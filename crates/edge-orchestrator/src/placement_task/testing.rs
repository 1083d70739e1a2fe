//! A network small enough to see through, for tests of what plans become.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_placement::{
    Algorithm, Application, Candidate, Effort, PlanInput, Policy, Trust, Whereabouts,
};
use edge_topology::{AggregateTree, ClientDemand, Limits, Observations};
use edge_types::{
    Amount, Generation, Hop, HopReply, IepId, IpNet, MonotonicTime, OfferId, PathEnd,
    PathObservation, PrefixGrouping, Rtt, Slot, UtcTime,
};

static NOBODY: BTreeSet<IepId> = BTreeSet::new();
static NOTHING: BTreeMap<(IepId, IpNet), Rtt> = BTreeMap::new();

/// Behind the one router, 40 ms away, so many ms further.
fn path(target: &str, further: u64) -> PathObservation {
    let reply = |address: &str, ms| {
        let rtt = Rtt(Duration::from_millis(ms));
        Hop::Reply(HopReply::new(address.parse().unwrap(), rtt))
    };
    PathObservation {
        target: target.parse().unwrap(),
        observed_at: MonotonicTime::ZERO,
        hops: vec![reply("240.0.0.1", 40), reply(target, 40 + further)],
        further: Vec::new(),
        end: PathEnd::Reached,
        probes_sent: 0,
    }
}

pub(super) fn site(number: usize) -> IepId {
    IepId {
        host: format!("edge{number}.example").parse().unwrap(),
        port: 5060,
    }
}

/// The router and one client, 10 ms behind it, with this demand in thousandths of a request per second.
pub(super) fn tree(demand: u64) -> AggregateTree {
    let client: IpNet = "241.0.0.0/24".parse().unwrap();
    let mut observations = Observations::new(Limits::default());
    observations.insert(&path("241.0.0.9", 10)).unwrap();
    let demand = ClientDemand {
        target: "241.0.0.9".parse().unwrap(),
        milli_requests_per_second: demand,
    };
    let grouping = PrefixGrouping::new(24, 48).unwrap();
    observations.tree(Generation(1), grouping, &[(client, demand)].into())
}

/// Sites from number 1 on, each so many ms behind the router.
pub(super) fn candidates(tree: &AggregateTree, further: &[u64]) -> Vec<Candidate> {
    let offered = further.iter().zip(1..).map(|(ms, number)| Candidate {
        site: site(number),
        offer: Some(OfferId([u8::try_from(number).unwrap(); 32])),
        attachment: tree.attach(&path(&format!("242.0.{number}.9"), *ms)),
        price_per_second: Amount::wei(1),
        slot: Slot {
            start: UtcTime(0),
            end: UtcTime(10),
        },
        already_running: false,
        capacity: None,
        trust: Trust::Named,
        whereabouts: Whereabouts::default(),
        outlook_percent: 100,
    });
    offered.collect()
}

/// At most one of them.
pub(super) fn input<'a>(tree: &'a AggregateTree, candidates: &'a [Candidate]) -> PlanInput<'a> {
    PlanInput {
        generation: Generation(1),
        tree,
        sites_found: candidates.len(),
        candidates,
        excluded: &NOBODY,
        measured: &NOTHING,
        application: Application::default(),
        policy: Policy {
            max_sites: 1,
            ..Policy::within(Amount::wei(100))
        },
        algorithm: Algorithm::Auto,
        effort: Effort::default(),
    }
}
