//! Contracts that people made without a chain, and known partners: taken up as they are.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use edge_http::entry_tls::Transport;
use edge_journal::JournalError;
use edge_negotiation::{Negotiation, NegotiationRecord};
use edge_ports::LedgerError;
use edge_types::{AgreementId, IepId};
use edge_wire::contract::ContractFile;
use edge_wire::signing::{self, SignatureError};
use edge_wire::{MAX_BODY_BYTES, WireError, decode};
use tokio::sync::Notify;

use super::driver::Driver;
use super::{Agreements, Open};
use crate::journal::Written;
use crate::sites::with_cause;

/// Why a contract is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum ImportRefusal {
    /// It cannot be read.
    #[error("reading the contract")]
    Unreadable(#[source] std::io::Error),
    /// It is none.
    #[error("the file is no contract")]
    Malformed(#[source] WireError),
    /// The buyer's signature is missing.
    #[error("the buyer has not signed; `exec-edge agreement sign` does")]
    NotSigned,
    /// A signature is not by whom it should be.
    #[error("a signature does not stand")]
    Signature(#[source] SignatureError),
    /// Its money is in an escrow.
    #[error("it is paid into an escrow, which needs no import")]
    OnChain,
    /// It is over.
    #[error("its period is over")]
    Over,
    /// Nobody says where the site is.
    #[error("where {0} is has to be given, or configured with `addresses` in discovery.sites")]
    NoAddress(IepId),
    /// The site has to be spoken to over TLS, and it is not known that it does.
    #[error("{0} has no TLS configured, and policy.require_tls wants it")]
    NoTls(IepId),
    /// It cannot be written down.
    #[error("the contract cannot be written down")]
    Unwritten(#[source] JournalError),
    /// Our own book does not take it.
    #[error("the own book does not take it")]
    Book(#[source] LedgerError),
}

impl Agreements {
    /// Takes up a contract that both parties signed, at the address given or configured. Again it changes nothing.
    ///
    /// # Errors
    /// [`ImportRefusal`]; nothing is agreed then.
    pub fn import(
        self: &Arc<Self>,
        contract: &[u8],
        address: Option<SocketAddr>,
    ) -> Result<AgreementId, ImportRefusal> {
        let contract: ContractFile = decode(contract).map_err(ImportRefusal::Malformed)?;
        let (offer, acceptance) = contract.signed().ok_or(ImportRefusal::NotSigned)?;
        let (id, ours) = (AgreementId::from(offer.id), self.signer.address());
        signing::verify_offer(&offer).map_err(ImportRefusal::Signature)?;
        signing::verify_acceptance(&acceptance, &offer, ours).map_err(ImportRefusal::Signature)?;
        if !offer.settlement.is_local() {
            return Err(ImportRefusal::OnChain);
        }
        if self.store().knows(id) {
            return Ok(id);
        }
        let now = self.clock.utc();
        if now >= offer.slot.end {
            return Err(ImportRefusal::Over);
        }
        let (entry_point, transport) = self.way_to(&offer.site, address)?;
        // In the book first: what is in doubt after a crash is only whether the provider knows.
        let own_book = self.ledgers.book_of(&offer);
        let own_book = own_book.ok_or(ImportRefusal::OnChain)?;
        let accepted = own_book.accept(&offer, acceptance, ours);
        accepted.map_err(ImportRefusal::Book)?;

        let close = Arc::new(Notify::new());
        let open = Open {
            offer: offer.clone(),
            path: None,
            serving: None,
            leaves: false,
            waits: false,
            container: None,
            pins: Vec::new(),
            close: Arc::clone(&close),
            heard: Vec::new(),
        };
        {
            let mut book = self.book();
            // What waited for this contract waits no longer.
            let waiting = book.of(&offer.site).filter(|open| open.waits);
            waiting.for_each(|open| open.close.notify_one());
            let key = (offer.site.clone(), offer.id);
            if book.open.insert(key, open).is_some() {
                return Ok(id);
            }
        }
        let record = NegotiationRecord::of_contract(offer.clone(), acceptance.confirmation);
        let mut written = Written {
            record: record.clone(),
            entry_point,
            transport,
            serving_at: None,
            image_token: None,
            challenge: None,
            began: now,
            steps: Vec::new(),
        };
        written.step(now, "made by people and imported".to_owned());
        let wrote = self.store().write(&written);
        if let Err(error) = wrote {
            self.book().open.remove(&(offer.site.clone(), offer.id));
            return Err(ImportRefusal::Unwritten(error));
        }
        tokio::spawn(Arc::clone(self).find_way(offer.site.clone(), entry_point));
        let negotiation = Negotiation::resume(self.pace, record, self.now());
        tokio::spawn(Driver::new(Arc::clone(self), negotiation, written, close).run());
        Ok(id)
    }

    /// Takes up the contracts that the configuration names. One that cannot be used keeps nothing else from working.
    pub fn take_up_contracts(self: &Arc<Self>) {
        for site in &self.settings.config.discovery.sites {
            let Some(path) = &site.contract else { continue };
            let taken = read(path).and_then(|contract| self.import(&contract, None));
            match taken {
                Ok(agreement) => {
                    tracing::info!(%agreement, site = site.host, "a partner's contract");
                }
                Err(error) => {
                    let (file, error) = (path.display(), with_cause(&error));
                    tracing::error!(%file, site = site.host, error, "a contract is not taken up");
                }
            }
        }
    }

    /// How a site is reached that nobody has to find.
    fn way_to(
        &self,
        site: &IepId,
        address: Option<SocketAddr>,
    ) -> Result<(SocketAddr, Transport), ImportRefusal> {
        let mut configured = self.settings.lists.sites.iter();
        let configured = configured.find(|known| known.id == *site);
        let known = configured.and_then(|known| known.addresses.first());
        let known = known.map(|ip| SocketAddr::new(*ip, site.port));
        let entry_point = address.or(known);
        let entry_point = entry_point.ok_or_else(|| ImportRefusal::NoAddress(site.clone()))?;
        let transport = match configured {
            Some(known) if known.tls => Transport::Authorities,
            _ if self.settings.config.policy.require_tls => {
                return Err(ImportRefusal::NoTls(site.clone()));
            }
            _ => Transport::Plain,
        };
        Ok((entry_point, transport))
    }
}

/// Reads a contract, of which no more is read than one may be long.
fn read(path: &Path) -> Result<Vec<u8>, ImportRefusal> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(ImportRefusal::Unreadable)?;
    file.take(MAX_BODY_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .map_err(ImportRefusal::Unreadable)?;
    Ok(text)
}
