//! The report at the end: figures from the clients' own records, the chain, the forwarder and the ground truth.
//!
//! This is the only part that compares what ExEC found with what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use edge_chain::EthLedger;
use edge_chain::client::LedgerConfig;
use edge_lab::clients::Record;
use edge_lab::lab::Lab;
use edge_lab::network::PartyId;
use edge_lab::scenario::Scenario;
use edge_lab::truth::Truth;
use edge_ports::Ledger;
use edge_types::{EscrowTotals, IpNet};
use serde_json::{Value, json};

use super::cast::{CHAIN, Cast};
use super::figures::{Compared, Served, Summary, in_seconds, latency, unseen_to_edge};
use super::watch::Seen;
use super::{Args, latency_svg, say};
use crate::drawing::tree::{Weight, draw};
use edge_console::exit::{Exit, Failure};

/// Above this lateness of its forwarder a run says nothing about ExEC.
const MOST_LATENESS: Duration = Duration::from_millis(2);

/// Prefixes that waited longest for an edge, of which it is told one by one.
const SLOWEST: usize = 10;

/// Computes, writes and tells the report; the exit code is its verdict.
pub(super) fn write(
    args: &Args,
    scenario: &Scenario,
    lab: &Lab,
    cast: &Cast,
    seen: &Seen,
    started: Instant,
) -> Result<ExitCode, Failure> {
    let records = read_records(cast)?;
    let totals = read_chain(lab, cast)?;
    let report = Report::compute(args, scenario, lab, cast, seen, &records, totals, started);
    let folder = &args.report;
    let save = |name: &str, content: String| {
        std::fs::write(folder.join(name), content)
            .with_context(|| format!("writing {}", folder.join(name).display()))
    };
    save("report.json", format!("{:#}\n", report.json))?;
    save(
        "tree.json",
        serde_json::to_string(&seen.tree).context("writing the tree as JSON")?,
    )?;
    let title = format!("{}, seed {}", scenario.name, args.seed);
    save("tree.svg", draw(&seen.tree, &title, Weight::Requests))?;
    let marks = latency_svg::Marks {
        first_plan_ms: report.steady.map(|(from, _)| from),
        first_lease_end_ms: report.steady.map(|(_, until)| until),
    };
    save("latency.svg", latency_svg::draw(&records, "25k", &marks))?;
    for line in &report.lines {
        say(line);
    }
    say(&format!(
        "report.json, tree.svg and latency.svg are in {}",
        folder.display()
    ));
    Ok(if report.is_good {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    })
}

struct Report {
    json: Value,
    lines: Vec<String>,
    /// From the first realised plan to the end of the first lease, in milliseconds of the clients' time.
    steady: Option<(f64, f64)>,
    is_good: bool,
}

