//! One party's own book of agreements: the escrow's rules without a chain.
//!
//! ## Rule
//! The book is a journal of what the parties did, with their signatures, and the escrow's reference model that these deeds
//! lead to. A deed is written to the disk before anything rests on it. Time is the wall clock, which for a book never goes
//! back.
//!
//! ## Money
//! No money is in a book. What an agreement out of an allowance holds or spent is taken off what was paid in advance, which
//! the configuration says, and what is refunded is back in that account. The share that the escrow would burn is booked like
//! there, as the measure of reputation; it stays with the provider.
//!
//! ## Limits
//! The book is the word of its owner. What it holds against the other party is the signatures in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_journal::{Journal, JournalError, Keep};
use edge_ports::{BoxFuture, Clock, Ledger, LedgerError, Signer};
use edge_types::{
    Acceptance, AgreementId, AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainId,
    ChainTime, Closing, Confirmation, EscrowTotals, Offer, Receipt, Settlement, Signature, UtcTime,
};
use edge_wire::contract::AcceptanceMessage;
use edge_wire::message::{OfferMessage, ReceiptMessage};
use edge_wire::signing;

use crate::entry::{Contents, Deed, Entry, Misfit};

const KIND: &str = "book of agreements without a chain";
/// The news of what was agreed in time may come so much later, seconds: the provider holds the hardware that long.
const NEWS_SECONDS: u64 = 60;
/// How a book refuses what the account does not cover.
const SPENT: &str = "AllowanceSpent";

/// The file of the book in a state directory.
pub fn book_file(state_directory: &Path) -> PathBuf {
    state_directory.join("book.jsonl")
}

/// One party's own book.
#[derive(Clone, Debug)]
pub struct LocalLedger {
    book: Arc<Mutex<Book>>,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Book {
    journal: Journal,
    contents: Contents,
    owner: ChainAddress,
    /// What was paid in advance, by the other party: by whom to a provider, to whom by a buyer.
    prepaid: BTreeMap<ChainAddress, u128>,
}

/// An agreement that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAgreement {
    /// The terms.
    pub offer: Offer,
    /// What both signed, if they agreed at once.
    pub acceptance: Option<Acceptance>,
    /// Where it stands.
    pub record: AgreementRecord,
}

impl LocalLedger {
    /// Opens or makes the book of the holder of `signer`. `prepaid` says what was paid in advance, in smallest units: by each
    /// buyer, if the owner is a provider, or to each provider, if it is a buyer.
    ///
    /// # Errors
    /// The file cannot be used, or is not the owner's.
    pub fn open(
        path: &Path,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        prepaid: BTreeMap<ChainAddress, u128>,
    ) -> Result<Self, JournalError> {
        let opened = Journal::open::<Entry>(path, KIND)?;
        if let Some(torn) = opened.torn {
            let octets = torn.octets;
            tracing::warn!(octets, "the last deed in the book was not written out");
        }
        let mut contents = Contents::default();
        for (line, entry) in (2..).zip(&opened.records) {
            contents.apply(entry).map_err(|_| JournalError::Damaged {
                path: path.to_owned(),
                line,
            })?;
        }
        let book = Book {
            journal: opened.journal,
            contents,
            owner: signer.address(),
            prepaid,
        };
        Ok(Self {
            book: Arc::new(Mutex::new(book)),
            signer,
            clock,
        })
    }

    /// The same book for another party within this process, who trusts its owner.
    #[must_use]
    pub fn for_party(&self, signer: Arc<dyn Signer>) -> Self {
        Self {
            signer,
            ..self.clone()
        }
    }

    /// Takes note that `buyer` took up an offer on the provider's confirmation. Again it changes nothing. The news of it may
    /// come a minute late.
    ///
    /// # Errors
    /// As [`Ledger::propose`]; [`LedgerError::Refused`] with `AllowanceSpent` where too little is left of what was paid in
    /// advance.
    pub fn accept(
        &self,
        offer: &Offer,
        acceptance: Acceptance,
        buyer: ChainAddress,
    ) -> Result<AgreementId, LedgerError> {
        let id = AgreementId::from(offer.id);
        let mut book = self.book();
        let known = book.contents.escrow.agreement(id);
        if known.is_some_and(|record| record.buyer == buyer) {
            return Ok(id);
        }
        let (now, until) = (self.now_in(&book), acceptance.confirmation.until);
        let at = if now.0 <= until.0.saturating_add(NEWS_SECONDS) {
            now.min(ChainTime(until.0))
        } else {
            now
        };
        book.propose(offer, Some(acceptance), buyer, at)?;
        Ok(id)
    }

    /// What both parties signed of an agreement.
    pub fn acceptance(&self, id: AgreementId) -> Option<Acceptance> {
        self.book().contents.known.get(&id)?.acceptance
    }

