//! Figure 5: centrality where few nodes have an edge, and the application uses a part of them.

use edge_sim::figures::{Equipped, Estimate, Rounds, equipped};

use crate::chart::{self, Frame, Grid};
use crate::figure4a::{thousands, wrapped};
use crate::figures::{Cell, Drawn, Progress, Request, Table};
use crate::inputs::{self, Input};
use crate::statement::{Statement, Verdict};
use edge_console::exit::Failure;
use edge_console::svg::{Svg, point};

/// What the paper says that latency stays below, in milliseconds.
const PAPER_MS: f64 = 30.0;

/// Draws it of the shipped scenario, and of real paths if there are any.
pub(super) fn draw(request: &Request<'_>, progress: Progress<'_>) -> Result<Vec<Drawn>, Failure> {
    inputs::trees(request)?
        .iter()
        .map(|input| draw_one(input, request, progress))
        .collect()
}

fn draw_one(
    input: &Input,
    request: &Request<'_>,
    progress: Progress<'_>,
) -> Result<Drawn, Failure> {
    let rounds = Rounds {
        rounds: request.rounds,
        clients: request.clients,
        seed: request.seed,
    };
    let shares = |end: u32, step: usize| (0..=end).step_by(step).collect::<Vec<u32>>();
    let figure = equipped(
        &input.places,
        &rounds,
        &shares(30, 5),
        &shares(100, 10),
        |round| {
            progress(&format!(
                "{}, round {} of {}",
                input.key,
                round + 1,
                request.rounds
            ));
        },
    )
    .map_err(Failure::runtime)?;
    Ok(Drawn {
        key: input.key,
        input: input.name.clone(),
        svg: picture(&figure, input, request),
        csv: table(&figure),
        statements: vec![statement(&figure)],
    })
}

fn table(figure: &Equipped) -> String {
    let mut table = Table::new(&[
        "equipped_percent",
        "used_percent",
        "centrality_ms",
        "centrality_half_width_95_ms",
        "saving_ms",
        "saving_half_width_95_ms",
    ]);
    for (row, equipped) in figure.equipped.iter().enumerate() {
        for (column, used) in figure.used.iter().enumerate() {
            let (centrality, saving) = (
                figure.centrality_ms[row][column],
                figure.saving_ms[row][column],
            );
            table.line(&[
                Cell::Count(u64::from(*equipped)),
                Cell::Count(u64::from(*used)),
                Cell::Number(centrality.mean),
                Cell::Number(centrality.half_width),
                Cell::Number(saving.mean),
                Cell::Number(saving.half_width),
            ]);
        }
    }
    table.finish()
}

fn statement(figure: &Equipped) -> Statement {
    let at = |values: &[Vec<Estimate>], equipped: u32, used: u32| {
        let row = figure.equipped.iter().position(|share| *share == equipped);
        let column = figure.used.iter().position(|share| *share == used);
        row.zip(column)
            .map_or(f64::NAN, |(row, column)| values[row][column].mean)
    };
    let centrality = |equipped, used| at(&figure.centrality_ms, equipped, used);
    let saving = |equipped, used| at(&figure.saving_ms, equipped, used);
    let verdict = if centrality(20, 50) <= PAPER_MS {
        Verdict::Held
    } else if centrality(30, 50) <= PAPER_MS || saving(20, 50) <= PAPER_MS {
        Verdict::HeldOnlyIf
    } else {
        Verdict::NotHeld
    };
    Statement::new(
        "when the network has more than 20% of equipped with an edge, and around half of them with highest centrality are used \
         by the application, the latency stays at or below 30ms",
        verdict,
        format!(
            "half of 20 %: centrality {:.1} ms, saving {:.1}; half of 25 %: {:.1} and {:.1}; half of 30 %: {:.1} and {:.1}; all of 20 %: \
             {:.1}; the cloud alone {:.1}",
            centrality(20, 50),
            saving(20, 50),
            centrality(25, 50),
            saving(25, 50),
            centrality(30, 50),
            saving(30, 50),
            centrality(20, 100),
            centrality(0, 0),
        ),
    )
}

fn picture(figure: &Equipped, input: &Input, request: &Request<'_>) -> String {
    let mut svg = Svg::new(
        1180.0,
        520.0,
        "Latency with limited edge providers",
        chart::STYLE,
    );
    svg.text(
        "h",
        point(24.0, 38.0),
        "Mean latency where few nodes have an edge and a part of them is used (Figure 5), in ms",
    );
    let name = format!(
        "{}. Means of {} rounds of {} clients.",
        input.name,
        request.rounds,
        thousands(request.clients)
    );
    for (row, line) in wrapped(&name, 150).into_iter().enumerate() {
        svg.text("q", point(24.0, 62.0 + 19.0 * row as f64), &line);
    }
    let percent = |shares: &[u32]| {
        shares
            .iter()
            .map(|share| format!("{share} %"))
            .collect::<Vec<_>>()
    };
    let panels = [
        (
            "Used by highest betweenness, as in the paper",
            &figure.centrality_ms,
            84.0,
        ),
        ("Used by what saves most (ours)", &figure.saving_ms, 644.0),
    ];
    for (title, values, left) in panels {
        let means = |row: &Vec<Estimate>| row.iter().map(|estimate| estimate.mean).collect();
        let grid = Grid {
            title: title.to_owned(),
            subtitle: format!("framed: at or below {PAPER_MS} ms"),
            frame: Frame {
                left,
                right: left + 510.0,
                top: 150.0,
                bottom: 430.0,
            },
            columns: percent(&figure.used),
            columns_title: "share of the equipped nodes that the application uses".to_owned(),
            rows: percent(&figure.equipped),
            rows_title: "rows: share of nodes equipped with an edge".to_owned(),
            values: values.iter().map(means).collect(),
            largest: figure.centrality_ms[0][0].mean,
            framed_below: PAPER_MS,
        };
        grid.draw(&mut svg);
    }
    svg.finish()
}
