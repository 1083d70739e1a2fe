//! A world and the engine in virtual time.

use std::fmt;
use std::time::Duration;

use edge_discovery::{DiscoveryConfig, Limits};
use edge_dispatch::{Decision, RedirectPolicy};
use edge_placement::Policy;
use edge_types::{AddressPolicy, Amount, MonotonicTime, Rtt, UtcTime};

use crate::digest;
use crate::engine::{Activation, Engine, EngineSettings, Event};
use crate::parallel;
use crate::random::Random;
use crate::world::{World, WorldSize};

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// The world's size.
    pub size: WorldSize,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Steps of time.
    pub steps: usize,
    /// Seconds of a step; at least 1.
    pub step_secs: u64,
    /// Probability that a client asks in a step, in thousandths.
    pub asks_permille: u64,
    /// Most sites at a time.
    pub max_sites: usize,
}

impl Default for Run {
    /// Ten minutes of one million clients, of which one in ten asks in ten seconds.
    fn default() -> Self {
        Self {
            size: WorldSize::default(),
            seed: 1,
            steps: 60,
            step_secs: 10,
            asks_permille: 100,
            max_sites: 24,
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number, from 0.
    pub number: usize,
    /// Requests.
    pub requests: u64,
    /// Those that a site served.
    pub at_sites: u64,
    /// Sum of the true round trips between clients and those who served them, in microseconds.
    pub micros: u128,
    /// The same if the cloud had served all.
    pub cloud_micros: u128,
    /// Nodes of the tree.
    pub nodes: usize,
    /// Share of demand that changed since the last plan, in millionths.
    pub change_ppm: u64,
    /// Did demand change all of a sudden?
    pub surged: bool,
    /// Sites of the plan that was made, if one was.
    pub planned_sites: Option<usize>,
    /// A digest of tree, plan and table.
    pub digest: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {:>4} requests {:>8} at_sites {:>8} micros {:>14} cloud_micros {:>14} nodes {:>6} change_ppm {:>7} surged {} ",
            self.number,
            self.requests,
            self.at_sites,
            self.micros,
            self.cloud_micros,
            self.nodes,
            self.change_ppm,
            u8::from(self.surged),
        )?;
        match self.planned_sites {
            Some(sites) => write!(f, "planned {sites:>4} ")?,
            None => write!(f, "planned    - ")?,
        }
        write!(f, "digest {:016x}", self.digest)
    }
}

/// A site serves a prefix if it is nearer than the cloud by this.
const MIN_SAVING: Duration = Duration::from_millis(2);

/// Prefixes are taken together in so many parts, whatever the number of threads.
const PARTS: usize = 64;

/// In the middle third of the time, the first region asks for so many times as much: a flash crowd.
const FLASH_CROWD: u64 = 4;

/// Runs a simulation; calls `on_event` with everything that the engine is told and when, and `on_step` after each step. Equal runs give
/// equal events and steps, on any number of threads.
pub fn simulate(
    run: &Run,
    threads: usize,
    mut on_event: impl FnMut(MonotonicTime, &Event),
    mut on_step: impl FnMut(MonotonicTime, &Step),
) {
    let world = World::new(run.size, run.seed);
    let Some(settings) = settings(run, &world) else {
        return;
    };
    let mut engine = Engine::new(settings);
    for number in 0..run.steps {
        let started = Duration::from_secs(run.step_secs.max(1)).saturating_mul(number as u32);
        let mut now = MonotonicTime(started);
        let asked = ask(&world, run, number, &engine, now, threads);
        let mut step = Step {
            number,
            requests: 0,
            at_sites: 0,
            micros: 0,
            cloud_micros: 0,
            nodes: 0,
            change_ppm: 0,
            surged: false,
            planned_sites: None,
            digest: 0,
        };
        let mut tell = |engine: &mut Engine, event: Event, now| {
            on_event(now, &event);
            engine.take(event, now);
        };
        for (prefix, asked) in asked.iter().flatten().enumerate() {
            step.requests += asked.requests;
            step.at_sites += asked.at_sites;
            step.micros += asked.micros;
            step.cloud_micros += u128::from(asked.requests) * u128::from(world.to_cloud(prefix));
            if asked.requests > 0 {
                let client = world.client(prefix, number as u64);
                let count = asked.requests;
                tell(&mut engine, Event::Requests { client, count }, now);
            }
        }
        now = now.after(Duration::from_millis(200));
        for target in engine.wanted_traces() {
            if let Some(path) = world.trace(target, now) {
                tell(&mut engine, Event::Path(path), now);
            }
        }
        engine.start_questions(now);
        while let Some(question) = engine.poll_question(now) {
            let answer = world.answer(&question);
            tell(&mut engine, Event::Answer(question, answer), now);
        }
        now = now.after(Duration::from_millis(200));
        for candidate in engine.found_sites() {
            let Some(address) = candidate.addresses.first() else {
                continue;
            };
            let price = world
                .metro_with_site(*address)
                .and_then(|metro| world.price(metro));
            if let (Some(path), Some(price_per_second)) = (world.trace(*address, now), price) {
                let site = candidate.id;
                let event = Event::Site {
                    site,
                    path,
                    price_per_second,
                };
                tell(&mut engine, event, now);
            }
        }
        now = now.after(Duration::from_millis(200));
        let activation = engine.activate(now);
        step.note(&activation, &engine);
        on_step(now, &step);
    }
}

