//! The picture of what clients waited: over time, and as a distribution while edges served.

use edge_lab::clients::{Cohort, Record};

use super::figures::{Summary, quantile};
use edge_console::svg::{Path, Point, Svg, plain, point, round_step, shortened};

/// Points of a curve over time, and of a distribution.
const MOST_STEPS: usize = 240;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 520.0;
const OVER_TIME: Frame = Frame {
    left: 70.0,
    right: 760.0,
    top: 132.0,
    bottom: 440.0,
};
const DISTRIBUTION: Frame = Frame {
    left: 850.0,
    right: 1176.0,
    top: 132.0,
    bottom: 440.0,
};

const STYLE: &str = "\
text{font-size:13px;fill:#1f2933}\
.h{font-size:22px;font-weight:bold}.b{font-weight:bold}.q{fill:#52606d}\
.e{text-anchor:end}.m{text-anchor:middle}\
.grid{stroke:#e4e8ec;stroke-width:1}.axis{stroke:#52606d;stroke-width:1}\
.band{fill:#eef4f9}\
.mark{stroke:#1f2933;stroke-width:1.2;stroke-dasharray:2 3}\
.half{stroke:#7b8794;stroke-width:1;stroke-dasharray:2 3}\
.control{fill:none;stroke:#b8400d;stroke-width:2.4;stroke-dasharray:8 4;stroke-linejoin:round}\
.exec{fill:none;stroke:#14588f;stroke-width:3;stroke-linejoin:round;stroke-linecap:round}\
.thin{stroke-width:1;opacity:.75}.control.thin{stroke-dasharray:4 3}\
.under{fill:none;stroke:#fff;stroke-width:5;stroke-linejoin:round;opacity:.85}\
.dcontrol{fill:#fff;stroke:#b8400d;stroke-width:2}\
.dexec{fill:#14588f;stroke:#fff;stroke-width:1}\
.tcontrol{fill:#9a350a}.texec{fill:#14588f}";

/// The cohorts in the order in which they are drawn.
const COHORTS: [Look; 2] = [
    Look {
        cohort: Cohort::Control,
        name: "cloud alone",
        curve: "control",
        thin: "control thin",
        dot: "dcontrol",
        label: "b tcontrol",
    },
    Look {
        cohort: Cohort::Exec,
        name: "ExEC",
        curve: "exec",
        thin: "exec thin",
        dot: "dexec",
        label: "b texec",
    },
];

/// Moments of a run, in milliseconds since the clients started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Marks {
    /// When the first site served.
    pub(crate) first_plan_ms: Option<f64>,
    /// When the first lease ended.
    pub(crate) first_lease_end_ms: Option<f64>,
}

/// Draws the answered requests for `object`, cohort against cohort. The distribution is that of requests sent between
/// the marks, as in the report's steady latencies.
pub(crate) fn draw(records: &[Record], object: &str, marks: &Marks) -> String {
    let samples: Vec<Sample> = records
        .iter()
        .filter(|record| record.object == object)
        .filter_map(Sample::of)
        .collect();
    let of_object = records.iter().filter(|record| record.object == object);
    let failed = of_object.filter(|record| record.error.is_some()).count();
    let object = shortened(object, 30);
    let mut svg = Svg::new(
        WIDTH,
        HEIGHT,
        &format!("Latency of {object} requests, the cloud alone and ExEC"),
        STYLE,
    );
    svg.text(
        "h",
        point(24.0, 38.0),
        &format!("How long clients wait for {object} answers: the cloud alone and ExEC"),
    );
    svg.text(
        "q",
        point(24.0, 62.0),
        "From the first byte sent to the last byte received, handshakes and redirects included. Both cohorts ask from \
         the same places at the same moments.",
    );
    let until = samples.iter().map(|sample| sample.at_s).fold(0.0, f64::max);
    let steady = Steady::of(marks, until);
    over_time(&mut svg, &samples, until, &steady);
    distribution(&mut svg, &samples, &steady);
    legend(&mut svg);
    if failed > 0 {
        let note = format!("Requests without a good answer, not drawn: {failed}.");
        svg.text("q e", point(DISTRIBUTION.right, HEIGHT - 14.0), &note);
    }
    svg.finish()
}

/// A request that can be drawn.
struct Sample {
    at_s: f64,
    latency_ms: f64,
    cohort: Cohort,
}

