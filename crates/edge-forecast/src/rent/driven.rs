//! Renting by forecast, without ever doing much worse than reacting.

use std::cmp::Reverse;

use super::{Account, MAX_GAIN, Policy, Reactive, Terms};
use crate::Forecaster;

/// Rents what pays by a forecast: finds the cheapest decisions for the next leases as if the forecast were true, and does the first.
#[derive(Debug)]
pub struct Planned {
    terms: Terms,
    forecaster: Box<dyn Forecaster>,
    /// What was expected when it was last asked.
    path: Vec<f64>,
    /// Steps that went by since, of which the path is still believed.
    stale: usize,
    plan: Plan,
}

/// A forecast is believed for this part of a lease before it is made again.
const BELIEVED_PART: usize = 60;

/// Least horizon in steps, for leases that are shorter than a deployment may have to pay for itself.
const LEAST_HORIZON: usize = 40;

impl Planned {
    /// For a site on these terms, by the forecasts of its gains. It looks two leases ahead, but not further than a day of minutes
    /// beyond the first.
    pub fn new(terms: Terms, forecaster: Box<dyn Forecaster>) -> Self {
        let terms = terms.bounded();
        let beyond = terms.lease_steps.clamp(LEAST_HORIZON, 1440);
        let horizon = terms.lease_steps.min(1 << 14) + beyond;
        let believed = (terms.lease_steps / BELIEVED_PART).max(1);
        Self {
            plan: Plan::new(terms, horizon),
            terms,
            forecaster,
            path: vec![0.0; horizon + believed],
            stale: usize::MAX,
        }
    }
}

impl Policy for Planned {
    fn name(&self) -> &'static str {
        self.forecaster.name()
    }

    fn wants(&mut self, running: bool) -> bool {
        let believed = self.path.len() - self.plan.horizon;
        if self.stale >= believed {
            self.forecaster.path(&mut self.path);
            self.stale = 0;
        }
        let path = &self.path[self.stale..self.stale + self.plan.horizon];
        self.plan.first(&self.terms, path, running)
    }

    fn observe(&mut self, gain: u64) {
        self.forecaster.observe(gain.min(MAX_GAIN));
        self.stale = self.stale.saturating_add(1);
    }
}

/// The dynamic program of [`super::least_cost`] over a forecast, with what it needs kept.
#[derive(Debug)]
struct Plan {
    horizon: usize,
    lease: usize,
    idle: Vec<f64>,
    running: Vec<f64>,
}

impl Plan {
    fn new(terms: Terms, horizon: usize) -> Self {
        Self {
            horizon,
            lease: terms.lease_steps.min(1 << 14),
            idle: vec![0.0; horizon + 1],
            running: vec![0.0; horizon + 1],
        }
    }

    /// Is it best to rent at the first step? Leases that run beyond the horizon are paid for the part before it.
    fn first(&mut self, terms: &Terms, path: &[f64], running: bool) -> bool {
        let price = terms.price as f64;
        let whole = terms.deploy_millisteps / 1000;
        let deploy = usize::try_from(whole).unwrap_or(usize::MAX);
        let part = (terms.deploy_millisteps % 1000) as f64 / 1000.0;
        // Gains of the steps that are lost in full when deploying at a step: a window that moves back with it.
        let mut lost = 0.0;
        let mut rent = false;
        for step in (0..self.horizon).rev() {
            let ahead = step.saturating_add(deploy);
            lost += path[step];
            if deploy == 0 {
                lost = 0.0;
            } else if let Some(over) = path.get(ahead) {
                lost -= over;
            }
            let partly = path.get(ahead).map_or(0.0, |gain| gain * part);
            let end = (step + self.lease).min(self.horizon);
            let paid = price * (end - step) as f64 / self.lease as f64;
            let leave = path[step] + self.idle[step + 1];
            let renew = paid + self.running[end];
            let anew = renew + (lost + partly).max(0.0);
            self.idle[step] = leave.min(anew);
            self.running[step] = leave.min(renew);
            rent = if running { renew < leave } else { anew < leave };
        }
        rent
    }
}

/// Follows its first policy, or one that would have cost far less lately, and falls back to what reacting would have come to before it costs more than
/// a set share beyond that.
///
/// Each policy is followed on an account of its own, as if it alone decided. What happened lately counts more than what was long ago.
/// Two accounts of which one is always rented while the other is never differ by at most a lease and a deployment more on the one's side,
/// so with slack s, a price of p, deploying for d steps and gains up to g, the total cost stays below (1 + s) × that of reacting +
/// 2 a (p + (d + 1) g) + 2 (d + 2) g, where a is [`ALLOWANCE`]: another policy is followed only while that and what was saved so far
/// cover a lease that fails and the way back.
#[derive(Debug)]
pub struct ForecastDriven {
    experts: Vec<Expert>,
    leader: usize,
    own: Account,
    slack_percent: u64,
    /// How much of the past counts: after 2^this steps it has fallen to 1/e.
    memory_bits: u32,
    largest_gain: u64,
    guarded: u64,
}

