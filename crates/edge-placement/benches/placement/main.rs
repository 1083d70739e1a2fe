//! Measures placement; `cargo xtask bench placement` runs it beside its peers and makes rows of what it prints.
//!
//! Prints one JSON object a line: `{"case", "values": [..]}` by case of the first argument, `quality`, `speed`, `betweenness` or
//! `graphs`; the second is the folder with real data, or `-`.

mod inputs;
mod quality;
mod speed;

use std::io::Write as _;

/// Prints a line of results.
fn tell(case: &str, values: &[f64]) {
    let line = serde_json::json!({ "case": case, "values": values });
    let _closed = writeln!(std::io::stdout(), "{line}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let data = arguments
        .get(1)
        .filter(|folder| folder.as_str() != "-")
        .map(std::path::PathBuf::from);
    match arguments.first().map(String::as_str) {
        Some("quality") => quality::run(data.as_deref()),
        Some("speed") => speed::plans(),
        Some("betweenness") => speed::betweenness(data.as_deref()),
        Some("graphs") => speed::write_graphs(data.as_deref(), &arguments[2]),
        // As `cargo bench` and `cargo test` call it without any.
        _ => {}
    }
}
