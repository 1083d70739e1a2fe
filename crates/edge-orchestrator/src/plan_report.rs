//! The latest plan with all its reasons, for people and for the admin interface.

use std::net::IpAddr;

use edge_placement::{ClientService, Plan, Prediction, Proof, ServedBy};
use edge_types::{Asset, IpNet, Rtt};
use serde::{Deserialize, Serialize};

/// A plan: what was decided of every site and client prefix, and why. Money is decimal wei.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Its number.
    pub generation: u64,
    /// The tree it was made for.
    pub topology: u64,
    /// The rule that was asked for, and the one that it came to.
    pub algorithm: String,
    /// See `algorithm`.
    pub made_by: String,
    /// Mean round trip with the cloud alone.
    pub cloud_only_ms: f64,
    /// Mean time of a request under the plan.
    pub planned_ms: f64,
    /// How far off that may well be.
    pub planned_error_ms: f64,
    /// By how much it may exceed the best possible, in percent of that; none where nothing is proven.
    pub gap_percent: Option<f64>,
    /// How that is known.
    pub proof: String,
    /// What is paid in: `native` or a token; sums are its smallest units.
    #[serde(default = "native")]
    pub asset: String,
    /// What the newly rented slots cost.
    pub cost_units: String,
    /// Sites to use, those that save most first.
    pub chosen: Vec<ChosenSite>,
    /// All other sites that are known.
    pub rejected: Vec<RejectedSite>,
    /// Sites that would be taken next, the best first, when a chosen one says no.
    pub runner_ups: Vec<String>,
    /// Who serves each client prefix.
    pub clients: Vec<PlannedClients>,
}

/// A chosen site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChosenSite {
    /// Host and port.
    pub site: String,
    /// The offer to take up, or taken.
    pub offer: Option<String>,
    /// Does the service run there already?
    pub already_running: bool,
    /// The period, in seconds since 1970.
    pub from_s: u64,
    /// See `from_s`.
    pub until_s: u64,
    /// What renting it costs; nothing if it runs already.
    pub cost_units: String,
    /// What it saves is worth over the period, if a second has a value.
    pub worth_units: Option<String>,
    /// Client prefixes that it serves.
    pub clients: usize,
    /// Their requests.
    pub requests_per_s: f64,
    /// Mean time of their requests, and how far off that may well be.
    pub predicted_ms: f64,
    /// See `predicted_ms`.
    pub error_ms: f64,
    /// What it saves each request against the cloud, in the mean.
    pub saves_ms: f64,
    /// What each of its requests would lose without it, in the mean, when its clients took the next best.
    pub marginal_ms: f64,
}

/// A site that is not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedSite {
    /// Host and port.
    pub site: String,
    /// The offer, if there was one to plan with.
    pub offer: Option<String>,
    /// Why not, in words.
    pub reason: String,
    /// What it would cost.
    pub cost_units: Option<String>,
    /// What it would save all requests in the mean, beside the chosen sites.
    pub would_save_ms: f64,
}

/// A client prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedClients {
    /// The prefix.
    pub prefix: IpNet,
    /// Its requests.
    pub requests_per_s: f64,
    /// The site that serves it; none: the cloud.
    pub served_by: Option<String>,
    /// Round trip to the cloud.
    pub cloud_ms: f64,
    /// Time of a request as served, and how far off that may well be; 0 if it was measured.
    pub predicted_ms: f64,
    /// See `predicted_ms`.
    pub error_ms: f64,
}

fn native() -> String {
    "native".to_owned()
}

