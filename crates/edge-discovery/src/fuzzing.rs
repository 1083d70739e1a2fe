//! What fuzzers and tests throw bytes at: the parsers of registries' answers, tables and profiles.

use std::net::{IpAddr, Ipv4Addr};

use crate::origin::OriginRanges;
use crate::owner::{Bootstrap, OwnerAnswer, WhoisAnswer, read_rdap, read_whois};
use crate::profile::read_profile;
use crate::question::Security;

/// Takes `octets` as the answer of a registry about 240.1.2.3, as a file of servers, as a table, and as a TXT record whose
/// strings are lines.
///
/// # Panics
/// If a promise is broken.
pub fn owner(octets: &[u8]) {
    let address = IpAddr::V4(Ipv4Addr::new(240, 1, 2, 3));
    let (WhoisAnswer::Answer(by_whois)
    | WhoisAnswer::Referred {
        so_far: by_whois, ..
    }) = read_whois(octets, address);
    for answer in [read_rdap(octets, address), by_whois] {
        if let OwnerAnswer::Found(owner) = answer {
            assert!(owner.prefix.contains(&address), "another's prefix");
            assert!(owner.domains.len() <= 4, "too many domains");
            assert!(
                owner.organisation.chars().all(|c| !c.is_control()),
                "control characters"
            );
        }
    }
    let mut bootstrap = Bootstrap::default();
    if bootstrap.read(octets).is_ok() {
        let is_web = |url: &str| url.starts_with("http");
        assert!(bootstrap.server(address).is_none_or(is_web), "not the web");
    }
    let table = OriginRanges::read(&String::from_utf8_lossy(octets));
    if let Some((prefix, _)) = table.find(address) {
        assert!(prefix.contains(&address), "another's prefix");
    }
    let strings: Vec<Vec<u8>> = octets
        .split(|octet| *octet == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if let Ok(instance) = "i._edge._tcp.isp.example".parse()
        && let Ok(profile) = read_profile(&instance, &[&strings], Security::Secure)
    {
        let path = profile.path.unwrap_or_default();
        assert!(path.is_empty() || path.starts_with('/'), "not a path");
    }
}
