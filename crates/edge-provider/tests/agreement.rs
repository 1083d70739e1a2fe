//! Two strangers, a real chain, real HTTP over loopback: from hello to settled, and every way to be refused.
//!
//! Only the container runtime is replaced.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_http::client::{BuyerClient, ClientError, ClientTimeouts, ContactBudget, IepClient};
use edge_negotiation::{
    Action, Evidence, GreenListPolicy, KeyBinding, Negotiation, NegotiationState, Now, Pace,
};
use edge_ports::{
    BoxFuture, Clock, Ledger, RuntimeError, Signer, SiteRuntime, SystemClock, WorkloadId,
};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderPorts};
use edge_types::agreement::detail;
use edge_types::{
    AgreementId, AgreementState, Amount, ChainAddress, ChainId, Generation, HardwareProfile,
    Hash32, HealthCheck, IepId, ImageDigest, ImageReference, Offer, Preferences, Receipt,
    RejectReason, ReservationId, ResourceLimits, Signature, Slot, UtcTime, Workload, WorkloadState,
};
use edge_wire::message::{Deployment, OfferMessage, ReservationRequest};
use edge_wire::signing::{self, RequestToSign};
use edge_wire::{Problem, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CHAIN: ChainId = ChainId(1337);
const ETHER: u128 = 1_000_000_000_000_000_000;
const PRICE: u128 = 1_000_000_000;
const ORIGIN: &str = "http://240.0.0.1:80";
const NEED: HardwareProfile = HardwareProfile {
    milli_cpu: 500,
    memory_bytes: 64 << 20,
    pids: 32,
};

/// Runs nothing, and remembers what it was told.
#[derive(Debug, Default)]
struct PretendRuntime {
    states: Mutex<BTreeMap<WorkloadId, WorkloadState>>,
    told: Mutex<Vec<String>>,
}

impl PretendRuntime {
    fn set(&self, id: WorkloadId, state: WorkloadState, told: String) {
        self.states.lock().unwrap().insert(id, state);
        self.told.lock().unwrap().push(told);
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl SiteRuntime for PretendRuntime {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        workload: &'a Workload,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.set(
                id,
                WorkloadState::Starting,
                format!("start {}", workload.generation),
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.set(id, WorkloadState::Running { address }, "running".to_owned());
            Ok(())
        })
    }

    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let address = "127.0.0.1:20000".parse().unwrap();
            self.set(
                id,
                WorkloadState::Draining { address },
                format!("drain to {origin}"),
            );
            Ok(())
        })
    }

    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.set(id, WorkloadState::Stopped, "stop".to_owned());
            Ok(())
        })
    }

    fn state(&self, id: WorkloadId) -> WorkloadState {
        let states = self.states.lock().unwrap();
        states.get(&id).cloned().unwrap_or(WorkloadState::Absent)
    }
}

/// A chain, a provider with one site, and a buyer.
struct World {
    data: tempfile::TempDir,
    config: String,
    agent: tokio::task::JoinHandle<()>,
    ports: ProviderPorts,
    address: SocketAddr,
    site: IepId,
    provider: ChainAddress,
    escrow: ChainAddress,
    runtime: Arc<PretendRuntime>,
    clock: Arc<SystemClock>,
    key: LocalKey,
    ledger: EthLedger,
}

