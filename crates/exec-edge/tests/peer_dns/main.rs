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
mod hostile;
mod place;
mod servers;
mod signing;
mod split;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use edge_discovery::Limits;
use edge_http::client::{ClientTimeouts, ContactBudget, IepClient};
use edge_lab::capture::{Capture, Captured};
use edge_lab::lab::Lab;
use edge_lab::network::PartyId;
use edge_lab::sandbox::Inside;
use edge_resolver::{DNS_PORT, Mode, Resolver, ResolverConfig};

use edge_types::{AddressPolicy, IepId, MonotonicTime};
use hostile::Hostile;
use place::Host;
use servers::Server;
use zones::{Case, Served, Split};

/// Far more than a run takes that has only dead servers to wait for.
const RUN_TIME: Duration = Duration::from_secs(12);

fn main() -> ExitCode {
    harness::run(&[
        ("peer_dns_servers_answer_as_expected", servers_answer),
        (
            "peer_dns_discovery_through_unbound_finds_exactly_the_entry_points",
            through_unbound,
        ),
        (
            "peer_dns_discovery_asking_authorities_finds_exactly_the_entry_points",
            asking_authorities,
        ),
        (
            "peer_dns_hostile_zones_give_nothing_false_and_no_packet_to_refused_addresses",
            nothing_false,
        ),
        (
            "peer_dns_of_split_answers_each_is_taken_as_it_was_given",
            split::each_is_taken_as_given,
        ),
    ])
}

/// Starts the authoritative servers with all cases.
fn serve(lab: &Lab, cases: &[Case], hosts: &[Host], hostile: &[Case]) -> (Served, Vec<Server>) {
    serve_with(lab, cases, hosts, hostile, &[])
}

/// As [`serve`], with zones that are not the same for everybody.
fn serve_with(
    lab: &Lab,
    cases: &[Case],
    hosts: &[Host],
    hostile: &[Case],
    splits: &[Split],
) -> (Served, Vec<Server>) {
    let home = &lab.inside().directory;
    let served = zones::write(cases, hosts, hostile, splits, home);
    let mut servers: Vec<Server> = served
        .zones
        .iter()
        .map(|(host, zones)| Server::start(lab, *host, zones, &home.join(host.name())))
        .collect();
    for (server, zones) in servers.iter_mut().zip(served.zones.values()) {
        server.wait_until_it_listens(lab);
        server.wait_until_it_signs(lab, zones);
    }
    (served, servers)
}

