//! Stand-ins for what the tests of agreements need and do not test: containers are listeners, every site is one hop away.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use edge_discovery::IepCandidate;
use edge_http::challenge::{ChallengeKey, KEY_VARIABLE};
use edge_http::entry_tls::{RootCertStore, TlsPolicy};
use edge_orchestrator::ImageAccess;
use edge_orchestrator::sites::KnownSite;
use edge_ports::{
    BoxFuture, Clock, PathSource, RuntimeError, SiteRuntime, SystemClock, TraceError,
    TracePriority, WorkloadId,
};
use edge_types::{
    AddressPolicy, IepOrigin, ListedSite, PathEnd, PathObservation, Workload, WorkloadState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Certificate authorities know nobody here.
pub(crate) fn tls() -> TlsPolicy {
    TlsPolicy::new(RootCertStore::empty(), true)
}

pub(crate) fn known(site: &ListedSite) -> KnownSite {
    let candidate = IepCandidate::listed(
        site,
        &site.addresses,
        IepOrigin::Configured,
        true,
        &AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]),
    );
    KnownSite::new(candidate.unwrap())
}

pub(crate) fn one_hop(target: IpAddr, clock: &SystemClock) -> PathObservation {
    PathObservation {
        target,
        observed_at: clock.monotonic(),
        hops: Vec::new(),
        further: Vec::new(),
        end: PathEnd::Silent,
        probes_sent: 0,
    }
}

#[derive(Debug)]
pub(crate) struct OneHop(pub(crate) SystemClock);

impl PathSource for OneHop {
    fn trace(
        &self,
        target: IpAddr,
        _priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        Box::pin(std::future::ready(Ok(one_hop(target, &self.0))))
    }
}

#[derive(Debug)]
pub(crate) struct NoImages;

impl ImageAccess for NoImages {
    fn grant(&self) -> Option<String> {
        None
    }
    fn revoke(&self, _token: &str) {}
    fn admit(&self, _token: &str) {}
}

/// A workload is a listener on its service address that answers everything well, and with what it is asked to prove, unless it only
/// pretends to be one.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) pretends: bool,
    pub(crate) running: Mutex<BTreeMap<WorkloadId, (SocketAddr, AbortHandle, bool)>>,
}

async fn answer(mut client: TcpStream, key: Option<ChallengeKey>) {
    let mut request = [0; 1024];
    let read = client.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]);
    let nonce = request.split_once("?nonce=").map(|(_, rest)| rest);
    let nonce = nonce.and_then(|rest| rest.split(' ').next());
    let proof = key.zip(nonce).and_then(|(key, nonce)| key.answer(nonce));
    let proof = proof.unwrap_or_default();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    let length = proof.len();
    let answer = format!("{head}content-length: {length}\r\n\r\n{proof}");
    let _gone = client.write_all(answer.as_bytes()).await;
}

impl SiteRuntime for Listeners {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        workload: &'a Workload,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let listener =
                TcpListener::bind(address)
                    .await
                    .map_err(|error| RuntimeError::Start {
                        detail: error.to_string(),
                    })?;
            let variables = workload.environment.iter();
            let key = variables
                .filter(|_| !self.pretends)
                .find(|(name, _)| name == KEY_VARIABLE);
            let key: Option<ChallengeKey> = key.map(|(_, key)| key.parse().unwrap());
            let serving = tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(answer(client, key.clone()));
                }
            });
            let entry = (address, serving.abort_handle(), false);
            self.running.lock().unwrap().insert(id, entry);
            Ok(())
        })
    }

    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        _origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        if let Some((_, _, drains)) = self.running.lock().unwrap().get_mut(&id) {
            *drains = true;
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        if let Some((_, serving, _)) = self.running.lock().unwrap().remove(&id) {
            serving.abort();
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn state(&self, id: WorkloadId) -> WorkloadState {
        match self.running.lock().unwrap().get(&id) {
            Some((address, _, true)) => WorkloadState::Draining { address: *address },
            Some((address, _, false)) => WorkloadState::Running { address: *address },
            None => WorkloadState::Absent,
        }
    }
}