impl Sample {
    fn of(record: &Record) -> Option<Self> {
        let sound =
            |value: f64| (value.is_finite() && (0.0..1e9).contains(&value)).then_some(value);
        Some(Self {
            at_s: sound(record.at_ms)? / 1e3,
            latency_ms: sound(record.latency_ms).filter(|_| record.error.is_none())?,
            cohort: record.cohort,
        })
    }
}

/// The window between the marks, in seconds; open at a missing mark.
struct Steady {
    from: Option<f64>,
    until: Option<f64>,
    end: f64,
}

impl Steady {
    fn of(marks: &Marks, end: f64) -> Self {
        let seconds = |mark: Option<f64>| {
            mark.filter(|ms| ms.is_finite())
                .map(|ms| (ms / 1e3).max(0.0))
        };
        Self {
            from: seconds(marks.first_plan_ms),
            until: seconds(marks.first_lease_end_ms),
            end,
        }
    }

    fn holds(&self, at_s: f64) -> bool {
        self.from.is_none_or(|from| at_s >= from) && self.until.is_none_or(|until| at_s < until)
    }

    /// Start and end of what is drawn of it.
    fn drawn(&self) -> (f64, f64) {
        let from = self.from.unwrap_or(0.0).min(self.end);
        (from, self.until.unwrap_or(self.end).clamp(from, self.end))
    }

    fn latencies(&self, samples: &[Sample], cohort: Cohort) -> Vec<f64> {
        let within = samples
            .iter()
            .filter(|sample| sample.cohort == cohort && self.holds(sample.at_s));
        let mut latencies: Vec<f64> = within.map(|sample| sample.latency_ms).collect();
        latencies.sort_by(f64::total_cmp);
        latencies
    }
}

/// How a cohort is drawn.
struct Look {
    cohort: Cohort,
    name: &'static str,
    curve: &'static str,
    thin: &'static str,
    dot: &'static str,
    label: &'static str,
}

/// Where the axes are.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// A frame with the values at its right and upper edges; both axes begin at 0.
struct Axes<'a> {
    frame: &'a Frame,
    x_end: f64,
    y_end: f64,
}

impl Axes<'_> {
    /// Where a value is drawn; what lies outside is drawn at the edge.
    fn at(&self, x: f64, y: f64) -> Point {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = *self.frame;
        point(
            left + (x / self.x_end).clamp(0.0, 1.0) * (right - left),
            bottom - (y / self.y_end).clamp(0.0, 1.0) * (bottom - top),
        )
    }

    fn draw(&self, svg: &mut Svg, title: &str, x_title: &str, unit: &str) {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = *self.frame;
        for y in ticks(self.y_end, 6) {
            let at = self.at(0.0, y);
            svg.line("grid", at, point(right, at.y));
            svg.text(
                "q e",
                point(left - 8.0, at.y + 4.5),
                &format!("{}{unit}", plain(y)),
            );
        }
        for x in ticks(self.x_end, 7) {
            let at = self.at(x, 0.0);
            svg.line("axis", at, point(at.x, bottom + 5.0));
            svg.text("q m", point(at.x, bottom + 21.0), &plain(x));
        }
        svg.line("axis", point(left, bottom), point(right, bottom));
        svg.text("b", point(left, top - 34.0), title);
        svg.text(
            "q m",
            point(f64::midpoint(left, right), bottom + 42.0),
            x_title,
        );
    }
}

/// Round numbers from 0 to `end`.
fn ticks(end: f64, most: usize) -> impl Iterator<Item = f64> {
    let step = round_step(end, most);
    (0..=most)
        .map(move |tick| tick as f64 * step)
        .filter(move |tick| *tick <= end * 1.000_001)
}

/// Latencies of a cohort within one step of time.
struct Step {
    middle_s: f64,
    summary: Summary,
}

