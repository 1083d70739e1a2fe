//! The only place that writes to the terminal.
//!
//! A reader that has gone away (a closed pipe) is not an error.

use std::io::Write;

/// One line of data, to standard output.
pub fn line(text: &str) {
    let _closed_pipe = writeln!(std::io::stdout(), "{text}");
}

/// One line for people, to standard error.
pub fn error(text: &str) {
    let _closed_pipe = writeln!(std::io::stderr(), "{text}");
}

/// Something for people that is written over next time, to standard error.
pub fn status(text: &str) {
    let mut stderr = std::io::stderr();
    let _closed_pipe = write!(stderr, "{text}").and_then(|()| stderr.flush());
}
