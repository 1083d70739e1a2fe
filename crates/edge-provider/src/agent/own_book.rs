//! Agreements that no chain holds the money of: taken up with what both signed, over the API or from files that people passed on.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use edge_ledger::LocalLedger;
use edge_negotiation::{Answer, ProviderBook};
use edge_ports::LedgerError;
use edge_types::agreement::detail;
use edge_types::{
    Acceptance, AgreementId, AgreementState, ChainAddress, Offer, RejectReason, Settlement, UtcTime,
};
use edge_wire::contract::ContractFile;
use edge_wire::{MAX_BODY_BYTES, Problem, signing};

use super::{Agent, chain_text, unavailable};

/// Most files with contracts that are read.
const MOST_FILES: usize = 1024;

impl Agent {
    /// Takes up an offer that no chain holds the money of: with what both signed, and at once or not at all.
    pub(super) fn take_up(
        &self,
        own_book: &LocalLedger,
        offer: &Offer,
        buyer: ChainAddress,
        acceptance: Option<Acceptance>,
    ) -> Result<AgreementState, Problem> {
        let now = self.ports.clock.utc();
        let id = AgreementId::from(offer.id);
        let taken = self.decide(|book| {
            if own_book.record(id).is_none() {
                let not_funded = Problem::Rejected(RejectReason::NotFunded);
                let acceptance = acceptance.ok_or(not_funded)?;
                book.has_room(offer, buyer, now)
                    .map_err(Problem::Rejected)?;
                let accepted = own_book.accept(offer, acceptance, buyer);
                accepted.map_err(|error| not_taken(&error, offer, now))?;
            }
            let record = own_book.record(id);
            book.handle_agreement(offer, buyer, record.as_ref(), now)
                .map_err(Problem::Rejected)
        })?;
        self.wake();
        tracing::info!(agreement = %id, ?taken, "took an agreement up");
        match taken? {
            Answer::Known(state) => Ok(state),
            Answer::Confirm => Ok(AgreementState::Confirmed),
            Answer::Reject(reason) => Err(Problem::Rejected(reason)),
        }
    }

    /// Does what the buyer paid in advance cover this offer too, beside what it holds already?
    pub(crate) fn covers(&self, book: &ProviderBook, offer: &Offer, buyer: ChainAddress) -> bool {
        let own_book = self.ledgers.book();
        let left = own_book.map_or(0, |own_book| own_book.left(buyer));
        let price = |offer: &Offer| {
            let price = offer.price_per_second.times(offer.slot.seconds());
            price.map_or(u128::MAX, |price| price.units)
        };
        let held = book
            .reserved_by(buyer, self.ports.clock.utc())
            .filter(|held| held.settlement == Settlement::Allowance && held.id != offer.id);
        let held = held.map(price).fold(0, u128::saturating_add);
        held.saturating_add(price(offer)) <= left
    }
}

/// The folder in the state directory from which contracts are taken up at the start.
fn contracts(state_directory: &Path) -> PathBuf {
    state_directory.join("contracts")
}

/// Puts the contracts that people left in the state directory into our own book. What cannot be used is told and left.
pub(super) fn import(state_directory: &Path, own_book: &LocalLedger, provider: ChainAddress) {
    let Ok(files) = fs::read_dir(contracts(state_directory)) else {
        return;
    };
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .take(MOST_FILES)
        .collect();
    files.sort();
    for path in files {
        let file = path.display();
        match import_one(&path, own_book, provider) {
            Ok(agreement) => tracing::info!(%file, %agreement, "a contract"),
            Err(problem) => tracing::warn!(%file, problem, "a contract is not taken up"),
        }
    }
}

fn import_one(
    path: &Path,
    own_book: &LocalLedger,
    provider: ChainAddress,
) -> Result<AgreementId, String> {
    let mut text = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut text));
    read.map_err(|error| chain_text(&error))?;
    let contract: ContractFile = edge_wire::decode(&text).map_err(|error| chain_text(&error))?;
    let signed = contract.signed();
    let (offer, acceptance) = signed.ok_or("the buyer has not signed")?;
    if offer.provider != provider || signing::verify_offer(&offer).is_err() {
        return Err("the offer is not ours".to_owned());
    }
    let digest = signing::acceptance_digest(&offer, acceptance.confirmation.until);
    let buyer = signing::recover(digest, &acceptance.signature);
    let buyer = buyer.map_err(|error| chain_text(&error))?;
    own_book
        .accept(&offer, acceptance, buyer)
        .map_err(|error| chain_text(&error))
}

/// What our own book shows as agreed and the provider's does not: an earlier process ended between the two, or people made
/// the contract.
pub(super) fn take_up_agreed(book: &mut ProviderBook, own_book: &LocalLedger, now: UtcTime) {
    for open in own_book.open_agreements() {
        let id = open.record.id;
        if book.agreement(id).is_some() {
            continue;
        }
        let buyer = open.record.buyer;
        match book.handle_agreement(&open.offer, buyer, Some(&open.record), now) {
            Ok(_) => tracing::info!(agreement = %id, "taken up from the own book"),
            Err(reason) => tracing::warn!(agreement = %id, %reason, "agreed and not taken up"),
        }
    }
}

/// Why the own book does not take an agreement.
fn not_taken(error: &LedgerError, offer: &Offer, now: UtcTime) -> Problem {
    let LedgerError::Refused { error, .. } = error else {
        return unavailable(error);
    };
    Problem::Rejected(match error.as_str() {
        "BadSignature" => RejectReason::NotAuthorised {
            detail: detail::KEY,
        },
        "OfferExpired" => RejectReason::OfferExpired {
            seconds_ago: now.seconds_since(offer.expires),
        },
        _ => RejectReason::NotFunded,
    })
}
