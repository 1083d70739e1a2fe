//! Which nonces were used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use edge_types::{ChainAddress, Hash32, UtcTime};
use edge_wire::Problem;

/// Nonces are remembered until their request would have expired anyway. When there is no room for another, new requests
/// are refused for a while, rather than old ones forgotten.
#[derive(Debug, Default)]
pub struct NonceCache {
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    by_expiry: BTreeSet<(UtcTime, ChainAddress, Hash32)>,
    nonces: BTreeSet<(ChainAddress, Hash32)>,
    per_key: BTreeMap<ChainAddress, usize>,
}

/// Nonces remembered in all; about 10 MB.
const NONCES: usize = 65_536;
/// Nonces remembered of one key; at 120 s each, 8 requests a second.
const NONCES_PER_KEY: usize = 1024;

impl NonceCache {
    pub(super) fn use_once(
        &self,
        key: ChainAddress,
        nonce: Hash32,
        expires: UtcTime,
        now: UtcTime,
    ) -> Result<(), Problem> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget(now);
        if used.nonces.contains(&(key, nonce)) {
            return Err(Problem::Replayed);
        }
        let of_key = used.per_key.get(&key).copied().unwrap_or(0);
        if of_key >= NONCES_PER_KEY || used.nonces.len() >= NONCES {
            return Err(Problem::TooManyRequests {
                retry_after_seconds: 10,
            });
        }
        used.nonces.insert((key, nonce));
        used.by_expiry.insert((expires, key, nonce));
        used.per_key.insert(key, of_key + 1);
        Ok(())
    }
}

impl Used {
    fn forget(&mut self, now: UtcTime) {
        while let Some(&(expires, key, nonce)) = self.by_expiry.first() {
            if expires >= now {
                return;
            }
            self.by_expiry.pop_first();
            self.nonces.remove(&(key, nonce));
            match self.per_key.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.per_key.remove(&key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_counts_once_per_key_until_it_expires() {
        let cache = NonceCache::default();
        let (a, b) = (ChainAddress([1; 20]), ChainAddress([2; 20]));
        let nonce = Hash32([7; 32]);
        let use_once = |key, now| cache.use_once(key, nonce, UtcTime(100), UtcTime(now));
        assert_eq!(use_once(a, 50), Ok(()));
        assert_eq!(use_once(a, 100), Err(Problem::Replayed));
        assert_eq!(use_once(b, 100), Ok(()));
        assert_eq!(use_once(a, 101), Ok(()));
    }

    #[test]
    fn one_key_cannot_fill_the_memory() {
        let cache = NonceCache::default();
        let mut refused = 0;
        for number in 0..2 * NONCES_PER_KEY {
            let mut nonce = Hash32([0; 32]);
            nonce.0[..8].copy_from_slice(&number.to_be_bytes());
            let key = ChainAddress([1; 20]);
            if cache
                .use_once(key, nonce, UtcTime(100), UtcTime(1))
                .is_err()
            {
                refused += 1;
            }
        }
        assert_eq!(refused, NONCES_PER_KEY);
        let other = ChainAddress([2; 20]);
        assert_eq!(
            cache.use_once(other, Hash32([0; 32]), UtcTime(100), UtcTime(1)),
            Ok(())
        );
    }
}
