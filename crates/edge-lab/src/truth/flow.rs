//! A flow, as a person names it: `udp:40000:33434`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use edge_packet::{FlowKey, protocol};

/// Protocol and ports: what, beside the addresses, decides how packets are spread over equal paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    is_tcp: bool,
    source_port: u16,
    destination_port: u16,
}

/// The text names no flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a flow; write udp:SOURCE:DESTINATION or tcp:SOURCE:DESTINATION with the ports"
)]
pub struct FlowError {
    text: String,
}

impl Flow {
    pub(super) fn key(self, source: IpAddr, destination: IpAddr) -> FlowKey {
        let ([a, b], [c, d]) = (
            self.source_port.to_be_bytes(),
            self.destination_port.to_be_bytes(),
        );
        FlowKey {
            source,
            destination,
            protocol: if self.is_tcp {
                protocol::TCP
            } else {
                protocol::UDP
            },
            transport: [a, b, c, d],
        }
    }
}

impl FromStr for Flow {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let flow = || {
            let mut parts = text.split(':');
            let is_tcp = match parts.next()? {
                "udp" => false,
                "tcp" => true,
                _ => return None,
            };
            let mut port = || parts.next()?.parse().ok();
            let flow = Self {
                is_tcp,
                source_port: port()?,
                destination_port: port()?,
            };
            parts.next().is_none().then_some(flow)
        };
        flow().ok_or_else(|| FlowError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.is_tcp { "tcp" } else { "udp" };
        write!(
            f,
            "{protocol}:{}:{}",
            self.source_port, self.destination_port
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let flow: Flow = "tcp:40000:80".parse().unwrap();
        assert_eq!(flow.to_string(), "tcp:40000:80");
        for wrong in ["", "udp", "udp:1", "udp:1:2:3", "icmp:1:2", "udp:1:65536"] {
            assert!(wrong.parse::<Flow>().is_err(), "{wrong}");
        }
    }
}
