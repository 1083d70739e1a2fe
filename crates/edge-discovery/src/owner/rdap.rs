//! Reading the RDAP object of an IP network (RFC 9083 section 5.4).

use std::net::IpAddr;

use edge_types::IpNet;
use serde_json::Value;

use super::{
    NoOwner, Owner, OwnerAnswer, OwnerSource, domain_of_mail, prefix_within, push_domain, tidy,
};

/// Longest answer read, in octets.
const MAX_OCTETS: usize = 256 * 1024;
/// Most contacts looked at, and how deep they may be nested.
const MAX_ENTITIES: usize = 64;
const MAX_DEPTH: usize = 4;

/// Whose mail address tells most about the holder, first.
const ROLES: [&str; 5] = ["registrant", "administrative", "noc", "technical", "abuse"];

/// Reads the answer about `address`.
pub fn read_rdap(octets: &[u8], address: IpAddr) -> OwnerAnswer {
    if octets.len() > MAX_OCTETS {
        return OwnerAnswer::Unanswered(NoOwner::Malformed("too long"));
    }
    match network(octets, address.to_canonical()) {
        Ok(owner) => OwnerAnswer::Found(owner),
        Err(detail) => OwnerAnswer::Unanswered(NoOwner::Malformed(detail)),
    }
}

fn network(octets: &[u8], address: IpAddr) -> Result<Owner, &'static str> {
    let object: Value = serde_json::from_slice(octets).map_err(|_| "not JSON")?;
    if object["objectClassName"] != "ip network" {
        return Err("not an IP network");
    }
    let bound = |field: &str| {
        let text = object[field].as_str().unwrap_or_default();
        // Some registries write prefixes here.
        let text = text.split('/').next().unwrap_or_default();
        text.parse::<IpAddr>().map_err(|_| "no range of addresses")
    };
    let prefix = prefix_within(address, bound("startAddress")?, bound("endAddress")?)
        .ok_or("another network than asked for")?;
    let prefix = cidr_of(&object, address).unwrap_or(prefix);

    let mut contacts: Vec<(usize, &Value)> = Vec::new();
    collect(&object, 0, &mut contacts);
    contacts.sort_by_key(|(rank, _)| *rank);
    let mut organisation = None;
    let mut domains = Vec::new();
    for (_, contact) in contacts {
        for property in contact["vcardArray"][1].as_array().into_iter().flatten() {
            let text = property[3].as_str().unwrap_or_default();
            match property[0].as_str() {
                Some("fn" | "org") if organisation.is_none() && !text.is_empty() => {
                    organisation = Some(tidy(text));
                }
                Some("email") => push_domain(&mut domains, domain_of_mail(text)),
                _ => {}
            }
        }
    }
    let name = object["name"].as_str().map(tidy);
    Ok(Owner {
        prefix,
        organisation: organisation.or(name).unwrap_or_default(),
        domains,
        source: OwnerSource::Rdap,
    })
}

/// The prefix by the extension `cidr0`, if it holds the address.
fn cidr_of(object: &Value, address: IpAddr) -> Option<IpNet> {
    let listed = object["cidr0_cidrs"].as_array()?;
    listed.iter().take(MAX_ENTITIES).find_map(|entry| {
        let network = entry["v4prefix"].as_str().or(entry["v6prefix"].as_str())?;
        let length = u8::try_from(entry["length"].as_u64()?).ok()?;
        let prefix = IpNet::new(network.parse().ok()?, length).ok()?;
        prefix.contains(&address).then(|| prefix.trunc())
    })
}

/// Contacts with a rank, nested ones too.
fn collect<'a>(object: &'a Value, depth: usize, found: &mut Vec<(usize, &'a Value)>) {
    for entity in object["entities"].as_array().into_iter().flatten() {
        if found.len() >= MAX_ENTITIES || depth >= MAX_DEPTH {
            return;
        }
        let roles = entity["roles"].as_array().into_iter().flatten();
        let rank = roles
            .filter_map(|role| ROLES.iter().position(|known| role == known))
            .min();
        found.push((rank.unwrap_or(ROLES.len()), entity));
        collect(entity, depth + 1, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = r#"{
        "objectClassName": "ip network", "handle": "NET-240-1", "name": "ISP-BLOCK",
        "startAddress": "240.1.0.0", "endAddress": "240.1.255.255",
        "cidr0_cidrs": [{"v4prefix": "240.1.0.0", "length": 16}],
        "entities": [
            {"roles": ["abuse"], "vcardArray": ["vcard", [["email", {}, "text", "abuse@parent.example"]]]},
            {"roles": ["registrant"],
             "vcardArray": ["vcard", [["fn", {}, "text", "Example\u0007 ISP"], ["email", {}, "text", "hostmaster@ripe.net"]]],
             "entities": [{"roles": ["administrative"],
                           "vcardArray": ["vcard", [["email", {}, "text", "noc@net.isp.example"]]]}]}
        ]}"#;

    fn read(text: &str, address: &str) -> OwnerAnswer {
        read_rdap(text.as_bytes(), address.parse().unwrap())
    }

    #[test]
    fn the_holders_name_prefix_and_domains() {
        let OwnerAnswer::Found(owner) = read(ANSWER, "240.1.2.3") else {
            panic!("not found");
        };
        assert_eq!(owner.organisation, "Example ISP");
        assert_eq!(owner.prefix, "240.1.0.0/16".parse().unwrap());
        let domains: Vec<&str> = owner.domains.iter().map(|domain| domain.as_str()).collect();
        assert_eq!(domains, ["isp.example", "parent.example"]);
    }

    #[test]
    fn an_answer_about_other_addresses_is_none() {
        assert!(matches!(
            read(ANSWER, "240.2.0.1"),
            OwnerAnswer::Unanswered(NoOwner::Malformed(_))
        ));
        for text in ["", "{}", "[]", r#"{"objectClassName":"ip network"}"#] {
            assert!(matches!(
                read(text, "240.1.0.1"),
                OwnerAnswer::Unanswered(NoOwner::Malformed(_))
            ));
        }
    }

    #[test]
    fn deep_and_wide_answers_are_bounded() {
        let mut entity = r#"{"roles":["noc"]}"#.to_owned();
        for _ in 0..30 {
            entity = format!(r#"{{"entities":[{entity}]}}"#);
        }
        let mail =
            |n| format!(r#"{{"vcardArray":["vcard",[["email",{{}},"text","a@d{n}.example"]]]}}"#);
        let wide: Vec<String> = (0..500).map(mail).chain([entity]).collect();
        let text = format!(
            r#"{{"objectClassName":"ip network","startAddress":"240.1.0.0","endAddress":"240.1.0.255","entities":[{}]}}"#,
            wide.join(",")
        );
        let OwnerAnswer::Found(owner) = read(&text, "240.1.0.9") else {
            panic!("not found");
        };
        assert_eq!(owner.domains.len(), 4);
    }

    proptest! {
        #[test]
        fn a_changed_answer_is_survived(at in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let mut octets = ANSWER.as_bytes().to_vec();
            let at = at.index(octets.len());
            octets[at] = octet;
            let address = "240.1.2.3".parse().unwrap();
            if let OwnerAnswer::Found(owner) = read_rdap(&octets, address) {
                prop_assert!(owner.prefix.contains(&address));
            }
        }
    }
}
