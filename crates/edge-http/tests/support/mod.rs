//! An entry point with nothing to let, and certificates for it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_http::api::{IepService, Reply};
use edge_http::entry_tls::{Identity, RootCertStore};
use edge_http::server::{ApiLimits, IepServer, NonceCache};
use edge_ports::SystemClock;
use edge_types::{AgreementId, ChainAddress, ChainId, IepId, Preferences};
use edge_wire::Problem;
use edge_wire::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting, Offers,
    ReceiptMessage, Reservation, ReservationRequest,
};
use edge_wire::services::Services;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;

pub(crate) const HOST: &str = "site.isp.example";

/// An entry point with nothing to let.
#[derive(Debug)]
pub(crate) struct Iep(pub(crate) IepId);

fn nothing<T: Send + 'static>() -> Reply<'static, T> {
    Box::pin(std::future::ready(Err(Problem::NotFound)))
}

impl IepService for Iep {
    fn greeting(&self) -> Greeting {
        Greeting {
            protocol: "exec".to_owned(),
            versions: vec![1],
            software: "test/1".to_owned(),
            provider: ChainAddress([7; 20]),
            site: self.0.clone(),
            chain: ChainId(1337),
            settlements: vec!["escrow".to_owned()],
            runtimes: vec!["oci".to_owned()],
        }
    }

    fn services(&self) -> Result<Services, Problem> {
        Err(Problem::NotFound)
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

/// A certificate with its key, and the authority that issued it.
pub(crate) struct Issued {
    pub(crate) own: CertificateDer<'static>,
    pub(crate) own_key: Vec<u8>,
    /// PEM.
    pub(crate) secret: String,
    pub(crate) chain: String,
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) authority_key: Vec<u8>,
}

impl Issued {
    pub(crate) fn issued_to(host: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&key).unwrap();
        let authority_key = rcgen::PublicKeyData::subject_public_key_info(&key);
        let issuer = Issuer::new(ca, key);
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let own = own.signed_by(&own_key, &issuer).unwrap();
        Self {
            own: own.der().clone(),
            secret: own_key.serialize_pem(),
            chain: own.pem() + &authority.pem(),
            own_key: rcgen::PublicKeyData::subject_public_key_info(&own_key),
            authority: authority.der().clone(),
            authority_key,
        }
    }

    /// Those who believe the authority.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        roots
    }

    pub(crate) fn acceptor(&self) -> Arc<Identity> {
        let folder = tempfile::tempdir().unwrap();
        let [certificates, key] = self.write(folder.path());
        Arc::new(Identity::read(certificates, key).unwrap())
    }

    /// The files with the certificates and with the key.
    pub(crate) fn write(&self, folder: &Path) -> [PathBuf; 2] {
        let [certificates, key] = ["certificates.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&certificates, &self.chain).unwrap();
        std::fs::write(&key, &self.secret).unwrap();
        [certificates, key]
    }
}

pub(crate) async fn serve(tls: Option<Arc<Identity>>) -> (SocketAddr, IepId) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = IepId {
        host: HOST.parse().unwrap(),
        port: address.port(),
    };
    let server = IepServer::new(
        Arc::new(Iep(site.clone())),
        Arc::new(SystemClock::start()),
        Arc::new(NonceCache::default()),
        ApiLimits::default(),
    );
    tokio::spawn(Arc::new(server).serve_over(listener, tls));
    (address, site)
}
