//! The tree of shortest paths to drawn cities.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::map::WorldMap;
use crate::random::Random;

/// A router-to-be.
#[derive(Clone, Debug)]
pub(super) struct TreeNode {
    /// The place's name as a DNS label, unique.
    pub(super) id: String,
    /// Position in [`RouterTree::nodes`], always before this one; none at the root.
    pub(super) parent: Option<usize>,
    /// Distance from the root along the tree.
    pub(super) km: f64,
    /// Was this city drawn, rather than needed on the way to others?
    pub(super) drawn: bool,
}

pub(super) struct RouterTree {
    pub(super) nodes: Vec<TreeNode>,
    /// The nodes with many children.
    pub(super) exchanges: Vec<usize>,
    destinations_below: Vec<usize>,
}

impl RouterTree {
    /// Drawn cities at `node` and below it.
    pub(super) fn destinations_below(&self, node: usize) -> usize {
        self.destinations_below[node]
    }

    /// Length of the link from the parent.
    pub(super) fn link_km(&self, node: usize) -> f64 {
        let node = &self.nodes[node];
        node.parent
            .map_or(0.0, |parent| node.km - self.nodes[parent].km)
    }
}

/// Parents and distances by place; only what is kept.
#[derive(Clone, Default)]
struct Sketch {
    parent: BTreeMap<u32, u32>,
    drawn: BTreeSet<u32>,
}

/// Draws cities until the tree has `size` nodes, of which some have at least as many children as `exchanges` says.
pub(super) fn draw(
    map: &WorldMap,
    start_city: &str,
    size: usize,
    exchanges: &[usize],
    random: &mut Random,
) -> Option<RouterTree> {
    let root = *map
        .places
        .iter()
        .find(|(_, place)| place.name.as_deref() == Some(start_city))?
        .0;
    let (km, parents) = shortest_paths(map, root);
    let mut cities: Vec<u32> = map
        .places
        .iter()
        .filter(|(id, place)| place.is_city() && **id != root && km.contains_key(id))
        .map(|(id, _)| *id)
        .collect();
    random.shuffle(&mut cities);

    let mut drawn = BTreeSet::new();
    let mut best = None;
    for city in cities {
        drawn.insert(city);
        if 2 * drawn.len() + exchanges.len() < size {
            continue; // a tree has fewer branching points than leaves
        }
        let (sketch, places) = sketch(root, &drawn, &parents, &km, exchanges);
        match (sketch.parent.len() + 1).cmp(&size) {
            Ordering::Less => {}
            Ordering::Equal => {
                best = Some((sketch, places));
                break;
            }
            Ordering::Greater => {
                drawn.remove(&city);
            }
        }
    }
    let (sketch, exchanges) = best?;
    Some(number(map, root, &sketch, &km, &exchanges))
}

/// The paths to all `drawn` places without places that only pass on, and with each exchange's neighbourhood directly
/// attached to it; and the exchanges.
fn sketch(
    root: u32,
    drawn: &BTreeSet<u32>,
    parents: &BTreeMap<u32, u32>,
    km: &BTreeMap<u32, f64>,
    exchanges: &[usize],
) -> (Sketch, Vec<u32>) {
    let mut sketch = Sketch {
        parent: BTreeMap::new(),
        drawn: drawn.clone(),
    };
    for city in drawn {
        let mut place = *city;
        while let Some(parent) = parents.get(&place) {
            if sketch.parent.insert(place, *parent).is_some() {
                break;
            }
            place = *parent;
        }
    }
    contract(&mut sketch, root);
    let mut free = drawn.clone();
    let mut places = Vec::new();
    for children in exchanges {
        places.extend(attach_exchange(&mut sketch, root, km, *children, &mut free));
        contract(&mut sketch, root);
    }
    (sketch, places)
}

/// Removes places that were not drawn and have fewer than two children.
fn contract(sketch: &mut Sketch, root: u32) {
    loop {
        let mut children: BTreeMap<u32, usize> = BTreeMap::new();
        for parent in sketch.parent.values() {
            *children.entry(*parent).or_default() += 1;
        }
        let passes_on = |place: &u32| {
            *place != root
                && !sketch.drawn.contains(place)
                && children.get(place).copied().unwrap_or(0) < 2
        };
        let removed: BTreeSet<u32> = sketch.parent.keys().copied().filter(passes_on).collect();
        if removed.is_empty() {
            return;
        }
        let old = std::mem::take(&mut sketch.parent);
        for (place, parent) in old.iter().filter(|(place, _)| !removed.contains(place)) {
            let mut parent = *parent;
            while removed.contains(&parent) {
                parent = old[&parent];
            }
            sketch.parent.insert(*place, parent);
        }
    }
}

