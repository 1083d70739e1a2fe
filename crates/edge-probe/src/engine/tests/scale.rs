//! Thousands of targets at once.

use super::*;

/// Numbers that look random and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A place of the tree: the routers from us to it, in diamonds two of which a flow passes one, and the delays.
#[derive(Clone, Default)]
struct Place {
    routers: Vec<[IpAddr; 2]>,
    delays: Vec<u64>,
}

impl Place {
    fn add(&mut self, routers: [IpAddr; 2], delay: u64) {
        self.routers.push(routers);
        self.delays
            .push(self.delays.last().copied().unwrap_or(0) + delay);
    }
}

/// A tree of six levels of routers, each five times the one before, with hosts on the last. Half of all choose
/// their parent by copying another's, so that a few have many children; before one in 16 are two routers in parallel. Routers with up to six children
/// have Linux limits, larger ones can name each child within two seconds, one in 25 keeps silent; so does one host in five.
fn internet(world: &mut World, hosts: u32, seed: u64) {
    let mut chance = Chance(seed);
    let sizes =
        [10_000, 2_500, 500, 100, 20, 4].map(|share| (hosts / (4 * (10_000 / share))).max(1));
    let mut next = 1;
    let mut fresh = || {
        next += 1;
        router(next - 1)
    };
    let mut children: BTreeMap<IpAddr, u32> = BTreeMap::new();
    let mut level = vec![Place::default()];
    level[0].add([fresh(); 2], 500);
    for (depth, size) in (0..).zip(sizes.into_iter().rev()) {
        let mut parents: Vec<usize> = Vec::new();
        for _ in 0..size {
            let parent = match parents.len() as u64 {
                known if known > 0 && chance.below(2) == 0 => parents[chance.below(known) as usize],
                _ => chance.below(level.len() as u64) as usize,
            };
            parents.push(parent);
        }
        level = parents
            .into_iter()
            .map(|parent| {
                let mut place = level[parent].clone();
                let far = 24_000 >> depth;
                let mut add = |place: &mut Place, routers: [IpAddr; 2], chance: &mut Chance| {
                    for above in place.routers.last().copied().unwrap_or([router(0); 2]) {
                        *children.entry(above).or_default() += 1;
                    }
                    place.add(routers, 300 + chance.below(far));
                };
                if chance.below(16) == 0 {
                    add(&mut place, [fresh(), fresh()], &mut chance);
                }
                for _ in 0..=chance.below(2) * u64::from(depth < 3) {
                    add(&mut place, [fresh(); 2], &mut chance);
                }
                place
            })
            .collect();
    }
    for number in 0..hosts {
        let place = &level[chance.below(level.len() as u64) as usize];
        let mut delays_us = place.delays.clone();
        delays_us.push(delays_us.last().unwrap() + 500 + chance.below(4_000));
        let end = if chance.below(5) == 0 {
            End::Silent
        } else {
            End::Answers
        };
        let arm = chance.below(2) as usize;
        let routers: Vec<_> = place.routers.iter().map(|pair| pair[arm]).collect();
        *children.entry(*routers.last().unwrap()).or_default() += 1;
        world.ways.insert(
            host(number),
            Way {
                routers,
                delays_us,
                end,
            },
        );
    }
    for number in 1..next {
        let manner = match children.get(&router(number)) {
            _ if number > 3 && chance.below(25) == 0 => Manner::Never,
            Some(count) if *count > 6 => Manner::Rated {
                burst: 10.0,
                per_second: f64::from(*count) / 2.0,
            },
            _ => Manner::Limited,
        };
        world.manner(router(number), manner);
    }
}

/// What was found of what there was to find.
#[derive(Debug)]
struct Score {
    /// Edges between answering neighbours on the ways of the flows.
    observable: usize,
    /// Of these, when each was found.
    found: Vec<MonotonicTime>,
    /// Edges in the results that are on no way.
    invented: usize,
    probes_per_target: f64,
}

fn score(world: &World) -> Score {
    let speaks = |address: &IpAddr| {
        world
            .routers
            .get(address)
            .is_none_or(|router| router.manner != Manner::Never)
    };
    let ways = world.ways.iter().map(|(target, way)| {
        let routers = way
            .routers
            .iter()
            .map(|router| Some(*router).filter(speaks));
        let end = (way.end == End::Answers).then_some(Some(*target));
        routers.chain(end).collect()
    });
    let observable = edges(ways);
    let mut order: Vec<_> = world.done.values().collect();
    order.sort_by_key(|(_, at)| *at);
    let mut seen = BTreeMap::new();
    for (path, at) in order {
        for edge in edges([path.hops.iter().map(address).collect()].into_iter()) {
            seen.entry(edge).or_insert(*at);
        }
    }
    let (found, invented): (Vec<_>, Vec<_>) = seen
        .into_iter()
        .partition(|(edge, _)| observable.contains(edge));
    let mut found: Vec<_> = found.into_iter().map(|(_, at)| at).collect();
    found.sort_unstable();
    Score {
        observable: observable.len(),
        found,
        invented: invented.len(),
        probes_per_target: world.engine.counters().sent as f64 / world.ways.len() as f64,
    }
}

