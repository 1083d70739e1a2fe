//! One site's face to the network.

use std::net::IpAddr;
use std::sync::Arc;

use edge_http::api::{IepService, Reply};
use edge_types::agreement::detail;
use edge_types::{
    Acceptance, AgreementId, ChainAddress, ChainId, Confirmation, Generation, Hash32, IepId, Offer,
    Preferences, PrefixGrouping, Receipt, RejectReason, ReservationId, Settlement, UtcTime,
    WorkloadState,
};
use edge_wire::contract::ClosingMessage;
use edge_wire::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting,
    OfferMessage, Offers, ReceiptMessage, Reservation, ReservationRequest, VERSION,
};
use edge_wire::problem::ProblemJson;
use edge_wire::prose::Prose;
use edge_wire::services::Services;
use edge_wire::{Problem, signing};

use crate::agent::Agent;
use crate::config::SiteConfig;

#[derive(Debug)]
pub(crate) struct SiteApi {
    agent: Arc<Agent>,
    site: IepId,
    greeting: Greeting,
}

impl SiteApi {
    pub(crate) fn new(agent: Arc<Agent>, site: IepId) -> Self {
        let config = &agent.config;
        let known = config.sites.iter().find(|known| known.id == site);
        let settlement = known.map(|known| known.settlement(config.ledger.as_ref()));
        let (kind, chain) = match settlement {
            Some(Settlement::Escrow { chain, .. }) => ("escrow", chain),
            Some(Settlement::Allowance) => ("allowance", ChainId(0)),
            Some(Settlement::Contact(_)) | None => ("contact", ChainId(0)),
        };
        let greeting = Greeting {
            protocol: "exec".to_owned(),
            versions: vec![VERSION],
            software: concat!("exec-edge/", env!("CARGO_PKG_VERSION")).to_owned(),
            provider: agent.ports.signer.address(),
            site: site.clone(),
            chain,
            settlements: vec![kind.to_owned()],
            runtimes: vec!["oci".to_owned()],
        };
        Self {
            agent,
            site,
            greeting,
        }
    }

    fn config(&self) -> Option<&SiteConfig> {
        let mut sites = self.agent.config.sites.iter();
        sites.find(|known| known.id == self.site)
    }

    /// The offer is one of ours, for this site.
    fn check_own(&self, offer: &Offer) -> Result<(), Problem> {
        let is_ours = offer.provider == self.greeting.provider
            && offer.site == self.site
            && signing::verify_offer(offer).is_ok();
        if is_ours {
            Ok(())
        } else {
            Err(Problem::Rejected(RejectReason::Unknown { what: "offer" }))
        }
    }

    /// Our word that the offer is the buyer's if the money comes until then, unless we answer on the ledger or people talk
    /// first.
    fn confirmation(
        &self,
        offer: &Offer,
        buyer: ChainAddress,
        until: UtcTime,
    ) -> Option<Confirmation> {
        let is_wanted = offer.guarantee.answer_seconds == 0
            && !matches!(offer.settlement, Settlement::Contact(_));
        is_wanted.then(|| Confirmation {
            until,
            signature: self
                .agent
                .ports
                .signer
                .sign_digest(signing::confirmation_digest(offer, buyer, until)),
        })
    }

    fn view(&self, caller: ChainAddress, id: AgreementId) -> Result<AgreementView, Problem> {
        let book = self.agent.book();
        let agreement = book.read(id, caller).map_err(Problem::Rejected)?;
        Ok(AgreementView {
            id,
            state: agreement.state,
            slot: agreement.offer.slot,
            due: agreement.due(),
            problem: agreement
                .reason
                .clone()
                .map(|reason| ProblemJson::from(&Problem::Rejected(reason))),
            closing: self.closing(id, &agreement.offer),
        })
    }

    /// How we divided what no chain shows.
    fn closing(&self, id: AgreementId, offer: &Offer) -> Option<ClosingMessage> {
        let own_book = self.agent.ledgers.book_of(offer)?;
        own_book.closing(id).map(ClosingMessage::from)
    }

    fn deployment_view(
        &self,
        caller: ChainAddress,
        id: AgreementId,
    ) -> Result<DeploymentView, Problem> {
        let generation = self
            .agent
            .book()
            .read(id, caller)
            .map_err(Problem::Rejected)?
            .generation;
        let mut state = self.agent.workload(id, generation);
        if let WorkloadState::Running { address } | WorkloadState::Draining { address } = &mut state
            && let Some(public) = self.config().and_then(|site| site.public_address)
        {
            address.set_ip(public);
        }
        Ok(DeploymentView {
            generation,
            state,
            round_trips: self.agent.round_trips(id),
        })
    }

    fn take_receipt(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        message: ReceiptMessage,
    ) -> Result<(), Problem> {
        let receipt = Receipt::from(message);
        let now = self.agent.ports.clock.utc();
        let (buyer, (chain, contract)) = {
            let book = self.agent.book();
            let agreement = book.read(id, caller).map_err(Problem::Rejected)?;
            (agreement.buyer, signing::domain_of(&agreement.offer))
        };
        if receipt.agreement != id
            || signing::verify_receipt(&receipt, chain, contract, buyer).is_err()
        {
            return Err(Problem::Rejected(RejectReason::NotAuthorised {
                detail: detail::RECEIPT,
            }));
        }
        self.agent
            .decide(|book| book.handle_receipt(receipt, now))?
            .map_err(Problem::Rejected)
    }
}