/// Picks the place whose `children` nearest free descendants are closest, and hangs these on it directly, as an
/// exchange point does; distances from the root stay.
fn attach_exchange(
    sketch: &mut Sketch,
    root: u32,
    km: &BTreeMap<u32, f64>,
    children: usize,
    free: &mut BTreeSet<u32>,
) -> Option<u32> {
    let mut nearest_first: Vec<u32> = free.iter().copied().collect();
    nearest_first.sort_by(|a, b| km[a].total_cmp(&km[b]).then(a.cmp(b)));
    let mut below: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for city in nearest_first {
        let mut place = city;
        while let Some(parent) = sketch.parent.get(&place) {
            below.entry(*parent).or_default().push(city);
            place = *parent;
        }
    }
    let mut best: Option<(f64, u32)> = None;
    for (place, cities) in &below {
        // The root would win easily, and put half of the world at one hop.
        let Some(furthest) = cities.get(children - 1).filter(|_| *place != root) else {
            continue;
        };
        let radius = km[furthest] - km[place];
        if best.is_none_or(|(least, _)| radius < least) {
            best = Some((radius, *place));
        }
    }
    let (_, exchange) = best?;
    for city in below[&exchange].iter().take(children) {
        sketch.parent.insert(*city, exchange);
        free.remove(city);
    }
    Some(exchange)
}

/// Numbers the places from the root outwards and gives them their ids.
fn number(
    map: &WorldMap,
    root: u32,
    sketch: &Sketch,
    km: &BTreeMap<u32, f64>,
    exchanges: &[u32],
) -> RouterTree {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (place, parent) in &sketch.parent {
        children.entry(*parent).or_default().push(*place);
    }
    let mut ids = BTreeSet::new();
    let mut unique_id = |place: u32| {
        let name = map.places[&place].name.as_deref().unwrap_or("junction");
        let label = label(name);
        let mut id = label.clone();
        let mut n = 1;
        while ids.contains(&id) {
            n += 1;
            id = format!("{label}{n}");
        }
        ids.insert(id.clone());
        id
    };
    let mut nodes = Vec::new();
    let mut position = BTreeMap::new();
    let mut open = std::collections::VecDeque::from([root]);
    while let Some(place) = open.pop_front() {
        position.insert(place, nodes.len());
        nodes.push(TreeNode {
            id: unique_id(place),
            parent: sketch.parent.get(&place).map(|parent| position[parent]),
            km: km[&place],
            drawn: sketch.drawn.contains(&place),
        });
        open.extend(children.get(&place).into_iter().flatten());
    }
    let mut destinations_below: Vec<usize> =
        nodes.iter().map(|node| usize::from(node.drawn)).collect();
    for i in (1..nodes.len()).rev() {
        if let Some(parent) = nodes[i].parent {
            destinations_below[parent] += destinations_below[i];
        }
    }
    RouterTree {
        nodes,
        exchanges: exchanges.iter().map(|place| position[place]).collect(),
        destinations_below,
    }
}

/// Dijkstra's algorithm; distance and previous place of each reachable place.
fn shortest_paths(map: &WorldMap, root: u32) -> (BTreeMap<u32, f64>, BTreeMap<u32, u32>) {
    #[derive(PartialEq)]
    struct Open(f64, u32);
    impl Eq for Open {}
    impl Ord for Open {
        fn cmp(&self, other: &Self) -> Ordering {
            other.0.total_cmp(&self.0).then(other.1.cmp(&self.1))
        }
    }
    impl PartialOrd for Open {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    let mut km = BTreeMap::from([(root, 0.0)]);
    let mut parents = BTreeMap::new();
    let mut open = BinaryHeap::from([Open(0.0, root)]);
    while let Some(Open(distance, place)) = open.pop() {
        if distance > km[&place] {
            continue;
        }
        for (next, length) in map.neighbours.get(&place).into_iter().flatten() {
            let total = distance + length;
            if km.get(next).is_none_or(|known| total < *known) {
                km.insert(*next, total);
                parents.insert(*next, place);
                open.push(Open(total, *next));
            }
        }
    }
    (km, parents)
}

/// A place's name as a DNS label: `Cox’s Bazar` becomes `coxs-bazar`.
fn label(name: &str) -> String {
    let mut label = String::new();
    for character in name.chars().flat_map(char::to_lowercase) {
        match character {
            'a'..='z' | '0'..='9' => label.push(character),
            'à'..='ä' | 'ā' | 'ă' | 'ą' => label.push('a'),
            'å' => label.push_str("aa"),
            'æ' => label.push_str("ae"),
            'ç' | 'ć' | 'č' => label.push('c'),
            'è'..='ë' | 'ē' | 'ę' | 'ě' => label.push('e'),
            'ì'..='ï' | 'ī' | 'ı' => label.push('i'),
            'ñ' | 'ń' | 'ň' => label.push('n'),
            'ò'..='ö' | 'ø' | 'ō' | 'ő' => label.push('o'),
            'ù'..='ü' | 'ū' | 'ů' | 'ű' => label.push('u'),
            'ß' | 'ś' | 'ş' | 'š' => label.push('s'),
            'ź' | 'ż' | 'ž' => label.push('z'),
            'ł' => label.push('l'),
            ' ' | '-' | '/' | '_' if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            _ => {}
        }
    }
    label.truncate(32);
    let label = label.trim_end_matches('-');
    if label.is_empty() {
        "place".to_owned()
    } else {
        label.to_owned()
    }
}
