//! Line charts and grids of numbers that can be read without color: every series has its own dashes and marker.

use edge_console::svg::{Path, Point, Svg, plain, point, round_step};

/// CSS of everything that is drawn here.
pub(crate) const STYLE: &str = "\
text{font-size:14px;fill:#1f2933}\
.h{font-size:21px;font-weight:bold}.b{font-weight:bold}.q{fill:#52606d}\
.e{text-anchor:end}.m{text-anchor:middle}\
.n{font-size:13px;text-anchor:middle}.nw{font-size:13px;text-anchor:middle;fill:#fff}\
.grid{stroke:#e4e8ec;stroke-width:1}.axis{stroke:#52606d;stroke-width:1}\
.mark{stroke:#1f2933;stroke-width:1.2;stroke-dasharray:2 3}\
.l0,.l1,.l2,.l3,.l4,.l5,.l6,.l7{fill:none;stroke-width:2.2;stroke-linejoin:round}\
.l0{stroke:#52606d;stroke-dasharray:2 3}.m0{fill:#52606d}.a0{fill:#52606d}\
.l1{stroke:#a15c00;stroke-dasharray:7 3}.m1{fill:#fff;stroke:#a15c00;stroke-width:1.8}.a1{fill:#a15c00}\
.l2{stroke:#b8400d;stroke-dasharray:10 3 2 3}.m2{fill:#b8400d}.a2{fill:#b8400d}\
.l3{stroke:#7a1f5c}.m3{fill:#fff;stroke:#7a1f5c;stroke-width:1.8}.a3{fill:#7a1f5c}\
.l4{stroke:#7a1f5c;stroke-dasharray:4 3}.m4{fill:#7a1f5c}.a4{fill:#7a1f5c}\
.l5{stroke:#14588f;stroke-width:3}.m5{fill:#14588f}.a5{fill:#14588f}\
.l6{stroke:#1f2933;stroke-dasharray:1 3;stroke-linecap:round}.m6{fill:#fff;stroke:#1f2933;stroke-width:1.6}.a6{fill:#1f2933}\
.l7{stroke:#0b6e4f;stroke-dasharray:12 4}.m7{fill:#0b6e4f}.a7{fill:#0b6e4f}\
.home{fill:#14588f}.t{fill:none}\
.a0,.a1,.a2,.a3,.a4,.a5,.a6,.a7{opacity:.16}";

/// Looks that differ in color, dashes and marker.
const LOOKS: [Look; 8] = [
    Look::new("l0", "m0", "a0", Marker::Dot),
    Look::new("l1", "m1", "a1", Marker::Circle),
    Look::new("l2", "m2", "a2", Marker::Square),
    Look::new("l3", "m3", "a3", Marker::Triangle),
    Look::new("l4", "m4", "a4", Marker::Triangle),
    Look::new("l5", "m5", "a5", Marker::Circle),
    Look::new("l6", "m6", "a6", Marker::Diamond),
    Look::new("l7", "m7", "a7", Marker::Diamond),
];

/// Most markers on one line.
const MOST_MARKERS: usize = 14;

/// From white to dark blue; the lightness falls evenly, so that it prints in gray.
const BLUE: [[u8; 3]; 2] = [[250, 251, 253], [12, 58, 104]];

struct Look {
    line: &'static str,
    mark: &'static str,
    area: &'static str,
    marker: Marker,
}

impl Look {
    const fn new(
        line: &'static str,
        mark: &'static str,
        area: &'static str,
        marker: Marker,
    ) -> Self {
        Self {
            line,
            mark,
            area,
            marker,
        }
    }

    fn of(number: usize) -> &'static Self {
        &LOOKS[number % LOOKS.len()]
    }
}

#[derive(Clone, Copy)]
enum Marker {
    Dot,
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// Where the axes of a chart are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// One axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) title: String,
    /// The first value; above 0 for a logarithmic axis.
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) unit: &'static str,
    pub(crate) logarithmic: bool,
}

