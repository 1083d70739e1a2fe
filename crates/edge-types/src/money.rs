//! Money: whole units of an asset, never floating point.

use std::fmt;

use crate::chain::ChainAddress;

/// What an amount is an amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// The chain's own currency; one unit is one wei.
    Native,
    /// An ERC-20 token; one unit is its smallest.
    Token(ChainAddress),
}

/// A number of the smallest units of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Amount {
    /// What is counted.
    pub asset: Asset,
    /// How many smallest units; `u128` holds 3.4e20 ether in wei.
    pub units: u128,
}

/// Two amounts cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// They count different assets.
    #[error("amounts of different assets")]
    MixedAssets,
    /// The result does not fit, or would be negative.
    #[error("amount out of range")]
    OutOfRange,
}

impl Amount {
    /// `units` wei.
    pub const fn wei(units: u128) -> Self {
        Self {
            asset: Asset::Native,
            units,
        }
    }

    /// The sum of both.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, u128::checked_add)
    }

    /// What is left of this after `other` is taken.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, u128::checked_sub)
    }

    /// This amount `count` times, e.g. a price per second over seconds.
    pub fn times(self, count: u64) -> Result<Self, MoneyError> {
        let units = self
            .units
            .checked_mul(count.into())
            .ok_or(MoneyError::OutOfRange)?;
        Ok(Self { units, ..self })
    }

    fn combine(
        self,
        other: Self,
        operation: fn(u128, u128) -> Option<u128>,
    ) -> Result<Self, MoneyError> {
        if self.asset != other.asset {
            return Err(MoneyError::MixedAssets);
        }
        let units = operation(self.units, other.units).ok_or(MoneyError::OutOfRange)?;
        Ok(Self {
            asset: self.asset,
            units,
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asset {
            Asset::Native => write!(f, "{} wei", self.units),
            Asset::Token(token) => write!(f, "{} units of {token}", self.units),
        }
    }
}
