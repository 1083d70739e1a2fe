//! Agreements under way: each is driven by a task of its own from reservation to settlement.
//!
//! The state machine of `edge-negotiation` decides; this carries its actions out over HTTP and the ledger, and reports
//! back what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_http::client::{BuyerClient, ClientError, ClientTimeouts, IepClient};
use edge_negotiation::{Action, Negotiation, NegotiationState, Now};
use edge_placement::{Candidate, Trust, Whereabouts};
use edge_ports::{Clock, Ledger, LedgerError, Signer};
use edge_topology::{AggregateTree, Attachment};
use edge_types::{
    AgreementId, Amount, ChainTime, Generation, HealthCheck, IepId, ImageReference, MonotonicTime,
    Offer, Receipt, ResourceLimits, Signature, UtcTime, Workload, WorkloadState,
};
use edge_wire::message::Deployment;
use edge_wire::signing::receipt_digest;
use tokio::sync::Notify;

use crate::config::Settings;
use crate::health;
use crate::sites::{KnownSite, PathToSite, with_cause};
use crate::status::{AgreementStatus, Status};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Client-facing address, and until when it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Last second in which a client may be there.
    pub until: UtcTime,
}

/// Who may pull the edge service's image: the holder of a token, for the time of an agreement (security rule 12).
pub trait ImageAccess: Send + Sync + std::fmt::Debug {
    /// A new token, at most 128 letters and digits; `None` if the machine gives no random numbers.
    fn grant(&self) -> Option<String>;
    /// The token is good no longer.
    fn revoke(&self, token: &str);
}

/// What all agreements share.
#[derive(Debug)]
pub struct Agreements {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// The paying key.
    pub signer: Arc<dyn Signer>,
    /// Its account on the chain.
    pub ledger: Arc<dyn Ledger>,
    /// The registry.
    pub images: Arc<dyn ImageAccess>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Report.
    pub status: Arc<Status>,
    /// Raised when a site begins or ceases to serve.
    pub serving_changed: Arc<Notify>,
    /// Raised when a site says no, so that a new plan is made.
    pub plan_again: Arc<Notify>,
    /// State.
    pub book: Mutex<Book>,
}

/// The agreements by site.
#[derive(Debug, Default)]
pub struct Book {
    open: BTreeMap<IepId, Open>,
    failed: BTreeMap<IepId, MonotonicTime>,
    /// Sites that were ever found, and the way to them.
    found: BTreeMap<IepId, PathToSite>,
    /// Sites that ever confirmed.
    rented: BTreeSet<IepId>,
    /// Deposits by time, for the caps.
    spent: VecDeque<(MonotonicTime, u128)>,
}

#[derive(Debug)]
struct Open {
    offer: Offer,
    path: PathToSite,
    serving: Option<Serving>,
}

impl Agreements {
    /// Is there an agreement, or one under way, with this site?
    pub fn holds(&self, site: &IepId) -> bool {
        self.book().open.contains_key(site)
    }

    /// How many agreements are open or under way.
    pub fn open(&self) -> usize {
        self.book().open.len()
    }

    /// Is no agreement open?
    pub fn is_idle(&self) -> bool {
        self.book().open.is_empty()
    }

    /// Sites that rejected or failed within the last `time`.
    pub fn failed_within(&self, now: MonotonicTime, time: Duration) -> BTreeSet<IepId> {
        let book = self.book();
        let recent = book.failed.iter().filter(|(_, at)| now.since(**at) < time);
        recent.map(|(site, _)| site.clone()).collect()
    }

    /// What may still be put into escrow now, in wei: the least that the hourly and the daily cap leave.
    pub fn budget_left(&self, now: MonotonicTime) -> u128 {
        let book = self.book();
        let spent_within = |time| {
            let recent = book.spent.iter().filter(|(at, _)| now.since(*at) < time);
            recent.map(|(_, units)| *units).sum::<u128>()
        };
        let hourly = self
            .settings
            .wei_per_hour
            .saturating_sub(spent_within(HOUR));
        let daily = self.settings.wei_per_day.saturating_sub(spent_within(DAY));
        hourly.min(daily)
    }

    /// Sites with an agreement, as candidates that cost nothing more.
    pub fn as_candidates(&self, tree: &AggregateTree) -> Vec<Candidate> {
        self.candidates(tree, |_| true)
    }

    /// Sites that serve now, as candidates, with their addresses.
    pub fn serving(&self, tree: &AggregateTree) -> (Vec<Candidate>, BTreeMap<IepId, Serving>) {
        let candidates = self.candidates(tree, |open| open.serving.is_some());
        let book = self.book();
        let serving = book
            .open
            .iter()
            .filter_map(|(site, open)| Some((site.clone(), open.serving.clone()?)));
        (candidates, serving.collect())
    }

