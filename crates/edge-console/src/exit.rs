//! How the command ends.

use std::path::Path;
use std::process::ExitCode;

use crate::output;

/// What the codes mean, for the help of commands that can end in more ways than well.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 ran, but the answer is negative; 2 failed while running; 64 wrong usage or input.";

/// Why the process exits, as documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran, but the answer is negative.
    Negative = 1,
    /// It failed while running.
    Runtime = 2,
    /// Arguments, configuration or an input file are wrong.
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What stopped a command, and what the user can do about it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Arguments, configuration or an input file are wrong (exit 64).
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
            hint: None,
        }
    }

    /// It failed while running (exit 2).
    pub fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Runtime,
            error: error.into(),
            hint: None,
        }
    }

    /// A configuration file is not TOML of the expected shape (exit 64): `file:line: what`, with the setting's name.
    pub fn malformed(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.bytes().take(start);
        let line = 1 + before.filter(|octet| *octet == b'\n').count();
        // Without the text it is told by the setting's name instead of a picture of several lines.
        let mut error = error.clone();
        error.set_input(None);
        let told = error.to_string();
        let told = told.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Self::usage(anyhow::anyhow!("{}:{line}: {told}", file.display()))
            .with_hint("correct this line")
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Prints one line: `error: …` with all causes, then the remedy.
    pub fn report(self) -> ExitCode {
        let hint = self
            .hint
            .map_or_else(String::new, |hint| format!("; {hint}"));
        output::error(&format!("error: {:#}{hint}", self.error));
        self.exit.into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::runtime(error)
    }
}

/// Help and version are answers; everything else that clap says is a usage error.
pub fn from_clap(error: &clap::Error) -> ExitCode {
    let shown = error.print();
    match (error.use_stderr(), shown) {
        (true, _) => Exit::Usage.into(),
        (false, _) => ExitCode::SUCCESS,
    }
}
