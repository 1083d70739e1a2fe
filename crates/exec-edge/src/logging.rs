//! Diagnostics to standard error, chosen by `EXEC_EDGE_LOG` (default `warn`).

use tracing_subscriber::EnvFilter;

/// Installs the subscriber; a second call changes nothing.
pub(crate) fn start() {
    let filter =
        EnvFilter::try_from_env("EXEC_EDGE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let _already_installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
