//! Candidates that a list names, rather than a zone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use edge_types::{AddressPolicy, AddressRefusal, DnsName, IepOrigin, ListedSite};

use crate::key_record::KeyBinding;
use crate::question::Security;
use crate::trail::{DnsEvidence, IepCandidate};

/// Why a listed site gives no candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListedRefusal {
    /// Neither the list nor the host name gives an address.
    #[error("it has no address")]
    NoAddress,
    /// Every address is one that may not be contacted; the first refusal.
    #[error("none of its addresses may be contacted")]
    NotAllowed(#[source] AddressRefusal),
}

impl IepCandidate {
    /// The candidate that a list gives. `addresses` are the site's: those of the list, or if it has none those that its host
    /// name was found to have. Its key counts as authenticated only if the list `is_authentic`.
    ///
    /// # Errors
    /// There is no address that `policy` allows (security rule 4).
    pub fn listed(
        site: &ListedSite,
        addresses: &[IpAddr],
        origin: IepOrigin,
        is_authentic: bool,
        policy: &AddressPolicy,
    ) -> Result<Self, ListedRefusal> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match policy.check(*address) {
                Ok(()) => allowed.push(*address),
                Err(refusal) => {
                    refused.get_or_insert(refusal);
                }
            }
        }
        if allowed.is_empty() {
            return Err(refused.map_or(ListedRefusal::NoAddress, ListedRefusal::NotAllowed));
        }
        let zone = match &origin {
            IepOrigin::Zone(domain) | IepOrigin::WellKnown(domain) => domain.clone(),
            IepOrigin::Configured | IepOrigin::Feed(_) => parent_of(&site.id.host),
        };
        Ok(Self {
            id: site.id.clone(),
            zone,
            origin,
            addresses: allowed,
            priority: 0,
            weight: 0,
            key: site.key.map(|(chain, address)| KeyBinding {
                address,
                chain,
                authenticated: is_authentic,
                published_at: site.id.host.clone(),
            }),
            pins: Vec::new(),
            announces_tls: site.tls,
            profile: None,
            evidence: DnsEvidence {
                service: Security::Indeterminate,
                addresses: Security::Indeterminate,
                routers_confirmed: BTreeSet::new(),
            },
            seen_on: BTreeSet::new(),
        })
    }
}

fn parent_of(host: &DnsName) -> DnsName {
    host.parent().unwrap_or_else(|| host.clone())
}

#[cfg(test)]
mod tests {
    use edge_types::{ChainAddress, ChainId, IepId};

    use super::*;

    fn site() -> ListedSite {
        ListedSite {
            id: IepId {
                host: "home42.edges.example".parse().unwrap(),
                port: 8080,
            },
            addresses: Vec::new(),
            key: Some((ChainId(1), ChainAddress([1; 20]))),
            tls: true,
        }
    }

    #[test]
    fn only_an_authentic_list_binds_keys_and_only_allowed_addresses_count() {
        let policy = AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]);
        let addresses = ["10.0.0.1", "240.9.0.1", "::1"].map(|text| text.parse().unwrap());
        for is_authentic in [false, true] {
            let origin = IepOrigin::Feed(ChainAddress([2; 20]));
            let found =
                IepCandidate::listed(&site(), &addresses, origin.clone(), is_authentic, &policy)
                    .unwrap();
            assert_eq!(found.addresses, [addresses[1]]);
            assert_eq!(found.origin, origin);
            assert!(found.announces_tls);
            assert_eq!(found.key.unwrap().authenticated, is_authentic);
        }
        let refused = |addresses: &[IpAddr]| {
            IepCandidate::listed(&site(), addresses, IepOrigin::Configured, true, &policy)
                .unwrap_err()
        };
        assert_eq!(refused(&[]), ListedRefusal::NoAddress);
        assert!(matches!(
            refused(&addresses[..1]),
            ListedRefusal::NotAllowed(refusal) if refusal.kind == "private"
        ));
    }
}
