//! What is known before the base when there is no time left to ask.

use std::net::IpAddr;

use edge_types::{Hop, HopReply, MonotonicTime, Rtt};

use super::{Answers, Engine, Known, Question, Sharing, Standing, Target, first_standing};

impl Engine {
    /// The hops at TTL 1 to `top - 1` as far as they are known without asking.
    pub(super) fn recall(&self, target: &Target, top: u8, now: MonotonicTime) -> Vec<Hop> {
        let mut hops = vec![Hop::NoReply; usize::from(top.saturating_sub(1))];
        let mut nodes: Vec<_> = first_standing(target, top).into_iter().collect();
        for ttl in (1..top).rev() {
            let own = target.hop(ttl).answer.map(|answer| answer.reply());
            let Some(reply) = own.or_else(|| self.recall_hop(target, ttl, &nodes, now)) else {
                continue;
            };
            hops[usize::from(ttl) - 1] = Hop::Reply(reply);
            nodes.push(Standing {
                node: reply.address,
                at: ttl,
                is_own: !reply.shared,
                has_scout: false,
            });
        }
        hops
    }

    /// Does a router that others found at `ttl` follow the one that the target's own flow found before it? `None` if
    /// either is not known.
    pub(super) fn fits(
        &self,
        target: &Target,
        ttl: u8,
        address: IpAddr,
        now: MonotonicTime,
    ) -> Option<bool> {
        let before = (ttl > 1).then(|| target.router(ttl - 1)).flatten()?;
        let question = Question {
            node: address,
            at: ttl,
            ttl: ttl - 1,
        };
        match self.knowledge.known(question, target.address, now) {
            Known::Agreed { address, .. } => Some(address == before),
            Known::Disputed { answers, .. } => Some(answers.contains(before)),
            _ => None,
        }
    }

    /// Which of the routers in parallel at `ttl` the target is taken to pass although it got no answer there: one by
    /// chance, but one that fits.
    pub(super) fn arm_of(
        &self,
        target: &Target,
        ttl: u8,
        answers: Answers<'_>,
        now: MonotonicTime,
    ) -> Option<(IpAddr, Rtt)> {
        let is_free = ttl == 1 || target.router(ttl - 1).is_none();
        let fitting: Vec<(IpAddr, Rtt)> = answers
            .iter()
            .filter(|(address, _)| is_free || self.fits(target, ttl, *address, now) == Some(true))
            .collect();
        let chance = usize::try_from(self.key.chance(target.address, 0)).unwrap_or(0);
        fitting.get(chance.checked_rem(fitting.len())?).copied()
    }

    /// What others know about `ttl`, by the nearest of `nodes` (the last) that anything is known about. Those farther
    /// away need as many witnesses as there may be.
    fn recall_hop(
        &self,
        target: &Target,
        ttl: u8,
        nodes: &[Standing],
        now: MonotonicTime,
    ) -> Option<HopReply> {
        let Sharing::Verified { confirmations } = self.config.sharing else {
            return None;
        };
        for (farther, node) in nodes.iter().rev().enumerate() {
            let question = self.question(Some(*node), ttl)?;
            match self.knowledge.known(question, target.address, now) {
                Known::Agreed {
                    address,
                    rtt,
                    flows,
                    ..
                } if farther == 0 || flows.len() >= usize::from(confirmations) => {
                    if self.fits(target, ttl, address, now) == Some(false) {
                        return None;
                    }
                    return Some(HopReply {
                        shared: true,
                        ..HopReply::new(address, rtt)
                    });
                }
                Known::Disputed { answers, .. } if farther == 0 => {
                    let (address, rtt) = self.arm_of(target, ttl, answers, now)?;
                    return Some(HopReply {
                        shared: true,
                        ..HopReply::new(address, rtt)
                    });
                }
                Known::Disputed { .. } => return None,
                _ => {}
            }
        }
        None
    }
}
