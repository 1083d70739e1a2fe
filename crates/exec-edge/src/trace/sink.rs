//! Where the paths go, in the format that is asked for.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use edge_trace_files::{PathRecord, write_json_line, write_scamper_json};

use super::args::Output;
use super::table;
use super::views::Gathered;
use edge_console::exit::Failure;

/// Writes each path as it comes, or all at the end if the format needs them together.
pub(super) struct Sink {
    out: Box<dyn Write>,
    form: Form,
    written: u64,
    /// Does it share a terminal with progress?
    pub(super) is_terminal: bool,
}

enum Form {
    Table,
    JsonArray,
    JsonLines,
    Scamper,
    Together(Gathered, fn(&Gathered) -> anyhow::Result<String>),
}

/// Why a path was not written.
#[derive(Debug)]
pub(super) enum SinkError {
    /// The reader has gone away, which is no error.
    Closed,
    /// They could not be written.
    Write(anyhow::Error),
    /// Something else.
    Other(anyhow::Error),
}

impl Sink {
    /// Opens `to`, or standard output.
    pub(super) fn open(output: Output, to: Option<&Path>) -> Result<Self, Failure> {
        let out: Box<dyn Write> = match to {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(BufWriter::new(
                File::create(path)
                    .with_context(|| format!("writing {}", path.display()))
                    .map_err(Failure::usage)?,
            )),
        };
        let is_terminal = to.is_none() && io::stdout().is_terminal();
        Ok(Self::new(out, output, is_terminal))
    }

    /// Appends to a file of earlier paths.
    pub(super) fn appending(file: File) -> Self {
        Self::new(Box::new(BufWriter::new(file)), Output::JsonLines, false)
    }

    fn new(out: Box<dyn Write>, output: Output, is_terminal: bool) -> Self {
        let form = match output {
            Output::Table => Form::Table,
            Output::Json => Form::JsonArray,
            Output::JsonLines => Form::JsonLines,
            Output::Scamper => Form::Scamper,
            Output::Links => Form::Together(Gathered::new(), Gathered::links),
            Output::Dot => Form::Together(Gathered::new(), Gathered::dot),
            Output::Svg => Form::Together(Gathered::new(), Gathered::svg),
        };
        Self {
            out,
            form,
            written: 0,
            is_terminal,
        }
    }

    /// Is it for people, so that more words may go with a path?
    pub(super) const fn is_prose(&self) -> bool {
        matches!(self.form, Form::Table)
    }

    /// Takes a path, and words about it if it is for people.
    pub(super) fn path(&mut self, record: &PathRecord, words: &str) -> Result<(), SinkError> {
        let is_first = self.written == 0;
        self.written += 1;
        let between = |separator: &'static str| if is_first { "" } else { separator };
        let text = match &mut self.form {
            Form::Table => format!("{}{}{words}", between("\n"), table::block(&record.path)),
            Form::JsonArray => {
                let opening = if is_first { "[\n" } else { ",\n" };
                format!("{opening}{}", write_json_line(record))
            }
            Form::JsonLines => write_json_line(record) + "\n",
            Form::Scamper => write_scamper_json(record) + "\n",
            Form::Together(gathered, _) => {
                return gathered.insert(&record.path).map_err(SinkError::Other);
            }
        };
        // Whole records only, so that an interruption leaves no half ones.
        self.write(&text)
    }

    /// Writes what comes after the last path.
    pub(super) fn finish(mut self) -> Result<(), SinkError> {
        let text = match &self.form {
            Form::JsonArray if self.written == 0 => "[]\n".to_owned(),
            Form::JsonArray => "\n]\n".to_owned(),
            Form::Together(gathered, view) => view(gathered).map_err(SinkError::Other)?,
            Form::Table | Form::JsonLines | Form::Scamper => String::new(),
        };
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> Result<(), SinkError> {
        let written = self.out.write_all(text.as_bytes());
        written
            .and_then(|()| self.out.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => SinkError::Closed,
                _ => SinkError::Write(anyhow::Error::new(error).context("writing the paths")),
            })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use edge_trace_files::{Format, Limits, TraceDetails, read};
    use edge_types::{Hop, HopReply, MonotonicTime, PathEnd, PathObservation, Rtt};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Two targets behind one router and a silent hop.
    fn records() -> Vec<PathRecord> {
        let reply = |address: [u8; 4], ms| {
            Hop::Reply(HopReply::new(
                address.into(),
                Rtt(Duration::from_millis(ms)),
            ))
        };
        let path = |last: u8| PathObservation {
            target: [240, 0, 9, last].into(),
            observed_at: MonotonicTime::ZERO,
            hops: vec![
                reply([240, 0, 0, 1], 2),
                Hop::NoReply,
                reply([240, 0, 9, last], 7),
            ],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 3,
        };
        let records = [1, 2].map(|last| PathRecord {
            path: path(last),
            details: TraceDetails::default(),
        });
        records.to_vec()
    }

    fn written(output: Output, records: &[PathRecord]) -> String {
        let shared = Shared::default();
        let mut sink = Sink::new(Box::new(shared.clone()), output, false);
        for record in records {
            sink.path(record, "").unwrap();
        }
        sink.finish().unwrap();
        let octets = shared.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn what_is_written_as_lines_is_read_back_equal() {
        for (output, format) in [
            (Output::JsonLines, Format::JsonLines),
            (Output::Scamper, Format::ScamperJson),
        ] {
            let text = written(output, &records());
            let import = read(text.as_bytes(), None, &Limits::default()).unwrap();
            assert_eq!(import.format, format);
            assert_eq!(import.records, records());
        }
    }

    #[test]
    fn an_array_holds_the_lines_objects() {
        let array: Vec<serde_json::Value> =
            serde_json::from_str(&written(Output::Json, &records())).unwrap();
        let lines = written(Output::JsonLines, &records());
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(array, lines);
        assert_eq!(written(Output::Json, &[]), "[]\n");
    }

    #[test]
    fn the_graph_has_a_node_for_each_interface_and_silent_hop() {
        let dot = written(Output::Dot, &records());
        assert!(
            dot.starts_with("digraph paths {\n") && dot.ends_with("}\n"),
            "{dot}"
        );
        assert!(dot.contains("label=\"240.0.0.1\\n2.0 ms\"]"), "{dot}");
        assert!(
            dot.contains("label=\"240.0.9.1\\n7.0 ms\", shape=box]"),
            "{dot}"
        );
        assert_eq!(
            dot.matches("label=\"*\", style=dashed]").count(),
            2,
            "{dot}"
        );
        assert!(
            dot.contains("[weight=2, label=\"2\", penwidth=1.50]"),
            "{dot}"
        );
        // Here, a router, two silent hops and two targets.
        assert_eq!(
            dot.matches("];\n").count() - dot.matches("->").count() - 2,
            6,
            "{dot}"
        );
    }

    #[test]
    fn links_and_picture_are_made_of_all_paths() {
        assert_eq!(written(Output::Links, &records()), "");
        let svg = written(Output::Svg, &records());
        edge_console::svg::check(&svg);
        assert!(svg.contains("Paths to 2 targets"), "{svg}");
        assert!(
            !svg.contains("requests") && !svg.contains("rented"),
            "{svg}"
        );
    }
}
