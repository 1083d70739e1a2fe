//! The hands of the agent: everything that touches the ledger and the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_journal::{JournalError, Texts, crash};
use edge_ledger::{Ledgers, LocalLedger, book_file};
use edge_negotiation::{Answer, Division, ProviderAction, ProviderBook, Stage};
use edge_ports::LedgerError;
use edge_types::agreement::detail;
use edge_types::{
    Acceptance, AgreementId, AgreementRecord, AgreementState, Asset, ChainAddress, Generation,
    Hash32, IepId, Offer, RejectReason, Rtt, UtcTime, WorkloadState,
};
use edge_wire::Problem;
use edge_wire::message::{ClientRoundTrip, Deployment};
use edge_wire::prose::Prose;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

mod own_book;

use crate::journal::{Recovered, Written};
use crate::{ProviderConfig, ProviderPorts};

/// How long an acknowledgment waits for the ledger to show the money; the buyer's node may be ahead of ours.
const FUNDING_PATIENCE: Duration = Duration::from_secs(6);
/// How long to wait when decisions cannot be written down.
const UNWRITTEN_PAUSE: Duration = Duration::from_secs(2);
/// Most client networks that an answer tells of.
const MOST_ROUND_TRIPS: usize = 1024;
/// Longest time for the runtime to stop one workload at shutdown.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// One provider's state, shared by its sites' APIs and its timer.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) config: ProviderConfig,
    pub(crate) ports: ProviderPorts,
    /// What offers name, those of earlier configurations too.
    texts: Texts,
    pub(crate) ledgers: Ledgers,
    book: Mutex<ProviderBook>,
    /// Locked after the book, and only together with it, so that decisions are written in their order.
    written: Mutex<Written>,
    deployments: Mutex<BTreeMap<AgreementId, Deployed>>,
    wake: Notify,
}

/// What runs, or is about to, under one agreement.
#[derive(Debug)]
struct Deployed {
    address: SocketAddr,
    deployment: Deployment,
    /// Why it did not start, if the runtime itself cannot tell.
    failure: Arc<Mutex<Option<String>>>,
    /// The attempt to start it, unless an earlier process made it.
    start: Option<AbortHandle>,
}

impl Deployed {
    fn is_starting(&self) -> bool {
        self.start
            .as_ref()
            .is_some_and(|start| !start.is_finished())
    }

    fn give_up_starting(&self) {
        if let Some(start) = &self.start {
            start.abort();
        }
    }
}

impl Agent {
    pub(crate) fn new(config: ProviderConfig, ports: ProviderPorts) -> Result<Self, JournalError> {
        let own_book = LocalLedger::open(
            &book_file(&config.state_directory),
            Arc::clone(&ports.signer),
            Arc::clone(&ports.clock),
            config.allowances.clone(),
        )?;
        let own_book = Arc::new(own_book);
        let provider = ports.signer.address();
        let terms = config
            .sites
            .iter()
            .map(|site| site.terms(provider, config.ledger.as_ref()));
        let mut book = ProviderBook::new(config.limits, terms);
        let (mut written, recovered) = Written::open(&config.state_directory)?;
        let texts = Texts::below(&config.state_directory);
        for prose in config.sites.iter().flat_map(|site| &site.texts) {
            // It is served all the same, but no longer once the configuration names another.
            if let Err(error) = texts.keep(&prose.hash().to_string(), &prose.text) {
                tracing::warn!(%error, "a text that offers name is not kept");
            }
        }
        let Recovered {
            reservations,
            agreements,
            deployments,
        } = recovered;
        book.resume(reservations, agreements, ports.clock.utc());
        own_book::import(&config.state_directory, &own_book, provider);
        own_book::take_up_agreed(&mut book, &own_book, ports.clock.utc());
        for change in book.take_changes() {
            written.write(&change)?;
        }
        // The runtime has swept what an earlier process ran; what is to run still starts again when it is compared.
        let serves = |id| book.agreement(id).is_some_and(|it| it.is_serving());
        for id in deployments.keys().filter(|id| !serves(**id)) {
            written.stopped(*id)?;
        }
        let deployments = deployments
            .into_iter()
            .filter(|(id, _)| book.agreement(*id).is_some_and(|it| it.is_serving()))
            .map(|(id, (address, deployment))| {
                let deployed = Deployed {
                    address,
                    deployment,
                    failure: Arc::default(),
                    start: None,
                };
                (id, deployed)
            });
        Ok(Self {
            deployments: Mutex::new(deployments.collect()),
            book: Mutex::new(book),
            written: Mutex::new(written),
            wake: Notify::new(),
            texts,
            ledgers: Ledgers::new(ports.ledger.clone(), Some(own_book)),
            config,
            ports,
        })
    }

