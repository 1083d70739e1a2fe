//! The interfaces that answered on any path, each known by a small number.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{HopReply, MonotonicTime, Rtt};

use crate::normalise::Interface;
use crate::rtt::{RttSummary, RttWindow};

/// Number of an interface, while any path has it. It depends on history, so nothing that is shown may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InterfaceNumber(u32);

impl InterfaceNumber {
    /// Where it is in a list with one place per number.
    pub(crate) const fn place(self) -> usize {
        self.0 as usize
    }
}

/// All interfaces; one is forgotten when the last path through it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    numbers: BTreeMap<Interface, InterfaceNumber>,
    known: Vec<Known>,
    free: Vec<InterfaceNumber>,
}

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) interface: Interface,
    on_paths: u32,
    pub(crate) window: RttWindow,
    /// Latest round trip seen from inside a tunnel: no sample, since such replies travel on to its end, but a bound.
    pub(crate) tunnel_rtt: Option<Rtt>,
    /// By how many hops the way back was longer than the way there, when last told.
    pub(crate) extra_hops: Option<i16>,
}

impl Interfaces {
    pub(crate) const fn new() -> Self {
        Self {
            numbers: BTreeMap::new(),
            known: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Notes that one more path has this interface.
    pub(crate) fn acquire(&mut self, interface: Interface) -> InterfaceNumber {
        if let Some(number) = self.numbers.get(&interface) {
            self.known[number.place()].on_paths += 1;
            return *number;
        }
        let fresh = Known {
            interface,
            on_paths: 1,
            window: RttWindow::default(),
            tunnel_rtt: None,
            extra_hops: None,
        };
        let number = if let Some(number) = self.free.pop() {
            self.known[number.place()] = fresh;
            number
        } else {
            let number = u32::try_from(self.known.len()).expect("targets x hops are fewer");
            self.known.push(fresh);
            InterfaceNumber(number)
        };
        self.numbers.insert(interface, number);
        number
    }

    /// Notes that one path less has it.
    pub(crate) fn release(&mut self, number: InterfaceNumber) {
        let known = &mut self.known[number.place()];
        known.on_paths -= 1;
        if known.on_paths == 0 {
            known.window = RttWindow::default(); // may be long before the place is used again
            self.numbers.remove(&known.interface);
            self.free.push(number);
        }
    }

    /// Takes a reply as a sample.
    ///
    /// A shared hop is another trace's sample seen again; it counts only if that trace never came here.
    pub(crate) fn sample(
        &mut self,
        interface: &Interface,
        ttl: u8,
        reply: &HopReply,
        at: MonotonicTime,
        window: Duration,
    ) {
        let Some(number) = self.numbers.get(interface) else {
            return;
        };
        let known = &mut self.known[number.place()];
        known.extra_hops = reply.reply_ttl.map_or(known.extra_hops, |reply_ttl| {
            Some(extra_hops(ttl, reply_ttl))
        });
        let Some(rtt) = reply.rtt else { return };
        if reply.in_tunnel {
            known.tunnel_rtt = Some(rtt);
        } else if !reply.shared || known.window.is_empty() {
            known.window.record(at, rtt, window);
        }
    }

    /// Gives an interface its samples; `false` if no path has it.
    pub(crate) fn restore(
        &mut self,
        interface: &Interface,
        window: RttWindow,
        tunnel_rtt: Option<Rtt>,
        extra_hops: Option<i16>,
    ) -> bool {
        let Some(number) = self.numbers.get(interface) else {
            return false;
        };
        let known = &mut self.known[number.place()];
        known.window = window;
        known.tunnel_rtt = tunnel_rtt;
        known.extra_hops = extra_hops;
        true
    }

    pub(crate) fn get(&self, number: InterfaceNumber) -> &Known {
        &self.known[number.place()]
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.numbers.values().map(|number| self.get(*number))
    }

    /// One more than the largest number in use.
    pub(crate) const fn places(&self) -> usize {
        self.known.len()
    }

    /// Those of one address, wherever it was seen.
    pub(crate) fn of_address(&self, address: IpAddr) -> impl Iterator<Item = &Known> {
        let first = Interface {
            address,
            behind: None,
        };
        self.numbers
            .range(first..)
            .take_while(move |(interface, _)| interface.address == address)
            .map(|(_, number)| self.get(*number))
    }
}

/// Equal if the same is known, whatever the numbers.
impl PartialEq for Interfaces {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Known {
    pub(crate) fn summary(&self) -> Option<RttSummary> {
        self.window.summary()
    }
}

/// By how many hops the way back of a reply is longer than the way of the probe whose TTL ended there.
///
/// Senders start from 32, 64, 128 or 255; the router itself and the last before us take nothing off. (As in the analysis of forward
/// and return path lengths of Vanaubel et al., *Through the wormhole*, IMC 2017.)
fn extra_hops(ttl: u8, reply_ttl: u8) -> i16 {
    let start = [32, 64, 128].into_iter().find(|start| reply_ttl <= *start);
    let back = i16::from(start.unwrap_or(u8::MAX) - reply_ttl);
    back - (i16::from(ttl) - 1)
}