impl Report {
    #[expect(
        clippy::too_many_arguments,
        reason = "a report gathers everything there is"
    )]
    fn compute(
        args: &Args,
        scenario: &Scenario,
        lab: &Lab,
        cast: &Cast,
        seen: &Seen,
        records: &[Record],
        totals: EscrowTotals,
        started: Instant,
    ) -> Self {
        let status = &seen.status;
        let truth = Truth::new(scenario, lab.network());
        let requesting: BTreeSet<IpNet> = records
            .iter()
            .filter_map(|record| cast.prefixes.get(record.prefix))
            .copied()
            .collect();
        let true_ieps = truth.true_ieps(&requesting);
        let all_ieps: BTreeSet<String> = truth.ieps().keys().map(ToString::to_string).collect();
        let discoverable: BTreeSet<String> = true_ieps
            .discoverable
            .iter()
            .map(ToString::to_string)
            .collect();
        let found: BTreeSet<String> = status
            .discovery
            .sites
            .iter()
            .map(|site| site.site.clone())
            .collect();
        let recall = found.intersection(&discoverable).count();

        let steady = steady_window(seen);
        let (from, until) = steady.unwrap_or((f64::INFINITY, f64::INFINITY));
        let whole = latency(records, Some("25k"), 0.0, f64::INFINITY);
        let in_steady = latency(records, Some("25k"), from, until);
        let served = Served::of(records);
        let nothing = BTreeMap::new();
        let late_from = cast.late_from_ms as f64;
        let early = in_seconds(&unseen_to_edge(records, 0.0, late_from, &nothing));
        // From the provider's confirmation to the first good health check: the image's way there, and little else.
        let deployments = status.agreements.iter().filter_map(|agreement| {
            let span = agreement
                .serving_ms?
                .saturating_sub(agreement.confirmed_ms?);
            Some((agreement.serving_at?, span as f64))
        });
        let but_pull = unseen_to_edge(records, 0.0, late_from, &deployments.collect());
        let early_but_pull = in_seconds(&but_pull);
        let late = in_seconds(&unseen_to_edge(records, late_from, until, &nothing));
        let any = in_seconds(&unseen_to_edge(records, 0.0, until, &nothing));

        let state = |wanted: &str| {
            status
                .agreements
                .iter()
                .filter(|agreement| agreement.state == wanted)
                .count()
        };
        let proposed = status
            .agreements
            .iter()
            .filter(|agreement| agreement.proposed_ms.is_some())
            .count();
        let confirmed = status
            .agreements
            .iter()
            .filter(|agreement| agreement.confirmed_ms.is_some())
            .count();
        let rented: BTreeSet<&str> = status
            .agreements
            .iter()
            .filter(|agreement| agreement.confirmed_ms.is_some())
            .map(|agreement| agreement.site.as_str())
            .collect();
        let network = lab.statistics().snapshot();
        let [exec_links, control_links, infrastructure_links] = network.core_octet_links;
        let is_void = network.lateness.p99 > MOST_LATENESS;
        let adds_up = totals.deposited.units
            == totals.released.units
                + totals.refunded.units
                + totals.burned.units
                + totals.held.units;

        let json = json!({
            "seed": args.seed,
            "scenario": scenario.name,
            "void": is_void,
            "wall_s": started.elapsed().as_secs_f64(),
            "pss_mb": seen.pss_mb,
            "lateness_p99_ms": network.lateness.p99.as_secs_f64() * 1e3,
            "topology": { "nodes": status.topology.nodes, "leaves": status.topology.leaves,
                "prefixes_seen": status.topology.prefixes_seen, "probes_sent": status.topology.probes_sent },
            "discovery": {
                "zones_asked": status.discovery.zones_asked,
                "ieps_found": found.len(),
                "ieps_true": discoverable.len(),
                "ieps_true_found": recall,
                "undiscoverable": true_ieps.undiscoverable.len(),
                "false_positives": found.difference(&all_ieps).count(),
            },
            "agreements": { "proposed": proposed, "confirmed": confirmed,
                "rejected": state("rejected"), "settled": state("settled") },
            "escrow": {
                "deposited": totals.deposited.units.to_string(),
                "released": totals.released.units.to_string(),
                "refunded": totals.refunded.units.to_string(),
                "burned": totals.burned.units.to_string(),
                "held": totals.held.units.to_string(),
            },
            "sites": { "found": found.len(), "rented": rented.len() },
            "clients": served,
            "latency_ms": whole,
            "latency_all_objects_ms": latency(records, None, 0.0, f64::INFINITY),
            "latency_1m_ms": latency(records, Some("1m"), 0.0, f64::INFINITY),
            "latency_steady_ms": in_steady,
            "latency_steady_1m_ms": latency(records, Some("1m"), from, until),
            "steady_window_ms": steady.map(|(from, until)| [from, until]),
            "core_byte_links": { "cloud_only": control_links, "exec": exec_links + infrastructure_links,
                "exec_of_this_infrastructure": infrastructure_links },
            "unseen_prefix_to_edge_s": { "p50": any.p50, "p95": any.p95, "n": any.n,
                "site_to_be_started": early, "site_to_be_started_less_deployment": early_but_pull, "site_running": late,
                "slowest_less_deployment": but_pull.iter().take(SLOWEST).collect::<Vec<_>>() },
            "image": { "transfer_bytes": cast.image.transfer_bytes, "unpacked_bytes": cast.image.unpacked_bytes },
            "agreement_log": status.agreements,
            "plan": status.plan,
            "sites_found": status.discovery.sites,
        });
        let mut lines = vec![
            String::new(),
            format!(
                "Paths: {} client networks traced into a tree of {} nodes with {} probes.",
                status.topology.leaves, status.topology.nodes, status.topology.probes_sent
            ),
            format!(
                "Discovery: {} zones asked; {recall} of {} discoverable sites found, {} not discoverable, {} false.",
                status.discovery.zones_asked,
                discoverable.len(),
                true_ieps.undiscoverable.len(),
                found.difference(&all_ieps).count()
            ),
            format!(
                "Agreements: {proposed} paid into escrow, {confirmed} confirmed, {} rejected, {} settled.",
                state("rejected"),
                state("settled")
            ),
            format!(
                "Escrow, in wei: {} deposited = {} released + {} refunded + {} burned + {} held{}.",
                totals.deposited.units,
                totals.released.units,
                totals.refunded.units,
                totals.burned.units,
                totals.held.units,
                if adds_up { "" } else { " DOES NOT ADD UP" }
            ),
            format!(
                "Clients: {} requests, {} answered at the edge, {} by the cloud, {} errors; control group: {}, {} errors.",
                served.requests,
                served.served_by_edge,
                served.served_by_cloud,
                served.errors,
                served.control_requests,
                served.control_errors
            ),
            format!(
                "From a prefix's first request to its first answer from an edge: {}; where a site already ran: {}.",
                seconds(&early),
                seconds(&late)
            ),
        ];
        lines.extend(describe_latency("25 kB, whole run", &whole));
        lines.extend(describe_latency("25 kB, while sites serve", &in_steady));
        lines.push(format!(
            "Network: forwarder lateness p99 {:.2} ms, memory {:.0} MB, {:.0} s in all.",
            network.lateness.p99.as_secs_f64() * 1e3,
            seen.pss_mb,
            started.elapsed().as_secs_f64()
        ));
        if is_void {
            lines.push(format!("VOID: the forwarder was late by more than {MOST_LATENESS:?}; this machine was too busy for these figures to count."));
        }
        let verdict = if served.served_by_edge == 0 {
            "No client was served by an edge."
        } else {
            "The loop closed."
        };
        lines.push(verdict.to_owned());
        Self {
            json,
            lines,
            steady,
            is_good: served.served_by_edge > 0 && adds_up,
        }
    }
}

