//! The answer of `exec-edge place` in words, as JSON, and as a picture.

use edge_orchestrator::status::{TreeReport, TreeReportSite};
use edge_placement::{Proof, Service};
use serde::Serialize;

use super::Answer;
use crate::drawing::tree::{Weight, draw};
use edge_console::output;

#[derive(Serialize)]
struct Report<'a> {
    nodes: usize,
    clients: usize,
    /// Targets that did not answer and are left out.
    unanswered: usize,
    requests_per_second: f64,
    service: &'static str,
    algorithm: &'static str,
    cloud_only_ms: f64,
    mean_ms: f64,
    /// By how much the mean may exceed the least possible, as a share; null where it is not known.
    gap: Option<f64>,
    proof: Option<&'static str>,
    /// Decimal, since it may be larger than JSON numbers are exact.
    price: String,
    chosen: Vec<Chosen<'a>>,
    rejected: Vec<Rejected<'a>>,
    /// Rejected sites of which nothing more was calculated.
    more_rejected: usize,
    unplaced: Vec<Nowhere<'a>>,
}

#[derive(Serialize)]
struct Chosen<'a> {
    site: &'a str,
    at: &'a str,
    price: String,
    requests_per_second: f64,
    /// Mean round trip of all clients without it.
    mean_without_ms: Option<f64>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    site: &'a str,
    at: &'a str,
    price: String,
    reason: &'static str,
    /// Mean round trip of all clients if it were used as well.
    mean_with_ms: f64,
}

#[derive(Serialize)]
struct Nowhere<'a> {
    site: &'a str,
    at: &'a str,
    reason: &'a str,
}

impl Answer<'_> {
    pub(super) fn tell(&self, json: bool) {
        let report = self.report();
        if json {
            output::line(&serde_json::to_string(&report).unwrap_or_default()); // plain values always serialize
        } else {
            report.tell();
        }
    }

    fn report(&self) -> Report<'_> {
        let solution = &self.solution;
        let mean_ms = solution.mean_micros() / 1e3;
        let limits = self.problem.limits();
        let mut served = vec![0u64; self.located.len()];
        for (site, demand) in solution.serving.iter().zip(self.problem.demand()) {
            if let Some(site) = site {
                served[*site] += demand;
            }
        }
        let (mut chosen, mut rejected, mut more) = (Vec::new(), Vec::new(), 0);
        for (position, located) in self.located.iter().enumerate() {
            let (site, at) = (located.name.as_str(), located.at.as_str());
            let price = located.site.price.to_string();
            if solution.chosen.binary_search(&position).is_ok() {
                chosen.push(Chosen {
                    site,
                    at,
                    price,
                    requests_per_second: served[position] as f64 / 1e3,
                    mean_without_ms: self.other_ms[position],
                });
                continue;
            }
            let Some(mean_with_ms) = self.other_ms[position] else {
                more += 1;
                continue;
            };
            let left = limits.budget.saturating_sub(solution.price);
            let reason = if mean_with_ms >= mean_ms {
                "nothing-to-add"
            } else if solution.chosen.len() >= limits.sites {
                "too-many-sites"
            } else if located.site.price > left {
                "over-budget"
            } else {
                "not-chosen-by-this-algorithm"
            };
            rejected.push(Rejected {
                site,
                at,
                price,
                reason,
                mean_with_ms,
            });
        }
        chosen.sort_by(|a, b| {
            let without = |chosen: &Chosen<'_>| chosen.mean_without_ms.unwrap_or(f64::INFINITY);
            without(b).total_cmp(&without(a)).then(a.site.cmp(b.site))
        });
        rejected.sort_by(|a, b| {
            let by_mean = a.mean_with_ms.total_cmp(&b.mean_with_ms);
            by_mean.then(a.site.cmp(b.site))
        });
        Report {
            nodes: self.tree.nodes().len(),
            clients: self.tree.clients().count(),
            unanswered: self.unanswered,
            requests_per_second: self.tree.total_demand() as f64 / 1e3,
            service: match self.problem.service() {
                Service::AnyNearest => "any-nearest",
                Service::OnPath => "on-path",
            },
            algorithm: solution.algorithm.name(),
            cloud_only_ms: solution.cloud_only_mean_micros() / 1e3,
            mean_ms,
            gap: solution.gap().filter(|gap| gap.is_finite()),
            proof: solution.bound.map(|bound| bound.proof).map(Proof::name),
            price: solution.price.to_string(),
            chosen,
            rejected,
            more_rejected: more,
            unplaced: self
                .unplaced
                .iter()
                .map(|unplaced| Nowhere {
                    site: &unplaced.name,
                    at: &unplaced.at,
                    reason: unplaced.why,
                })
                .collect(),
        }
    }

    /// The tree with the sites, the chosen as rented.
    pub(super) fn picture(&self) -> String {
        let mut report = TreeReport::of(self.tree);
        let is_chosen = |position| self.solution.chosen.binary_search(&position).is_ok();
        let sites = self.located.iter().enumerate();
        report.sites = sites
            .map(|(position, located)| TreeReportSite {
                site: located.name.clone(),
                node: located.site.node,
                rtt_ms: located.rtt_ms,
                rented: is_chosen(position),
            })
            .collect();
        let title = format!(
            "{} of {} sites: {:.1} ms on average instead of {:.1}",
            self.solution.chosen.len(),
            self.located.len(),
            self.solution.mean_micros() / 1e3,
            self.solution.cloud_only_mean_micros() / 1e3
        );
        draw(&report, &title, Weight::Requests)
    }
}

