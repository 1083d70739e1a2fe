//! Random octets, fetched from the system in portions: a question takes some in several places, and each fetch is a call to
//! the kernel.

use std::sync::{Mutex, PoisonError};

/// Octets fetched at once.
const PORTION: usize = 4096;

/// Hands out what the system draws, each octet once.
#[derive(Debug, Default)]
pub(crate) struct Dice {
    left: Mutex<Vec<u8>>,
}

impl Dice {
    /// Fills `octets`, of which there are at most 4096.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn fill(&self, octets: &mut [u8]) -> Result<(), getrandom::Error> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < octets.len() {
            left.resize(PORTION.max(octets.len()), 0);
            if let Err(error) = getrandom::fill(&mut left) {
                left.clear();
                return Err(error);
            }
        }
        let rest = left.len() - octets.len();
        octets.copy_from_slice(&left[rest..]);
        left.truncate(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_is_handed_out_twice() {
        let dice = Dice::default();
        let drawn: BTreeSet<[u8; 16]> = (0..2000)
            .map(|_| {
                let mut octets = [0; 16];
                dice.fill(&mut octets).unwrap();
                octets
            })
            .collect();
        assert_eq!(drawn.len(), 2000);
    }
}
