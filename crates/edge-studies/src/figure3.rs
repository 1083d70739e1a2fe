//! Figure 3: the tree from the cloud to its clients, by betweenness.

use std::f64::consts::TAU;

use edge_placement::{evaluate, tree_betweenness};
use edge_sim::figures::Places;

use crate::chart;
use crate::figure4a::wrapped;
use crate::figures::{Cell, Drawn, Request, Table};
use crate::inputs::{self, Input};
use crate::statement::{Statement, Verdict};
use edge_console::exit::Failure;
use edge_console::svg::{Path, Point, Svg, point};

const CENTER: Point = point(400.0, 500.0);
const RADIUS: f64 = 370.0;

/// From pale to dark red, evenly in lightness.
const RED: [[u8; 3]; 2] = [[253, 236, 230], [140, 10, 18]];

/// Nodes with a number in the picture.
const NUMBERED: usize = 10;

/// Draws it of the shipped scenario, and of real paths if there are any.
pub(super) fn draw(request: &Request<'_>) -> Result<Vec<Drawn>, Failure> {
    let mut inputs = vec![inputs::scenario_from_frankfurt(request.seed)?];
    if let Some(data) = request.data {
        inputs.push(inputs::real_universities(data)?);
    }
    inputs.iter().map(draw_one).collect()
}

/// The places with what the figure shows of each.
struct Values<'a> {
    places: &'a Places,
    /// Between all nodes (Freeman).
    freeman: Vec<u128>,
    /// Between homes of clients.
    weighted: Vec<u128>,
    /// Places by Freeman's centrality, the cloud aside, the highest first.
    order: Vec<usize>,
    /// Of two places right behind each other with the same ways of clients: the one nearer to the cloud, and the other.
    twins: Option<(usize, usize)>,
}

fn draw_one(input: &Input) -> Result<Drawn, Failure> {
    let values = Values::of(&input.places)?;
    let mut table = Table::new(&[
        "place",
        "parent",
        "depth",
        "rtt_ms",
        "is_home",
        "betweenness",
        "betweenness_of_clients",
    ]);
    let homes = input.places.homes();
    for (index, place) in input.places.all().iter().enumerate() {
        let parent = place
            .parent
            .map(|parent| input.places.all()[parent].name.as_str());
        table.line(&[
            Cell::Text(&place.name),
            parent.map_or(Cell::Nothing, Cell::Text),
            Cell::Count(u64::from(place.depth)),
            Cell::Number(place.micros as f64 / 1e3),
            Cell::Count(u64::from(homes.binary_search(&index).is_ok())),
            Cell::Count(u64::try_from(values.freeman[index]).unwrap_or(u64::MAX)),
            Cell::Count(u64::try_from(values.weighted[index]).unwrap_or(u64::MAX)),
        ]);
    }
    Ok(Drawn {
        key: input.key,
        input: input.name.clone(),
        svg: values.picture(input),
        csv: table.finish(),
        statements: vec![values.statement()],
    })
}

impl<'a> Values<'a> {
    fn of(places: &'a Places) -> Result<Self, Failure> {
        let tree = places.tree().map_err(Failure::usage)?;
        let mut is_home = vec![0; tree.len()];
        for home in places.homes() {
            is_home[*home] = 1;
        }
        let freeman = tree_betweenness(&tree, &vec![1; tree.len()]);
        let weighted = tree_betweenness(&tree, &is_home);
        let mut order: Vec<usize> = (1..tree.len()).collect();
        order.sort_by_key(|place| (std::cmp::Reverse(freeman[*place]), *place));
        let twins = order
            .iter()
            .filter_map(|place| Some((places.all()[*place].parent?, *place)));
        let twins = twins
            .filter(|(parent, place)| {
                let can_host = |place: usize| places.all()[place].can_host;
                can_host(*parent)
                    && can_host(*place)
                    && weighted[*place] > 0
                    && weighted[*place] == weighted[*parent]
            })
            .max_by_key(|(parent, place)| (weighted[*place], std::cmp::Reverse(*parent)));
        Ok(Self {
            places,
            freeman,
            weighted,
            order,
            twins,
        })
    }

