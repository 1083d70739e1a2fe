//! Running workloads at a site.

use std::fmt;
use std::net::SocketAddr;

use edge_types::{AgreementId, IpNet, Rtt, Workload, WorkloadState};

use crate::BoxFuture;

/// Names a workload at a provider; one per agreement.
pub type WorkloadId = AgreementId;

/// Something that runs containers.
pub trait SiteRuntime: Send + Sync + fmt::Debug {
    /// Pulls and starts a workload and serves it at `service_address`; resolves when it answers its health check.
    /// Starting what already runs in the same generation changes nothing; an older generation is refused.
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        workload: &'a Workload,
        service_address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>>;
    /// From now on answers every client with a redirect to `origin` (an `http://authority` URL), and keeps running.
    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>>;
    /// Stops a workload and deletes its data. Stopping what does not run is done.
    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Where the workload stands.
    fn state(&self, id: WorkloadId) -> WorkloadState;
    /// Round trips between the workload's clients and the site that its kernel measured lately, by client network; none where that is
    /// not known.
    fn round_trips(&self, id: WorkloadId) -> Vec<(IpNet, Rtt)> {
        let _unknown = id;
        Vec::new()
    }
}

/// A workload could not be started, drained or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The image could not be pulled, or is not what its digest says.
    #[error("pulling the image failed")]
    Pull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The container could not be made or started.
    #[error("starting the container failed: {detail}")]
    Start {
        /// What went wrong.
        detail: String,
    },
    /// It did not answer its health check in time.
    #[error("no healthy answer within {waited:?}")]
    Unhealthy {
        /// How long it was given.
        waited: std::time::Duration,
    },
    /// A generation older than the running one.
    #[error("generation {offered} is older than {current}")]
    StaleGeneration {
        /// What was asked for.
        offered: u64,
        /// What runs.
        current: u64,
    },
    /// This machine cannot run containers as asked; what is missing and how to get it.
    #[error("{missing}; {remedy}")]
    Unsupported {
        /// What is missing.
        missing: String,
        /// How to get it.
        remedy: String,
    },
    /// No workload of this id.
    #[error("no such workload")]
    Unknown,
}
