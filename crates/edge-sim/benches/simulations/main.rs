//! Measures renting over time and tells what equal seeds give; `cargo xtask bench placement` runs it and makes rows of what it prints.
//!
//! Prints one JSON object a line. The first argument is the case: `over-time FILE`, the requests of each minute of a service, or
//! `determinism THREADS`.

#[expect(dead_code, reason = "only the shipped network is used of it")]
#[path = "../../../edge-placement/benches/placement/inputs.rs"]
mod inputs;

mod determinism;
mod over_time;

use std::io::Write as _;

/// Prints a line of results.
fn tell(line: &serde_json::Value) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("over-time") => over_time::run(std::path::Path::new(&arguments[1])),
        Some("determinism") => determinism::run(arguments[1].parse().expect("a number")),
        // As `cargo bench` and `cargo test` call it without any.
        _ => {}
    }
}
