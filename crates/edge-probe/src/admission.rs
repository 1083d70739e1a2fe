//! Who may be probed at all, and how much (security rules 1 and 2).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_ports::{BudgetScope, TraceError};
use edge_types::{IpNet, MonotonicTime, PrefixGrouping};

use crate::config::{Budget, ProberConfig};
use crate::origins::OriginAs;

/// Probes that a trace reserves; most need fewer. What it used in the end is what it is charged.
const RESERVED: u32 = 16;
/// Budgets remembered before full ones are forgotten.
const MAX_BUCKETS: usize = 65_536;

/// Decides about every trace before its first probe, and keeps the books of the nested budgets.
#[derive(Debug)]
pub(crate) struct Admission {
    site: Budget,
    covering: Budget,
    origin: Budget,
    global: Budget,
    origins: Option<Arc<dyn OriginAs>>,
    reserved: u32,
    spent: BTreeMap<Bucket, Spent>,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bucket {
    Site(IpNet),
    Covering(IpNet),
    Origin(u32),
    All,
}

impl Bucket {
    const fn scope(self) -> BudgetScope {
        match self {
            Self::Site(_) => BudgetScope::Prefix,
            Self::Covering(_) => BudgetScope::CoveringPrefix,
            Self::Origin(_) => BudgetScope::OriginAs,
            Self::All => BudgetScope::Global,
        }
    }
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
            site: config.prefix_budget,
            covering: config.covering_budget,
            origin: config.origin_budget,
            global: config.global_budget,
            origins: config.origins.clone(),
            reserved: RESERVED.min(config.probes_per_target),
            spent: BTreeMap::new(),
        }
    }

    /// May `target` be probed at all?
    pub(crate) fn permit(config: &ProberConfig, target: IpAddr) -> Result<(), TraceError> {
        config
            .policy
            .check(target)
            .map_err(TraceError::NotAllowed)?;
        let mut opted_out = config.opted_out.iter();
        if opted_out.any(|prefix| prefix.contains(&target)) {
            return Err(TraceError::OptedOut(target));
        }
        Ok(())
    }

    /// Reserves probes in every budget that `target` falls under, or in none.
    pub(crate) fn reserve(&mut self, target: IpAddr, now: MonotonicTime) -> Result<(), TraceError> {
        self.forget_full(now);
        let wanted = f64::from(self.reserved);
        let mut found = Vec::with_capacity(4);
        for bucket in self.buckets(target) {
            let probes = self.spent_of(bucket, now) + wanted;
            if probes > f64::from(self.budget(bucket).probes) {
                let scope = bucket.scope();
                return Err(TraceError::OverBudget { target, scope });
            }
            found.push((bucket, Spent { probes, at: now }));
        }
        self.spent.extend(found);
        Ok(())
    }

    /// Charges a trace that was admitted and is over for the probes that it `used`, in place of those reserved.
    pub(crate) fn settle(&mut self, target: IpAddr, used: u32, now: MonotonicTime) {
        let more = f64::from(used) - f64::from(self.reserved);
        for bucket in self.buckets(target) {
            let probes = (self.spent_of(bucket, now) + more).max(0.0);
            self.spent.insert(bucket, Spent { probes, at: now });
        }
    }

    /// Everything that `target` counts under, the smallest first.
    fn buckets(&self, target: IpAddr) -> impl Iterator<Item = Bucket> + use<> {
        let site = Bucket::Site(PrefixGrouping::SITE.group(target));
        let covering =
            PrefixGrouping::new(16, 32).map(|grouping| Bucket::Covering(grouping.group(target)));
        let origins = self.origins.as_deref();
        let origin = origins
            .and_then(|origins| origins.origin_as(target))
            .map(Bucket::Origin);
        [Some(site), covering, origin, Some(Bucket::All)]
            .into_iter()
            .flatten()
    }

    const fn budget(&self, bucket: Bucket) -> Budget {
        match bucket {
            Bucket::Site(_) => self.site,
            Bucket::Covering(_) => self.covering,
            Bucket::Origin(_) => self.origin,
            Bucket::All => self.global,
        }
    }

    fn spent_of(&self, bucket: Bucket, now: MonotonicTime) -> f64 {
        let spent = self.spent.get(&bucket);
        spent.map_or(0.0, |spent| decayed(*spent, self.budget(bucket), now))
    }

    fn forget_full(&mut self, now: MonotonicTime) {
        if self.spent.len() >= MAX_BUCKETS {
            let spent = std::mem::take(&mut self.spent);
            self.spent = spent
                .into_iter()
                .filter(|(bucket, spent)| decayed(*spent, self.budget(*bucket), now) > 0.0)
                .collect();
        }
    }
}

fn decayed(spent: Spent, budget: Budget, now: MonotonicTime) -> f64 {
    let per = budget.per.max(Duration::from_millis(1)).as_secs_f64();
    let refilled = now.since(spent.at).as_secs_f64() / per * f64::from(budget.probes);
    (spent.probes - refilled).max(0.0)
}

#[cfg(test)]
mod tests {
    use edge_types::AddressPolicy;

    use super::*;
    use crate::origins::OriginTable;

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
        let target = target.parse().unwrap();
        match Admission::permit(&config(), target).and_then(|()| admission.reserve(target, now)) {
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
    fn what_one_system_announces_shares_a_budget_if_origins_are_known() {
        let mut table = OriginTable::default();
        table.add_line("240.1.0.0/16,64500").unwrap();
        table.add_line("240.2.0.0/16,64500").unwrap();
        let known = ProberConfig {
            origin_budget: Budget {
                probes: 30,
                per: Duration::from_mins(1),
            },
            origins: Some(Arc::new(table)),
            ..config()
        };
        let mut admission = Admission::new(&known);
        for target in ["240.1.1.1", "240.1.2.1", "240.2.1.1"] {
            assert_eq!(verdict(&mut admission, target, 0), "ok");
        }
        assert_eq!(verdict(&mut admission, "240.2.2.1", 0), "OriginAs");
        assert_eq!(verdict(&mut admission, "240.3.1.1", 0), "ok");
        let mut unknown = Admission::new(&config());
        for target in ["240.1.1.1", "240.1.2.1", "240.2.1.1", "240.2.2.1"] {
            assert_eq!(verdict(&mut unknown, target, 0), "ok");
        }
    }

    #[test]
    fn unused_probes_are_returned() {
        let mut admission = Admission::new(&config());
        for _ in 0..20 {
            assert_eq!(verdict(&mut admission, "240.1.1.1", 0), "ok");
            admission.settle("240.1.1.1".parse().unwrap(), 0, MonotonicTime::ZERO);
        }
        assert_eq!(verdict(&mut admission, "240.1.1.1", 0), "ok");
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
