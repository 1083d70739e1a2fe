//! What is placed on: the shipped network, real paths, a real router map, and trees by a fixed rule.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use edge_placement::{Graph, Network, Tree};
use edge_topology::{AggregateTree, ClientDemand, Limits, Observations};
use edge_types::{Generation, IpNet, PrefixGrouping};

/// A network, and which nodes have clients.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) network: Network,
    pub(crate) clients: Vec<usize>,
    /// Targets that were left out because they never answered.
    pub(crate) left_out: usize,
}

/// Round trip of a link between two cities of the router map, in microseconds, of which it does not tell distances.
const BETWEEN_CITIES: u64 = 5_000;

/// Round trip of a link within a city.
const WITHIN_CITY: u64 = 200;

/// A drawn number for each position, the same ever after.
pub(crate) fn drawn(position: u64) -> u64 {
    let mut z = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A tree whose nodes hang on any earlier one, with links of 0.1 to 10 ms, and its leaves.
pub(crate) fn random_tree(nodes: usize) -> (Tree, Vec<usize>) {
    let links: Vec<(usize, u64)> = (1..nodes as u64)
        .map(|node| {
            let parent = usize::try_from(drawn(node) % node).unwrap_or(0);
            (parent, 100 + drawn(node ^ 0xffff_0000) % 9_900)
        })
        .collect();
    let tree = Tree::new(&links).expect("parents come first");
    let mut is_inner = vec![false; nodes];
    for (parent, _) in links {
        is_inner[parent] = true;
    }
    let leaves = (1..nodes).filter(|node| !is_inner[*node]).collect();
    (tree, leaves)
}

/// The network that the project ships, by its own truth: shortest ways from the cloud.
pub(crate) fn shipped() -> Input {
    let text = include_str!("../../../../scenarios/paper-240.toml");
    let scenario: toml::Table = text.parse().expect("the shipped scenario is TOML");
    let list = |name: &str| scenario[name].as_array().expect("a list").clone();
    let text_of = |entry: &toml::Value, key: &str| entry[key].as_str().expect("a text").to_owned();
    let mut number = BTreeMap::from([("gateway".to_owned(), 0)]);
    for router in list("routers") {
        let next = number.len();
        number.entry(text_of(&router, "id")).or_insert(next);
    }
    let links: Vec<(usize, usize, u64)> = list("links")
        .iter()
        .map(|link| {
            let ends = ["a", "b"].map(|end| number[&text_of(link, end)]);
            (ends[0], ends[1], round_trip(&link["delay_ms"]))
        })
        .collect();
    let graph = Network::Graph(Graph::new(number.len(), &links).expect("a graph"));
    let tree = shortest_ways(&graph);
    let clients = list("clients");
    let at = clients
        .iter()
        .map(|client| number[&text_of(client, "router")]);
    let mut clients: Vec<usize> = at.map(|router| tree.1[router]).collect();
    clients.sort_unstable();
    clients.dedup();
    Input {
        name: "shipped",
        network: Network::Tree(tree.0),
        clients,
        left_out: 0,
    }
}

/// The tree of shortest ways, and where each node went.
fn shortest_ways(graph: &Network) -> (Tree, Vec<usize>) {
    let mut number = vec![0; graph.len()];
    let mut links = Vec::new();
    for node in graph.order() {
        let node = node as usize;
        if let Some(parent) = graph.parent(node) {
            links.push((
                number[parent],
                graph.round_trips()[node] - graph.round_trips()[parent],
            ));
            number[node] = links.len();
        }
    }
    (Tree::new(&links).expect("settled in order"), number)
}

/// Twice a delay in ms, in microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "delays of a network that the project ships"
)]
fn round_trip(delay_ms: &toml::Value) -> u64 {
    let ms = delay_ms
        .as_float()
        .or_else(|| delay_ms.as_integer().map(|ms| ms as f64));
    (ms.expect("a number") * 2000.0).round() as u64
}

fn inflated(file: &Path) -> Vec<u8> {
    let packed = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    bytes
}

