//! Figure 6: what a redirect costs a client, over its number of requests.
//!
//! Real HTTP over real TCP in the lab: the application's own server in the cloud, the production front end that redirects, the edge
//! service at a site in the client's city, and the lab's clients, which keep a redirect for as long as they are told.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, anyhow};
use edge_lab::clients::{Client, Cohort, Object, Population, Record};
use edge_sim::figures::Estimate;

use crate::chart::{self, Axis, Chart, Frame, Series};
use crate::figures::{Cell, Drawn, Progress, Request, Table};
use crate::in_lab::{Directory, HeldLab};
use crate::statement::{Statement, Verdict};
use edge_console::exit::Failure;
use edge_console::svg::{Svg, point};

/// A client in one city, an edge in the same, and the nearest facility of a cloud provider in another country.
const SCENARIO: &str = r#"
format = 1
name = "redirects"
description = "A client and an edge in one city, the nearest cloud facility 40 ms of round trip away."
seed = 1
defaults = { icmp = "unlimited", access_ms = 1.0 }
cloud = { router = "cloud", addresses = ["240.0.0.10"], host = "app.cloud.example" }
dns = { router = "cloud", addresses = ["240.0.0.53"] }
chain = { router = "cloud", addresses = ["240.0.0.80"] }
routers = [
  { id = "cloud", addresses = ["240.1.0.1"] },
  { id = "transit", addresses = ["240.1.1.1"] },
  { id = "city", addresses = ["240.1.2.1"] },
]
links = [
  { a = "cloud", b = "transit", delay_ms = 12 },
  { a = "transit", b = "city", delay_ms = 6 },
]
clients = [ { prefix = "240.16.0.0/24", router = "city" } ]
[[providers]]
domain = "city-net.example"
sites = [ { host = "edge1.city-net.example", router = "city", addresses = ["240.32.0.1"], price_wei_per_second = "1", access_ms = 1.0 } ]
"#;

const CLOUD: &str = "240.0.0.10";
const ORIGIN: &str = "240.0.0.10:8081";
const FRONT_END: &str = "240.0.0.10:80";
const EDGE: &str = "240.32.0.1:80";
const PROVIDER: &str = "city-net.example";

/// Clients of each kind.
const SESSIONS: usize = 10;
/// Part of the way between edge and cloud that still counts as being at the edge.
const CLOSE: f64 = 0.1;

/// How a client comes to its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Cloud,
    Redirect,
    Edge,
}

impl Way {
    const ALL: [Self; 3] = [Self::Cloud, Self::Redirect, Self::Edge];

    const fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Redirect => "cloud redirects to the edge",
            Self::Edge => "edge directly",
        }
    }

    const fn host(self) -> &'static str {
        match self {
            Self::Cloud => "control.app.cloud.example",
            Self::Redirect => "app.cloud.example",
            Self::Edge => "edge1.city-net.example",
        }
    }

    const fn look(self) -> usize {
        match self {
            Self::Cloud => 2,
            Self::Redirect => 5,
            Self::Edge => 7,
        }
    }
}

/// A size of answers.
struct Size {
    name: &'static str,
    target: &'static str,
    octets: u64,
    /// Time between two requests of a client.
    interval_ms: u64,
}

const SIZES: [Size; 2] = [
    Size {
        name: "25 kB",
        target: "/object?size=25k",
        octets: 25_000,
        interval_ms: 300,
    },
    Size {
        name: "1 MB",
        target: "/object?size=1m",
        octets: 1_000_000,
        interval_ms: 1000,
    },
];

/// Mean latency of the first n requests of a client, for n from 1, by way.
type Curves = BTreeMap<Way, Vec<Estimate>>;

/// Measures and draws it.
pub(super) fn draw(request: &Request<'_>, progress: Progress<'_>) -> Result<Drawn, Failure> {
    progress("starting the lab");
    let mut lab = HeldLab::start(SCENARIO).map_err(|error| {
        Failure::runtime(error).with_hint("run it as root, or leave it out with --without-lab")
    })?;
    lab.serve("cloud", &["app", "origin", "--listen", ORIGIN])?;
    lab.serve(PROVIDER, &["app", "edge", "--listen", EDGE])?;
    let hosts = [Way::Redirect.host(), Way::Cloud.host()];
    lab.serve(
        "cloud",
        &[
            "simulate",
            "part",
            "front-end",
            "--listen",
            FRONT_END,
            "--upstream",
            ORIGIN,
            "--host",
            hosts[0],
            "--control",
            hosts[1],
            "--clients",
            "240.16.0.0/24",
            "--site",
            EDGE,
        ],
    )?;
    lab.await_listeners("cloud", &[ORIGIN, FRONT_END])?;
    lab.await_listeners(PROVIDER, &[EDGE])?;
    let mut measured = Vec::new();
    for size in &SIZES {
        progress(&format!(
            "{} clients ask for {}, {} times each",
            3 * SESSIONS,
            size.name,
            request.lab_requests
        ));
        measured.push(measure(&lab, size, request.lab_requests, request.seed)?);
    }
    let mut table = Table::new(&["size", "way", "requests", "mean_ms", "half_width_95_ms"]);
    for (size, curves) in SIZES.iter().zip(&measured) {
        for (way, estimates) in curves {
            for (requests, estimate) in (1..).zip(estimates) {
                table.line(&[
                    Cell::Text(size.name),
                    Cell::Text(way.name()),
                    Cell::Count(requests),
                    Cell::Number(estimate.mean),
                    Cell::Number(estimate.half_width),
                ]);
            }
        }
    }
    Ok(Drawn {
        key: "lab",
        input: "HTTP over TCP in the lab, the cloud 40 ms away and the edge 4 ms".to_owned(),
        svg: picture(&measured),
        csv: table.finish(),
        statements: statements(&measured),
    })
}

