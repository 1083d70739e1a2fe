//! The machine: sightings in, questions out, answers in, candidates out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use edge_types::{DnsName, Hop, MonotonicTime, PathEnd, PathObservation};

use crate::cache::{Cache, Dependent};
use crate::config::DiscoveryConfig;
use crate::evaluate;
use crate::owner::{OwnerAnswer, Owners};
use crate::question::{Answer, AnswerName, Question, RecordData, RecordKind};
use crate::trail::{
    AddressOutcome, AddressTrail, IepCandidate, Lookup, NameTrail, PtrTrail, RouterTrail,
    SiteOutcome, Trail, ZoneDecision, ZoneTrail,
};
use crate::zones::{CandidateZone, NameRefusal, candidate_zones, zones_from};

/// A router seen on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopSighting {
    /// Its address.
    pub address: IpAddr,
    /// Target of the path.
    pub path: IpAddr,
    /// Position on the path, 1 for the first router.
    pub ttl: u8,
}

/// The part of a path on which routers carry names of one zone.
///
/// Links between domains are numbered by one of the two, so the first and last router of a segment may belong to the
/// neighbour; hence a segment and not a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathSegment {
    /// Target of the path.
    pub path: IpAddr,
    /// Position of the first such router.
    pub first_ttl: u8,
    /// Position of the last such router.
    pub last_ttl: u8,
}

#[derive(Debug)]
struct Address {
    /// Path target and position.
    sightings: BTreeSet<(IpAddr, u8)>,
    last_seen: MonotonicTime,
}

#[derive(Debug, Default)]
struct Ladder {
    zones: Vec<CandidateZone>,
    addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Default)]
struct Zone {
    /// Those that lead to it.
    ladders: BTreeSet<DnsName>,
    /// Routers whose names are checked to lead back to them.
    routers: BTreeMap<IpAddr, DnsName>,
    /// Does it have SRV records that can be followed?
    is_followed: bool,
}

/// Finds IEPs from the addresses of routers; see the crate's documentation.
///
/// Long-lived: answers are kept for their time to live, and each run asks only what is new or no longer holds.
#[derive(Debug)]
pub struct Discovery {
    config: DiscoveryConfig,
    cache: Cache,
    addresses: BTreeMap<IpAddr, Address>,
    sightings_over_limit: u64,
    /// By the most specific zone of a name.
    ladders: BTreeMap<DnsName, Ladder>,
    /// Zones asked.
    zones: BTreeMap<DnsName, Zone>,
    configured: BTreeSet<DnsName>,
    owners: Owners,
    /// What was last announced, without `seen_on`.
    announced: BTreeMap<DnsName, Vec<IepCandidate>>,
    news: VecDeque<IepCandidate>,
}

impl Discovery {
    /// Knows nothing yet. Questions are asked from the first [`Discovery::start_run`] on.
    pub fn new(config: DiscoveryConfig) -> Self {
        Self {
            config,
            cache: Cache::default(),
            addresses: BTreeMap::new(),
            sightings_over_limit: 0,
            ladders: BTreeMap::new(),
            zones: BTreeMap::new(),
            configured: BTreeSet::new(),
            owners: Owners::default(),
            announced: BTreeMap::new(),
            news: VecDeque::new(),
        }
    }

    /// Opens a run with a fresh budget, ending the one before if it is still open: forgets addresses not seen for
    /// long, and asks again what no longer holds.
    pub fn start_run(&mut self, now: MonotonicTime) {
        self.end_run(now);
        self.news.clear();
        let retention = self.config.limits.retention;
        self.addresses
            .retain(|_, address| now.since(address.last_seen) <= retention);
        self.cache.start_run(&self.config.limits, now);
        self.owners
            .start_run(self.config.limits.owners_per_run, now);
        self.ladders.clear();
        self.zones.clear();
        let addresses: Vec<IpAddr> = self.addresses.keys().copied().collect();
        for address in addresses {
            self.advance_address(address, now);
        }
        for zone in self.configured.clone() {
            self.enter_zone(&zone, None, now);
        }
        self.cache.prune();
        let zones = &self.zones;
        self.announced.retain(|zone, _| zones.contains_key(zone));
    }

    /// Ends the run. Questions under way count as unanswered, which is not "none"; sites whose key alone is unknown
    /// become candidates without one.
    pub fn end_run(&mut self, now: MonotonicTime) {
        self.cache.end_run(now);
        let zones: Vec<DnsName> = self.zones.keys().cloned().collect();
        for zone in zones {
            self.advance_zone(&zone, now);
        }
    }

    /// When the open run ends.
    pub fn deadline(&self) -> Option<MonotonicTime> {
        self.cache.deadline()
    }

    /// Is no question waiting or under way?
    pub fn is_settled(&self) -> bool {
        self.cache.is_settled()
    }

