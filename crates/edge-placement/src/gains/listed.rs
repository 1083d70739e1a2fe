//! Gains from lists of who may serve whom: any network, measured distances, capacities.

use crate::gains::Gains;
use crate::problem::Problem;
use crate::reach::Reach;

pub(super) struct Listed<'p> {
    problem: &'p Problem,
    reach: &'p Reach,
    /// By client: round trip, and who serves it.
    services: Vec<(u64, Option<u32>)>,
    /// By site: demand that it can still take.
    room: Vec<u64>,
}

impl<'p> Listed<'p> {
    pub(super) fn new(problem: &'p Problem, reach: &'p Reach) -> Self {
        let sites = problem.sites().iter();
        Self {
            problem,
            reach,
            services: reach
                .clients
                .iter()
                .map(|client| (client.cloud, None))
                .collect(),
            room: sites
                .map(|site| site.capacity.unwrap_or(u64::MAX))
                .collect(),
        }
    }

    /// Clients that the site would take over, and what that saves.
    fn takes(&self, site: usize) -> (u128, Vec<(u32, u64)>) {
        let faster = self.reach.sites[site]
            .iter()
            .filter(|(client, micros)| *micros < self.services[*client as usize].0);
        let mut taken: Vec<(u32, u64)> = faster.copied().collect();
        let saves =
            |(client, micros): &(u32, u64)| u128::from(self.services[*client as usize].0 - micros);
        let demand = |client: u32| self.reach.clients[client as usize].demand;
        let mut room = self.room[site];
        if self.problem.sites()[site].capacity.is_some() {
            // Room goes to those who gain most by request.
            taken.sort_by_key(|taken| (std::cmp::Reverse(saves(taken)), taken.0));
            taken.retain(|(client, _)| {
                let fits = demand(*client) <= room;
                if fits {
                    room -= demand(*client);
                }
                fits
            });
        }
        let gain = taken
            .iter()
            .map(|taken| saves(taken) * u128::from(demand(taken.0)))
            .sum();
        (gain, taken)
    }
}

impl Gains for Listed<'_> {
    fn gain(&mut self, site: usize) -> u128 {
        if self.problem.sites()[site].capacity.is_some() {
            return self.takes(site).0;
        }
        self.reach.sites[site]
            .iter()
            .map(|(client, micros)| {
                let now = self.services[*client as usize].0;
                let demand = self.reach.clients[*client as usize].demand;
                u128::from(now.saturating_sub(*micros)) * u128::from(demand)
            })
            .sum()
    }

    fn add(&mut self, site: usize) {
        for (client, micros) in self.takes(site).1 {
            let demand = self.reach.clients[client as usize].demand;
            let service = &mut self.services[client as usize];
            if let Some(before) = service.1 {
                let room = &mut self.room[before as usize];
                *room = room.saturating_add(demand);
            }
            *service = (micros, Some(crate::network::small(site)));
            self.room[site] = self.room[site].saturating_sub(demand);
        }
    }
}