    /// An agreement as the book has it now.
    pub fn record(&self, id: AgreementId) -> Option<AgreementRecord> {
        self.book().contents.escrow.agreement(id).cloned()
    }

    /// The terms of an agreement in the book.
    pub fn offer(&self, id: AgreementId) -> Option<Offer> {
        let book = self.book();
        book.contents
            .known
            .get(&id)
            .map(|known| known.offer.clone())
    }

    /// What is left of what was paid in advance by this buyer, or to this provider; smallest units.
    pub fn left(&self, other: ChainAddress) -> u128 {
        self.book().left(other)
    }

    /// Agreements that are not over.
    pub fn open_agreements(&self) -> Vec<OpenAgreement> {
        let book = self.book();
        let records = book.contents.escrow.agreements();
        let open = records.filter(|record| !record.state.is_final());
        open.filter_map(|record| {
            let known = book.contents.known.get(&record.id)?;
            Some(OpenAgreement {
                offer: known.offer.clone(),
                acceptance: known.acceptance,
                record: record.clone(),
            })
        })
        .collect()
    }

    /// How the deposit of a settled agreement was divided, signed by this account.
    pub fn closing(&self, id: AgreementId) -> Option<Closing> {
        let book = self.book();
        let record = book.contents.escrow.agreement(id)?;
        let offer = &book.contents.known.get(&id)?.offer;
        if record.state != AgreementState::Settled {
            return None;
        }
        let due = record.deposit.minus(record.refunded).ok()?;
        Some(Closing {
            due,
            signature: self.sign_closing(offer, due),
        })
    }

    /// This account's signature under a division.
    pub fn sign_closing(&self, offer: &Offer, due: Amount) -> Signature {
        let (chain, contract) = signing::domain_of(offer);
        let digest = signing::closing_digest(offer.id.into(), due, chain, contract);
        self.signer.sign_digest(digest)
    }

    /// This account's acceptance of an offer on its provider's confirmation.
    pub fn sign_acceptance(&self, offer: &Offer, confirmation: Confirmation) -> Acceptance {
        let digest = signing::acceptance_digest(offer, confirmation.until);
        Acceptance {
            confirmation,
            signature: self.signer.sign_digest(digest),
        }
    }

    fn act(&self, attempted: &'static str, deed: Deed) -> Result<(), LedgerError> {
        let mut book = self.book();
        let now = self.now_in(&book);
        book.write(attempted, now, self.signer.address(), deed)
    }

    /// The time, which for a book never goes back.
    fn now_in(&self, book: &Book) -> ChainTime {
        ChainTime(self.clock.utc().0).max(book.contents.latest)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn left(&self, other: ChainAddress) -> u128 {
        let paid = self.prepaid.get(&other).copied().unwrap_or(0);
        paid.saturating_sub(self.contents.taken(self.owner, other))
    }

    fn propose(
        &mut self,
        offer: &Offer,
        acceptance: Option<Acceptance>,
        buyer: ChainAddress,
        at: ChainTime,
    ) -> Result<(), LedgerError> {
        let attempted = "proposing";
        let not_payable = |detail| LedgerError::NotPayable { detail };
        if !offer.settlement.is_local() {
            return Err(not_payable("it is to be paid into an escrow"));
        }
        let price = offer.price_per_second.times(offer.slot.seconds());
        let price = price.map_err(|_| not_payable("the price is out of range"))?;
        if offer.settlement == Settlement::Allowance {
            let other = if offer.provider == self.owner {
                buyer
            } else {
                offer.provider
            };
            if self.left(other) < price.units {
                let error = SPENT.to_owned();
                return Err(LedgerError::Refused { attempted, error });
            }
        }
        let deed = Deed::Propose {
            offer: Box::new(OfferMessage(offer.clone())),
            acceptance: acceptance.map(|it| Box::new(AcceptanceMessage::from(it))),
        };
        self.write(attempted, at, buyer, deed)
    }

    /// Does something, once it is written down.
    fn write(
        &mut self,
        attempted: &'static str,
        now: ChainTime,
        by: ChainAddress,
        did: Deed,
    ) -> Result<(), LedgerError> {
        let entry = Entry {
            at: now.0,
            by: by.to_string(),
            did,
        };
        let mut next = self.contents.clone();
        next.apply(&entry).map_err(|misfit| LedgerError::Refused {
            attempted,
            error: match misfit {
                Misfit::Refused(error) => format!("{error:?}"),
                Misfit::Unreadable => "Unreadable".to_owned(),
            },
        })?;
        let wrote = self.journal.append(&entry, Keep::Disk);
        wrote.map_err(|cause| LedgerError::Unwritten {
            attempted,
            cause: Box::new(cause),
        })?;
        self.contents = next;
        Ok(())
    }
}

fn of(offer: &Offer) -> String {
    offer.id.to_string()
}

/// A result that is there at once.
fn ready<'a, T: Send + 'a>(
    result: Result<T, LedgerError>,
) -> BoxFuture<'a, Result<T, LedgerError>> {
    Box::pin(std::future::ready(result))
}

