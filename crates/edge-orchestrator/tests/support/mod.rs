//! Stand-ins for what the tests of agreements need and do not test: containers are listeners, every site is one hop away.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use edge_discovery::IepCandidate;
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
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
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

/// A workload is a listener on its service address that answers everything well.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    running: Mutex<BTreeMap<WorkloadId, (SocketAddr, AbortHandle, bool)>>,
}

impl SiteRuntime for Listeners {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        _workload: &'a Workload,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let listener =
                TcpListener::bind(address)
                    .await
                    .map_err(|error| RuntimeError::Start {
                        detail: error.to_string(),
                    })?;
            let serving = tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                        let _ = client.write_all(answer).await;
                    });
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
