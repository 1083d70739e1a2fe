//! `exec-edge place`: what if there were edges here? Answers for a topology that was traced before, without touching a network.

mod offers;
mod tell;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use edge_placement::{
    Algorithm, Effort, Limits, Network, Problem, Service, Solution, evaluate, solve,
};
use edge_topology::AggregateTree;
use edge_trace_files::Format;
use edge_types::Generation;

use self::offers::{Located, Offer, Unplaced};
use crate::topology::{self, Group};
use edge_console::exit::{EXIT_CODES, Exit, Failure};

/// Most sites that are not chosen of which it is told what they would add; the others are counted.
const MOST_RUNNERS_UP: usize = 200;

/// Options of `exec-edge place`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// A file of paths, as `exec-edge trace` saves them or `exec-edge paths` knows them; may be repeated. All targets that
    /// answered are clients that ask once per second, except those that are sites of offers.
    #[arg(long, required = true, value_name = "FILE")]
    topology: Vec<PathBuf>,
    /// What the files are, if their first bytes do not show it; as for `exec-edge paths`.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// A TOML file of offers: `[[offer]]` with `site`, a name; `at`, an address or a prefix; `price` and optionally `capacity_rps`.
    #[arg(long, value_name = "FILE", required_unless_present = "everywhere")]
    offers: Option<PathBuf>,
    /// Every group of routers offers a site at this price.
    #[arg(long, value_name = "PRICE", conflicts_with = "offers")]
    everywhere: Option<u128>,
    /// Most sites.
    #[arg(long, value_name = "N", required_unless_present = "budget")]
    k: Option<usize>,
    /// Most that their prices may sum up to, in the unit of the prices.
    #[arg(long, value_name = "B")]
    budget: Option<u128>,
    /// How sites are chosen: auto, exact, celf, through, betweenness, freeman, most-clients, random or random:SEED.
    #[arg(long, default_value = "auto", value_name = "NAME")]
    algorithm: Algorithm,
    /// Clients are served only by sites on their way from the vantage point, instead of by any.
    #[arg(long)]
    on_path: bool,
    /// Routers of one prefix of this length (16: /16 and /32 of IPv6, 24: /24 and /48) are one node; `address`: none are.
    #[arg(long, value_name = "16|24|address", default_value = "24")]
    group: Group,
    /// Targets of one prefix of this length are one client; `address`: each is one.
    #[arg(long, value_name = "16|24|address", default_value = "24")]
    clients: Group,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Draw the tree with the sites to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The answer.
struct Answer<'a> {
    tree: &'a AggregateTree,
    problem: Problem,
    /// By position of the problem's sites.
    located: Vec<Located>,
    unplaced: Vec<Unplaced>,
    solution: Solution,
    /// Targets that did not answer, whose distance is unknown: they are no clients.
    unanswered: usize,
    /// By position of the problem's sites, mean round trip in milliseconds with it added, or taken away where it is chosen; `None`
    /// where it was not calculated.
    other_ms: Vec<Option<f64>>,
}

/// Runs it; exit code 1 if no site is worth it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let offers = match &args.offers {
        Some(file) => offers::read(file)?,
        None => Vec::new(),
    };
    let records = topology::records(&args.topology, args.format)?;
    let sites: BTreeSet<_> = offers.iter().filter_map(Offer::address).collect();
    let (to_sites, to_clients): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| sites.contains(&record.path.target));
    let observations = topology::observe(to_clients)?.observations;
    let (demand, unanswered) = topology::demand_of_answers(&observations, args.clients.into());
    let tree = observations.tree(
        Generation(1),
        edge_types::PrefixGrouping::from(args.group),
        &demand,
    );
    if demand.is_empty() {
        return Err(Failure::usage(anyhow!(
            "there is no path to any client that answered in these files"
        ))
        .with_hint("trace some with `exec-edge trace --output json-lines`"));
    }
    let (located, unplaced) = match args.everywhere {
        Some(price) => (offers::everywhere(&tree, price), Vec::new()),
        None => offers::locate(offers, &tree, args.group.into(), &to_sites),
    };
    let answer = Answer {
        unanswered,
        ..Answer::of(args, &tree, located, unplaced)?
    };
    if let Some(file) = &args.svg {
        std::fs::write(file, answer.picture())
            .with_context(|| format!("writing {}", file.display()))?;
    }
    answer.tell(args.json);
    Ok(if answer.solution.chosen.is_empty() {
        Exit::Negative.into()
    } else {
        ExitCode::SUCCESS
    })
}

impl<'a> Answer<'a> {
    fn of(
        args: &Args,
        tree: &'a AggregateTree,
        located: Vec<Located>,
        unplaced: Vec<Unplaced>,
    ) -> Result<Self, Failure> {
        let demand = tree
            .nodes()
            .iter()
            .map(|node| node.client.map_or(0, |client| client.demand));
        let limits = Limits {
            sites: args.k.unwrap_or(usize::MAX),
            budget: args.budget.unwrap_or(u128::MAX),
        };
        let service = if args.on_path {
            Service::OnPath
        } else {
            Service::AnyNearest
        };
        let problem = Problem::new(Network::Tree(tree.into()), demand.collect())
            .and_then(|problem| {
                problem.with_sites(located.iter().map(|located| located.site).collect())
            })
            .map_err(Failure::usage)?
            .with_service(service)
            .with_limits(limits);
        let mut solution =
            solve(&problem, args.algorithm, Effort::default()).map_err(Failure::usage)?;
        if solution.bound.is_none() {
            // The best there is tells how far off this one is.
            let best = solve(&problem, Algorithm::Auto, Effort::default());
            solution.bound = best.map_err(Failure::usage)?.bound;
        }
        let other_ms = others(&problem, &solution);
        Ok(Self {
            tree,
            problem,
            located,
            unplaced,
            solution,
            unanswered: 0,
            other_ms,
        })
    }
}

/// Mean round trips with one site more, or one of the chosen less.
fn others(problem: &Problem, solution: &Solution) -> Vec<Option<f64>> {
    let chosen: BTreeSet<usize> = solution.chosen.iter().copied().collect();
    let mut told = 0;
    (0..problem.sites().len())
        .map(|site| {
            let mut sites = chosen.clone();
            if !sites.remove(&site) {
                told += 1;
                if told > MOST_RUNNERS_UP {
                    return None;
                }
                sites.insert(site);
            }
            let sites: Vec<usize> = sites.into_iter().collect();
            Some(evaluate(problem, &sites).mean_micros() / 1e3)
        })
        .collect()
}
