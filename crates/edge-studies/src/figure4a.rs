//! Figure 4a: placement schemes over the share of nodes that have a service.

use edge_sim::figures::{INNER, LEAVES, OverShare, Rounds, Scheme, crossings, over_share};

use crate::chart::{self, Axis, Chart, Frame, Series};
use crate::figures::{Cell, Drawn, Progress, Request, Table};
use crate::inputs::{self, Input};
use crate::statement::{Statement, Verdict};
use edge_console::exit::Failure;
use edge_console::svg::{Svg, point};

/// The largest share drawn, in percent.
const LARGEST_SHARE: u32 = 60;

/// Draws it of the shipped scenario, and of real paths if there are any.
pub(super) fn draw(request: &Request<'_>, progress: Progress<'_>) -> Result<Vec<Drawn>, Failure> {
    let mut drawn = Vec::new();
    for input in &inputs::trees(request)? {
        drawn.push(draw_one(input, request, progress)?);
    }
    if let Some(first) = drawn.first_mut() {
        progress("made-up trees of the paper's shape");
        first.statements.push(of_shape(request)?);
    }
    Ok(drawn)
}

/// Is "over 20%" what the paper's numbers of nodes lead to?
fn of_shape(request: &Request<'_>) -> Result<Statement, Failure> {
    let found =
        crossings(request.rounds, request.clients, request.seed).map_err(Failure::runtime)?;
    let mut shares: Vec<f64> = found.iter().flatten().copied().collect();
    shares.sort_by(f64::total_cmp);
    let run_out = 100.0 * INNER as f64 / (INNER + LEAVES) as f64;
    let near = |share: f64| (share - run_out).abs() <= 2.5;
    let count = shares.iter().filter(|share| near(**share)).count();
    let because = match shares.get(shares.len() / 2) {
        Some(median) => format!(
            "on {} made-up trees of {INNER} inner nodes and {LEAVES} leaves greedy is never slower from {median:.1} % on in the median, \
             {:.1} to {:.1} % in all; inner nodes run out at {run_out:.1} %, and {count} of the trees are within 2.5 points of that",
            found.len(),
            shares[0],
            shares[shares.len() - 1],
        ),
        None => {
            "greedy never overtakes on made-up trees of the paper's numbers of nodes".to_owned()
        }
    };
    Ok(Statement::decide(
        "(ours) greedy overtakes centrality where inner nodes run out, which on the paper's tree is at 22.5 %",
        2 * count > found.len(),
        because,
    ))
}

fn draw_one(
    input: &Input,
    request: &Request<'_>,
    progress: Progress<'_>,
) -> Result<Drawn, Failure> {
    let shares: Vec<u32> = (0..=LARGEST_SHARE).collect();
    let rounds = Rounds {
        rounds: request.rounds,
        clients: request.clients,
        seed: request.seed,
    };
    let figure = over_share(&input.places, &rounds, &shares, |round| {
        progress(&format!(
            "{}, round {} of {}",
            input.key,
            round + 1,
            request.rounds
        ));
    })
    .map_err(Failure::runtime)?;
    Ok(Drawn {
        key: input.key,
        input: input.name.clone(),
        svg: picture(&figure, input, request),
        csv: table(&figure),
        statements: statements(&figure),
    })
}

fn table(figure: &OverShare) -> String {
    let mut table = Table::new(&[
        "scheme",
        "sites",
        "share_percent",
        "mean_ms",
        "half_width_95_ms",
    ]);
    let line = |table: &mut Table, name: &str, sites: usize, mean: f64, half_width: f64| {
        table.line(&[
            Cell::Text(name),
            Cell::Count(sites as u64),
            Cell::Number(figure.percent(sites)),
            Cell::Number(mean),
            Cell::Number(half_width),
        ]);
    };
    for sites in figure.curves.first().map_or(&[][..], |curve| &curve.sites) {
        let cloud = figure.cloud_ms;
        line(
            &mut table,
            "cloud only",
            *sites,
            cloud.mean,
            cloud.half_width,
        );
    }
    for curve in &figure.curves {
        for (sites, estimate) in curve.sites.iter().zip(&curve.ms) {
            line(
                &mut table,
                curve.scheme.name(),
                *sites,
                estimate.mean,
                estimate.half_width,
            );
        }
    }
    table.finish()
}

