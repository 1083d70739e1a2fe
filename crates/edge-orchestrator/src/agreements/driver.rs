//! One agreement's task: carries out what its negotiation decides, and writes that down first.

use std::sync::Arc;
use std::time::Duration;

use edge_http::challenge::KEY_VARIABLE;
use edge_http::client::{BuyerClient, ClientError, ClientTimeouts, IepClient};
use edge_http::entry_tls::Transport;
use edge_http::front_end::REPORTS_PATH;
use edge_journal::{Texts, crash};
use edge_negotiation::{Action, Negotiation, NegotiationFailure, NegotiationState};
use edge_ports::{Ledger, LedgerError};
use edge_types::{
    AgreementId, Amount, Confirmation, Generation, HealthCheck, ImageReference, Offer, Receipt,
    ResourceLimits, Settlement, Signature, Workload,
};
use edge_wire::message::Deployment;
use edge_wire::signing::{self, receipt_digest};
use tokio::sync::Notify;

use super::{Agreements, Bounce, Serving};
use crate::journal::Written;
use crate::sites::with_cause;

mod serving;

use serving::Challenges;

/// Longest time for a text that an offer names, while its hardware is being reserved.
const TEXT_PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait when decisions cannot be written down.
const UNWRITTEN_PAUSE: Duration = Duration::from_secs(2);

