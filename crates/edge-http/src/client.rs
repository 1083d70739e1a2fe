//! The buyer's side of the IEP API.
//!
//! A client is pinned to one checked address: it resolves nothing, follows no redirect, and reads at most 64 KiB of an
//! answer. One connection carries one request. Until an address has sent a valid greeting it gets one connection an hour
//! (security rules 4 and 5, [`ContactBudget`]).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use edge_ports::{Clock, Signer};
use edge_types::{
    Acceptance, AgreementId, ChainAddress, ChainId, Hash32, IepId, MonotonicTime, Offer,
    Preferences, Receipt, ReservationId, Rtt, UtcTime,
};
use edge_wire::contract::AcceptanceMessage;
use edge_wire::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting, Hello,
    OfferMessage, Offers, ReceiptMessage, Reservation, ReservationRequest,
};
use edge_wire::prose::Prose;
use edge_wire::services::Services;
use edge_wire::signing::{self, EXPIRES_HEADER, NONCE_HEADER, RequestToSign, SIGNATURE_HEADER};
use edge_wire::{BASE, JSON, MAX_BODY_BYTES, Message, Problem, WireError};
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use crate::capped::Capped;
use crate::entry_tls::{self, EntryTls, Proof};
use crate::exchange::{BoxError, exchange, exchange_over_http2};
use crate::passive::shortest_round_trip;

/// How long a signed request may travel, seconds.
const REQUEST_SECONDS: u64 = 60;

/// Time allowed for the parts of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the whole call, the connection included.
    pub call: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(15),
        }
    }
}

/// A call to an IEP failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address had its one connection of this hour and sent no greeting (security rule 5).
    #[error("{address} was contacted less than an hour ago without a greeting")]
    ContactedBefore {
        /// The address.
        address: IpAddr,
    },
    /// No connection. Transient.
    #[error("connecting to {address} failed")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// No answer in time; what was asked for may or may not have happened. Transient.
    #[error("no answer from {address} within {waited:?}")]
    Timeout {
        /// From where.
        address: SocketAddr,
        /// How long it was given.
        waited: Duration,
    },
    /// The server did not prove that it is the entry point.
    #[error("{address} does not prove to be {site}")]
    Tls {
        /// From where.
        address: SocketAddr,
        /// Who it should be.
        site: IepId,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The exchange broke off, was not HTTP, or the answer was above 64 KiB.
    #[error("reading the answer of {address} failed")]
    Exchange {
        /// From where.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered with a redirect, which is not followed.
    #[error("{address} answered with redirect {status}")]
    Redirected {
        /// From where.
        address: SocketAddr,
        /// The status.
        status: u16,
    },
    /// The answer is not what the API prescribes.
    #[error("the answer of {address} is not one of the API")]
    Malformed {
        /// From where.
        address: SocketAddr,
        /// What is wrong.
        #[source]
        cause: WireError,
    },
    /// The provider said no.
    #[error("refused by {address}")]
    Refused {
        /// By whom.
        address: SocketAddr,
        /// Its reason.
        #[source]
        problem: Problem,
    },
    /// The machine gives no random numbers.
    #[error("drawing a nonce failed")]
    Nonce(#[source] getrandom::Error),
}

impl ClientError {
    /// May the same call succeed later?
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Exchange { .. } => true,
            Self::Refused { problem, .. } => problem.is_transient(),
            _ => false,
        }
    }

    /// Why the provider rejected, if that is what happened.
    pub const fn reject_reason(&self) -> Option<&edge_types::RejectReason> {
        match self {
            Self::Refused {
                problem: Problem::Rejected(reason),
                ..
            } => Some(reason),
            _ => None,
        }
    }
}

/// Remembers which addresses were contacted without a greeting, so that DNS cannot aim us at a stranger's server.
#[derive(Debug, Default)]
pub struct ContactBudget {
    contacts: Mutex<BTreeMap<IpAddr, Contact>>,
}

#[derive(Clone, Copy, Debug)]
enum Contact {
    Tried(MonotonicTime),
    Greeted,
}