fn measure(lab: &HeldLab, size: &Size, wanted: usize, seed: u64) -> Result<Curves, Failure> {
    let directory = Directory::new()?;
    let records = directory.path().join("records.jsonl");
    let clients = Way::ALL
        .into_iter()
        .flat_map(|way| (0..SESSIONS).map(move |session| (way, session)));
    let clients: Vec<Client> = (0u8..)
        .zip(clients)
        .map(|(number, (way, session))| Client {
            address: [240, 16, 0, 10 + number].into(),
            prefix: usize::from(number),
            cohort: Cohort::Exec,
            host: way.host().to_owned(),
            seed: session as u64,
            interval_ms: size.interval_ms,
            start_ms: 0,
        })
        .collect();
    // Intervals are between a half and one and a half; what is asked too often is left out below.
    let duration_ms = size.interval_ms * (wanted as u64 * 3 / 2 + 2);
    let population = Population {
        seed,
        duration_ms,
        timeout_ms: 20_000,
        hosts: Way::ALL
            .into_iter()
            .map(|way| {
                let address = if way == Way::Edge {
                    EDGE.split(':').next().unwrap_or(EDGE)
                } else {
                    CLOUD
                };
                let address = address
                    .parse()
                    .context("reading an address of the scenario")?;
                Ok((way.host().to_owned(), vec![address]))
            })
            .collect::<anyhow::Result<_>>()?,
        port: 80,
        objects: vec![Object {
            target: size.target.to_owned(),
            label: size.name.to_owned(),
            weight: 1,
        }],
        clients,
        records: records.clone(),
    };
    let file = directory.path().join("population.json");
    let text = serde_json::to_string(&population).context("writing the population")?;
    std::fs::write(&file, text).context("writing the population")?;
    let shown = file.to_string_lossy().into_owned();
    lab.output("clients", &["demo-part", "clients", "--population", &shown])?;
    let text = std::fs::read_to_string(&records).context("reading the clients' records")?;
    let records: Vec<Record> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("reading the clients' records")?;
    curves(&records, size, wanted).map_err(Failure::runtime)
}

/// Means over clients of the mean over each one's first requests.
fn curves(records: &[Record], size: &Size, wanted: usize) -> anyhow::Result<Curves> {
    let mut by_client: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(error) = &record.error {
            return Err(anyhow!("a client got no answer: {error}"));
        }
        if record.body_octets != size.octets {
            return Err(anyhow!(
                "an answer has {} octets, not {}",
                record.body_octets,
                size.octets
            ));
        }
        by_client.entry(record.prefix).or_default().push(record);
    }
    let mut sums: BTreeMap<Way, Vec<Vec<f64>>> = BTreeMap::new();
    for (number, mut requests) in by_client {
        let way = *Way::ALL
            .get(number / SESSIONS)
            .context("a record of no client")?;
        requests.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        requests.truncate(wanted);
        check(way, &requests)?;
        let mut sum = 0.0;
        let means = (1u32..).zip(&requests).map(|(count, record)| {
            sum += record.latency_ms;
            sum / f64::from(count)
        });
        sums.entry(way).or_default().push(means.collect());
    }
    let shortest = sums.values().flatten().map(Vec::len).min().unwrap_or(0);
    if shortest < wanted / 2 || sums.len() < Way::ALL.len() {
        return Err(anyhow!(
            "a client came to {shortest} requests only; the machine is too busy"
        ));
    }
    let curve = |clients: &Vec<Vec<f64>>| {
        let at = |count: usize| clients.iter().map(|means| means[count]).collect::<Vec<_>>();
        (0..shortest)
            .map(|count| Estimate::of(&at(count)))
            .collect()
    };
    Ok(sums
        .iter()
        .map(|(way, clients)| (*way, curve(clients)))
        .collect())
}

/// Who answers is what the figure says.
fn check(way: Way, requests: &[&Record]) -> anyhow::Result<()> {
    let redirects: BTreeSet<u32> = requests
        .iter()
        .skip(1)
        .map(|record| record.redirects)
        .collect();
    let first = requests.first().map_or(0, |record| record.redirects);
    let by: BTreeSet<String> = requests
        .iter()
        .filter_map(|record| record.served_by.map(|address| address.ip().to_string()))
        .collect();
    let expected = if way == Way::Cloud {
        CLOUD
    } else {
        "240.32.0.1"
    };
    let is_so = by.iter().all(|address| address == expected)
        && redirects.iter().all(|count| *count == 0)
        && first == u32::from(way == Way::Redirect);
    if is_so {
        Ok(())
    } else {
        Err(anyhow!(
            "{}: served by {by:?}, redirected {first} times at first and {redirects:?} later",
            way.name()
        ))
    }
}