fn describe_latency(what: &str, compared: &Compared) -> Option<String> {
    let (cloud, exec) = (compared.cloud_only, compared.exec);
    (cloud.n > 0 && exec.n > 0).then(|| {
        format!(
            "Latency, {what}: mean {:.0} ms with the cloud alone, {:.0} ms with ExEC ({:.0} %); p95 {:.0} ms, {:.0} ms.",
            cloud.mean, exec.mean, exec.mean / cloud.mean * 100.0, cloud.p95, exec.p95
        )
    })
}

fn seconds(summary: &Summary) -> String {
    match summary.n {
        0 => "none seen".to_owned(),
        n => format!(
            "median {:.1} s, p95 {:.1} s over {n}",
            summary.p50, summary.p95
        ),
    }
}

/// From the moment when every site of the first plan serves (or has failed) to the end of the first lease, in
/// milliseconds of the clients' time.
fn steady_window(seen: &Seen) -> Option<(f64, f64)> {
    let agreements = &seen.status.agreements;
    let first = agreements
        .iter()
        .map(|agreement| agreement.began_ms)
        .min()?;
    let of_the_first_plan = agreements
        .iter()
        .filter(|agreement| agreement.began_ms < first + 100);
    let realised = of_the_first_plan
        .filter_map(|agreement| agreement.serving_ms)
        .max()?;
    let over = agreements
        .iter()
        .filter(|agreement| agreement.serving_ms.is_some())
        .filter_map(|agreement| agreement.ended_ms)
        .min()?;
    let shift = seen.orchestrator_start_ms;
    Some((realised as f64 + shift, over as f64 + shift))
}

fn read_records(cast: &Cast) -> Result<Vec<Record>> {
    let file = std::fs::File::open(&cast.records).context("opening the clients' records")?;
    BufReader::new(file)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<_>>()
        .context("reading the clients' records")
}

/// The escrow's sums, from the chain itself.
fn read_chain(lab: &Lab, cast: &Cast) -> Result<EscrowTotals> {
    let party = lab.party(PartyId::Cloud).context("the lab has no cloud")?;
    let asked = party.run(|| -> Result<EscrowTotals> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let config = LedgerConfig::dev(format!("http://{}", cast.rpc), CHAIN, cast.escrow);
        let ledger = EthLedger::new(config, cast.reader.clone())?;
        Ok(runtime.block_on(ledger.totals(edge_types::Asset::Native))?)
    });
    asked
        .map_err(|error| anyhow!(error))
        .context("entering the cloud's namespace")?
        .context("reading the escrow's sums")
}
