//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and pseudo-headers.

use std::net::IpAddr;

/// A ones' complement sum in the making. Every piece but the last must be of even length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds one word.
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds bytes as big-endian words; an odd last byte counts as if followed by zero.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<2>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u16::from_be_bytes(*word));
        }
        if let [last] = rest {
            sum += u64::from(*last) << 8;
        }
        Self(sum)
    }

    /// Adds the pseudo-header of RFC 768 or RFC 8200 section 8.1. `length` is that of transport header and payload.
    pub fn pseudo_header(
        self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: usize,
    ) -> Self {
        let add = |sum: Self, address| match address {
            IpAddr::V4(v4) => sum.bytes(&v4.octets()),
            IpAddr::V6(v6) => sum.bytes(&v6.octets()),
        };
        let sum = add(add(self, source), destination);
        Self(sum.0 + u64::from(protocol) + length as u64)
    }

    /// The checksum: the complement of the sum. Zero over bytes whose checksum field is right.
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }
}

/// The checksum of `bytes`, whose own checksum field is zero.
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).checksum()
}

/// The checksum after one covered word changed from `old` to `new` (RFC 1624 equation 3).
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The word that, put where the covered bytes have a zero word, changes their checksum from `current` to `wanted`.
///
/// A tracer uses it to choose the UDP checksum of a probe freely and still send a correct one.
pub const fn balance(current: u16, wanted: u16) -> u16 {
    fold(!wanted as u64 + current as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        // Section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
        assert_eq!(
            of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(of(&[0x01]), !0x0100);
        assert_eq!(of(&[]), 0xffff);
    }

    #[test]
    fn updates_the_example_of_rfc_1624() {
        // Section 4: checksum dd2f, word 5555 becomes 3285, expected 0000.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn update_equals_the_full_sum(
            mut words in prop::collection::vec(any::<u16>(), 1..40),
            at: prop::sample::Index,
            new: u16,
        ) {
            let bytes = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
            let before = of(&bytes(&words));
            let at = at.index(words.len());
            let old = std::mem::replace(&mut words[at], new);
            let after = of(&bytes(&words));
            // All-zero data has no unique ones' complement form (RFC 1624 section 3).
            prop_assume!(words.iter().any(|w| *w != 0));
            prop_assert_eq!(update(before, old, new), after);
        }

        #[test]
        fn balance_gives_the_wanted_checksum(
            mut words in prop::collection::vec(any::<u16>(), 1..40),
            at: prop::sample::Index,
            wanted in 1..0xffff_u16,
        ) {
            let at = at.index(words.len());
            words[at] = 0;
            let bytes = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
            words[at] = balance(of(&bytes(&words)), wanted);
            prop_assert_eq!(of(&bytes(&words)), wanted);
        }
    }
}
