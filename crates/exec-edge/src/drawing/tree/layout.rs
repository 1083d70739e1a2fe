//! Which nodes and sites of the tree are drawn, and where.

use std::f64::consts::{FRAC_PI_2, TAU};

use edge_orchestrator::status::TreeReport;

use edge_console::svg::{Point, point};

/// Nodes drawn; of more, those with the least demand are left out.
const MOST_NODES: usize = 5_000;

/// Sites drawn.
const MOST_SITES: usize = 1_000;

/// Rented sites with a number and listed by name; there is no room for more.
pub(super) const MOST_LISTED: usize = 27;

pub(super) const CENTRE: Point = point(438.0, 528.0);

/// Radius of a round trip of 0 ms; leaves the nearest nodes room around the cloud.
pub(super) const INNER_RADIUS: f64 = 20.0;
const OUTER_RADIUS: f64 = 414.0;

/// Exponent of the radius over the round-trip time: below 1, so that the many near nodes get more room than the few far
/// ones. The rings show it.
const RADIUS_POWER: f64 = 0.7;

/// Part of the circle, straight up, that is kept free for the labels of the rings.
const LABEL_GAP: f64 = TAU / 26.0;

/// Room along the circle, in pixels, that leaves ask for.
const LEAF_ROOM: f64 = 7.0;
const FOUND_ROOM: f64 = 12.0;
const RENTED_ROOM: f64 = 30.0;

/// Half the diagonal of a rented site's diamond.
pub(super) const RENTED_SIZE: f64 = 11.0;

/// A node that is drawn.
pub(super) struct Drawn<'a> {
    pub(super) label: &'a str,
    pub(super) parent: usize,
    pub(super) rtt_ms: f64,
    pub(super) demand_rps: f64,
    pub(super) client: bool,
    pub(super) silent: bool,
    /// Does the way from the cloud to it pass a rented site?
    pub(super) covered: bool,
    pub(super) angle: f64,
}

/// A site that is drawn.
pub(super) struct DrawnSite<'a> {
    pub(super) host: &'a str,
    pub(super) node: usize,
    pub(super) rtt_ms: f64,
    pub(super) rented: bool,
    pub(super) angle: f64,
}

/// What is drawn where.
pub(super) struct Layout<'a> {
    pub(super) nodes: Vec<Drawn<'a>>,
    pub(super) sites: Vec<DrawnSite<'a>>,
    /// Nodes left out because there are too many, and because they have no place in a tree.
    pub(super) nodes_left_out: usize,
    pub(super) sites_left_out: usize,
    /// Nodes and sites farther away than the last ring.
    pub(super) beyond: usize,
    /// Round trip at the outer edge.
    pub(super) span_ms: f64,
    pub(super) largest_demand: f64,
}

impl<'a> Layout<'a> {
    pub(super) fn of(tree: &'a TreeReport) -> Self {
        let (nodes, place) = choose_nodes(tree);
        let mut sites: Vec<DrawnSite<'a>> = Vec::new();
        for rented in [true, false] {
            let of_kind = tree.sites.iter().filter(|site| site.rented == rented);
            let placed = of_kind.filter_map(|site| {
                Some(DrawnSite {
                    host: site
                        .site
                        .rsplit_once(':')
                        .map_or(site.site.as_str(), |(host, _)| host),
                    node: (*place.get(site.node)?)?,
                    rtt_ms: milliseconds(site.rtt_ms)?,
                    rented,
                    angle: 0.0,
                })
            });
            sites.extend(placed.take(MOST_SITES - sites.len()));
        }
        let mut layout = Self {
            nodes_left_out: tree.nodes.len() - nodes.len(),
            sites_left_out: tree.sites.len() - sites.len(),
            largest_demand: nodes.iter().map(|node| node.demand_rps).fold(0.0, f64::max),
            nodes,
            sites,
            beyond: 0,
            span_ms: 1.0,
        };
        layout.scale();
        layout.cover();
        layout.turn();
        layout.part_rented();
        layout
    }

