//! Every method by both kinds of sockets, the unprivileged ones in a thread without capabilities.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use edge_packet::{IpVersion, QuoteSize};
use edge_probe::{
    Backend, BackendInUse, BackendReason, ProbeMethod, Prober, ProberConfig, Sharing, StartError,
};
use edge_types::{PathEnd, PathObservation};

mod fake_internet;

use fake_internet::{
    DELAY, Manner, Network, OPEN_PORT, addresses, config, target, truth, with_network,
    without_capabilities,
};

const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

fn allow_ping_sockets() {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
}

fn trace(config: ProberConfig, targets: &[IpAddr]) -> Vec<PathObservation> {
    let prober = Prober::start(config).unwrap();
    let paths = prober.trace_all(targets.iter().copied());
    let counters = prober.counters();
    assert!(counters.rejected >= counters.replies / 2, "{counters:?}");
    paths.into_iter().map(Result::unwrap).collect()
}

/// All paths are the truth, with plausible times, and each target saw a single flow.
fn check(network: &Network, config: &ProberConfig, targets: &[IpAddr], paths: &[PathObservation]) {
    for (target, path) in targets.iter().zip(paths) {
        assert_eq!(addresses(path), truth(*target), "{config:?}");
        assert_eq!(path.end, PathEnd::Reached);
        for (_, reply) in path.replies() {
            let rtt = reply.rtt.unwrap().0;
            assert!(rtt >= DELAY && rtt < Duration::from_secs(1), "{path:?}");
        }
    }
    let mut seen = network.seen.lock().unwrap();
    for target in targets {
        assert_eq!(seen.flows[target].len(), 1, "{:?}", seen.flows[target]);
    }
    seen.flows.clear();
}

#[test]
fn netns_every_method_version_and_backend_finds_the_same_true_paths() {
    with_network(|network| {
        allow_ping_sockets();
        let targets: Vec<IpAddr> = (1..=12)
            .flat_map(|number| VERSIONS.map(|version| target(number, version)))
            .collect();
        let manner = |quote, forged_by_insider, twice| Manner {
            quote,
            forged_by_insider,
            twice,
        };
        for (method, port) in [
            (ProbeMethod::Udp, 33434),
            (ProbeMethod::Icmp, 33434),
            (ProbeMethod::TcpSyn, OPEN_PORT),
            (ProbeMethod::TcpSyn, 81),
        ] {
            for (quote, twice) in [(QuoteSize::Minimum, true), (QuoteSize::Full, false)] {
                for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
                    let config = ProberConfig {
                        method,
                        destination_port: port,
                        ..config(sharing)
                    };
                    let raw = ProberConfig {
                        backend: Backend::Raw,
                        ..config.clone()
                    };
                    let by_insider = sharing == Sharing::Off;
                    *network.manner.lock().unwrap() = manner(quote, by_insider, twice);
                    check(&network, &raw, &targets, &trace(raw.clone(), &targets));
                    if method == ProbeMethod::TcpSyn {
                        continue;
                    }
                    // An untagged reply proves no more than the source port.
                    let is_tagged = method == ProbeMethod::Icmp || quote == QuoteSize::Full;
                    *network.manner.lock().unwrap() = manner(quote, is_tagged, twice);
                    let unprivileged = ProberConfig {
                        backend: Backend::Unprivileged,
                        ..config
                    };
                    let paths =
                        without_capabilities(|| trace_unprivileged(&unprivileged, &targets));
                    check(&network, &unprivileged, &targets, &paths);
                }
            }
        }
    });
}

/// Like [`trace`], but forgeries that do not even know the port do not reach the process.
fn trace_unprivileged(config: &ProberConfig, targets: &[IpAddr]) -> Vec<PathObservation> {
    let prober = Prober::start(config.clone()).unwrap();
    let paths = prober.trace_all(targets.iter().copied());
    paths.into_iter().map(Result::unwrap).collect()
}

#[test]
fn netns_the_backend_is_chosen_by_what_is_permitted() {
    with_network(|_| {
        let in_use = |config: &ProberConfig| Prober::start(config.clone()).map(|it| it.backend());
        let auto = config(Sharing::Off);
        let raw = BackendInUse {
            backend: Backend::Raw,
            reason: BackendReason::RawPermitted,
        };
        assert_eq!(in_use(&auto).unwrap(), raw);
        without_capabilities(|| {
            let unprivileged = BackendInUse {
                backend: Backend::Unprivileged,
                reason: BackendReason::RawNotPermitted,
            };
            assert_eq!(in_use(&auto).unwrap(), unprivileged);
            let with = |method, backend| {
                in_use(&ProberConfig {
                    method,
                    backend,
                    ..auto.clone()
                })
            };
            let refusal = with(ProbeMethod::Udp, Backend::Raw).unwrap_err();
            assert!(
                matches!(refusal, StartError::NotPermitted { .. }),
                "{refusal:?}"
            );
            let refusal = with(ProbeMethod::TcpSyn, Backend::Auto).unwrap_err();
            assert!(matches!(refusal, StartError::TcpNeedsRaw), "{refusal:?}");
            let refusal = with(ProbeMethod::Icmp, Backend::Auto).unwrap_err();
            assert!(
                matches!(&refusal, StartError::PingNotPermitted { range, .. } if range == "1 0"),
                "{refusal:?}"
            );
        });
        allow_ping_sockets();
        without_capabilities(|| {
            let config = ProberConfig {
                method: ProbeMethod::Icmp,
                ..auto.clone()
            };
            assert_eq!(in_use(&config).unwrap().backend, Backend::Unprivileged);
        });
    });
}

