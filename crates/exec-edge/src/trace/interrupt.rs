//! Ctrl-C and SIGTERM: the run ends with what is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Told by the first signal; the second ends the process at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Listens from now on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let told = Self::default();
        let flag = told.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("listening for Ctrl-C")?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            let listen = |kind| signal(kind).context("listening for Ctrl-C");
            (
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
            )
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            _ = interrupt.recv() => {}
                            _ = terminate.recv() => {}
                        }
                        if flag.0.swap(true, Ordering::Relaxed) {
                            std::process::exit(edge_console::exit::Exit::Runtime as i32);
                        }
                    }
                });
            })
            .context("starting a thread")?;
        Ok(told)
    }

    pub(super) fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