impl Ledger for LocalLedger {
    fn chain(&self) -> ChainId {
        ChainId(0)
    }

    fn contract(&self) -> ChainAddress {
        self.book().owner
    }

    fn account(&self) -> ChainAddress {
        self.signer.address()
    }

    fn verify_contract(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        ready(Ok(()))
    }

    fn propose<'a>(
        &'a self,
        offer: &'a Offer,
        confirmation: Option<&'a Confirmation>,
    ) -> BoxFuture<'a, Result<AgreementId, LedgerError>> {
        let acceptance = confirmation.map(|word| self.sign_acceptance(offer, *word));
        let buyer = self.signer.address();
        let mut book = self.book();
        let now = self.now_in(&book);
        let proposed = book.propose(offer, acceptance, buyer, now);
        ready(proposed.map(|()| offer.id.into()))
    }

    fn confirm<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        let agreement = of(offer);
        ready(self.act("confirming", Deed::Confirm { agreement }))
    }

    fn reject<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        let agreement = of(offer);
        ready(self.act("rejecting", Deed::Reject { agreement }))
    }

    fn give_notice<'a>(
        &'a self,
        offer: &'a Offer,
        stop: UtcTime,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        let deed = Deed::GiveNotice {
            agreement: of(offer),
            stop: stop.0,
        };
        ready(self.act("giving notice", deed))
    }

    fn claim<'a>(
        &'a self,
        offer: &'a Offer,
        amount: Amount,
        receipt: Option<Receipt>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        let deed = Deed::Claim {
            agreement: of(offer),
            units: amount.units.to_string(),
            receipt: receipt.map(|receipt| Box::new(ReceiptMessage::from(receipt))),
        };
        ready(self.act("claiming", deed))
    }

    fn dispute<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        let agreement = of(offer);
        ready(self.act("disputing", Deed::Dispute { agreement }))
    }

    fn settle_mutually<'a>(
        &'a self,
        offer: &'a Offer,
        due: Amount,
        buyer: Signature,
        provider: Signature,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        let deed = Deed::SettleMutually {
            agreement: of(offer),
            due: due.units.to_string(),
            buyer: buyer.to_string(),
            provider: provider.to_string(),
        };
        ready(self.act("settling", deed))
    }

    fn settle<'a>(
        &'a self,
        offer: &'a Offer,
        receipt: Receipt,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        if receipt.agreement != AgreementId::from(offer.id) {
            return ready(Err(LedgerError::NotPayable {
                detail: "the receipt is for another agreement",
            }));
        }
        let receipt = Box::new(ReceiptMessage::from(receipt));
        ready(self.act("settling", Deed::Settle { receipt }))
    }

    fn close<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<(), LedgerError>> {
        let agreement = of(offer);
        ready(self.act("closing", Deed::Close { agreement }))
    }

    fn withdraw(&self, asset: Asset) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        let account = self.signer.address();
        let credit = self.book().contents.escrow.account(account, asset).credit;
        if credit.units == 0 {
            return ready(Ok(credit));
        }
        let token = match asset {
            Asset::Native => None,
            Asset::Token(token) => Some(token.to_string()),
        };
        let withdrawn = self.act("withdrawing", Deed::Withdraw { token });
        ready(withdrawn.map(|()| credit))
    }

    fn agreement<'a>(
        &'a self,
        offer: &'a Offer,
    ) -> BoxFuture<'a, Result<Option<AgreementRecord>, LedgerError>> {
        ready(Ok(self.record(offer.id.into())))
    }

    fn totals(&self, asset: Asset) -> BoxFuture<'_, Result<EscrowTotals, LedgerError>> {
        ready(Ok(self.book().contents.escrow.totals(asset)))
    }

    fn free_stake(
        &self,
        account: ChainAddress,
        asset: Asset,
    ) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        let account = self.book().contents.escrow.account(account, asset);
        ready(Ok(account.free_stake))
    }

    fn balance(&self, account: ChainAddress) -> BoxFuture<'_, Result<Amount, LedgerError>> {
        ready(Ok(Amount::wei(self.left(account))))
    }

    fn now(&self) -> BoxFuture<'_, Result<ChainTime, LedgerError>> {
        let book = self.book();
        ready(Ok(self.now_in(&book)))
    }
}
