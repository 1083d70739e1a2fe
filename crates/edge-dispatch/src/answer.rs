//! One request, one answer.

use std::net::IpAddr;

use edge_types::{IepId, UtcTime};

use crate::host::{HostClass, HostPolicy, HostRefusal};
use crate::returning::is_returning;
use crate::table::{Decision, DispatchTable, RedirectPolicy, UnservedReason};
use crate::target::{TargetError, location};

/// What the front end knows of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where the connection comes from.
    pub client: IpAddr,
    /// The `Host` header; `None` for none or more than one.
    pub host: Option<&'a str>,
    /// The request target as it came.
    pub path_and_query: &'a str,
    /// Is the method GET or HEAD? Clients may turn any other into GET when they follow a 302 (RFC 9110 section 15.4.3).
    pub is_get_or_head: bool,
}

/// What the front end does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer 302 with these headers.
    Redirect {
        /// The site, for the records.
        site: IepId,
        /// `Location`.
        location: String,
        /// `Cache-Control`.
        cache_control: String,
        /// Seconds in `cache_control`.
        lifetime_secs: u64,
    },
    /// Let the cloud service answer.
    Cloud(CloudReason),
    /// Answer 421: the host is not served here.
    Refuse(HostRefusal),
}

/// Why the cloud service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloudReason {
    /// The host's clients are never redirected.
    HeldBack,
    /// A site sent the client back.
    Returning,
    /// The method is not one to redirect.
    Method,
    /// The request target cannot be carried over.
    Target(TargetError),
    /// No site serves the client.
    Unserved(UnservedReason),
}

/// Decides on one request.
pub fn answer(
    table: &DispatchTable,
    hosts: &HostPolicy,
    policy: &RedirectPolicy,
    request: &Request<'_>,
    now: UtcTime,
) -> Answer {
    match hosts.classify(request.host) {
        Err(refusal) => return Answer::Refuse(refusal),
        Ok(HostClass::HeldBack) => return Answer::Cloud(CloudReason::HeldBack),
        Ok(HostClass::Redirected) => {}
    }
    if is_returning(request.path_and_query) {
        return Answer::Cloud(CloudReason::Returning);
    }
    if !request.is_get_or_head {
        return Answer::Cloud(CloudReason::Method);
    }
    match table.decide(request.client, now, policy) {
        Decision::Cloud(reason) => Answer::Cloud(CloudReason::Unserved(reason)),
        Decision::Redirect {
            site,
            address,
            lifetime_secs,
        } => match location(address, request.path_and_query) {
            Err(error) => Answer::Cloud(CloudReason::Target(error)),
            Ok(location) => Answer::Redirect {
                site,
                location,
                cache_control: format!("private, max-age={lifetime_secs}"),
                lifetime_secs,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use edge_types::Generation;

    use super::*;
    use crate::table::SiteTarget;

    #[test]
    fn every_rule_has_its_answer() {
        let site = IepId {
            host: "edge.isp.example".parse().unwrap(),
            port: 5060,
        };
        let target = SiteTarget {
            site: site.clone(),
            address: "240.5.0.1:8080".parse().unwrap(),
            usable_until: UtcTime(1000),
            bounce: None,
        };
        let prefix = "240.9.0.0/16".parse().unwrap();
        let table = DispatchTable::new(Generation(1), [(prefix, target)]).unwrap();
        let hosts = HostPolicy::new([
            ("app.example", HostClass::Redirected),
            ("control.example", HostClass::HeldBack),
        ])
        .unwrap();
        let usual = Request {
            client: "240.9.1.2".parse().unwrap(),
            host: Some("app.example"),
            path_and_query: "/page?x=1",
            is_get_or_head: true,
        };
        let check = |request: Request<'_>, expected| {
            let policy = RedirectPolicy::default();
            assert_eq!(
                answer(&table, &hosts, &policy, &request, UtcTime(970)),
                expected
            );
        };
        check(
            usual,
            Answer::Redirect {
                site,
                location: "http://240.5.0.1:8080/page?x=1".into(),
                cache_control: "private, max-age=30".into(),
                lifetime_secs: 30,
            },
        );
        for (request, reason) in [
            (
                Request {
                    host: Some("control.example"),
                    ..usual
                },
                CloudReason::HeldBack,
            ),
            (
                Request {
                    path_and_query: "/?exec-edge-return=1",
                    ..usual
                },
                CloudReason::Returning,
            ),
            (
                Request {
                    is_get_or_head: false,
                    ..usual
                },
                CloudReason::Method,
            ),
            (
                Request {
                    path_and_query: "*",
                    ..usual
                },
                CloudReason::Target(TargetError::NotAbsolutePath),
            ),
            (
                Request {
                    client: "240.10.1.2".parse().unwrap(),
                    ..usual
                },
                CloudReason::Unserved(UnservedReason::NoSite),
            ),
        ] {
            check(request, Answer::Cloud(reason));
        }
        check(
            Request {
                host: Some("evil.example"),
                ..usual
            },
            Answer::Refuse(HostRefusal::Unknown("evil.example".into())),
        );
    }
}
