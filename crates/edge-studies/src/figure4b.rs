//! Figure 4b: how long it takes to build the tree, over the number of clients and of traces at once.
//!
//! The prober's own decisions in virtual time over the lab's network as calculated; some points are measured in the lab as well.
//! Clients are drawn one by one, and each of their networks is traced once, as the paper says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_lab::truth::Truth;
use edge_probe::virtual_time::{self, VirtualProbe};
use edge_probe::{Budget, ProberConfig, Sharing};
use edge_sim::Random;
use edge_sim::figures::Estimate;
use edge_types::AddressPolicy;

use crate::calculated::Calculated;
use crate::chart::{self, Axis, Chart, Frame, Series};
use crate::figures::{Cell, Drawn, Progress, Request, Table};
use crate::in_lab::HeldLab;
use crate::inputs::{self, spoken};
use crate::parts::Measured;
use crate::statement::{Statement, Verdict};
use edge_console::exit::Failure;
use edge_console::svg::{Svg, point};

/// Numbers of clients that the curves are drawn through.
const CLIENTS: [usize; 10] = [10, 25, 50, 75, 100, 150, 200, 300, 400, 600];

/// Most rounds: the curves hardly differ between them.
const MOST_ROUNDS: u32 = 10;

/// How targets are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Targets at a time.
    pub(super) at_once: usize,
    /// Do targets share hops, and are several probes out for each? Otherwise it is hop after hop, each asked up to three times.
    pub(super) shared: bool,
}

impl Manner {
    /// The prober's configuration. No budget of probes may bind, or it would be that what is measured.
    pub(super) fn config(self) -> ProberConfig {
        let no_limit = Budget {
            probes: u32::MAX,
            per: Duration::from_mins(1),
        };
        let defaults = ProberConfig {
            policy: AddressPolicy::new(
                ["240.0.0.0/4"]
                    .iter()
                    .filter_map(|prefix| prefix.parse().ok())
                    .collect(),
            ),
            prefix_budget: no_limit,
            covering_budget: no_limit,
            global_budget: no_limit,
            ..ProberConfig::default()
        };
        if self.shared {
            return defaults;
        }
        ProberConfig {
            sharing: Sharing::Off,
            window: 1,
            time_limit: Duration::from_mins(10),
            ..defaults
        }
    }
}

/// Routers that ration their answers have all of them again after this: nothing of one measurement is left for the next.
const RECOVERY: Duration = Duration::from_secs(8);

struct Curve {
    name: &'static str,
    look: usize,
    manner: Manner,
    /// At which numbers of clients it is measured in the lab too.
    spots: &'static [usize],
}

const CURVES: [Curve; 5] = [
    Curve {
        name: "hop by hop, one trace at a time",
        look: 0,
        manner: Manner {
            at_once: 1,
            shared: false,
        },
        spots: &[10],
    },
    Curve {
        name: "three at a time",
        look: 1,
        manner: Manner {
            at_once: 3,
            shared: false,
        },
        spots: &[10],
    },
    Curve {
        name: "ten at a time",
        look: 2,
        manner: Manner {
            at_once: 10,
            shared: false,
        },
        spots: &[25],
    },
    Curve {
        name: "thirty at a time",
        look: 3,
        manner: Manner {
            at_once: 30,
            shared: false,
        },
        spots: &[25],
    },
    Curve {
        name: "ours: all at once, hops shared",
        look: 5,
        manner: Manner {
            at_once: 4096,
            shared: true,
        },
        spots: &[50, 600],
    },
];

/// Looks of the marks and of the tool that waits.
const SPOT: usize = 6;
const TOOL: usize = 7;