    fn statement(&self) -> Statement {
        const QUOTE: &str = "both nodes \"C\" and \"D\" have the same betweenness centrality, but node \"D\" should be preferred, as it is \
                             closer to the end-users";
        let Some((c, d)) = self.twins else {
            return Statement::new(
                QUOTE,
                Verdict::NotHeld,
                "no two nodes here carry the same ways of clients",
            );
        };
        let [at_c, at_d] = [c, d].map(|place| self.mean_with(place));
        let because = format!(
            "{} and {} right behind it both have {} if only pairs of clients count; by Freeman's count of all pairs of nodes they \
             have {} and {}; a service at D leaves {at_d:.2} ms in the mean, at C {at_c:.2}",
            self.places.all()[c].name,
            self.places.all()[d].name,
            self.weighted[c],
            self.freeman[c],
            self.freeman[d]
        );
        let verdict = if at_d > at_c {
            Verdict::NotHeld
        } else if self.freeman[c] == self.freeman[d] {
            Verdict::Held
        } else {
            Verdict::HeldOnlyIf
        };
        Statement::new(QUOTE, verdict, because)
    }

    /// Mean milliseconds of clients, one at each home, with a service at this place.
    fn mean_with(&self, place: usize) -> f64 {
        let clients = vec![1; self.places.homes().len()];
        let host = self.places.hosts().binary_search(&place);
        match (self.places.problem(&clients), host) {
            (Ok(problem), Ok(site)) => evaluate(&problem, &[site]).mean_micros() / 1e3,
            _ => f64::NAN,
        }
    }

    fn picture(&self, input: &Input) -> String {
        let all = self.places.all();
        let mut svg = Svg::new(
            1100.0,
            920.0,
            "The tree from the cloud to its clients",
            chart::STYLE,
        );
        svg.text(
            "h",
            point(24.0, 38.0),
            "The tree from the cloud to its clients, by betweenness (Figure 3)",
        );
        for (row, line) in wrapped(&input.name, 130).into_iter().enumerate() {
            svg.text("q", point(24.0, 62.0 + 19.0 * row as f64), &line);
        }
        let at = self.layout();
        for (index, place) in all.iter().enumerate() {
            if let Some(parent) = place.parent {
                let mut path = Path::from(at[parent]);
                path.line_to(at[index]);
                let line = svg.path("t", &path);
                line.attribute("style", "stroke:#9aa5b1;fill:none")
                    .number("stroke-width", 1.1)
                    .close();
            }
        }
        let most = self
            .order
            .first()
            .map_or(1, |place| self.freeman[*place])
            .max(1);
        let homes = self.places.homes();
        // The most central ones last, on top.
        for place in self.order.iter().rev() {
            let share = (self.freeman[*place] as f64 / most as f64).sqrt();
            let node = &all[*place];
            let tip = format!(
                "{}: betweenness {}, {:.1} ms",
                node.name,
                self.freeman[*place],
                node.micros as f64 / 1e3
            );
            let style = if node.can_host {
                format!(
                    "fill:{};stroke:#4a1420;stroke-width:0.8",
                    chart::between(RED, share)
                )
            } else {
                "fill:#fff;stroke:#7b8794;stroke-width:1;stroke-dasharray:2 1.5".to_owned()
            };
            if homes.binary_search(place).is_ok() && self.freeman[*place] == 0 {
                let size = 6.0;
                let corner = point(at[*place].x - size / 2.0, at[*place].y - size / 2.0);
                svg.rectangle("home", corner, size, size);
            } else {
                svg.circle("p", at[*place], 3.5 + 9.0 * share)
                    .attribute("style", &style)
                    .tooltip(&tip);
            }
        }
        svg.circle("cloud", at[0], 23.0)
            .attribute("style", "fill:#1f2933")
            .close();
        svg.text("nw", point(at[0].x, at[0].y + 5.0), "cloud");
        self.numbers(&mut svg, &at);
        svg.finish()
    }

