//! Policies side by side on the same gains, over a grid of terms.

use edge_forecast::{
    Account, Accuracy, Direct, Ewma, Examination, Expecting, ForecastDriven, Forecaster,
    HoltWinters, Hysteresis, LastValue, Learner, Learning, Mix, Policy, Reactive, Scale,
    SeasonalNaive, Smoothing, Terms, TimeToLive, examine, least_cost,
};
use edge_placement::Tree;

use super::spread::{Scene, SceneError, site_gains};
use crate::parallel;

/// Minutes of a day and of a week.
const DAY: usize = 1440;
const WEEK: usize = 7 * DAY;

/// Within how much of reacting the forecast-driven policy stays, in percent.
const SLACK_PERCENT: u64 = 3;

/// It forgets what policies cost over 2^13 minutes, some six days.
const MEMORY_BITS: u32 = 13;

/// Steps for which a site is kept after the last that paid, as parts of a lease in percent: the best of them counts.
const TIMES_TO_LIVE: [usize; 4] = [10, 50, 100, 300];

/// Percent by which a change of mind has to be better: the best of them counts.
const HYSTERESES: [u64; 4] = [0, 5, 20, 50];

/// All terms that are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Seconds that a deployment takes.
    pub deploy_secs: Vec<u64>,
    /// Minutes of a lease.
    pub lease_minutes: Vec<usize>,
    /// Prices in percent of what the mean site gains over the whole time.
    pub price_percent: Vec<u64>,
    /// Seeds of the spread.
    pub seeds: Vec<u64>,
}

impl Default for Grid {
    fn default() -> Self {
        Self {
            deploy_secs: vec![5, 60, 300],
            lease_minutes: vec![10, 60, 360],
            price_percent: vec![50, 100, 200],
            seeds: vec![1, 2, 3],
        }
    }
}

/// One point of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Seconds that a deployment takes.
    pub deploy_secs: u64,
    /// Minutes of a lease.
    pub lease_minutes: usize,
    /// Price in percent of what the mean site gains.
    pub price_percent: u64,
    /// Seed of the spread.
    pub seed: u64,
}

/// What a policy came to in a cell, over all sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyResult {
    /// Its name.
    pub name: &'static str,
    /// Leases paid and gains forgone, in microseconds × requests.
    pub cost: u128,
    /// Leases paid alone.
    pub paid: u128,
    /// How often a service was started where it did not run.
    pub migrations: u64,
    /// Leases bought.
    pub leases: u64,
}

/// All policies in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// What the cloud alone forgoes.
    pub cloud_only: u128,
    /// Reactive, TTL and hysteresis at their best settings, clairvoyant, forecast-driven; in this order.
    pub policies: Vec<PolicyResult>,
    /// Share of decisions, in percent, in which the forecast-driven policy had to react for lack of slack.
    pub guarded_percent: u64,
    /// What following one forecaster alone would have cost, by name.
    pub alone: Vec<(&'static str, u128)>,
}

impl CellResult {
    /// What a policy cost; 0 if it did not take part.
    pub fn cost(&self, name: &str) -> u128 {
        let found = self.policies.iter().find(|policy| policy.name == name);
        found.map_or(0, |policy| policy.cost)
    }

    /// The part of the gap between reacting and the clairvoyant that the forecast-driven policy closes; `None` without a gap.
    pub fn closed(&self) -> Option<f64> {
        let [reactive, best, ours] =
            ["reactive", "clairvoyant", "forecast-driven"].map(|name| self.cost(name));
        let gap = reactive.checked_sub(best).filter(|gap| *gap > 0)?;
        Some((reactive as f64 - ours as f64) / gap as f64)
    }

    /// What the forecast-driven policy costs as a share of reacting.
    pub fn of_reactive(&self) -> f64 {
        self.cost("forecast-driven") as f64 / (self.cost("reactive") as f64).max(1.0)
    }
}

/// How good a forecaster is for windows of a lease.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastResult {
    /// Its name.
    pub name: &'static str,
    /// Minutes of the windows.
    pub window: usize,
    /// Its errors on the gains of each site.
    pub sites: Vec<Accuracy>,
}

