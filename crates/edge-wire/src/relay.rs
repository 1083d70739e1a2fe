//! What a relay and a provider behind it say to each other: lines of JSON.
//!
//! A provider without a public address keeps a connection to a relay that has one:
//!
//! ```text
//! relay -> provider   {"hello": {"nonce": …}}
//! provider -> relay   {"register": {"account": …, "ports": […], "expires": …, "signature": …}}
//! relay -> provider   {"registered": {"session": …}}   or   {"refused": {"reason": …}}
//! relay -> provider   {"open": {"stream": …, "port": …}}      a client has connected to one of the ports
//! either              {"alive": {}}                            now and then
//! ```
//!
//! For each `open` the provider connects to the relay once more, sends `{"stream": {"session": …, "stream": …}}`, and from then
//! on both carry octets. The registration is signed for this relay's address and with its nonce, so that it is of no use elsewhere.

use std::net::SocketAddr;

use edge_types::{ChainAddress, ChainId, Hash32, Signature, UtcTime};
use serde::{Deserialize, Serialize};

use crate::codec::{UtcTimeJson, as_text};
use crate::limits::{self, require};
use crate::signing::{RequestToSign, SignatureError, request_digest, verify_request};
use crate::{Message, WireError};

/// Longest line, in octets, its end included.
pub const MAX_LINE_BYTES: usize = 4096;
/// Ports of one provider.
pub const MAX_PORTS: usize = 256;
/// A registration may be signed for so many seconds ahead.
pub const MAX_REGISTRATION_SECONDS: u64 = 120;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayLine {
    /// The relay begins.
    Hello {
        /// To be signed; new for each connection.
        #[serde(with = "as_text")]
        nonce: Hash32,
    },
    /// The provider asks to be reachable.
    Register(Registration),
    /// It is.
    Registered {
        /// Names this registration in streams.
        #[serde(with = "as_text")]
        session: Hash32,
    },
    /// It is not.
    Refused {
        /// Why.
        reason: RelayRefusal,
    },
    /// A client has connected.
    Open {
        /// Names its connection; used once.
        #[serde(with = "as_text")]
        stream: Hash32,
        /// The public port.
        port: u16,
    },
    /// First line of a connection that carries a client's.
    Stream {
        /// From `Registered`.
        #[serde(with = "as_text")]
        session: Hash32,
        /// From `Open`.
        #[serde(with = "as_text")]
        stream: Hash32,
    },
    /// I am still there.
    Alive {},
}

/// Who wants to be reachable at which ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The account of the provider's key.
    #[serde(with = "as_text")]
    pub account: ChainAddress,
    /// Public ports, all or some of those that the relay lets it have.
    pub ports: Vec<u16>,
    /// Last second in which it may be accepted.
    #[serde(with = "UtcTimeJson")]
    pub expires: UtcTime,
    /// By the key, of [`registration_digest`].
    #[serde(with = "as_text")]
    pub signature: Signature,
}

/// Why a relay does not take a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum RelayRefusal {
    /// The signature is not the account's, or for another relay or connection.
    #[error("the registration is not signed by its account for this relay")]
    Signature,
    /// The signature ran out, or would last too long: the clocks differ.
    #[error("the registration has expired, or lasts too long")]
    Expiry,
    /// The relay's owner has not admitted the account.
    #[error("this account is not admitted")]
    NotAdmitted,
    /// The account may not have one of the ports.
    #[error("a port that this account may not have")]
    Port,
    /// Something else listens at one of the ports.
    #[error("a port is in use")]
    PortInUse,
}

impl Message for RelayLine {
    fn validate(&self) -> Result<(), WireError> {
        let Self::Register(registration) = self else {
            return Ok(());
        };
        let ports = &registration.ports;
        require(
            (1..=MAX_PORTS).contains(&ports.len()) && !ports.contains(&0),
            "ports",
            "1 to 256 ports, none of them 0",
        )?;
        require(limits::is_time(registration.expires), "expires", "a time")
    }
}