    /// Chooses the scale. A few nodes that are very far away do not make the rest small.
    fn scale(&mut self) {
        let mut all: Vec<f64> = self.nodes.iter().map(|node| node.rtt_ms).collect();
        all.extend(self.sites.iter().map(|site| site.rtt_ms));
        all.sort_by(f64::total_cmp);
        let most = all.last().copied().unwrap_or(0.0);
        let usual = all.get(all.len() * 99 / 100).copied().unwrap_or(0.0);
        self.span_ms = most.min(usual * 1.5).max(1.0);
        self.beyond = all.iter().filter(|rtt| **rtt > self.span_ms).count();
    }

    pub(super) fn radius(&self, rtt_ms: f64) -> f64 {
        let share = (rtt_ms / self.span_ms).clamp(0.0, 1.0).powf(RADIUS_POWER);
        INNER_RADIUS + share * (OUTER_RADIUS - INNER_RADIUS)
    }

    /// Marks what lies behind rented sites.
    fn cover(&mut self) {
        for site in self.sites.iter().filter(|site| site.rented) {
            self.nodes[site.node].covered = true;
        }
        for index in 1..self.nodes.len() {
            self.nodes[index].covered |= self.nodes[self.nodes[index].parent].covered;
        }
    }

    /// Gives every node and site its angle: leaves side by side, each with the room that its mark needs at its radius,
    /// and every other node in the middle of what hangs on it.
    fn turn(&mut self) {
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            children[node.parent].push(index);
        }
        let mut sites = vec![Vec::new(); self.nodes.len()];
        for (index, site) in self.sites.iter().enumerate() {
            sites[site.node].push(index);
        }
        // Nothing near the cloud may take half of the circle.
        let room = |pixels: f64, rtt_ms: f64| pixels / self.radius(rtt_ms).max(70.0);
        let of_node = |index: usize| room(LEAF_ROOM, self.nodes[index].rtt_ms);
        let of_site = |index: usize| {
            let site = &self.sites[index];
            room(
                if site.rented { RENTED_ROOM } else { FOUND_ROOM },
                site.rtt_ms,
            )
        };

        // Depth first without recursion: a tree may be as deep as it has nodes.
        let mut leaves: Vec<(Mark, f64)> = Vec::new();
        let mut open: Vec<usize> = (0..self.nodes.len().min(1)).collect();
        while let Some(index) = open.pop() {
            let on_it = &sites[index];
            leaves.extend(on_it.iter().map(|site| (Mark::Site(*site), of_site(*site))));
            if children[index].is_empty() && on_it.is_empty() {
                leaves.push((Mark::Node(index), of_node(index)));
            }
            open.extend(children[index].iter().rev());
        }
        let total: f64 = leaves.iter().map(|(_, room)| room).sum();
        let per_room = (TAU - LABEL_GAP) / total.max(f64::MIN_POSITIVE);
        let mut at = LABEL_GAP / 2.0 - FRAC_PI_2;
        let mut ends: Vec<Option<(f64, f64)>> = vec![None; self.nodes.len()];
        for (mark, room) in leaves {
            let angle = at + room * per_room / 2.0;
            at += room * per_room;
            match mark {
                Mark::Node(index) => ends[index] = Some((angle, angle)),
                Mark::Site(index) => {
                    self.sites[index].angle = angle;
                    widen(&mut ends[self.sites[index].node], angle);
                }
            }
        }
        for index in (0..self.nodes.len()).rev() {
            let (first, last) = ends[index].unwrap_or_default();
            let angle = f64::midpoint(first, last);
            self.nodes[index].angle = angle;
            if index > 0 {
                widen(&mut ends[self.nodes[index].parent], angle);
            }
        }
    }

    /// Moves the marks of rented sites apart, along the circle only, as far as that is needed and a few rounds suffice.
    fn part_rented(&mut self) {
        let mut rented: Vec<usize> = (0..self.sites.len())
            .filter(|site| self.sites[*site].rented)
            .collect();
        rented.sort_by(|a, b| self.sites[*a].angle.total_cmp(&self.sites[*b].angle));
        if rented.len() > MOST_LISTED {
            return;
        }
        for _ in 0..60 {
            for (nth, first) in rented.iter().enumerate() {
                for second in &rented[nth + 1..] {
                    let (a, b) = (
                        self.site_at(&self.sites[*first]),
                        self.site_at(&self.sites[*second]),
                    );
                    // Diamonds touch where the sum of both distances is twice their half diagonal.
                    let missing = 2.0 * RENTED_SIZE + 2.0 - (a.x - b.x).abs() - (a.y - b.y).abs();
                    if missing > 0.0 {
                        let radius = self.radius(self.sites[*first].rtt_ms).max(INNER_RADIUS);
                        self.sites[*first].angle -= missing / 4.0 / radius;
                        self.sites[*second].angle += missing / 4.0 / radius;
                    }
                }
            }
        }
    }

    pub(super) fn node_at(&self, index: usize) -> Point {
        let node = &self.nodes[index];
        if index == 0 {
            CENTRE
        } else {
            polar(self.radius(node.rtt_ms), node.angle)
        }
    }

    pub(super) fn site_at(&self, site: &DrawnSite<'_>) -> Point {
        polar(self.radius(site.rtt_ms), site.angle)
    }

    /// Rented sites in the order of their numbers, clockwise.
    pub(super) fn numbered(&self) -> Vec<&DrawnSite<'a>> {
        let mut rented: Vec<_> = self.sites.iter().filter(|site| site.rented).collect();
        rented.sort_by(|a, b| a.angle.total_cmp(&b.angle));
        rented
    }
}