impl PlanReport {
    /// Of a plan. `ideal` is the one that looked at all offers, `waiting` are sites of it for which leases leave no room, and `others` are
    /// sites that came to no offer, with why.
    pub fn of(
        planned: &Plan,
        ideal: &Plan,
        waiting: &[String],
        others: Vec<(String, String)>,
    ) -> Self {
        let demand = planned.prediction.demand;
        let mut chosen: Vec<_> = planned.chosen.iter().collect();
        chosen.sort_by_key(|site| std::cmp::Reverse(site.saving));
        let chosen: Vec<ChosenSite> = chosen
            .into_iter()
            .map(|site| {
                let mean = of_site(planned, &site.site);
                ChosenSite {
                    site: site.site.to_string(),
                    offer: site.offer.map(|offer| offer.to_string()),
                    already_running: site.already_running,
                    from_s: site.slot.start.0,
                    until_s: site.slot.end.0,
                    cost_units: site.cost.units.to_string(),
                    worth_units: site.worth.map(|worth| worth.units.to_string()),
                    clients: site.clients,
                    requests_per_s: per_second(site.demand),
                    predicted_ms: mean.planned_mean().as_ms(),
                    error_ms: Rtt(mean.planned_error()).as_ms(),
                    saves_ms: mean_ms(site.saving, site.demand),
                    marginal_ms: mean_ms(site.marginal, site.demand),
                }
            })
            .collect();
        let is_chosen = |name: &str| chosen.iter().any(|site| site.site == name);
        // The plan itself may have been made among fewer; it is the first to ask.
        let mut rejected: Vec<RejectedSite> = Vec::new();
        for no in planned.rejected.iter().chain(&ideal.rejected) {
            let (site, offer) = (no.site.to_string(), no.offer.map(|offer| offer.to_string()));
            let is_known = |known: &RejectedSite| known.site == site && known.offer == offer;
            if is_chosen(&site) || rejected.iter().any(is_known) {
                continue;
            }
            rejected.push(RejectedSite {
                site,
                offer,
                reason: no.reason.to_string(),
                cost_units: no.cost.map(|cost| cost.units.to_string()),
                would_save_ms: mean_ms(no.would_save, demand),
            });
        }
        // What the ideal plan has and this one has not.
        for not_yet in &ideal.chosen {
            let site = not_yet.site.to_string();
            if is_chosen(&site) || rejected.iter().any(|known| known.site == site) {
                continue;
            }
            let reason = if waiting.contains(&site) {
                "would serve better than what is rented, and waits for a lease to end"
            } else {
                "hardly better than a site that serves already"
            };
            rejected.push(RejectedSite {
                site,
                offer: not_yet.offer.map(|offer| offer.to_string()),
                reason: reason.to_owned(),
                cost_units: Some(not_yet.cost.units.to_string()),
                would_save_ms: mean_ms(not_yet.marginal, demand),
            });
        }
        for (site, reason) in others {
            if !is_chosen(&site) && !rejected.iter().any(|known| known.site == site) {
                rejected.push(RejectedSite {
                    site,
                    offer: None,
                    reason,
                    cost_units: None,
                    would_save_ms: 0.0,
                });
            }
        }
        rejected.sort_by(|a, b| (&a.site, &a.offer).cmp(&(&b.site, &b.offer)));
        let gap = planned.certificate.gap_ppm();
        Self {
            generation: planned.generation.0,
            topology: planned.topology.0,
            algorithm: planned.algorithm.to_string(),
            made_by: planned.made_by.to_string(),
            cloud_only_ms: planned.prediction.cloud_only_mean().as_ms(),
            planned_ms: planned.prediction.planned_mean().as_ms(),
            planned_error_ms: Rtt(planned.prediction.planned_error()).as_ms(),
            gap_percent: gap.map(|ppm| ppm as f64 / 1e4),
            proof: Proof::name(planned.certificate.proof).to_owned(),
            asset: match planned.cost.asset {
                Asset::Native => native(),
                Asset::Token(token) => token.to_string(),
            },
            cost_units: planned.cost.units.to_string(),
            chosen,
            rejected,
            runner_ups: planned
                .runner_ups
                .iter()
                .map(|runner_up| runner_up.site.to_string())
                .collect(),
            clients: planned.clients.iter().map(client).collect(),
        }
    }

    /// The client prefix of this address.
    pub fn client(&self, address: IpAddr) -> Option<&PlannedClients> {
        let of = self.clients.iter();
        of.filter(|clients| clients.prefix.contains(&address))
            .max_by_key(|clients| clients.prefix.prefix_len())
    }
}

fn client((prefix, service): (&IpNet, &ClientService)) -> PlannedClients {
    PlannedClients {
        prefix: *prefix,
        requests_per_s: per_second(service.demand),
        served_by: match &service.served_by {
            ServedBy::Cloud => None,
            ServedBy::Site(site) => Some(site.to_string()),
        },
        cloud_ms: service.cloud.as_ms(),
        predicted_ms: service.predicted.as_ms(),
        error_ms: Rtt(service.error).as_ms(),
    }
}

/// What the plan predicts of the clients of a site.
fn of_site(planned: &Plan, site: &edge_types::IepId) -> Prediction {
    let mut sum = Prediction::default();
    for service in planned.clients.values() {
        if matches!(&service.served_by, ServedBy::Site(by) if by == site) {
            let demand = u128::from(service.demand);
            sum.demand = sum.demand.saturating_add(service.demand);
            sum.planned += demand * service.predicted.0.as_micros();
            sum.error += demand * service.error.as_micros();
        }
    }
    sum
}

/// A sum of microseconds × demand, for each request.
fn mean_ms(sum: u128, demand: u64) -> f64 {
    sum as f64 / demand.max(1) as f64 / 1e3
}

fn per_second(milli: u64) -> f64 {
    milli as f64 / 1e3
}
