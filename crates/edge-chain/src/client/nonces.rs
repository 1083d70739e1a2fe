//! Handing out nonces to operations that run at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use edge_ports::LedgerError;

/// The nonces of one account. Starts from the chain's count, and again from there when it is unclear what became of one
/// and none is out.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    book: Mutex<Book>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Book {
    /// The next to hand out; `None` before the chain was asked.
    next: Option<u64>,
    /// How many are out.
    out: usize,
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
        count: impl FnOnce() -> F,
    ) -> Result<Reserved<'_>, LedgerError>
    where
        F: Future<Output = Result<u64, LedgerError>>,
    {
        if let Some(reserved) = self.take() {
            return Ok(reserved);
        }
        let _only_one_asks = self.asking.lock().await;
        if let Some(reserved) = self.take() {
            return Ok(reserved);
        }
        let count = count().await?;
        let mut book = self.book();
        // What is still out may not have reached the node's count.
        let value = book.next.map_or(count, |next| next.max(count));
        book.next = Some(value + 1);
        book.out += 1;
        Ok(self.reserved(value))
    }

    fn take(&self) -> Option<Reserved<'_>> {
        let mut book = self.book();
        let value = book.next?;
        book.next = Some(value + 1);
        book.out += 1;
        Some(self.reserved(value))
    }

    const fn reserved(&self, value: u64) -> Reserved<'_> {
        Reserved {
            nonces: self,
            value,
            settled: false,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    pub(super) const fn value(&self) -> u64 {
        self.value
    }

    /// The chain has it.
    pub(super) fn used(mut self) {
        self.settled = true;
        self.nonces.book().out -= 1;
    }

    /// The chain had it already, from somebody else with this key: all that is known is out of date.
    pub(super) fn taken_by_other(self) {
        drop(self);
    }

    /// The chain does not have it. Gives the nonce itself back if later ones are out, which depend on it.
    pub(super) fn give_back(mut self) -> Result<(), Self> {
        let mut book = self.nonces.book();
        if book.next != Some(self.value + 1) {
            drop(book);
            return Err(self);
        }
        book.next = Some(self.value);
        book.out -= 1;
        drop(book);
        self.settled = true;
        Ok(())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let mut book = self.nonces.book();
            book.out -= 1;
            book.next = None;
        }
    }
}