fn over_time(svg: &mut Svg, samples: &[Sample], until: f64, steady: &Steady) {
    let step_s = round_step(until, MOST_STEPS).max(1.0).ceil();
    let steps = COHORTS.map(|look| steps(samples, look.cohort, step_s));
    let mut tails: Vec<f64> = steps
        .iter()
        .flatten()
        .map(|step| step.summary.p95)
        .collect();
    tails.sort_by(f64::total_cmp);
    // A few seconds with stragglers do not make the rest flat.
    let usual = if tails.is_empty() {
        1.0
    } else {
        quantile(&tails, 0.97) * 1.15
    };
    let axes = Axes {
        frame: &OVER_TIME,
        x_end: until.max(1.0),
        y_end: nice_end(usual.max(1.0)),
    };

    let (from, to) = steady.drawn();
    if to > from && (steady.from.is_some() || steady.until.is_some()) {
        let (start, end) = (axes.at(from, axes.y_end), axes.at(to, 0.0));
        svg.rectangle("band", start, end.x - start.x, end.y - start.y);
    }
    let title = match plain(step_s).as_str() {
        "1" => "Over time, per second (ms)".to_owned(),
        step => format!("Over time, per {step} seconds (ms)"),
    };
    axes.draw(svg, &title, "seconds since the clients started", "");
    // The thin lines first: means are what one should see.
    for (look, steps) in COHORTS.iter().zip(&steps) {
        curve(svg, look.thin, None, &axes, steps, step_s, |summary| {
            summary.p95
        });
    }
    for (look, steps) in COHORTS.iter().zip(&steps) {
        curve(
            svg,
            look.curve,
            Some(look.dot),
            &axes,
            steps,
            step_s,
            |summary| summary.mean,
        );
    }
    mark(svg, &axes, steady.from, "first plan is realised", -16.0);
    // Higher where both labels would not fit side by side.
    let crowded = axes.at(to, 0.0).x - axes.at(from, 0.0).x < 300.0;
    mark(
        svg,
        &axes,
        steady.until,
        "first lease ends",
        if crowded { -1.0 } else { -16.0 },
    );

    // Each label stands above the highest mean nearby, in the last third of the window.
    let (label_from, label_to) = (from + (to - from) * 0.55, from + (to - from) * 0.95);
    let mut taken = f64::NEG_INFINITY;
    for (look, steps) in COHORTS.iter().zip(&steps) {
        let mean = Summary::of(steady.latencies(samples, look.cohort)).mean;
        let nearby = steps
            .iter()
            .filter(|step| (label_from..=label_to).contains(&step.middle_s));
        let means = nearby.map(|step| step.summary.mean);
        let (lowest, highest) = means.fold((f64::INFINITY, 0.0), |(low, high), mean| {
            (mean.min(low), mean.max(high))
        });
        if lowest.is_finite() {
            let middle_s = f64::midpoint(label_from, label_to);
            let mut at = axes.at(middle_s, highest);
            at.y -= 9.0;
            if (at.y - taken).abs() < 18.0 {
                at.y = (axes.at(middle_s, lowest).y + 20.0).max(taken + 18.0);
            }
            taken = at.y;
            let label = format!("{}: mean {} ms", look.name, figure(mean));
            halo(svg, &format!("{} m", look.label), at, &label);
        }
    }
}

fn steps(samples: &[Sample], cohort: Cohort, step_s: f64) -> Vec<Step> {
    let mut times: Vec<(f64, f64)> = samples
        .iter()
        .filter(|sample| sample.cohort == cohort)
        .map(|sample| ((sample.at_s / step_s).floor(), sample.latency_ms))
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let groups = times.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    let steps = groups.map(|group| Step {
        middle_s: (group[0].0 + 0.5) * step_s,
        summary: Summary::of(group.iter().map(|(_, latency_ms)| *latency_ms).collect()),
    });
    steps.collect()
}

/// A curve through the steps, broken where a step has no sample; a step alone is a dot, if there is a class for it.
fn curve(
    svg: &mut Svg,
    class: &str,
    dot: Option<&str>,
    axes: &Axes<'_>,
    steps: &[Step],
    step_s: f64,
    value: impl Fn(&Summary) -> f64,
) {
    for run in steps.chunk_by(|a, b| b.middle_s - a.middle_s < step_s * 1.5) {
        let mut points = run
            .iter()
            .map(|step| axes.at(step.middle_s, value(&step.summary)));
        let Some(first) = points.next() else { continue };
        let mut path = Path::from(first);
        points.for_each(|at| path.line_to(at));
        match dot {
            Some(dot) if run.len() == 1 => svg.circle(dot, first, 4.0).close(),
            Some(_) => {
                svg.path("under", &path).close();
                svg.path(class, &path).close();
            }
            None => svg.path(class, &path).close(),
        }
    }
}