fn servers_answer(inside: Inside) {
    let lab = place::start(inside, 0.2);
    let cases = cases::all();
    let (_, _servers) = serve(&lab, &cases, &Host::PEERS, &[]);
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

/// All zones of one real server and of our own, through Unbound, from the root down, and with our own as the resolver; then
/// every entry point is contacted. What it counts goes to standard output, for `cargo xtask bench discovery`.
fn nothing_false(inside: Inside) {
    let lab = place::start(inside, 1.0);
    let (cases, own) = (cases::all(), hostile::cases());
    let (served, _servers) = serve(&lab, &cases, &[Host::Nsd], &own);
    let server = Hostile::start(&lab);
    let _unbound = start_unbound(&lab, &served);
    let (unbound, hostile) = (resolver(Host::Unbound), resolver(Host::Hostile));
    let direct = direct_resolver(&served);
    let cloud = lab.party(PartyId::Cloud).unwrap();

    let capture = Capture::start(cloud).unwrap();
    let policy = account::lab_policy;
    let runs = in_cloud(&lab, async {
        tokio::join!(
            account::discover(&cases, &[Host::Nsd], &unbound, policy(), limits()),
            account::discover(&own, &[Host::Hostile], &unbound, policy(), limits()),
            account::discover(&own, &[Host::Hostile], &hostile, policy(), limits()),
            account::discover(&cases, &[Host::Nsd], &direct, policy(), limits()),
            account::discover(&own, &[Host::Hostile], &direct, policy(), limits()),
        )
    });
    server.has_turned.store(true, Relaxed);
    let runs = [
        (&cases, Host::Nsd, runs.0),
        (&own, Host::Hostile, runs.1),
        (&own, Host::Hostile, runs.2),
        (&cases, Host::Nsd, runs.3),
        (&own, Host::Hostile, runs.4),
    ];
    let found: BTreeSet<SocketAddr> = runs
        .iter()
        .flat_map(|(_, _, run)| account::addresses(run))
        .collect();
    in_cloud(&lab, contact(&found));
    let captured = capture.stop().unwrap();
    report(&runs, &captured);

    for (cases, host, run) in &runs {
        let expected: BTreeSet<String> = cases
            .iter()
            .flat_map(|case| case.candidates(*host))
            .collect();
        let found: BTreeSet<String> = run
            .candidates
            .iter()
            .map(|found| found.id.to_string())
            .collect();
        assert_eq!(found, expected, "entry points on {host:?}");
        check_bounds(run, 1);
        let accounts = account::accounts(cases, &[*host], &run.trail);
        for case in cases
            .iter()
            .filter(|case| !case.outcome.is_empty() && *host == Host::Hostile)
        {
            let expected: Vec<String> = case
                .outcome
                .iter()
                .map(|line| case.fill(line, *host))
                .collect();
            assert_eq!(accounts[&(*host, case.name)], expected, "{}", case.name);
        }
    }
    let found: BTreeSet<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    let sent: BTreeSet<IpAddr> = captured
        .destinations()
        .filter(|to| !is_neighbourly(*to))
        .collect();
    assert!(found.is_subset(&sent), "{found:?} were not all contacted");
    let mut allowed = found;
    allowed.extend([Host::Registry, Host::Nsd, Host::Unbound, Host::Hostile].map(Host::address));
    allowed.insert(zones::NOBODY.into());
    assert!(
        sent.is_subset(&allowed),
        "{sent:?} are not all of {allowed:?}"
    );
    let received: u64 = captured.received.values().map(|volume| volume.octets).sum();
    assert!(received < 4 << 20, "{received} octets came in");

    // That this can fail: with everything allowed, packets go where they must not.
    let everything =
        AddressPolicy::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    let inward: Vec<Case> = cases
        .iter()
        .filter(|case| case.name == "inside")
        .cloned()
        .collect();
    let number = cases.iter().position(|case| case.name == "inside").unwrap();
    let capture = Capture::start(cloud).unwrap();
    in_cloud(&lab, async {
        let run = account::discover_at(
            &inward,
            number,
            &[Host::Nsd],
            &unbound,
            everything,
            limits(),
        )
        .await;
        contact(&account::addresses(&run).collect()).await;
    });
    let captured = capture.stop().unwrap();
    let refused = captured
        .destinations()
        .filter(|to| account::lab_policy().check(*to).is_err());
    assert!(refused.count() >= 8, "{captured:?}");
    lab.stop().unwrap();
}

/// Prints what a bench wants to know, as one line of JSON.
fn report(runs: &[(&Vec<Case>, Host, account::Run)], captured: &Captured) {
    let false_ones = runs.iter().flat_map(|(cases, host, run)| {
        let known: BTreeSet<String> = cases
            .iter()
            .flat_map(|case| case.candidates(*host))
            .collect();
        let found = run.candidates.iter().map(|found| found.id.to_string());
        found.filter(move |found| !known.contains(found))
    });
    let refused = captured
        .destinations()
        .filter(|to| !is_neighbourly(*to) && account::lab_policy().check(*to).is_err());
    let longest = runs.iter().map(|(_, _, run)| run.took).max().unwrap();
    let figures = serde_json::json!({
        "false": false_ones.count(),
        "refused_addresses": refused.count(),
        "questions": runs.iter().map(|(_, _, run)| run.questions).sum::<usize>(),
        "seconds": longest.as_secs_f64(),
    });
    writeln!(std::io::stdout(), "figures: {figures}").unwrap();
}

/// Packets that the kernel sends by itself: neighbour discovery and multicast memberships.
fn is_neighbourly(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_multicast() && v6.segments()[0] == 0xff02)
}

