//! The proofs that a probe carries and a reply must repeat.
//!
//! A reply counts only if it proves knowledge of a probe that is out (security rule 3). A router need not quote more
//! than 28 bytes, so the proof is in the UDP header: the source port is a keyed hash of the target, and the UDP checksum
//! a keyed hash of target, TTL and attempt (two payload bytes make that checksum correct). If the payload is quoted, it
//! carries the hash in 64 bits, and that one counts. Ports and length are equal in all probes to one target, so that
//! routers which balance load per flow send them the same way.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// The secret of one process.
#[derive(Clone)]
pub(crate) struct TagKey([u8; 16]);

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(..)")
    }
}

/// The proofs that one probe carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The UDP checksum, neither 0 nor 0xffff.
    pub(crate) short: u16,
    /// The first 8 payload bytes.
    pub(crate) long: u64,
}

impl TagKey {
    pub(crate) const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    fn hash(&self, purpose: u8, target: IpAddr, rest: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(purpose);
        match target {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        hasher.write(rest);
        hasher.finish()
    }

    /// A source port from 32768 up, always the same for one target.
    pub(crate) fn source_port(&self, target: IpAddr) -> u16 {
        let [.., high, low] = self.hash(0, target, &[]).to_be_bytes();
        0x8000 | u16::from_be_bytes([high, low])
    }

    /// The tag of one probe. `salt` distinguishes probes whose short tags would be equal.
    pub(crate) fn tag(&self, target: IpAddr, trace: u64, ttl: u8, attempt: u8, salt: u8) -> Tag {
        let mut rest = [0; 11];
        rest[..8].copy_from_slice(&trace.to_be_bytes());
        rest[8..].copy_from_slice(&[ttl, attempt, salt]);
        let [.., high, low] = self.hash(1, target, &rest).to_be_bytes();
        Tag {
            short: u16::from_be_bytes([high, low]).clamp(1, 0xfffe),
            long: self.hash(2, target, &rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_depend_on_everything() {
        let key = TagKey::new([1; 16]);
        let target = IpAddr::from([240, 0, 0, 1]);
        let base = key.tag(target, 1, 2, 3, 0);
        for other in [
            TagKey::new([2; 16]).tag(target, 1, 2, 3, 0),
            key.tag([240, 0, 0, 2].into(), 1, 2, 3, 0),
            key.tag(target, 2, 2, 3, 0),
            key.tag(target, 1, 3, 3, 0),
            key.tag(target, 1, 2, 4, 0),
            key.tag(target, 1, 2, 3, 1),
        ] {
            assert_ne!(base.short, other.short);
            assert_ne!(base.long, other.long);
        }
    }
}
