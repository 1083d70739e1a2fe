//! A population of real HTTP clients, each with an address of its own.
//!
//! Clients know nothing of ExEC. They ask the application by its host name, follow redirects, keep a 302 for as long as
//! its `Cache-Control: max-age` says (RFC 9111), and go back to the cloud when that runs out or the site fails. Every
//! request opens its own connection, and its latency runs from the first byte sent (the SYN) to the last byte received,
//! redirects included.
//!
//! A control cohort of the same size, seeds and moments asks under the control host name, which is never redirected: it
//! shows what the same clients would see with the cloud alone.

mod fetch;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::fetch::{Fetched, Network, RedirectCache};

/// What the population does; written by the supervisor, read by the process in the clients' namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Seed of arrival times and of the choice of objects.
    pub seed: u64,
    /// How long clients ask, in milliseconds.
    pub duration_ms: u64,
    /// Longest wait for one answer, redirects included, in milliseconds.
    pub timeout_ms: u64,
    /// Host names and the addresses that they resolve to.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// TCP port of the application.
    pub port: u16,
    /// What is asked for; a weighted choice.
    pub objects: Vec<Object>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Where the records go, one JSON object a line.
    pub records: PathBuf,
}

/// Something to ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Path and query.
    pub target: String,
    /// Name in the report, e.g. `25k`.
    pub label: String,
    /// Relative frequency.
    pub weight: u32,
}

/// One client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Index of its prefix in the scenario.
    pub prefix: usize,
    /// Which host name it asks.
    pub cohort: Cohort,
    /// Host name asked.
    pub host: String,
    /// Seed of its own choices; a client and its control twin have the same.
    pub seed: u64,
    /// Mean time between two requests, in milliseconds.
    pub interval_ms: u64,
    /// When it begins to ask, in milliseconds since the start of the population.
    #[serde(default)]
    pub start_ms: u64,
}

/// Whether a client may be redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cohort {
    /// Served by ExEC.
    Exec,
    /// Never redirected.
    Control,
}

/// One request as its client saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was sent, in milliseconds since the population started.
    pub at_ms: f64,
    /// From the first byte sent to the last received, in milliseconds.
    pub latency_ms: f64,
    /// Index of the client's prefix.
    pub prefix: usize,
    /// Cohort.
    pub cohort: Cohort,
    /// Label of the object.
    pub object: String,
    /// Who answered in the end; `None` if nobody did.
    pub served_by: Option<SocketAddr>,
    /// Did an edge answer, that is, not the application's own address?
    pub edge: bool,
    /// Redirects followed on the network, cached ones not counted.
    pub redirects: u32,
    /// Octets of the final body.
    pub body_octets: u64,
    /// Why there was no good answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Counts while it runs, printed as one JSON line every half second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// Finished requests of the ExEC cohort.
    pub requests: u64,
    /// Of these, answered by an edge.
    pub by_edge: u64,
    /// Failed requests of both cohorts.
    pub errors: u64,
    /// Mean latency of the ExEC cohort's 25 kB requests since the last line, microseconds.
    pub exec_mean_us: u64,
    /// The same of the control cohort.
    pub control_mean_us: u64,
}

/// The population could not run or its records could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PopulationError {
    /// The records' file.
    #[error("writing the clients' records to {path} failed")]
    Records {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A client's host name has no address.
    #[error("the population gives no address for host {0}")]
    UnknownHost(String),
    /// Nothing to ask for.
    #[error("the population asks for no object")]
    NoObjects,
}

