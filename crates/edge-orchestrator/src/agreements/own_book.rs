//! What an agreement's task does where no chain holds the money: it shows the provider what both signed, and takes its word
//! for the end into our own book.

use edge_ports::Ledger as _;
use edge_types::{Closing, Offer, ReservationId};

use super::driver::{Driver, Failure};
use crate::sites::with_cause;

impl Driver {
    /// Tells the provider that the money is in escrow, or shows it our signature where no chain holds it.
    pub(super) async fn acknowledge(
        &mut self,
        offer: &Offer,
        reservation: ReservationId,
    ) -> Result<(), Failure> {
        let own_book = self.shared.ledgers.book_of(offer);
        let acceptance = own_book.and_then(|own_book| own_book.acceptance(offer.id.into()));
        let told = match acceptance {
            Some(acceptance) => {
                let accepted = self.client.accept(offer, reservation, acceptance);
                accepted.await
            }
            None => self.client.acknowledge(offer, reservation).await,
        };
        told.map_err(Failure::Http)?;
        self.negotiation.handle_acknowledged(self.shared.now());
        Ok(())
    }

    /// Where no chain shows how the provider divided the money, it says so itself, in signed words. What is not more than we
    /// owe goes into our own book, with our signature; about anything else people have to talk.
    pub(super) async fn hear_closing(&self) {
        let Some(own_book) = self.shared.ledgers.book_of(&self.offer) else {
            return;
        };
        let Ok(view) = self.client.agreement(self.offer.id.into()).await else {
            return;
        };
        let Some(closing) = view.closing.map(Closing::from) else {
            return;
        };
        let (offer, ours) = (&self.offer, self.negotiation.due());
        if closing.due.asset != ours.asset || closing.due.units > ours.units {
            let (site, theirs) = (&offer.site, closing.due);
            tracing::warn!(%site, %theirs, %ours, "the provider's book says that more is due than ours: settle it with its people");
            return;
        }
        let own = own_book.sign_closing(offer, closing.due);
        let settled = own_book.settle_mutually(offer, closing.due, own, closing.signature);
        if let Err(error) = settled.await {
            tracing::debug!(site = %offer.site, error = %with_cause(&error), "not settled by both");
        }
    }
}