impl ContactBudget {
    /// One contact without a greeting per address in this time.
    pub const PER: Duration = Duration::from_hours(1);
    /// Addresses remembered; above this no new one is contacted until old ones run out.
    const ADDRESSES: usize = 65_536;

    fn begin(&self, address: IpAddr, now: MonotonicTime) -> Result<(), ClientError> {
        // One host, however its address is written.
        let address = address.to_canonical();
        let mut contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        if contacts.len() >= Self::ADDRESSES {
            contacts.retain(|_, contact| match contact {
                Contact::Tried(at) => now.since(*at) < Self::PER,
                Contact::Greeted => true,
            });
        }
        match contacts.get(&address) {
            Some(Contact::Greeted) => return Ok(()),
            Some(Contact::Tried(at)) if now.since(*at) < Self::PER => {
                return Err(ClientError::ContactedBefore { address });
            }
            None if contacts.len() >= Self::ADDRESSES => {
                return Err(ClientError::ContactedBefore { address });
            }
            _ => {}
        }
        contacts.insert(address, Contact::Tried(now));
        Ok(())
    }

    /// Did the address send a valid greeting? Before that it gets no other request.
    pub fn has_greeted(&self, address: IpAddr) -> bool {
        let contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = contacts.get(&address.to_canonical());
        matches!(known, Some(Contact::Greeted))
    }

    fn greeted(&self, address: IpAddr) {
        self.contacts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.to_canonical(), Contact::Greeted);
    }
}

/// What a first contact with an entry point tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstContact {
    /// Who answered.
    pub greeting: Greeting,
    /// Round trip to it, between the two kernels; `None` if ours does not say.
    pub rtt: Option<Rtt>,
    /// Its clock when it answered, in whole seconds, if it told.
    pub time: Option<UtcTime>,
    /// What it proved to be the entry point by; nothing over plain HTTP.
    pub proof: Option<Proof>,
}

/// An answer, and what came with it.
struct Response {
    status: u16,
    body: Bytes,
    rtt: Option<Rtt>,
    time: Option<UtcTime>,
}

/// Calls that need no key: greeting, services and hello.
#[derive(Clone, Debug)]
pub struct IepClient {
    address: SocketAddr,
    site: IepId,
    timeouts: ClientTimeouts,
    tls: Option<EntryTls>,
}

impl IepClient {
    /// A client of the entry point `site`, at an address that the caller has checked and that is used as it is. It speaks plain
    /// HTTP.
    pub const fn new(address: SocketAddr, site: IepId, timeouts: ClientTimeouts) -> Self {
        Self {
            address,
            site,
            timeouts,
            tls: None,
        }
    }

    /// The same over what [`TlsPolicy::transport`](crate::entry_tls::TlsPolicy::transport) says.
    #[must_use]
    pub fn over(self, tls: Option<EntryTls>) -> Self {
        Self { tls, ..self }
    }

    /// Where it connects to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Octets taken from an address before it has sent a valid greeting, headers included (security rule 5).
    pub const MOST_BEFORE_GREETING: usize = 64 * 1024;

    /// `GET /`: the first thing asked of an address, within the budget.
    pub async fn greet(
        &self,
        budget: &ContactBudget,
        now: MonotonicTime,
    ) -> Result<Greeting, ClientError> {
        self.contact(budget, now)
            .await
            .map(|contact| contact.greeting)
    }

    /// As [`Self::greet`], with what the connection showed beside the greeting.
    pub async fn contact(
        &self,
        budget: &ContactBudget,
        now: MonotonicTime,
    ) -> Result<FirstContact, ClientError> {
        budget.begin(self.address.ip(), now)?;
        let response = self
            .ask(Self::MOST_BEFORE_GREETING, Method::GET, "/", &[], None)
            .await?;
        let (rtt, time) = (response.rtt, response.time);
        let greeting = self.read(response)?;
        budget.greeted(self.address.ip());
        Ok(FirstContact {
            greeting,
            rtt,
            time,
            proof: self.tls.as_ref().map(EntryTls::proof),
        })
    }