    /// The most central places by number, and the twins by the paper's letters.
    fn numbers(&self, svg: &mut Svg, at: &[Point]) {
        let column = 800.0;
        svg.text("b", point(column, 140.0), "Highest betweenness");
        let mut y = 164.0;
        for (number, place) in self.order.iter().take(NUMBERED).enumerate() {
            let label = (number + 1).to_string();
            svg.text("nw", point(at[*place].x, at[*place].y + 5.0), &label);
            let text = format!("{label}  {}", self.places.all()[*place].name);
            svg.text(
                "",
                point(column, y),
                &edge_console::svg::shortened(&text, 26),
            );
            svg.text("q e", point(1076.0, y), &self.freeman[*place].to_string());
            y += 22.0;
        }
        y += 24.0;
        if let Some((c, d)) = self.twins {
            svg.text("b", point(column, y), "Same clients behind both (C and D)");
            for (letter, place) in [("C", c), ("D", d)] {
                y += 22.0;
                let outside = point(at[place].x + 12.0, at[place].y - 10.0);
                svg.text("b", outside, letter);
                let text = format!("{letter}  {}", self.places.all()[place].name);
                svg.text(
                    "",
                    point(column, y),
                    &edge_console::svg::shortened(&text, 26),
                );
                svg.text("q e", point(1076.0, y), &self.freeman[place].to_string());
            }
            y += 46.0;
        }
        svg.circle("p", point(column + 8.0, y - 5.0), 8.0)
            .attribute("style", "fill:#a50f15;stroke:#4a1420")
            .close();
        svg.text(
            "",
            point(column + 26.0, y),
            "larger and darker: more central",
        );
        y += 24.0;
        if self.places.all().iter().any(|place| !place.can_host) {
            svg.circle("p", point(column + 8.0, y - 5.0), 4.0)
                .attribute(
                    "style",
                    "fill:#fff;stroke:#7b8794;stroke-width:1;stroke-dasharray:2 1.5",
                )
                .close();
            svg.text("", point(column + 26.0, y), "silent: no place for an edge");
            y += 24.0;
        }
        svg.rectangle("home", point(column + 5.0, y - 8.0), 6.0, 6.0);
        svg.text(
            "",
            point(column + 26.0, y),
            "clients where no other way passes",
        );
    }

    /// Rings by depth; every leaf has the same room along the circle.
    fn layout(&self) -> Vec<Point> {
        let all = self.places.all();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); all.len()];
        for (index, place) in all.iter().enumerate() {
            if let Some(parent) = place.parent {
                children[parent].push(index);
            }
        }
        let deepest = all
            .iter()
            .map(|place| place.depth)
            .max()
            .unwrap_or(1)
            .max(1);
        let leaves = children
            .iter()
            .filter(|children| children.is_empty())
            .count()
            .max(1);
        let mut angles = vec![0.0; all.len()];
        let mut next = 0.0;
        // Leaves in the order of a walk; a stack, since ways may be long.
        let mut stack = vec![0];
        while let Some(place) = stack.pop() {
            if children[place].is_empty() {
                angles[place] = next * TAU / leaves as f64;
                next += 1.0;
            }
            stack.extend(children[place].iter().rev());
        }
        // Children come after their parents, so all of them are known when it is the parent's turn.
        for place in (0..all.len()).rev() {
            if let (Some(first), Some(last)) = (children[place].first(), children[place].last()) {
                angles[place] = f64::midpoint(angles[*first], angles[*last]);
            }
        }
        let place = |(place, angle): (&edge_sim::figures::Place, f64)| {
            let radius = RADIUS * (f64::from(place.depth) / f64::from(deepest)).powf(0.85);
            point(
                CENTER.x + radius * angle.cos(),
                CENTER.y + radius * angle.sin(),
            )
        };
        fitted(all.iter().zip(angles).map(place).collect())
    }
}

/// The same shape, as large as there is room for it.
fn fitted(mut at: Vec<Point>) -> Vec<Point> {
    const ROOM: f64 = 720.0;
    let span = |values: &dyn Fn(&Point) -> f64| {
        let least = at.iter().map(values).fold(f64::INFINITY, f64::min);
        let most = at.iter().map(values).fold(f64::NEG_INFINITY, f64::max);
        (f64::midpoint(least, most), most - least)
    };
    let ((x, width), (y, height)) = (span(&|point| point.x), span(&|point| point.y));
    let scale = ROOM / width.max(height).max(1.0);
    for point in &mut at {
        point.x = CENTER.x + (point.x - x) * scale;
        point.y = CENTER.y + (point.y - y) * scale;
    }
    at
}
