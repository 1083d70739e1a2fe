//! `exec-edge simulate figures`: draws, tabulates, judges.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

#[cfg(feature = "png")]
use crate::png;
use crate::statement::Statement;
use crate::{figure3, figure4a, figure4b, figure5, figure6};
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Options of `exec-edge simulate figures`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// The directory to write to; it is made if need be. Each figure is an SVG and the CSV behind it, and a PNG if the program was built
    /// with the feature `png`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A directory with files of real paths, to draw figures of these too.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only this figure; may be repeated.
    #[arg(long, value_enum, value_name = "3|4a|4b|5|6")]
    figure: Vec<Figure>,
    /// Seed of all that is drawn by chance.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Rounds of a simulation, over which means are taken.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    rounds: u32,
    /// Clients of each round.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    clients: u64,
    /// Leave out what is measured in the lab, which needs root: all of figure 6, and the marks in 4b.
    #[arg(long)]
    without_lab: bool,
    /// Requests of each client in the lab, for figure 6.
    #[arg(long, hide = true, default_value_t = 30)]
    lab_requests: usize,
    /// How often figure 4b measures each of its marks in the lab; they are the medians. A run takes a minute and a half.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    lab_runs: u32,
    /// Print the statements as one JSON array.
    #[arg(long)]
    json: bool,
}

/// A figure of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Figure {
    /// The tree from cloud to clients, by centrality.
    #[value(name = "3")]
    Three,
    /// Placement schemes over the share of nodes.
    #[value(name = "4a")]
    FourA,
    /// Time to build the tree.
    #[value(name = "4b")]
    FourB,
    /// Limited numbers of edge providers.
    #[value(name = "5")]
    Five,
    /// Redirects over numbers of requests.
    #[value(name = "6")]
    Six,
}

impl Figure {
    const ALL: [Self; 5] = [Self::Three, Self::FourA, Self::FourB, Self::Five, Self::Six];

    const fn name(self) -> &'static str {
        match self {
            Self::Three => "3",
            Self::FourA => "4a",
            Self::FourB => "4b",
            Self::Five => "5",
            Self::Six => "6",
        }
    }
}

/// What all figures are made from.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) data: Option<&'a Path>,
    pub(super) seed: u64,
    pub(super) rounds: u32,
    pub(super) clients: u64,
    pub(super) in_lab: bool,
    /// Requests of each client in the lab.
    pub(super) lab_requests: usize,
    /// Runs of each measurement of figure 4b in the lab.
    pub(super) lab_runs: u32,
}

/// A figure, ready to be written.
#[derive(Debug)]
pub(super) struct Drawn {
    /// What it was drawn of, for file names.
    pub(super) key: &'static str,
    /// The same for people.
    pub(super) input: String,
    pub(super) svg: String,
    pub(super) csv: String,
    pub(super) statements: Vec<Statement>,
}

/// What is told of a figure.
#[derive(Serialize)]
struct Told<'a> {
    figure: &'static str,
    input: &'a str,
    files: Vec<PathBuf>,
    statements: &'a [Statement],
}

/// Tells how far a figure is.
pub(super) type Progress<'a> = &'a mut dyn FnMut(&str);

/// Runs it.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("making {}", args.out.display()))
        .map_err(Failure::usage)?;
    let request = Request {
        data: args.data.as_deref(),
        seed: args.seed,
        rounds: args.rounds,
        clients: args.clients,
        in_lab: !args.without_lab,
        lab_requests: args.lab_requests.clamp(2, 1000),
        lab_runs: args.lab_runs,
    };
    let wanted = Figure::ALL
        .into_iter()
        .filter(|figure| args.figure.is_empty() || args.figure.contains(figure));
    let mut all = Vec::new();
    for figure in wanted {
        let is_terminal = std::io::stderr().is_terminal();
        let mut progress = |text: &str| {
            if is_terminal {
                output::status(&format!("\r\x1b[2Kfigure {}: {text}", figure.name()));
            }
        };
        let drawn = match figure {
            Figure::Three => figure3::draw(&request)?,
            Figure::FourA => figure4a::draw(&request, &mut progress)?,
            Figure::FourB => vec![figure4b::draw(&request, &mut progress)?],
            Figure::Five => figure5::draw(&request, &mut progress)?,
            Figure::Six if args.without_lab => Vec::new(),
            Figure::Six => vec![figure6::draw(&request, &mut progress)?],
        };
        if is_terminal {
            output::status("\r\x1b[2K");
        }
        for drawn in drawn {
            let files = write(&args.out, figure, &drawn)?;
            let told = Told {
                figure: figure.name(),
                input: &drawn.input,
                files,
                statements: &drawn.statements,
            };
            if args.json {
                all.push(serde_json::to_value(&told).context("telling a figure")?);
            } else {
                told.tell();
            }
        }
    }
    if !cfg!(feature = "png") {
        output::error(
            "no PNG drawn: this program was built without it; cargo build --release --features png",
        );
    }
    if args.json {
        let text = serde_json::to_string_pretty(&all).context("telling the figures")?;
        output::line(&text);
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a figure's files, the drawing first.
fn write(out: &Path, figure: Figure, drawn: &Drawn) -> Result<Vec<PathBuf>, Failure> {
    let stem = format!("figure-{}-{}", figure.name(), drawn.key);
    let contents = [
        ("svg", drawn.svg.as_bytes()),
        ("csv", drawn.csv.as_bytes()),
        #[cfg(feature = "png")]
        (
            "png",
            &png::render(&drawn.svg).with_context(|| format!("drawing {stem}.png"))?,
        ),
    ];
    let mut files = Vec::new();
    for (ending, content) in contents {
        let file = out.join(format!("{stem}.{ending}"));
        std::fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

impl Told<'_> {
    fn tell(&self) {
        let files: Vec<String> = self
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        output::line(&format!(
            "figure {} of {}: {}",
            self.figure,
            self.input,
            files.join(", ")
        ));
        for statement in self.statements {
            output::line(&format!(
                "  {}: \"{}\" {}",
                statement.verdict.spoken(),
                statement.quote,
                statement.because
            ));
        }
    }
}

/// A table as CSV: a line of names, then lines of values.
#[derive(Debug)]
pub(super) struct Table(String);

impl Table {
    pub(super) fn new(names: &[&str]) -> Self {
        Self(format!("{}\n", names.join(",")))
    }

    /// Adds a line; texts with commas or quotes are quoted.
    pub(super) fn line(&mut self, values: &[Cell<'_>]) {
        for (position, value) in values.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = match value {
                Cell::Text(text) if text.contains([',', '"', '\n']) => {
                    write!(self.0, "{comma}\"{}\"", text.replace('"', "\"\""))
                }
                Cell::Text(text) => write!(self.0, "{comma}{text}"),
                Cell::Count(count) => write!(self.0, "{comma}{count}"),
                Cell::Number(number) => write!(self.0, "{comma}{number:.4}"),
                Cell::Nothing => write!(self.0, "{comma}"),
            };
        }
        self.0.push('\n');
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A value of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    Text(&'a str),
    Count(u64),
    Number(f64),
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_quote_what_has_commas() {
        let mut table = Table::new(&["name", "n", "x"]);
        table.line(&[Cell::Text("a, \"b\""), Cell::Count(3), Cell::Number(0.25)]);
        table.line(&[Cell::Text("c"), Cell::Nothing, Cell::Number(1.0)]);
        assert_eq!(
            table.finish(),
            "name,n,x\n\"a, \"\"b\"\"\",3,0.2500\nc,,1.0000\n"
        );
    }
}