async fn world(site_settings: &str) -> World {
    let data = tempfile::tempdir().unwrap();
    let (key, provider_key) = (LocalKey::generate().unwrap(), LocalKey::generate().unwrap());
    let chain = DevChain::open(&DevConfig {
        chain: CHAIN,
        data: data.path().join("chain"),
        fund: [(key.address(), ETHER), (provider_key.address(), ETHER)].into(),
        deploy_escrow: true,
    })
    .unwrap();
    let escrow = dev::dev_escrow_address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dev::serve(chain, listener));
    let ledger = |key: &LocalKey| {
        EthLedger::new(
            LedgerConfig::dev(rpc_url.clone(), CHAIN, escrow),
            key.clone(),
        )
        .unwrap()
    };

    let config = format!(
        r#"
        key_file = "unused"
        state_directory = "{}"
        allow_addresses = ["240.0.0.0/4"]
        [ledger]
        rpc_url = "{rpc_url}"
        chain_id = {}
        contract = "{escrow}"
        poll_interval_ms = 50
        [[site]]
        host = "edge.isp.example"
        port = 8080
        listen = "127.0.0.1:0"
        service_address = "127.0.0.1"
        service_ports = [20000, 20001]
        milli_cpu = 1000
        memory_mib = 128
        pids = 64
        price_per_second_wei = "{PRICE}"
        receipt_interval_seconds = 5
        notice_seconds = 2
        {site_settings}
        "#,
        data.path().join("provider").display(),
        CHAIN.0
    );
    let runtime = Arc::new(PretendRuntime::default());
    let clock = Arc::new(SystemClock::start());
    let provider_address = provider_key.address();
    let ports = ProviderPorts {
        ledger: Arc::new(ledger(&provider_key)),
        signer: Arc::new(provider_key),
        runtime: runtime.clone(),
        set_image_token: Arc::new(|_, _| {}),
        clock: clock.clone(),
    };
    let (agent, site, address) = start_provider(&config, ports.clone()).await;
    World {
        data,
        config,
        agent,
        ports,
        address,
        site,
        provider: provider_address,
        escrow,
        runtime,
        clock,
        ledger: ledger(&key),
        key,
    }
}

async fn start_provider(
    config: &str,
    ports: ProviderPorts,
) -> (tokio::task::JoinHandle<()>, IepId, SocketAddr) {
    let config = ProviderConfig::parse(config).unwrap();
    let listening = Listening::bind(config).await.unwrap();
    let provider = Provider::new(listening, ports).unwrap();
    let (site, address) = {
        let (site, address) = provider.addresses().next().unwrap();
        (site.clone(), address)
    };
    let agent = tokio::spawn(provider.serve(std::future::pending()));
    (agent, site, address)
}