impl Axis {
    /// From 0 to a round number at or above `end`.
    pub(crate) fn linear(title: &str, end: f64, unit: &'static str) -> Self {
        let step = round_step(end.max(1e-3), 6);
        Self {
            title: title.to_owned(),
            start: 0.0,
            end: (end / step).ceil().max(1.0) * step,
            unit,
            logarithmic: false,
        }
    }

    /// From 0 to exactly `end`.
    pub(crate) fn exact(title: &str, end: f64, unit: &'static str) -> Self {
        Self {
            end,
            ..Self::linear(title, end, unit)
        }
    }

    /// Over whole powers of ten around `low` and `high`.
    pub(crate) fn logarithmic(title: &str, low: f64, high: f64, unit: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            start: 10_f64.powf(low.max(1e-6).log10().floor()),
            end: 10_f64.powf(high.max(1e-5).log10().ceil()),
            unit,
            logarithmic: true,
        }
    }

    /// Where a value is, from 0 to 1; what lies outside is at the edge.
    fn share(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(1e-12) / self.start).log10() / (self.end / self.start).log10()
        } else {
            (value - self.start) / (self.end - self.start)
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self, most: usize) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.end / self.start).log10().round().max(0.0);
            let powers = (0_i32..=30).take_while(|power| f64::from(*power) <= decades);
            return powers
                .map(|power| self.start * 10_f64.powi(power))
                .collect();
        }
        let step = round_step(self.end - self.start, most);
        (0..=most)
            .map(|tick| self.start + tick as f64 * step)
            .filter(|tick| *tick <= self.end * 1.000_001)
            .collect()
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Which look; series of one meaning have the same in all charts.
    pub(crate) look: usize,
    /// Points from left to right: x, y, and how far the band reaches above and below, 0 for none.
    pub(crate) points: Vec<(f64, f64, f64)>,
    /// Is it drawn as markers alone?
    pub(crate) only_markers: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) frame: Frame,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// Vertical lines: x and what is there.
    pub(crate) marks: Vec<(f64, String)>,
}

impl Chart {
    fn at(&self, x: f64, y: f64) -> Point {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = self.frame;
        point(
            left + self.x.share(x) * (right - left),
            bottom - self.y.share(y) * (bottom - top),
        )
    }

    /// Draws axes, bands, lines and markers, the first series lowest.
    pub(crate) fn draw(&self, svg: &mut Svg) {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = self.frame;
        for y in self.y.ticks(7) {
            let at = self.at(self.x.start, y);
            svg.line("grid", at, point(right, at.y));
            let label = format!("{}{}", plain(y), self.y.unit);
            svg.text("q e", point(left - 8.0, at.y + 5.0), &label);
        }
        for x in self.x.ticks(7) {
            let at = self.at(x, self.y.start);
            svg.line("axis", at, point(at.x, bottom + 5.0));
            let label = format!("{}{}", plain(x), self.x.unit);
            svg.text("q m", point(at.x, bottom + 22.0), &label);
        }
        svg.line("axis", point(left, bottom), point(right, bottom));
        svg.text("b", point(left - 8.0, top - 32.0), &self.title);
        svg.text("q", point(left - 8.0, top - 13.0), &self.y.title);
        let middle = f64::midpoint(left, right);
        svg.text("q m", point(middle, bottom + 44.0), &self.x.title);
        for (number, (x, what)) in self.marks.iter().enumerate() {
            let at = self.at(*x, self.y.end);
            svg.line("mark", at, point(at.x, bottom));
            let below = 14.0 + 19.0 * number as f64;
            // On the side that has more room.
            let (class, beside) = if at.x > f64::midpoint(left, right) {
                ("e", at.x - 6.0)
            } else {
                ("", at.x + 6.0)
            };
            svg.text(class, point(beside, at.y + below), what);
        }
        for series in &self.series {
            self.band(svg, series);
        }
        for series in &self.series {
            self.line(svg, series);
        }
    }

    fn band(&self, svg: &mut Svg, series: &Series) {
        if series.points.iter().all(|(_, _, half)| *half <= 0.0) {
            return;
        }
        let upper = series.points.iter();
        let mut edge = upper.map(|(x, y, half)| self.at(*x, y + half));
        let Some(first) = edge.next() else { return };
        let mut path = Path::from(first);
        edge.for_each(|at| path.line_to(at));
        let lower = series.points.iter().rev();
        lower.for_each(|(x, y, half)| path.line_to(self.at(*x, y - half)));
        svg.path(Look::of(series.look).area, &path.closed()).close();
    }

