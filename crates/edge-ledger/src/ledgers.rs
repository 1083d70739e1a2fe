//! The ledgers that one party uses.

use std::sync::Arc;

use edge_ports::{Ledger, LedgerError};
use edge_types::Offer;

use crate::LocalLedger;

/// The ledgers that one party uses: an escrow on a chain, its own book, or both.
#[derive(Clone, Debug, Default)]
pub struct Ledgers {
    escrow: Option<Arc<dyn Ledger>>,
    book: Option<Arc<LocalLedger>>,
}

impl Ledgers {
    /// Those that there are.
    pub fn new(escrow: Option<Arc<dyn Ledger>>, book: Option<Arc<LocalLedger>>) -> Self {
        Self { escrow, book }
    }

    /// Only an escrow.
    pub fn on_chain(escrow: Arc<dyn Ledger>) -> Self {
        Self::new(Some(escrow), None)
    }

    /// The ledger that has the agreement on this offer, or would have it.
    ///
    /// # Errors
    /// [`LedgerError::NotPayable`] if this party uses none of the kind.
    pub fn of(&self, offer: &Offer) -> Result<&dyn Ledger, LedgerError> {
        let not_used = |detail| LedgerError::NotPayable { detail };
        if offer.settlement.is_local() {
            let book = self.book.as_deref();
            book.map(|book| book as &dyn Ledger)
                .ok_or_else(|| not_used("no book of agreements without a chain is kept here"))
        } else {
            let escrow = self.escrow.as_deref();
            escrow.ok_or_else(|| not_used("no chain is configured here"))
        }
    }

    /// The escrow, if one is used.
    pub fn escrow(&self) -> Option<&dyn Ledger> {
        self.escrow.as_deref()
    }

    /// This party's own book, if it keeps one.
    pub const fn book(&self) -> Option<&Arc<LocalLedger>> {
        self.book.as_ref()
    }

    /// The own book, if the offer is settled there.
    pub fn book_of(&self, offer: &Offer) -> Option<&Arc<LocalLedger>> {
        self.book.as_ref().filter(|_| offer.settlement.is_local())
    }
}