fn statements(figure: &OverShare) -> Vec<Statement> {
    let at = |scheme, percent| figure.at(scheme, percent).unwrap_or(f64::NAN);
    let inner = 100.0 * figure.inner as f64 / figure.hosts as f64;
    let cloud = figure.cloud_ms.mean;
    let mut statements = vec![Statement::decide(
        "in the absence of an edge the average latency stays around 100 ms",
        (85.0..=115.0).contains(&cloud),
        format!("{cloud:.1} ms here; it is a property of the network"),
    )];

    let few = [2, 5, 10];
    let best = few.iter().filter(|share| {
        let centrality = at(Scheme::Centrality, **share);
        centrality < at(Scheme::Random, **share) && centrality < at(Scheme::Greedy, **share)
    });
    let best = best.count();
    statements.push(Statement::new(
        "Centrality performs well when service can be deployed only to a limited number of edge nodes",
        if best == few.len() {
            Verdict::Held
        } else if best > 0 {
            Verdict::HeldOnlyIf
        } else {
            Verdict::NotHeld
        },
        format!(
            "with 5 % of the nodes {:.1} ms, against random {:.1}, greedy {:.1}, the optimum {:.1}; it is the best of the paper's \
             three at {best} of 2, 5 and 10 %",
            at(Scheme::Centrality, 5),
            at(Scheme::Random, 5),
            at(Scheme::Greedy, 5),
            at(Scheme::Optimum, 5),
        ),
    ));

    let ratio = |share| at(Scheme::Centrality, share) / at(Scheme::Optimum, share);
    statements.push(Statement::decide(
        "near-optimal placement of edge services",
        [2, 5, 10].into_iter().all(|share| ratio(share) <= 1.1),
        format!(
            "centrality takes {:.1}, {:.1} and {:.1} times as long as the optimum with 2, 5 and 10 % of the nodes; near would be at \
             most 1.1",
            ratio(2),
            ratio(5),
            ratio(10),
        ),
    ));

    let overtakes = figure.overtakes(Scheme::Greedy, Scheme::Centrality);
    let exhausted = format!(
        "inner nodes, the only ones with a centrality above 0, run out at {inner:.1} % ({} of {})",
        figure.inner, figure.hosts
    );
    statements.push(match overtakes {
        Some(share) => Statement::new(
            "Greedy method outperforms centrality when the service is deployed to over 20% edge nodes in the network",
            if share <= 20.0 { Verdict::Held } else { Verdict::HeldOnlyIf },
            format!("greedy is never slower from {share:.1} % on; {exhausted}"),
        ),
        None => Statement::new(
            "Greedy method outperforms centrality when the service is deployed to over 20% edge nodes in the network",
            Verdict::NotHeld,
            format!("up to {LARGEST_SHARE} % it does not for good; {exhausted}"),
        ),
    });

    let (random, saved) = (at(Scheme::Random, 30), cloud - at(Scheme::Centrality, 30));
    let share = (cloud - random) / saved;
    statements.push(Statement::decide(
        "Given more than 30% of edge nodes, random placement also starts to work well",
        share >= 0.9,
        format!(
            "at 30 % random takes {random:.1} ms and saves {:.0} % of what centrality does ({:.1} ms); the optimum takes {:.1} ms",
            share * 100.0,
            at(Scheme::Centrality, 30),
            at(Scheme::Optimum, 30)
        ),
    ));

    let target = cloud * 0.3;
    let spoken = |share: Option<f64>| {
        share.map_or("more than any".to_owned(), |share| format!("{share:.1} %"))
    };
    let (ours, theirs) = (
        figure.reaches(Scheme::Saving, target),
        figure.reaches(Scheme::Centrality, target),
    );
    statements.push(Statement::decide(
        "(ours) placement by saving needs at most half of the nodes that centrality needs to cut the cloud's latency by 70 %",
        matches!((ours, theirs), (Some(ours), Some(theirs)) if ours <= theirs / 2.0)
            || (ours.is_some() && theirs.is_none()),
        format!(
            "to come to {target:.1} ms: saving {} of the nodes, centrality {}, weighted with nearer ones first {}, the optimum {}",
            spoken(ours),
            spoken(theirs),
            spoken(figure.reaches(Scheme::Weighted, target)),
            spoken(figure.reaches(Scheme::Optimum, target)),
        ),
    ));
    statements
}

fn look(scheme: Scheme) -> usize {
    match scheme {
        Scheme::Random => 1,
        Scheme::Greedy => 2,
        Scheme::Centrality => 3,
        Scheme::Weighted => 4,
        Scheme::Saving => 5,
        Scheme::Optimum => 6,
    }
}

fn picture(figure: &OverShare, input: &Input, request: &Request<'_>) -> String {
    let mut svg = Svg::new(
        960.0,
        580.0,
        "Latency over the share of nodes used",
        chart::STYLE,
    );
    svg.text(
        "h",
        point(24.0, 38.0),
        "Mean latency of placement schemes over the share of nodes used (Figure 4a)",
    );
    for (row, line) in wrapped(&input.name, 118).into_iter().enumerate() {
        svg.text("q", point(24.0, 62.0 + 19.0 * row as f64), &line);
    }
    let cloud = figure.cloud_ms;
    let mut series = vec![Series {
        name: "cloud only".to_owned(),
        look: 0,
        points: [0.0, f64::from(LARGEST_SHARE)]
            .map(|share| (share, cloud.mean, cloud.half_width))
            .to_vec(),
        only_markers: false,
    }];
    for curve in &figure.curves {
        let points = curve.sites.iter().zip(&curve.ms);
        series.push(Series {
            name: curve.scheme.name().to_owned(),
            look: look(curve.scheme),
            points: points
                .map(|(sites, ms)| (figure.percent(*sites), ms.mean, ms.half_width))
                .collect(),
            only_markers: false,
        });
    }
    let inner = 100.0 * figure.inner as f64 / figure.hosts as f64;
    let end = figure.cloud_ms.mean * 1.08;
    let chart = Chart {
        title: format!(
            "Means of {} rounds of {} clients; bands: 95 %",
            request.rounds,
            thousands(request.clients)
        ),
        frame: Frame {
            left: 84.0,
            right: 630.0,
            top: 150.0,
            bottom: 510.0,
        },
        x: Axis::exact(
            "share of nodes with a service",
            f64::from(LARGEST_SHARE),
            " %",
        ),
        y: Axis::linear("round trip of a client in ms", end, ""),
        series,
        marks: if inner < f64::from(LARGEST_SHARE) {
            vec![(
                inner,
                format!("inner nodes run out: {} of {}", figure.inner, figure.hosts),
            )]
        } else {
            Vec::new()
        },
    };
    chart.draw(&mut svg);
    chart::legend(&mut svg, point(652.0, 190.0), chart.series.iter());
    svg.finish()
}

/// Digits in groups of three.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Words in lines of at most `most` characters, longer words aside.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_cut_where_they_should_be() {
        assert_eq!(
            ["7", "1,000", "12,345,678"],
            [7, 1000, 12_345_678]
                .map(thousands)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }
}
