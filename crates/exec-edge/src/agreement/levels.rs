//! The service level of an agreement, by receipt interval, in words and for machines.

use std::time::Duration;

use edge_negotiation::{Interval, Verdict};
use edge_types::{Amount, Offer, Rtt};
use serde_json::{Value, json};

/// What an interval did to the payment.
const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NothingPromised => "nothing promised",
        Verdict::TooFew => "too few to judge",
        Verdict::Kept => "kept",
        Verdict::Missed => "missed",
    }
}

fn length(interval: &Interval) -> u64 {
    interval.until.seconds_since(interval.from)
}

/// Share of the interval that was served, at most 100.
fn percent(interval: &Interval) -> f64 {
    let length = length(interval).max(1) as f64;
    (interval.served.as_secs_f64() / length * 100.0).min(100.0)
}

/// The price of the seconds that are not paid.
fn unpaid(interval: &Interval, offer: &Offer) -> Option<Amount> {
    let seconds = (interval.served + Duration::from_millis(500)).as_secs();
    (interval.verdict == Verdict::Missed)
        .then(|| offer.price_per_second.times(seconds).ok())
        .flatten()
}

/// One line for an interval, without its time.
pub(super) fn line(interval: &Interval, offer: &Offer) -> String {
    let ms = |rtt: Option<Rtt>| rtt.map_or("-".to_owned(), |rtt| format!("{:.1}", rtt.as_ms()));
    let mut parts = vec![format!(
        "{:.0} % of {} s served",
        percent(interval),
        length(interval)
    )];
    if interval.sent > 0 || interval.bounces > 0 {
        parts.push(format!(
            "{} of {} bounces back from {} networks, median {} ms, p95 {} ms",
            interval.bounces,
            interval.sent,
            interval.networks,
            ms(interval.median),
            ms(interval.p95)
        ));
    }
    let promise = offer.sla.round_trip_ms;
    if promise > 0 {
        let promise = format!("{promise} ms promised: {}", word(interval.verdict));
        parts.push(match unpaid(interval, offer) {
            Some(sum) => format!("{promise}, {sum} not paid for it"),
            None => promise,
        });
    }
    if interval.failures > 0 {
        parts.push(format!(
            "{} failures reported by clients of {} networks",
            interval.failures, interval.failing_networks
        ));
    }
    if let Some(reported) = interval.reported {
        parts.push(format!("{:.1} ms by the site", reported.as_ms()));
    }
    parts.extend(disagreements(interval));
    parts.join("; ")
}

/// Where the three sources contradict each other.
fn disagreements(interval: &Interval) -> Vec<String> {
    const SLACK: Duration = Duration::from_millis(5);
    let mut told = Vec::new();
    if interval.doubted > 0 {
        told.push(format!(
            "the site's word on {} networks is not believed: its clients took more than twice as long",
            interval.doubted
        ));
    }
    if let (Some(reported), Some(median)) = (interval.reported, interval.median)
        && reported.0 > median.0 + SLACK
    {
        told.push("clients were nearer than the site says: it may serve from elsewhere than its entry point".to_owned());
    }
    let length = length(interval);
    let is_well_by_health = interval.served.as_secs() + 1 >= length;
    if interval.failing_networks >= 3 && is_well_by_health {
        told.push("clients report failures that the health checks did not see".to_owned());
    }
    if interval.sent >= 5 && interval.bounces * 2 < interval.sent {
        told.push("most bounces did not come back".to_owned());
    }
    told
}

/// The same for machines; times in UTC seconds and microseconds.
pub(super) fn object(interval: &Interval, offer: &Offer) -> Value {
    let micros = |rtt: Option<Rtt>| rtt.and_then(|rtt| u64::try_from(rtt.0.as_micros()).ok());
    json!({
        "from": interval.from.0,
        "until": interval.until.0,
        "served_percent": percent(interval),
        "bounces_sent": interval.sent,
        "bounces": interval.bounces,
        "networks": interval.networks,
        "median_us": micros(interval.median),
        "p95_us": micros(interval.p95),
        "promised_ms": offer.sla.round_trip_ms,
        "verdict": word(interval.verdict),
        "unpaid": unpaid(interval, offer).map(|sum| sum.units.to_string()),
        "failures": interval.failures,
        "failing_networks": interval.failing_networks,
        "reported_us": micros(interval.reported),
        "disagreements": disagreements(interval),
    })
}

#[cfg(test)]
mod tests {
    use edge_types::UtcTime;

    use super::*;

    const fn ms(ms: u64) -> Option<Rtt> {
        Some(Rtt(Duration::from_millis(ms)))
    }

    fn interval() -> Interval {
        Interval {
            from: UtcTime(1_000),
            until: UtcTime(1_030),
            served: Duration::from_secs(30),
            sent: 12,
            bounces: 11,
            networks: 4,
            median: ms(41),
            p95: ms(80),
            verdict: Verdict::Kept,
            failures: 0,
            failing_networks: 0,
            reported: ms(38),
            doubted: 0,
        }
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        assert_eq!(disagreements(&interval()), [""; 0]);
        let told = |change: fn(&mut Interval)| {
            let mut interval = interval();
            change(&mut interval);
            disagreements(&interval).concat()
        };
        assert!(told(|it| it.doubted = 2).contains("2 networks"));
        assert!(told(|it| it.reported = ms(60)).contains("elsewhere"));
        assert!(told(|it| it.failing_networks = 3).contains("health checks"));
        assert!(told(|it| it.bounces = 5).contains("did not come back"));
        let outage = told(|it| {
            it.failing_networks = 3;
            it.served = Duration::from_secs(20);
        });
        assert_eq!(outage, "", "the health checks saw it too");
    }
}
