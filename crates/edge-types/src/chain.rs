//! Identifiers that a chain, or a signature, gives.

use std::fmt;
use std::str::FromStr;

macro_rules! fixed_bytes {
    ($(#[$meta:meta])* $name:ident, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

fixed_bytes!(
    /// 32 bytes, usually a keccak-256 hash.
    Hash32,
    32
);
fixed_bytes!(
    /// An account or contract of an Ethereum-like chain.
    ChainAddress,
    20
);
fixed_bytes!(
    /// The EIP-712 digest of a signed offer.
    OfferId,
    32
);
fixed_bytes!(
    /// One agreement; equal to the id of the offer that it consumed, so that an offer is consumed at most once.
    AgreementId,
    32
);
fixed_bytes!(
    /// One reservation, chosen by the provider.
    ReservationId,
    32
);
fixed_bytes!(
    /// A recoverable secp256k1 signature: r, s, v, with v 27 or 28 and s in the lower half (EIP-2).
    Signature,
    65
);

impl From<OfferId> for AgreementId {
    fn from(offer: OfferId) -> Self {
        Self(offer.0)
    }
}

/// The number of a chain (EIP-155); 0 where no chain is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u64);

/// Text is not the hexadecimal form of a fixed number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 0x and {expected_digits} hexadecimal digits")]
pub struct HexError {
    expected_digits: usize,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let error = HexError {
        expected_digits: 2 * N,
    };
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() != 2 * N {
        return Err(error);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return Err(error);
        };
        *byte = u8::try_from(high * 16 + low).expect("two nibbles fit a byte");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trip() {
        let text = "0x00ff10000000000000000000000000000000abcd";
        assert_eq!(text.parse::<ChainAddress>().unwrap().to_string(), text);
        for bad in [
            "",
            "0x",
            "0xzz",
            "0x00ff",
            &"f".repeat(41),
            "0x\u{e4}\u{e4}ff10000000000000000000000000000000abcd",
        ] {
            assert!(bad.parse::<ChainAddress>().is_err(), "{bad:?} was accepted");
        }
    }
}