/// Greets every entry point, as the orchestrator does.
async fn contact(addresses: &BTreeSet<SocketAddr>) {
    let budget = ContactBudget::default();
    let timeouts = ClientTimeouts {
        connect: Duration::from_millis(500),
        call: Duration::from_millis(500),
    };
    let greetings = addresses.iter().map(|address| {
        let site = IepId {
            host: "site.example".parse().unwrap(),
            port: address.port(),
        };
        let client = IepClient::new(*address, site, timeouts);
        let budget = &budget;
        async move { client.greet(budget, MonotonicTime::ZERO).await.is_ok() }
    });
    let greeted = futures_util::future::join_all(greetings).await;
    assert!(!greeted.contains(&true), "nobody is there");
}

fn start_unbound(lab: &Lab, served: &Served) -> Server {
    let home = lab.inside().directory.join("unbound");
    let mut unbound = Server::start_unbound(lab, &served.anchor, &home);
    unbound.wait_until_it_listens(lab);
    unbound
}

/// A resolver that asks only this host.
fn resolver(host: Host) -> Resolver {
    Resolver::new(ResolverConfig {
        mode: Mode::Recursive {
            trusts_authentic_data: host == Host::Unbound,
        },
        // Time for a busy machine, and not much of it for the dead.
        first_timeout: Duration::from_secs(2),
        attempts: 1,
        ..ResolverConfig::new(vec![SocketAddr::new(host.address(), DNS_PORT)])
    })
    .unwrap()
}

/// A resolver that asks the servers of each zone, from the lab's root down, and proves what they say.
fn direct_resolver(served: &Served) -> Resolver {
    let root = SocketAddr::new(Host::Registry.address(), DNS_PORT);
    Resolver::new(ResolverConfig {
        first_timeout: Duration::from_secs(1),
        attempts: 2,
        trust_anchor: Some(served.key.parse().unwrap()),
        ..ResolverConfig::direct(vec![root], account::lab_policy())
    })
    .unwrap()
}

fn limits() -> Limits {
    Limits {
        run_time: RUN_TIME,
        ..Limits::default()
    }
}

fn through_unbound(inside: Inside) {
    let lab = place::start(inside, 1.0);
    let cases = cases::all();
    let (served, _servers) = serve(&lab, &cases, &Host::PEERS, &[]);
    let _unbound = start_unbound(&lab, &served);
    let resolver = resolver(Host::Unbound);
    // Unbound may or may not say why it has no answer.
    let change = |line: String| line.replace(" bogus", " unanswered");
    discover_all(&lab, &cases, &resolver, change);
    lab.stop().unwrap();
}

fn asking_authorities(inside: Inside) {
    let lab = place::start(inside, 1.0);
    let cases = cases::all();
    let (served, _servers) = serve(&lab, &cases, &Host::PEERS, &[]);
    discover_all(&lab, &cases, &direct_resolver(&served), |line| line);
    lab.stop().unwrap();
}

/// Discovers from all cases on all peers; fails with every account that is not the one expected, both after `change`.
fn discover_all(lab: &Lab, cases: &[Case], resolver: &Resolver, change: impl Fn(String) -> String) {
    let hosts = &Host::PEERS;
    let run = in_cloud(lab, async {
        account::discover(cases, hosts, resolver, account::lab_policy(), limits()).await
    });
    let true_ones: usize = cases
        .iter()
        .map(|case| case.candidates(Host::Bind).len())
        .sum();
    let accounts = account::accounts(cases, hosts, &run.trail);
    compare(cases, hosts, &accounts, change);
    assert_eq!(run.candidates.len(), true_ones * hosts.len());
    check_bounds(&run, hosts.len());
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

/// Fails if a discovery went on for long or asked for more than some hundred questions for each zone that there is.
fn check_bounds(run: &account::Run, n_hosts: usize) {
    assert!(run.took < RUN_TIME, "{:?}", run.took);
    assert!(run.questions < 1000 * n_hosts, "{}", run.questions);
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
            let found: Vec<String> = accounts[&(*host, case.name)]
                .iter()
                .map(|line| change(line.clone()))
                .collect();
            if found != expected {
                let differing = |lines: &[String], others: &[String]| -> Vec<String> {
                    let lines = lines.iter().filter(|line| !others.contains(line));
                    lines.cloned().collect()
                };
                let (found, expected) =
                    (differing(&found, &expected), differing(&expected, &found));
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
