//! Who may be probed at all, and how much (security rules 1 and 2).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_ports::{BudgetScope, TraceError};
use edge_types::{IpNet, MonotonicTime, PrefixGrouping};

use crate::config::{Budget, ProberConfig};

/// Probes that a trace reserves; most need fewer. What it used in the end is what it is charged.
const RESERVED: u32 = 16;
/// Budgets remembered before full ones are forgotten.
const MAX_BUCKETS: usize = 65_536;

/// Decides about every trace before its first probe, and keeps the books of the nested budgets.
#[derive(Debug)]
pub(crate) struct Admission {
    budgets: [(BudgetScope, Budget); 3],
    reserved: u32,
    spent: BTreeMap<(usize, Option<IpNet>), Spent>,
}

/// Tokens missing from a full bucket.
#[derive(Clone, Copy, Debug)]
struct Spent {
    probes: f64,
    at: MonotonicTime,
}

impl Admission {
    pub(crate) fn new(config: &ProberConfig) -> Self {
        Self {
            budgets: [
                (BudgetScope::Prefix, config.prefix_budget),
                (BudgetScope::CoveringPrefix, config.covering_budget),
                (BudgetScope::Global, config.global_budget),
            ],
            reserved: RESERVED.min(config.probes_per_target),
            spent: BTreeMap::new(),
        }
    }

    /// Reserves probes in every budget that `target` falls under, or in none.
    pub(crate) fn admit(
        &mut self,
        config: &ProberConfig,
        target: IpAddr,
        now: MonotonicTime,
    ) -> Result<(), TraceError> {
        config
            .policy
            .check(target)
            .map_err(TraceError::NotAllowed)?;
        if config
            .opted_out
            .iter()
            .any(|prefix| prefix.contains(&target))
        {
            return Err(TraceError::OptedOut(target));
        }
        self.forget_full(now);
        let wanted = f64::from(self.reserved);
        for (index, (scope, budget)) in self.budgets.into_iter().enumerate() {
            if self.spent_at(index, target, now) + wanted > f64::from(budget.probes) {
                return Err(TraceError::OverBudget { target, scope });
            }
        }
        for index in 0..self.budgets.len() {
            let probes = self.spent_at(index, target, now) + wanted;
            self.spent
                .insert((index, scope_of(index, target)), Spent { probes, at: now });
        }
        Ok(())
    }

    /// Charges a trace that was admitted and is over for the probes that it `used`, in place of those reserved.
    pub(crate) fn settle(&mut self, target: IpAddr, used: u32, now: MonotonicTime) {
        let more = f64::from(used) - f64::from(self.reserved);
        for index in 0..self.budgets.len() {
            let probes = (self.spent_at(index, target, now) + more).max(0.0);
            self.spent
                .insert((index, scope_of(index, target)), Spent { probes, at: now });
        }
    }

    fn spent_at(&self, index: usize, target: IpAddr, now: MonotonicTime) -> f64 {
        self.spent
            .get(&(index, scope_of(index, target)))
            .map_or(0.0, |spent| decayed(*spent, self.budgets[index].1, now))
    }

    fn forget_full(&mut self, now: MonotonicTime) {
        if self.spent.len() >= MAX_BUCKETS {
            let budgets = self.budgets;
            self.spent
                .retain(|(index, _), spent| decayed(*spent, budgets[*index].1, now) > 0.0);
        }
    }
}

fn decayed(spent: Spent, budget: Budget, now: MonotonicTime) -> f64 {
    let per = budget.per.max(Duration::from_millis(1)).as_secs_f64();
    let refilled = now.since(spent.at).as_secs_f64() / per * f64::from(budget.probes);
    (spent.probes - refilled).max(0.0)
}

/// The prefix that the budget with this index counts `target` under; none for the global budget.
fn scope_of(index: usize, target: IpAddr) -> Option<IpNet> {
    match index {
        0 => Some(PrefixGrouping::SITE.group(target)),
        1 => PrefixGrouping::new(16, 32).map(|grouping| grouping.group(target)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use edge_types::AddressPolicy;

    use super::*;

    fn config() -> ProberConfig {
        let per_minute = |probes| Budget {
            probes,
            per: Duration::from_mins(1),
        };
        ProberConfig {
            policy: AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]),
            opted_out: vec!["240.9.0.0/16".parse().unwrap()],
            probes_per_target: 10,
            prefix_budget: per_minute(20),
            covering_budget: per_minute(30),
            global_budget: per_minute(40),
            ..ProberConfig::default()
        }
    }

    fn verdict(admission: &mut Admission, target: &str, at_s: u64) -> String {
        let now = MonotonicTime(Duration::from_secs(at_s));
        match admission.admit(&config(), target.parse().unwrap(), now) {
            Ok(()) => "ok".to_owned(),
            Err(TraceError::OverBudget { scope, .. }) => format!("{scope:?}"),
            Err(TraceError::OptedOut(_)) => "opted out".to_owned(),
            Err(TraceError::NotAllowed(refusal)) => refusal.kind.to_owned(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn budgets_nest_and_refill() {
        let mut admission = Admission::new(&config());
        assert_eq!(verdict(&mut admission, "240.1.1.1", 0), "ok");
        assert_eq!(verdict(&mut admission, "240.1.1.2", 0), "ok");
        assert_eq!(verdict(&mut admission, "240.1.1.3", 0), "Prefix");
        assert_eq!(verdict(&mut admission, "240.1.2.1", 0), "ok");
        assert_eq!(verdict(&mut admission, "240.1.3.1", 0), "CoveringPrefix");
        assert_eq!(verdict(&mut admission, "240.2.1.1", 0), "ok");
        assert_eq!(verdict(&mut admission, "240.3.1.1", 0), "Global");
        assert_eq!(verdict(&mut admission, "240.3.1.1", 16), "ok");
        assert_eq!(verdict(&mut admission, "240.1.1.3", 31), "ok");
    }

    #[test]
    fn unused_probes_are_returned() {
        let mut admission = Admission::new(&config());
        for _ in 0..20 {
            assert_eq!(verdict(&mut admission, "240.1.1.1", 0), "ok");
            admission.settle("240.1.1.1".parse().unwrap(), 0, MonotonicTime::ZERO);
        }
        admission
            .admit(&config(), "240.1.1.1".parse().unwrap(), MonotonicTime::ZERO)
            .unwrap();
    }

    #[test]
    fn policy_and_opt_out_come_first_and_cost_nothing() {
        let mut admission = Admission::new(&config());
        for _ in 0..10 {
            assert_eq!(verdict(&mut admission, "10.0.0.1", 0), "private");
            assert_eq!(verdict(&mut admission, "240.9.1.1", 0), "opted out");
        }
        assert_eq!(verdict(&mut admission, "240.1.1.1", 0), "ok");
    }
}
