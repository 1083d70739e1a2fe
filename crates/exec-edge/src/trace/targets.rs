//! Which addresses are to be traced.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use anyhow::anyhow;

use super::args::{Args, TargetArg};
use super::lines;
use edge_console::exit::Failure;

/// Most targets of one run: with 17 octets each, and twice that while they are read, what a small machine can hold.
const MOST: usize = 16_000_000;

/// All of them, each once, in the order in which they were named.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) addresses: Vec<IpAddr>,
    /// How many were named again.
    pub(super) repeated: usize,
}

impl Targets {
    /// Reads all that the command line names. Nothing is probed before the last line is read, so that a wrong one costs
    /// nobody a probe.
    pub(super) fn gather(args: &Args) -> Result<Self, Failure> {
        let mut targets = Self::default();
        let mut seen = BTreeSet::new();
        let mut take = |address: IpAddr| {
            if seen.len() >= MOST {
                return Err("one target too many: trace at most 16 million in one run");
            }
            if seen.insert(address) {
                targets.addresses.push(address);
            } else {
                targets.repeated += 1;
            }
            Ok(())
        };
        let file = |file: &Path, take: &mut dyn FnMut(IpAddr) -> Result<(), &'static str>| {
            lines::each(file, &mut |word| {
                take(word.parse().map_err(|_| "not an address")?)
            })
        };
        for target in &args.targets {
            match target {
                TargetArg::StandardInput => file(Path::new("-"), &mut take)?,
                TargetArg::Address(address) => {
                    take(*address)
                        .map_err(|wrong| Failure::usage(anyhow!("{address} is {wrong}")))?;
                }
            }
        }
        for name in &args.file {
            file(name, &mut take)?;
        }
        Ok(targets)
    }
}