    /// Connects, hangs up without sending anything, and tells the round trip. Counts as the address's contact of this
    /// hour.
    pub async fn measure(
        &self,
        budget: &ContactBudget,
        now: MonotonicTime,
    ) -> Result<Rtt, ClientError> {
        budget.begin(self.address.ip(), now)?;
        let started = tokio::time::Instant::now();
        let stream = self.connect().await?;
        let elapsed = Rtt(started.elapsed());
        Ok(shortest_round_trip(&stream).unwrap_or(elapsed))
    }

    /// `GET /services`: what is offered to clients there. Only after a greeting.
    pub async fn services(&self) -> Result<Services, ClientError> {
        self.call(Method::GET, "/services", &[], None).await
    }

    /// `GET /texts/{hash}`: the text that an offer names. Only after a greeting.
    pub async fn text(&self, hash: Hash32) -> Result<String, ClientError> {
        let path = format!("/texts/{hash}");
        let prose: Prose = self.call(Method::GET, &path, &[], None).await?;
        if prose.hash() != hash {
            return Err(ClientError::Malformed {
                address: self.address,
                cause: WireError::Field {
                    field: "text",
                    expected: "the text with the hash asked for",
                },
            });
        }
        Ok(prose.text)
    }

    /// `POST /hello`. The offers' signatures are not verified here.
    pub async fn hello(&self, preferences: &Preferences) -> Result<Vec<Offer>, ClientError> {
        let body = edge_wire::encode(&Hello(preferences.clone()));
        let offers: Offers = self.call(Method::POST, "/hello", &body, None).await?;
        Ok(offers.offers.into_iter().map(|offer| offer.0).collect())
    }

    /// The same entry point for the holder of `signer`, who deals with `provider` on `chain`.
    pub fn with_key(
        self,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        provider: ChainAddress,
        chain: ChainId,
    ) -> BuyerClient {
        BuyerClient {
            client: self,
            signer,
            clock,
            provider,
            chain,
        }
    }

