//! The demo's figures, computed from what the clients themselves recorded.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use edge_lab::clients::{Cohort, Record};
use serde::Serialize;

/// Mean and quantiles of a sample, in the sample's unit; all zero for an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Arithmetic mean.
    pub(crate) mean: f64,
    /// Median.
    pub(crate) p50: f64,
    /// 95th percentile (nearest rank).
    pub(crate) p95: f64,
    /// Size of the sample.
    pub(crate) n: usize,
}

impl Summary {
    /// Summarises a sample in any order.
    pub(crate) fn of(mut sample: Vec<f64>) -> Self {
        if sample.is_empty() {
            return Self::default();
        }
        sample.sort_by(f64::total_cmp);
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        Self {
            mean,
            p50: quantile(&sample, 0.5),
            p95: quantile(&sample, 0.95),
            n: sample.len(),
        }
    }
}

/// Nearest-rank quantile of a sorted, non-empty sample.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank within the sample"
)]
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The same figure for the control cohort (the cloud alone) and for the cohort that ExEC serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Compared {
    /// Never redirected.
    pub(crate) cloud_only: Summary,
    /// Served by ExEC.
    pub(crate) exec: Summary,
}

/// Latencies in milliseconds of answered requests for `object` (all objects if `None`) sent within `from..until` ms.
pub(crate) fn latency(records: &[Record], object: Option<&str>, from: f64, until: f64) -> Compared {
    let of = |cohort| {
        let sample = records
            .iter()
            .filter(|record| record.cohort == cohort && record.error.is_none())
            .filter(|record| object.is_none_or(|object| record.object == object))
            .filter(|record| record.at_ms >= from && record.at_ms < until);
        Summary::of(sample.map(|record| record.latency_ms).collect())
    };
    Compared {
        cloud_only: of(Cohort::Control),
        exec: of(Cohort::Exec),
    }
}

/// What became of the ExEC cohort's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Served {
    /// All requests.
    pub(crate) requests: u64,
    /// Answered by an edge.
    pub(crate) served_by_edge: u64,
    /// Answered by the cloud.
    pub(crate) served_by_cloud: u64,
    /// Not answered well.
    pub(crate) errors: u64,
    /// Requests of the control cohort.
    pub(crate) control_requests: u64,
    /// Of these, not answered well.
    pub(crate) control_errors: u64,
}

impl Served {
    /// Counts the records.
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut served = Self::default();
        for record in records {
            let is_error = u64::from(record.error.is_some());
            match record.cohort {
                Cohort::Exec => {
                    served.requests += 1;
                    served.errors += is_error;
                    served.served_by_edge += u64::from(record.edge);
                    served.served_by_cloud += u64::from(!record.edge && record.error.is_none());
                }
                Cohort::Control => {
                    served.control_requests += 1;
                    served.control_errors += is_error;
                }
            }
        }
        served
    }
}

/// How long a prefix waited for its first answer from an edge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Wait {
    /// The prefix, by its number in the scenario.
    pub(crate) prefix: usize,
    /// Its first request, ms.
    pub(crate) seen_ms: f64,
    /// Its first answer from an edge, ms.
    pub(crate) edge_ms: f64,
    /// Who answered.
    pub(crate) site: Option<SocketAddr>,
    /// How long deploying to that site took, ms; 0 if that is not asked for.
    pub(crate) deployment_ms: f64,
}

impl Wait {
    /// Seconds without the deployment.
    pub(crate) const fn seconds(&self) -> f64 {
        (self.edge_ms - self.seen_ms - self.deployment_ms).max(0.0) / 1e3
    }
}

/// The waits of prefixes first seen within `from..until` ms that got an answer from an edge, the longest first. What `deployment` says in
/// ms for the address that answered is taken off.
pub(crate) fn unseen_to_edge(
    records: &[Record],
    from: f64,
    until: f64,
    deployment: &BTreeMap<SocketAddr, f64>,
) -> Vec<Wait> {
    let mut first_seen: BTreeMap<usize, f64> = BTreeMap::new();
    let mut first_edge: BTreeMap<usize, (f64, Option<SocketAddr>)> = BTreeMap::new();
    for record in records {
        let seen = first_seen.entry(record.prefix).or_insert(record.at_ms);
        *seen = seen.min(record.at_ms);
        if record.edge && record.cohort == Cohort::Exec {
            let answer = (record.at_ms + record.latency_ms, record.served_by);
            let edge = first_edge.entry(record.prefix).or_insert(answer);
            if answer.0 < edge.0 {
                *edge = answer;
            }
        }
    }
    let waits = first_edge.iter().filter_map(|(prefix, (edge_ms, site))| {
        let seen_ms = *first_seen.get(prefix)?;
        let deployed_for = site.and_then(|site| deployment.get(&site).copied());
        (seen_ms >= from && seen_ms < until).then_some(Wait {
            prefix: *prefix,
            seen_ms,
            edge_ms: *edge_ms,
            site: *site,
            deployment_ms: deployed_for.unwrap_or(0.0),
        })
    });
    let mut waits: Vec<Wait> = waits.collect();
    waits.sort_by(|a, b| b.seconds().total_cmp(&a.seconds()));
    waits
}

/// Of waits in seconds.
pub(crate) fn in_seconds(waits: &[Wait]) -> Summary {
    Summary::of(waits.iter().map(Wait::seconds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at_ms: f64, latency_ms: f64, prefix: usize, cohort: Cohort, edge: bool) -> Record {
        Record {
            at_ms,
            latency_ms,
            prefix,
            cohort,
            object: "25k".to_owned(),
            served_by: None,
            edge,
            redirects: 0,
            body_octets: 0,
            error: None,
        }
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let summary = Summary::of((1..=100).rev().map(f64::from).collect());
        assert_eq!(
            summary,
            Summary {
                mean: 50.5,
                p50: 50.0,
                p95: 95.0,
                n: 100
            }
        );
        assert_eq!(
            Summary::of(vec![7.0]),
            Summary {
                mean: 7.0,
                p50: 7.0,
                p95: 7.0,
                n: 1
            }
        );
        assert_eq!(Summary::of(Vec::new()), Summary::default());
    }

    #[test]
    fn cohorts_are_kept_apart() {
        let records = [
            record(0.0, 100.0, 0, Cohort::Control, false),
            record(0.0, 10.0, 0, Cohort::Exec, true),
            record(900.0, 99.0, 0, Cohort::Exec, false),
        ];
        let compared = latency(&records, Some("25k"), 0.0, 500.0);
        assert_eq!(
            (compared.cloud_only.mean, compared.exec.mean),
            (100.0, 10.0)
        );
        assert_eq!(
            latency(&records, Some("1m"), 0.0, 500.0),
            Compared::default()
        );
        let served = Served {
            requests: 2,
            served_by_edge: 1,
            served_by_cloud: 1,
            errors: 0,
            control_requests: 1,
            control_errors: 0,
        };
        assert_eq!(Served::of(&records), served);
    }

    #[test]
    fn the_wait_for_an_edge_starts_with_the_prefix_and_not_with_the_cohort() {
        let records = [
            record(1000.0, 100.0, 3, Cohort::Control, false),
            record(1500.0, 100.0, 3, Cohort::Exec, false),
            record(2500.0, 500.0, 3, Cohort::Exec, true),
            record(9000.0, 10.0, 4, Cohort::Exec, true),
        ];
        assert_eq!(
            in_seconds(&unseen_to_edge(&records, 0.0, 5000.0, &BTreeMap::new())),
            Summary {
                mean: 2.0,
                p50: 2.0,
                p95: 2.0,
                n: 1
            }
        );
    }
}