/// Rejected sites that are told in words.
const MOST_TOLD: usize = 5;

impl Report<'_> {
    fn tell(&self) {
        let saved = if self.cloud_only_ms > 0.0 {
            100.0 * (1.0 - self.mean_ms / self.cloud_only_ms)
        } else {
            0.0
        };
        output::line(&format!(
            "{} client networks, {} nodes: {:.2} ms on average from the cloud alone, {:.2} ms with {} sites ({saved:.0} % less), price {}",
            self.clients,
            self.nodes,
            self.cloud_only_ms,
            self.mean_ms,
            self.chosen.len(),
            self.price
        ));
        if self.unanswered > 0 {
            output::line(&format!(
                "{} targets did not answer and are left out, since their distance is unknown",
                self.unanswered
            ));
        }
        let how = match (self.gap, self.proof) {
            (Some(gap), Some("exact")) if gap <= 0.0 => {
                "no choice within the limits is better".to_owned()
            }
            (Some(gap), Some(proof)) => {
                format!(
                    "at most {:.2} % above the least possible ({proof} bound)",
                    gap * 100.0
                )
            }
            _ => "how far from the best that is was not calculated".to_owned(),
        };
        output::line(&format!(
            "chosen by {}, {}: {how}",
            self.algorithm, self.service
        ));
        for chosen in &self.chosen {
            let without = chosen
                .mean_without_ms
                .map_or(String::new(), |ms| format!("; {ms:.2} ms without it"));
            output::line(&format!(
                "  {} at {}: {:.1} requests/s, price {}{without}",
                chosen.site, chosen.at, chosen.requests_per_second, chosen.price
            ));
        }
        for rejected in self.rejected.iter().take(MOST_TOLD) {
            output::line(&format!(
                "  not {} at {} ({}): {:.2} ms with it too, price {}",
                rejected.site, rejected.at, rejected.reason, rejected.mean_with_ms, rejected.price
            ));
        }
        let more = self.rejected.len().saturating_sub(MOST_TOLD) + self.more_rejected;
        if more > 0 {
            output::line(&format!("  and {more} more that are not chosen"));
        }
        for unplaced in &self.unplaced {
            output::line(&format!(
                "  left out: {} at {}: {}",
                unplaced.site, unplaced.at, unplaced.reason
            ));
        }
    }
}
