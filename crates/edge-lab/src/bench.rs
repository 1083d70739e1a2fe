//! Measures the lab itself: configured against measured delay and loss, and the cost of 100,000 packets per second.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{Lab, LabError};
use crate::network::{Network, PartyId};
use crate::party::PartyNamespace;
use crate::sandbox::Inside;
use crate::scenario::{Scenario, ScenarioError};

/// A cloud and two client networks, 25 ms away each; one behind a link that loses 2 % each way.
const SCENARIO: &str = r#"
format = 1
name = "bench"
seed = 1
cloud = { router = "a", addresses = ["240.0.0.10"], host = "app.cloud.example", access_ms = 1 }
dns   = { router = "a", addresses = ["240.0.0.53"] }
chain = { router = "a", addresses = ["240.0.0.80"] }
routers = [
  { id = "a", addresses = ["240.1.0.1"] },
  { id = "b", addresses = ["240.1.1.1"] },
  { id = "c", addresses = ["240.1.2.1"] },
  { id = "lossy", addresses = ["240.1.3.1"] },
]
links = [
  { a = "a", b = "b", delay_ms = 8 },
  { a = "b", b = "c", delay_ms = 15 },
  { a = "b", b = "lossy", delay_ms = 15, loss = 0.02 },
]
clients = [
  { prefix = "240.16.0.0/24", router = "c", access_ms = 1 },
  { prefix = "240.16.1.0/24", router = "lossy", access_ms = 1 },
]
"#;

const CLOUD: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 10));
const NEAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(240, 16, 0, 10)), 9000);
const LOSSY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(240, 16, 1, 10)), 9000);

/// Configured round trip to either client.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Configured loss towards the second client.
const LOSS: f64 = 0.02;

/// Packets per second under load.
const LOAD: u32 = 100_000;

/// Octets of a packet's UDP payload: about the mean of request and acknowledgement traffic.
const PAYLOAD: usize = 100;

