//! Reads scamper's binary files, warts(5).
//!
//! A file is objects one after the other: magic number, type, length, content. Of interest are traces (type 6) and, in
//! old files, addresses (type 5) that traces refer to by number. All others are passed over by their length.

use std::net::IpAddr;

use edge_types::UtcTime;

use super::scamper_json::refusal;
use super::{Outcome, Read, Records};
use crate::assemble::{Answer, Assembly, Told};
use crate::limits::Limits;
use crate::problem::{Place, Reason};
use crate::record::{Method, PathRecord, TraceDetails};

mod cursor;

use cursor::{Address, Addresses, Cursor, Parameters};

const MAGIC: u16 = 0x1205;
const HEADER: usize = 8;
const ADDRESS: u16 = 5;
const TRACE: u16 = 6;

#[derive(Debug)]
pub(super) struct Objects<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Addresses that have objects of their own, by number from 1.
    numbered: Vec<Address>,
}

impl<'a> Objects<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            numbered: Vec::new(),
        }
    }

    /// Goes on where the next object seems to begin, at least `skip` bytes from here.
    fn find_object(&mut self, skip: usize) {
        let from = self.bytes.len().min(self.at + skip);
        let rest = &self.bytes[from..];
        // Types so far are far below 256.
        let begins = |window: &[u8]| window[..2] == MAGIC.to_be_bytes() && window[2] == 0;
        self.at = match rest.windows(3).position(begins) {
            Some(length) => from + length,
            None => self.bytes.len(),
        };
    }

    /// The number of an address is its place in the file; its remainder by 255 is told as a check.
    fn address(&mut self, content: &[u8]) -> Result<(), Reason> {
        let mut cursor = Cursor::new(content);
        let (check, kind) = (cursor.u8(), cursor.u8());
        let (Some(check), Some(kind)) = (check, kind) else {
            return Err(Reason::Truncated);
        };
        let number = self.numbered.len() + 1;
        if number % 255 != usize::from(check) {
            return Err(Reason::value("address number", check));
        }
        let address = cursor::address(kind, cursor.rest())?;
        self.numbered.push(address);
        Ok(())
    }
}

impl Records for Objects<'_> {
    fn place(&self) -> Place {
        Place::Offset(self.at as u64)
    }

    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return false;
        }
        let place = self.place();
        let mut header = Cursor::new(rest);
        let (Some(magic), Some(kind), Some(length)) = (header.u16(), header.u16(), header.u32())
        else {
            self.at = self.bytes.len();
            outcome.stray(place, Reason::Truncated);
            return true;
        };
        if magic != MAGIC {
            self.find_object(1);
            outcome.stray(place, Reason::NoObject);
            return true;
        }
        let content = usize::try_from(length)
            .ok()
            .and_then(|length| header.take(length));
        let Some(content) = content else {
            // Either the file was cut, or the length lies and objects follow.
            self.find_object(2);
            outcome.stray(place, Reason::Truncated);
            return true;
        };
        self.at += HEADER + content.len();
        let read = if content.len() > limits.record_bytes {
            Err(Reason::TooLarge {
                limit: limits.record_bytes,
            })
        } else {
            match kind {
                ADDRESS => self.address(content).map(|()| None),
                TRACE => trace(content, &self.numbered, limits),
                _ => Ok(None),
            }
        };
        outcome.record(place, read);
        true
    }
}

/// What of a trace's parameters is used here.
#[derive(Debug, Default)]
struct TraceParameters {
    details: TraceDetails,
    target: Option<IpAddr>,
    stop_reason: u8,
    hops_probed: u16,
    probes_sent: u16,
}

fn trace(content: &[u8], numbered: &[Address], limits: &Limits) -> Read {
    let mut cursor = Cursor::new(content);
    let mut addresses = Addresses::new(numbered);
    let told = trace_parameters(&mut cursor, &mut addresses)?;
    let target = told.target.ok_or(Reason::Missing("destination address"))?;
    let mut assembly = Assembly::new(target, limits);
    assembly.probes = u32::from(told.probes_sent);
    if told.hops_probed > 0 {
        assembly.ttl(u64::from(told.hops_probed))?;
    }
    let hops = cursor.u16().ok_or(Reason::Truncated)?;
    for _ in 0..hops {
        hop(&mut cursor, &mut addresses, &mut assembly)?;
    }
    // Attached to a trace are path MTU discovery and others, each by type and length; then a zero.
    loop {
        match cursor.u16().ok_or(Reason::Truncated)? {
            0 => break,
            header => {
                let length = usize::from(header & 0x0fff);
                cursor.take(length).ok_or(Reason::Truncated)?;
            }
        }
    }
    if !cursor.rest().is_empty() {
        return Err(Reason::Length("a trace"));
    }
    let end = match told.stop_reason {
        // Error, doubletree's stop set, halted.
        6 | 8 | 9 => Told::Stopped,
        _ => Told::Nothing,
    };
    let (path, left_out) = assembly.finish(end);
    let details = told.details;
    Ok(Some((PathRecord { path, details }, left_out)))
}