impl Step {
    /// What an activation came to.
    fn note(&mut self, activation: &Activation, engine: &Engine) {
        self.nodes = activation.tree.nodes().len();
        self.change_ppm = millionths(activation.change);
        self.surged = activation.surged;
        self.planned_sites = activation.plan.as_ref().map(|plan| plan.chosen.len());
        self.digest = digest_of(activation, engine);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is from 0 to 1"
)]
pub(crate) fn millionths(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1e6) as u64
}

/// A digest of what an activation decided and of the table in force.
fn digest_of(activation: &Activation, engine: &Engine) -> u64 {
    let nodes = activation.tree.nodes();
    digest::of(format_args!(
        "{nodes:?} {:?} {:?}",
        activation.plan,
        engine.table()
    ))
}

fn settings(run: &Run, world: &World) -> Option<EngineSettings> {
    let policy = AddressPolicy::new(vec![World::addresses()]);
    let limits = Limits {
        addresses: 200_000,
        questions_per_run: 2_000_000,
        ..Limits::default()
    };
    let discovery = DiscoveryConfig::new(DiscoveryConfig::SERVICE, "none", policy, limits).ok()?;
    let policy = Policy {
        max_sites: run.max_sites,
        min_saving: Rtt(MIN_SAVING),
        ..Policy::within(Amount::wei(u128::MAX))
    };
    Some(EngineSettings::new(
        world.size().prefixes.max(1),
        policy,
        discovery,
    ))
}

/// What the clients of a prefix did in a step.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    requests: u64,
    at_sites: u64,
    micros: u128,
}

fn ask(
    world: &World,
    run: &Run,
    step: usize,
    engine: &Engine,
    now: MonotonicTime,
    threads: usize,
) -> Vec<Vec<Asked>> {
    let redirects = RedirectPolicy::default();
    let utc = UtcTime(now.0.as_secs());
    let prefixes = world.size().prefixes;
    let in_first_region = world.size().prefixes_per_metro * world.size().metros_per_region;
    let is_flash_crowd = (run.steps / 3..run.steps * 2 / 3).contains(&step);
    parallel::map(PARTS, threads, |part| {
        let mut random = Random::part(run.seed, (step * PARTS + part) as u64 + 1000);
        let range = prefixes * part / PARTS..prefixes * (part + 1) / PARTS;
        range
            .map(|prefix| {
                let mut asked = Asked::default();
                let cloud = world.to_cloud(prefix);
                let times = if is_flash_crowd && prefix < in_first_region {
                    FLASH_CROWD
                } else {
                    1
                };
                for client in 0..world.population.clients[prefix] {
                    if random.below(1000) >= run.asks_permille.saturating_mul(times) {
                        continue;
                    }
                    asked.requests += 1;
                    let address = world.client(prefix, client);
                    let decision = engine.table().decide(address, utc, &redirects);
                    let site = match decision {
                        Decision::Redirect { address, .. } => world.metro_with_site(address.ip()),
                        Decision::Cloud(_) => None,
                    };
                    asked.at_sites += u64::from(site.is_some());
                    let micros = site.map_or(cloud, |metro| world.to_site(prefix, metro));
                    asked.micros += u128::from(micros);
                }
                asked
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::Skew;

    fn small() -> Run {
        Run {
            size: WorldSize {
                clients: 20_000,
                prefixes: 128,
                prefixes_per_metro: 8,
                metros_per_region: 4,
                equipped_percent: 60,
                skew: Skew::Zipf { exponent: 0.8 },
            },
            steps: 9,
            max_sites: 6,
            ..Run::default()
        }
    }

    fn lines(run: &Run, threads: usize) -> (Vec<Step>, String, usize) {
        let (mut steps, mut text, mut events) = (Vec::new(), String::new(), 0);
        simulate(
            run,
            threads,
            |_, _| events += 1,
            |_, step| {
                text += &format!("{step}\n");
                steps.push(*step);
            },
        );
        (steps, text, events)
    }

    #[test]
    fn equal_seeds_give_equal_bytes_on_any_number_of_threads() {
        let run = small();
        let one = lines(&run, 1);
        assert_eq!(one, lines(&run, 2));
        assert_eq!(one, lines(&run, 4));
        assert_ne!(one.1, lines(&Run { seed: 2, ..run }, 1).1);
    }

    #[test]
    fn the_loop_closes_and_clients_get_nearer() {
        let (steps, _, events) = lines(&small(), 2);
        let (first, last) = (&steps[0], &steps[steps.len() - 1]);
        assert_eq!(first.at_sites, 0);
        assert_eq!(first.planned_sites, Some(6));
        assert!(last.at_sites > last.requests / 4, "{last}");
        assert!(last.micros < last.cloud_micros, "{last}");
        assert!(events > 128 * 9);
    }

    #[test]
    fn a_flash_crowd_makes_a_new_plan_due() {
        let (steps, _, _) = lines(&small(), 2);
        let planned: Vec<usize> = steps
            .iter()
            .filter(|step| step.planned_sites.is_some())
            .map(|step| step.number)
            .collect();
        assert!(
            planned.iter().any(|step| (3..6).contains(step)),
            "{planned:?}"
        );
    }

    #[test]
    fn empty_worlds_are_survived() {
        for (clients, prefixes) in [(0, 0), (5, 0), (0, 5), (1, 1)] {
            let size = WorldSize {
                clients,
                prefixes,
                prefixes_per_metro: 0,
                metros_per_region: 0,
                ..WorldSize::default()
            };
            let run = Run {
                size,
                steps: 3,
                step_secs: 0,
                ..Run::default()
            };
            assert_eq!(lines(&run, 2).0.len(), 3);
        }
    }
}