#[derive(Debug)]
struct Expert {
    policy: Box<dyn Policy>,
    account: Account,
    /// Decayed excess, in thousandths.
    lately: u128,
}

impl Expert {
    /// Will the site be rented in the next step, if this one decides?
    fn is_there_next(&mut self) -> bool {
        !self.account.is_open() || self.policy.wants(self.account.is_running())
    }
}

/// Another policy than the first is followed while that cost so many times as much of what could be avoided: what is better by less may
/// be so by chance, and who follows now one and now the other has the losses of both.
const TIMES: u128 = 3;

/// Leases that may fail, each with the way back, before anything was saved. Without any, nothing could be tried before reacting has cost
/// so much that the slack covers a lease, which for long ones takes weeks.
pub const ALLOWANCE: u64 = 4;

impl ForecastDriven {
    /// For a site on these terms: follows `policies`, at first the first of them, beside the reactive one, which is always there, and stays
    /// within `slack_percent` of its cost and the allowance. `memory_bits` up to 40: the logarithm, to the base of 2, of the steps over
    /// which the past is forgotten.
    pub fn new(
        terms: Terms,
        policies: Vec<Box<dyn Policy>>,
        slack_percent: u64,
        memory_bits: u32,
    ) -> Self {
        let terms = terms.bounded();
        let reactive: Box<dyn Policy> = Box::new(Reactive::new(terms));
        let experts = std::iter::once(reactive).chain(policies);
        let experts = experts.map(|policy| Expert {
            policy,
            account: Account::new(terms),
            lately: 0,
        });
        let experts: Vec<Expert> = experts.collect();
        Self {
            leader: usize::from(experts.len() > 1),
            experts,
            own: Account::new(terms),
            slack_percent: slack_percent.min(1_000_000),
            memory_bits: memory_bits.min(40),
            largest_gain: 0,
            guarded: 0,
        }
    }

    /// Whom it follows: the name and what following it alone would have cost so far.
    pub fn standings(&self) -> impl Iterator<Item = (&'static str, u128)> {
        let experts = self.experts.iter();
        experts.map(|expert| (expert.policy.name(), expert.account.cost()))
    }

    /// The policy followed now.
    pub fn leader(&self) -> &'static str {
        self.experts[self.leader].policy.name()
    }

    /// Decisions in which it had to react for lack of slack.
    pub const fn guarded(&self) -> u64 {
        self.guarded
    }

    /// Does the slack cover a lease that fails, and another to be back where reacting would be?
    fn is_covered(&self) -> bool {
        let terms = self.own.terms();
        let deploy = u128::from(terms.deploy_millisteps).div_ceil(1000) + 1;
        let lost = u128::from(self.largest_gain) * deploy;
        let at_risk = 2 * (u128::from(terms.price) + lost);
        let reacting = self.experts[0].account.cost() * u128::from(100 + self.slack_percent);
        let allowed = at_risk * u128::from(ALLOWANCE) * 100;
        (self.own.cost() + at_risk) * 100 <= reacting + allowed
    }

    fn choose_leader(&mut self) {
        let costs = self.experts.iter().enumerate();
        let best = costs.min_by_key(|(position, expert)| (expert.lately, Reverse(*position)));
        let first = usize::from(self.experts.len() > 1);
        self.leader = match best {
            Some((best, expert)) if expert.lately * TIMES < self.experts[first].lately => best,
            _ => first,
        };
    }
}

impl Policy for ForecastDriven {
    fn name(&self) -> &'static str {
        "forecast-driven"
    }

    fn wants(&mut self, running: bool) -> bool {
        self.choose_leader();
        let wants = if self.is_covered() {
            let leader = &mut self.experts[self.leader];
            if leader.policy.has_a_mind_of_its_own() {
                leader.is_there_next()
            } else {
                leader.policy.wants(running)
            }
        } else {
            self.guarded += 1;
            self.experts[0].is_there_next()
        };
        self.own.decide(wants);
        wants
    }

    fn observe(&mut self, gain: u64) {
        let gain = gain.min(MAX_GAIN);
        self.largest_gain = self.largest_gain.max(gain);
        self.own.step(gain);
        for expert in &mut self.experts {
            let wants = expert.is_there_next();
            expert.account.decide(wants);
            let excess = expert.account.excess(gain);
            expert.account.step(gain);
            expert.lately = expert.lately - (expert.lately >> self.memory_bits) + excess;
            expert.policy.observe(gain);
        }
    }
}
