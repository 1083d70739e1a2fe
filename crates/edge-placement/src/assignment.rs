//! Whom each chosen site serves, where sites can serve only so much.

use std::collections::BinaryHeap;

use crate::problem::Problem;
use crate::reach::Reach;

/// Rounds in which clients may move to faster sites that have room.
const ROUNDS: usize = 8;

/// By client of `reach`, the chosen site that serves it; `None` for the cloud.
///
/// Without capacities that is the nearest, the first on a tie. With them, who would lose most by having to take the second
/// best is served first; a client prefix is never divided.
pub(crate) fn assign(problem: &Problem, reach: &Reach, chosen: &[usize]) -> Vec<Option<usize>> {
    let mut is_chosen = vec![false; problem.sites().len()];
    for site in chosen {
        is_chosen[*site] = true;
    }
    let options: Vec<Vec<(u64, u32)>> = (0..reach.clients.len())
        .map(|client| {
            let servers = reach.servers(client).iter();
            servers
                .filter(|(_, site)| is_chosen[*site as usize])
                .copied()
                .collect()
        })
        .collect();
    if !problem.has_capacities() {
        let nearest = options.iter();
        return nearest
            .map(|options| options.first().map(|(_, site)| *site as usize))
            .collect();
    }

    let mut room: Vec<u64> = problem
        .sites()
        .iter()
        .map(|site| site.capacity.unwrap_or(u64::MAX))
        .collect();
    let mut serving = vec![None; reach.clients.len()];
    // What the client loses if it gets the option after this one.
    let regret = |client: usize, option: usize| {
        let cloud = reach.clients[client].cloud;
        let micros = |option: usize| {
            options[client]
                .get(option)
                .map_or(cloud, |(micros, _)| *micros)
        };
        let loss = micros(option + 1) - micros(option);
        u128::from(loss) * u128::from(reach.clients[client].demand)
    };
    let mut open: BinaryHeap<(u128, std::cmp::Reverse<usize>, usize)> = (0..options.len())
        .filter(|client| !options[*client].is_empty())
        .map(|client| (regret(client, 0), std::cmp::Reverse(client), 0))
        .collect();
    while let Some((_, std::cmp::Reverse(client), option)) = open.pop() {
        let demand = reach.clients[client].demand;
        let Some((_, site)) = options[client].get(option) else {
            continue;
        };
        let room = &mut room[*site as usize];
        if *room >= demand {
            *room -= demand;
            serving[client] = Some(*site as usize);
        } else if option + 1 < options[client].len() {
            open.push((
                regret(client, option + 1),
                std::cmp::Reverse(client),
                option + 1,
            ));
        }
    }
    for _ in 0..ROUNDS {
        let mut moved = false;
        for (client, options) in options.iter().enumerate() {
            let demand = reach.clients[client].demand;
            let better = options
                .iter()
                .map(|(_, site)| *site as usize)
                .take_while(|site| serving[client] != Some(*site))
                .find(|site| room[*site] >= demand);
            if let Some(site) = better {
                if let Some(left) = serving[client] {
                    room[left] = room[left].saturating_add(demand);
                }
                room[site] -= demand;
                serving[client] = Some(site);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    serving
}
