//! What sites are expected to save over a lease, compared with now: by forecasts of what each would have saved so far.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_forecast::{Direct, Forecaster as _};
use edge_placement::Plan;
use edge_types::{IepId, MonotonicTime};

/// Time between two observations.
const STEP: Duration = Duration::from_mins(1);

/// Steps of a day.
const DAY: usize = 1440;

/// Observations before a forecast counts.
const LEAST: usize = 10;

/// Most sites that are followed; of each a day's and a lease's minutes are kept.
const MOST_SITES: usize = 512;

/// Savings are counted in units of so many microseconds × thousandths of a request per second, so that they fit a forecaster.
const UNIT: u128 = 1000;

/// What a lease has to be expected to bring before a site is rented anew, in percent of its price; for one that serves already 100.
/// The numbers of `edge_forecast::Expecting`.
const START_PERCENT: u32 = 105;

/// Forecasts, by site.
#[derive(Debug)]
pub(super) struct Outlook {
    /// Steps of a lease.
    lease: usize,
    sites: BTreeMap<IepId, Followed>,
    step_began: Option<MonotonicTime>,
}

#[derive(Debug)]
struct Followed {
    forecast: Direct,
    steps: usize,
    /// Mean of the last step.
    last: u64,
    /// Of plans in this step.
    sum: u128,
    plans: u128,
}

impl Outlook {
    /// For leases of this length.
    pub(super) fn new(lease: Duration) -> Self {
        let steps = lease.as_secs() / STEP.as_secs();
        Self {
            lease: usize::try_from(steps).unwrap_or(usize::MAX).max(1),
            sites: BTreeMap::new(),
            step_began: None,
        }
    }

    /// Takes note of what each site saves, or would, by a plan that looked at all.
    pub(super) fn note(&mut self, plan: &Plan, now: MonotonicTime) {
        let began = *self.step_began.get_or_insert(now);
        if now.since(began) >= STEP {
            self.step_began = Some(now);
            self.sites.retain(|_, site| site.end_step());
        }
        let chosen = plan.chosen.iter().map(|site| (&site.site, site.marginal));
        let others = plan
            .rejected
            .iter()
            .map(|site| (&site.site, site.would_save));
        for (id, saves) in chosen.chain(others) {
            if !self.sites.contains_key(id) {
                if self.sites.len() >= MOST_SITES {
                    continue;
                }
                let site = Followed {
                    forecast: Direct::new(self.lease, DAY),
                    steps: 0,
                    last: 0,
                    sum: 0,
                    plans: 0,
                };
                self.sites.insert(id.clone(), site);
            }
            if let Some(site) = self.sites.get_mut(id) {
                site.sum = site.sum.saturating_add(saves);
                site.plans += 1;
            }
        }
    }

    /// What a site is expected to save over a lease, in percent of what it saves now, against what has to be expected of one that is
    /// rented anew or serves already.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "conversions saturate"
    )]
    pub(super) fn percent(&self, site: &IepId, serves: bool) -> u32 {
        let asked = if serves { 100 } else { START_PERCENT };
        let known = self.sites.get(site);
        let known = known.filter(|site| site.steps >= LEAST && site.last > 0);
        let expected = known.map_or(100.0, |site| {
            100.0 * site.forecast.mean(self.lease) / site.last as f64
        });
        ((expected * 100.0 / f64::from(asked)).round() as u32).clamp(1, 10_000)
    }
}

impl Followed {
    /// Ends a step; false if nothing was heard of the site in it.
    fn end_step(&mut self) -> bool {
        let Some(mean) = self.sum.checked_div(self.plans) else {
            return false;
        };
        self.last = u64::try_from(mean / UNIT).unwrap_or(u64::MAX);
        self.forecast.observe(self.last);
        self.steps += 1;
        (self.sum, self.plans) = (0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use edge_placement::plan;

    use super::super::testing::{self, candidates, input, tree};
    use super::*;

    fn site() -> IepId {
        testing::site(1)
    }

    /// A plan for one client and the site, where so much is asked for.
    fn plan_at(demand: u64) -> Plan {
        let tree = tree(demand);
        plan(&input(&tree, &candidates(&tree, &[10])))
    }

    #[test]
    fn what_stays_as_it_is_brings_what_it_brings_and_a_spike_does_not_last() {
        let mut outlook = Outlook::new(Duration::from_hours(1));
        assert_eq!(outlook.percent(&site(), true), 100, "nothing is known");
        assert_eq!(outlook.percent(&site(), false), 95);
        let mut minute = 0;
        let mut minutes = |outlook: &mut Outlook, count: u64, demand: u64| {
            let plan = plan_at(demand);
            for _ in 0..count {
                minute += 1;
                outlook.note(&plan, MonotonicTime(Duration::from_mins(minute)));
            }
        };
        minutes(&mut outlook, 100, 1000);
        assert_eq!(outlook.percent(&site(), true), 100);
        minutes(&mut outlook, 2, 5000);
        let spike = outlook.percent(&site(), true);
        assert!((20..70).contains(&spike), "{spike}");
    }

    #[test]
    fn a_demand_that_comes_back_every_day_is_expected() {
        let mut outlook = Outlook::new(Duration::from_hours(1));
        let (quiet, busy) = (plan_at(1000), plan_at(9000));
        // From the ninth hour of each day on much is asked for, for an hour.
        for minute in 0..(7 * DAY as u64 + 9 * 60) {
            let is_busy = minute % DAY as u64 / 60 == 9;
            let plan = if is_busy { &busy } else { &quiet };
            outlook.note(plan, MonotonicTime(Duration::from_mins(minute)));
        }
        let before = outlook.percent(&site(), true);
        assert!(before > 150, "{before}");
    }
}