    /// Notes the way to a site that was found, for the picture of the tree.
    pub fn note_found(&self, site: &IepId, path: &PathToSite) {
        self.book().found.insert(site.clone(), path.clone());
    }

    /// Every site that was found and traced, its place on the tree, and whether it ever confirmed.
    pub fn all_found(&self, tree: &AggregateTree) -> Vec<(IepId, Attachment, bool)> {
        let book = self.book();
        let found = book.found.iter();
        found
            .map(|(site, path)| {
                let is_rented = book.rented.contains(site);
                (site.clone(), tree.attach(&path.path), is_rented)
            })
            .collect()
    }

    fn candidates(&self, tree: &AggregateTree, wanted: impl Fn(&Open) -> bool) -> Vec<Candidate> {
        let book = self.book();
        let open = book.open.iter().filter(|(_, open)| wanted(open));
        let candidate = |(site, open): (&IepId, &Open)| Candidate {
            site: site.clone(),
            offer: Some(open.offer.id),
            attachment: tree.attach(&open.path.path),
            price_per_second: open.offer.price_per_second,
            slot: open.offer.slot,
            already_running: true,
            capacity: None,
            trust: Trust::Proven,
            whereabouts: Whereabouts::default(),
        };
        open.map(candidate).collect()
    }

    /// Takes up the green-listed offer that `negotiation` holds, if the caps allow, in a task of its own.
    pub fn start(self: &Arc<Self>, site: &KnownSite, negotiation: &Negotiation, path: PathToSite) {
        let Some(offer) = negotiation.offer().cloned() else {
            return;
        };
        let Ok(deposit) = offer.price_per_second.times(offer.slot.seconds()) else {
            return;
        };
        let now = self.clock.monotonic();
        if deposit.units > self.settings.wei_per_site || deposit.units > self.budget_left(now) {
            self.status.event(
                self.at_ms(),
                format!("{} is over a spending cap", offer.site),
            );
            return;
        }
        {
            let mut book = self.book();
            if book.open.contains_key(&offer.site) {
                return;
            }
            book.spent.push_back((now, deposit.units));
            book.spent.retain(|(at, _)| now.since(*at) < DAY);
            book.open.insert(
                offer.site.clone(),
                Open {
                    offer: offer.clone(),
                    path,
                    serving: None,
                },
            );
        }
        let driver = Driver {
            shared: Arc::clone(self),
            client: IepClient::new(
                site.entry_point(),
                offer.site.clone(),
                ClientTimeouts::default(),
            )
            .with_key(
                Arc::clone(&self.signer),
                Arc::clone(&self.clock),
                offer.provider,
                self.settings.chain,
            ),
            entry_point: site.entry_point(),
            record: self.open_record(&offer, deposit),
            negotiation: negotiation.clone(),
            serving_at: None,
            image_token: None,
            offer,
        };
        tokio::spawn(driver.run());
    }