#[test]
fn netns_a_taken_source_port_is_told() {
    with_network(|_| {
        let taken = std::net::UdpSocket::bind("0.0.0.0:50001").unwrap();
        let config = ProberConfig {
            backend: Backend::Unprivileged,
            source_port: Some(50001),
            ..config(Sharing::Off)
        };
        let refusal = Prober::start(config.clone()).unwrap_err();
        assert!(
            matches!(refusal, StartError::PortTaken { port: 50001, .. }),
            "{refusal:?}"
        );
        drop(taken);
        Prober::start(config).unwrap();
    });
}

#[test]
fn netns_accepted_connections_are_reset_at_once() {
    with_network(|network| {
        let targets: Vec<IpAddr> = (1..=5)
            .flat_map(|number| VERSIONS.map(|version| target(number, version)))
            .collect();
        let config = ProberConfig {
            method: ProbeMethod::TcpSyn,
            destination_port: OPEN_PORT,
            ..config(Sharing::Off)
        };
        trace(config, &targets);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let seen = network.seen.lock().unwrap();
            assert!(!seen.accepted.is_empty());
            if seen.accepted.is_subset(&seen.reset) {
                break;
            }
            assert!(Instant::now() < deadline, "{seen:?}");
            drop(seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn netns_a_neighbour_is_reached_by_every_method_and_backend() {
    with_network(|_| {
        allow_ping_sockets();
        for target in ["127.0.0.1", "::1"].map(|text| text.parse().unwrap()) {
            for (method, backend) in [
                (ProbeMethod::Udp, Backend::Raw),
                (ProbeMethod::Icmp, Backend::Raw),
                (ProbeMethod::TcpSyn, Backend::Raw),
                (ProbeMethod::Udp, Backend::Unprivileged),
                (ProbeMethod::Icmp, Backend::Unprivileged),
            ] {
                let config = ProberConfig {
                    method,
                    backend,
                    ..config(Sharing::Off)
                };
                let prober = Prober::start(config).unwrap();
                let path = prober.trace_all([target]).remove(0).unwrap();
                assert_eq!(
                    addresses(&path),
                    [Some(target)],
                    "{method:?} by {backend:?}"
                );
                assert_eq!(path.end, PathEnd::Reached);
            }
        }
    });
}

/// Milliseconds of processor time that prober threads of this process have used.
fn prober_cpu_ms() -> u64 {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").trim() == "prober" {
            let nanoseconds: u64 = read("schedstat")
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            total += nanoseconds / 1_000_000;
        }
    }
    total
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "figures for whoever asks for the output"
)]
fn netns_a_thousand_targets_at_5000_probes_a_second_get_their_replies_by_both_backends() {
    with_network(|network| {
        *network.manner.lock().unwrap() = Manner {
            quote: QuoteSize::Full,
            forged_by_insider: true,
            twice: false,
        };
        let targets: Vec<IpAddr> = (1..=500)
            .flat_map(|number| VERSIONS.map(|version| target(number, version)))
            .collect();
        let run = |backend, sharing| {
            let config = ProberConfig {
                backend,
                packets_per_second: 5000,
                ..config(sharing)
            };
            let prober = Prober::start(config).unwrap();
            let started = Instant::now();
            let paths = prober.trace_all(targets.iter().copied());
            let took = started.elapsed();
            let counters = prober.counters();
            println!(
                "{backend:?}, {sharing:?}: {} ms, {counters:?}, {} ms of CPU",
                took.as_millis(),
                prober_cpu_ms(),
            );
            let paths: Vec<_> = paths.into_iter().map(Result::unwrap).collect();
            let lost = counters.sent - counters.replies;
            assert!(lost <= counters.sent / 100, "{counters:?}");
            paths
        };
        for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
            let raw = run(Backend::Raw, sharing);
            let unprivileged = without_capabilities(|| run(Backend::Unprivileged, sharing));
            for ((target, raw), unprivileged) in targets.iter().zip(&raw).zip(&unprivileged) {
                assert_eq!(addresses(raw), truth(*target));
                assert_eq!(addresses(unprivileged), truth(*target));
            }
        }
    });
}