    /// The book, to read.
    /// A text that an offer of ours names, or named under an earlier configuration.
    pub(crate) fn text(&self, hash: Hash32) -> Option<Prose> {
        let mut known = self.config.sites.iter().flat_map(|site| &site.texts);
        let known = known.find(|prose| prose.hash() == hash).cloned();
        known.or_else(|| {
            let text = self.texts.read(&hash.to_string())?;
            Some(Prose { text }).filter(|prose| prose.hash() == hash)
        })
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, ProviderBook> {
        lock(&self.book)
    }

    /// The terms of one agreement.
    pub(crate) fn offer(&self, id: AgreementId) -> Option<Offer> {
        self.book().agreement(id).map(|known| known.offer.clone())
    }

    /// Where clients of what is deployed under an agreement are sent back to.
    pub(crate) fn origin(&self, id: AgreementId) -> Option<String> {
        let deployments = lock(&self.deployments);
        deployments
            .get(&id)
            .map(|deployed| deployed.deployment.origin.clone())
    }

    /// Has the book decide, and writes the decision down. If that fails nothing may rest on it; it is written with the next.
    pub(crate) fn decide<T>(
        &self,
        decision: impl FnOnce(&mut ProviderBook) -> T,
    ) -> Result<T, Problem> {
        let mut book = self.book();
        let decided = decision(&mut book);
        let changes = book.take_changes();
        let mut written = lock(&self.written);
        for (at, change) in changes.iter().enumerate() {
            if let Err(error) = written.write(change) {
                book.put_back(&changes[at..]);
                return Err(unwritten(&error));
            }
        }
        Ok(decided)
    }

    /// Something changed that may be due earlier than the timer thinks.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Decides about a funded offer and tells the ledger.
    pub(crate) async fn answer(
        &self,
        offer: Offer,
        buyer: ChainAddress,
        acceptance: Option<Acceptance>,
    ) -> Result<AgreementState, Problem> {
        if let Some(own_book) = self.ledgers.book_of(&offer) {
            return self.take_up(own_book, &offer, buyer, acceptance);
        }
        let record = self.wait_for_funding(&offer).await;
        let record = record.map_err(|error| unavailable(&error))?;
        let now = self.ports.clock.utc();
        let answer = self
            .decide(|book| book.handle_agreement(&offer, buyer, record.as_ref(), now))?
            .map_err(Problem::Rejected)?;
        if let Answer::Known(state) = &answer {
            self.wake();
            return Ok(*state);
        }
        let state = self.tell(&offer, &answer).await;
        match (answer, state) {
            (Answer::Reject(reason), _) => Err(Problem::Rejected(reason)),
            (_, Some(state)) if state != AgreementState::Proposed => Ok(state),
            _ => Err(Problem::Unavailable {
                detail: "the ledger did not take our answer".to_owned(),
            }),
        }
    }

    /// Tells the ledger our answer; what it shows then.
    async fn tell(&self, offer: &Offer, answer: &Answer) -> Option<AgreementState> {
        let id = AgreementId::from(offer.id);
        crash::point("before an answer on the ledger");
        let told = match answer {
            Answer::Known(state) => return Some(*state),
            Answer::Confirm => match self.ledgers.of(offer) {
                Ok(ledger) => ledger.confirm(offer).await,
                Err(error) => Err(error),
            },
            Answer::Reject(_) => match self.ledgers.of(offer) {
                Ok(ledger) => ledger.reject(offer).await,
                Err(error) => Err(error),
            },
        };
        crash::point("after an answer on the ledger");
        if let Err(error) = &told {
            tracing::warn!(agreement = %id, %error, "telling the ledger our answer failed");
        }
        // Whatever the call said, the ledger's state is what counts.
        let record = self.on_ledger(offer).await;
        let state = record.ok().flatten().map(|record| record.state);
        self.note(|book, now| book.handle_answered(id, state, now));
        tracing::info!(agreement = %id, ?answer, ?state, "answered an agreement");
        state
    }

    /// Tells the book what happened. What cannot be written down now is written with the next decision.
    fn note(&self, news: impl FnOnce(&mut ProviderBook, UtcTime)) {
        let now = self.ports.clock.utc();
        let _ = self.decide(|book| news(book, now));
        self.wake();
    }

    async fn on_ledger(&self, offer: &Offer) -> Result<Option<AgreementRecord>, LedgerError> {
        self.ledgers.of(offer)?.agreement(offer).await
    }

    async fn wait_for_funding(
        &self,
        offer: &Offer,
    ) -> Result<Option<AgreementRecord>, LedgerError> {
        let ledger = self.config.ledger.as_ref();
        let interval = ledger.map_or(FUNDING_PATIENCE, |ledger| ledger.poll_interval);
        let started = self.ports.clock.monotonic();
        loop {
            let record = self.on_ledger(offer).await;
            let is_over = self.ports.clock.monotonic().since(started) >= FUNDING_PATIENCE;
            if is_over || matches!(record, Ok(Some(_))) {
                return record;
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Checks a workload and starts it, or leaves it running if it is the one in force.
    pub(crate) fn deploy(
        self: &Arc<Self>,
        id: AgreementId,
        buyer: ChainAddress,
        deployment: Deployment,
    ) -> Result<(), Problem> {
        let rejected = |detail| Problem::Rejected(RejectReason::Policy { detail });
        let contacted = deployment.egress.iter().map(|(_, address)| address.ip());
        if contacted
            .chain([deployment.image.registry.ip()])
            .any(|address| self.config.addresses.check(address).is_err())
        {
            return Err(rejected(detail::ADDRESS));
        }
        let mut deployments = lock(&self.deployments);
        let site = self
            .book()
            .read(id, buyer)
            .map_err(Problem::Rejected)?
            .offer
            .site
            .clone();
        let address = match deployments.get(&id) {
            Some(deployed) => deployed.address,
            None => self
                .free_address(&site, &deployments)
                .ok_or_else(|| rejected(detail::FULL))?,
        };
        let is_new = self
            .decide(|book| {
                book.handle_deployment(
                    id,
                    buyer,
                    deployment.generation,
                    &deployment.limits,
                    self.ports.clock.utc(),
                )
            })?
            .map_err(Problem::Rejected)?;
        if let Some(deployed) = deployments.get(&id)
            && !is_new
            && self.runs(id, deployed)
        {
            return Ok(());
        }
        let wrote = lock(&self.written).deployed(id, address, deployment.clone());
        wrote.map_err(|error| unwritten(&error))?;
        if let Some(old) = deployments.get(&id) {
            old.give_up_starting();
        }
        deployments.insert(id, self.start(id, address, deployment, false));
        Ok(())
    }

    /// Does it run, or is it being started?
    fn runs(&self, id: AgreementId, deployed: &Deployed) -> bool {
        deployed.is_starting()
            || matches!(
                self.ports.runtime.state(id),
                WorkloadState::Running { .. } | WorkloadState::Draining { .. }
            )
    }

    /// Begins to start a workload, and to drain it at once if the notice period has begun.
    fn start(
        self: &Arc<Self>,
        id: AgreementId,
        address: SocketAddr,
        deployment: Deployment,
        drains: bool,
    ) -> Deployed {
        let mut told = deployment.clone();
        if let Some(token) = told.image_token.take() {
            (self.ports.set_image_token)(id, token);
        }
        let (workload, origin) = told.into_parts();
        let failure = Arc::new(Mutex::new(None));
        let agent = self.clone();
        let reason = failure.clone();
        let start = tokio::spawn(async move {
            crash::point("before a workload starts");
            let runtime = &agent.ports.runtime;
            let started = runtime.start(id, &workload, address).await;
            crash::point("after a workload started");
            if let Err(error) = started {
                let text = chain_text(&error);
                tracing::warn!(agreement = %id, error = text, "a workload did not start");
                *lock(&reason) = Some(text);
                return;
            }
            agent.note(|book, now| book.handle_running(id, now));
            if drains {
                let _ = runtime.drain(id, &origin).await;
            }
        });
        Deployed {
            address,
            deployment,
            failure,
            start: Some(start.abort_handle()),
        }
    }

    /// Compares what is agreed with what runs and with what is paid.
    async fn compare(self: &Arc<Self>, id: AgreementId) {
        let drains = match self.book().agreement(id) {
            Some(agreement) if agreement.is_serving() => agreement.stage == Stage::Draining,
            _ => return,
        };
        {
            let mut deployments = lock(&self.deployments);
            if let Some(deployed) = deployments.get(&id)
                && !self.runs(id, deployed)
            {
                tracing::info!(agreement = %id, "paid and not running: starting it");
                let (address, deployment) = (deployed.address, deployed.deployment.clone());
                let started = self.start(id, address, deployment, drains);
                deployments.insert(id, started);
            }
        }
        let Some(offer) = self.offer(id) else { return };
        match self.on_ledger(&offer).await {
            Ok(record) => {
                self.note(|book, now| book.handle_ledger(id, record.as_ref(), now));
            }
            // What nobody can look up runs on.
            Err(error) => {
                tracing::warn!(agreement = %id, error = chain_text(&error), "the ledger does not answer");
            }
        }
    }

    /// The first service address of the site that no agreement has.
    fn free_address(
        &self,
        site: &IepId,
        deployments: &BTreeMap<AgreementId, Deployed>,
    ) -> Option<SocketAddr> {
        let site = self.config.sites.iter().find(|known| known.id == *site)?;
        let (first, last) = site.service_ports;
        (first..=last)
            .map(|port| SocketAddr::new(site.service_address, port))
            .find(|address| deployments.values().all(|other| other.address != *address))
    }

    /// Where an agreement's workload stands.
    /// How far the workload's clients are, by what the runtime measured.
    pub(crate) fn round_trips(&self, id: AgreementId) -> Vec<ClientRoundTrip> {
        let measured = self.ports.runtime.round_trips(id).into_iter();
        let micros = |rtt: Rtt| u32::try_from(rtt.0.as_micros()).unwrap_or(u32::MAX);
        measured
            .take(MOST_ROUND_TRIPS)
            .map(|(clients, rtt)| ClientRoundTrip {
                clients,
                micros: micros(rtt),
            })
            .collect()
    }

    pub(crate) fn workload(&self, id: AgreementId, generation: Generation) -> WorkloadState {
        let state = self.ports.runtime.state(id);
        if generation == Generation(0) || state != WorkloadState::Absent {
            return state;
        }
        let deployments = lock(&self.deployments);
        match deployments
            .get(&id)
            .map(|deployed| lock(&deployed.failure).clone())
        {
            Some(Some(reason)) => WorkloadState::Failed { reason },
            Some(None) => WorkloadState::Pulling,
            None => WorkloadState::Stopped,
        }
    }

    /// Does what falls due, for ever.
    pub(crate) async fn drive(self: &Arc<Self>) {
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let now = self.ports.clock.utc();
            let polled = self.decide(|book| (book.poll_action(now), book.poll_timeout()));
            let Ok((action, due)) = polled else {
                tokio::time::sleep(UNWRITTEN_PAUSE).await;
                continue;
            };
            if let Some(action) = action {
                let agent = self.clone();
                tasks.spawn(async move { agent.act(action).await });
                continue;
            }
            // Times are whole seconds: half a second more or less is what they are good for.
            let halves = due.map_or(60, |due| due.seconds_since(now).clamp(1, 60)) * 2 - 1;
            let wait = Duration::from_millis(500 * halves);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn act(self: &Arc<Self>, action: ProviderAction) {
        match action {
            ProviderAction::Tell(id, answer) => {
                if let Some(offer) = self.offer(id) {
                    self.tell(&offer, &answer).await;
                }
            }
            ProviderAction::Compare(id) => self.compare(id).await,
            ProviderAction::Drain(id) => {
                if let Some(origin) = self.origin(id) {
                    let drained = self.ports.runtime.drain(id, &origin).await;
                    tracing::info!(agreement = %id, ok = drained.is_ok(), "draining");
                }
            }
            ProviderAction::Stop(id) => {
                self.stop(id).await;
                if let Err(error) = lock(&self.written).stopped(id) {
                    tracing::warn!(agreement = %id, %error, "its end is not written down");
                }
            }
            ProviderAction::Settle(id, division) => self.settle(id, division).await,
            ProviderAction::Look(id) => {
                if let Some(offer) = self.offer(id) {
                    self.look(&offer).await;
                }
            }
        }
    }

    async fn stop(&self, id: AgreementId) {
        let is_known = {
            let deployments = lock(&self.deployments);
            let deployed = deployments.get(&id);
            deployed.map(Deployed::give_up_starting).is_some()
        };
        if is_known && let Err(error) = self.ports.runtime.stop(id).await {
            tracing::error!(agreement = %id, error = chain_text(&error), "stopping a workload failed");
        }
        // Only now is its address free for another.
        lock(&self.deployments).remove(&id);
        tracing::info!(agreement = %id, "stopped");
    }

    async fn settle(&self, id: AgreementId, division: Division) {
        let Some(offer) = self.offer(id) else { return };
        crash::point("before settling");
        if let Err(error) = self.divide(&offer, division).await {
            tracing::warn!(agreement = %id, ?division, error = chain_text(&error), "settling failed");
        }
        crash::point("after settling");
        self.look(&offer).await;
    }

    async fn divide(&self, offer: &Offer, division: Division) -> Result<(), LedgerError> {
        let ledger = self.ledgers.of(offer)?;
        match division {
            Division::ByReceipt(receipt) => ledger.settle(offer, receipt).await,
            Division::Claim { amount, receipt } => ledger.claim(offer, amount, receipt).await,
            Division::Dispute => ledger.dispute(offer).await,
            Division::ByTime => ledger.close(offer).await,
        }
    }

    /// Looks how the ledger has the money, and fetches what is ours once it is divided.
    async fn look(&self, offer: &Offer) {
        let id = AgreementId::from(offer.id);
        let seen = match self.ledgers.of(offer) {
            Ok(ledger) => {
                let (record, chain_now) = tokio::join!(ledger.agreement(offer), ledger.now());
                record.ok().zip(chain_now.ok())
            }
            Err(_) => None,
        };
        let state = seen
            .as_ref()
            .and_then(|(record, _)| Some(record.as_ref()?.state));
        self.note(|book, now| {
            let seen = seen.as_ref().map(|(record, at)| (record.as_ref(), *at));
            book.handle_settled(id, seen, now);
        });
        if state == Some(AgreementState::Settled) {
            tracing::info!(agreement = %id, "settled");
            if !offer.settlement.is_local() {
                self.withdraw(offer.price_per_second.asset).await;
            }
        }
    }

    async fn withdraw(&self, asset: Asset) {
        let Some(escrow) = self.ledgers.escrow() else {
            return;
        };
        match escrow.withdraw(asset).await {
            Ok(amount) if amount.units == 0 => {}
            Ok(amount) => tracing::info!(%amount, "withdrawn"),
            // The credit stays ours; the next settlement withdraws it too, and so does the next process.
            Err(error) => tracing::warn!(error = chain_text(&error), "withdrawing failed"),
        }
    }

    /// Fetches what is ours and what an earlier process could not fetch.
    pub(crate) async fn withdraw_everything(&self) {
        let prices = self.config.sites.iter().map(|site| site.price_per_second);
        let assets: BTreeSet<Asset> = prices.map(|price| price.asset).collect();
        for asset in assets {
            self.withdraw(asset).await;
        }
    }

    /// Stops every workload, because the agent ends. The next one starts again what is still due.
    pub(crate) async fn stop_everything(&self) {
        let ids: Vec<_> = lock(&self.deployments).keys().copied().collect();
        for id in ids {
            if tokio::time::timeout(STOP_PATIENCE, self.stop(id))
                .await
                .is_err()
            {
                tracing::error!(agreement = %id, "a workload does not stop");
            }
        }
    }
}

fn unwritten(error: &JournalError) -> Problem {
    tracing::error!(
        error = chain_text(error),
        "a decision could not be written down"
    );
    Problem::Unavailable {
        detail: "decisions cannot be written down".to_owned(),
    }
}

fn unavailable(error: &LedgerError) -> Problem {
    tracing::warn!(error = chain_text(error), "reading the ledger failed");
    Problem::Unavailable {
        detail: "the ledger does not answer".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error and its causes on one line, at most 512 octets.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    let end = text.floor_char_boundary(512);
    text.truncate(end);
    text
}