/// Draws it of the shipped scenario.
pub(super) fn draw(request: &Request<'_>, progress: Progress<'_>) -> Result<Drawn, Failure> {
    let scenario = inputs::shipped()?;
    let rounds = request.rounds.min(MOST_ROUNDS);
    let orders = orders(request, rounds, &scenario)?;
    let mut table = Table::new(&[
        "manner",
        "clients",
        "networks",
        "seconds",
        "half_width_95",
        "probes",
        "first_draw_seconds",
        "first_draw_in_lab_seconds",
        "least_in_lab_seconds",
        "most_in_lab_seconds",
    ]);
    let lab = if request.in_lab {
        let text = edge_lab::sample::render(&scenario, "The shipped scenario, for a figure.")
            .map_err(Failure::runtime)?;
        Some(HeldLab::start(&text)?)
    } else {
        None
    };
    let measured = match &lab {
        Some(lab) => in_the_lab(lab, &orders[0], request.lab_runs, progress)?,
        None => BTreeMap::new(),
    };
    let mut series = Vec::new();
    let mut spots = Vec::new();
    let mut largest_error: f64 = 0.0;
    let mut curves: Vec<Vec<f64>> = Vec::new();
    for curve in &CURVES {
        let mut points = Vec::new();
        for clients in CLIENTS {
            progress(&format!("{}, {clients} clients", curve.name));
            let runs: Vec<(f64, u64)> = orders
                .iter()
                .zip(0..)
                .map(|(order, round)| {
                    in_virtual_time(
                        &scenario,
                        curve.manner,
                        &networks(order, clients),
                        request.seed + round,
                    )
                })
                .collect::<Result<_, _>>()?;
            let seconds: Vec<f64> = runs.iter().map(|run| run.0).collect();
            let estimate = Estimate::of(&seconds);
            let probes = runs.iter().map(|run| run.1).sum::<u64>() / u64::from(rounds);
            let first = networks(&orders[0], clients);
            let mut in_lab = [Cell::Nothing; 3];
            if let Some(runs) = measured.get(&(curve.name, clients)) {
                let (least, median, most) = spread(runs);
                largest_error = largest_error.max((median / seconds[0] - 1.0).abs());
                spots.push((clients as f64, median, 0.0));
                in_lab = [median, least, most].map(Cell::Number);
            }
            table.line(&[
                Cell::Text(curve.name),
                Cell::Count(clients as u64),
                Cell::Count(first.len() as u64),
                Cell::Number(estimate.mean),
                Cell::Number(estimate.half_width),
                Cell::Count(probes),
                Cell::Number(seconds[0]),
                in_lab[0],
                in_lab[1],
                in_lab[2],
            ]);
            points.push((clients as f64, estimate.mean, estimate.half_width));
        }
        curves.push(points.iter().map(|point| point.1).collect());
        series.push(Series {
            name: curve.name.to_owned(),
            look: curve.look,
            points,
            only_markers: false,
        });
    }
    let mut tool = Vec::new();
    for clients in CLIENTS {
        let seconds: Vec<f64> = orders
            .iter()
            .zip(0..)
            .map(|(order, round)| {
                patient_tool(&scenario, &networks(order, clients), request.seed + round)
            })
            .collect::<Result<_, _>>()?;
        let estimate = Estimate::of(&seconds);
        table.line(&[
            Cell::Text("one at a time, three probes a hop, five seconds' patience"),
            Cell::Count(clients as u64),
            Cell::Count(networks(&orders[0], clients).len() as u64),
            Cell::Number(estimate.mean),
            Cell::Number(estimate.half_width),
            Cell::Nothing,
            Cell::Number(seconds[0]),
            Cell::Nothing,
            Cell::Nothing,
            Cell::Nothing,
        ]);
        tool.push((clients as f64, estimate.mean, estimate.half_width));
    }
    let tool_last = tool[CLIENTS.len() - 1].1;
    series.insert(
        0,
        Series {
            name: "one at a time, 3 probes, 5 s patience".to_owned(),
            look: TOOL,
            points: tool,
            only_markers: false,
        },
    );
    if !spots.is_empty() {
        series.push(Series {
            name: format!("the same in the lab, medians of {}", request.lab_runs),
            look: SPOT,
            points: spots,
            only_markers: true,
        });
    }
    let statements = statements(
        &curves,
        tool_last,
        networks(&orders[0], CLIENTS[CLIENTS.len() - 1]).len(),
        lab.is_some().then_some((largest_error, request.lab_runs)),
    );
    Ok(Drawn {
        key: "scenario",
        input: format!(
            "the shipped scenario, 186 client networks, means of {rounds} draws of clients"
        ),
        svg: picture(series),
        csv: table.finish(),
        statements,
    })
}

/// For each round the networks of clients that come one by one.
fn orders(
    request: &Request<'_>,
    rounds: u32,
    scenario: &edge_lab::scenario::Scenario,
) -> Result<Vec<Vec<IpAddr>>, Failure> {
    let network = edge_lab::network::Network::compile(scenario);
    let targets = Truth::new(scenario, &network).targets();
    if targets.is_empty() {
        return Err(anyhow::anyhow!("the scenario has no clients").into());
    }
    let order = |round| {
        let mut random = Random::part(request.seed, round);
        let clients = 0..CLIENTS[CLIENTS.len() - 1];
        clients
            .map(|_| targets[random.position(targets.len())])
            .collect()
    };
    Ok((0..u64::from(rounds)).map(order).collect())
}

/// The networks of the first clients, each once, in order.
fn networks(order: &[IpAddr], clients: usize) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    let first = order.iter().take(clients);
    first
        .copied()
        .filter(|target| seen.insert(*target))
        .collect()
}

