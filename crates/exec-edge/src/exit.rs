//! How the command ends.

use std::process::ExitCode;

use crate::output;

/// Why the process exits, as documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
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
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Arguments, configuration or an input file are wrong (exit 64).
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
            hint: None,
        }
    }

    /// It failed while running (exit 2).
    pub(crate) fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Runtime,
            error: error.into(),
            hint: None,
        }
    }

    /// Adds the remedy.
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Prints `error: …` with all causes on one line, then the hint.
    pub(crate) fn report(self) -> ExitCode {
        output::error(&format!("error: {:#}", self.error));
        if let Some(hint) = self.hint {
            output::error(&format!("hint: {hint}"));
        }
        self.exit.into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::runtime(error)
    }
}

/// Help and version are answers; everything else that clap says is a usage error.
pub(crate) fn from_clap(error: &clap::Error) -> ExitCode {
    let shown = error.print();
    match (error.use_stderr(), shown) {
        (true, _) => Exit::Usage.into(),
        (false, _) => ExitCode::SUCCESS,
    }
}
