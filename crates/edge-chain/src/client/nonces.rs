//! Handing out nonces to operations that run at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use edge_ports::LedgerError;

/// The nonces of one account. Starts from the chain's count, and again from there when it is unclear what became of one.
/// A nonce handed out twice by that is refused by the node and tried again.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// The next to hand out; `None` if the chain has to be asked.
    next: Mutex<Option<u64>>,
    asking: tokio::sync::Mutex<()>,
}

/// A nonce that nobody else has. Dropping it means that its fate is unknown.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    nonces: &'a Nonces,
    value: u64,
    settled: bool,
}

impl Nonces {
    /// Hands out the next nonce; asks `count` (the chain's, pending included) if none is known.
    pub(super) async fn reserve<F>(
        &self,
        count: impl Fn() -> F,
    ) -> Result<Reserved<'_>, LedgerError>
    where
        F: Future<Output = Result<u64, LedgerError>>,
    {
        loop {
            if let Some(reserved) = self.take() {
                return Ok(reserved);
            }
            self.prime(&count).await?;
        }
    }

    /// Asks `count` if no nonce is known, so that the next operation need not.
    pub(super) async fn prime<F>(&self, count: impl Fn() -> F) -> Result<(), LedgerError>
    where
        F: Future<Output = Result<u64, LedgerError>>,
    {
        let _only_one_asks = self.asking.lock().await;
        if self.next().is_none() {
            let count = count().await?;
            *self.next() = Some(count);
        }
        Ok(())
    }

    fn take(&self) -> Option<Reserved<'_>> {
        let mut next = self.next();
        let value = (*next)?;
        *next = Some(value + 1);
        Some(Reserved {
            nonces: self,
            value,
            settled: false,
        })
    }

    fn next(&self) -> MutexGuard<'_, Option<u64>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    pub(super) const fn value(&self) -> u64 {
        self.value
    }

    /// The chain has it.
    pub(super) fn used(mut self) {
        self.settled = true;
    }

    /// The chain had it already, from somebody else with this key: all that is known is out of date.
    pub(super) fn taken_by_other(self) {
        drop(self);
    }

    /// The chain does not have it. Gives the nonce itself back if later ones are out, which depend on it.
    pub(super) fn give_back(mut self) -> Result<(), Self> {
        let mut next = self.nonces.next();
        if *next != Some(self.value + 1) {
            drop(next);
            return Err(self);
        }
        *next = Some(self.value);
        drop(next);
        self.settled = true;
        Ok(())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.settled {
            *self.nonces.next() = None;
        }
    }
}
