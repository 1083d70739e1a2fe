//! Processors that do not sleep between packets, for packets to be in time.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// The kernel's file of how long waking a processor may take (`Documentation/power/pm_qos_interface.rst`).
const LATENCY_FILE: &str = "/dev/cpu_dma_latency";

/// The wish that idle processors wait awake, in force until it is dropped.
///
/// A processor that sleeps takes tens of microseconds to wake, and a virtual one milliseconds if its host has given it
/// to somebody else meanwhile; a packet often wakes several.
#[derive(Debug)]
pub(super) struct Awake(Option<File>);

impl Awake {
    /// Asks for it; nothing is lost but precision where this user may not.
    pub(super) fn ask() -> Self {
        let ask = || {
            let mut file = OpenOptions::new().write(true).open(LATENCY_FILE)?;
            file.write_all(&0_i32.to_ne_bytes())?;
            std::io::Result::Ok(file)
        };
        Self(ask().ok())
    }

    /// Did the kernel take the wish?
    pub(super) const fn is_granted(&self) -> bool {
        self.0.is_some()
    }
}
