//! Entry points over real TLS on both sides: which certificates are believed, and who is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edge_discovery::{
    CertificateUsage, DnsEvidence, IepCandidate, Matching, Profile, Security, Selector, TlsPin,
};
use edge_http::client::{ClientError, ClientTimeouts, ContactBudget, FirstContact, IepClient};
use edge_http::entry_tls::{
    ContactRefusal, Identity, IdentityError, Proof, RootCertStore, TlsPolicy, Transport,
};
use edge_types::{ChainAddress, IepId, IepOrigin, MonotonicTime};
use sha2::{Digest as _, Sha256, Sha512};

use support::{HOST, Issued, serve};

fn candidate(site: IepId, pins: Vec<TlsPin>, protocols: &[&str]) -> IepCandidate {
    let zone: edge_types::DnsName = "isp.example".parse().unwrap();
    IepCandidate {
        id: site,
        zone: zone.clone(),
        origin: IepOrigin::Zone(zone),
        addresses: Vec::new(),
        priority: 0,
        weight: 0,
        key: None,
        announces_tls: !pins.is_empty(),
        pins,
        profile: Some(Profile {
            instance: "one._edge._tcp.isp.example".parse().unwrap(),
            path: None,
            api: None,
            protocols: protocols.iter().map(ToString::to_string).collect(),
            unknown: BTreeSet::new(),
            security: Security::Secure,
        }),
        evidence: DnsEvidence {
            service: Security::Secure,
            addresses: Security::Secure,
            routers_confirmed: BTreeSet::new(),
        },
        seen_on: BTreeSet::new(),
    }
}

fn pin(usage: CertificateUsage, selector: Selector, octets: &[u8]) -> TlsPin {
    TlsPin {
        usage,
        selector,
        matching: Matching::Sha256(Sha256::digest(octets).into()),
    }
}

/// Greets the server by what its candidate and the policy say.
async fn greet(
    (address, site): &(SocketAddr, IepId),
    pins: Vec<TlsPin>,
    protocols: &[&str],
    roots: RootCertStore,
) -> Result<FirstContact, ClientError> {
    let policy = TlsPolicy::new(roots, true);
    let tls = policy.transport(&candidate(site.clone(), pins, protocols));
    IepClient::new(*address, site.clone(), ClientTimeouts::default())
        .over(tls.unwrap())
        .contact(&ContactBudget::default(), MonotonicTime::ZERO)
        .await
}

/// Authorities that know nobody here.
fn strangers() -> RootCertStore {
    Issued::issued_to("elsewhere.example").roots()
}

#[tokio::test]
async fn tlsa_records_alone_prove_an_entry_point() {
    use CertificateUsage::{DaneEe, DaneTa};
    let identity = Issued::issued_to(HOST);
    let server = serve(Some(identity.acceptor())).await;
    let long = Matching::Sha512(Box::new(Sha512::digest(&identity.own).into()));
    for good in [
        pin(DaneEe, Selector::PublicKey, &identity.own_key),
        pin(DaneEe, Selector::Certificate, &identity.own),
        pin(DaneTa, Selector::PublicKey, &identity.authority_key),
        pin(DaneTa, Selector::Certificate, &identity.authority),
        TlsPin {
            usage: DaneEe,
            selector: Selector::Certificate,
            matching: long,
        },
        TlsPin {
            usage: DaneTa,
            selector: Selector::Certificate,
            matching: Matching::Exact(identity.authority.to_vec()),
        },
    ] {
        let told = format!("{good:?}");
        // One good pin among others is enough, as while keys are rolled over.
        let pins = vec![pin(DaneEe, Selector::PublicKey, b"the key before"), good];
        let contact = greet(&server, pins, &[], strangers()).await.expect(&told);
        assert_eq!(contact.proof, Some(Proof::Dane), "{told}");
        assert_eq!(contact.greeting.provider, ChainAddress([7; 20]));
    }
}