    fn open_record(&self, offer: &Offer, deposit: Amount) -> usize {
        let status = AgreementStatus {
            site: offer.site.to_string(),
            id: offer.id.to_string(),
            state: "reserving".to_owned(),
            deposit_wei: deposit.units.to_string(),
            serving_at: None,
            began_ms: self.at_ms(),
            proposed_ms: None,
            confirmed_ms: None,
            serving_ms: None,
            ended_ms: None,
            reason: None,
        };
        let mut index = 0;
        self.status.update(|report| {
            index = report.agreements.len();
            report.agreements.push(status);
        });
        index
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// One agreement's task.
#[derive(Debug)]
struct Driver {
    shared: Arc<Agreements>,
    client: BuyerClient,
    entry_point: SocketAddr,
    negotiation: Negotiation,
    offer: Offer,
    /// Index in the report.
    record: usize,
    /// Client-facing address, once the provider named it.
    serving_at: Option<SocketAddr>,
    /// With which the site pulls the image.
    image_token: Option<String>,
}

impl Driver {
    async fn run(mut self) {
        self.negotiation.select(self.now());
        loop {
            let state = self.negotiation.state().clone();
            self.note(&state);
            if state.is_final() {
                break;
            }
            match self.negotiation.poll_action(self.now()) {
                Some(action) => self.carry_out(action).await,
                None => match self.negotiation.poll_timeout(self.now()) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => break,
                },
            }
            self.publish_serving();
        }
        self.close().await;
    }

    async fn carry_out(&mut self, action: Action) {
        let name = step(&action);
        let outcome = match action {
            Action::SendHello(_) => return,
            Action::Reserve(offer) => self.reserve(&offer).await,
            Action::Propose {
                offer,
                confirm_within_seconds,
            } => self.propose(offer.offer(), confirm_within_seconds).await,
            Action::ReadLedger(id) => self.read_ledger(id).await,
            Action::Acknowledge { offer, reservation } => {
                let outcome = self.client.acknowledge(&offer, reservation).await;
                outcome
                    .map(|_| self.negotiation.handle_acknowledged(self.now()))
                    .map_err(Failure::Http)
            }
            Action::Expire(id) => self.on_ledger(self.shared.ledger.expire(id).await),
            Action::Deploy(id) => self.deploy(id).await,
            Action::CheckHealth(id) => self.check_health(id).await,
            Action::SendReceipt(id, due) => {
                let receipt = self.receipt(id, due);
                let outcome = self.client.send_receipt(receipt).await;
                outcome
                    .map(|_| self.negotiation.handle_done(self.now()))
                    .map_err(Failure::Http)
            }
            Action::SettleWithReceipt(id, due) => {
                let receipt = self.receipt(id, due);
                let outcome = self
                    .client
                    .close(id, "the lease is over", Some(receipt))
                    .await;
                outcome
                    .map(|_| self.negotiation.handle_done(self.now()))
                    .map_err(Failure::Http)
            }
            Action::SettleOnLedger(id, due) => {
                let receipt = self.receipt(id, due);
                self.on_ledger(self.shared.ledger.settle(id, Some(receipt)).await)
            }
        };
        if let Err(failure) = outcome {
            let now = self.now();
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

    async fn reserve(&mut self, offer: &Offer) -> Result<(), Failure> {
        let reservation = self.client.reserve(offer).await.map_err(Failure::Http)?;
        self.negotiation
            .handle_reserved(reservation.id, reservation.expires, self.now());
        Ok(())
    }

    async fn propose(&mut self, offer: &Offer, confirm_within_seconds: u64) -> Result<(), Failure> {
        let ledger = Arc::clone(&self.shared.ledger);
        let now = ledger.now().await?;
        let confirm_by = ChainTime(now.0.saturating_add(confirm_within_seconds));
        match ledger.propose(offer, confirm_by).await {
            Ok(id) => self.negotiation.handle_proposed(id, self.now()),
            // Refused for certain: no money moved. Anything else leaves its fate to the ledger's word.
            Err(error @ (LedgerError::Refused { .. } | LedgerError::NotPayable { .. })) => {
                tracing::info!(site = %offer.site, error = %with_cause(&error), "payment refused");
                self.negotiation.handle_not_proposed(self.now());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn read_ledger(&mut self, id: AgreementId) -> Result<(), Failure> {
        let ledger = Arc::clone(&self.shared.ledger);
        let (record, chain_now) = tokio::join!(ledger.agreement(id), ledger.now());
        self.negotiation
            .handle_ledger(record?.as_ref(), chain_now?, self.now());
        Ok(())
    }

    fn on_ledger(&mut self, outcome: Result<(), LedgerError>) -> Result<(), Failure> {
        outcome?;
        self.negotiation.handle_done(self.now());
        Ok(())
    }

    async fn deploy(&mut self, id: AgreementId) -> Result<(), Failure> {
        let service = &self.shared.settings.edge_service;
        let mut environment: Vec<(String, String)> =
            service.environment.clone().into_iter().collect();
        environment.push(("SITE".to_owned(), self.offer.site.host.to_string()));
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
        let origin = self.shared.settings.origin();
        if self.image_token.is_none() {
            self.image_token = self.shared.images.grant();
        }
        let image_token = self.image_token.clone();
        let deployment = Deployment {
            image_token,
            ..Deployment::new(workload, origin)
        };
        self.client
            .deploy(id, &deployment)
            .await
            .map_err(Failure::Http)?;
        self.negotiation.handle_done(self.now());
        Ok(())
    }

    /// Asks through the client-facing address; the provider is asked for that address first.
    async fn check_health(&mut self, id: AgreementId) -> Result<(), Failure> {
        if self.serving_at.is_none() {
            let view = self.client.deployment(id).await;
            self.serving_at = match view.map_err(Failure::Http)?.state {
                // A provider may name only its own entry point's address: anything else was never checked.
                WorkloadState::Running { address } if address.ip() == self.entry_point.ip() => {
                    Some(address)
                }
                _ => None,
            };
        }
        let is_healthy = match self.serving_at {
            Some(address) => {
                health::answers(address, &self.shared.settings.edge_service.health).await
            }
            None => false,
        };
        self.negotiation.handle_health(is_healthy, self.now());
        Ok(())
    }

    fn receipt(&self, agreement: AgreementId, due: Amount) -> Receipt {
        let unsigned = Receipt {
            agreement,
            due,
            signature: Signature([0; 65]),
        };
        let digest = receipt_digest(
            &unsigned,
            self.shared.settings.chain,
            self.shared.settings.escrow,
        );
        Receipt {
            signature: self.shared.signer.sign_digest(digest),
            ..unsigned
        }
    }

    fn publish_serving(&self) {
        let serving = match (
            self.negotiation.serves(),
            self.serving_at,
            self.negotiation.serves_until(),
        ) {
            (true, Some(address), Some(until)) => Some(Serving { address, until }),
            _ => None,
        };
        let mut book = self.shared.book();
        let Some(open) = book.open.get_mut(&self.offer.site) else {
            return;
        };
        if open.serving != serving {
            let began = serving.is_some();
            open.serving.clone_from(&serving);
            drop(book);
            self.shared.serving_changed.notify_one();
            let verb = if began { "serves" } else { "no longer serves" };
            self.shared
                .status
                .event(self.shared.at_ms(), format!("{} {verb}", self.offer.site));
        }
    }

    async fn close(self) {
        let site = self.offer.site.clone();
        let is_settled = *self.negotiation.state() == NegotiationState::Settled;
        if !is_settled {
            self.shared
                .book()
                .failed
                .insert(site.clone(), self.shared.clock.monotonic());
        }
        self.shared.book().open.remove(&site);
        if let Some(token) = &self.image_token {
            self.shared.images.revoke(token);
        }
        self.shared.serving_changed.notify_one();
        if let Err(error) = self.shared.ledger.withdraw().await {
            tracing::warn!(error = %with_cause(&error), "our credit stays in the escrow for now");
        }
        if !is_settled {
            self.shared.plan_again.notify_one();
        }
    }

    fn note(&self, state: &NegotiationState) {
        let at_ms = self.shared.at_ms();
        let word = word(state);
        let mut is_new = false;
        // From here on no client is sent there: the notice period has begun.
        let is_over = self
            .negotiation
            .serves_until()
            .is_some_and(|until| self.now().utc >= until);
        let reason = match state {
            NegotiationState::Rejected(reason) => Some(with_cause(reason)),
            NegotiationState::Failed(failure) => Some(with_cause(failure)),
            _ => self
                .negotiation
                .failure()
                .map(|failure| with_cause(failure)),
        };
        self.shared.status.update(|report| {
            let Some(status) = report.agreements.get_mut(self.record) else {
                return;
            };
            is_new = status.state != word;
            word.clone_into(&mut status.state);
            status.serving_at = self.serving_at;
            status.reason.clone_from(&reason);
            match state {
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
                "confirmed" | "rejected" | "expired" | "failed" | "settled"
            )
        {
            let because = reason
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            self.shared
                .status
                .event(at_ms, format!("{} {word}{because}", self.offer.site));
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.shared.clock.monotonic(),
            utc: self.shared.clock.utc(),
        }
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("asking the entry point failed")]
    Http(#[source] ClientError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

const fn step(action: &Action) -> &'static str {
    match action {
        Action::SendHello(_) => "hello",
        Action::Reserve(_) => "reserve",
        Action::Propose { .. } => "propose",
        Action::ReadLedger(_) => "read the ledger",
        Action::Acknowledge { .. } => "acknowledge",
        Action::Expire(_) => "expire",
        Action::Deploy(_) => "deploy",
        Action::CheckHealth(_) => "check health",
        Action::SendReceipt(..) => "send a receipt",
        Action::SettleWithReceipt(..) => "close",
        Action::SettleOnLedger(..) => "settle",
    }
}

const fn word(state: &NegotiationState) -> &'static str {
    match state {
        NegotiationState::Idle | NegotiationState::HelloSent => "greeting",
        NegotiationState::Offered => "offered",
        NegotiationState::Reserving => "reserving",
        NegotiationState::Reserved => "paying",
        NegotiationState::Proposed | NegotiationState::Acknowledged => "proposed",
        NegotiationState::Confirmed => "confirmed",
        NegotiationState::Deploying => "deploying",
        NegotiationState::Running => "running",
        NegotiationState::Draining => "draining",
        NegotiationState::Settling => "settling",
        NegotiationState::Settled => "settled",
        NegotiationState::Rejected(_) => "rejected",
        NegotiationState::Expired => "expired",
        NegotiationState::Failed(_) => "failed",
    }
}
