//! Reads the XML of `nmap --traceroute -oX`.
//!
//! Each `host` element is parsed by itself, so that a file of any size needs no tree of its own, and nothing that its
//! head declares is ever looked at.

use std::net::IpAddr;

use edge_types::UtcTime;
use roxmltree::{Document, Node, ParsingOptions};

use super::{Outcome, Read, Records};
use crate::assemble::{Answer, Assembly, Told};
use crate::frames::line_ends;
use crate::limits::Limits;
use crate::problem::{Excerpt, Place, Reason};
use crate::record::{Method, PathRecord, TraceDetails};

/// Most elements, attributes and texts of one host; scripts may print much.
const NODES: u32 = 100_000;

const BEGIN: &[u8] = b"<host";
const END: &[u8] = b"</host>";

#[derive(Debug)]
pub(super) struct Hosts<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Hosts<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            line: 1,
        }
    }

    /// Goes on, counting lines.
    fn skip(&mut self, length: usize) {
        let skipped = &self.bytes[self.at..self.at + length];
        self.line += line_ends(skipped);
        self.at += length;
    }
}

impl Records for Hosts<'_> {
    fn place(&self) -> Place {
        Place::Line(self.line)
    }

    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool {
        loop {
            let Some(to_mark) = self.bytes[self.at..]
                .iter()
                .position(|octet| *octet == b'<')
            else {
                return false;
            };
            self.skip(to_mark);
            let rest = &self.bytes[self.at..];
            if let Some(length) = length_of_aside(rest) {
                self.skip(length);
            } else if rest.starts_with(b"<!DOCTYPE") {
                let place = self.place();
                let length = rest.iter().position(|octet| matches!(octet, b'>' | b'['));
                let has_declarations = length.is_some_and(|length| rest[length] == b'[');
                self.skip(length.unwrap_or(rest.len()));
                if has_declarations {
                    outcome.stray(place, Reason::Declarations);
                    return true;
                }
            } else if begins_host(rest) {
                let place = self.place();
                match length_of_host(rest) {
                    Ok(length) => {
                        let host = &rest[..length];
                        self.skip(length);
                        outcome.record(place, record(host, limits));
                    }
                    Err(length) => {
                        self.skip(length);
                        outcome.stray(place, Reason::Truncated);
                    }
                }
                return true;
            } else {
                self.skip(1);
            }
        }
    }
}

/// Bytes of a comment, a processing instruction or literal text at the front, if there is one.
fn length_of_aside(bytes: &[u8]) -> Option<usize> {
    let marks: [(&[u8], &[u8]); 3] = [(b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")];
    let (begin, end) = marks
        .into_iter()
        .find(|(begin, _)| bytes.starts_with(begin))?;
    let inside = &bytes[begin.len()..];
    let length = inside.windows(end.len()).position(|window| window == end);
    Some(length.map_or(bytes.len(), |length| begin.len() + length + end.len()))
}

fn begins_host(bytes: &[u8]) -> bool {
    let next = bytes.strip_prefix(BEGIN).and_then(|rest| rest.first());
    matches!(next, Some(b'>' | b' ' | b'\t' | b'\r' | b'\n' | b'/'))
}

/// Bytes of the host element at the front; or, if it does not end, up to the next one or the end.
fn length_of_host(bytes: &[u8]) -> Result<usize, usize> {
    let mut at = BEGIN.len();
    while let Some(to_mark) = bytes[at..].iter().position(|octet| *octet == b'<') {
        at += to_mark;
        let rest = &bytes[at..];
        if rest.starts_with(END) {
            return Ok(at + END.len());
        }
        if begins_host(rest) {
            return Err(at);
        }
        at += length_of_aside(rest).unwrap_or(1);
    }
    Err(bytes.len())
}

fn record(bytes: &[u8], limits: &Limits) -> Read {
    if bytes.len() > limits.record_bytes {
        let limit = limits.record_bytes;
        return Err(Reason::TooLarge { limit });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotText)?;
    let options = ParsingOptions {
        nodes_limit: NODES,
        ..ParsingOptions::default() // which refuses document types
    };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| Reason::Xml(Excerpt::of(&error.to_string())))?;
    let host = document.root_element();
    let Some(trace) = child(host, "trace") else {
        return Ok(None);
    };
    let target = host
        .children()
        .filter(|node| node.has_tag_name("address"))
        .find(|node| matches!(node.attribute("addrtype"), Some("ipv4" | "ipv6")))
        .and_then(|node| node.attribute("addr"))
        .ok_or(Reason::Missing("address"))?;
    let target: IpAddr = target
        .parse()
        .map_err(|_| Reason::value("address", target))?;
    let mut assembly = Assembly::new(target, limits);
    for hop in trace.children().filter(|node| node.has_tag_name("hop")) {
        let ttl: u64 = number(hop, "ttl")?.ok_or(Reason::Missing("ttl"))?;
        let ttl = assembly.ttl(ttl)?;
        let address = hop.attribute("ipaddr").ok_or(Reason::Missing("ipaddr"))?;
        let address = address
            .parse()
            .map_err(|_| Reason::value("ipaddr", address))?;
        // Two dashes stand for a round trip that is not known.
        let rtt = match hop.attribute("rtt") {
            Some("--") | None => None,
            Some(_) => number(hop, "rtt")?,
        };
        assembly.reply(ttl, Answer::new(address, rtt))?;
    }
    let (path, left_out) = assembly.finish(Told::Nothing);
    // A host that was not scanned has zeros.
    let time = |name| Ok(number(host, name)?.filter(|time| *time > 0).map(UtcTime));
    let details = TraceDetails {
        started: time("starttime")?,
        ended: time("endtime")?,
        source: None,
        method: match trace.attribute("proto") {
            Some("tcp") => Some(Method::Tcp),
            Some("udp") => Some(Method::Udp),
            Some("icmp") => Some(Method::IcmpEcho),
            _ => None,
        },
        source_port: None,
        destination_port: number(trace, "port")?,
    };
    Ok(Some((PathRecord { path, details }, left_out)))
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn number<T: std::str::FromStr>(
    node: Node<'_, '_>,
    name: &'static str,
) -> Result<Option<T>, Reason> {
    match node.attribute(name) {
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Reason::value(name, text)),
        None => Ok(None),
    }
}