#[tokio::test]
async fn a_certificate_that_no_record_is_about_is_refused_whoever_issued_it() {
    use CertificateUsage::{DaneEe, DaneTa, PkixEe, PkixTa};
    let identity = Issued::issued_to(HOST);
    let other = Issued::issued_to(HOST);
    let server = serve(Some(identity.acceptor())).await;
    for (wrong, roots) in [
        (
            pin(DaneEe, Selector::PublicKey, &other.own_key),
            identity.roots(),
        ),
        (
            pin(DaneTa, Selector::Certificate, &other.authority),
            identity.roots(),
        ),
        // The authority's key as the server's own, and the other way round.
        (
            pin(DaneEe, Selector::PublicKey, &identity.authority_key),
            identity.roots(),
        ),
        (
            pin(DaneTa, Selector::PublicKey, &identity.own_key),
            identity.roots(),
        ),
        // Right, but these want an authority that is believed too.
        (
            pin(PkixEe, Selector::PublicKey, &identity.own_key),
            strangers(),
        ),
        (
            pin(PkixTa, Selector::PublicKey, &identity.authority_key),
            strangers(),
        ),
    ] {
        let told = format!("{wrong:?}");
        let refused = greet(&server, vec![wrong], &["https"], roots)
            .await
            .unwrap_err();
        assert!(
            matches!(refused, ClientError::Tls { .. }),
            "{told}: {refused:?}"
        );
    }
    for usage in [PkixEe, PkixTa] {
        let part = if usage == PkixEe {
            &identity.own
        } else {
            &identity.authority
        };
        let pins = vec![pin(usage, Selector::Certificate, part)];
        assert!(
            greet(&server, pins, &[], identity.roots()).await.is_ok(),
            "{usage:?}"
        );
    }
}

#[tokio::test]
async fn a_pinned_authority_counts_for_the_name_that_was_looked_up_only() {
    let identity = Issued::issued_to("other.isp.example");
    let server = serve(Some(identity.acceptor())).await;
    let by_authority = pin(
        CertificateUsage::DaneTa,
        Selector::Certificate,
        &identity.authority,
    );
    let refused = greet(&server, vec![by_authority], &[], strangers())
        .await
        .unwrap_err();
    assert!(matches!(refused, ClientError::Tls { .. }), "{refused:?}");
    // RFC 7671 section 5.1: the key of the server itself is the name.
    let by_key = pin(
        CertificateUsage::DaneEe,
        Selector::PublicKey,
        &identity.own_key,
    );
    assert!(greet(&server, vec![by_key], &[], strangers()).await.is_ok());
}

