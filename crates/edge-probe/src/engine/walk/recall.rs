//! What is known before the base when there is no time left to ask.

use edge_types::{Hop, HopReply, MonotonicTime};

use super::{Engine, Known, Sharing, Standing, Target, first_standing};

impl Engine {
    /// The hops at TTL 1 to `top - 1` as far as they are known without asking.
    pub(super) fn recall(&self, target: &Target, top: u8, now: MonotonicTime) -> Vec<Hop> {
        let mut hops = vec![Hop::NoReply; usize::from(top.saturating_sub(1))];
        let mut nodes: Vec<_> = first_standing(target, top).into_iter().collect();
        for ttl in (1..top).rev() {
            let own = target
                .hop(ttl)
                .answer
                .map(|answer| HopReply::new(answer.address, answer.rtt));
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
                } if farther == 0 || flows.len() >= usize::from(confirmations) => {
                    return Some(HopReply {
                        shared: true,
                        ..HopReply::new(address, rtt)
                    });
                }
                Known::Disputed => return None,
                _ => {}
            }
        }
        None
    }
}
