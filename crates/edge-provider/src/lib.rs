//! The agent of an independent edge provider: one key, several sites, strangers' workloads.
//!
//! It answers the IEP API on each site's address, confirms or rejects funded agreements on the ledger, runs what their
//! buyers deploy, sends clients back to the cloud in the notice period, stops, settles and withdraws. What is decided is
//! decided by [`edge_negotiation::ProviderBook`]; this crate gives it ears and hands. It knows nothing of containers or
//! chains beyond [`edge_ports::SiteRuntime`] and [`edge_ports::Ledger`]. What it decides is in a journal in its state
//! directory before it is acted upon, so that it goes on where it was after it was killed.

mod agent;
pub mod config;
pub mod journal;
mod site_api;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_http::entry_tls::{Identity, IdentityError};
use edge_http::server::{ApiLimits, IepServer, NonceCache};
use edge_ports::{Clock, Ledger, Signer, SiteRuntime, WorkloadId};
use edge_types::IepId;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::agent::Agent;
pub use config::{ConfigError, ProviderConfig, SiteConfig};
use site_api::SiteApi;

/// Time between two looks for new files for TLS.
const TLS_REFRESH: Duration = Duration::from_secs(60);

/// What the agent acts with.
#[derive(Clone)]
pub struct ProviderPorts {
    /// The key that signs offers and is paid; the ledger's account.
    pub signer: Arc<dyn Signer>,
    /// The escrow, where there is a chain.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Runs workloads.
    pub runtime: Arc<dyn SiteRuntime>,
    /// Tells the runtime what to show to the registry when it pulls a workload's image.
    pub set_image_token: Arc<dyn Fn(WorkloadId, String) + Send + Sync>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ProviderPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderPorts")
            .field("signer", &self.signer)
            .field("ledger", &self.ledger)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A site's address cannot be listened on.
    #[error("listening on {address} for site {site}")]
    Listen {
        /// Which site.
        site: IepId,
        /// Its address.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A site's files for TLS cannot be used.
    #[error("TLS for site {site}")]
    Identity {
        /// Which site.
        site: IepId,
        /// Why.
        #[source]
        cause: IdentityError,
    },
    /// The journal of agreements cannot be used.
    #[error("the journal of agreements")]
    Journal(#[from] edge_journal::JournalError),
    /// The key is not the ledger's account: what buyers pay would go to somebody else.
    #[error("the key is not the ledger's account")]
    KeyMismatch,
}

/// Sites that listen, before there is an agent to answer.
#[derive(Debug)]
pub struct Listening {
    config: ProviderConfig,
    sites: Vec<Listener>,
}

/// A site that listens.
#[derive(Debug)]
struct Listener {
    site: IepId,
    socket: TcpListener,
    tls: Option<Arc<Identity>>,
}

impl Listening {
    /// Listens at every site, or none.
    pub async fn bind(config: ProviderConfig) -> Result<Self, ProviderError> {
        let mut sites = Vec::new();
        for site in &config.sites {
            let id = site.id.clone();
            let identity = site
                .tls
                .clone()
                .map(|files| Identity::read(files.certificates, files.key));
            let tls = identity.transpose();
            let tls = tls.map_err(|cause| ProviderError::Identity {
                site: id.clone(),
                cause,
            })?;
            let socket =
                TcpListener::bind(site.listen)
                    .await
                    .map_err(|cause| ProviderError::Listen {
                        site: id.clone(),
                        address: site.listen,
                        cause,
                    })?;
            sites.push(Listener {
                site: id,
                socket,
                tls: tls.map(Arc::new),
            });
        }
        Ok(Self { config, sites })
    }
}

/// An agent whose sites are listening.
#[derive(Debug)]
pub struct Provider {
    agent: Arc<Agent>,
    sites: Vec<Listener>,
    limits: ApiLimits,
}

impl Provider {
    /// The agent of these sites.
    pub fn new(listening: Listening, ports: ProviderPorts) -> Result<Self, ProviderError> {
        let account = ports.ledger.as_ref().map(|ledger| ledger.account());
        if account.is_some_and(|account| account != ports.signer.address()) {
            return Err(ProviderError::KeyMismatch);
        }
        let Listening { config, sites } = listening;
        let agent = Arc::new(Agent::new(config, ports)?);
        Ok(Self {
            agent,
            sites,
            limits: ApiLimits::default(),
        })
    }

    /// The same, with other bounds on what its sites take.
    #[must_use]
    pub const fn with_limits(mut self, limits: ApiLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the sites listen.
    pub fn addresses(&self) -> impl Iterator<Item = (&IepId, SocketAddr)> {
        self.sites
            .iter()
            .filter_map(|listener| Some((&listener.site, listener.socket.local_addr().ok()?)))
    }

    /// Serves until `shutdown` resolves; then stops every workload.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let nonces = Arc::new(NonceCache::default());
        let mut servers = JoinSet::new();
        for Listener { site, socket, tls } in self.sites {
            if let Some(identity) = &tls {
                servers.spawn(keep_fresh(site.clone(), Arc::clone(identity)));
            }
            let server = IepServer::new(
                Arc::new(SiteApi::new(self.agent.clone(), site)),
                self.agent.ports.clock.clone(),
                nonces.clone(),
                self.limits,
            );
            servers.spawn(Arc::new(server).serve_over(socket, tls));
        }
        let agent = self.agent.clone();
        servers.spawn(async move { agent.withdraw_everything().await });
        tokio::select! {
            () = self.agent.drive() => {}
            () = shutdown => {}
        }
        servers.shutdown().await;
        self.agent.stop_everything().await;
    }
}

/// Takes up new files for TLS, as long as the site serves.
async fn keep_fresh(site: IepId, identity: Arc<Identity>) {
    loop {
        tokio::time::sleep(TLS_REFRESH).await;
        match identity.refresh() {
            Ok(false) => {}
            Ok(true) => tracing::info!(%site, "new certificate"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(%site, error, "the certificate stays: its new files cannot be used");
            }
        }
    }
}
