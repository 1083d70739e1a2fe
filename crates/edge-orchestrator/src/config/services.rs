//! Which service of the application stays, which may move, and which is at the edge already.

use std::net::SocketAddr;

use edge_types::DnsName;

use super::{Application, ConfigError, EdgeService, Service, value};

pub(super) fn services(
    application: &Application,
) -> Result<(SocketAddr, EdgeService, Vec<(DnsName, SocketAddr)>), ConfigError> {
    let mut upstream = None;
    let mut edge_service = None;
    let mut predeployed = Vec::new();
    for service in &application.services {
        match service {
            Service::Cloud { address, .. } => {
                upstream.get_or_insert(*address);
            }
            Service::Edge {
                name,
                image,
                digest,
                command,
                environment,
                port,
                health,
                challenge,
                needs,
                most_requests_per_s,
            } => {
                let digest = digest
                    .parse()
                    .map_err(|error| value("application.services.digest", &format!("{error}")))?;
                if !health.starts_with('/') {
                    return Err(value(
                        "application.services.health",
                        "must be an absolute path",
                    ));
                }
                let is_path = |path: &String| {
                    let printable = path.bytes().all(|octet| octet.is_ascii_graphic());
                    path.starts_with('/') && printable && !path.contains(['?', '#'])
                };
                if !challenge.as_ref().is_none_or(is_path) {
                    return Err(value(
                        "application.services.challenge",
                        "must be an absolute path without a query",
                    ));
                }
                let capacity = most_requests_per_s.map(thousandths).transpose()?;
                let service = EdgeService {
                    name: name.clone(),
                    image: image.clone(),
                    digest,
                    command: command.clone(),
                    environment: environment.clone(),
                    port: *port,
                    health: health.clone(),
                    challenge: challenge.clone(),
                    needs: (*needs).into(),
                    capacity,
                    egress: egress(application, name)?,
                    calls_per_thousand: calls_per_thousand(application, name)?,
                };
                if edge_service.replace(service).is_some() {
                    return Err(value(
                        "application.services",
                        "only one service may be placed at the edge",
                    ));
                }
            }
            Service::Predeployed { sites, .. } => {
                for site in sites {
                    let host = site.host.parse().map_err(|error| {
                        value("application.services.sites.host", &format!("{error}"))
                    })?;
                    predeployed.push((host, site.address));
                }
            }
        }
    }
    let upstream = upstream
        .ok_or_else(|| value("application.services", "one service must stay in the cloud"))?;
    let edge_service = edge_service.ok_or_else(|| {
        value(
            "application.services",
            "one service must be allowed at the edge",
        )
    })?;
    Ok((upstream, edge_service, predeployed))
}

/// Of requests per second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be in range"
)]
fn thousandths(per_second: f64) -> Result<u64, ConfigError> {
    if !(0.001..=1e9).contains(&per_second) {
        let field = "application.services.most_requests_per_s";
        return Err(value(field, "from 0.001 to 1000000000"));
    }
    Ok((per_second * 1e3).round() as u64)
}

/// The cloud services that `caller` calls.
fn egress(application: &Application, caller: &str) -> Result<Vec<(u16, SocketAddr)>, ConfigError> {
    let mut egress = Vec::new();
    for call in application.calls.iter().filter(|call| call.from == caller) {
        let callee = application
            .services
            .iter()
            .find_map(|service| match service {
                Service::Cloud {
                    name,
                    public_address,
                    ..
                } if *name == call.to => Some(*public_address),
                _ => None,
            });
        match callee {
            Some(Some(address)) => egress.push((call.local_port, address)),
            Some(None) => {
                let problem = format!(
                    "{} is called from the edge and needs a public_address",
                    call.to
                );
                return Err(value("application.services", &problem));
            }
            None => {
                return Err(value(
                    "application.calls.to",
                    &format!("no cloud service is called {}", call.to),
                ));
            }
        }
    }
    Ok(egress)
}

/// Round trips in a thousand requests that `caller` makes to other services.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares were checked to be 0 to 1, and conversions saturate"
)]
fn calls_per_thousand(application: &Application, caller: &str) -> Result<u32, ConfigError> {
    let mut all = 0u32;
    for call in application.calls.iter().filter(|call| call.from == caller) {
        if !(0.0..=1.0).contains(&call.share) {
            return Err(value("application.calls.share", "from 0 to 1"));
        }
        let calls = (call.share * 1000.0).round() as u32;
        all = all.saturating_add(calls.saturating_mul(call.round_trips.into()));
    }
    Ok(all)
}
