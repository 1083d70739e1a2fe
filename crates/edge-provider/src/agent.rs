//! The hands of the agent: everything that touches the ledger and the runtime.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_negotiation::{Answer, ProviderAction, ProviderBook};
use edge_ports::LedgerError;
use edge_types::agreement::detail;
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, ChainAddress, Generation, IepId, Offer, Receipt,
    RejectReason, Workload, WorkloadState,
};
use edge_wire::Problem;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::{ProviderConfig, ProviderPorts};

/// How long an acknowledgment waits for the ledger to show the money; the buyer's node may be ahead of ours.
const FUNDING_PATIENCE: Duration = Duration::from_secs(6);
/// Longest time for the runtime to stop one workload at shutdown.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// One provider's state, shared by its sites' APIs and its timer.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) config: ProviderConfig,
    pub(crate) ports: ProviderPorts,
    book: Mutex<ProviderBook>,
    deployments: Mutex<BTreeMap<AgreementId, Deployed>>,
    wake: Notify,
}

/// What runs, or is about to, under one agreement.
#[derive(Debug)]
struct Deployed {
    address: SocketAddr,
    origin: String,
    /// Why it did not start, if the runtime itself cannot tell.
    failure: Arc<Mutex<Option<String>>>,
    start: AbortHandle,
}

impl Agent {
    pub(crate) fn new(config: ProviderConfig, ports: ProviderPorts) -> Self {
        let provider = ports.signer.address();
        let terms = config
            .sites
            .iter()
            .map(|site| site.terms(provider, &config.ledger));
        let book = ProviderBook::new(config.limits, terms);
        Self {
            book: Mutex::new(book),
            deployments: Mutex::default(),
            wake: Notify::new(),
            config,
            ports,
        }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, ProviderBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
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
    ) -> Result<AgreementState, Problem> {
        let id = AgreementId::from(offer.id);
        let record = self.wait_for_funding(id).await;
        let record = record.map_err(|error| unavailable(&error))?;
        let now = self.ports.clock.utc();
        let answer = self
            .book()
            .handle_agreement(&offer, buyer, record.as_ref(), now)
            .map_err(Problem::Rejected)?;
        let told = match &answer {
            Answer::Known(state) => {
                self.wake();
                return Ok(*state);
            }
            Answer::Confirm => self.ports.ledger.confirm(id).await,
            Answer::Reject(_) => self.ports.ledger.reject(id).await,
        };
        if let Err(error) = &told {
            tracing::warn!(agreement = %id, %error, "telling the ledger our answer failed");
        }
        // Whatever the call said, the ledger's state is what counts.
        let record = self.ports.ledger.agreement(id).await;
        let state = record
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .map(|it| it.state);
        self.book()
            .handle_answered(id, state, self.ports.clock.utc());
        self.wake();
        tracing::info!(agreement = %id, ?answer, ?state, "answered an agreement");
        match (answer, state) {
            (Answer::Reject(reason), _) => Err(Problem::Rejected(reason)),
            (_, Some(state)) if state != AgreementState::Proposed => Ok(state),
            _ => Err(Problem::Unavailable {
                detail: "the ledger did not take our answer".to_owned(),
            }),
        }
    }

    async fn wait_for_funding(
        &self,
        id: AgreementId,
    ) -> Result<Option<AgreementRecord>, LedgerError> {
        let interval = self.config.ledger.poll_interval;
        let started = self.ports.clock.monotonic();
        loop {
            let record = self.ports.ledger.agreement(id).await;
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
        workload: Workload,
        origin: String,
        image_token: Option<String>,
    ) -> Result<(), RejectReason> {
        let contacted = workload.egress.iter().map(|(_, address)| address.ip());
        if contacted
            .chain([workload.image.registry.ip()])
            .any(|address| self.config.addresses.check(address).is_err())
        {
            return Err(RejectReason::Policy {
                detail: detail::ADDRESS,
            });
        }
        let mut deployments = lock(&self.deployments);
        let site = self.book().read(id, buyer)?.offer.site.clone();
        let address = match deployments.get(&id) {
            Some(deployed) => deployed.address,
            None => self
                .free_address(&site, &deployments)
                .ok_or(RejectReason::Policy {
                    detail: detail::FULL,
                })?,
        };
        let is_new = self.book().handle_deployment(
            id,
            buyer,
            workload.generation,
            &workload.limits,
            self.ports.clock.utc(),
        )?;
        let runs = deployments.get(&id).is_some_and(|deployed| {
            !deployed.start.is_finished()
                || matches!(
                    self.ports.runtime.state(id),
                    WorkloadState::Running { .. } | WorkloadState::Draining { .. }
                )
        });
        if runs && !is_new {
            return Ok(());
        }
        if let Some(old) = deployments.get(&id) {
            old.start.abort();
        }
        if let Some(token) = image_token {
            (self.ports.set_image_token)(id, token);
        }
        let failure = Arc::new(Mutex::new(None));
        let runtime = self.ports.runtime.clone();
        let reason = failure.clone();
        let start = tokio::spawn(async move {
            if let Err(error) = runtime.start(id, &workload, address).await {
                let text = chain_text(&error);
                tracing::warn!(agreement = %id, error = text, "a workload did not start");
                *lock(&reason) = Some(text);
            }
        });
        deployments.insert(
            id,
            Deployed {
                address,
                origin,
                failure,
                start: start.abort_handle(),
            },
        );
        Ok(())
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
            let (action, due) = {
                let mut book = self.book();
                (book.poll_action(now), book.poll_timeout())
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

    async fn act(&self, action: ProviderAction) {
        match action {
            ProviderAction::Drain(id) => {
                let origin = lock(&self.deployments)
                    .get(&id)
                    .map(|deployed| deployed.origin.clone());
                if let Some(origin) = origin {
                    let drained = self.ports.runtime.drain(id, &origin).await;
                    tracing::info!(agreement = %id, ok = drained.is_ok(), "draining");
                }
            }
            ProviderAction::Stop(id) => self.stop(id).await,
            ProviderAction::Settle(id, receipt) => self.settle(id, receipt).await,
        }
    }

    async fn stop(&self, id: AgreementId) {
        let start = lock(&self.deployments)
            .get(&id)
            .map(|deployed| deployed.start.clone());
        if let Some(start) = start {
            start.abort();
            if let Err(error) = self.ports.runtime.stop(id).await {
                tracing::error!(agreement = %id, error = chain_text(&error), "stopping a workload failed");
            }
        }
        // Only now is its address free for another.
        lock(&self.deployments).remove(&id);
        tracing::info!(agreement = %id, "stopped");
    }

    async fn settle(&self, id: AgreementId, receipt: Option<Receipt>) {
        let ledger = &self.ports.ledger;
        if let Err(error) = ledger.settle(id, receipt).await {
            tracing::warn!(agreement = %id, error = chain_text(&error), "settling failed");
        }
        let record = ledger.agreement(id).await;
        let state = record.ok().flatten().map(|record| record.state);
        self.book()
            .handle_settled(id, state, self.ports.clock.utc());
        self.wake();
        if state == Some(AgreementState::Settled) {
            match ledger.withdraw().await {
                Ok(amount) => tracing::info!(agreement = %id, %amount, "settled and withdrawn"),
                // The credit stays ours; the next settlement withdraws it too.
                Err(error) => tracing::warn!(error = chain_text(&error), "withdrawing failed"),
            }
        }
    }

    /// Stops every workload, because the agent ends.
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