#[tokio::test]
async fn without_records_authorities_decide_where_https_is_announced() {
    let identity = Issued::issued_to(HOST);
    let server = serve(Some(identity.acceptor())).await;
    let contact = greet(&server, Vec::new(), &["https"], identity.roots())
        .await
        .unwrap();
    assert_eq!(contact.proof, Some(Proof::WebPki));
    let refused = greet(&server, Vec::new(), &["https"], strangers())
        .await
        .unwrap_err();
    assert!(matches!(refused, ClientError::Tls { .. }), "{refused:?}");
    let elsewhere = serve(Some(Issued::issued_to("other.isp.example").acceptor())).await;
    assert!(
        greet(&elsewhere, Vec::new(), &["https"], identity.roots())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn plain_http_is_for_those_who_announce_no_tls_and_only_where_it_is_allowed() {
    let server = serve(None).await;
    let contact = greet(&server, Vec::new(), &["http/1.1"], strangers())
        .await
        .unwrap();
    assert_eq!(contact.proof, None);
    // Who announces TLS is not spoken to without.
    let key = pin(CertificateUsage::DaneEe, Selector::PublicKey, b"any");
    for (pins, protocols) in [(vec![key], &[][..]), (Vec::new(), &["https"][..])] {
        let refused = greet(&server, pins, protocols, strangers())
            .await
            .unwrap_err();
        assert!(matches!(refused, ClientError::Tls { .. }), "{refused:?}");
    }
    // Nor is who has signed records that are not understood.
    let mut unread = candidate(server.1.clone(), Vec::new(), &[]);
    unread.announces_tls = true;
    let lenient = TlsPolicy::new(strangers(), true);
    assert_eq!(lenient.decide(&unread), Ok(Transport::Authorities));
    let tls = lenient.transport(&unread).unwrap();
    let refused = IepClient::new(server.0, server.1.clone(), ClientTimeouts::default())
        .over(tls)
        .contact(&ContactBudget::default(), MonotonicTime::ZERO)
        .await;
    assert!(
        matches!(refused, Err(ClientError::Tls { .. })),
        "{refused:?}"
    );
    let strict = TlsPolicy::new(strangers(), false);
    let plain = candidate(server.1, Vec::new(), &[]);
    assert_eq!(strict.transport(&plain).unwrap_err(), ContactRefusal::Plain);
}

#[test]
fn a_key_that_is_not_the_certificates_is_told() {
    let (one, other) = (Issued::issued_to(HOST), Issued::issued_to(HOST));
    let folder = tempfile::tempdir().unwrap();
    let [certificates, key] = ["certificates.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificates, &one.chain).unwrap();
    let missing = Identity::read(certificates.clone(), key.clone());
    assert!(matches!(missing, Err(IdentityError::File { .. })));
    std::fs::write(&key, &other.secret).unwrap();
    let mixed = Identity::read(certificates, key);
    assert!(matches!(mixed, Err(IdentityError::Unusable { .. })));
}

#[tokio::test]
async fn a_server_takes_up_new_files_and_keeps_the_old_ones_while_these_are_bad() {
    let (old, new) = (Issued::issued_to(HOST), Issued::issued_to(HOST));
    let folder = tempfile::tempdir().unwrap();
    let [certificates, key] = old.write(folder.path());
    let identity = Arc::new(Identity::read(certificates.clone(), key.clone()).unwrap());
    let server = serve(Some(identity.clone())).await;
    let shows = async |issued: &Issued| {
        let pin = pin(
            CertificateUsage::DaneEe,
            Selector::PublicKey,
            &issued.own_key,
        );
        greet(&server, vec![pin], &[], strangers()).await.is_ok()
    };
    assert!(!identity.refresh().unwrap(), "nothing has changed");
    assert!(shows(&old).await);
    // Between the two files of a change nothing fits.
    let later = |file: &Path, seconds| {
        let at = SystemTime::now() + Duration::from_secs(seconds);
        std::fs::File::options()
            .append(true)
            .open(file)
            .unwrap()
            .set_modified(at)
            .unwrap();
    };
    std::fs::write(&certificates, &new.chain).unwrap();
    later(&certificates, 1);
    for _ in 0..2 {
        let refused = identity.refresh();
        assert!(matches!(refused, Err(IdentityError::Unusable { .. })));
    }
    assert!(shows(&old).await);
    std::fs::write(&key, &new.secret).unwrap();
    later(&key, 2);
    assert!(identity.refresh().unwrap());
    assert!(shows(&new).await && !shows(&old).await);
    std::fs::remove_file(&key).unwrap();
    assert!(identity.refresh().is_err());
    assert!(shows(&new).await);
}

#[tokio::test]
async fn what_was_decided_once_is_carried_out_alike_later() {
    let issued = Issued::issued_to(HOST);
    let server = serve(Some(issued.acceptor())).await;
    let policy = TlsPolicy::new(issued.roots(), true);
    let right = pin(
        CertificateUsage::DaneEe,
        Selector::PublicKey,
        &issued.own_key,
    );
    let wrong = pin(CertificateUsage::DaneEe, Selector::PublicKey, b"another");
    for (transport, proof) in [
        (Transport::Pins(vec![right]), Some(Proof::Dane)),
        (Transport::Authorities, Some(Proof::WebPki)),
        (Transport::Pins(vec![wrong]), None),
        (Transport::Plain, None),
    ] {
        let contact = IepClient::new(server.0, server.1.clone(), ClientTimeouts::default())
            .over(policy.over(&transport))
            .contact(&ContactBudget::default(), MonotonicTime::ZERO)
            .await;
        let shown = contact.ok().and_then(|contact| contact.proof);
        assert_eq!(shown, proof, "{transport:?}");
    }
}

#[test]
fn who_speaks_another_api_is_not_spoken_to() {
    let site = IepId {
        host: HOST.parse().unwrap(),
        port: 80,
    };
    let decide = |path: Option<&str>, api| {
        let mut found = candidate(site.clone(), Vec::new(), &[]);
        let profile = found.profile.as_mut().unwrap();
        profile.path = path.map(str::to_owned);
        profile.api = api;
        TlsPolicy::new(RootCertStore::empty(), true).decide(&found)
    };
    for path in [None, Some("/exec/v1"), Some("/exec/v1/")] {
        assert_eq!(decide(path, None), Ok(Transport::Plain));
    }
    assert_eq!(decide(None, Some(1)), Ok(Transport::Plain));
    let path = "/exec/v2".to_owned();
    let elsewhere = ContactRefusal::OtherPath { path };
    assert_eq!(decide(Some("/exec/v2"), Some(1)), Err(elsewhere));
    let newer = ContactRefusal::OtherVersion { api: 2 };
    assert_eq!(decide(None, Some(2)), Err(newer));
}
