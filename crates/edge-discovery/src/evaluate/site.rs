//! What becomes of one SRV record: its target's addresses, key and TLS keys.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::task::Poll;

use edge_types::{ChainAddress, ChainId, DnsName, IepId, IepOrigin};

use super::target_of;
use crate::cache::{Cache, Records};
use crate::config::DiscoveryConfig;
use crate::key_record::{KeyBinding, KeyRefusal, read_keys};
use crate::question::{Question, RecordData, RecordKind, Security, SrvRecord};
use crate::tls_pin::{PinRefusal, TlsPin, read_pin};
use crate::trail::{
    ControlOutcome, DnsEvidence, IepCandidate, Lookup, SiteOutcome, SiteRejection, SiteTrail,
};

/// A zone, seen from one of its SRV answers.
pub(super) struct ZoneView<'a> {
    pub(super) config: &'a DiscoveryConfig,
    pub(super) cache: &'a Cache,
    pub(super) zone: &'a DnsName,
    pub(super) service_name: &'a DnsName,
    pub(super) security: Security,
}

impl ZoneView<'_> {
    /// The verdict on one SRV record.
    pub(super) fn site(
        &self,
        record: SrvRecord,
        control: &ControlOutcome,
        wanted: &mut Vec<Question>,
    ) -> SiteTrail {
        let mut trail = SiteTrail::new(record, SiteOutcome::Pending);
        let target = match target_of(&trail.record) {
            Ok(target) => target.clone(),
            Err(rejection) => {
                trail.outcome = SiteOutcome::Rejected(rejection);
                return trail;
            }
        };
        let rejection = match control {
            ControlOutcome::Wildcard { .. } | ControlOutcome::Rotating => {
                Some(SiteRejection::Wildcard)
            }
            ControlOutcome::Unanswered(_) | ControlOutcome::NotAsked(_) => {
                Some(SiteRejection::ControlUnanswered)
            }
            ControlOutcome::Pending | ControlOutcome::Explicit => None,
        };
        if let Some(rejection) = rejection {
            trail.outcome = SiteOutcome::Rejected(rejection);
            return trail;
        }
        for kind in [RecordKind::A, RecordKind::Aaaa, RecordKind::Txt] {
            wanted.push(Question::new(target.clone(), kind));
        }
        let v4 = self.addresses(&target, RecordKind::A, &mut trail);
        let v6 = self.addresses(&target, RecordKind::Aaaa, &mut trail);
        let key = self.key(&target, &mut trail);
        let pins = self.pins(&target, &mut trail, wanted);
        let are_addresses_known = v4.is_settled() && v6.is_settled();
        let (true, Poll::Ready(key), Poll::Ready(pins)) = (
            are_addresses_known && *control == ControlOutcome::Explicit,
            key,
            pins,
        ) else {
            return trail;
        };
        let families = [&v4, &v6].into_iter().filter_map(|found| match found {
            Lookup::Records(found) if !found.0.is_empty() => Some(found),
            _ => None,
        });
        let mut addresses = Vec::new();
        let mut addresses_security = Security::Secure;
        for (found, security) in families {
            addresses.extend(found.iter().copied());
            addresses_security = addresses_security.min(*security);
        }
        trail.outcome = if !addresses.is_empty() {
            let announced = match pins {
                Ok(announced) => announced,
                Err(rejection) => {
                    trail.outcome = SiteOutcome::Rejected(rejection);
                    return trail;
                }
            };
            SiteOutcome::Candidate(IepCandidate {
                id: IepId {
                    host: target,
                    port: trail.record.port,
                },
                zone: self.zone.clone(),
                origin: IepOrigin::Zone(self.zone.clone()),
                addresses,
                priority: trail.record.priority,
                weight: trail.record.weight,
                key,
                announces_tls: announced.is_some(),
                pins: announced.unwrap_or_default(),
                profile: None,
                evidence: DnsEvidence {
                    service: self.security,
                    addresses: addresses_security,
                    routers_confirmed: BTreeSet::new(),
                },
                seen_on: BTreeSet::new(),
            })
        } else if trail.addresses_refused.is_empty() {
            SiteOutcome::Rejected(SiteRejection::NoAddress {
                v4: v4.map(drop),
                v6: v6.map(drop),
            })
        } else {
            SiteOutcome::Rejected(SiteRejection::NoAllowedAddress {
                count: trail.addresses_refused.len(),
            })
        };
        trail
    }

    /// The allowed addresses of one family, and what DNSSEC says of them.
    fn addresses(
        &self,
        target: &DnsName,
        kind: RecordKind,
        trail: &mut SiteTrail,
    ) -> Lookup<(Vec<IpAddr>, Security)> {
        let question = Question::new(target.clone(), kind);
        self.cache.lookup(&question).map(|answer| {
            let most = self.config.limits.addresses_per_target;
            let surplus = answer.data.len().saturating_sub(most);
            trail.addresses_over_limit += answer.over_limit + surplus;
            let mut allowed = Vec::new();
            for record in answer.data.iter().take(most) {
                let RecordData::Address(address) = *record else {
                    continue;
                };
                match self.config.policy.check(address) {
                    Ok(()) => allowed.push(address),
                    Err(refusal) => trail.addresses_refused.push(refusal),
                }
            }
            (allowed, answer.security)
        })
    }

    /// The TLS keys of the target, asked for only where the SRV record is signed (RFC 7673 section 3.1); `None` where it
    /// announces none. That nobody answered is not that.
    fn pins(
        &self,
        target: &DnsName,
        trail: &mut SiteTrail,
        wanted: &mut Vec<Question>,
    ) -> Poll<Result<Option<Vec<TlsPin>>, SiteRejection>> {
        let name = target.with_prefix(&format!("_{}._tcp", trail.record.port));
        let (Security::Secure, Ok(name)) = (self.security, name) else {
            return Poll::Ready(Ok(None));
        };
        let question = Question::new(name, RecordKind::Tlsa);
        wanted.push(question.clone());
        let answer = match self.cache.lookup(&question) {
            Lookup::Records(answer) => answer,
            Lookup::Absent { .. } => return Poll::Ready(Ok(None)),
            Lookup::Pending => return Poll::Pending,
            found @ (Lookup::Unanswered(_) | Lookup::NotAsked(_)) => {
                return Poll::Ready(Err(SiteRejection::TlsUnknown {
                    name: question.name,
                    found: found.map(drop),
                }));
            }
        };
        if answer.security != Security::Secure {
            trail.pins_refused.push(PinRefusal::NotSigned);
            return Poll::Ready(Ok(None));
        }
        let mut pins = Vec::new();
        for record in answer.data {
            let RecordData::Tlsa(record) = record else {
                continue;
            };
            match read_pin(record) {
                Ok(pin) => pins.push(pin),
                Err(refusal) => trail.pins_refused.push(refusal),
            }
        }
        Poll::Ready(Ok(Some(pins)))
    }

    /// The key of the target, or else of the zone; pending while a TXT question is.
    fn key(&self, target: &DnsName, trail: &mut SiteTrail) -> Poll<Option<KeyBinding>> {
        let names = [target, self.service_name];
        let found = names.map(|name| Question::new(name.clone(), RecordKind::Txt));
        let found = found.each_ref().map(|question| self.cache.lookup(question));
        if !found.iter().all(Lookup::is_settled) {
            return Poll::Pending;
        }
        for (name, found) in names.into_iter().zip(found) {
            let Lookup::Records(answer) = found else {
                continue;
            };
            match key_in(&answer) {
                Ok(Some((chain, address))) => {
                    return Poll::Ready(Some(KeyBinding {
                        address,
                        chain,
                        authenticated: self.security.min(answer.security) == Security::Secure,
                        published_at: name.clone(),
                    }));
                }
                Ok(None) => {}
                Err(refusal) => {
                    // A key that is there but unclear is not replaced by a less specific one.
                    trail.keys_refused.push((name.clone(), refusal));
                    return Poll::Ready(None);
                }
            }
        }
        Poll::Ready(None)
    }
}

/// The one key among the TXT records of an answer.
pub(super) fn key_in(answer: &Records<'_>) -> Result<Option<(ChainId, ChainAddress)>, KeyRefusal> {
    read_keys(answer.data.iter().filter_map(|record| match record {
        RecordData::Txt(strings) => Some(strings.as_slice()),
        _ => None,
    }))
}
