//! Writes paths: our JSON lines, and JSON for the tools that read scamper's.

mod json_lines;
mod scamper_json;

pub use json_lines::write_json_line;
pub use scamper_json::write_scamper_json;