    /// Takes note of the routers on a path. The target itself is none.
    pub fn observe_path(&mut self, path: &PathObservation, now: MonotonicTime) {
        let routers = match path.end {
            PathEnd::Reached => path.hops.len().saturating_sub(1),
            _ => path.hops.len(),
        };
        for (ttl, hop) in (1u8..=u8::MAX).zip(&path.hops[..routers]) {
            if let Hop::Reply(reply) = hop
                && reply.address != path.target
            {
                self.observe_hop(
                    HopSighting {
                        address: reply.address,
                        path: path.target,
                        ttl,
                    },
                    now,
                );
            }
        }
    }

    /// Takes note of a router. A new address gives an open run its full time again.
    pub fn observe_hop(&mut self, sighting: HopSighting, now: MonotonicTime) {
        let limits = &self.config.limits;
        let address = sighting.address.to_canonical();
        let is_full = self.addresses.len() >= limits.addresses;
        let known = match self.addresses.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.sightings_over_limit += 1;
                return;
            }
            Entry::Vacant(free) => {
                self.cache.extend_run(limits, now);
                free.insert(Address {
                    sightings: BTreeSet::new(),
                    last_seen: now,
                })
            }
        };
        known.last_seen = now;
        if known.sightings.len() < limits.sightings_per_address {
            known.sightings.insert((sighting.path, sighting.ttl));
        }
        self.advance_address(address, now);
    }

    /// Asks a zone that the operator named.
    pub fn observe_zone(&mut self, zone: DnsName, now: MonotonicTime) {
        self.enter_zone(&zone, None, now);
        self.configured.insert(zone);
    }

    /// The next question to send, if there is one and the run is not over.
    pub fn poll_question(&mut self, now: MonotonicTime) -> Option<Question> {
        self.cache.poll(now)
    }

    /// Takes an answer. Answers to questions that are not under way are ignored.
    pub fn handle_answer(&mut self, question: &Question, answer: Answer, now: MonotonicTime) {
        for dependent in self
            .cache
            .answer(question, answer, &self.config.limits, now)
        {
            match dependent {
                Dependent::Address(address) => self.advance_address(address, now),
                Dependent::Ladder(base) => self.advance_ladder(&base, now),
                Dependent::Zone(zone) => self.advance_zone(&zone, now),
            }
        }
    }

    /// A candidate that is new, or differs from when it was last returned here in more than where it was seen. What is
    /// not fetched before the next [`Discovery::start_run`] is only in [`Discovery::candidates`].
    pub fn poll_candidate(&mut self) -> Option<IepCandidate> {
        self.news
            .pop_front()
            .map(|found| self.with_sightings(found))
    }

    /// All candidates known, by zone, then in the order of the zone's priority.
    pub fn candidates(&self) -> Vec<IepCandidate> {
        self.zones
            .keys()
            .flat_map(|zone| candidates_of(&self.config, &self.cache, zone))
            .map(|found| self.with_sightings(found))
            .collect()
    }

    /// On which parts of which paths routers with names that led to `zone` were seen, by path.
    pub fn segments(&self, zone: &DnsName) -> Vec<PathSegment> {
        let mut segments: BTreeMap<IpAddr, PathSegment> = BTreeMap::new();
        for address in self.seen_on(zone) {
            for &(path, ttl) in self
                .addresses
                .get(&address)
                .into_iter()
                .flat_map(|known| &known.sightings)
            {
                let segment = segments.entry(path).or_insert(PathSegment {
                    path,
                    first_ttl: ttl,
                    last_ttl: ttl,
                });
                segment.first_ttl = segment.first_ttl.min(ttl);
                segment.last_ttl = segment.last_ttl.max(ttl);
            }
        }
        segments.into_values().collect()
    }

    /// The whole account: what became of every address, name, zone and record.
    pub fn trail(&self) -> Trail {
        Trail {
            addresses: self
                .addresses
                .iter()
                .map(|(&address, known)| AddressTrail {
                    address,
                    paths: known.sightings.len(),
                    owner: self.owners.get(address).cloned(),
                    outcome: self.address_outcome(address),
                })
                .collect(),
            zones: self
                .zones
                .keys()
                .map(|zone| self.zone_trail(zone))
                .collect(),
            sightings_over_limit: self.sightings_over_limit,
        }
    }

    fn zone_trail(&self, zone: &DnsName) -> ZoneTrail {
        let mut found = evaluate::zone(&self.config, &self.cache, zone);
        for service in found.services() {
            for site in &mut service.sites {
                if let SiteOutcome::Candidate(candidate) = &mut site.outcome {
                    self.add_sightings(candidate);
                }
            }
        }
        ZoneTrail {
            zone: zone.clone(),
            is_configured: self.configured.contains(zone),
            service: found.service,
            instances: found.instances,
            routers: self
                .zones
                .get(zone)
                .into_iter()
                .flat_map(|known| &known.routers)
                .map(|(&address, name)| RouterTrail {
                    address,
                    name: name.clone(),
                    confirmed: self.confirmed(address, name),
                })
                .collect(),
        }
    }

    fn confirmed(&self, address: IpAddr, name: &DnsName) -> Lookup<bool> {
        self.cache
            .lookup(&forward_question(address, name))
            .map(|answer| answer.data.contains(&RecordData::Address(address)))
    }

    fn address_outcome(&self, address: IpAddr) -> AddressOutcome {
        if let Err(refusal) = self.config.policy.check(address) {
            return AddressOutcome::NotAllowed(refusal);
        }
        AddressOutcome::Ptr(
            self.cache
                .lookup(&Question::reverse(address))
                .map(|answer| PtrTrail {
                    names: answer
                        .data
                        .iter()
                        .map(|record| {
                            let (name, zones) = self.zones_named(record);
                            NameTrail {
                                name,
                                zones: zones.map(|zones| {
                                    evaluate::ladder(&self.config, &self.cache, &zones)
                                }),
                            }
                        })
                        .collect(),
                    over_limit: answer.over_limit,
                }),
        )
    }

    fn zones_named(
        &self,
        record: &RecordData,
    ) -> (Option<DnsName>, Result<Vec<CandidateZone>, NameRefusal>) {
        match record {
            RecordData::Ptr(AnswerName::Name(name)) => (
                Some(name.clone()),
                candidate_zones(name, self.config.limits.zones_per_name),
            ),
            // Routers' own labels may be odd; whose they are is told by the rest.
            RecordData::Ptr(AnswerName::Unacceptable { why, above }) => {
                let most = self.config.limits.zones_per_name;
                let zones = above.as_ref().map(|above| zones_from(above, most));
                let zones = zones.and_then(Result::ok);
                (
                    None,
                    zones.ok_or_else(|| NameRefusal::NotAHostName(why.clone())),
                )
            }
            _ => (None, Err(NameRefusal::NotAHostName("the root".to_owned()))),
        }
    }

    fn advance_address(&mut self, address: IpAddr, now: MonotonicTime) {
        if self.config.policy.check(address).is_err() {
            return;
        }
        let question = Question::reverse(address);
        let limits = &self.config.limits;
        self.cache
            .want(&question, Dependent::Address(address), limits, now);
        let names = match self.cache.lookup(&question) {
            Lookup::Records(answer) => answer.data,
            Lookup::Absent { .. } => &[],
            _ => return,
        };
        let mut ladders: Vec<Vec<CandidateZone>> = names
            .iter()
            .filter_map(|record| self.zones_named(record).1.ok())
            .collect();
        if ladders.is_empty() && self.config.asks_owners {
            self.owners.want(address, now);
            ladders = self.owners.ladders(address);
        }
        for zones in ladders {
            let Some(base) = zones.first().map(|found| found.zone.clone()) else {
                continue;
            };
            let ladder = self.ladders.entry(base.clone()).or_default();
            ladder.zones = zones;
            ladder.addresses.insert(address);
            self.advance_ladder(&base, now);
        }
    }

    /// The next address to ask the holder of, for [`DiscoveryConfig::asking_owners`]. Registries are slower than a run is
    /// long, so these may be fetched and answered after its end; a run allows so many of them.
    pub fn poll_owner(&mut self, now: MonotonicTime) -> Option<IpAddr> {
        self.owners.poll(now)
    }

    /// Takes what came of a question for a holder. Questions follow for its domains, in this run if it is still open, or else in the next.
    pub fn handle_owner(&mut self, address: IpAddr, answer: OwnerAnswer, now: MonotonicTime) {
        let prefix = match &answer {
            OwnerAnswer::Found(owner) => owner.prefix,
            _ => address.into(),
        };
        if !self.owners.answer(address, answer, now) {
            return;
        }
        let known = self.addresses.keys().copied();
        let told: Vec<IpAddr> = known.filter(|known| prefix.contains(known)).collect();
        for address in told {
            self.advance_address(address, now);
        }
    }

    fn advance_ladder(&mut self, base: &DnsName, now: MonotonicTime) {
        let Some(ladder) = self.ladders.get(base) else {
            return;
        };
        for step in evaluate::ladder(&self.config, &self.cache, &ladder.zones) {
            if step.decision == ZoneDecision::Asked {
                self.enter_zone(&step.zone, Some(base), now);
            }
        }
    }

    fn enter_zone(&mut self, zone: &DnsName, base: Option<&DnsName>, now: MonotonicTime) {
        let is_new = !self.zones.contains_key(zone);
        let known = self.zones.entry(zone.clone()).or_default();
        let is_new_ladder = base.is_some_and(|base| known.ladders.insert(base.clone()));
        if is_new_ladder
            && let (Some(base), Some(question)) =
                (base, evaluate::service_question(&self.config, zone))
        {
            let dependent = Dependent::Ladder(base.clone());
            self.cache
                .want(&question, dependent, &self.config.limits, now);
        }
        if is_new {
            self.advance_zone(zone, now);
        } else {
            self.confirm_routers(zone, now);
        }
    }

    fn advance_zone(&mut self, zone: &DnsName, now: MonotonicTime) {
        let mut found = evaluate::zone(&self.config, &self.cache, zone);
        for question in &found.wanted {
            let dependent = Dependent::Zone(zone.clone());
            self.cache
                .want(question, dependent, &self.config.limits, now);
        }
        // The service's own question and that for instances are asked of every zone.
        let is_followed = found.services().any(|service| {
            let mut sites = service.sites.iter();
            sites.any(|site| !matches!(site.outcome, SiteOutcome::Rejected(_)))
        });
        if let Some(known) = self.zones.get_mut(zone) {
            known.is_followed = is_followed;
        }
        self.confirm_routers(zone, now);
        let found = candidates_of(&self.config, &self.cache, zone);
        let announced = self.announced.entry(zone.clone()).or_default();
        self.news.extend(
            found
                .iter()
                .filter(|candidate| !announced.contains(candidate))
                .cloned(),
        );
        *announced = found;
    }

    /// Asks whether the names of some routers lead back to them, where the answer matters.
    fn confirm_routers(&mut self, zone: &DnsName, now: MonotonicTime) {
        let limit = self.config.limits.routers_confirmed_per_zone;
        let Some(known) = self.zones.get(zone) else {
            return;
        };
        let room = limit.saturating_sub(known.routers.len());
        if room == 0 || !known.is_followed {
            return;
        }
        let found: Vec<(IpAddr, DnsName)> = self
            .routers_of(known)
            .filter(|address| !known.routers.contains_key(address))
            .filter_map(|address| Some((address, self.name_within(address, zone)?)))
            .take(room)
            .collect();
        for (address, name) in found {
            let question = forward_question(address, &name);
            self.cache.want(
                &question,
                Dependent::Zone(zone.clone()),
                &self.config.limits,
                now,
            );
            if let Some(known) = self.zones.get_mut(zone) {
                known.routers.insert(address, name);
            }
        }
    }

    /// The name of a router that led to `zone`.
    fn name_within(&self, address: IpAddr, zone: &DnsName) -> Option<DnsName> {
        let Lookup::Records(answer) = self.cache.lookup(&Question::reverse(address)) else {
            return None;
        };
        answer.data.iter().find_map(|record| match record {
            RecordData::Ptr(AnswerName::Name(name)) if name.is_within(zone) => Some(name.clone()),
            _ => None,
        })
    }

    fn routers_of<'a>(&'a self, known: &'a Zone) -> impl Iterator<Item = IpAddr> + 'a {
        known
            .ladders
            .iter()
            .filter_map(|base| self.ladders.get(base))
            .flat_map(|ladder| ladder.addresses.iter().copied())
    }

    fn seen_on(&self, zone: &DnsName) -> BTreeSet<IpAddr> {
        self.zones
            .get(zone)
            .into_iter()
            .flat_map(|known| self.routers_of(known))
            .collect()
    }

    fn with_sightings(&self, mut found: IepCandidate) -> IepCandidate {
        self.add_sightings(&mut found);
        found
    }

    fn add_sightings(&self, found: &mut IepCandidate) {
        found.seen_on = self.seen_on(&found.zone);
        let routers = self.zones.get(&found.zone).into_iter();
        found.evidence.routers_confirmed = routers
            .flat_map(|known| &known.routers)
            .filter(|(address, name)| self.confirmed(**address, name) == Lookup::Records(true))
            .map(|(address, _)| *address)
            .collect();
    }
}

/// The addresses of a router's name, of the router's family.
fn forward_question(address: IpAddr, name: &DnsName) -> Question {
    let kind = match address {
        IpAddr::V4(_) => RecordKind::A,
        IpAddr::V6(_) => RecordKind::Aaaa,
    };
    Question::new(name.clone(), kind)
}

fn candidates_of(config: &DiscoveryConfig, cache: &Cache, zone: &DnsName) -> Vec<IepCandidate> {
    let mut found = evaluate::zone(config, cache, zone);
    found
        .services()
        .flat_map(|service| service.sites.drain(..))
        .filter_map(|site| match site.outcome {
            SiteOutcome::Candidate(found) => Some(found),
            SiteOutcome::Pending | SiteOutcome::Listed | SiteOutcome::Rejected(_) => None,
        })
        .collect()
}
