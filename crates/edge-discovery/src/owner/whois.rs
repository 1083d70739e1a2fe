//! Reading whois answers (RFC 3912): text in two dialects, `inetnum:` as at RIPE and `NetRange:` as at ARIN.

use std::net::IpAddr;

use edge_types::{DnsName, IpNet};

use super::{
    NoOwner, Owner, OwnerAnswer, OwnerSource, domain_of_mail, prefix_within, push_domain, tidy,
};

/// Longest answer read, in octets.
const MAX_OCTETS: usize = 64 * 1024;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhoisAnswer {
    /// The answer.
    Answer(OwnerAnswer),
    /// Another server knows, and this is what was said here in case it does not answer.
    Referred {
        /// The other server; port 43.
        server: DnsName,
        /// What was said.
        so_far: OwnerAnswer,
    },
}

/// Reads the answer about `address`.
pub fn read_whois(octets: &[u8], address: IpAddr) -> WhoisAnswer {
    let address = address.to_canonical();
    if octets.len() > MAX_OCTETS {
        return WhoisAnswer::Answer(OwnerAnswer::Unanswered(NoOwner::Malformed("too long")));
    }
    let text = String::from_utf8_lossy(octets);
    let mut range: Option<IpNet> = None;
    let mut organisation = None;
    let mut domains = Vec::new();
    let mut referral = None;
    let mut says_nobody = false;
    for line in text.lines() {
        says_nobody |= line.to_ascii_lowercase().contains("no match")
            || line.to_ascii_lowercase().contains("no entries found");
        if line.starts_with(['%', '#']) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            // A later and longer one is the more specific assignment.
            "inetnum" | "inet6num" | "netrange" => {
                let found = range_of(value, address);
                if found.is_some_and(|found| {
                    range.is_none_or(|range| found.prefix_len() >= range.prefix_len())
                }) {
                    range = found;
                    organisation = None;
                    domains.clear();
                }
            }
            "org-name" | "orgname" | "organization" | "organisation" | "owner"
                if !value.is_empty() =>
            {
                organisation = Some(tidy(value));
            }
            "netname" | "descr" if organisation.is_none() && !value.is_empty() => {
                organisation = Some(tidy(value));
            }
            "e-mail" | "abuse-mailbox" | "orgabuseemail" | "orgtechemail" | "orgnocemail" => {
                push_domain(&mut domains, domain_of_mail(value));
            }
            "refer" | "whois" => referral = referral.or_else(|| value.parse().ok()),
            "referralserver" => {
                let host = value.strip_prefix("whois://").unwrap_or_default();
                let host = host.split([':', '/']).next().unwrap_or_default();
                referral = referral.or_else(|| host.parse().ok());
            }
            _ => {}
        }
    }
    let answer = match range {
        Some(prefix) => OwnerAnswer::Found(Owner {
            prefix,
            organisation: organisation.unwrap_or_default(),
            domains,
            source: OwnerSource::Whois,
        }),
        None if says_nobody => OwnerAnswer::Nobody,
        None => OwnerAnswer::Unanswered(NoOwner::Malformed("no range that holds the address")),
    };
    match referral {
        Some(server) => WhoisAnswer::Referred {
            server,
            so_far: answer,
        },
        None => WhoisAnswer::Answer(answer),
    }
}

/// The longest prefix around the address within `first - last` or a prefix.
fn range_of(value: &str, address: IpAddr) -> Option<IpNet> {
    if let Some((first, last)) = value.split_once('-') {
        return prefix_within(
            address,
            first.trim().parse().ok()?,
            last.trim().parse().ok()?,
        );
    }
    let prefix: IpNet = value.parse().ok()?;
    prefix.contains(&address).then(|| prefix.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> WhoisAnswer {
        read_whois(text.as_bytes(), "240.1.2.3".parse().unwrap())
    }

    fn owner(answer: WhoisAnswer) -> Owner {
        match answer {
            WhoisAnswer::Answer(OwnerAnswer::Found(owner)) => owner,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_dialects_are_read() {
        let ripe = owner(read(
            "% comment: no\ninetnum: 240.1.0.0 - 240.1.255.255\nnetname: ISP-NET\ndescr: Something\n\
             org-name: Example ISP\ne-mail: noc@core.isp.example\nabuse-mailbox: abuse@ripe.net\n",
        ));
        assert_eq!(ripe.prefix, "240.1.0.0/16".parse().unwrap());
        assert_eq!(ripe.organisation, "Example ISP");
        assert_eq!(ripe.domains, ["isp.example".parse().unwrap()]);
        let arin = owner(read(
            "#\r\nNetRange:       240.1.0.0 - 240.1.3.255\r\nCIDR: 240.1.0.0/22\r\nOrgName: Example\r\n\
             OrgAbuseEmail:  abuse@isp.example\r\n",
        ));
        assert_eq!(arin.prefix, "240.1.0.0/22".parse().unwrap());
        assert_eq!(arin.domains, ["isp.example".parse().unwrap()]);
    }

    #[test]
    fn the_most_specific_range_counts() {
        let found = owner(read(
            "inetnum: 240.0.0.0 - 255.255.255.255\norg-name: Registry\ne-mail: x@registry.example\n\n\
             inetnum: 240.1.2.0 - 240.1.2.255\norg-name: Customer\ne-mail: x@customer.example\n\n\
             inetnum: 240.1.0.0 - 240.1.255.255\n",
        ));
        assert_eq!(found.prefix, "240.1.2.0/24".parse().unwrap());
        assert_eq!(found.domains, ["customer.example".parse().unwrap()]);
    }

    #[test]
    fn referrals_and_absence() {
        for text in [
            "refer:        whois.ripe.example\n",
            "ReferralServer:  whois://whois.ripe.example:43\n",
        ] {
            let WhoisAnswer::Referred { server, .. } = read(text) else {
                panic!("not referred by {text}");
            };
            assert_eq!(server.as_str(), "whois.ripe.example");
        }
        assert_eq!(
            read("%ERROR:101: no entries found\n"),
            WhoisAnswer::Answer(OwnerAnswer::Nobody)
        );
        assert!(matches!(
            read("inetnum: 240.9.0.0 - 240.9.0.255\n"),
            WhoisAnswer::Answer(OwnerAnswer::Unanswered(NoOwner::Malformed(_)))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(
            text in "((inetnum|refer|e-mail|org-name): ?[0-9a-f.:/ @-]{0,30}\n|\\PC{0,40}\n){0,10}"
        ) {
            let address: IpAddr = "240.1.2.3".parse().unwrap();
            let (WhoisAnswer::Answer(answer) | WhoisAnswer::Referred { so_far: answer, .. }) = read(&text);
            if let OwnerAnswer::Found(owner) = answer {
                prop_assert!(owner.prefix.contains(&address));
            }
        }
    }
}