fn crowd(hosts: u32, rate: u32, seed: u64) -> World {
    let plenty = Budget {
        probes: 1 << 30,
        per: Duration::from_mins(1),
    };
    let config = ProberConfig {
        packets_per_second: rate,
        max_targets: 100_000,
        covering_budget: plenty,
        global_budget: plenty,
        ..config()
    };
    let mut world = World::new(config, Manner::Limited);
    internet(&mut world, hosts, seed);
    for number in 0..hosts {
        world.begin(host(number)).unwrap();
    }
    world
}

#[test]
fn thousands_of_targets_cost_four_probes_each_and_nearly_all_edges_are_found() {
    for seed in 1..=3 {
        let mut world = crowd(3_000, 5_000, seed);
        world.run();
        let score = score(&world);
        let share = score.found.len() as f64 / score.observable as f64;
        assert_eq!(score.invented, 0);
        assert!(share >= 0.985, "{share}");
        assert!(
            score.probes_per_target <= 4.2,
            "{}",
            score.probes_per_target
        );
        let nearly_all = score.found[score.observable * 95 / 100];
        assert!(nearly_all.0 <= Duration::from_secs(7), "{nearly_all:?}");
    }
}

#[test]
fn those_that_wait_cost_nothing_but_their_place() {
    let mut world = crowd(20_000, 1_000, 1);
    let mut most = 0;
    for _ in 0..200_000 {
        let Some(Action::Send(probe)) = world.engine.poll(world.now) else {
            break;
        };
        most = most.max(world.engine.targets.len());
        world.send(&probe);
    }
    assert!(most <= 16, "{most} at once");
    assert!(world.engine.waiting.len() >= 19_000);
}

#[test]
fn newcomers_are_left_out_by_chance_before_the_queue_is_full() {
    let offer = |key: [u8; 16]| {
        let mut world = World::with_key(
            ProberConfig {
                max_targets: 200,
                ..config()
            },
            Manner::Always,
            key,
        );
        let verdicts: Vec<_> = (0..400).map(|number| world.begin(host(number))).collect();
        let is_left_out =
            |verdict: &Result<(), TraceError>| matches!(verdict, Err(TraceError::LeftOut(_)));
        let left_out: Vec<usize> = (0..400).filter(|at| is_left_out(&verdicts[*at])).collect();
        (left_out, world.engine.waiting.len())
    };
    let (left_out, waiting) = offer([7; 16]);
    assert!(
        left_out[0] > 100,
        "half of the places are for whoever comes first"
    );
    assert!((180..230).contains(&left_out.len()), "{}", left_out.len());
    assert!(waiting <= 200, "{waiting}");
    assert_eq!(offer([7; 16]).0, left_out, "the same key draws the same");
    assert_ne!(offer([8; 16]).0, left_out);
}

#[test]
fn a_backlog_of_refreshes_neither_refuses_new_targets_nor_keeps_its_places() {
    use TracePriority::{New, Refresh, Unstable};
    let most = 200;
    let mut world = World::new(
        ProberConfig {
            max_targets: most,
            ..config()
        },
        Manner::Always,
    );
    let mut number = 0;
    let mut next = || {
        number += 1;
        host(number)
    };
    while world.engine.has_room() {
        let _left_out_by_chance = world.begin_as(next(), Refresh);
    }
    let gave_way: Vec<_> = (0..90)
        .map(|_| world.begin_as(next(), New).unwrap().unwrap())
        .collect();
    assert!(!world.engine.has_room(), "one goes for each that comes");
    assert!(
        gave_way
            .iter()
            .all(|target| !world.engine.is_tracing(*target))
    );
    assert!(
        gave_way.is_sorted_by(|one, two| one > two),
        "the last first"
    );
    assert!(world.begin_as(next(), Unstable).is_ok());
    // But those of one priority are left out by chance before they have taken all places, and nobody gives way to an equal.
    let of_new: Vec<_> = (0..200).map(|_| world.begin_as(next(), New)).collect();
    let left_out = of_new
        .iter()
        .filter(|verdict| matches!(verdict, Err(TraceError::LeftOut(_))));
    assert!(left_out.count() > 20);
    assert!(matches!(
        world.begin_as(next(), Refresh),
        Err(TraceError::OverBudget { .. })
    ));
    assert_eq!(world.engine.waiting.len(), most);
}