/// Gains of all sites by seed.
#[derive(Clone, Debug)]
pub struct Contest {
    seeds: Vec<(u64, Vec<Vec<u64>>)>,
}

impl Contest {
    /// Spreads the requests of a trace, the first at `first_minute` of a day, over a tree by each seed.
    ///
    /// # Errors
    /// [`SceneError`], if the tree is out of the range of placement.
    pub fn new(
        tree: &Tree,
        clients: &[usize],
        sites: usize,
        requests: &[u64],
        first_minute: usize,
        seeds: &[u64],
        threads: usize,
    ) -> Result<Self, SceneError> {
        let spread = parallel::map(seeds.len(), threads, |position| {
            let seed = seeds[position];
            let scene = Scene::new(tree, clients, sites, seed)?;
            Ok::<_, SceneError>((seed, site_gains(&scene, requests, first_minute, seed)))
        });
        let seeds = spread.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { seeds })
    }

    /// Runs all cells of the grid whose seeds were spread. Equal on any number of threads.
    pub fn run(&self, grid: &Grid, threads: usize) -> Vec<CellResult> {
        let mut cells = Vec::new();
        for (seed, gains) in &self.seeds {
            if !grid.seeds.contains(seed) {
                continue;
            }
            for lease_minutes in &grid.lease_minutes {
                for deploy_secs in &grid.deploy_secs {
                    for price_percent in &grid.price_percent {
                        let cell = Cell {
                            deploy_secs: *deploy_secs,
                            lease_minutes: *lease_minutes,
                            price_percent: *price_percent,
                            seed: *seed,
                        };
                        cells.push((cell, gains));
                    }
                }
            }
        }
        parallel::map(cells.len(), threads, |position| {
            let (cell, gains) = cells[position];
            contest(cell, gains)
        })
    }

    /// Examines all forecasters on the gains of the first seed's sites, after the first two weeks.
    pub fn forecasts(&self, windows: &[usize], threads: usize) -> Vec<ForecastResult> {
        let Some((_, gains)) = self.seeds.first() else {
            return Vec::new();
        };
        let names: Vec<&str> = examined(1)
            .iter()
            .map(|forecaster| forecaster.name())
            .collect();
        let results = parallel::map(names.len() * windows.len(), threads, |item| {
            let window = windows[item % windows.len()];
            let examination = Examination {
                warm_up: 2 * WEEK,
                window,
                stride: 97,
                season: DAY,
            };
            let sites = gains.iter().map(|gains| {
                let mut forecasters = examined(window);
                examine(&mut *forecasters[item / windows.len()], gains, examination)
            });
            (window, sites.collect())
        });
        let named = results.into_iter().enumerate();
        named
            .map(|(item, (window, sites))| ForecastResult {
                name: names[item / windows.len()],
                window,
                sites,
            })
            .collect()
    }
}

/// The terms of a cell where the mean site gains `mean` in a minute.
fn terms(cell: Cell, mean: u128) -> Terms {
    let price = mean * cell.lease_minutes as u128 * u128::from(cell.price_percent) / 100;
    Terms {
        lease_steps: cell.lease_minutes,
        price: u64::try_from(price).unwrap_or(u64::MAX),
        deploy_millisteps: cell.deploy_secs * 1000 / 60,
    }
}