impl World {
    /// The agent ends as if killed, with all that it ran, and another begins from what it wrote down.
    async fn restart_provider(&mut self) {
        self.agent.abort();
        let _ = (&mut self.agent).await;
        self.runtime.states.lock().unwrap().clear();
        // On another port: a connection of any other process may have taken the old one.
        (self.agent, _, self.address) = start_provider(&self.config, self.ports.clone()).await;
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.clock.monotonic(),
            utc: self.clock.utc(),
        }
    }

    fn client(&self) -> IepClient {
        IepClient::new(self.address, self.site.clone(), ClientTimeouts::default())
    }

    fn buyer(&self, key: &LocalKey) -> BuyerClient {
        let (signer, clock) = (Arc::new(key.clone()), self.clock.clone());
        self.client().with_key(signer, clock, self.provider, CHAIN)
    }

    fn preferences(&self, seconds: u64) -> Preferences {
        let start = self.clock.utc().plus_seconds(1);
        Preferences {
            application: "shop".to_owned(),
            buyer: self.key.address(),
            slot: Slot {
                start,
                end: start.plus_seconds(seconds),
            },
            hardware: NEED,
            price_ceiling_per_second: Amount::wei(PRICE),
            expected_requests_per_second: 5,
        }
    }

    fn negotiation(&self, seconds: u64) -> Negotiation {
        let preferences = self.preferences(seconds);
        let policy = GreenListPolicy {
            min_key_binding: KeyBinding::Dns,
            ..GreenListPolicy::new(
                preferences.slot,
                NEED,
                preferences.price_ceiling_per_second,
                (CHAIN, self.escrow),
            )
        };
        let pace = Pace {
            health_interval: Duration::from_millis(200),
            ledger_interval: Duration::from_millis(200),
            ..Pace::default()
        };
        Negotiation::new(pace, policy, preferences)
    }

    fn receipt(&self, agreement: AgreementId, due: Amount) -> Receipt {
        let mut receipt = Receipt {
            agreement,
            due,
            signature: Signature([0; 65]),
        };
        let digest = signing::receipt_digest(&receipt, CHAIN, self.escrow);
        receipt.signature = self.key.sign_digest(digest);
        receipt
    }

    /// Runs a negotiation with production code on both sides until `done` says so.
    async fn drive(&self, negotiation: &mut Negotiation, done: fn(&NegotiationState) -> bool) {
        negotiation.start(self.now());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        while !done(negotiation.state()) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "still {:?}",
                negotiation.state()
            );
            if *negotiation.state() == NegotiationState::Offered {
                negotiation.select(self.now());
            }
            match negotiation.poll_action(self.now()) {
                Some(action) => self.act(negotiation, action).await,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn act(&self, negotiation: &mut Negotiation, action: Action) {
        let buyer = self.buyer(&self.key);
        match action {
            Action::SendHello(preferences) => {
                let offers = self.client().hello(&preferences).await.unwrap();
                let judged = offers.into_iter().map(|offer| {
                    let evidence = Evidence {
                        signature_verified: signing::verify_offer(&offer).is_ok(),
                        key_binding: KeyBinding::Dns,
                        site: self.site.clone(),
                    };
                    (offer, evidence)
                });
                negotiation.handle_offers(judged.collect(), self.now());
            }
            Action::Reserve(offer) => {
                let held = buyer.reserve(&offer).await.unwrap();
                if let Some(confirmation) = &held.confirmation {
                    let ours = self.key.address();
                    signing::verify_confirmation(confirmation, &offer, ours).unwrap();
                }
                let until = held.expires;
                negotiation.handle_reserved(held.id, until, held.confirmation, self.now());
            }
            Action::Propose {
                offer,
                confirmation,
            } => {
                let (ledger, offer) = (&self.ledger, offer.offer());
                let id = ledger.propose(offer, confirmation.as_ref()).await.unwrap();
                negotiation.handle_proposed(id, self.now());
            }
            Action::ReadLedger(_) => {
                let offer = negotiation.offer().unwrap();
                let record = self.ledger.agreement(offer).await.unwrap();
                let chain_now = self.ledger.now().await.unwrap();
                negotiation.handle_ledger(record.as_ref(), chain_now, self.now());
            }
            Action::Acknowledge { offer, reservation } => {
                match buyer.acknowledge(&offer, reservation).await {
                    Ok(_) => negotiation.handle_acknowledged(self.now()),
                    Err(error) => {
                        let reason = error.reject_reason().unwrap().clone();
                        negotiation.handle_rejected(reason, self.now());
                    }
                }
            }
            Action::Deploy(id) => {
                buyer.deploy(id, &deployment(1)).await.unwrap();
                negotiation.handle_done(self.now());
            }
            Action::CheckHealth(id) => {
                let view = buyer.deployment(id).await.unwrap();
                let healthy = matches!(view.state, WorkloadState::Running { .. });
                negotiation.handle_health(healthy, self.now());
            }
            Action::SendReceipt(id, due) => {
                buyer.send_receipt(self.receipt(id, due)).await.unwrap();
                negotiation.handle_done(self.now());
            }
            Action::SettleWithReceipt(id, due) => {
                let receipt = Some(self.receipt(id, due));
                buyer.close(id, "end of lease", receipt).await.unwrap();
                negotiation.handle_done(self.now());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn deployment(generation: u64) -> Deployment {
    let workload = Workload {
        generation: Generation(generation),
        image: ImageReference {
            registry: "240.0.0.1:5000".parse().unwrap(),
            repository: "shop/edge".to_owned(),
            digest: ImageDigest([7; 32]),
        },
        command: Vec::new(),
        environment: vec![("PORT".to_owned(), "8080".to_owned())],
        service_port: 8080,
        egress: vec![(9000, "240.0.0.1:81".parse().unwrap())],
        limits: ResourceLimits {
            milli_cpu: 500,
            memory_bytes: 64 << 20,
            pids: 32,
        },
        health: HealthCheck {
            path: "/healthz".to_owned(),
            start_timeout: Duration::from_secs(5),
        },
    };
    Deployment::new(workload, ORIGIN.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_strangers_agree_run_and_settle() {
    let world = world("").await;
    let budget = ContactBudget::default();
    let greeting = world
        .client()
        .greet(&budget, world.clock.monotonic())
        .await
        .unwrap();
    assert_eq!((greeting.provider, greeting.chain), (world.provider, CHAIN));

    let mut negotiation = world.negotiation(12);
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Running
        })
        .await;
    let id = negotiation.agreement().unwrap();
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    assert_eq!(negotiation.state(), &NegotiationState::Settled);
    assert_eq!(negotiation.failure(), None);

    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(record.deposit, Amount::wei(12 * PRICE));
    let parts = record.released.units + record.refunded.units + record.burned.units;
    assert_eq!(parts, record.deposit.units);
    assert!(record.released.units > 6 * PRICE, "{record:?}");
    assert_eq!(
        world
            .ledger
            .totals(edge_types::Asset::Native)
            .await
            .unwrap()
            .held,
        Amount::wei(0)
    );
    let drained = format!("drain to {ORIGIN}");
    assert_eq!(
        world.runtime.told(),
        ["start 1", "running", drained.as_str(), "stop"]
    );
    assert_eq!(
        world.buyer(&world.key).agreement(id).await.unwrap().state,
        AgreementState::Settled
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_gives_the_money_back() {
    let world = world("accept = \"reject\"").await;
    let mut negotiation = world.negotiation(30);
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    let reason = RejectReason::Policy {
        detail: detail::ACCEPTS_NOBODY,
    };
    assert_eq!(
        negotiation.state(),
        &NegotiationState::Rejected(reason.clone())
    );
    let id = negotiation.agreement().unwrap();
    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.refunded),
        (AgreementState::Rejected, record.deposit)
    );

    // Security rule 12: the buyer can read why, a stranger cannot.
    let view = world.buyer(&world.key).agreement(id).await.unwrap();
    assert_eq!(view.reject_reason(), Some(reason));
    let stranger = LocalKey::generate().unwrap();
    let refused = world.buyer(&stranger).agreement(id).await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::NotAuthorised {
            detail: detail::PARTY
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_keep_to_the_agreement() {
    let world = world("").await;
    let mut negotiation = world.negotiation(30);
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Deploying
        })
        .await;
    let id = negotiation.agreement().unwrap();
    let buyer = world.buyer(&world.key);
    let refused = async |buyer: &BuyerClient, deployment: Deployment| {
        let error = buyer.deploy(id, &deployment).await.unwrap_err();
        error.reject_reason().unwrap().clone()
    };
    let policy = |detail| RejectReason::Policy { detail };

    let mut inside = deployment(2);
    inside.image.registry = "127.0.0.1:5000".parse().unwrap();
    assert_eq!(refused(&buyer, inside).await, policy(detail::ADDRESS));
    let mut metadata = deployment(2);
    metadata.egress[0].1 = "169.254.169.254:80".parse().unwrap();
    assert_eq!(refused(&buyer, metadata).await, policy(detail::ADDRESS));
    let mut greedy = deployment(2);
    greedy.limits.milli_cpu = 501;
    assert_eq!(refused(&buyer, greedy).await, policy(detail::LIMITS));
    let stranger = world.buyer(&LocalKey::generate().unwrap());
    let not_a_party = RejectReason::NotAuthorised {
        detail: detail::PARTY,
    };
    assert_eq!(refused(&stranger, deployment(2)).await, not_a_party);

    buyer.deploy(id, &deployment(2)).await.unwrap();
    buyer.deploy(id, &deployment(2)).await.unwrap();
    assert_eq!(
        refused(&buyer, deployment(1)).await,
        RejectReason::StaleGeneration {
            offered: 1,
            current: 2
        }
    );
    let starts = |told: &[String]| told.iter().filter(|told| *told == "start 2").count();
    while starts(&world.runtime.told()) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(starts(&world.runtime.told()), 1);

    let forged = Receipt {
        due: Amount::wei(2),
        ..world.receipt(id, Amount::wei(1))
    };
    let error = buyer.send_receipt(forged).await.unwrap_err();
    assert_eq!(
        error.reject_reason(),
        Some(&RejectReason::NotAuthorised {
            detail: detail::RECEIPT
        })
    );
    let view = buyer
        .send_receipt(world.receipt(id, Amount::wei(5)))
        .await
        .unwrap();
    assert_eq!(view.due, Amount::wei(5));
    let view = buyer
        .close(id, "moving", Some(world.receipt(id, Amount::wei(7))))
        .await
        .unwrap();
    assert_eq!(view.due, Amount::wei(7));
    while world.buyer(&world.key).agreement(id).await.unwrap().state != AgreementState::Settled {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.runtime.told().last().unwrap(), "stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfunded_and_foreign_agreements_are_refused() {
    let world = world("").await;
    let offer = world
        .client()
        .hello(&world.preferences(30))
        .await
        .unwrap()
        .remove(0);
    let buyer = world.buyer(&world.key);
    let reason = |error: ClientError| error.reject_reason().unwrap().clone();

    let unpaid = buyer
        .acknowledge(&offer, ReservationId([0; 32]))
        .await
        .unwrap_err();
    assert_eq!(reason(unpaid), RejectReason::NotFunded);

    let cheaper = Offer {
        price_per_second: Amount::wei(1),
        ..offer.clone()
    };
    let unknown = RejectReason::Unknown { what: "offer" };
    assert_eq!(reason(buyer.reserve(&cheaper).await.unwrap_err()), unknown);
    let resigned = signing::sign_offer(cheaper, |digest| world.key.sign_digest(digest));
    assert_eq!(reason(buyer.reserve(&resigned).await.unwrap_err()), unknown);

    let first = buyer.reserve(&offer).await.unwrap();
    assert_eq!(
        buyer.reserve(&offer).await.unwrap(),
        first,
        "asking again changes nothing"
    );
    let other = world.buyer(&LocalKey::generate().unwrap());
    assert_eq!(
        reason(other.reserve(&offer).await.unwrap_err()),
        RejectReason::SlotTaken
    );
}

/// One request, written by hand; the status and the problem of the answer.
async fn raw(address: SocketAddr, head: &str, body: &[u8]) -> (u16, Option<Problem>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head =
        format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let _refused_early = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8(answer).unwrap();
    let status: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let problem =
        (status >= 400).then(|| edge_wire::problem::read_problem(status, body.as_bytes()));
    (status, problem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_replayed_and_foreign_requests_are_refused() {
    let world = world("").await;
    let offer = world
        .client()
        .hello(&world.preferences(30))
        .await
        .unwrap()
        .remove(0);
    let body = encode(&ReservationRequest {
        offer: OfferMessage(offer),
    });
    let path = "/exec/v1/reservations";
    let now = world.clock.utc();
    let good = RequestToSign {
        method: "POST",
        path,
        body: &body,
        nonce: Hash32([1; 32]),
        expires: now.plus_seconds(60),
        provider: world.provider,
        chain: CHAIN,
    };
    let head = |request: &RequestToSign<'_>| {
        let signature = world.key.sign_digest(signing::request_digest(request));
        format!(
            "POST {path} HTTP/1.1\r\n{}: {signature}\r\n{}: {}\r\n{}: {}",
            signing::SIGNATURE_HEADER,
            signing::NONCE_HEADER,
            request.nonce,
            signing::EXPIRES_HEADER,
            request.expires.0
        )
    };
    let unauthorised = |detail| {
        (
            401,
            Some(Problem::Rejected(RejectReason::NotAuthorised { detail })),
        )
    };

    assert_eq!(raw(world.address, &head(&good), &body).await, (200, None));
    assert_eq!(
        raw(world.address, &head(&good), &body).await,
        (409, Some(Problem::Replayed))
    );

    let bare = format!("POST {path} HTTP/1.1");
    assert_eq!(
        raw(world.address, &bare, &body).await,
        unauthorised(detail::SIGNATURE)
    );
    for expires in [UtcTime(now.0 - 1), now.plus_seconds(200)] {
        let request = RequestToSign {
            expires,
            nonce: Hash32([2; 32]),
            ..good
        };
        assert_eq!(
            raw(world.address, &head(&request), &body).await,
            unauthorised(detail::EXPIRY)
        );
    }
    let mut garbled = head(&RequestToSign {
        nonce: Hash32([3; 32]),
        ..good
    });
    let at = garbled.find("signature: 0x").unwrap() + 13 + 128;
    garbled.replace_range(at..at + 2, "00"); // v = 0
    assert_eq!(
        raw(world.address, &garbled, &body).await,
        unauthorised(detail::SIGNATURE)
    );

    // Signed for something else, a request comes from somebody else: here, from one who has not reserved.
    for (number, forged) in (10..).zip([
        RequestToSign {
            chain: ChainId(1),
            ..good
        },
        RequestToSign {
            provider: ChainAddress([1; 20]),
            ..good
        },
        RequestToSign {
            path: "/exec/v1/agreements",
            ..good
        },
        RequestToSign {
            method: "PUT",
            ..good
        },
        RequestToSign {
            body: b"{}",
            ..good
        },
    ]) {
        let forged = RequestToSign {
            nonce: Hash32([number; 32]),
            ..forged
        };
        assert_eq!(
            raw(world.address, &head(&forged), &body).await,
            (409, Some(Problem::Rejected(RejectReason::SlotTaken)))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_problems_not_accidents() {
    let world = world("").await;
    let at = world.address;
    let status = async |head: &str, body: &[u8]| raw(at, head, body).await.0;
    assert_eq!(status("GET /exec/v1 HTTP/1.1", b"").await, 200);
    assert_eq!(status("GET /exec/v1/healthz HTTP/1.1", b"").await, 200);
    assert_eq!(status("GET /exec/v2 HTTP/1.1", b"").await, 404);
    assert_eq!(
        status("GET /exec/v1/agreements/0x12 HTTP/1.1", b"").await,
        404
    );
    assert_eq!(status("DELETE /exec/v1/hello HTTP/1.1", b"").await, 404);
    assert_eq!(status("POST /exec/v1/hello HTTP/1.1", b"{").await, 400);
    assert_eq!(
        status("POST /exec/v1/hello HTTP/1.1", &vec![b' '; 70_000]).await,
        413
    );
    assert_eq!(
        status("PUT /exec/v1/agreements/x/deployment HTTP/1.1", b"{}").await,
        404
    );
}

/// Security rule 5, and what a client does with a server that is none of ours.
#[tokio::test]
async fn a_server_that_is_no_iep_gets_one_connection_and_64_kib() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
                .await;
            let _ = stream.write_all(&vec![b' '; 1 << 20]).await;
        }
    });
    let site = IepId {
        host: "edge.isp.example".parse().unwrap(),
        port: 80,
    };
    let client = IepClient::new(address, site, ClientTimeouts::default());
    let (budget, clock) = (ContactBudget::default(), SystemClock::start());
    let first = client.greet(&budget, clock.monotonic()).await.unwrap_err();
    assert!(matches!(first, ClientError::Exchange { .. }), "{first:?}");
    let second = client.greet(&budget, clock.monotonic()).await.unwrap_err();
    assert!(
        matches!(second, ClientError::ContactedBefore { .. }),
        "{second:?}"
    );
    assert_eq!(*connections.lock().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_listed_to_anybody_unless_the_owner_says_no() {
    let offered = r#"service = [{ name = "pitch view", url = "http://edge.isp.example/view" }]"#;
    let open = world(offered).await;
    let listed = open.client().services().await.unwrap().services;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "pitch view");

    let closed = world(&format!("{offered}\nlisting = false")).await;
    let refused = closed.client().services().await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::Policy {
            detail: detail::NOT_LISTED
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_was_killed_serves_and_settles_what_it_had_agreed_to() {
    let mut world = world("").await;
    let mut negotiation = world.negotiation(14);
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Running
        })
        .await;
    let id = negotiation.agreement().unwrap();
    world.restart_provider().await;
    // Without a word of the buyer's, what was paid runs again.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !matches!(world.runtime.state(id), WorkloadState::Running { .. }) {
        assert!(tokio::time::Instant::now() < deadline, "not running again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    assert_eq!(*negotiation.state(), NegotiationState::Settled);
    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(record.state, AgreementState::Settled);
    assert!(record.released.units > PRICE * 8, "{record:?}");

    let file = edge_provider::journal::journal_file(&world.data.path().join("provider"));
    let written = edge_provider::journal::Recovered::peek(&file).unwrap();
    assert_eq!(written.agreements.len(), 1);
    assert!(written.deployments.is_empty(), "nothing runs any more");
}