    fn line(&self, svg: &mut Svg, series: &Series) {
        let look = Look::of(series.look);
        let mut points = series.points.iter().map(|(x, y, _)| self.at(*x, *y));
        let Some(first) = points.next() else { return };
        if !series.only_markers {
            let mut path = Path::from(first);
            points.for_each(|at| path.line_to(at));
            svg.path(look.line, &path).close();
        }
        // Not all at the same x, or markers of near lines would hide each other.
        let every = series.points.len().div_ceil(MOST_MARKERS).max(1);
        let shift = if every > 2 { series.look % every } else { 0 };
        for (x, y, _) in series.points.iter().skip(shift).step_by(every) {
            marker(svg, look, self.at(*x, *y));
        }
    }
}

fn marker(svg: &mut Svg, look: &Look, at: Point) {
    let size = match look.marker {
        Marker::Dot => return svg.circle(look.mark, at, 2.0).close(),
        Marker::Circle => return svg.circle(look.mark, at, 4.2).close(),
        Marker::Square => {
            let size = 7.0;
            let corner = point(at.x - size / 2.0, at.y - size / 2.0);
            return svg.rectangle(look.mark, corner, size, size);
        }
        Marker::Triangle | Marker::Diamond => 5.2,
    };
    let mut path = Path::from(point(at.x, at.y - size));
    path.line_to(point(at.x + size, at.y + size * 0.7));
    if matches!(look.marker, Marker::Diamond) {
        path = Path::from(point(at.x, at.y - size));
        path.line_to(point(at.x + size, at.y));
        path.line_to(point(at.x, at.y + size));
        path.line_to(point(at.x - size, at.y));
    } else {
        path.line_to(point(at.x - size, at.y + size * 0.7));
    }
    svg.path(look.mark, &path.closed()).close();
}

/// The names of series, one below the other.
pub(crate) fn legend<'a>(svg: &mut Svg, at: Point, series: impl Iterator<Item = &'a Series>) {
    for (row, series) in series.enumerate() {
        let look = Look::of(series.look);
        let y = at.y + row as f64 * 24.0;
        if !series.only_markers {
            svg.line(look.line, point(at.x, y - 5.0), point(at.x + 44.0, y - 5.0));
        }
        marker(svg, look, point(at.x + 22.0, y - 5.0));
        svg.text("", point(at.x + 54.0, y), &series.name);
    }
}

/// The names of series, side by side.
pub(crate) fn legend_in_row<'a>(
    svg: &mut Svg,
    at: Point,
    series: impl Iterator<Item = &'a Series>,
) {
    let mut x = at.x;
    for series in series {
        legend(svg, point(x, at.y), std::iter::once(series));
        x += 54.0 + 8.5 * series.name.chars().count() as f64 + 30.0;
    }
}

/// A grid of numbers, the darker the larger.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) frame: Frame,
    pub(crate) columns: Vec<String>,
    pub(crate) columns_title: String,
    pub(crate) rows: Vec<String>,
    pub(crate) rows_title: String,
    /// Values by row, the first row at the bottom.
    pub(crate) values: Vec<Vec<f64>>,
    /// The value that is darkest.
    pub(crate) largest: f64,
    /// Cells at or below it are framed.
    pub(crate) framed_below: f64,
}