/// What a provider signs to be reachable at `ports` of the relay at `relay`.
pub fn registration_digest(
    relay: SocketAddr,
    account: ChainAddress,
    ports: &[u16],
    nonce: Hash32,
    expires: UtcTime,
) -> Hash32 {
    let (path, body) = signed_parts(relay, ports);
    request_digest(&to_sign(&path, &body, account, nonce, expires))
}

/// Checks that the account signed its registration for the relay at `relay` and its `nonce`.
///
/// # Errors
/// Somebody else did, or it is malformed.
pub fn verify_registration(
    registration: &Registration,
    relay: SocketAddr,
    nonce: Hash32,
) -> Result<(), SignatureError> {
    let (path, body) = signed_parts(relay, &registration.ports);
    let request = to_sign(
        &path,
        &body,
        registration.account,
        nonce,
        registration.expires,
    );
    let found = verify_request(&request, &registration.signature)?;
    if found == registration.account {
        Ok(())
    } else {
        Err(SignatureError::WrongSigner {
            found,
            expected: registration.account,
        })
    }
}

fn signed_parts(relay: SocketAddr, ports: &[u16]) -> (String, Vec<u8>) {
    (
        relay.to_string(),
        ports.iter().flat_map(|port| port.to_be_bytes()).collect(),
    )
}

/// No request of the API has this method, so none of their signatures can stand for the other.
const fn to_sign<'a>(
    path: &'a str,
    body: &'a [u8],
    account: ChainAddress,
    nonce: Hash32,
    expires: UtcTime,
) -> RequestToSign<'a> {
    RequestToSign {
        method: "RELAY",
        path,
        body,
        nonce,
        expires,
        provider: account,
        chain: ChainId(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{decode, encode};

    #[test]
    fn lines_are_read_back_and_bounded() {
        let register = |ports: Vec<u16>| {
            RelayLine::Register(Registration {
                account: ChainAddress([1; 20]),
                ports,
                expires: UtcTime(5),
                signature: Signature([2; 65]),
            })
        };
        let hash = Hash32([7; 32]);
        for line in [
            RelayLine::Hello { nonce: hash },
            register(vec![80, 20_000]),
            RelayLine::Registered { session: hash },
            RelayLine::Refused {
                reason: RelayRefusal::NotAdmitted,
            },
            RelayLine::Open {
                stream: hash,
                port: 80,
            },
            RelayLine::Stream {
                session: hash,
                stream: hash,
            },
            RelayLine::Alive {},
        ] {
            let text = encode(&line);
            assert!(text.len() < MAX_LINE_BYTES);
            assert_eq!(decode::<RelayLine>(&text).unwrap(), line);
        }
        assert!(encode(&register(vec![u16::MAX; MAX_PORTS])).len() < MAX_LINE_BYTES);
        for ports in [vec![], vec![0], vec![1; MAX_PORTS + 1]] {
            assert!(register(ports).validate().is_err());
        }
    }

    proptest! {
        #[test]
        fn every_part_of_a_registration_is_signed(
            ports in prop::collection::vec(1u16.., 1..4),
            other in prop::collection::vec(1u16.., 1..4),
            nonce: [u8; 32],
            expires in 0u64..1 << 35,
        ) {
            let relay: SocketAddr = "240.0.0.1:7000".parse().unwrap();
            let digest = |relay, ports: &[u16], nonce, expires| {
                registration_digest(relay, ChainAddress([1; 20]), ports, nonce, UtcTime(expires))
            };
            let nonce = Hash32(nonce);
            let signed = digest(relay, &ports, nonce, expires);
            prop_assert_ne!(signed, digest("240.0.0.2:7000".parse().unwrap(), &ports, nonce, expires));
            prop_assert_ne!(signed, digest(relay, &ports, nonce, expires + 1));
            prop_assert_ne!(signed, digest(relay, &ports, Hash32([0xee; 32]), expires));
            prop_assert_eq!(signed == digest(relay, &other, nonce, expires), ports == other);
        }
    }
}