/// Seconds that it takes, and probes.
pub(super) fn in_virtual_time(
    scenario: &edge_lab::scenario::Scenario,
    manner: Manner,
    targets: &[IpAddr],
    seed: u64,
) -> Result<(f64, u64), Failure> {
    let mut network = calculated(scenario, seed)?;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&seed.to_be_bytes());
    let run = virtual_time::trace(manner.config(), key, targets, manner.at_once, |probe| {
        network.answer(probe)
    });
    if let Some(refused) = run.refused.into_iter().next() {
        return Err(Failure::runtime(refused));
    }
    Ok((run.took.as_secs_f64(), run.probes))
}

/// Seconds that a tool takes which sends one probe after the other, three for each hop, and waits five seconds for an answer.
fn patient_tool(
    scenario: &edge_lab::scenario::Scenario,
    targets: &[IpAddr],
    seed: u64,
) -> Result<f64, Failure> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const LARGEST_TTL: u8 = 30;
    let mut network = calculated(scenario, seed)?;
    let mut now = Duration::ZERO;
    for target in targets {
        'trace: for ttl in 1..=LARGEST_TTL {
            let mut reached = false;
            for attempt in 0..3 {
                let probe = VirtualProbe {
                    at: now,
                    target: *target,
                    ttl,
                    source_port: 40_000,
                    destination_port: 33_434 + 3 * u16::from(ttl) + attempt,
                };
                let reply = network
                    .answer(&probe)
                    .filter(|reply| reply.after < PATIENCE);
                now += reply.map_or(PATIENCE, |reply| reply.after);
                reached |= reply.is_some_and(|reply| reply.from == *target);
            }
            if reached {
                break 'trace;
            }
        }
    }
    Ok(now.as_secs_f64())
}

fn calculated(scenario: &edge_lab::scenario::Scenario, seed: u64) -> Result<Calculated, Failure> {
    Calculated::new(scenario, seed)
        .ok_or_else(|| anyhow::anyhow!("the scenario's cloud has no address").into())
}

/// Seconds of each run in the lab, by curve and number of clients; the runs take turns.
fn in_the_lab(
    lab: &HeldLab,
    order: &[IpAddr],
    runs: u32,
    progress: Progress<'_>,
) -> Result<BTreeMap<(&'static str, usize), Vec<f64>>, Failure> {
    let mut measured: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for run in 1..=runs {
        for curve in &CURVES {
            for clients in curve.spots {
                let name = curve.name;
                progress(&format!("{name}, {clients} clients, in the lab, run {run}"));
                let seconds = once_in_the_lab(lab, curve.manner, &networks(order, *clients))?;
                measured.entry((name, *clients)).or_default().push(seconds);
            }
        }
    }
    Ok(measured)
}

/// The least, the median and the most of some runs.
fn spread(runs: &[f64]) -> (f64, f64, f64) {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return (f64::NAN, f64::NAN, f64::NAN);
    };
    let median = f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]);
    (sorted[0], median, sorted[last])
}

/// Seconds that the prober takes in the lab.
fn once_in_the_lab(lab: &HeldLab, manner: Manner, targets: &[IpAddr]) -> Result<f64, Failure> {
    let mut arguments = vec![
        "simulate".to_owned(),
        "part".to_owned(),
        "measure-paths".to_owned(),
    ];
    arguments.extend(["--at-once".to_owned(), manner.at_once.to_string()]);
    arguments.extend(manner.shared.then(|| "--shared".to_owned()));
    arguments.extend(targets.iter().map(ToString::to_string));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    std::thread::sleep(RECOVERY);
    let told = lab.output("cloud", &arguments)?;
    let measured: Measured = serde_json::from_str(told.trim())
        .map_err(|error| anyhow::Error::new(error).context("reading what the lab measured"))?;
    Ok(measured.seconds)
}

