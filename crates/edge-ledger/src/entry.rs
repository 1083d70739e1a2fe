//! What is written into a book, and what it means.

use std::collections::BTreeMap;

use edge_negotiation::escrow::{Call, Escrow, EscrowError, ReceiptClaim};
use edge_types::{
    Acceptance, AgreementId, Amount, Asset, ChainAddress, ChainTime, Offer, Receipt, Signature,
    UtcTime,
};
use edge_wire::contract::AcceptanceMessage;
use edge_wire::message::{OfferMessage, ReceiptMessage};
use edge_wire::signing;
use serde::{Deserialize, Serialize};

/// Something that a party did, in the order in which it was written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Seconds since the Unix epoch.
    pub(crate) at: u64,
    /// Whose doing it is.
    pub(crate) by: String,
    pub(crate) did: Deed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Deed {
    /// The buyer pays, agreed at once if it brings both signatures.
    Propose {
        offer: Box<OfferMessage>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acceptance: Option<Box<AcceptanceMessage>>,
    },
    Confirm {
        agreement: String,
    },
    Reject {
        agreement: String,
    },
    GiveNotice {
        agreement: String,
        stop: u64,
    },
    Claim {
        agreement: String,
        units: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipt: Option<Box<ReceiptMessage>>,
    },
    Dispute {
        agreement: String,
    },
    SettleMutually {
        agreement: String,
        due: String,
        buyer: String,
        provider: String,
    },
    Settle {
        receipt: Box<ReceiptMessage>,
    },
    Close {
        agreement: String,
    },
    Withdraw {
        /// The token; none for the native asset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
}

/// What a book says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) escrow: Escrow,
    pub(crate) known: BTreeMap<AgreementId, Known>,
    pub(crate) latest: ChainTime,
}

/// What the escrow itself does not keep.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) offer: Offer,
    pub(crate) acceptance: Option<Acceptance>,
}

/// An entry that means nothing here: the book is damaged, or somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Text in it cannot be read.
    Unreadable,
    /// The escrow would not allow it.
    Refused(EscrowError),
}

impl From<EscrowError> for Misfit {
    fn from(error: EscrowError) -> Self {
        Self::Refused(error)
    }
}