impl IepService for SiteApi {
    fn greeting(&self) -> Greeting {
        self.greeting.clone()
    }

    fn services(&self) -> Result<Services, Problem> {
        match self.config().and_then(|site| site.listing.clone()) {
            Some(services) => Ok(Services { services }),
            None => Err(Problem::Rejected(RejectReason::Policy {
                detail: detail::NOT_LISTED,
            })),
        }
    }

    fn origin(&self, id: AgreementId) -> Option<String> {
        let offer = self.agent.offer(id)?;
        self.agent.origin(id).filter(|_| offer.site == self.site)
    }

    fn text(&self, hash: Hash32) -> Result<Prose, Problem> {
        self.agent.text(hash).ok_or(Problem::NotFound)
    }

    fn hello(&self, preferences: Preferences) -> Reply<'_, Offers> {
        Box::pin(async move {
            let now = self.agent.ports.clock.utc();
            let nonce = Hash32(random()?);
            let offers = self
                .agent
                .book()
                .handle_hello(&self.site, &preferences, now, nonce)
                .map_err(Problem::Rejected)?;
            let signer = &self.agent.ports.signer;
            let sign = |offer| {
                OfferMessage(signing::sign_offer(offer, |digest| {
                    signer.sign_digest(digest)
                }))
            };
            Ok(Offers {
                offers: offers.into_iter().map(sign).collect(),
            })
        })
    }

    fn reserve(
        &self,
        caller: ChainAddress,
        source: IpAddr,
        request: ReservationRequest,
    ) -> Reply<'_, Reservation> {
        Box::pin(async move {
            let OfferMessage(offer) = request.offer;
            self.check_own(&offer)?;
            let source = PrefixGrouping::SITE.group(source);
            let id = ReservationId(random()?);
            let now = self.agent.ports.clock.utc();
            let (id, expires) = self
                .agent
                .decide(|book| {
                    // Who has our confirmation can accept without asking again.
                    if offer.settlement == Settlement::Allowance
                        && !self.agent.covers(book, &offer, caller)
                    {
                        return Err(RejectReason::NotFunded);
                    }
                    book.handle_reservation(&offer, caller, source, id, now)
                })?
                .map_err(Problem::Rejected)?;
            Ok(Reservation {
                id,
                expires,
                confirmation: self.confirmation(&offer, caller, expires),
            })
        })
    }

    fn acknowledge(
        &self,
        caller: ChainAddress,
        request: AgreementRequest,
    ) -> Reply<'_, AgreementView> {
        Box::pin(async move {
            let OfferMessage(offer) = request.offer;
            self.check_own(&offer)?;
            let id = AgreementId::from(offer.id);
            let slot = offer.slot;
            let acceptance = request.acceptance.map(Acceptance::from);
            let agent = self.agent.clone();
            // A task of its own: a buyer who hangs up must not leave the ledger half told.
            let answered =
                tokio::spawn(async move { agent.answer(offer, caller, acceptance).await });
            let state = answered.await.map_err(|_| Problem::Unavailable {
                detail: "the agent is ending".to_owned(),
            })??;
            // The book may not know an agreement that was over before it was acknowledged.
            Ok(self.view(caller, id).unwrap_or(AgreementView {
                id,
                state,
                slot,
                due: edge_types::Amount::wei(0),
                problem: None,
                closing: None,
            }))
        })
    }

    fn agreement(&self, caller: ChainAddress, id: AgreementId) -> Reply<'_, AgreementView> {
        Box::pin(async move { self.view(caller, id) })
    }

    fn deploy(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        deployment: Deployment,
    ) -> Reply<'_, DeploymentView> {
        Box::pin(async move {
            if deployment.generation == Generation(0) {
                return Err(Problem::Malformed {
                    detail: "generations begin at 1".to_owned(),
                });
            }
            self.agent.deploy(id, caller, deployment)?;
            self.deployment_view(caller, id)
        })
    }

    fn deployment(&self, caller: ChainAddress, id: AgreementId) -> Reply<'_, DeploymentView> {
        Box::pin(async move { self.deployment_view(caller, id) })
    }

    fn receipt(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        receipt: ReceiptMessage,
    ) -> Reply<'_, AgreementView> {
        Box::pin(async move {
            self.take_receipt(caller, id, receipt)?;
            self.agent.wake();
            self.view(caller, id)
        })
    }

    fn close(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        request: CloseRequest,
    ) -> Reply<'_, AgreementView> {
        Box::pin(async move {
            let now = self.agent.ports.clock.utc();
            if let Some(receipt) = request.receipt {
                self.take_receipt(caller, id, receipt)?;
            }
            self.agent
                .decide(|book| book.handle_close(id, caller, now))?
                .map_err(Problem::Rejected)?;
            self.agent.wake();
            self.view(caller, id)
        })
    }
}

fn random() -> Result<[u8; 32], Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Problem::Unavailable {
        detail: "no random numbers".to_owned(),
    })?;
    Ok(bytes)
}