impl Grid {
    /// Draws it.
    pub(crate) fn draw(&self, svg: &mut Svg) {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = self.frame;
        let width = (right - left) / self.columns.len().max(1) as f64;
        let height = (bottom - top) / self.rows.len().max(1) as f64;
        svg.text("b", point(left, top - 32.0), &self.title);
        svg.text("q", point(left, top - 12.0), &self.subtitle);
        for (row, (name, values)) in self.rows.iter().zip(&self.values).enumerate() {
            let y = bottom - (row as f64 + 1.0) * height;
            svg.text("q e", point(left - 8.0, y + height / 2.0 + 5.0), name);
            for (column, value) in values.iter().enumerate() {
                let x = left + column as f64 * width;
                let share = (value / self.largest.max(1e-9)).clamp(0.0, 1.0);
                let is_framed = *value <= self.framed_below;
                let cell = svg.element("rect").attribute("fill", &between(BLUE, share));
                cell.number("x", x + 1.5)
                    .number("y", y + 1.5)
                    .number("width", width - 3.0)
                    .number("height", height - 3.0)
                    .attribute(
                        "style",
                        if is_framed {
                            "stroke:#1f2933;stroke-width:1.6"
                        } else {
                            ""
                        },
                    )
                    .close();
                let class = if share > 0.55 { "nw" } else { "n" };
                let middle = point(x + width / 2.0, y + height / 2.0 + 5.0);
                svg.text(class, middle, &format!("{value:.0}"));
            }
        }
        for (column, name) in self.columns.iter().enumerate() {
            let x = left + (column as f64 + 0.5) * width;
            svg.text("q m", point(x, bottom + 20.0), name);
        }
        let middle = f64::midpoint(left, right);
        svg.text("q m", point(middle, bottom + 42.0), &self.columns_title);
        svg.text("q", point(left - 8.0, bottom + 66.0), &self.rows_title);
    }
}

/// The colour that lies at `share`, from 0 to 1, of the way from the first to the second.
pub(super) fn between([light, dark]: [[u8; 3]; 2], share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a byte between two others"
    )]
    let channel = |light: u8, dark: u8| {
        let (light, dark) = (f64::from(light), f64::from(dark));
        (light + (dark - light) * share.clamp(0.0, 1.0)).round() as u8
    };
    let [red, green, blue] = [0, 1, 2].map(|at: usize| channel(light[at], dark[at]));
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_console::svg::check;

    const FRAME: Frame = Frame {
        left: 60.0,
        right: 500.0,
        top: 60.0,
        bottom: 300.0,
    };

    fn series(look: usize, points: &[(f64, f64, f64)]) -> Series {
        Series {
            name: format!("series <{look}>"),
            look,
            points: points.to_vec(),
            only_markers: look == 6,
        }
    }

    #[test]
    fn charts_stay_within_their_picture() {
        let wild = [
            (0.0, 1.0, 0.5),
            (50.0, 1e9, 1e12),
            (2e9, -5.0, 0.0),
            (f64::NAN, f64::INFINITY, 1.0),
        ];
        for y in [
            Axis::linear("time", 90.0, " ms"),
            Axis::logarithmic("time", 0.2, 900.0, " s"),
        ] {
            let mut svg = Svg::new(700.0, 400.0, "chart", STYLE);
            let chart = Chart {
                title: "chart".to_owned(),
                frame: FRAME,
                x: Axis::exact("share", 60.0, " %"),
                y,
                series: (0..9)
                    .map(|look| series(look, &wild))
                    .chain([series(1, &[])])
                    .collect(),
                marks: vec![(22.5, "here".to_owned())],
            };
            chart.draw(&mut svg);
            legend(&mut svg, point(520.0, 80.0), chart.series.iter());
            check(&svg.finish());
        }
    }

    #[test]
    fn grids_show_every_number() {
        let mut svg = Svg::new(700.0, 400.0, "grid", STYLE);
        let grid = Grid {
            title: "grid".to_owned(),
            subtitle: String::new(),
            frame: FRAME,
            columns: vec!["0 %".to_owned(), "50 %".to_owned()],
            columns_title: "used".to_owned(),
            rows: vec!["0 %".to_owned(), "5 %".to_owned()],
            rows_title: "equipped".to_owned(),
            values: vec![vec![100.0, 41.0], vec![77.0, f64::NAN]],
            largest: 100.0,
            framed_below: 50.0,
        };
        grid.draw(&mut svg);
        let drawing = svg.finish();
        for number in ["100", "41", "77"] {
            assert!(drawing.contains(&format!(">{number}</text>")), "{drawing}");
        }
        check(&drawing);
    }
}
