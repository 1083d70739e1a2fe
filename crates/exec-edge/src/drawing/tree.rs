//! The picture of the aggregate tree: cloud in the centre, distance from it is round-trip time.
//!
//! Labels come from the network, so every text is escaped and cut, and the number of things drawn is bounded.

mod layout;

use edge_orchestrator::status::TreeReport;

use self::layout::{CENTRE, DrawnSite, INNER_RADIUS, Layout, MOST_LISTED, RENTED_SIZE, polar};
use edge_console::svg::{Path, Point, Svg, plain, point, round_step, shortened};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 970.0;

/// Nodes nearer to the cloud than this, in pixels, are part of its mark.
const BESIDE_CLOUD: f64 = 9.0;

/// Left edge of the column with legend and list.
const COLUMN: f64 = 876.0;

const STYLE: &str = "\
text{font-size:13px;fill:#1f2933}\
.h{font-size:22px;font-weight:bold}.b{font-weight:bold}.q{fill:#52606d}\
.n{font-size:11px;font-weight:bold;fill:#fff;text-anchor:middle}\
.r{font-size:12px;fill:#52606d;text-anchor:middle}.rb{fill:#fff}\
.e{text-anchor:end}.i{font-size:12px}\
.ring{fill:none;stroke:#d5dbe1;stroke-width:1}\
.l{fill:none;stroke:#a3afbb;stroke-linecap:round}\
.lc{fill:none;stroke:#14588f;stroke-linecap:round}\
.ls{fill:none;stroke:#52606d;stroke-width:1}\
.c{fill:#fff;stroke:#7b8794;stroke-width:1.2}\
.cc{fill:#14588f;stroke:#fff;stroke-width:.6}\
.k{fill:#8a96a3}\
.kc{fill:#14588f}\
.s{fill:#fff;stroke:#7b8794;stroke-width:1.2;stroke-dasharray:2 1.4}\
.f{fill:#fff;stroke:#b8400d;stroke-width:1.6}\
.x{fill:#b8400d;stroke:#fff;stroke-width:1}\
.o{fill:#1f2933}";

/// What a node's demand stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Requests per second of the clients at or behind it, who may be served by edge sites.
    Requests,
    /// Paths that pass it; there are no edge sites.
    Paths,
}

impl Weight {
    const fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests/s",
            Self::Paths => "paths",
        }
    }
}

/// Draws a tree.
pub(crate) fn draw(tree: &TreeReport, title: &str, weight: Weight) -> String {
    let drawn = Layout::of(tree);
    let title = shortened(title, 90);
    let mut svg = Svg::new(WIDTH, HEIGHT, &title, STYLE);
    svg.text("h", point(24.0, 40.0), &title);
    svg.text("q", point(24.0, 64.0), &drawn.counts(weight));
    let what = match weight {
        Weight::Requests => {
            "Every line is a stretch of network seen by tracing from the cloud. The farther out, the longer the round trip; the larger a dot, the larger its demand."
        }
        Weight::Paths => {
            "Every line is a stretch of network seen by tracing from the center. The farther out, the longer the round trip; the thicker, the more paths."
        }
    };
    svg.text("q", point(24.0, 84.0), what);
    drawn.rings(&mut svg);
    drawn.links(&mut svg);
    drawn.ring_labels(&mut svg);
    drawn.points(&mut svg, weight);
    drawn.diamonds(&mut svg);
    svg.circle("o", CENTRE, INNER_RADIUS + BESIDE_CLOUD).close();
    let centre = match weight {
        Weight::Requests => "cloud",
        Weight::Paths => "here",
    };
    svg.text("n", point(CENTRE.x, CENTRE.y + 4.0), centre);
    let bottom = legend(&mut svg, drawn.largest_demand, weight);
    drawn.list(&mut svg, bottom + 34.0);
    drawn.notes(&mut svg);
    svg.finish()
}