/// How much of the way from the edge's latency to the cloud's is left after so many requests, 0 to 1 and more.
fn left(curves: &Curves, requests: usize) -> f64 {
    let at = |way: Way| {
        let curve = curves.get(&way).map_or(&[][..], Vec::as_slice);
        curve
            .get(requests - 1)
            .or(curve.last())
            .map_or(f64::NAN, |estimate| estimate.mean)
    };
    (at(Way::Redirect) - at(Way::Edge)) / (at(Way::Cloud) - at(Way::Edge))
}

/// Requests of each client that are there to be looked at.
fn requests_of(curves: &Curves) -> usize {
    curves.values().map(Vec::len).min().unwrap_or(0)
}

fn statements(measured: &[Curves]) -> Vec<Statement> {
    let [small, large] = measured else {
        return Vec::new();
    };
    let mean = |curves: &Curves, way: Way, requests: usize| {
        let curve = curves.get(&way).map_or(&[][..], Vec::as_slice);
        let estimate = curve.get(requests - 1).or(curve.last());
        estimate.map_or(f64::NAN, |estimate| estimate.mean)
    };
    let at_15 = left(small, 15);
    let close = |curves: &Curves| {
        (1..=requests_of(curves)).find(|requests| left(curves, *requests) <= CLOSE)
    };
    let spoken = |requests: Option<usize>| {
        requests.map_or("more than all".to_owned(), |requests| requests.to_string())
    };
    let (close_small, close_large) = (close(small), close(large));
    let one = (mean(large, Way::Redirect, 1), mean(large, Way::Cloud, 1));
    vec![
        Statement::new(
            "when the number of requests approaches 15, the average latency becomes very close to that of the edge",
            if at_15 <= CLOSE {
                Verdict::Held
            } else if close_small.is_some() {
                Verdict::HeldOnlyIf
            } else {
                Verdict::NotHeld
            },
            format!(
                "25 kB, 15 requests: {:.1} ms, the edge {:.1}, the cloud {:.1}: {:.0} % of the way is left; 10 % after {} requests",
                mean(small, Way::Redirect, 15),
                mean(small, Way::Edge, 15),
                mean(small, Way::Cloud, 15),
                at_15 * 100.0,
                spoken(close_small),
            ),
        ),
        Statement::decide(
            "In case of large response, redirect has performance gain even for a single request",
            one.0 < one.1,
            format!("1 MB, one request: {:.0} ms, the cloud {:.0}", one.0, one.1),
        ),
        Statement::decide(
            "average latency of redirect converges to edge latency much faster",
            matches!((close_small, close_large), (Some(small), Some(large)) if large * 2 <= small)
                || (close_large.is_some() && close_small.is_none()),
            format!(
                "10 % of the way is left after {} requests for 1 MB, after {} for 25 kB",
                spoken(close_large),
                spoken(close_small)
            ),
        ),
    ]
}

fn picture(measured: &[Curves]) -> String {
    let mut svg = Svg::new(
        1100.0,
        520.0,
        "Latency of redirected clients over their requests",
        chart::STYLE,
    );
    svg.text(
        "h",
        point(24.0, 38.0),
        "What a redirect costs a client, over its number of requests (Figure 6)",
    );
    svg.text(
        "q",
        point(24.0, 62.0),
        &format!(
            "HTTP over TCP in the lab, a connection for each request; the cloud is 40 ms away, the edge 4 ms. Means over {SESSIONS} clients; bands: 95 %."
        ),
    );
    for ((size, curves), left) in SIZES.iter().zip(measured).zip([84.0, 634.0]) {
        let series: Vec<Series> = curves
            .iter()
            .map(|(way, curve)| Series {
                name: way.name().to_owned(),
                look: way.look(),
                points: (1u32..)
                    .zip(curve)
                    .map(|(requests, estimate)| {
                        (f64::from(requests), estimate.mean, estimate.half_width)
                    })
                    .collect(),
                only_markers: false,
            })
            .collect();
        let points = series.iter().flat_map(|series| &series.points);
        let highest = points
            .map(|(_, mean, half)| mean + half)
            .fold(1.0, f64::max);
        let chart = Chart {
            title: format!("Answers of {}", size.name),
            frame: Frame {
                left,
                right: left + 430.0,
                top: 140.0,
                bottom: 400.0,
            },
            x: Axis::exact("requests of a client", requests_of(curves) as f64, ""),
            y: Axis::linear("mean latency of its requests so far in ms", highest, ""),
            series,
            marks: if requests_of(curves) >= 15 {
                vec![(15.0, "15 requests".to_owned())]
            } else {
                Vec::new()
            },
        };
        chart.draw(&mut svg);
        if left < 100.0 {
            chart::legend_in_row(&mut svg, point(left, 486.0), chart.series.iter());
        }
    }
    svg.finish()
}
