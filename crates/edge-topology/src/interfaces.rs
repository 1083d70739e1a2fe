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
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.known[number.place()] = fresh;
                number
            }
            None => {
                let number = u32::try_from(self.known.len()).expect("targets x hops are fewer");
                self.known.push(fresh);
                InterfaceNumber(number)
            }
        };
        self.numbers.insert(interface, number);
        number
    }

    /// Notes that one path less has it.
    pub(crate) fn release(&mut self, number: InterfaceNumber) {
        let known = &mut self.known[number.place()];
        known.on_paths -= 1;
        if known.on_paths == 0 {
            known.window = RttWindow::default();
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
        reply: &HopReply,
        at: MonotonicTime,
        window: Duration,
    ) {
        let (Some(number), Some(rtt)) = (self.numbers.get(interface), reply.rtt) else {
            return;
        };
        let known = &mut self.known[number.place()];
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
    ) -> bool {
        let Some(number) = self.numbers.get(interface) else {
            return false;
        };
        let known = &mut self.known[number.place()];
        (known.window, known.tunnel_rtt) = (window, tunnel_rtt);
        true
    }

    pub(crate) fn get(&self, number: InterfaceNumber) -> &Known {
        &self.known[number.place()]
    }

    pub(crate) fn find(&self, interface: &Interface) -> Option<&Known> {
        Some(self.get(*self.numbers.get(interface)?))
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