/// Something at the end of a branch.
enum Mark {
    Node(usize),
    Site(usize),
}

/// The nodes to draw, parents first, and where each of the tree's nodes went.
fn choose_nodes(tree: &TreeReport) -> (Vec<Drawn<'_>>, Vec<Option<usize>>) {
    let mut wanted = vec![true; tree.nodes.len()];
    if tree.nodes.len() > MOST_NODES {
        let mut by_demand: Vec<usize> = (1..tree.nodes.len()).collect();
        by_demand.sort_by(|a, b| {
            let (a_rps, b_rps) = (tree.nodes[*a].demand_rps, tree.nodes[*b].demand_rps);
            b_rps.total_cmp(&a_rps).then(a.cmp(b))
        });
        for index in by_demand.into_iter().skip(MOST_NODES - 1) {
            wanted[index] = false;
        }
    }
    let mut place: Vec<Option<usize>> = vec![None; tree.nodes.len()];
    let mut nodes: Vec<Drawn<'_>> = Vec::new();
    for (index, node) in tree.nodes.iter().enumerate() {
        let parent = match node.parent {
            None if index == 0 => 0,
            Some(parent) if parent < index => match place[parent] {
                Some(parent) => parent,
                None => continue,
            },
            _ => continue,
        };
        if !wanted[index] {
            continue;
        }
        place[index] = Some(nodes.len());
        let parent_rtt_ms = nodes.get(parent).map_or(0.0, |parent| parent.rtt_ms);
        nodes.push(Drawn {
            label: &node.label,
            parent,
            rtt_ms: milliseconds(node.rtt_ms).unwrap_or(parent_rtt_ms),
            demand_rps: if node.demand_rps.is_finite() {
                node.demand_rps.max(0.0)
            } else {
                0.0
            },
            client: node.client,
            silent: node.silent,
            covered: false,
            angle: 0.0,
        });
    }
    (nodes, place)
}

/// A time that can be drawn.
fn milliseconds(value: f64) -> Option<f64> {
    value.is_finite().then(|| value.clamp(0.0, 1e6))
}

/// Makes a range of angles hold one more.
fn widen(range: &mut Option<(f64, f64)>, angle: f64) {
    let (first, last) = range.unwrap_or((angle, angle));
    *range = Some((first.min(angle), last.max(angle)));
}

pub(super) fn polar(radius: f64, angle: f64) -> Point {
    point(
        CENTRE.x + radius * angle.cos(),
        CENTRE.y + radius * angle.sin(),
    )
}