/// Runs the population to its end; `progress` is called every half second.
///
/// # Errors
/// [`PopulationError`]; a failed request is a record, not an error.
pub async fn run(
    population: Population,
    mut progress: impl FnMut(Progress),
) -> Result<(), PopulationError> {
    if population.objects.iter().all(|object| object.weight == 0) {
        return Err(PopulationError::NoObjects);
    }
    if let Some(client) = population
        .clients
        .iter()
        .find(|client| !population.hosts.contains_key(&client.host))
    {
        return Err(PopulationError::UnknownHost(client.host.clone()));
    }
    let failed = |cause| PopulationError::Records {
        path: population.records.clone(),
        cause,
    };
    let mut file =
        std::io::BufWriter::new(std::fs::File::create(&population.records).map_err(failed)?);
    let (records, mut finished) = mpsc::channel::<Record>(4096);
    let start = Instant::now();
    let active = Arc::new(AtomicU64::new(population.clients.len() as u64));
    let shared = Arc::new(population.clone());
    for client in &population.clients {
        let (shared, client, records) = (Arc::clone(&shared), client.clone(), records.clone());
        let active = Arc::clone(&active);
        tokio::spawn(async move {
            ask_until_the_end(&shared, &client, start, &records).await;
            active.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(records);

    let mut window = Window::default();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            record = finished.recv() => match record {
                Some(record) => {
                    window.add(&record);
                    let line = serde_json::to_string(&record).unwrap_or_default();
                    writeln!(file, "{line}").map_err(failed)?;
                }
                None => break,
            },
            _ = tick.tick() => progress(window.close(start.elapsed())),
        }
    }
    file.flush().map_err(failed)?;
    progress(window.close(start.elapsed()));
    Ok(())
}

async fn ask_until_the_end(
    population: &Population,
    client: &Client,
    start: Instant,
    records: &mpsc::Sender<Record>,
) {
    let mut random = SplitMix(client.seed ^ population.seed.rotate_left(32));
    let network = Network {
        hosts: population.hosts.clone(),
        source: client.address,
        timeout: Duration::from_millis(population.timeout_ms),
    };
    let mut cache = RedirectCache::default();
    let end = start + Duration::from_millis(population.duration_ms);
    let first = client.start_ms + random.below(client.interval_ms.max(1));
    let mut next = start + Duration::from_millis(first);
    while next < end {
        tokio::time::sleep_until(next).await;
        let object = choose(&population.objects, &mut random);
        let sent = Instant::now();
        let url = format!(
            "http://{}:{}{}",
            client.host, population.port, object.target
        );
        let outcome = fetch::get(&network, &mut cache, &url, sent).await;
        let latency = sent.elapsed();
        let record = record(population, client, object, sent - start, latency, outcome);
        if records.send(record).await.is_err() {
            return;
        }
        // Uniform between half and one and a half intervals, from the moment the last one was due: the load stays as
        // configured however slow the answers are, and both cohorts ask at the same moments.
        let interval = client.interval_ms / 2 + random.below(client.interval_ms.max(1));
        next = (next + Duration::from_millis(interval)).max(Instant::now());
    }
}

fn record(
    population: &Population,
    client: &Client,
    object: &Object,
    at: Duration,
    latency: Duration,
    outcome: Result<Fetched, fetch::FetchError>,
) -> Record {
    let (served_by, redirects, body_octets, error) = match outcome {
        Ok(fetched) => (
            Some(fetched.served_by),
            fetched.redirects,
            fetched.body_octets,
            None,
        ),
        Err(error) => (None, 0, 0, Some(error.to_string())),
    };
    let home = population.hosts.get(&client.host);
    Record {
        at_ms: at.as_secs_f64() * 1e3,
        latency_ms: latency.as_secs_f64() * 1e3,
        prefix: client.prefix,
        cohort: client.cohort,
        object: object.label.clone(),
        edge: served_by
            .is_some_and(|address| !home.is_some_and(|home| home.contains(&address.ip()))),
        served_by,
        redirects,
        body_octets,
        error,
    }
}

fn choose<'a>(objects: &'a [Object], random: &mut SplitMix) -> &'a Object {
    let total: u64 = objects.iter().map(|object| u64::from(object.weight)).sum();
    let mut left = random.below(total.max(1));
    for object in objects {
        if left < u64::from(object.weight) {
            return object;
        }
        left -= u64::from(object.weight);
    }
    &objects[0]
}

/// Sums between two progress lines.
#[derive(Debug, Default)]
struct Window {
    progress: Progress,
    exec: (u64, u64),
    control: (u64, u64),
}

impl Window {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "latencies are small and positive"
    )]
    fn add(&mut self, record: &Record) {
        self.progress.errors += u64::from(record.error.is_some());
        let micros = (record.latency_ms * 1e3) as u64;
        let sums = match record.cohort {
            Cohort::Exec => {
                self.progress.requests += 1;
                self.progress.by_edge += u64::from(record.edge);
                &mut self.exec
            }
            Cohort::Control => &mut self.control,
        };
        if record.object == "25k" {
            sums.0 += micros;
            sums.1 += 1;
        }
    }

    fn close(&mut self, elapsed: Duration) -> Progress {
        self.progress.at_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.progress.exec_mean_us = self.exec.0 / self.exec.1.max(1);
        self.progress.control_mean_us = self.control.0 / self.control.1.max(1);
        (self.exec, self.control) = Default::default();
        self.progress
    }
}

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014): small, and
/// equal seeds give equal clients.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`, as far as 64 bits allow.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