impl Layout<'_> {
    fn counts(&self, weight: Weight) -> String {
        let clients = self.nodes.iter().filter(|node| node.client).count();
        let routers = self.nodes.len().saturating_sub(clients + 1);
        let silent = self.nodes.iter().filter(|node| node.silent).count();
        if weight == Weight::Paths {
            return format!("{routers} routers ({silent} silent), {clients} targets.");
        }
        let covered = self
            .nodes
            .iter()
            .filter(|node| node.client && node.covered)
            .count();
        let rented = self.sites.iter().filter(|site| site.rented).count();
        format!(
            "{routers} routers ({silent} silent), {clients} client networks ({covered} behind a rented site), \
             {} edge sites found ({rented} rented).",
            self.sites.len()
        )
    }

    /// Rings at round times; their labels go on top of the links.
    fn rings(&self, svg: &mut Svg) {
        for rtt_ms in self.ring_times() {
            svg.circle("ring", CENTRE, self.radius(rtt_ms)).close();
        }
    }

    fn ring_labels(&self, svg: &mut Svg) {
        for rtt_ms in self.ring_times() {
            let at = point(CENTRE.x, CENTRE.y - self.radius(rtt_ms));
            let label = format!("{} ms", plain(rtt_ms));
            let width = 7.0 * label.len() as f64 + 4.0;
            svg.rectangle("rb", point(at.x - width / 2.0, at.y - 8.0), width, 16.0);
            svg.text("r", point(at.x, at.y + 4.0), &label);
        }
    }

    fn ring_times(&self) -> impl Iterator<Item = f64> {
        let step = round_step(self.span_ms, 6);
        let last = self.span_ms * 1.001;
        let rings = (1..=6).map(f64::from).map(move |ring| ring * step);
        [step / 2.0]
            .into_iter()
            .chain(rings)
            .filter(move |rtt_ms| *rtt_ms <= last)
    }

    fn links(&self, svg: &mut Svg) {
        // What is covered comes last, on top.
        for covered in [false, true] {
            for (index, node) in self.nodes.iter().enumerate().skip(1) {
                let inner = &self.nodes[node.parent];
                // The stretch that ends at a rented site's node is still walked from the cloud.
                if (node.covered && inner.covered) == covered {
                    let class = if covered { "lc" } else { "l" };
                    let path = self.link(node.parent, self.node_at(index), node.rtt_ms, node.angle);
                    let width = thickness(node.demand_rps, self.largest_demand);
                    svg.path(class, &path).number("stroke-width", width).close();
                }
            }
        }
        for site in &self.sites {
            let path = self.link(site.node, self.site_at(site), site.rtt_ms, site.angle);
            svg.path("ls", &path).close();
        }
    }

    /// A curve that leaves its inner end outwards and arrives outwards.
    fn link(&self, inner: usize, outer_end: Point, rtt_ms: f64, angle: f64) -> Path {
        let inner_end = self.node_at(inner);
        let node = &self.nodes[inner];
        let mut path = Path::from(inner_end);
        if self.radius(node.rtt_ms) < INNER_RADIUS + BESIDE_CLOUD {
            path = Path::from(CENTRE);
            path.line_to(outer_end);
        } else {
            let middle = f64::midpoint(self.radius(node.rtt_ms), self.radius(rtt_ms));
            path.curve_to(polar(middle, node.angle), polar(middle, angle), outer_end);
        }
        path
    }

    fn points(&self, svg: &mut Svg, weight: Weight) {
        let clients = self.nodes.iter().filter(|node| node.client);
        let most_rps = clients
            .map(|node| node.demand_rps)
            .fold(f64::MIN_POSITIVE, f64::max);
        // Marks of thousands of nodes are smaller, or they would hide each other.
        let size = (600.0 / self.nodes.len() as f64).sqrt().clamp(0.4, 1.0);
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            let at = self.node_at(index);
            let tooltip = format!(
                "{}: {} ms, {} {}",
                shortened(node.label, 80),
                plain(node.rtt_ms),
                plain(node.demand_rps),
                weight.unit()
            );
            let (class, radius) = match (node.client, node.silent, node.covered) {
                (true, _, covered) => (
                    if covered { "cc" } else { "c" },
                    client_dot(node.demand_rps / most_rps) * size,
                ),
                (false, true, _) => ("s", 3.2 * size),
                (false, false, true) => ("kc", 1.8 * size),
                (false, false, false) => ("k", 1.8 * size),
            };
            svg.circle(class, at, radius).tooltip(&tooltip);
        }
    }

    fn diamonds(&self, svg: &mut Svg) {
        for site in self.sites.iter().filter(|site| !site.rented) {
            svg.path("f", &diamond(self.site_at(site), 4.5))
                .tooltip(&site.tooltip());
        }
        let rented = self.numbered();
        for site in rented.iter().skip(MOST_LISTED) {
            svg.path("x", &diamond(self.site_at(site), RENTED_SIZE / 2.0))
                .tooltip(&site.tooltip());
        }
        for (number, site) in (1..).zip(rented.iter().take(MOST_LISTED)) {
            let at = self.site_at(site);
            svg.path("x", &diamond(at, RENTED_SIZE))
                .tooltip(&site.tooltip());
            svg.text("n", point(at.x, at.y + 4.0), &format!("{number}"));
        }
    }

    fn list(&self, svg: &mut Svg, top: f64) {
        let rented = self.numbered();
        if rented.is_empty() {
            return;
        }
        svg.text("b", point(COLUMN, top), "Rented edge sites, clockwise");
        let mut y = top;
        for (number, site) in (1..).zip(rented.iter().take(MOST_LISTED)) {
            y += 18.0;
            svg.text("b i e", point(COLUMN + 16.0, y), &format!("{number}"));
            svg.text(
                "i q e",
                point(COLUMN + 68.0, y),
                &format!("{:.0} ms", site.rtt_ms),
            );
            svg.text("i", point(COLUMN + 76.0, y), &shortened(site.host, 34));
        }
        if rented.len() > MOST_LISTED {
            let more = format!("and {} more", rented.len() - MOST_LISTED);
            svg.text("q", point(COLUMN + 26.0, y + 18.0), &more);
        }
    }

    fn notes(&self, svg: &mut Svg) {
        let mut notes = Vec::new();
        if self.nodes.len() <= 1 {
            notes.push("No path to a client is known yet.".to_owned());
        }
        if self.nodes_left_out > 0 {
            notes.push(format!(
                "{} nodes with the least demand are not drawn.",
                self.nodes_left_out
            ));
        }
        if self.sites_left_out > 0 {
            notes.push(format!("{} sites are not drawn.", self.sites_left_out));
        }
        if self.beyond > 0 {
            let last = plain(self.span_ms.round());
            notes.push(format!(
                "{} marks farther than {last} ms are drawn at the edge.",
                self.beyond
            ));
        }
        if !notes.is_empty() {
            svg.text("q", point(24.0, HEIGHT - 10.0), &notes.join(" "));
        }
    }
}

