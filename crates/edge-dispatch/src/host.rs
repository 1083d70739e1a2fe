//! Which `Host` values are ours (security rule 17).

use std::collections::BTreeMap;

/// Longest `Host` value that is looked at: a DNS name and a port.
const MAX_HOST_OCTETS: usize = 253 + 6;

/// What is done for requests to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostClass {
    /// Its clients are redirected to sites.
    Redirected,
    /// Its clients are never redirected: the control group, or an application that is not onloaded.
    HeldBack,
}

/// Why a `Host` value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRefusal {
    /// There is none, more than one, or it is too long or malformed.
    #[error("no usable Host header")]
    Malformed,
    /// It is not one of ours.
    #[error("host {0:?} is not served here")]
    Unknown(String),
}

/// The hosts that are served; every other is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPolicy {
    hosts: BTreeMap<Authority, HostClass>,
}

/// Lower-case host without a final dot, and port; 80 where none is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Authority {
    host: String,
    port: u16,
}

impl HostPolicy {
    /// Serves exactly `hosts`, written as in a `Host` header: `name`, `name:port`, `1.2.3.4:port`, `[v6]:port`.
    pub fn new<'a>(
        hosts: impl IntoIterator<Item = (&'a str, HostClass)>,
    ) -> Result<Self, HostRefusal> {
        let hosts = hosts
            .into_iter()
            .map(|(host, class)| Ok((Authority::parse(host)?, class)))
            .collect::<Result<_, _>>()?;
        Ok(Self { hosts })
    }

    /// What to do for a request with this `Host`; `None` stands for none or more than one.
    pub fn classify(&self, host: Option<&str>) -> Result<HostClass, HostRefusal> {
        let authority = Authority::parse(host.ok_or(HostRefusal::Malformed)?)?;
        self.hosts
            .get(&authority)
            .copied()
            .ok_or(HostRefusal::Unknown(authority.host))
    }
}

impl Authority {
    fn parse(text: &str) -> Result<Self, HostRefusal> {
        if text.len() > MAX_HOST_OCTETS {
            return Err(HostRefusal::Malformed);
        }
        let host_end = match text.strip_prefix('[') {
            Some(_) => text.find(']').map(|at| at + 1),
            None => Some(text.find(':').unwrap_or(text.len())),
        };
        let (host, port) = host_end
            .and_then(|end| text.split_at_checked(end))
            .ok_or(HostRefusal::Malformed)?;
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 80,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| HostRefusal::Malformed)?
            }
            _ => return Err(HostRefusal::Malformed),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let may_stand = |octet: u8| {
            octet.is_ascii_alphanumeric()
                || matches!(octet, b'-' | b'.' | b'_' | b':' | b'[' | b']')
        };
        if host.is_empty() || !host.bytes().all(may_stand) {
            return Err(HostRefusal::Malformed);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_are_served() {
        let policy = HostPolicy::new([
            ("app.example", HostClass::Redirected),
            ("app.example:8080", HostClass::Redirected),
            ("control.example", HostClass::HeldBack),
            ("[3fff::1]:8080", HostClass::HeldBack),
        ])
        .unwrap();
        let unknown = |host: &str| Err(HostRefusal::Unknown(host.to_owned()));
        for (host, expected) in [
            (Some("app.example"), Ok(HostClass::Redirected)),
            (Some("APP.Example.:80"), Ok(HostClass::Redirected)),
            (Some("app.example:8080"), Ok(HostClass::Redirected)),
            (Some("app.example:81"), unknown("app.example")),
            (Some("control.example"), Ok(HostClass::HeldBack)),
            (Some("[3FFF::1]:8080"), Ok(HostClass::HeldBack)),
            (Some("evil.example"), unknown("evil.example")),
            (None, Err(HostRefusal::Malformed)),
            (Some(""), Err(HostRefusal::Malformed)),
            (Some(":80"), Err(HostRefusal::Malformed)),
            (Some("app.example:"), Err(HostRefusal::Malformed)),
            (Some("app.example:+80"), Err(HostRefusal::Malformed)),
            (Some("app.example:99999"), Err(HostRefusal::Malformed)),
            (Some("app.example@evil"), Err(HostRefusal::Malformed)),
            (Some("[3fff::1"), Err(HostRefusal::Malformed)),
            (Some("a\r\nb"), Err(HostRefusal::Malformed)),
            (Some(&"a".repeat(300)), Err(HostRefusal::Malformed)),
        ] {
            assert_eq!(policy.classify(host), expected, "{host:?}");
        }
    }
}
