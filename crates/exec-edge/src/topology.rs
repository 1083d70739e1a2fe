//! `exec-edge topology`: the tree that files of paths make, and how much two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::anyhow;
use edge_topology::{
    AggregateTree, ClientDemand, Demand, InsertError, Limits, NodeId, Observations, Parents,
    PathGraph, change,
};
use edge_trace_files::{Format, PathRecord};
use edge_types::{Generation, PrefixGrouping, UtcTime};
use serde::Serialize;

use edge_console::exit::{EXIT_CODES, Exit, Failure};
use edge_console::output;
use edge_console::path_files::load;

/// What every target asks for, in thousandths of a request per second: all weigh the same.
const EACH_TARGET: u64 = 1000;

/// Options of `exec-edge topology`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Files of paths, plain or compressed by gzip, put together; the latest path to each target counts.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Compare the trees of two files instead: the share of targets that came, went or are reached another way, from 0 to 1.
    #[arg(long)]
    compare: bool,
    /// Compare the ways to targets of both files only: not who is traced.
    #[arg(long, requires = "compare")]
    common: bool,
    /// What the files are, if their first bytes do not show it; as for `exec-edge paths`.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Routers of one prefix of this length (16: /16 and /32 of IPv6, 24: /24 and /48) are one node; `address`: none are.
    #[arg(long, value_name = "16|24|address", default_value = "address")]
    group: Group,
    /// Targets of one prefix of this length are one client, traced by the first of them that answers; `address`: each is one.
    #[arg(long, value_name = "16|24|address", default_value = "address")]
    clients: Group,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How addresses are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Group {
    #[serde(rename = "16")]
    Sixteen,
    #[serde(rename = "24")]
    TwentyFour,
    #[serde(rename = "address")]
    Address,
}

impl FromStr for Group {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "16" => Ok(Self::Sixteen),
            "24" => Ok(Self::TwentyFour),
            "address" => Ok(Self::Address),
            _ => Err(anyhow!("not one of 16, 24, address")),
        }
    }
}

impl From<Group> for PrefixGrouping {
    fn from(group: Group) -> Self {
        let (v4, v6) = match group {
            Group::Sixteen => (16, 32),
            Group::TwentyFour => return Self::SITE,
            Group::Address => (32, 128),
        };
        Self::new(v4, v6).unwrap_or(Self::SITE) // these lengths exist
    }
}

/// How large a topology is.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Size {
    group: Group,
    clients_by: Group,
    /// Paths that the tree is made of, one per target.
    targets: usize,
    /// Records of a target to which a later path is known.
    superseded: usize,
    /// All nodes: the vantage point, groups of routers, silent hops, clients.
    nodes: usize,
    groups: usize,
    silent: usize,
    clients: usize,
    /// Nodes of the tree without children. All clients are, and groups on whose ways on others are heavier.
    leaves: usize,
    /// Groups behind which no path shows another group.
    last_groups: usize,
    /// Steps between two nodes that any path takes.
    links: usize,
    /// Nodes that are reached from more than one other: where ways come together again.
    diamonds: usize,
    /// Most links between the vantage point and a node of the tree.
    depth: u32,
}

/// How much two topologies differ.
#[derive(Debug, PartialEq, Serialize)]
struct Difference<'a> {
    old: &'a Path,
    new: &'a Path,
    group: Group,
    clients_by: Group,
    clients_of_old: usize,
    clients_of_new: usize,
    /// Share of the demand that is concerned.
    change: f64,
}

/// The paths of one or more files.
pub(crate) struct Loaded {
    pub(crate) observations: Observations,
    superseded: usize,
}

/// Runs it; exit code 1 if there is no path in any file.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if args.compare {
        let [old, new] = args.files.as_slice() else {
            let error = anyhow!("--compare takes two files, not {}", args.files.len());
            return Err(Failure::usage(error));
        };
        let [before, after] = [old, new].map(|file| read(std::slice::from_ref(file), args.format));
        let [mut before, mut after] = [before?.observations, after?.observations];
        if args.common {
            keep_common(&mut before, &mut after);
        }
        let [before, after] = [before, after]
            .map(|observations| graph(&observations, args).tree(Generation(1), Parents::Heaviest));
        return Ok(compare(args, (old, &before), (new, &after)));
    }
    let loaded = read(&args.files, args.format)?;
    let graph = graph(&loaded.observations, args);
    let size = size(args, &loaded, &graph);
    if args.json {
        tell_json(&size);
    } else {
        size.tell();
    }
    Ok(answer(loaded.observations.targets() > 0))
}

/// Forgets the targets that only one has.
fn keep_common(one: &mut Observations, other: &mut Observations) {
    let [in_one, in_other] = [&*one, &*other].map(|observations| {
        let traced = observations.traced();
        traced.map(|(target, _)| target).collect::<BTreeSet<_>>()
    });
    for target in in_one.difference(&in_other) {
        one.remove(*target);
    }
    for target in in_other.difference(&in_one) {
        other.remove(*target);
    }
}

fn compare(
    args: &Args,
    (old, before): (&Path, &AggregateTree),
    (new, after): (&Path, &AggregateTree),
) -> ExitCode {
    let difference = Difference {
        old,
        new,
        group: args.group,
        clients_by: args.clients,
        clients_of_old: before.clients().count(),
        clients_of_new: after.clients().count(),
        change: change(before, after),
    };
    if args.json {
        tell_json(&difference);
    } else {
        output::line(&format!(
            "{} has {} clients, {} has {}: a change of {:.2} %",
            old.display(),
            difference.clients_of_old,
            new.display(),
            difference.clients_of_new,
            difference.change * 100.0
        ));
    }
    answer(difference.clients_of_old + difference.clients_of_new > 0)
}

