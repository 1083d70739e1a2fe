//! Numbered write points at which the process kills itself, for tests of what is left behind.
//!
//! Inert unless the environment variable [`VARIABLE`] holds a number from 1: the process then ends by SIGKILL, as from
//! outside, when it comes to its write point of that number. Journal appends, transactions and container starts are write
//! points, each both before and after it happens.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The environment variable with the number of the write point, from 1.
pub const VARIABLE: &str = "EXEC_EDGE_DIE_AT";

static PASSED: AtomicU64 = AtomicU64::new(0);

/// Passes a write point; `what` names it to people.
pub fn point(what: &str) {
    if is_last(what) {
        die();
    }
}

/// Passes a write point and tells whether it is the one to die at; the caller then does half of its work and calls
/// [`die`].
pub(crate) fn is_last(what: &str) -> bool {
    let Some(chosen) = chosen() else { return false };
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if number == chosen {
        let _ = writeln!(std::io::stderr(), "dies at write point {number}: {what}");
    }
    number == chosen
}

/// Ends the process by SIGKILL.
pub(crate) fn die() -> ! {
    let _ = kill(Pid::this(), Signal::SIGKILL);
    // The signal ends this thread too, within an instant.
    loop {
        std::thread::park();
    }
}

fn chosen() -> Option<u64> {
    static CHOSEN: OnceLock<Option<u64>> = OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var(VARIABLE).ok()?.parse().ok())
}