/// One agreement's task.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) shared: Arc<Agreements>,
    pub(super) client: BuyerClient,
    pub(super) negotiation: Negotiation,
    pub(super) offer: Offer,
    /// Index in the report.
    report: usize,
    /// As it is to be written down.
    written: Written,
    /// As it was written down last.
    on_disk: Option<Written>,
    close: Arc<Notify>,
    /// Health checks so far.
    checks: u32,
    challenges: Challenges,
    /// Does the entry point send clients back that bounce off it? Asked once the workload serves.
    bounces: Option<bool>,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Agreements>,
        negotiation: Negotiation,
        written: Written,
        close: Arc<Notify>,
    ) -> Self {
        let offer = written.record.offer.clone();
        Self {
            report: shared.open_record(&offer),
            client: client(&shared, &written),
            negotiation,
            written,
            on_disk: None,
            offer,
            close,
            checks: 0,
            challenges: Challenges::default(),
            bounces: None,
            shared,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let state = self.negotiation.state().clone();
            self.note(&state);
            if state.is_final() {
                break;
            }
            self.listen();
            let now = self.shared.now();
            match self.negotiation.poll_action(now) {
                // What is not written down is not done either.
                Some(action) if self.write(measures(&action)) => self.carry_out(action).await,
                Some(_) => {
                    self.negotiation.handle_failed(now);
                    tokio::time::sleep(UNWRITTEN_PAUSE).await;
                }
                None => {
                    self.write(false);
                    let Some(wait) = self.negotiation.poll_timeout(now) else {
                        break;
                    };
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.close.notified() => {
                            self.written.step(now.utc, "closed by the operator".to_owned());
                            self.negotiation.abandon(self.shared.now());
                        }
                    }
                }
            }
            self.publish_serving();
        }
        self.write(true);
        self.close().await;
    }

    /// Tells the negotiation what clients said of the site meanwhile.
    fn listen(&mut self) {
        let key = (self.offer.site.clone(), self.offer.id);
        let mut book = self.shared.book();
        let heard = book.open.get_mut(&key).map(|open| &mut open.heard);
        let heard = heard.map(std::mem::take).unwrap_or_default();
        drop(book);
        for word in heard {
            self.negotiation.hear(word);
        }
    }

    /// How clients' distance to the site is found out.
    fn bounce(&self) -> Option<Bounce> {
        if self.bounces != Some(true) {
            return None;
        }
        let entry_point = match &self.written.transport {
            Transport::Plain => format!("http://{}", self.written.entry_point),
            Transport::Authorities => {
                format!("https://{}:{}", self.offer.site.host, self.offer.site.port)
            }
            // Browsers do not ask the DNS for keys of certificates.
            Transport::Pins(_) => return None,
        };
        Some(Bounce {
            agreement: self.offer.id.into(),
            entry_point,
            round_trip_ms: self.offer.sla.round_trip_ms,
        })
    }

    /// Writes down where the negotiation stands, if that is news; what was measured alone is news only if `measured`.
    fn write(&mut self, measured: bool) -> bool {
        if let Some(record) = self.negotiation.record(self.shared.now()) {
            self.written.record = record;
        }
        let is_known = self.on_disk.as_ref().is_some_and(|on_disk| {
            *on_disk == self.written
                || (!measured && on_disk.differs_only_in_measurements(&self.written))
        });
        if is_known {
            return true;
        }
        let wrote = self.shared.store().write(&self.written);
        match wrote {
            Ok(()) => self.on_disk = Some(self.written.clone()),
            Err(error) => {
                let error = with_cause(&error);
                tracing::error!(site = %self.offer.site, error, "a decision could not be written down");
                return false;
            }
        }
        true
    }

    async fn carry_out(&mut self, action: Action) {
        let name = step(&action);
        let outcome = match action {
            Action::SendHello(_) => return,
            Action::Reserve(offer) => self.reserve(&offer).await,
            Action::Propose {
                offer,
                confirmation,
            } => self.propose(offer.offer(), confirmation).await,
            Action::ReadLedger(_) => self.read_ledger().await,
            Action::Acknowledge { offer, reservation } => {
                self.acknowledge(&offer, reservation).await
            }
            Action::CloseOnLedger(_) => {
                let closed = match self.ledger() {
                    Ok(ledger) => ledger.close(&self.offer).await,
                    Err(error) => Err(error),
                };
                self.on_ledger(closed)
            }
            Action::Deploy(id) => self.deploy(id).await,
            Action::CheckHealth(id) => self.check_health(id).await,
            Action::SendReceipt(id, due) => {
                let receipt = self.receipt(id, due);
                let outcome = self.client.send_receipt(receipt).await;
                outcome
                    .map(|_| self.negotiation.handle_done(self.shared.now()))
                    .map_err(Failure::Http)
            }
            Action::SettleWithReceipt(id, due) => {
                let receipt = self.receipt(id, due);
                let outcome = self
                    .client
                    .close(id, "the lease is over", Some(receipt))
                    .await;
                outcome
                    .map(|_| self.negotiation.handle_done(self.shared.now()))
                    .map_err(Failure::Http)
            }
            Action::Dispute(_) => {
                crash::point("before a dispute");
                let disputed = match self.ledger() {
                    Ok(ledger) => ledger.dispute(&self.offer).await,
                    Err(error) => Err(error),
                };
                crash::point("after a dispute");
                self.on_ledger(disputed)
            }
            Action::SettleOnLedger(id, due) => {
                let receipt = self.receipt(id, due);
                crash::point("before settling");
                let settled = match self.ledger() {
                    Ok(ledger) => ledger.settle(&self.offer, receipt).await,
                    Err(error) => Err(error),
                };
                crash::point("after settling");
                self.on_ledger(settled)
            }
        };
        if let Err(failure) = outcome {
            if matches!(failure, Failure::Http(ClientError::Tls { .. })) {
                self.take_new_pins();
            }
            let now = self.shared.now();
            let text = with_cause(&failure);
            tracing::debug!(site = %self.offer.site, step = name, error = text, "step failed");
            let reason = match &failure {
                Failure::Http(error) => error.reject_reason(),
                Failure::Ledger(_) => None,
            };
            match reason {
                Some(reason) => self.negotiation.handle_rejected(reason.clone(), now),
                None => self.negotiation.handle_failed(now),
            }
        }
    }

    /// Where this agreement's money is.
    fn ledger(&self) -> Result<&dyn Ledger, LedgerError> {
        self.shared.ledgers.of(&self.offer)
    }

    /// The site no longer proves itself as it did: if DNS names other TLS keys for it by now, these count from here on. Nothing
    /// makes the way less safe.
    fn take_new_pins(&mut self) {
        let key = (self.offer.site.clone(), self.offer.id);
        let book = self.shared.book();
        let pins = book.open.get(&key).map(|open| &open.pins);
        let Some(pins) = pins.filter(|pins| !pins.is_empty()).cloned() else {
            return;
        };
        drop(book);
        let transport = Transport::Pins(pins);
        if self.written.transport == transport {
            return;
        }
        self.written.transport = transport;
        let now = self.shared.clock.utc();
        self.written
            .step(now, "other TLS keys, as its zone says".to_owned());
        self.client = client(&self.shared, &self.written);
    }

    async fn reserve(&mut self, offer: &Offer) -> Result<(), Failure> {
        let (reservation, missing, unread) = tokio::join!(
            self.client.reserve(offer),
            self.missing_stake(offer),
            self.keep_texts(offer)
        );
        if let Some(unread) = unread {
            self.written.step(self.shared.clock.utc(), unread);
        }
        let reservation = reservation.map_err(Failure::Http)?;
        if let Some(missing) = missing? {
            let now = self.shared.now();
            self.negotiation.handle_not_proposed(missing, now);
            return Ok(());
        }
        let ours = self.shared.signer.address();
        // One that does not verify would cost a transaction.
        let confirmation = reservation
            .confirmation
            .filter(|confirmation| signing::verify_confirmation(confirmation, offer, ours).is_ok());
        let (id, until) = (reservation.id, reservation.expires);
        self.negotiation
            .handle_reserved(id, until, confirmation, self.shared.now());
        Ok(())
    }

    /// Keeps the texts that the offer names, so that what was agreed to can be read later. Which texts are accepted is decided
    /// by their hashes, and so one that cannot be had is only told.
    async fn keep_texts(&self, offer: &Offer) -> Option<String> {
        let texts = Texts::below(&self.shared.settings.config.state_directory);
        let mut unread = None;
        for hash in [
            Some(offer.sla.text_hash),
            offer.conditions.content.text_hash,
        ] {
            let Some(hash) = hash.filter(|hash| !texts.has(&hash.to_string())) else {
                continue;
            };
            let why = match tokio::time::timeout(TEXT_PATIENCE, self.client.text(hash)).await {
                Ok(Ok(text)) => match texts.keep(&hash.to_string(), &text) {
                    Ok(()) => continue,
                    Err(error) => with_cause(&error),
                },
                Ok(Err(error)) => with_cause(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            unread = Some(format!("the text {hash} could not be kept: {why}"));
        }
        unread
    }

    /// The escrow refuses an offer whose provider staked less than it promises, and the attempt costs a transaction.
    async fn missing_stake(
        &self,
        offer: &Offer,
    ) -> Result<Option<NegotiationFailure>, LedgerError> {
        let promised = offer.guarantee.stake;
        if promised == 0 {
            return Ok(None);
        }
        let asset = offer.price_per_second.asset;
        let free = self.ledger()?.free_stake(offer.provider, asset).await?;
        let free = free.units;
        let missing = NegotiationFailure::StakeMissing { promised, free };
        Ok((free < promised).then_some(missing))
    }

    async fn propose(
        &mut self,
        offer: &Offer,
        confirmation: Option<Confirmation>,
    ) -> Result<(), Failure> {
        if self.shared.spending_stopped() {
            let why = NegotiationFailure::SpendingStopped;
            self.negotiation.handle_not_proposed(why, self.shared.now());
            return Ok(());
        }
        crash::point("before a deposit");
        let proposed = match self.ledger() {
            Ok(ledger) => ledger.propose(offer, confirmation.as_ref()).await,
            Err(error) => Err(error),
        };
        crash::point("after a deposit");
        match proposed {
            Ok(id) => self.negotiation.handle_proposed(id, self.shared.now()),
            // Refused for certain: no money moved. Anything else leaves its fate to the ledger's word.
            Err(error @ (LedgerError::Refused { .. } | LedgerError::NotPayable { .. })) => {
                tracing::info!(site = %offer.site, error = %with_cause(&error), "payment refused");
                let why = NegotiationFailure::NotFunded;
                self.negotiation.handle_not_proposed(why, self.shared.now());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn read_ledger(&mut self) -> Result<(), Failure> {
        if *self.negotiation.state() == NegotiationState::Settling {
            self.hear_closing().await;
        }
        let ledger = self.ledger()?;
        let (record, chain_now) = tokio::join!(ledger.agreement(&self.offer), ledger.now());
        let was_reclaimed = self.negotiation.is_reclaimed();
        self.negotiation
            .handle_ledger(record?.as_ref(), chain_now?, self.shared.now());
        if self.negotiation.is_reclaimed() && !was_reclaimed {
            self.leave();
        }
        Ok(())
    }

    /// The provider takes its hardware back: a plan has to find another site while this one drains.
    fn leave(&mut self) {
        let Some(stop) = self.negotiation.ends_at() else {
            return;
        };
        let site = &self.offer.site;
        let now = self.shared.now();
        self.written
            .step(now.utc, format!("taken back by the provider at {}", stop.0));
        {
            let mut book = self.shared.book();
            book.failed.insert(site.clone(), now.monotonic);
            if let Some(open) = book.open.get_mut(&(site.clone(), self.offer.id)) {
                open.leaves = true;
            }
        }
        let left = stop.seconds_since(now.utc);
        self.shared.status.event(
            self.shared.at_ms(),
            format!("{site} takes its hardware back in {left} s"),
        );
        self.shared.plan_again.notify_one();
    }

    fn on_ledger(&mut self, outcome: Result<(), LedgerError>) -> Result<(), Failure> {
        outcome?;
        self.negotiation.handle_done(self.shared.now());
        Ok(())
    }

    async fn deploy(&mut self, id: AgreementId) -> Result<(), Failure> {
        let key = self.challenge_key();
        let service = &self.shared.settings.edge_service;
        let mut environment: Vec<(String, String)> =
            service.environment.clone().into_iter().collect();
        let origin = self.shared.settings.origin();
        environment.push(("SITE".to_owned(), self.offer.site.host.to_string()));
        environment.push(("REPORTS".to_owned(), format!("{origin}{REPORTS_PATH}")));
        if let Some(key) = key {
            environment.push((KEY_VARIABLE.to_owned(), key.to_string()));
        }
        let workload = Workload {
            generation: Generation(1),
            image: ImageReference {
                registry: self.shared.settings.config.registry,
                repository: service.name.clone(),
                digest: service.digest,
            },
            command: service.command.clone(),
            environment,
            service_port: service.port,
            egress: service.egress.clone(),
            limits: ResourceLimits {
                milli_cpu: service.needs.milli_cpu,
                memory_bytes: service.needs.memory_bytes,
                pids: service.needs.pids,
            },
            health: HealthCheck {
                path: service.health.clone(),
                start_timeout: Duration::from_secs(30),
            },
        };
        if self.written.image_token.is_none() {
            self.written.image_token = self.shared.images.grant();
            self.write(false);
        }
        let image_token = self.written.image_token.clone();
        let deployment = Deployment {
            image_token,
            ..Deployment::new(workload, origin)
        };
        self.client
            .deploy(id, &deployment)
            .await
            .map_err(Failure::Http)?;
        self.negotiation.handle_done(self.shared.now());
        Ok(())
    }

    fn receipt(&self, agreement: AgreementId, due: Amount) -> Receipt {
        let unsigned = Receipt {
            agreement,
            due,
            signature: Signature([0; 65]),
        };
        let (chain, contract) = signing::domain_of(&self.offer);
        let digest = receipt_digest(&unsigned, chain, contract);
        Receipt {
            signature: self.shared.signer.sign_digest(digest),
            ..unsigned
        }
    }

    fn publish_serving(&self) {
        let serving = match (
            self.negotiation.serves(),
            self.written.serving_at,
            self.negotiation.serves_until(),
        ) {
            (true, Some(address), Some(until)) => Some(Serving {
                address,
                until,
                bounce: self.bounce(),
            }),
            _ => None,
        };
        let mut book = self.shared.book();
        let key = (self.offer.site.clone(), self.offer.id);
        let Some(open) = book.open.get_mut(&key) else {
            return;
        };
        if open.serving != serving {
            let began = serving.is_some();
            let is_event = began != open.serving.is_some();
            open.serving.clone_from(&serving);
            drop(book);
            self.shared.serving_changed.notify_one();
            if !is_event {
                return;
            }
            let verb = if began { "serves" } else { "no longer serves" };
            self.shared
                .status
                .event(self.shared.at_ms(), format!("{} {verb}", self.offer.site));
        }
    }

    async fn close(self) {
        let site = self.offer.site.clone();
        crash::point("before what is over is put away");
        let is_settled = *self.negotiation.state() == NegotiationState::Settled;
        if !is_settled {
            self.shared
                .book()
                .failed
                .insert(site.clone(), self.shared.clock.monotonic());
        } else if self.negotiation.failure().is_none() {
            self.shared.book().proven.insert(self.offer.provider);
        }
        self.shared.book().open.remove(&(site, self.offer.id));
        if let Some(token) = &self.written.image_token {
            self.shared.images.revoke(token);
        }
        self.shared.serving_changed.notify_one();
        if !self.offer.settlement.is_local() {
            let asset = self.offer.price_per_second.asset;
            Arc::clone(&self.shared).withdraw(asset).await;
        }
        self.shared.plan_again.notify_one();
    }

    fn note(&mut self, state: &NegotiationState) {
        let at_ms = self.shared.at_ms();
        let word = state.word(self.negotiation.was_paid());
        let mut is_new = false;
        // From here on no client is sent there: the notice period has begun.
        let is_over = self
            .negotiation
            .serves_until()
            .is_some_and(|until| self.shared.now().utc >= until);
        let reason = match state {
            NegotiationState::AwaitingContract => match &self.offer.settlement {
                Settlement::Contact(contact) => Some(format!("contact {contact}")),
                Settlement::Escrow { .. } | Settlement::Allowance => None,
            },
            NegotiationState::Rejected(reason) => Some(with_cause(reason)),
            NegotiationState::Failed(failure) => Some(with_cause(failure)),
            _ => self
                .negotiation
                .failure()
                .map(|failure| with_cause(failure)),
        };
        let because = reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let step = format!("{word}{because}");
        self.written.step(self.shared.clock.utc(), step);
        self.shared.status.update(|report| {
            let Some(status) = report.agreements.get_mut(self.report) else {
                return;
            };
            is_new = status.state != word;
            word.clone_into(&mut status.state);
            status.serving_at = self.written.serving_at;
            status.reason.clone_from(&reason);
            match state {
                NegotiationState::Reserved => drop(status.reserved_ms.get_or_insert(at_ms)),
                NegotiationState::Proposed => drop(status.proposed_ms.get_or_insert(at_ms)),
                NegotiationState::Confirmed | NegotiationState::Deploying => {
                    status.confirmed_ms.get_or_insert(at_ms);
                }
                NegotiationState::Running => {
                    status.serving_ms.get_or_insert(at_ms);
                    if is_over {
                        status.ended_ms.get_or_insert(at_ms);
                    }
                }
                NegotiationState::Draining | NegotiationState::Settling => {
                    status.ended_ms.get_or_insert(at_ms);
                }
                _ => {}
            }
        });
        if matches!(
            state,
            NegotiationState::Confirmed | NegotiationState::Deploying
        ) {
            self.shared.book().rented.insert(self.offer.site.clone());
        }
        if is_new
            && matches!(
                word,
                "awaiting contract" | "confirmed" | "rejected" | "expired" | "failed" | "settled"
            )
        {
            self.shared
                .status
                .event(at_ms, format!("{} {word}{because}", self.offer.site));
        }
    }
}

/// Towards the entry point of an agreement, as it was spoken to when it made the offer.
fn client(shared: &Agreements, written: &Written) -> BuyerClient {
    let offer = &written.record.offer;
    IepClient::new(
        written.entry_point,
        offer.site.clone(),
        ClientTimeouts::default(),
    )
    .over(shared.tls.over(&written.transport))
    .with_key(
        Arc::clone(&shared.signer),
        Arc::clone(&shared.clock),
        offer.provider,
        signing::domain_of(offer).0,
    )
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("asking the entry point failed")]
    Http(#[source] ClientError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

/// Does it rest on what was measured of the service?
const fn measures(action: &Action) -> bool {
    matches!(
        action,
        Action::SendReceipt(..) | Action::SettleWithReceipt(..) | Action::SettleOnLedger(..)
    )
}

const fn step(action: &Action) -> &'static str {
    match action {
        Action::SendHello(_) => "hello",
        Action::Reserve(_) => "reserve",
        Action::Propose { .. } => "propose",
        Action::ReadLedger(_) => "read the ledger",
        Action::Acknowledge { .. } => "acknowledge",
        Action::CloseOnLedger(_) => "close on the ledger",
        Action::Deploy(_) => "deploy",
        Action::CheckHealth(_) => "check health",
        Action::SendReceipt(..) => "send a receipt",
        Action::SettleWithReceipt(..) => "close",
        Action::SettleOnLedger(..) => "settle",
        Action::Dispute(_) => "dispute",
    }
}
