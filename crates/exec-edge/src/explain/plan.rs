//! The latest plan of a running orchestrator: why each site is used or not, and who serves whom.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use edge_orchestrator::plan_report::{ChosenSite, PlanReport, PlannedClients, RejectedSite};

use crate::admin::Socket;
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// Sites that are not used and told in words; `--json` has all.
const MOST_TOLD: usize = 40;

/// Options of `exec-edge explain plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
    /// Only what was decided of this site, by its host name.
    #[arg(long, value_name = "HOST", conflicts_with = "client")]
    site: Option<String>,
    /// Only who serves this client.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Asks for the plan and tells it.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (status, body) = args.socket.ask("GET", "/plan")?;
    let mut plan: PlanReport = match status {
        200 => serde_json::from_str(&body)
            .context("understanding the orchestrator's plan")
            .map_err(Failure::runtime)?,
        404 => {
            output::error("there is no plan yet: no client was seen, or no site is known");
            return Ok(Exit::Negative.into());
        }
        status => {
            return Err(Failure::runtime(anyhow!(
                "the orchestrator answers /plan with status {status}"
            )));
        }
    };
    if let Some(address) = args.client {
        let Some(clients) = plan.client(address).cloned() else {
            output::error(&format!("{address} is no client that the plan knows"));
            return Ok(Exit::Negative.into());
        };
        plan.clients = vec![clients];
        plan.chosen
            .retain(|site| plan.clients[0].served_by.as_ref() == Some(&site.site));
        plan.rejected.clear();
    }
    if let Some(host) = &args.site {
        let is_meant = |site: &str| {
            site == host || site.rsplit_once(':').is_some_and(|(name, _)| name == host)
        };
        plan.chosen.retain(|site| is_meant(&site.site));
        plan.rejected.retain(|site| is_meant(&site.site));
        plan.clients
            .retain(|clients| clients.served_by.as_deref().is_some_and(is_meant));
        if plan.chosen.is_empty() && plan.rejected.is_empty() {
            output::error(&format!("{host} is no site that the orchestrator knows"));
            return Ok(Exit::Negative.into());
        }
    }
    if args.json {
        // Plain values always serialize.
        output::line(&serde_json::to_string(&plan).unwrap_or_default());
    } else {
        output::line(text(&plan, args.client.is_some()).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn text(plan: &PlanReport, clients: bool) -> String {
    let mut text = format!(
        "plan {} on tree {}, by {}: {:.1} ± {:.1} ms in the mean instead of {:.1} ms",
        plan.generation,
        plan.topology,
        plan.made_by,
        plan.planned_ms,
        plan.planned_error_ms,
        plan.cloud_only_ms,
    );
    if let Some(percent) = plan.gap_percent {
        let _infallible = write!(
            text,
            ", at most {percent:.1} % above the best possible ({})",
            plan.proof
        );
    }
    let unit = match plan.asset.as_str() {
        "native" => "wei".to_owned(),
        token => format!("units of {token}"),
    };
    let _infallible = writeln!(text, ", for {} {unit}", plan.cost_units);
    for site in &plan.chosen {
        chosen(&mut text, site, &unit);
    }
    for site in plan.rejected.iter().take(MOST_TOLD) {
        rejected(&mut text, site, &unit);
    }
    if plan.rejected.len() > MOST_TOLD {
        let more = plan.rejected.len() - MOST_TOLD;
        let _infallible = writeln!(text, "and {more} more that are not used; --json tells all");
    }
    if !plan.runner_ups.is_empty() && plan.rejected.len() > 1 {
        let next: Vec<&str> = plan.runner_ups.iter().take(3).map(String::as_str).collect();
        let _infallible = writeln!(text, "next if one says no: {}", next.join(", "));
    }
    if clients {
        plan.clients.iter().for_each(|of| client(&mut text, of));
    } else {
        let at_edge = plan.clients.iter().filter(|of| of.served_by.is_some());
        let _infallible = writeln!(
            text,
            "{} of {} client prefixes are served by a site; --client ADDRESS tells of one",
            at_edge.count(),
            plan.clients.len()
        );
    }
    text
}

fn chosen(text: &mut String, site: &ChosenSite, unit: &str) {
    let how = if site.already_running {
        "serves"
    } else {
        "to rent"
    };
    let worth = site
        .worth_units
        .as_ref()
        .map_or(String::new(), |worth| format!(", worth {worth}"));
    let _infallible = writeln!(
        text,
        "+ {} {how} until {}, {} {unit}{worth}: {} prefixes with {:.1} requests/s at {:.1} ± {:.1} ms, {:.1} ms faster than the cloud, {:.1} than without it",
        site.site,
        site.until_s,
        site.cost_units,
        site.clients,
        site.requests_per_s,
        site.predicted_ms,
        site.error_ms,
        site.saves_ms,
        site.marginal_ms,
    );
}

fn rejected(text: &mut String, site: &RejectedSite, unit: &str) {
    let _infallible = write!(text, "- {}: {}", site.site, site.reason);
    if site.would_save_ms > 0.0 {
        let _infallible = write!(
            text,
            "; it would save {:.2} ms in the mean of all requests",
            site.would_save_ms
        );
    }
    if let Some(cost) = &site.cost_units {
        let _infallible = write!(text, ", for {cost} {unit}");
    }
    text.push('\n');
}

fn client(text: &mut String, clients: &PlannedClients) {
    let _infallible = writeln!(
        text,
        "{} with {:.1} requests/s: by {}, {:.1} ± {:.1} ms; the cloud is {:.1} ms away",
        clients.prefix,
        clients.requests_per_s,
        clients.served_by.as_deref().unwrap_or("the cloud"),
        clients.predicted_ms,
        clients.error_ms,
        clients.cloud_ms,
    );
}