fn mark(svg: &mut Svg, axes: &Axes<'_>, at_s: Option<f64>, what: &str, above: f64) {
    let Some(at_s) = at_s.filter(|at_s| *at_s <= axes.x_end) else {
        return;
    };
    let (top, bottom) = (axes.at(at_s, axes.y_end), axes.at(at_s, 0.0));
    svg.line("mark", point(top.x, top.y + above + 6.0), bottom);
    let label = format!("{what}, {at_s:.1} s");
    let right_half = top.x > f64::midpoint(axes.frame.left, axes.frame.right);
    let class = if right_half { "e" } else { "" };
    let aside = if right_half { 0.0 } else { -1.0 };
    svg.text(class, point(top.x + aside, top.y + above), &label);
}

fn distribution(svg: &mut Svg, samples: &[Sample], steady: &Steady) {
    let latencies = COHORTS.map(|look| steady.latencies(samples, look.cohort));
    let ends = latencies
        .iter()
        .filter(|sample| !sample.is_empty())
        .map(|sample| quantile(sample, 0.99) * 1.04);
    let axes = Axes {
        frame: &DISTRIBUTION,
        x_end: nice_end(ends.fold(1.0, f64::max)),
        y_end: 100.0,
    };
    let title = match (steady.from, steady.until) {
        (Some(_), Some(_)) => "Share answered within, between the marks",
        (Some(_), None) => "Share answered within, after the mark",
        (None, Some(_)) => "Share answered within, before the mark",
        (None, None) => "Share answered within, all requests",
    };
    axes.draw(svg, title, "milliseconds", " %");
    svg.line("half", axes.at(0.0, 50.0), axes.at(axes.x_end, 50.0));
    for (look, latencies) in COHORTS.iter().zip(&latencies) {
        if latencies.is_empty() {
            continue;
        }
        let mut path = Path::from(axes.at(quantile(latencies, 0.0), 0.0));
        for step in 1..=MOST_STEPS {
            let share = step as f64 / MOST_STEPS as f64;
            path.line_to(axes.at(quantile(latencies, share), share * 100.0));
        }
        svg.path(look.curve, &path).close();
    }
    for (look, latencies) in COHORTS.iter().zip(&latencies) {
        if latencies.is_empty() {
            continue;
        }
        let median = quantile(latencies, 0.5);
        let at = axes.at(median, 50.0);
        svg.circle(look.dot, at, 4.5).close();
        // Above its dot for one cohort and below for the other, so that near medians do not collide.
        let below = if look.cohort == Cohort::Control {
            20.0
        } else {
            -12.0
        };
        let room_to_the_right = at.x < axes.frame.right - 130.0;
        let (anchor, aside) = if room_to_the_right {
            ("", 10.0)
        } else {
            (" e", -10.0)
        };
        let label = format!("median {} ms", figure(median));
        halo(
            svg,
            &format!("{}{anchor}", look.label),
            point(at.x + aside, at.y + below),
            &label,
        );
    }
    if latencies.iter().all(Vec::is_empty) {
        let middle = f64::midpoint(axes.frame.left, axes.frame.right);
        svg.text(
            "q m",
            point(middle, axes.frame.top + 40.0),
            "no answered requests",
        );
    }
}

fn legend(svg: &mut Svg) {
    let y = HEIGHT - 14.0;
    let mut x = OVER_TIME.left;
    let mut entry = |class: &str, text: &str, advance: f64| {
        svg.line(class, point(x, y - 4.0), point(x + 34.0, y - 4.0));
        svg.text("", point(x + 42.0, y), text);
        x += advance;
    };
    for look in COHORTS {
        let narrow = if look.cohort == Cohort::Exec {
            30.0
        } else {
            0.0
        };
        entry(look.curve, &format!("{}, mean", look.name), 190.0 - narrow);
        entry(look.thin, &format!("{}, 95th percentile", look.name), 250.0);
    }
}

/// Text that stays readable on top of lines: first in white with a thick outline, then itself.
fn halo(svg: &mut Svg, class: &str, at: Point, content: &str) {
    let outline = svg
        .element("text")
        .attribute("class", class)
        .attribute("style", "fill:#fff;stroke:#fff;opacity:.9");
    let outline = outline
        .number("stroke-width", 5.0)
        .number("x", at.x)
        .number("y", at.y);
    outline
        .attribute("stroke-linejoin", "round")
        .attribute("aria-hidden", "true")
        .content(content);
    svg.text(class, at, content);
}