fn trace_parameters(
    cursor: &mut Cursor<'_>,
    addresses: &mut Addresses<'_>,
) -> Result<TraceParameters, Reason> {
    let mut told = TraceParameters::default();
    let mut parameters = Parameters::begin(cursor)?;
    parameters.u32(1)?; // list
    parameters.u32(2)?; // cycle
    let numbered_source = parameters.u32(3)?;
    let numbered_target = parameters.u32(4)?;
    let started = parameters.time(5)?;
    told.stop_reason = parameters.u8(6)?.unwrap_or(0);
    parameters.u8(7)?; // what stopped it
    parameters.u8(8)?; // flags
    parameters.u8(9)?; // attempts
    parameters.u8(10)?; // largest TTL
    let method = parameters.u8(11)?;
    parameters.u16(12)?; // probe size
    let source_port = parameters.u16(13)?;
    let destination_port = parameters.u16(14)?;
    parameters.u8(15)?; // first TTL
    parameters.u8(16)?; // type of service
    parameters.u8(17)?; // seconds to wait
    parameters.u8(18)?; // loops allowed
    told.hops_probed = parameters.u16(19)?.unwrap_or(0);
    parameters.u8(20)?; // gap limit
    parameters.u8(21)?; // action at the gap limit
    parameters.u8(22)?; // action at a loop
    told.probes_sent = parameters.u16(23)?.unwrap_or(0);
    parameters.u8(24)?; // centiseconds between probes
    parameters.u8(25)?; // confidence
    let source = parameters.address(26, addresses)?;
    let target = parameters.address(27, addresses)?;

    let either = |named: Option<Address>, number: Option<u32>| match (named, number) {
        (Some(named), _) => Ok(named.ip()),
        (None, Some(number)) => addresses.numbered(number).map(Address::ip),
        (None, None) => Ok(None),
    };
    told.target = either(target, numbered_target)?;
    let method = match method {
        Some(1) => Some(Method::IcmpEcho),
        Some(2) => Some(Method::Udp),
        Some(3) => Some(Method::Tcp),
        Some(4) => Some(Method::IcmpEchoParis),
        Some(5) => Some(Method::UdpParis),
        Some(6) => Some(Method::TcpAck),
        _ => None,
    };
    // For ICMP the fields hold an identifier and a checksum.
    let has_ports = method.is_some_and(Method::has_ports);
    told.details = TraceDetails {
        started: started.map(|seconds| UtcTime(u64::from(seconds))),
        ended: None,
        source: either(source, numbered_source)?,
        method,
        source_port: source_port.filter(|_| has_ports),
        destination_port: destination_port.filter(|_| has_ports),
    };
    Ok(told)
}

fn hop(
    cursor: &mut Cursor<'_>,
    addresses: &mut Addresses<'_>,
    assembly: &mut Assembly<'_>,
) -> Result<(), Reason> {
    let mut parameters = Parameters::begin(cursor)?;
    let numbered = parameters.u32(1)?;
    let ttl = parameters.u8(2)?.ok_or(Reason::Missing("probe TTL"))?;
    let reply_ttl = parameters.u8(3)?;
    parameters.u8(4)?; // flags
    parameters.u8(5)?; // attempt
    let microseconds = parameters.u32(6)?;
    let icmp = parameters.u16(7)?;
    parameters.u16(8)?; // probe size
    parameters.u16(9)?; // reply size
    parameters.u16(10)?; // reply's IP identification
    parameters.u8(11)?; // reply's type of service
    parameters.u16(12)?; // next hop's MTU
    parameters.u16(13)?; // quoted length
    parameters.u8(14)?; // quoted TTL
    parameters.u8(15)?; // TCP flags
    parameters.u8(16)?; // quoted type of service
    let in_tunnel = parameters.extensions(17)?.unwrap_or(false);
    let address = parameters.address(18, addresses)?;

    let address = match (address, numbered) {
        (Some(address), _) => address,
        (None, Some(number)) => addresses.numbered(number)?,
        (None, None) => Address::Other,
    };
    let address = address.ip().ok_or(Reason::Missing("hop address"))?;
    let ttl = assembly.ttl(u64::from(ttl))?;
    let [kind, code] = icmp.unwrap_or(0).to_be_bytes();
    let answer = Answer {
        in_tunnel,
        reply_ttl,
        refusal: refusal(address, kind, Some(code)),
        ..Answer::new(address, microseconds.map(|us| f64::from(us) / 1e3))
    };
    assembly.reply(ttl, answer)
}