fn statements(
    curves: &[Vec<f64>],
    tool: f64,
    networks: usize,
    in_lab: Option<(f64, u32)>,
) -> Vec<Statement> {
    let last = CLIENTS.len() - 1;
    let at = |curve: usize| curves[curve][last];
    let third = at(0) / at(1);
    // The same number of clients twice: 50 and 100, and 300 and 600.
    let growth = |from: usize, to: usize| curves[0][to] / curves[0][from];
    let (early, late) = (growth(2, 4), growth(7, 9));
    let mut statements = vec![
        Statement::new(
            "In the case of sequential execution, it took more than 1500 seconds to build the aggregate tree",
            if at(0) > 1500.0 {
                Verdict::Held
            } else if tool > 1500.0 {
                Verdict::HeldOnlyIf
            } else {
                Verdict::NotHeld
            },
            format!(
                "the tool waits long for routers that keep silent: {networks} networks take {} hop by hop with our patience, {} \
                 with three probes a hop and five seconds for each",
                spoken(Duration::from_secs_f64(at(0))),
                spoken(Duration::from_secs_f64(tool)),
            ),
        ),
        Statement::decide(
            "using three threads in parallel reduced time requirements to a third",
            (2.7..=3.3).contains(&third),
            format!(
                "{} for {}, {third:.2} times less; routers that ration their answers keep all that ask at the same time waiting",
                spoken(Duration::from_secs_f64(at(1))),
                spoken(Duration::from_secs_f64(at(0)))
            ),
        ),
        Statement::decide(
            "Increasing the number of parallel traceroutes will decrease the time even further",
            at(2) < at(1) && at(3) < at(2),
            format!(
                "ten at a time {}, thirty {}; sharing what paths have in common {}",
                spoken(Duration::from_secs_f64(at(2))),
                spoken(Duration::from_secs_f64(at(3))),
                spoken(Duration::from_secs_f64(at(4)))
            ),
        ),
        Statement::decide(
            "we do not have to run traceroutes for every single client [...] This explains the sub-linear increase in the time taken",
            early < 1.95 && late < early,
            format!(
                "twice as many clients take {early:.2} times as long from 50 to 100, {late:.2} times from 300 to 600; over \
                 networks, not clients, it is linear"
            ),
        ),
    ];
    if let Some((error, runs)) = in_lab {
        let quote =
            "(ours) what was calculated in virtual time is what the lab measures, within a quarter";
        let because = format!(
            "the largest difference of a median of {runs} runs is {:.0} %",
            error * 100.0
        );
        statements.push(Statement::decide(quote, error <= 0.25, because));
    }
    statements
}

fn picture(series: Vec<Series>) -> String {
    let mut svg = Svg::new(960.0, 560.0, "Time to build the tree", chart::STYLE);
    svg.text(
        "h",
        point(24.0, 38.0),
        "How long it takes to trace the paths to all clients (Figure 4b)",
    );
    svg.text(
        "q",
        point(24.0, 62.0),
        "The prober in virtual time over the shipped network of 186 client networks, each traced once. Bands: 95 % over draws of clients.",
    );
    let highest = series
        .iter()
        .flat_map(|series| &series.points)
        .map(|point| point.1)
        .fold(1.0, f64::max);
    let lowest = series
        .iter()
        .flat_map(|series| &series.points)
        .map(|point| point.1)
        .fold(highest, f64::min);
    let chart = Chart {
        title: "Time until the last path is known".to_owned(),
        frame: Frame {
            left: 84.0,
            right: 610.0,
            top: 130.0,
            bottom: 490.0,
        },
        x: Axis::exact("clients that have come", 600.0, ""),
        y: Axis::logarithmic("seconds, logarithmic", lowest, highest, ""),
        series,
        marks: Vec::new(),
    };
    chart.draw(&mut svg);
    chart::legend(&mut svg, point(632.0, 170.0), chart.series.iter());
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_is_traced_once_in_the_order_of_its_clients() {
        let address = |last| IpAddr::from([240, 0, 0, last]);
        let order = [3, 1, 3, 2, 1, 4].map(address);
        assert_eq!(networks(&order, 5), [3, 1, 2].map(address));
    }

    #[test]
    fn runs_are_told_by_their_least_median_and_most() {
        let told = [&[3.0, 1.0, 2.0][..], &[4.0, 1.0]].map(spread);
        assert_eq!(told, [(1.0, 2.0, 3.0), (1.0, 2.5, 4.0)]);
    }

    #[test]
    fn three_at_a_time_take_a_third_where_no_router_rations_its_answers() {
        let mut scenario = inputs::shipped().unwrap();
        for router in &mut scenario.routers {
            router.icmp = Some(edge_lab::scenario::Icmp::Unlimited);
            router.icmp_rate = None;
        }
        let network = edge_lab::network::Network::compile(&scenario);
        let targets = Truth::new(&scenario, &network).targets();
        let took = |curve: usize| {
            in_virtual_time(&scenario, CURVES[curve].manner, &targets[..60], 1)
                .unwrap()
                .0
        };
        let [one, three, ours] = [took(0), took(1), took(4)];
        assert!((2.2..3.5).contains(&(one / three)), "{one} {three}");
        assert!(ours < 5.0, "{ours}");
        assert!(patient_tool(&scenario, &targets[..60], 1).unwrap() > one);
    }
}