    async fn call<T: Message>(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
        signature: Option<[(&'static str, String); 3]>,
    ) -> Result<T, ClientError> {
        let response = self
            .ask(2 * MAX_BODY_BYTES, method, path, body, signature)
            .await?;
        self.read(response)
    }

    /// Takes at most `most` octets, headers included.
    async fn ask(
        &self,
        most: usize,
        method: Method,
        path: &str,
        body: &[u8],
        signature: Option<[(&'static str, String); 3]>,
    ) -> Result<Response, ClientError> {
        let exchange = self.exchange(most, method, path, body, signature);
        tokio::time::timeout(self.timeouts.call, exchange)
            .await
            .map_err(|_| ClientError::Timeout {
                address: self.address,
                waited: self.timeouts.call,
            })?
    }

    fn read<T: Message>(&self, response: Response) -> Result<T, ClientError> {
        let Response { status, body, .. } = response;
        match status {
            200..=299 => edge_wire::decode(&body).map_err(|cause| ClientError::Malformed {
                address: self.address,
                cause,
            }),
            300..=399 => Err(ClientError::Redirected {
                address: self.address,
                status,
            }),
            _ => Err(ClientError::Refused {
                address: self.address,
                problem: edge_wire::problem::read_problem(status, &body),
            }),
        }
    }

    async fn connect(&self) -> Result<TcpStream, ClientError> {
        let address = self.address;
        tokio::time::timeout(self.timeouts.connect, TcpStream::connect(address))
            .await
            .map_err(|_| ClientError::Timeout {
                address,
                waited: self.timeouts.connect,
            })?
            .map_err(|cause| ClientError::Connect { address, cause })
    }

    async fn exchange(
        &self,
        most: usize,
        method: Method,
        path: &str,
        body: &[u8],
        signature: Option<[(&'static str, String); 3]>,
    ) -> Result<Response, ClientError> {
        let address = self.address;
        let failed = |cause: BoxError| ClientError::Exchange { address, cause };
        let stream = self.connect().await?;
        let _ = stream.set_nodelay(true); // only costs time if it fails
        let rtt = shortest_round_trip(&stream);

        let mut request = Request::builder()
            .method(method)
            .uri(format!("{BASE}{path}"))
            .header(HOST, self.site.to_string())
            .header(USER_AGENT, concat!("exec-edge/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, JSON);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        for (name, value) in signature.into_iter().flatten() {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|cause| failed(cause.into()))?;

        // What TLS itself takes counts too.
        let stream = Capped::new(stream, most);
        let answered = match &self.tls {
            None => exchange(stream, request, MAX_BODY_BYTES).await,
            Some(tls) => {
                let refused = |cause| ClientError::Tls {
                    address,
                    site: self.site.clone(),
                    cause,
                };
                let name = ServerName::try_from(self.site.host.to_string())
                    .map_err(|cause| refused(io::Error::new(io::ErrorKind::InvalidInput, cause)))?;
                let stream = tls.connector().connect(name, stream).await;
                let stream = stream.map_err(refused)?;
                if entry_tls::is_http2(stream.get_ref().1) {
                    exchange_over_http2(stream, request, MAX_BODY_BYTES).await
                } else {
                    exchange(stream, request, MAX_BODY_BYTES).await
                }
            }
        };
        let (head, body) = answered.map_err(failed)?;
        let date = head.headers.get(DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let time = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        Ok(Response {
            status: head.status.as_u16(),
            body,
            rtt,
            time: time.map(|since| UtcTime(since.as_secs())),
        })
    }
}

/// Calls by the key that pays.
#[derive(Clone, Debug)]
pub struct BuyerClient {
    client: IepClient,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    provider: ChainAddress,
    chain: ChainId,
}

impl BuyerClient {
    /// As [`IepClient::text`].
    pub async fn text(&self, hash: Hash32) -> Result<String, ClientError> {
        self.client.text(hash).await
    }

    /// Does the entry point send clients of this agreement back? Where that is not certain, none is sent there.
    pub async fn bounces(&self, id: AgreementId) -> bool {
        let path = format!("/agreements/{id}/bounce/0");
        let answer = self.client.call::<Greeting>(Method::GET, &path, &[], None);
        matches!(
            answer.await,
            Err(ClientError::Redirected { status: 302, .. })
        )
    }

    /// `POST /reservations`.
    pub async fn reserve(&self, offer: &Offer) -> Result<Reservation, ClientError> {
        let offer = OfferMessage(offer.clone());
        self.send(Method::POST, "/reservations", &ReservationRequest { offer })
            .await
    }

    /// `POST /agreements`: the money is in escrow.
    pub async fn acknowledge(
        &self,
        offer: &Offer,
        reservation: ReservationId,
    ) -> Result<AgreementView, ClientError> {
        self.take_up(offer, reservation, None).await
    }

    /// `POST /agreements`: we accept, and no chain holds the money. For a contract that people made the reservation
    /// is zero.
    pub async fn accept(
        &self,
        offer: &Offer,
        reservation: ReservationId,
        acceptance: Acceptance,
    ) -> Result<AgreementView, ClientError> {
        self.take_up(offer, reservation, Some(acceptance)).await
    }

    async fn take_up(
        &self,
        offer: &Offer,
        reservation: ReservationId,
        acceptance: Option<Acceptance>,
    ) -> Result<AgreementView, ClientError> {
        let request = AgreementRequest {
            offer: OfferMessage(offer.clone()),
            reservation,
            acceptance: acceptance.map(AcceptanceMessage::from),
        };
        self.send(Method::POST, "/agreements", &request).await
    }

    /// `GET /agreements/{id}`.
    pub async fn agreement(&self, id: AgreementId) -> Result<AgreementView, ClientError> {
        self.signed(Method::GET, &format!("/agreements/{id}"), &[])
            .await
    }

    /// `PUT /agreements/{id}/deployment`.
    pub async fn deploy(
        &self,
        id: AgreementId,
        deployment: &Deployment,
    ) -> Result<DeploymentView, ClientError> {
        let path = format!("/agreements/{id}/deployment");
        self.send(Method::PUT, &path, deployment).await
    }

    /// `GET /agreements/{id}/deployment`.
    pub async fn deployment(&self, id: AgreementId) -> Result<DeploymentView, ClientError> {
        let path = format!("/agreements/{id}/deployment");
        self.signed(Method::GET, &path, &[]).await
    }

    /// `POST /agreements/{id}/receipts`.
    pub async fn send_receipt(&self, receipt: Receipt) -> Result<AgreementView, ClientError> {
        let path = format!("/agreements/{}/receipts", receipt.agreement);
        self.send(Method::POST, &path, &ReceiptMessage::from(receipt))
            .await
    }

    /// `POST /agreements/{id}/close`, with the final receipt.
    pub async fn close(
        &self,
        id: AgreementId,
        reason: &str,
        receipt: Option<Receipt>,
    ) -> Result<AgreementView, ClientError> {
        let request = CloseRequest {
            reason: reason.to_owned(),
            receipt: receipt.map(ReceiptMessage::from),
        };
        self.send(Method::POST, &format!("/agreements/{id}/close"), &request)
            .await
    }

    async fn send<A: Message, T: Message>(
        &self,
        method: Method,
        path: &str,
        message: &A,
    ) -> Result<T, ClientError> {
        self.signed(method, path, &edge_wire::encode(message)).await
    }

    async fn signed<T: Message>(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<T, ClientError> {
        let mut nonce = Hash32([0; 32]);
        getrandom::fill(&mut nonce.0).map_err(ClientError::Nonce)?;
        let expires = self.clock.utc().plus_seconds(REQUEST_SECONDS);
        let digest = signing::request_digest(&RequestToSign {
            method: method.as_str(),
            path: &format!("{BASE}{path}"),
            body,
            nonce,
            expires,
            provider: self.provider,
            chain: self.chain,
        });
        let headers = [
            (
                SIGNATURE_HEADER,
                self.signer.sign_digest(digest).to_string(),
            ),
            (NONCE_HEADER, nonce.to_string()),
            (EXPIRES_HEADER, expires.0.to_string()),
        ];
        self.client.call(method, path, body, Some(headers)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_greeting_is_contacted_once_an_hour() {
        let budget = ContactBudget::default();
        let (a, b) = ("240.0.0.1".parse().unwrap(), "240.0.0.2".parse().unwrap());
        let at = |seconds| MonotonicTime(Duration::from_secs(seconds));
        assert!(budget.begin(a, at(0)).is_ok());
        assert!(budget.begin(a, at(3_599)).is_err());
        assert!(budget.begin(b, at(1)).is_ok());
        assert!(budget.begin(a, at(3_600)).is_ok());
        budget.greeted(b);
        assert!(budget.begin(b, at(2)).is_ok());
        assert!(budget.has_greeted(b) && !budget.has_greeted(a));
        let mapped = "::ffff:240.0.0.1".parse().unwrap();
        assert!(budget.begin(mapped, at(3_601)).is_err());
    }

    /// Answers the first connection with these octets; how many were taken before the other side closed.
    async fn serve_once(listener: tokio::net::TcpListener, answer: Vec<u8>) -> usize {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let mut taken = 0;
        for part in answer.chunks(1024) {
            match stream.write_all(part).await {
                Ok(()) => taken += part.len(),
                Err(_) => break,
            }
        }
        taken
    }

    #[tokio::test]
    async fn an_address_that_was_not_greeted_gets_no_more_than_64_kib_taken() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Headers without end are not the body that the answer's own limit counts.
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n".to_vec();
        for n in 0..40 {
            answer.extend(format!("X-{n}: {}\r\n", "a".repeat(1000)).bytes());
        }
        answer.extend(b"Content-Length: 60000\r\n\r\n");
        answer.extend(vec![b' '; 60_000]);
        let server = tokio::spawn(serve_once(listener, answer));
        let site = IepId {
            host: "s.isp.example".parse().unwrap(),
            port: address.port(),
        };
        let client = IepClient::new(address, site, ClientTimeouts::default());
        let budget = ContactBudget::default();
        let now = MonotonicTime::ZERO;
        let refused = client.greet(&budget, now).await.unwrap_err();
        let ClientError::Exchange { cause, .. } = &refused else {
            panic!("{refused:?}");
        };
        let told = format!("{cause:?}");
        assert!(told.contains("more than 65536 octets"), "{told}");
        assert!(!budget.has_greeted(address.ip()));
        let again = client.greet(&budget, now).await.unwrap_err();
        assert!(matches!(again, ClientError::ContactedBefore { .. }));
        server.await.unwrap();
    }
}
