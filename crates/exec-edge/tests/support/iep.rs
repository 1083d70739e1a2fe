//! Entry points in the test's process: the real server of the API, with nothing to let.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_http::api::{IepService, Reply};
use edge_http::entry_tls::Identity;
use edge_http::server::{ApiLimits, IepServer, NonceCache};
use edge_ports::SystemClock;
use edge_types::agreement::detail;
use edge_types::{AgreementId, ChainAddress, ChainId, IepId, Preferences, RejectReason};
use edge_wire::Problem;
use edge_wire::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting, Offers,
    ReceiptMessage, Reservation, ReservationRequest,
};
use edge_wire::services::{ServiceListing, Services};

/// An entry point; ends with the test's process.
#[derive(Debug)]
pub(crate) struct Iep {
    pub(crate) provider: ChainAddress,
    pub(crate) site: IepId,
    /// What it lists; `None` refuses.
    pub(crate) listing: Option<Vec<ServiceListing>>,
}

impl Iep {
    /// Serves it on a free port of 127.0.0.1; the site's port is set to that.
    pub(crate) fn start(self) -> SocketAddr {
        self.start_over(None)
    }

    /// The same over TLS.
    pub(crate) fn start_over(mut self, tls: Option<Arc<Identity>>) -> SocketAddr {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            executor.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                self.site.port = address.port();
                let server = IepServer::new(
                    Arc::new(self),
                    Arc::new(SystemClock::start()),
                    Arc::new(NonceCache::default()),
                    ApiLimits::default(),
                );
                tell.send(address).unwrap();
                Arc::new(server).serve_over(listener, tls).await;
            });
        });
        told.recv().unwrap()
    }
}

fn nothing<T: Send + 'static>() -> Reply<'static, T> {
    Box::pin(std::future::ready(Err(Problem::NotFound)))
}

impl IepService for Iep {
    fn greeting(&self) -> Greeting {
        Greeting {
            protocol: "exec".to_owned(),
            versions: vec![1],
            software: "test/1".to_owned(),
            provider: self.provider,
            site: self.site.clone(),
            chain: ChainId(1337),
            settlements: vec!["escrow".to_owned()],
            runtimes: vec!["oci".to_owned()],
        }
    }

    fn services(&self) -> Result<Services, Problem> {
        let services = self.listing.clone();
        services
            .map(|services| Services { services })
            .ok_or(Problem::Rejected(RejectReason::Policy {
                detail: detail::NOT_LISTED,
            }))
    }

    fn origin(&self, _: AgreementId) -> Option<String> {
        None
    }

    fn hello(&self, _: Preferences) -> Reply<'_, Offers> {
        nothing()
    }

    fn reserve(&self, _: ChainAddress, _: IpAddr, _: ReservationRequest) -> Reply<'_, Reservation> {
        nothing()
    }

    fn acknowledge(&self, _: ChainAddress, _: AgreementRequest) -> Reply<'_, AgreementView> {
        nothing()
    }

    fn agreement(&self, _: ChainAddress, _: AgreementId) -> Reply<'_, AgreementView> {
        nothing()
    }

    fn deploy(&self, _: ChainAddress, _: AgreementId, _: Deployment) -> Reply<'_, DeploymentView> {
        nothing()
    }

    fn deployment(&self, _: ChainAddress, _: AgreementId) -> Reply<'_, DeploymentView> {
        nothing()
    }

    fn receipt(
        &self,
        _: ChainAddress,
        _: AgreementId,
        _: ReceiptMessage,
    ) -> Reply<'_, AgreementView> {
        nothing()
    }

    fn close(&self, _: ChainAddress, _: AgreementId, _: CloseRequest) -> Reply<'_, AgreementView> {
        nothing()
    }
}

/// Counts connections, and the octets that come over them, without ever answering.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    octets: Arc<AtomicUsize>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            octets: Arc::default(),
        };
        let (connections, octets) = (recorder.connections.clone(), recorder.octets.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let mut text = Vec::new();
                let _ = stream.read_to_end(&mut text);
                octets.fetch_add(text.len(), Ordering::SeqCst);
                connections.fetch_add(1, Ordering::SeqCst);
            }
        });
        recorder
    }

    /// Connections that have ended, and octets that came over them; waits for the first.
    pub(crate) fn seen(&self) -> (usize, usize) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while self.connections.load(Ordering::SeqCst) == 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        (
            self.connections.load(Ordering::SeqCst),
            self.octets.load(Ordering::SeqCst),
        )
    }
}