fn contest(cell: Cell, gains: &[Vec<u64>]) -> CellResult {
    let all: u128 = gains.iter().flatten().map(|gain| u128::from(*gain)).sum();
    let minutes: usize = gains.iter().map(Vec::len).sum();
    let terms = terms(cell, all / minutes.max(1) as u128);
    let over_sites = |name, account: &mut dyn FnMut(&[u64]) -> Account| {
        let mut result = PolicyResult {
            name,
            cost: 0,
            paid: 0,
            migrations: 0,
            leases: 0,
        };
        for gains in gains {
            let account = account(gains);
            result.cost += account.cost();
            result.paid += account.paid();
            result.migrations += account.deployments();
            result.leases += account.leases();
        }
        result
    };
    let best = |results: Vec<PolicyResult>| results.into_iter().min_by_key(|result| result.cost);
    let reactive = over_sites("reactive", &mut |gains| {
        follow(&mut Reactive::new(terms), terms, gains)
    });
    let times_to_live = TIMES_TO_LIVE.map(|percent| {
        let steps = (terms.lease_steps * percent / 100).max(1);
        over_sites("TTL", &mut |gains| {
            follow(&mut TimeToLive::new(terms, steps), terms, gains)
        })
    });
    let hystereses = HYSTERESES.map(|percent| {
        over_sites("hysteresis", &mut |gains| {
            follow(&mut Hysteresis::new(terms, percent), terms, gains)
        })
    });
    let clairvoyant = over_sites("clairvoyant", &mut |gains| least_cost(terms, gains));
    let (mut guarded, mut alone) = (0, Vec::new());
    let driven = over_sites("forecast-driven", &mut |gains| {
        let mut policy = forecast_driven(terms);
        let account = follow(&mut policy, terms, gains);
        guarded += policy.guarded();
        for (position, (name, cost)) in policy.standings().enumerate() {
            if position == alone.len() {
                alone.push((name, 0));
            }
            alone[position].1 += cost;
        }
        account
    });
    let policies = [
        Some(reactive),
        best(times_to_live.into()),
        best(hystereses.into()),
    ];
    CellResult {
        cell,
        cloud_only: all,
        policies: policies
            .into_iter()
            .flatten()
            .chain([clairvoyant, driven])
            .collect(),
        guarded_percent: guarded * 100 / (minutes as u64).max(1),
        alone,
    }
}

/// What became of a site under a policy.
pub(super) fn follow(policy: &mut dyn Policy, terms: Terms, gains: &[u64]) -> Account {
    let mut account = Account::new(terms);
    for gain in gains {
        if account.is_open() {
            account.decide(policy.wants(account.is_running()));
        }
        account.step(*gain);
        policy.observe(*gain);
    }
    account
}

/// The policy that is measured: leases by what a forecast of just their length expects them to bring; should that do far worse than a plain
/// mean or changes of mind in hindsight, these are followed.
pub(super) fn forecast_driven(terms: Terms) -> ForecastDriven {
    let forecasters: [Box<dyn Forecaster>; 2] = [
        Box::new(Direct::new(terms.lease_steps, DAY)),
        Box::new(Ewma::new(0.1)),
    ];
    let expecting = forecasters.map(|forecaster| {
        let expecting = Expecting::new(terms, forecaster);
        Box::new(expecting) as Box<dyn Policy>
    });
    let hystereses = [0, 5, 20].map(|percent| {
        let hysteresis = Hysteresis::new(terms, percent);
        Box::new(hysteresis) as Box<dyn Policy>
    });
    let policies = expecting.into_iter().chain(hystereses).collect();
    ForecastDriven::new(terms, policies, SLACK_PERCENT, MEMORY_BITS)
}

fn learner() -> Learner {
    Learner::new(Learning {
        lags: 4,
        season: DAY,
        harmonics: 3,
        memory: 0.9998,
    })
}

/// Forecasters of minutes, for windows of so many.
fn forecasters(window: usize) -> Vec<Box<dyn Forecaster>> {
    let seasonal = |level, season| Smoothing {
        level,
        trend: 0.0,
        damping: 1.0,
        season,
    };
    vec![
        Box::new(Ewma::new(0.3)),
        Box::new(HoltWinters::new(
            DAY,
            seasonal(0.1, 0.5),
            Scale::Logarithmic,
        )),
        Box::new(learner()),
        Box::new(Direct::new(window, DAY)),
    ]
}

/// All forecasters that are examined: those that others have to beat, the others, and their mix.
fn examined(window: usize) -> Vec<Box<dyn Forecaster>> {
    let mut all: Vec<Box<dyn Forecaster>> = vec![
        Box::new(SeasonalNaive::new(DAY)),
        Box::new(LastValue::default()),
    ];
    all.extend(forecasters(window));
    all.push(Box::new(Mix::new(forecasters(window))));
    all
}