/// Real paths to targets in the United States, routers and clients by /16; targets that never answered are left out.
pub(crate) fn real_paths(data: &Path) -> Input {
    let bytes = inflated(&data.join("traceroutes-duluth-2023.jsonl.gz"));
    let text = String::from_utf8(bytes).expect("text");
    let domestic: String = text
        .lines()
        .filter(|line| line.contains("\"cc\": \"US\""))
        .flat_map(|line| [line, "\n"])
        .collect();
    let import = edge_trace_files::read(
        domestic.as_bytes(),
        None,
        &edge_trace_files::Limits::default(),
    );
    let mut observations = Observations::new(Limits {
        max_hops: usize::from(u8::MAX),
        ..Limits::default()
    });
    for record in import.expect("lines like RIPE Atlas's").records {
        let _older = observations.insert(&record.path);
    }
    let mut left_out = 0;
    let mut demand: BTreeMap<IpNet, ClientDemand> = BTreeMap::new();
    for (target, answered) in observations.traced() {
        if !answered {
            left_out += 1;
            continue;
        }
        let prefix = IpNet::new(target, 16).expect("a length of IPv4").trunc();
        demand.entry(prefix).or_insert(ClientDemand {
            target,
            milli_requests_per_second: 1000,
        });
    }
    let by_16 = PrefixGrouping::new(16, 32).expect("lengths");
    let tree: AggregateTree = observations.tree(Generation(1), by_16, &demand);
    Input {
        name: "real paths",
        clients: tree.clients().map(|(index, _, _)| index.0).collect(),
        network: Network::Tree(Tree::from(&tree)),
        left_out,
    }
}

/// Real routers of the US East Coast, the largest part that is connected; clients at routers with one link, the cloud at the one
/// with most.
pub(crate) fn router_map(data: &Path) -> Input {
    let nodes = inflated(&data.join("rocketfuel-nodes.csv.gz"));
    let nodes = String::from_utf8(nodes).expect("text");
    let mut cities: BTreeMap<(String, String), String> = BTreeMap::new();
    for line in nodes.lines().skip(1) {
        let fields = fields(line);
        if fields[4] == "1" {
            cities.insert((fields[0].clone(), fields[1].clone()), fields[2].clone());
        }
    }
    let links = inflated(&data.join("rocketfuel-links.csv.gz"));
    let links = String::from_utf8(links).expect("text");
    let mut neighbours: BTreeMap<&(String, String), Vec<&(String, String)>> = BTreeMap::new();
    for line in links.lines().skip(1) {
        let fields = fields(line);
        let ends = [1, 2].map(|end| (fields[0].clone(), fields[end].clone()));
        let known = ends.each_ref().map(|end| cities.get_key_value(end));
        if let [Some((a, _)), Some((b, _))] = known
            && a != b
        {
            neighbours.entry(a).or_default().push(b);
            neighbours.entry(b).or_default().push(a);
        }
    }
    for ends in neighbours.values_mut() {
        ends.sort_unstable();
        ends.dedup();
    }
    let mut parts: Vec<Vec<&(String, String)>> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for start in neighbours.keys() {
        if !seen.insert(*start) {
            continue;
        }
        let mut part = vec![*start];
        let mut next = 0;
        while let Some(node) = part.get(next).copied() {
            next += 1;
            for end in &neighbours[node] {
                if seen.insert(*end) {
                    part.push(end);
                }
            }
        }
        parts.push(part);
    }
    let mut part = parts
        .into_iter()
        .max_by_key(Vec::len)
        .expect("there are routers");
    part.sort_by_key(|node| (std::cmp::Reverse(neighbours[*node].len()), *node));
    let number: BTreeMap<_, _> = part
        .iter()
        .enumerate()
        .map(|(at, node)| (*node, at))
        .collect();
    let mut links = Vec::new();
    for (at, node) in part.iter().enumerate() {
        for end in &neighbours[*node] {
            let is_far = cities[*node] != cities[*end];
            let micros = if is_far { BETWEEN_CITIES } else { WITHIN_CITY };
            if at < number[end] {
                links.push((at, number[end], micros));
            }
        }
    }
    Input {
        name: "router map",
        network: Network::Graph(Graph::new(part.len(), &links).expect("a graph")),
        clients: (1..part.len())
            .filter(|at| neighbours[part[*at]].len() == 1)
            .collect(),
        left_out: 0,
    }
}

/// Fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut is_quoted) = (vec![String::new()], false);
    for sign in line.chars() {
        match sign {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            sign => fields.last_mut().expect("never empty").push(sign),
        }
    }
    fields
}