/// Why the lab could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The built-in scenario is wrong.
    #[error("the built-in scenario is wrong")]
    Scenario(#[from] ScenarioError),
    /// The lab does not start.
    #[error("cannot start the lab")]
    Lab(#[from] LabError),
    /// A socket or thread failed.
    #[error("cannot exchange packets")]
    Exchange(#[from] io::Error),
    /// A party is missing.
    #[error("the lab has no {0:?}")]
    Party(PartyId),
}

/// Measures for about three times `duration`, as the supervisor of a sandbox. Returns the rows of the bench format.
pub fn run(inside: Inside, duration: Duration) -> Result<Value, BenchError> {
    let network = Arc::new(Network::compile(&Scenario::parse("bench", SCENARIO)?));
    let lab = Lab::start(inside, network)?;
    let party = |id| lab.party(id).ok_or(BenchError::Party(id));
    let (cloud, clients) = (party(PartyId::Cloud)?, party(PartyId::Clients)?);

    let mut rows = Vec::new();
    let mut off = echo(cloud, clients, duration)?;
    off.sort_unstable();
    let off_at = |per_mille: usize| milliseconds(off[(off.len() - 1) * per_mille / 1000]);
    rows.push(row("delay off by/p50", "ms", off_at(500), Some(0.5)));
    rows.push(row("delay off by/p99", "ms", off_at(990), Some(2.0)));

    let lossy = flood(cloud, clients, LOSSY, LOAD / 10, duration)?;
    let lost = 1.0 - lossy.received as f64 / lossy.sent as f64;
    // Three standard deviations of a binomial share.
    let slack = 3.0 * (LOSS * (1.0 - LOSS) / lossy.sent as f64).sqrt();
    rows.push(row(
        "loss off by",
        "share",
        (lost - LOSS).abs(),
        Some(slack),
    ));

    lab.statistics().restart_lateness();
    let before = forwarder_cpu()?;
    let load = flood(cloud, clients, NEAR, LOAD, duration)?;
    let busy = forwarder_cpu()?.saturating_sub(before);
    let lateness = lab.statistics().snapshot().lateness;
    let offered = load.sent as f64 / load.took.as_secs_f64();
    rows.push(json!({
        "case": "load/offered", "unit": "packets/s", "better": "higher",
        "ours": [offered], "peer": [], "peer_name": null,
        "goal": f64::from(LOAD) * 0.99, "holds": offered >= f64::from(LOAD) * 0.99,
    }));
    rows.push(row(
        "load/lost",
        "share",
        1.0 - load.received as f64 / load.sent as f64,
        Some(0.001),
    ));
    rows.push(row(
        "load/cpu",
        "cores",
        busy.as_secs_f64() / load.took.as_secs_f64(),
        Some(1.0),
    ));
    rows.push(row(
        "load/lateness p50",
        "ms",
        milliseconds(lateness.p50),
        None,
    ));
    rows.push(row(
        "load/lateness p99",
        "ms",
        milliseconds(lateness.p99),
        Some(2.0),
    ));
    let (priority, awake) = (
        format!("{:?}", lab.priority()),
        lab.keeps_processors_awake(),
    );
    lab.stop()?;
    Ok(json!({ "rows": rows, "priority": priority, "processors_awake": awake }))
}

fn row(case: &str, unit: &str, value: f64, goal: Option<f64>) -> Value {
    json!({
        "case": case, "unit": unit, "better": "lower",
        "ours": [value], "peer": [], "peer_name": null,
        "goal": goal, "holds": goal.map(|goal| value <= goal),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// How far measured round trips are from the configured one, at a few hundred a second.
fn echo(
    cloud: &PartyNamespace,
    clients: &PartyNamespace,
    duration: Duration,
) -> Result<Vec<Duration>, BenchError> {
    let near = clients.run(|| UdpSocket::bind(NEAR))??;
    near.set_read_timeout(Some(Duration::from_millis(200)))?;
    let far = cloud.run(|| UdpSocket::bind((CLOUD, 0)))??;
    far.set_read_timeout(Some(Duration::from_secs(1)))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut octets = [0; 2048];
            while !done.load(Relaxed) {
                if let Ok((length, from)) = near.recv_from(&mut octets) {
                    let _ = near.send_to(&octets[..length], from);
                }
            }
        });
        let start = Instant::now();
        let mut off = Vec::new();
        let mut octets = [0; 2048];
        let mut measure = || {
            while start.elapsed() < duration {
                let sent = Instant::now();
                far.send_to(&[0; PAYLOAD], NEAR)?;
                far.recv(&mut octets)?;
                off.push(sent.elapsed().abs_diff(ROUND_TRIP));
            }
            Ok(())
        };
        let outcome: io::Result<()> = measure();
        done.store(true, Relaxed);
        outcome?;
        Ok(off)
    })
}

struct Flood {
    sent: u64,
    received: u64,
    took: Duration,
}

/// Sends at a constant rate one way and counts what arrives.
fn flood(
    cloud: &PartyNamespace,
    clients: &PartyNamespace,
    to: SocketAddr,
    rate: u32,
    duration: Duration,
) -> Result<Flood, BenchError> {
    let receiver = clients.run(|| UdpSocket::bind(to))??;
    receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
    nix::sys::socket::setsockopt(&receiver, nix::sys::socket::sockopt::RcvBuf, &(8 << 20))
        .map_err(io::Error::from)?;
    let sender = cloud.run(|| UdpSocket::bind((CLOUD, 0)))??;
    sender.connect(to)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counter = scope.spawn(|| {
            let mut octets = [0; 2048];
            let mut received = 0;
            loop {
                match receiver.recv(&mut octets) {
                    Ok(_) => received += 1,
                    // Nothing for longer than a packet is under way.
                    Err(_) if done.load(Relaxed) => return received,
                    Err(_) => {}
                }
            }
        });
        let start = Instant::now();
        let mut sent = 0u64;
        let mut send = || {
            loop {
                let elapsed = start.elapsed();
                if elapsed >= duration {
                    return Ok(elapsed);
                }
                let due = (elapsed.as_secs_f64() * f64::from(rate)).floor();
                while (sent as f64) < due {
                    sender.send(&[0; PAYLOAD])?;
                    sent += 1;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        let outcome: io::Result<Duration> = send();
        done.store(true, Relaxed);
        let received = counter
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Flood {
            sent,
            received,
            took: outcome?,
        })
    })
}

/// Processor time that the forwarder's thread has used.
fn forwarder_cpu() -> io::Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() != "forwarder" {
            continue;
        }
        // Nanoseconds on a processor, the first of three fields.
        let times = std::fs::read_to_string(task.join("schedstat"))?;
        let nanoseconds = times.split(' ').next().and_then(|ns| ns.parse().ok());
        return nanoseconds
            .map(Duration::from_nanos)
            .ok_or_else(|| io::ErrorKind::InvalidData.into());
    }
    Err(io::ErrorKind::NotFound.into())
}
