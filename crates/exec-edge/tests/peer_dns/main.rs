//! Discovery against the name servers of the world: BIND 9, Knot, NSD and PowerDNS with zones that are right, odd, broken
//! and hostile, asked through Unbound and directly, in a lab of network namespaces.

#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy does not see that of a harness of its own"
)]

mod account;
mod cases;
mod dig;
mod harness;
mod place;
mod servers;
mod signing;
mod zones;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use edge_discovery::Limits;
use edge_lab::lab::Lab;
use edge_lab::network::PartyId;
use edge_lab::sandbox::Inside;
use edge_resolver::{Resolver, ResolverConfig};

use place::Host;
use servers::Server;
use zones::{Case, Served};

/// Far more than a run takes that has only dead servers to wait for.
const RUN_TIME: Duration = Duration::from_secs(12);

fn main() -> ExitCode {
    harness::run(&[
        ("peer_dns_servers_answer_as_expected", servers_answer),
        (
            "peer_dns_discovery_through_unbound_finds_exactly_the_entry_points",
            through_unbound,
        ),
    ])
}

/// Starts the authoritative servers with all cases.
fn serve(lab: &Lab, cases: &[Case]) -> (Served, Vec<Server>) {
    let home = &lab.inside().directory;
    let served = zones::write(cases, &Host::PEERS, home);
    let mut servers: Vec<Server> = served
        .zones
        .iter()
        .map(|(host, zones)| Server::start(lab, *host, zones, &home.join(host.name())))
        .collect();
    for server in &mut servers {
        server.wait_until_it_listens(lab);
    }
    (served, servers)
}

fn servers_answer(inside: Inside) {
    let lab = place::start(inside, 0.2);
    let cases = cases::all();
    let (_, _servers) = serve(&lab, &cases);
    let mut wrong = Vec::new();
    for host in Host::PEERS {
        let expected = dig::expected(&cases, host);
        let said = dig::ask(&lab, host, &expected, &lab.inside().directory);
        assert_eq!(said.len(), expected.len(), "answers of {host:?}");
        for (said, expected) in said.iter().zip(&expected) {
            if said != expected {
                wrong.push(format!(
                    "{host:?}:\n  said     {said:?}\n  expected {expected:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} answers are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    lab.stop().unwrap();
}

fn through_unbound(inside: Inside) {
    let lab = place::start(inside, 1.0);
    let cases = cases::all();
    let (served, _servers) = serve(&lab, &cases);
    let home = lab.inside().directory.join("unbound");
    let mut unbound = Server::start_unbound(&lab, &served.anchor, &home);
    unbound.wait_until_it_listens(&lab);
    let resolver = Resolver::new(ResolverConfig {
        trusts_authentic_data: true,
        // Time for a busy machine, and not much of it for the dead.
        first_timeout: Duration::from_secs(1),
        attempts: 2,
        ..ResolverConfig::new(vec![SocketAddr::new(Host::Unbound.address(), 53)])
    })
    .unwrap();
    let limits = Limits {
        run_time: RUN_TIME,
        ..Limits::default()
    };
    let run = in_cloud(&lab, async {
        account::discover(
            &cases,
            &Host::PEERS,
            &resolver,
            account::lab_policy(),
            limits,
        )
        .await
    });
    check_sum(&cases, &Host::PEERS, &run);
    let accounts = account::accounts(&cases, &Host::PEERS, &run.trail);
    compare(&cases, &Host::PEERS, &accounts, |line| {
        line.replace(" bogus", " unanswered")
    });
    lab.stop().unwrap();
}

/// Runs a future in the cloud's namespace.
fn in_cloud<T: Send>(lab: &Lab, future: impl Future<Output = T> + Send) -> T {
    let cloud = lab.party(PartyId::Cloud).unwrap();
    cloud
        .run(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(future)
        })
        .unwrap()
}

/// Fails if there is any entry point beyond those that the cases tell, or if the run went on for long.
fn check_sum(cases: &[Case], hosts: &[Host], run: &account::Run) {
    let outcomes = cases.iter().flat_map(|case| &case.outcome);
    let true_ones = outcomes.filter(|line| line.contains(" candidate ")).count();
    assert_eq!(run.candidates.len(), true_ones * hosts.len());
    assert!(
        run.took < RUN_TIME + Duration::from_secs(2),
        "{:?}",
        run.took
    );
    assert!(run.questions < 1000 * hosts.len(), "{}", run.questions);
}

/// Fails with every case whose account is not the one expected.
fn compare(
    cases: &[Case],
    hosts: &[Host],
    accounts: &BTreeMap<(Host, &'static str), Vec<String>>,
    change: impl Fn(String) -> String,
) {
    let mut wrong = Vec::new();
    for case in cases {
        for host in hosts {
            let mut expected: Vec<String> = case
                .outcome
                .iter()
                .map(|line| change(case.fill(line, *host)))
                .collect();
            expected.sort();
            let found = &accounts[&(*host, case.name)];
            if *found != expected {
                let expected: Vec<_> = expected
                    .iter()
                    .filter(|line| !found.contains(line))
                    .collect();
                let found: Vec<_> = found
                    .iter()
                    .filter(|line| {
                        !case
                            .outcome
                            .iter()
                            .any(|want| change(case.fill(want, *host)) == **line)
                    })
                    .collect();
                wrong.push(format!(
                    "{} on {host:?}:\n  found    {found:?}\n  expected {expected:?}",
                    case.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} accounts are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