/// The first round number at or above `value`.
fn nice_end(value: f64) -> f64 {
    let step = round_step(value, 6);
    (value / step).ceil().max(1.0) * step
}

/// A latency for reading: one decimal below 10 ms.
fn figure(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_console::svg::check;

    const MARKS: Marks = Marks {
        first_plan_ms: Some(10_000.0),
        first_lease_end_ms: Some(50_000.0),
    };

    fn record(at_ms: f64, latency_ms: f64, cohort: Cohort) -> Record {
        Record {
            at_ms,
            latency_ms,
            prefix: 0,
            cohort,
            object: "25k".to_owned(),
            served_by: None,
            edge: false,
            redirects: 0,
            body_octets: 0,
            error: None,
        }
    }

    fn run() -> Vec<Record> {
        let records = (0..600_u32).flat_map(|tick| {
            let at_ms = f64::from(tick) * 100.0;
            let near = (10_000.0..50_000.0).contains(&at_ms);
            let latency_ms = if near { 40.0 } else { 200.0 };
            [
                record(at_ms, 200.0, Cohort::Control),
                record(at_ms, latency_ms, Cohort::Exec),
            ]
        });
        records.collect()
    }

    #[test]
    fn the_figures_are_those_between_the_marks() {
        let drawing = draw(&run(), "25k", &MARKS);
        let expected = [
            "cloud alone: mean 200 ms",
            "ExEC: mean 40 ms",
            "median 200 ms",
            "median 40 ms",
            "first plan is realised, 10.0 s",
            "first lease ends, 50.0 s",
        ];
        for text in expected {
            assert!(
                drawing.contains(&format!(">{text}</text>")),
                "{text} is missing: {drawing}"
            );
        }
        check(&drawing);
    }

    #[test]
    fn the_order_of_the_records_does_not_matter() {
        let mut reversed = run();
        reversed.reverse();
        assert_eq!(draw(&run(), "25k", &MARKS), draw(&reversed, "25k", &MARKS));
    }

    #[test]
    fn nothing_and_one_sample_can_be_drawn() {
        let all_marks = [
            Marks::default(),
            MARKS,
            Marks {
                first_plan_ms: Some(f64::NAN),
                ..MARKS
            },
        ];
        for marks in all_marks {
            let empty = draw(&[], "25k", &marks);
            assert!(empty.contains("no answered requests"), "{empty}");
            check(&empty);
            check(&draw(&[record(20_000.0, 5.0, Cohort::Exec)], "25k", &marks));
        }
        let reversed = Marks {
            first_plan_ms: Some(50_000.0),
            first_lease_end_ms: Some(10_000.0),
        };
        check(&draw(&run(), "25k", &reversed));
    }

    #[test]
    fn unsound_numbers_failures_and_other_objects_are_left_out() {
        let mut records = run();
        let sound = draw(&records, "25k", &MARKS);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            records.push(record(value, 10.0, Cohort::Exec));
            records.push(record(10.0, value, Cohort::Control));
        }
        records.push(Record {
            object: "1m".to_owned(),
            ..record(20_000.0, 9_000.0, Cohort::Exec)
        });
        assert_eq!(draw(&records, "25k", &MARKS), sound);

        records.push(Record {
            error: Some("timeout".to_owned()),
            ..record(20_000.0, 9_000.0, Cohort::Exec)
        });
        let drawing = draw(&records, "25k", &MARKS);
        assert!(
            drawing.contains("Requests without a good answer, not drawn: 1."),
            "{drawing}"
        );
    }

    #[test]
    fn hostile_names_and_long_runs_stay_bounded() {
        let hostile = format!("<script>&{}", "x".repeat(5000));
        let records = (0..50_000_u32).map(|tick| Record {
            object: hostile.clone(),
            ..record(
                f64::from(tick) * 1e4,
                f64::from(tick % 977) * 1e3,
                Cohort::Exec,
            )
        });
        let drawing = draw(&records.collect::<Vec<_>>(), &hostile, &MARKS);
        assert!(!drawing.contains("<script"), "{drawing}");
        assert!(drawing.len() < 60_000, "{} octets", drawing.len());
        check(&drawing);
    }
}