impl DrawnSite<'_> {
    fn tooltip(&self) -> String {
        format!("{}: {} ms", shortened(self.host, 80), plain(self.rtt_ms))
    }
}

fn diamond(at: Point, half: f64) -> Path {
    let mut path = Path::from(point(at.x, at.y - half));
    path.line_to(point(at.x + half, at.y));
    path.line_to(point(at.x, at.y + half));
    path.line_to(point(at.x - half, at.y));
    path.closed()
}

/// Radius of a client network with this share, 0..=1, of the largest one's demand: its area grows with demand.
fn client_dot(share: f64) -> f64 {
    (4.2 * share.sqrt()).max(2.0)
}

/// Thickness of a link: the same step for every doubling of demand.
fn thickness(demand_rps: f64, largest: f64) -> f64 {
    let doublings = (demand_rps / largest.max(f64::MIN_POSITIVE))
        .max(1e-9)
        .log2();
    (8.0 + doublings).clamp(0.8, 8.0)
}

/// Draws the legend; its lower edge.
fn legend(svg: &mut Svg, largest_demand: f64, weight: Weight) -> f64 {
    let mut y = 132.0;
    svg.text("b", point(COLUMN, y), "Legend");
    let mut row = |svg: &mut Svg, text: &str, draw: &dyn Fn(&mut Svg, Point)| {
        y += 22.0;
        draw(svg, point(COLUMN + 14.0, y - 4.0));
        svg.text("", point(COLUMN + 36.0, y), text);
    };
    if weight == Weight::Requests {
        row(svg, "rented edge site, see the list", &|svg, at| {
            svg.path("x", &diamond(at, 10.0)).close();
            svg.text("n", point(at.x, at.y + 4.0), "1");
        });
        row(svg, "edge site found, not rented", &|svg, at| {
            svg.path("f", &diamond(at, 4.5)).close();
        });
        row(svg, "client network behind a rented site", &|svg, at| {
            svg.circle("cc", at, 4.2).close();
        });
        row(svg, "client network behind none", &|svg, at| {
            svg.circle("c", at, 4.2).close();
        });
    } else {
        row(svg, "target", &|svg, at| svg.circle("c", at, 4.2).close());
    }
    row(svg, "router", &|svg, at| svg.circle("k", at, 1.8).close());
    row(svg, "router that never answered", &|svg, at| {
        svg.circle("s", at, 3.2).close();
    });
    let stroke = |svg: &mut Svg, class: &str, at: Point, width: f64| {
        let mut path = Path::from(point(at.x - 12.0, at.y));
        path.line_to(point(at.x + 12.0, at.y));
        svg.path(class, &path).number("stroke-width", width).close();
    };
    if weight == Weight::Requests {
        row(svg, "path behind a rented site", &|svg, at| {
            stroke(svg, "lc", at, 3.0);
        });
        row(svg, "path from the cloud", &|svg, at| {
            stroke(svg, "l", at, 3.0);
        });
    }
    if largest_demand > 0.0 {
        let what = match weight {
            Weight::Requests => "thickness: demand behind it (log scale)",
            Weight::Paths => "thickness: paths (log scale)",
        };
        row(svg, what, &|_, _| ());
        // There is no part of a path.
        let least = if weight == Weight::Paths { 1.0 } else { 0.0 };
        let shares = [1.0, 1.0 / 16.0, 1.0 / 128.0].into_iter();
        for share in shares.filter(|share| largest_demand * share >= least) {
            let demand = largest_demand * share;
            let digits = match weight {
                Weight::Paths => 0,
                Weight::Requests if demand < 1.0 => 2,
                Weight::Requests => usize::from(demand < 10.0),
            };
            let unit = match (weight, demand.round() <= 1.0) {
                (Weight::Paths, true) => "path",
                _ => weight.unit(),
            };
            let text = format!("{demand:.digits$} {unit}");
            row(svg, &text, &|svg, at| {
                stroke(svg, "l", at, thickness(demand, largest_demand));
            });
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use edge_orchestrator::status::{TreeReportNode, TreeReportSite};

    use super::*;
    use edge_console::svg::check;

    fn node(parent: Option<usize>, rtt_ms: f64, demand_rps: f64, client: bool) -> TreeReportNode {
        TreeReportNode {
            parent,
            label: "240.1.2.0/24".to_owned(),
            rtt_ms,
            demand_rps,
            client,
            silent: false,
        }
    }

    fn site(node: usize, rented: bool) -> TreeReportSite {
        TreeReportSite {
            site: "edge.example.net:7000".to_owned(),
            node,
            rtt_ms: 30.0,
            rented,
        }
    }

    fn small() -> TreeReport {
        TreeReport {
            nodes: vec![
                node(None, 0.0, 3.0, false),
                node(Some(0), 20.0, 3.0, false),
                node(Some(1), 40.0, 1.0, true),
                node(Some(1), 60.0, 2.0, false),
                node(Some(3), 80.0, 2.0, true),
            ],
            sites: vec![site(3, true), site(1, false)],
        }
    }

    #[test]
    fn every_node_and_site_is_drawn_and_counted() {
        let drawing = draw(&small(), "A tree", Weight::Requests);
        let counts = "2 routers (0 silent), 2 client networks (1 behind a rented site), 2 edge sites found (1 rented).";
        assert!(drawing.contains(counts), "{drawing}");
        assert_eq!(drawing.matches("240.1.2.0/24: ").count(), 4);
        assert_eq!(
            drawing
                .matches("<title>edge.example.net: 30 ms</title>")
                .count(),
            2
        );
        assert!(
            drawing.contains(">40 ms</text>"),
            "no ring at 40 ms: {drawing}"
        );
        check(&drawing);
    }

    #[test]
    fn equal_trees_give_equal_pictures() {
        assert_eq!(
            draw(&small(), "A tree", Weight::Requests),
            draw(&small(), "A tree", Weight::Requests)
        );
    }

    #[test]
    fn an_empty_tree_says_so() {
        for nodes in [Vec::new(), vec![node(None, 0.0, 0.0, false)]] {
            let drawing = draw(
                &TreeReport {
                    nodes,
                    sites: vec![site(7, true)],
                },
                "",
                Weight::Requests,
            );
            assert!(
                drawing.contains("No path to a client is known yet."),
                "{drawing}"
            );
            check(&drawing);
        }
    }

    #[test]
    fn hostile_labels_and_numbers_stay_text_and_within_the_picture() {
        let hostile = format!(
            "\"/><script>alert(1)</script>]]>\u{0}\u{202e}&{}",
            "x".repeat(5000)
        );
        let mut tree = small();
        for node in &mut tree.nodes {
            node.label.clone_from(&hostile);
            node.silent = true;
        }
        for site in &mut tree.sites {
            site.site = format!("{hostile}:443");
        }
        for (index, value) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0, 1e300]
            .into_iter()
            .enumerate()
        {
            tree.nodes[index].rtt_ms = value;
            tree.nodes[4 - index].demand_rps = value;
            tree.sites[index % 2].rtt_ms = value;
        }
        // No place in a tree: unknown, later or missing parents.
        tree.nodes.push(node(Some(99), 1.0, 1.0, true));
        tree.nodes.push(node(Some(6), 1.0, 1.0, true));
        tree.nodes.push(node(None, 1.0, 1.0, true));
        let drawing = draw(&tree, &hostile, Weight::Requests);
        assert!(!drawing.contains("<script"), "{drawing}");
        assert!(drawing.len() < 20_000, "{} octets", drawing.len());
        check(&drawing);
    }

    #[test]
    fn large_trees_lose_their_least_demand_and_deep_ones_do_not_overflow_the_stack() {
        let mut tree = TreeReport {
            nodes: vec![node(None, 0.0, 1e6, false)],
            sites: Vec::new(),
        };
        for index in 1..20_000_u32 {
            let parent = if index < 4_000 { index - 1 } else { 3_999 };
            let demand = 1e6 - f64::from(index);
            tree.nodes.push(node(
                Some(parent as usize),
                f64::from(index) / 100.0,
                demand,
                index >= 4_000,
            ));
        }
        tree.sites = (0..5_000)
            .map(|index| site(index, index % 2 == 0))
            .collect();
        let drawing = draw(&tree, "Large", Weight::Requests);
        assert!(drawing.contains(
            "15000 nodes with the least demand are not drawn. 4000 sites are not drawn."
        ));
        assert!(drawing.len() < 3_000_000, "{} octets", drawing.len());
        check(&drawing);
    }
}