fn answer(has_paths: bool) -> ExitCode {
    if has_paths {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    }
}

fn tell_json(value: &impl Serialize) {
    output::line(&serde_json::to_string(value).unwrap_or_default()); // plain values always serialize
}

/// Puts the paths of all files together; what could not be read goes to standard error.
fn read(files: &[impl AsRef<Path>], format: Option<Format>) -> Result<Loaded, Failure> {
    observe(records(files, format)?)
}

/// The paths of all files; what could not be read goes to standard error.
pub(crate) fn records(
    files: &[impl AsRef<Path>],
    format: Option<Format>,
) -> Result<Vec<PathRecord>, Failure> {
    let mut records: Vec<PathRecord> = Vec::new();
    for file in files {
        let file = file.as_ref();
        let import = load(file, format)?.import;
        let problems = import.log.lost + import.log.left_out;
        if problems > 0 {
            output::error(&format!(
                "{}: {problems} problems; `exec-edge paths` tells them",
                file.display()
            ));
        }
        records.extend(import.records);
    }
    Ok(records)
}

/// Puts paths together; the latest to each target counts.
pub(crate) fn observe(records: Vec<PathRecord>) -> Result<Loaded, Failure> {
    // Everything was read within the limits of files.
    let mut observations = Observations::new(Limits {
        max_targets: records.len(),
        max_hops: usize::from(u8::MAX),
        max_further: usize::MAX,
        ..Limits::default()
    });
    let begun = records.iter().filter_map(PathRecord::time).min();
    let begun = begun.unwrap_or(UtcTime(0));
    let count = records.len();
    for record in records {
        match observations.insert(&record.since(begun)) {
            Ok(()) | Err(InsertError::Older { .. }) => {}
            Err(error) => return Err(Failure::runtime(error)),
        }
    }
    Ok(Loaded {
        superseded: count - observations.targets(),
        observations,
    })
}

fn graph(observations: &Observations, args: &Args) -> PathGraph {
    observations.graph(
        PrefixGrouping::from(args.group),
        &demand(observations, args.clients.into()),
    )
}

/// The same of the targets that answered only, since the distance of others is unknown, and how many these others are.
pub(crate) fn demand_of_answers(
    observations: &Observations,
    clients: PrefixGrouping,
) -> (Demand, usize) {
    let (answered, silent): (Vec<_>, Vec<_>) =
        observations.traced().partition(|(_, answered)| *answered);
    (grouped(answered.into_iter(), clients), silent.len())
}

/// Equal demand for each target; the smallest address that answers stands for its prefix, else the smallest.
pub(crate) fn demand(observations: &Observations, clients: PrefixGrouping) -> Demand {
    grouped(observations.traced(), clients)
}

fn grouped(
    traced: impl Iterator<Item = (std::net::IpAddr, bool)>,
    clients: PrefixGrouping,
) -> Demand {
    let mut demand: BTreeMap<_, (bool, ClientDemand)> = BTreeMap::new();
    for (target, answered) in traced {
        let (known, client) = demand.entry(clients.group(target)).or_insert((
            answered,
            ClientDemand {
                target,
                milli_requests_per_second: 0,
            },
        ));
        client.milli_requests_per_second += EACH_TARGET;
        if answered && !*known {
            *known = true;
            client.target = target;
        }
    }
    demand
        .into_iter()
        .map(|(prefix, (_, client))| (prefix, client))
        .collect()
}

fn size(args: &Args, loaded: &Loaded, graph: &PathGraph) -> Size {
    let tree = graph.tree(Generation(1), Parents::Heaviest);
    let nodes = graph.nodes();
    let is_group = |id: &NodeId| matches!(id, NodeId::Group(_));
    let count = |is: fn(&NodeId) -> bool| nodes.iter().filter(|node| is(&node.id)).count();
    let mut has_child = vec![false; nodes.len()];
    for parent in tree.nodes().iter().filter_map(|node| node.parent) {
        has_child[parent.0] = true;
    }
    let mut leads_on = vec![false; nodes.len()];
    for (client, _, _) in tree.clients() {
        let mut last = None;
        for at in tree.path(client).filter(|at| is_group(&nodes[at.0].id)) {
            if let Some(before) = last.replace(at.0) {
                leads_on[before] = true;
            }
        }
    }
    Size {
        group: args.group,
        clients_by: args.clients,
        targets: loaded.observations.targets(),
        superseded: loaded.superseded,
        nodes: nodes.len(),
        groups: count(|id| matches!(id, NodeId::Group(_))),
        silent: count(|id| matches!(id, NodeId::Silent { .. })),
        clients: count(|id| matches!(id, NodeId::Client(_))),
        leaves: has_child.iter().filter(|has_child| !**has_child).count(),
        last_groups: nodes
            .iter()
            .zip(&leads_on)
            .filter(|(node, leads_on)| is_group(&node.id) && !**leads_on)
            .count(),
        links: nodes.iter().map(|node| node.links.len()).sum(),
        diamonds: nodes.iter().filter(|node| node.links.len() > 1).count(),
        depth: tree
            .nodes()
            .iter()
            .map(|node| node.depth)
            .max()
            .unwrap_or(0),
    }
}

impl Size {
    fn tell(&self) {
        output::line(&format!(
            "{} targets ({} older paths to them), {} clients\n\
             {} nodes: {} groups of routers, {} silent hops, the vantage point, the clients\n\
             {} leaves, {} groups behind which no other is, {} levels\n\
             {} links, {} nodes where ways come together again",
            self.targets,
            self.superseded,
            self.clients,
            self.nodes,
            self.groups,
            self.silent,
            self.leaves,
            self.last_groups,
            self.depth,
            self.links,
            self.diamonds,
        ));
    }
}
