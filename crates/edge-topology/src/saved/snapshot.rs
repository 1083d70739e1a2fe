//! What a store knows, as text.

use std::net::IpAddr;

use edge_types::{Hop, HopReply, PathEnd, PathObservation, Rtt};
use serde::{Deserialize, Serialize};

use crate::interfaces::Known;
use crate::normalise::{Interface, RouterPath};
use crate::observations::{Limits, Observations};
use crate::rtt::{RttWindow, Sample};
use crate::saved::{Header, ReadError, lines_of, nanoseconds, parse, rtt, time, to_line};

const FORMAT: &str = "edge-topology snapshot";
const VERSION: u32 = 1;

impl Observations {
    /// The store as lines of text, without the line breaks: what it is, paths in order of target, interfaces in order, the end.
    /// Equal stores give equal lines.
    pub fn snapshot(&self) -> impl Iterator<Item = String> {
        let paths = self.paths().map(|(target, at, path)| {
            to_line(&Line::Path(PathLine::new(target, nanoseconds(at.0), &path)))
        });
        let interfaces = self.known().iter();
        let interfaces = interfaces.map(|known| to_line(&Line::Interface(known.into())));
        let end = Line::End {
            paths: self.targets(),
            interfaces: self.known().iter().count(),
        };
        std::iter::once(Header::line(FORMAT, VERSION))
            .chain(paths)
            .chain(interfaces)
            .chain(std::iter::once(to_line(&end)))
    }

    /// The store that a snapshot was taken of, with other limits perhaps; all of it or nothing.
    pub fn load(text: &[u8], limits: Limits) -> Result<Self, ReadError> {
        let mut loading = Loading {
            observations: Self::new(limits),
            last_target: None,
            last_interface: None,
            interfaces: 0,
        };
        let mut last = 1;
        let mut lines = lines_of(text, FORMAT, VERSION)?;
        while let Some((line, text)) = lines.next() {
            last = line;
            match parse(line, text)? {
                Line::Path(path) => loading.take_path(line, &path)?,
                Line::Interface(interface) => loading.take_interface(line, interface)?,
                Line::End { paths, interfaces } => {
                    let unsound = |reason| ReadError::Unsound { line, reason };
                    if (paths, interfaces) != (loading.observations.targets(), loading.interfaces) {
                        return Err(unsound("some lines are missing"));
                    }
                    return match lines.next() {
                        None => Ok(loading.observations),
                        Some((line, _)) => Err(ReadError::Unsound {
                            line,
                            reason: "it comes after the end",
                        }),
                    };
                }
            }
        }
        Err(ReadError::CutShort { line: last })
    }
}

/// A store half read.
struct Loading {
    observations: Observations,
    last_target: Option<IpAddr>,
    last_interface: Option<Interface>,
    interfaces: usize,
}

impl Loading {
    fn take_path(&mut self, line: usize, path: &PathLine) -> Result<(), ReadError> {
        let unsound = |reason| ReadError::Unsound { line, reason };
        if self.last_interface.is_some() {
            return Err(unsound("paths come before interfaces"));
        }
        if self.last_target.replace(path.target) >= Some(path.target) {
            return Err(unsound("targets are not in order"));
        }
        let reply = |address| Hop::Reply(HopReply::new(address, Rtt::default()));
        let hops = path.hops.iter();
        let observation = PathObservation {
            target: path.target,
            observed_at: time(path.at_ns),
            hops: hops.map(|hop| hop.map_or(Hop::NoReply, reply)).collect(),
            further: Vec::new(),
            end: if path.reached {
                PathEnd::Reached
            } else {
                PathEnd::Silent
            },
            probes_sent: 0,
        };
        let mut normalised = RouterPath::new(&observation);
        normalised.connected = path.connected_ns.map(rtt).filter(|_| !path.reached);
        for (position, address, behind) in &path.beside {
            let other = Interface::new(*address, *behind);
            if usize::from(*position) >= normalised.routers.places.len() {
                return Err(unsound("nobody is at that place of the path"));
            }
            normalised.beside.insert((*position, other));
        }
        // What was normalised already stays as it is.
        if PathLine::new(path.target, path.at_ns, &normalised) != *path {
            return Err(unsound("the path was not normalised"));
        }
        self.observations
            .restore(&observation, &normalised)
            .map_err(|cause| ReadError::Refused { line, cause })
    }

    fn take_interface(&mut self, line: usize, known: InterfaceLine) -> Result<(), ReadError> {
        let unsound = |reason| ReadError::Unsound { line, reason };
        let interface = Interface::new(known.address, known.behind);
        if self.last_interface.replace(interface) >= Some(interface) {
            return Err(unsound("interfaces are not in order"));
        }
        let samples = |pairs: Vec<(u64, u64)>| -> Vec<Sample> {
            let pairs = pairs.into_iter();
            pairs.map(|(at, sample)| (time(at), rtt(sample))).collect()
        };
        let window = RttWindow::from_parts(samples(known.minima), samples(known.latest))
            .ok_or_else(|| unsound("no interface has such round trips"))?;
        let tunnel_rtt = known.tunnel_rtt_ns.map(rtt);
        let interfaces = self.observations.known_mut();
        if !interfaces.restore(&interface, window, tunnel_rtt, known.extra_hops) {
            return Err(unsound("the interface is on no path"));
        }
        self.interfaces += 1;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Path(PathLine),
    Interface(InterfaceLine),
    End { paths: usize, interfaces: usize },
}

/// A normalised path: `hops` from here to the target, `null` where silent, the target last if it was reached.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathLine {
    target: IpAddr,
    at_ns: u64,
    reached: bool,
    hops: Vec<Option<IpAddr>>,
    /// Position among the hops that answered, address, and for private space the last public address before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<(u8, IpAddr, Option<IpAddr>)>,
    /// The least round trip of the target's own connections, if it was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connected_ns: Option<u64>,
}

impl PathLine {
    fn new(target: IpAddr, at_ns: u64, path: &RouterPath) -> Self {
        let silence = |length: &u8| std::iter::repeat_n(None, usize::from(*length));
        let mut hops = Vec::new();
        for (silent_before, router) in &path.routers.places {
            hops.extend(silence(silent_before));
            hops.push(Some(router.address));
        }
        hops.extend(silence(&path.routers.tail));
        hops.extend(path.arrival.map(|_| Some(target)));
        let beside = path.beside.iter();
        Self {
            target,
            at_ns,
            reached: path.arrival.is_some(),
            hops,
            beside: beside
                .map(|(position, other)| (*position, other.address, other.behind))
                .collect(),
            connected_ns: path.connected.map(|rtt| nanoseconds(rtt.0)),
        }
    }
}

/// Samples as pairs of time and round trip.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceLine {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<IpAddr>,
    minima: Vec<(u64, u64)>,
    latest: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tunnel_rtt_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extra_hops: Option<i16>,
}

impl From<&Known> for InterfaceLine {
    fn from(known: &Known) -> Self {
        let pair = |(at, rtt): Sample| (nanoseconds(at.0), nanoseconds(rtt.0));
        let [minima, latest] = known.window.parts();
        Self {
            address: known.interface.address,
            behind: known.interface.behind,
            minima: minima.map(pair).collect(),
            latest: latest.map(pair).collect(),
            tunnel_rtt_ns: known.tunnel_rtt.map(|rtt| nanoseconds(rtt.0)),
            extra_hops: known.extra_hops,
        }
    }
}
