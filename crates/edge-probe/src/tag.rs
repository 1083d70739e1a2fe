//! The proofs that a probe carries and a reply must repeat.
//!
//! A reply counts only if it proves knowledge of a probe that is out (security rule 3). A router need not quote more
//! than 8 bytes behind the IP header, so the proof is in what those hold: the UDP checksum, the ICMP sequence number or
//! the TCP sequence number is a keyed hash of target, TTL and attempt, and the source port or ICMP identifier
//! one of the target. If the payload is quoted, it carries the hash in 64 bits, and that one counts.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// The lowest source port chosen.
pub(crate) const FIRST_PORT: u16 = 0x8000;

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
    /// The UDP checksum or ICMP sequence number, neither 0 nor 0xffff.
    pub(crate) short: u16,
    /// The first 8 payload bytes.
    pub(crate) long: u64,
}

impl Tag {
    /// The TCP sequence number; differs wherever [`Tag::short`] does.
    pub(crate) const fn sequence(&self) -> u32 {
        (self.short as u32) << 16 | (self.long & 0xffff) as u32
    }

    /// Is `proof` one that this tag gives?
    pub(crate) const fn matches(&self, proof: Proof) -> bool {
        match proof {
            Proof::Long(long) => self.long == long,
            Proof::Sequence(sequence) => self.sequence() == sequence,
            Proof::Short(short) => self.short == short,
            Proof::Socket => false,
        }
    }
}

/// What a reply repeats of a probe's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The start of the payload.
    Long(u64),
    /// The TCP sequence number.
    Sequence(u32),
    /// The UDP checksum or ICMP sequence number.
    Short(u16),
    /// Nothing. The kernel found that ports and destination fit a socket of ours.
    Socket,
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
        FIRST_PORT | u16::from_be_bytes([high, low])
    }

    /// A number that looks random and is always the same for one target and `purpose`.
    pub(crate) fn chance(&self, target: IpAddr, purpose: u64) -> u64 {
        self.hash(3, target, &purpose.to_be_bytes())
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