impl Contents {
    /// Does what an entry says, or nothing. Every signature is looked at, whether it is done now or read again.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let caller = read(&entry.by)?;
        let call = Call {
            now: ChainTime(entry.at),
            caller,
        };
        match &entry.did {
            Deed::Propose { offer, acceptance } => {
                let acceptance = acceptance.as_deref().copied().map(Acceptance::from);
                self.propose(call, &offer.0, acceptance)?;
            }
            Deed::Confirm { agreement } => {
                let (escrow, known) = self.of(agreement)?;
                escrow.confirm(call, &known.offer)?;
            }
            Deed::Reject { agreement } => {
                let (escrow, known) = self.of(agreement)?;
                escrow.reject(call, &known.offer)?;
            }
            Deed::GiveNotice { agreement, stop } => {
                let (escrow, known) = self.of(agreement)?;
                escrow.give_notice(call, &known.offer, UtcTime(*stop))?;
            }
            Deed::Claim {
                agreement,
                units,
                receipt,
            } => {
                let (escrow, known) = self.of(agreement)?;
                let receipt = receipt.as_deref().cloned().map(Receipt::from);
                let receipt = receipt.map(|receipt| signed(&receipt, &known.offer));
                escrow.claim(call, &known.offer, read(units)?, receipt)?;
            }
            Deed::Dispute { agreement } => {
                let (escrow, known) = self.of(agreement)?;
                escrow.dispute(call, &known.offer)?;
            }
            Deed::SettleMutually {
                agreement,
                due,
                buyer,
                provider,
            } => {
                let (escrow, known) = self.of(agreement)?;
                let due = Amount {
                    units: read(due)?,
                    ..known.offer.price_per_second
                };
                let (chain, contract) = signing::domain_of(&known.offer);
                let digest = signing::closing_digest(known.offer.id.into(), due, chain, contract);
                let by = |text: &String| -> Result<_, Misfit> {
                    let signature: Signature = read(text)?;
                    Ok(signing::recover(digest, &signature).ok())
                };
                let signers = [by(buyer)?, by(provider)?];
                escrow.settle_mutually(&known.offer, due.units, signers)?;
            }
            Deed::Settle { receipt } => {
                let receipt = Receipt::from(receipt.as_ref().clone());
                let known = self.known.get(&receipt.agreement);
                let known = known.ok_or(EscrowError::WrongState)?;
                let claim = signed(&receipt, &known.offer);
                self.escrow.settle(call, &known.offer, claim)?;
            }
            Deed::Close { agreement } => {
                let (escrow, known) = self.of(agreement)?;
                escrow.close(call.now, &known.offer)?;
            }
            Deed::Withdraw { token } => {
                let asset = match token {
                    None => Asset::Native,
                    Some(token) => Asset::Token(read(token)?),
                };
                self.escrow.withdraw(caller, asset);
            }
        }
        self.latest = self.latest.max(call.now);
        Ok(())
    }

    fn propose(
        &mut self,
        call: Call,
        offer: &Offer,
        acceptance: Option<Acceptance>,
    ) -> Result<(), EscrowError> {
        if signing::offer_digest(offer) != offer.id {
            return Err(EscrowError::BadSignature);
        }
        // Nobody but the two parties holds any money: what is agreed on is what is paid.
        let price = offer.price_per_second.times(offer.slot.seconds());
        let paid = price.map_or(0, |price| price.units);
        let site = signing::site_hash(&offer.site);
        match acceptance {
            None => {
                let signer = signing::recover(edge_types::Hash32(offer.id.0), &offer.signature);
                self.escrow.propose(call, offer, signer.ok(), site, paid)?;
            }
            Some(acceptance) => {
                let confirmation = acceptance.confirmation;
                let digest = signing::acceptance_digest(offer, confirmation.until);
                if signing::recover(digest, &acceptance.signature).ok() != Some(call.caller) {
                    return Err(EscrowError::BadSignature);
                }
                let digest = signing::confirmation_digest(offer, call.caller, confirmation.until);
                let signer = signing::recover(digest, &confirmation.signature).ok();
                let word = (confirmation.until, signer);
                self.escrow
                    .propose_confirmed(call, offer, word, site, paid)?;
            }
        }
        let known = Known {
            offer: offer.clone(),
            acceptance,
        };
        self.known.insert(offer.id.into(), known);
        Ok(())
    }

    fn of(&mut self, agreement: &str) -> Result<(&mut Escrow, &Known), Misfit> {
        let id: AgreementId = read(agreement)?;
        let known = self.known.get(&id).ok_or(EscrowError::WrongState)?;
        Ok((&mut self.escrow, known))
    }

    /// What of the money that was paid in advance between `one` and `other` is in agreements, or spent: smallest units.
    pub(crate) fn taken(&self, one: ChainAddress, other: ChainAddress) -> u128 {
        let records = self.escrow.agreements();
        let between = records.filter(|record| {
            let parties = [record.buyer, record.provider];
            (parties == [one, other] || parties == [other, one])
                && self.known.get(&record.id).is_some_and(|known| {
                    known.offer.settlement == edge_types::Settlement::Allowance
                })
        });
        between
            .map(|record| record.deposit.units - record.refunded.units)
            .fold(0, u128::saturating_add)
    }
}

fn read<T: std::str::FromStr>(text: &str) -> Result<T, Misfit> {
    text.parse().map_err(|_| Misfit::Unreadable)
}

/// A receipt, and whose signature is under it.
fn signed(receipt: &Receipt, offer: &Offer) -> ReceiptClaim {
    let (chain, contract) = signing::domain_of(offer);
    let digest = signing::receipt_digest(receipt, chain, contract);
    let is_about = receipt.agreement == AgreementId::from(offer.id);
    ReceiptClaim {
        due: receipt.due.units,
        signer: signing::recover(digest, &receipt.signature)
            .ok()
            .filter(|_| is_about),
    }
}
