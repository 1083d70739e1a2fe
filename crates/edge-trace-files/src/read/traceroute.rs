//! Reads what `traceroute` prints on Linux and the BSDs.

use std::iter::Peekable;
use std::net::IpAddr;

use super::{Outcome, Records};
use crate::assemble::{Answer, Assembly, Told};
use crate::frames::Lines;
use crate::limits::Limits;
use crate::problem::{Place, Reason};
use crate::record::{PathRecord, TraceDetails};

#[derive(Debug)]
pub(super) struct Traces<'a> {
    lines: Peekable<Lines<'a>>,
    line: u64,
}

impl<'a> Traces<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let lines = Lines::new(bytes).peekable();
        Self { lines, line: 1 }
    }
}

impl Records for Traces<'_> {
    fn place(&self) -> Place {
        Place::Line(self.line)
    }

    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool {
        let Some((number, line)) = self.lines.next() else {
            return false;
        };
        self.line = number;
        if !is_header(line) {
            if !line.trim_ascii().is_empty() {
                outcome.stray(Place::Line(number), Reason::Stray);
            }
            return true;
        }
        let mut trace = Trace::begin(line, limits);
        let mut bytes = line.len();
        while let Some((number, line)) = self.lines.next_if(|(_, line)| !is_header(line)) {
            bytes += line.len();
            let Ok(open) = &mut trace else { continue };
            let result = if bytes > limits.record_bytes {
                Err(Reason::TooLarge {
                    limit: limits.record_bytes,
                })
            } else {
                std::str::from_utf8(line)
                    .map_err(|_| Reason::NotText)
                    .and_then(|text| open.line(text))
            };
            if let Err(reason) = result {
                self.line = number;
                trace = Err(reason);
            }
        }
        outcome.record(
            Place::Line(self.line),
            trace.map(|trace| Some(trace.finish())),
        );
        true
    }
}

fn is_header(line: &[u8]) -> bool {
    line.starts_with(b"traceroute to ") || line.starts_with(b"traceroute6 to ")
}

/// A trace in the making. A line that makes no sense loses the trace: without the line it would tell of silence.
struct Trace<'a> {
    assembly: Assembly<'a>,
    ttl: u8,
    /// Who answered last.
    responder: Option<Responder>,
}

#[derive(Clone, Copy)]
struct Responder {
    address: IpAddr,
    in_tunnel: bool,
}

impl<'a> Trace<'a> {
    /// `traceroute to NAME (ADDRESS), 30 hops max, 60 byte packets`
    fn begin(line: &[u8], limits: &'a Limits) -> Result<Self, Reason> {
        if line.len() > limits.record_bytes {
            let limit = limits.record_bytes;
            return Err(Reason::TooLarge { limit });
        }
        let text = std::str::from_utf8(line).map_err(|_| Reason::NotText)?;
        let inside = text
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        let (target, _) = inside.ok_or(Reason::Missing("target address"))?;
        let target = address(target).ok_or_else(|| Reason::value("target", target))?;
        Ok(Self {
            assembly: Assembly::new(target, limits),
            ttl: 0,
            responder: None,
        })
    }

    fn line(&mut self, text: &str) -> Result<(), Reason> {
        let mut tokens = text.split_whitespace().peekable();
        let Some(first) = tokens.peek() else {
            return Ok(());
        };
        if let Ok(ttl) = first.parse::<u64>() {
            self.ttl = self.assembly.ttl(ttl)?;
            self.responder = None;
            tokens.next();
        } else if self.ttl == 0 {
            return Err(Reason::Missing("ttl"));
        } else if first.starts_with("MPLS") || *first == "[MPLS:" {
            // The BSDs print labels on a line below the replies.
            self.assembly.tunnel_at(self.ttl);
            return Ok(());
        }
        while let Some(token) = tokens.next() {
            let next = tokens.peek().copied();
            if next == Some("ms") {
                tokens.next();
                self.reply(token)?;
            } else {
                self.token(token, next)?;
            }
        }
        Ok(())
    }

    fn token(&mut self, token: &str, next: Option<&str>) -> Result<(), Reason> {
        match token.as_bytes() {
            b"*" => self.assembly.probes = self.assembly.probes.saturating_add(1),
            [b'!', ..] => self.refusal(token)?,
            [b'(', .., b')'] => self.responder(&token[1..token.len() - 1])?,
            [b'<', ..] => {
                if let Some(responder) = &mut self.responder {
                    responder.in_tunnel |= token.starts_with("<MPLS:");
                }
            }
            // Autonomous systems (-A), the way back (--back), packet sizes (--mtu).
            [b'[', .., b']'] | [b'\'', .., b'\''] | [b'F', b'=', ..] => {}
            // A name; its address follows.
            _ if next.is_some_and(|next| next.starts_with('(')) => {}
            _ => self.responder(token)?,
        }
        Ok(())
    }

    fn responder(&mut self, text: &str) -> Result<(), Reason> {
        let address = address(text).ok_or_else(|| Reason::value("hop", text))?;
        self.responder = Some(Responder {
            address,
            in_tunnel: false,
        });
        Ok(())
    }

    fn reply(&mut self, rtt_ms: &str) -> Result<(), Reason> {
        let rtt_ms = rtt_ms
            .parse()
            .map_err(|_| Reason::value("round trip", rtt_ms))?;
        let responder = self.responder.ok_or(Reason::Missing("hop address"))?;
        self.assembly.probes = self.assembly.probes.saturating_add(1);
        let answer = Answer {
            in_tunnel: responder.in_tunnel,
            ..Answer::new(responder.address, Some(rtt_ms))
        };
        self.assembly.reply(self.ttl, answer)
    }

    /// What is said after a round trip: that the target cannot be reached, or something else.
    fn refusal(&mut self, token: &str) -> Result<(), Reason> {
        let is_v6 = self.assembly.target().is_ipv6();
        let code = match (token, is_v6) {
            ("!N", _) => 0,
            ("!H", false) | ("!X", true) => 1,
            ("!P", false) | ("!S", true) => 2,
            ("!H", true) => 3,
            ("!S", false) => 5,
            ("!X", false) => 13,
            ("!V", false) => 14,
            ("!C", false) => 15,
            // Fragmentation needed, with or without the size.
            _ if token.starts_with("!F") => 4,
            // The BSDs: the TTL of the answer was 1 or less, or the checksum is wrong.
            ("!" | "!A" | "!T" | "!U", _) => return Ok(()),
            (other, _) => {
                let digits = other.trim_start_matches(['!', '<']).trim_end_matches('>');
                digits
                    .parse()
                    .map_err(|_| Reason::value("annotation", other))?
            }
        };
        self.assembly.refuse(self.ttl, code);
        Ok(())
    }

    fn finish(self) -> (PathRecord, Vec<Reason>) {
        let (path, left_out) = self.assembly.finish(Told::Nothing);
        let details = TraceDetails::default();
        (PathRecord { path, details }, left_out)
    }
}

/// An address, without the interface that scopes it.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    text.parse().ok()
}
